//! The GPU stage: one thread, one model, one queue for all sources.
//!
//! A clip waits in the queue until the worker takes it, together with the clips that came meanwhile.
//! Clips of one source come out in the order they went in; sources take turns. Two kinds of source
//! come in by two ways:
//!
//! - an archive waits: [`SourceQueue::submit`] returns once there is room, and loses nothing;
//! - a live source does not: [`LiveSourceQueue::offer`] returns at once, and while the stage is
//!   behind, the newest clip of the most over-served live source is answered with
//!   [`EmbedError::Overload`].
//!
//! Live clips go first, and archives get what is left, but never less than one clip in
//! [`EmbedSettings::archive_one_in`]. A live clip also waits for the batch that the model has at the
//! time, which can hold archives' clips.
//!
//! To stop: drop every [`EmbedQueue`], [`SourceQueue`] and [`LiveSourceQueue`]; the worker finishes
//! what is in the queue, then ends. A live source that is dropped takes its waiting clips with it.

mod fair_queue;
mod queue;
mod shared_features;
mod stats;
#[cfg(test)]
pub(crate) mod test_encoder;
#[cfg(test)]
mod tests;
mod turns;
mod worker;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use footage_clip::{Embedding, RgbFrame};
use footage_model::{FrameFeatures, Model, ModelError};

pub use queue::{EmbedQueue, LiveSourceQueue, PendingEmbedding, SourceQueue};
pub use stats::{EmbedLatency, EmbedStats, EmbedTally, LATENCY_BOUNDS_S};
pub use worker::ClipEncoder;

use queue::WaitingRoom;

/// How much the model is given at once, and how much may wait for it. Numbers, not goals: a lone
/// clip leaves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbedSettings {
    /// Most frames in one call.
    pub max_frames: NonZeroUsize,
    /// Most clips in one call.
    pub max_clips: NonZeroUsize,
    /// Most memory for what frames gave to clips and the next clips still need, in bytes, wherever it
    /// lies. What is beyond is forgotten between two batches, and computed again where it is needed.
    pub max_features_bytes: u64,
    /// Clips of archives that may wait; whoever brings more waits with them.
    pub queue_clips: NonZeroUsize,
    /// Clips of live sources that may wait, of all of them together; what is more gives way. Sources
    /// are served evenly, whatever the moments at which they offer, where each can have one waiting:
    /// not fewer than there are cameras. A waiting clip keeps the frames that it does not share with
    /// its neighbours in memory.
    pub live_queue_clips: NonZeroUsize,
    /// Longest that a live clip waits: what would wait longer gives way. While the stage keeps its
    /// pace the queue is kept half as long as that.
    pub max_wait: Duration,
    /// While live clips wait, one clip in so many is an archive's; at least 2, and 1 counts as 2.
    pub archive_one_in: NonZeroUsize,
}

impl Default for EmbedSettings {
    fn default() -> Self {
        const EIGHT: NonZeroUsize = NonZeroUsize::new(8).unwrap();
        Self {
            max_frames: const { NonZeroUsize::new(16).unwrap() },
            max_clips: EIGHT,
            max_features_bytes: 2 << 30,
            queue_clips: EIGHT,
            live_queue_clips: const { NonZeroUsize::new(64).unwrap() },
            max_wait: Duration::from_secs(10),
            archive_one_in: EIGHT,
        }
    }
}

/// Why a clip has no embedding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The model fails on this clip, also alone.
    #[error("the model gave no embedding: {0}")]
    Clip(String),
    /// The stage is behind, and this live clip gave way to others or waited too long.
    #[error("more came from live sources than could be embedded in time")]
    Overload,
    /// The stage has ended, or the clip's live source has left; the clip is as good as new.
    #[error("the embedding stage stopped before the clip's turn came")]
    Stopped,
}

/// The stage's thread.
#[derive(Debug)]
pub struct EmbedStage {
    worker: JoinHandle<()>,
}

impl EmbedStage {
    /// Starts the stage on a model.
    pub fn spawn(
        model: Arc<Model>,
        settings: EmbedSettings,
    ) -> std::io::Result<(EmbedQueue, Self)> {
        Self::spawn_with(ModelEncoder(model), settings)
    }

    /// Starts the stage on whatever looks at frames and embeds clips.
    pub fn spawn_with(
        encoder: impl ClipEncoder,
        settings: EmbedSettings,
    ) -> std::io::Result<(EmbedQueue, Self)> {
        let room = Arc::new(WaitingRoom::new(settings));
        let of_worker = room.clone();
        let worker = thread::Builder::new()
            .name("footage-embed".into())
            .spawn(move || worker::run(&encoder, &of_worker, settings))?;
        Ok((EmbedQueue::new(room), Self { worker }))
    }

    /// Waits until the stage has ended: every queue into it is gone, and all it held is answered.
    /// Fails if the model brought its thread down.
    pub fn join(self) -> Result<(), EmbedError> {
        self.worker.join().map_err(|_| EmbedError::Stopped)
    }
}

/// The model as the worker sees it.
struct ModelEncoder(Arc<Model>);

impl ClipEncoder for ModelEncoder {
    type Features = FrameFeatures;
    type Error = ModelError;

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<FrameFeatures>, ModelError> {
        self.0.video().frame_features(frames)
    }

    fn embed_clips(&self, clips: &[Vec<FrameFeatures>]) -> Result<Vec<Embedding>, ModelError> {
        self.0.video().embed_clips(clips)
    }

    fn bytes(features: &FrameFeatures) -> usize {
        features.bytes()
    }
}
