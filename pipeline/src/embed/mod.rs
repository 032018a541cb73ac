//! The GPU stage: one thread, one model, one queue for all sources.
//!
//! A clip waits in the queue until the worker takes it, together with the clips that came meanwhile;
//! while the queue is full, whoever reads footage waits. Clips of one source come out in the order
//! they went in. To stop: drop every [`EmbedQueue`] and [`SourceQueue`]; the worker finishes what is
//! in the queue, then ends.

mod shared_features;
#[cfg(test)]
pub(crate) mod test_encoder;
#[cfg(test)]
mod tests;
mod worker;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use footage_clip::{Embedding, RgbFrame, TimedFrame};
use footage_model::{FrameFeatures, Model, ModelError};
use tokio::sync::{mpsc, oneshot};

pub(crate) use worker::ClipEncoder;

/// How much the model is given at once. Numbers, not goals: a lone clip leaves at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbedSettings {
    /// Most frames in one call.
    pub max_frames: NonZeroUsize,
    /// Most clips in one call.
    pub max_clips: NonZeroUsize,
    /// Clips that may wait; whoever brings more waits with them.
    pub queue_clips: NonZeroUsize,
}

impl Default for EmbedSettings {
    fn default() -> Self {
        const EIGHT: NonZeroUsize = NonZeroUsize::new(8).unwrap();
        Self {
            max_frames: const { NonZeroUsize::new(16).unwrap() },
            max_clips: EIGHT,
            queue_clips: EIGHT,
        }
    }
}

/// Why a clip has no embedding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// The model fails on this clip, also alone.
    #[error("the model gave no embedding: {0}")]
    Clip(String),
    /// The stage has ended; the clip is as good as new.
    #[error("the embedding stage has stopped")]
    Stopped,
}

/// The way into the stage.
#[derive(Clone, Debug)]
pub struct EmbedQueue {
    jobs: mpsc::Sender<Job>,
}

/// The stage's thread.
#[derive(Debug)]
pub struct EmbedStage {
    worker: JoinHandle<()>,
}

/// A source's way into the stage: clips that come through one of these share their frames' features.
#[derive(Debug)]
pub struct SourceQueue {
    jobs: mpsc::Sender<Job>,
    /// Alive as long as clips of this source may come.
    source: Arc<SourceToken>,
}

/// Stands for a source; equal to itself alone.
#[derive(Debug)]
pub(crate) struct SourceToken {
    stride: usize,
}

/// A clip on its way.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) source: Arc<SourceToken>,
    pub(crate) frames: Vec<TimedFrame<RgbFrame>>,
    pub(crate) reply: oneshot::Sender<Result<Embedding, EmbedError>>,
}

/// A clip's embedding, to come.
#[derive(Debug)]
pub struct PendingEmbedding(oneshot::Receiver<Result<Embedding, EmbedError>>);

impl EmbedStage {
    /// Starts the stage on a model.
    pub fn spawn(
        model: Arc<Model>,
        settings: EmbedSettings,
    ) -> std::io::Result<(EmbedQueue, Self)> {
        Self::spawn_with(ModelEncoder(model), settings)
    }

    pub(crate) fn spawn_with(
        encoder: impl ClipEncoder,
        settings: EmbedSettings,
    ) -> std::io::Result<(EmbedQueue, Self)> {
        let (jobs, waiting) = mpsc::channel(settings.queue_clips.get());
        let worker = thread::Builder::new()
            .name("footage-embed".into())
            .spawn(move || worker::run(&encoder, waiting, settings))?;
        Ok((EmbedQueue { jobs }, Self { worker }))
    }

    /// Waits until the stage has ended: every queue into it is gone, and all it held is answered.
    /// Fails if the model brought its thread down.
    pub fn join(self) -> Result<(), EmbedError> {
        self.worker.join().map_err(|_| EmbedError::Stopped)
    }
}

impl EmbedQueue {
    /// The way in for a source that is cut with `stride` frames from clip to clip.
    pub fn source(&self, stride: usize) -> SourceQueue {
        SourceQueue { jobs: self.jobs.clone(), source: Arc::new(SourceToken { stride }) }
    }
}

impl SourceQueue {
    /// Hands in the source's next clip, waiting for room. Clips may be left out, not reordered.
    pub async fn submit(
        &self,
        frames: Vec<TimedFrame<RgbFrame>>,
    ) -> Result<PendingEmbedding, EmbedError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { source: self.source.clone(), frames, reply };
        self.jobs.send(job).await.map_err(|_| EmbedError::Stopped)?;
        Ok(PendingEmbedding(answer))
    }
}

impl PendingEmbedding {
    /// Waits for the embedding.
    pub async fn embedding(self) -> Result<Embedding, EmbedError> {
        self.0.await.unwrap_or(Err(EmbedError::Stopped))
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
}
