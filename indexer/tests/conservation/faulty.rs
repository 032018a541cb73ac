//! An index that fails when told to, and forgets at a crash what was not flushed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use footage_clip::{Caption, ClipId, ClipRecord, SourceId};
use footage_index::contract::collection;
use footage_index::{IndexError, KeepClips, MemoryIndex, Refusal};

pub(crate) const DIM: usize = 4;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// In a way that passes.
    Passing,
    /// In a way that does not.
    Full,
}

#[derive(Debug, Default)]
pub(crate) struct FaultyIndex {
    /// What a search would find.
    volatile: Mutex<BTreeMap<ClipId, ClipRecord>>,
    /// What a crash leaves of it.
    durable: Mutex<BTreeMap<ClipId, ClipRecord>>,
    /// Calls that change something so far.
    calls: AtomicUsize,
    faults: Mutex<BTreeMap<usize, Fault>>,
}

impl FaultyIndex {
    /// Fails the given calls, counted from 0 over those that change something.
    pub(crate) fn with_faults(faults: impl IntoIterator<Item = (usize, Fault)>) -> Self {
        Self { faults: Mutex::new(faults.into_iter().collect()), ..Self::default() }
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    pub(crate) fn crash(&self) {
        *self.volatile.lock().unwrap() = self.durable.lock().unwrap().clone();
    }

    pub(crate) fn durable(&self) -> BTreeSet<ClipId> {
        self.durable.lock().unwrap().keys().copied().collect()
    }

    fn call(&self, doing: &'static str) -> Result<(), IndexError> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let at = PathBuf::from("/data");
        match self.faults.lock().unwrap().get(&call) {
            None => Ok(()),
            Some(Fault::Passing) => Err(IndexError::Failed { doing, at, cause: "told to".into() }),
            Some(Fault::Full) => {
                Err(IndexError::NoSpace { doing, at, available_mib: 1, needed_mib: 2 })
            }
        }
    }
}

#[async_trait]
impl KeepClips for FaultyIndex {
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        self.call("keeping")?;
        // Refuses just what a real one does.
        MemoryIndex::new(collection(DIM)).keep(clips).await?;
        let kept = clips.iter().map(|clip| (clip.clip_id, clip.clone()));
        self.volatile.lock().unwrap().extend(kept);
        Ok(())
    }

    async fn caption(&self, captions: &[(ClipId, Caption)]) -> Result<u64, IndexError> {
        self.call("captioning")?;
        let mut held = self.volatile.lock().unwrap();
        let mut captioned = 0;
        for (id, caption) in captions {
            if let Some(clip) = held.get_mut(id) {
                clip.caption = Some(caption.to_string());
                captioned += 1;
            }
        }
        Ok(captioned)
    }

    async fn flush(&self) -> Result<(), IndexError> {
        self.call("flushing")?;
        *self.durable.lock().unwrap() = self.volatile.lock().unwrap().clone();
        Ok(())
    }

    async fn remove_source(&self, source_id: &SourceId) -> Result<u64, IndexError> {
        self.remove_before(source_id, u64::MAX).await
    }

    async fn remove_before(&self, source_id: &SourceId, end_ns: u64) -> Result<u64, IndexError> {
        self.call("removing")?;
        let mut held = self.volatile.lock().unwrap();
        let before = held.len();
        held.retain(|_, clip| clip.source_id != *source_id || clip.span.end_ns > end_ns);
        Ok((before - held.len()) as u64)
    }

    async fn optimize(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

/// The refusal that a clip of a wrong dimension meets.
pub(crate) fn wrong_dimension(found: usize) -> Refusal {
    Refusal::Dimension { found, needed: DIM }
}
