//! The ways into the stage, and the room between them and its thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use footage_clip::{Embedding, RgbFrame, TimedFrame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use super::fair_queue::FairQueue;
use super::stats::{Counters, Tally};
use super::turns::SourceKey;
use super::{EmbedError, EmbedSettings, EmbedStats, EmbedTally};
use crate::lock;

/// The way into the stage.
#[derive(Clone, Debug)]
pub struct EmbedQueue {
    entrance: Arc<Entrance>,
}

/// An archive's way into the stage: clips that come through one of these share their frames'
/// features, and wait outside while there is no room.
#[derive(Debug)]
pub struct SourceQueue {
    entrance: Arc<Entrance>,
    /// Alive as long as clips of this source may come.
    source: Arc<SourceToken>,
}

/// A live source's way into the stage: clips that come through one of these share their frames'
/// features, and never wait outside.
///
/// Dropping it takes the source's waiting clips out of the queue: they are answered with
/// [`EmbedError::Stopped`]. To have them embedded, wait for their answers first.
#[derive(Debug)]
pub struct LiveSourceQueue {
    entrance: Arc<Entrance>,
    source: Arc<SourceToken>,
}

/// A clip's embedding, to come.
#[derive(Debug)]
pub struct PendingEmbedding(oneshot::Receiver<Result<Embedding, EmbedError>>);

/// A source to the stage.
#[derive(Debug)]
pub(super) struct SourceToken {
    pub(super) key: SourceKey,
    pub(super) stride: usize,
    kind: SourceKind,
    tally: Tally,
    of_stage: Arc<Counters>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceKind {
    Live,
    Archive,
}

/// A clip on its way.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) frames: Vec<TimedFrame<RgbFrame>>,
    pub(super) asker: Asker,
}

/// Who waits for a clip's embedding.
#[derive(Debug)]
pub(super) struct Asker {
    pub(super) source: Arc<SourceToken>,
    since: Instant,
    reply: oneshot::Sender<Result<Embedding, EmbedError>>,
    /// An archive's claim to its place in the queue.
    place: Option<OwnedSemaphorePermit>,
}

/// Held by every way into the stage; when the last one goes, nothing more can come.
#[derive(Debug)]
struct Entrance(Arc<WaitingRoom>);

/// Where clips wait between their sources and the stage's thread.
#[derive(Debug)]
pub(super) struct WaitingRoom {
    settings: EmbedSettings,
    waiting: Mutex<Waiting>,
    /// Wakes the stage's thread.
    changed: Condvar,
    archive_places: Arc<Semaphore>,
    counters: Arc<Counters>,
    next_key: AtomicU64,
}

#[derive(Debug)]
struct Waiting {
    queue: FairQueue<Job>,
    /// Nothing more can come.
    is_last: bool,
    /// The stage's thread is gone.
    is_deserted: bool,
}

impl EmbedQueue {
    pub(super) fn new(room: Arc<WaitingRoom>) -> Self {
        Self { entrance: Arc::new(Entrance(room)) }
    }

    /// The way in for an archive that is cut with `stride` frames from clip to clip.
    pub fn source(&self, stride: usize) -> SourceQueue {
        let source = self.entrance.0.new_source(stride, SourceKind::Archive);
        SourceQueue { entrance: self.entrance.clone(), source }
    }

    /// The way in for a live source that is cut with `stride` frames from clip to clip.
    pub fn live_source(&self, stride: usize) -> LiveSourceQueue {
        let source = self.entrance.0.new_source(stride, SourceKind::Live);
        LiveSourceQueue { entrance: self.entrance.clone(), source }
    }

    /// How the stage is doing. Cheap: a few counters are read.
    pub fn stats(&self) -> EmbedStats {
        self.entrance.0.stats()
    }
}

impl SourceQueue {
    /// Hands in the archive's next clip, waiting for room. Clips may be left out, not reordered.
    pub async fn submit(
        &self,
        frames: Vec<TimedFrame<RgbFrame>>,
    ) -> Result<PendingEmbedding, EmbedError> {
        let room = &self.entrance.0;
        let places = room.archive_places.clone();
        let place = places.acquire_owned().await.map_err(|_| EmbedError::Stopped)?;
        let (job, pending) = Job::new(&self.source, frames, Some(place));
        room.submit(job);
        Ok(pending)
    }
}

impl Drop for SourceQueue {
    fn drop(&mut self) {
        lock(&self.entrance.0.waiting).queue.finish(self.source.key);
    }
}

impl LiveSourceQueue {
    /// Hands in the source's next clip, and returns at once. While the stage is behind, the newest
    /// clip of the most over-served live source gives way, which may be this one: it is answered
    /// with [`EmbedError::Overload`]. Clips may be left out, not reordered.
    pub fn offer(&self, frames: Vec<TimedFrame<RgbFrame>>) -> PendingEmbedding {
        let (job, pending) = Job::new(&self.source, frames, None);
        self.entrance.0.offer(job);
        pending
    }

    /// What became of the source's clips. Cheap: a few counters are read.
    pub fn tally(&self) -> EmbedTally {
        self.source.tally.read()
    }
}

impl Drop for LiveSourceQueue {
    fn drop(&mut self) {
        let left = lock(&self.entrance.0.waiting).queue.withdraw(self.source.key);
        left.for_each(|job| job.asker.answer(Err(EmbedError::Stopped)));
    }
}

impl PendingEmbedding {
    /// Waits for the embedding.
    pub async fn embedding(self) -> Result<Embedding, EmbedError> {
        self.0.await.unwrap_or(Err(EmbedError::Stopped))
    }
}

impl Job {
    /// A clip that its source brings now; counted from here on.
    pub(super) fn new(
        source: &Arc<SourceToken>,
        frames: Vec<TimedFrame<RgbFrame>>,
        place: Option<OwnedSemaphorePermit>,
    ) -> (Self, PendingEmbedding) {
        source.tally.count_offered();
        source.tally_of_kind().count_offered();
        let (reply, answer) = oneshot::channel();
        let asker = Asker { source: source.clone(), since: Instant::now(), reply, place };
        (Self { frames, asker }, PendingEmbedding(answer))
    }
}

impl Asker {
    /// Whether nobody waits any more.
    pub(super) fn has_left(&self) -> bool {
        self.reply.is_closed()
    }

    /// Answers and counts. The asker may leave meanwhile; the answer is then nobody's loss.
    pub(super) fn answer(self, answer: Result<Embedding, EmbedError>) {
        let source = &self.source;
        source.tally.count_answer(&answer);
        source.tally_of_kind().count_answer(&answer);
        if source.is_live() && answer.is_ok() {
            source.of_stage.count_latency(self.since.elapsed());
        }
        drop(self.reply.send(answer));
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        lock(&self.0.waiting).is_last = true;
        self.0.changed.notify_one();
    }
}

impl WaitingRoom {
    pub(super) fn new(settings: EmbedSettings) -> Self {
        let waiting =
            Waiting { queue: FairQueue::new(settings), is_last: false, is_deserted: false };
        Self {
            settings,
            waiting: Mutex::new(waiting),
            changed: Condvar::new(),
            archive_places: Arc::new(Semaphore::new(settings.queue_clips.get())),
            counters: Arc::default(),
            next_key: AtomicU64::new(0),
        }
    }

    fn new_source(&self, stride: usize, kind: SourceKind) -> Arc<SourceToken> {
        let key = SourceKey(self.next_key.fetch_add(1, Ordering::Relaxed));
        let of_stage = self.counters.clone();
        Arc::new(SourceToken { key, stride, kind, tally: Tally::default(), of_stage })
    }

    fn submit(&self, job: Job) {
        let mut waiting = lock(&self.waiting);
        if waiting.is_deserted {
            drop(waiting);
            return job.asker.answer(Err(EmbedError::Stopped));
        }
        let (source, since) = (job.asker.source.key, job.asker.since);
        waiting.queue.submit(source, job, since);
        drop(waiting);
        self.changed.notify_one();
    }

    fn offer(&self, job: Job) {
        let mut waiting = lock(&self.waiting);
        if waiting.is_deserted {
            drop(waiting);
            return job.asker.answer(Err(EmbedError::Stopped));
        }
        let (source, since) = (job.asker.source.key, job.asker.since);
        let given_up = waiting.queue.offer(source, job, since);
        drop(waiting);
        self.changed.notify_one();
        give_up(given_up);
    }

    /// Waits for clips, and moves those whose turn it is to `batch`: batches grow with the load, a
    /// lone clip leaves at once, and there is no time to tune. `batch` stays empty once nothing
    /// waits and nothing more can come.
    pub(super) fn take(&self, batch: &mut Vec<Job>) {
        while batch.is_empty() {
            let mut waiting = lock(&self.waiting);
            while waiting.queue.is_empty() {
                if waiting.is_last {
                    return;
                }
                waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
            }
            let given_up = waiting.queue.take(Instant::now(), batch);
            drop(waiting);
            give_up(given_up);
        }
        // Whoever waited outside comes in while the model works.
        for job in batch {
            job.asker.place = None;
        }
    }

    /// A batch with so many live clips in it was answered.
    pub(super) fn done(&self, clips: usize, live_clips: usize, took: Duration) {
        self.counters.count_batch(clips);
        lock(&self.waiting).queue.learn_pace(live_clips, took);
    }

    /// The stage's thread is gone: nobody will answer what waits, or comes later.
    pub(super) fn desert(&self) {
        self.archive_places.close();
        let mut waiting = lock(&self.waiting);
        waiting.is_deserted = true;
        let left = std::mem::replace(&mut waiting.queue, FairQueue::new(self.settings));
        drop(waiting);
        left.into_clips().for_each(|job| job.asker.answer(Err(EmbedError::Stopped)));
    }

    fn stats(&self) -> EmbedStats {
        let (batches, batched_clips) = self.counters.batches();
        let most = batches as f64 * self.settings.max_clips.get() as f64;
        let waiting = lock(&self.waiting);
        EmbedStats {
            live: self.counters.live.read(),
            archive: self.counters.archive.read(),
            live_waiting: waiting.queue.live_clips(),
            live_room: waiting.queue.live_room(),
            archive_waiting: waiting.queue.archive_clips(),
            batches,
            batched_clips,
            batch_fill: if batches == 0 { 0.0 } else { batched_clips as f64 / most },
            live_latency: self.counters.latency(),
        }
    }
}

impl SourceToken {
    pub(super) fn is_live(&self) -> bool {
        self.kind == SourceKind::Live
    }

    fn tally_of_kind(&self) -> &Tally {
        match self.kind {
            SourceKind::Live => &self.of_stage.live,
            SourceKind::Archive => &self.of_stage.archive,
        }
    }

    /// A source on its own, for tests of what is kept by source.
    #[cfg(test)]
    pub(super) fn alone(key: u64, stride: usize) -> Arc<Self> {
        let (kind, tally, of_stage) = (SourceKind::Live, Tally::default(), Arc::default());
        Arc::new(Self { key: SourceKey(key), stride, kind, tally, of_stage })
    }
}

fn give_up(jobs: Vec<Job>) {
    for job in jobs {
        job.asker.answer(Err(EmbedError::Overload));
    }
}
