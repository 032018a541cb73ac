//! Captions of live sources, made beside everything else and never in its way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Error, Result};
use footage_ask::Fault;
use footage_clip::{ClipRecord, RgbFrame, SourceId, TimedFrame};
use footage_index::{EmbeddedIndex, KeepClips as _};
use footage_indexer::{Pace, Turn, Waiting};
use footage_pipeline::{Cancel, EmbedQueue, KeptFootage, RereadError};
use tokio::sync::{Notify, watch};

use super::Captioner;
use crate::compose::House;
use crate::footage;
use crate::outcome::in_one_line;
use crate::requests::stretch::ClipTold;
use crate::terminal::tell;

/// What was filmed last may still be on its way into its file.
const SETTLES: Duration = Duration::from_secs(3);

/// How often footage that is not there yet is looked for again, before its clip is left.
const LOOKS: usize = 3;

/// How often it is looked whether the model is free.
const FREE: Duration = Duration::from_millis(200);

/// After a description that failed, how long nobody is asked: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Describes what live sources show, as fast as that goes; the rest is left for later.
pub(crate) struct LiveCaptions {
    captioner: Captioner,
    house: Arc<House>,
    /// Not a store: whoever closes that waits for nobody.
    index: EmbeddedIndex,
    /// How busy the model is; given back before the end, which waits until nobody has it.
    embed: Mutex<Option<EmbedQueue>>,
    state: Mutex<State>,
    more: Notify,
    tally: Counts,
}

struct State {
    paces: BTreeMap<SourceId, Pace>,
    waiting: Waiting<Offered>,
}

/// A clip that can be found, and waits for its caption.
#[derive(Debug)]
struct Offered {
    clip: ClipRecord,
    at: Instant,
}

#[derive(Debug, Default)]
struct Counts {
    made: AtomicU64,
    spared: AtomicU64,
    queue: AtomicU64,
    footage: AtomicU64,
    failed: AtomicU64,
}

/// What became of the clips that were to get captions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub made: u64,
    /// Clips that wait.
    pub waiting: u64,
    /// Left for later: beyond the pace, ...
    pub spared: u64,
    /// ... for want of room in the queue, ...
    pub queue: u64,
    /// ... because their footage is not kept, ...
    pub footage: u64,
    /// ... because nobody described them.
    pub failed: u64,
}

impl Tally {
    /// Clips left for later.
    pub(crate) fn left(&self) -> u64 {
        self.spared + self.queue + self.footage + self.failed + self.waiting
    }
}

impl LiveCaptions {
    pub(crate) fn new(
        captioner: Captioner,
        house: Arc<House>,
        index: EmbeddedIndex,
        embed: EmbedQueue,
    ) -> Self {
        let waiting = Waiting::new(house.settings.caption.queue_clips);
        Self {
            captioner,
            house,
            index,
            embed: Mutex::new(Some(embed)),
            state: Mutex::new(State { paces: BTreeMap::new(), waiting }),
            more: Notify::new(),
            tally: Counts::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of clips that can be found from now on. Quick: it is called on their way.
    pub(crate) fn offer(&self, clips: &[ClipRecord]) {
        let every_ns = self.house.settings.caption.every_ns;
        let mut state = self.state();
        for clip in clips {
            let pace = state.paces.entry(clip.source_id.clone());
            let pace = pace.or_insert_with(|| Pace::new(every_ns));
            match pace.turn(&clip.span, clip.caption.is_some()) {
                Turn::Covered => {}
                Turn::Spared => count(&self.tally.spared),
                Turn::Due => {
                    let mut clip = clip.clone();
                    clip.thumbnail = None;
                    let source = clip.source_id.clone();
                    let offered = Offered { clip, at: Instant::now() };
                    if state.waiting.push(&source, offered).is_some() {
                        count(&self.tally.queue);
                    }
                }
            }
        }
        drop(state);
        self.more.notify_one();
    }

    fn is_model_free(&self) -> bool {
        let embed = self.embed.lock().unwrap_or_else(PoisonError::into_inner);
        embed.as_ref().is_none_or(|embed| embed.stats().live_waiting == 0)
    }

    /// Lets go of what others wait for at an end.
    pub(crate) fn end(&self) {
        self.embed.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// What became of clips so far.
    pub(crate) fn tally(&self) -> Tally {
        let Counts { made, spared, queue, footage, failed } = &self.tally;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Tally {
            made: read(made),
            waiting: self.state().waiting.len() as u64,
            spared: read(spared),
            queue: read(queue),
            footage: read(footage),
            failed: read(failed),
        }
    }

    /// Describes what was offered, one after the other, until `ended`.
    pub(crate) async fn run(&self, mut ended: watch::Receiver<bool>) {
        let cancel = Cancel::default();
        // A task of its own: this one may be reading footage when it is to end.
        let ending = tokio::spawn({
            let cancel = cancel.clone();
            async move {
                // Whoever could say so is gone: that is an end too.
                drop(ended.wait_for(|ended| *ended).await);
                cancel.cancel();
            }
        });
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.describe_all(&cancel) => {}
        }
        ending.abort();
    }

    async fn describe_all(&self, cancel: &Cancel) {
        let mut told = BTreeSet::new();
        let mut pause = PAUSE.0;
        loop {
            let offered = self.state().waiting.pop();
            let Some((source, Offered { clip, at })) = offered else {
                self.more.notified().await;
                continue;
            };
            tokio::time::sleep(SETTLES.saturating_sub(at.elapsed())).await;
            if !self.house.recording(&source).is_dir() {
                count(&self.tally.footage);
                if told.insert(source.clone()) {
                    tell(&format!(
                        "{source}: nothing of it is captioned, as its footage is not kept (`record.enabled`)"
                    ));
                }
                continue;
            }
            // The processor is for what is being filmed.
            while self.captioner.is_here() && !self.is_model_free() {
                tokio::time::sleep(FREE).await;
            }
            match self.describe(&clip, cancel).await {
                Ok(()) => {
                    count(&self.tally.made);
                    pause = PAUSE.0;
                }
                Err(Failure::Footage(error)) => {
                    tracing::info!(clip = %clip.clip_id, %error, "no caption");
                    count(&self.tally.footage);
                }
                Err(Failure::Asked(error)) => {
                    count(&self.tally.failed);
                    // Once for as long as it lasts.
                    if pause == PAUSE.0 {
                        tell(&format!("captions: {}", in_one_line(&error)));
                    }
                    tokio::time::sleep(pause).await;
                    pause = (2 * pause).min(PAUSE.1);
                }
            }
        }
    }

    async fn describe(&self, clip: &ClipRecord, cancel: &Cancel) -> Result<(), Failure> {
        let frames = self.frames(clip, cancel).await?;
        let caption = match self.captioner.describe(&frames).await {
            Ok(caption) => caption,
            Err(error) if error.fault() == Fault::Footage => {
                return Err(Failure::Footage(error.into()));
            }
            Err(error) => return Err(Failure::Asked(error.into())),
        };
        let kept = async {
            self.index.caption(&[(clip.clip_id, caption)]).await?;
            self.index.flush().await
        };
        kept.await.context("a caption cannot be kept").map_err(Failure::Asked)
    }

    async fn frames(
        &self,
        clip: &ClipRecord,
        cancel: &Cancel,
    ) -> Result<Vec<TimedFrame<RgbFrame>>, Failure> {
        let kept = KeptFootage::Recording(self.house.recording(&clip.source_id));
        let told = ClipTold {
            clip_id: clip.clip_id,
            from_ns: clip.span.start_ns,
            to_ns: clip.span.end_ns,
        };
        let rate = clip.window.rate();
        let slots = told.slots(rate, told.from_ns, told.to_ns).collect();
        let wanted = footage::spread(slots, self.captioner.most_frames);
        for look in 1.. {
            let read = || kept.frames(told.span(), rate, &wanted, &self.captioner.decode, cancel);
            match tokio::task::block_in_place(read) {
                Ok(frames) => return Ok(frames),
                Err(RereadError::Nothing) if look < LOOKS => tokio::time::sleep(SETTLES).await,
                Err(error) => return Err(Failure::Footage(error.into())),
            }
        }
        unreachable!("it is looked so often, and no more")
    }
}

/// Why a clip got no caption.
enum Failure {
    /// Because of what it shows, or because that is not there.
    Footage(Error),
    /// Because nobody describes, or keeps.
    Asked(Error),
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
