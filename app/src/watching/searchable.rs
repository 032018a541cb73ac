//! How long live clips take until they can be found.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use footage_clip::{Caption, ClipId, ClipRecord, Clock, SourceId};
use footage_index::{IndexError, KeepClips};

use crate::captions::{LiveCaptions, Tally};

/// Upper bounds of the buckets, in seconds; the last bucket has none.
pub(super) const BOUNDS_S: [f64; 10] = [0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0];

/// Clips by the time from their last frame to their being found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Delays {
    pub(super) buckets: [u64; BOUNDS_S.len() + 1],
    pub(super) sum_s: f64,
}

/// An index that times what it is given.
pub(crate) struct Searchable {
    index: Arc<dyn KeepClips>,
    delays: Mutex<Delays>,
    captions: Option<Arc<LiveCaptions>>,
}

impl Searchable {
    /// Whoever makes captions hears of every clip.
    pub(crate) fn new(index: Arc<dyn KeepClips>, captions: Option<Arc<LiveCaptions>>) -> Self {
        Self { index, delays: Mutex::default(), captions }
    }

    pub(super) fn captions(&self) -> Option<Tally> {
        self.captions.as_ref().map(|captions| captions.tally())
    }

    pub(super) fn delays(&self) -> Delays {
        *self.delays.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn time(&self, clips: &[ClipRecord]) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut delays = self.delays.lock().unwrap_or_else(PoisonError::into_inner);
        for delay_s in clips.iter().filter_map(|clip| delay_s(clip, now.as_nanos())) {
            let bucket = BOUNDS_S.iter().take_while(|bound| **bound < delay_s).count();
            delays.buckets[bucket] += 1;
            delays.sum_s += delay_s;
        }
    }
}

/// From the beginning of a live clip's last slot, where its last frame was shown, to `now_ns`; none
/// for a clip of a file.
fn delay_s(clip: &ClipRecord, now_ns: u128) -> Option<f64> {
    let is_live = |clock| matches!(clock, Clock::Arrival | Clock::RtcpSenderReport);
    let start = clip.span.utc.filter(|start| is_live(start.clock))?;
    let slot_ns = clip.window.rate().slot_start_ns(1);
    let last = start.plus_ns(clip.span.duration_ns().saturating_sub(slot_ns));
    let passed_ns = i128::try_from(now_ns).ok()? - i128::from(last.unix_ns);
    Some((passed_ns as f64 / 1e9).max(0.0))
}

#[async_trait]
impl KeepClips for Searchable {
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        self.index.keep(clips).await?;
        self.time(clips);
        if let Some(captions) = &self.captions {
            captions.offer(clips);
        }
        Ok(())
    }

    async fn caption(&self, captions: &[(ClipId, Caption)]) -> Result<u64, IndexError> {
        self.index.caption(captions).await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        self.index.flush().await
    }

    async fn remove_source(&self, source_id: &SourceId) -> Result<u64, IndexError> {
        self.index.remove_source(source_id).await
    }

    async fn remove_before(&self, source_id: &SourceId, end_ns: u64) -> Result<u64, IndexError> {
        self.index.remove_before(source_id, end_ns).await
    }

    async fn optimize(&self) -> Result<(), IndexError> {
        self.index.optimize().await
    }
}
