//! The stage's thread: gathers clips, computes each frame once, answers.

use std::fmt;
use std::sync::Arc;

use footage_clip::{Embedding, RgbFrame};
use tokio::sync::mpsc;

use super::shared_features::SharedFeatures;
use super::{EmbedError, EmbedSettings, Job, SourceToken};

/// What the stage asks of a model: the seam at which tests put a small one.
pub(crate) trait ClipEncoder: Send + 'static {
    /// What a frame gives to every clip that contains it.
    type Features: Clone;
    /// Why it failed.
    type Error: fmt::Display;

    /// Of each frame, in order.
    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<Self::Features>, Self::Error>;

    /// Of each clip, in order; all have the same number of frames.
    fn embed_clips(&self, clips: &[Vec<Self::Features>]) -> Result<Vec<Embedding>, Self::Error>;
}

/// Works until every sender is gone and the queue is empty.
pub(super) fn run<E: ClipEncoder>(
    encoder: &E,
    mut waiting: mpsc::Receiver<Job>,
    settings: EmbedSettings,
) {
    let mut shared = SharedFeatures::new();
    let mut batch = Vec::with_capacity(settings.max_clips.get());
    // Waits for a first clip, then takes those already there: batches grow with the load, a lone
    // clip leaves at once, and there is no time to tune.
    while waiting.blocking_recv_many(&mut batch, settings.max_clips.get()) > 0 {
        // Nobody waits for what a stopped run asked for.
        batch.retain(|job| !job.reply.is_closed());
        look_at_frames(encoder, &mut shared, &batch, settings.max_frames.get());
        answer(encoder, &mut shared, &mut batch);
        shared.forget_ended();
    }
}

/// Computes what is missing of the batch's frames, each once. A frame on which the model fails is
/// left out; its clips are lost.
fn look_at_frames<E: ClipEncoder>(
    encoder: &E,
    shared: &mut SharedFeatures<E::Features>,
    batch: &[Job],
    max_frames: usize,
) {
    let mut missing: Vec<(&Arc<SourceToken>, u64, RgbFrame)> = Vec::new();
    for job in batch {
        for frame in &job.frames {
            let is_known = shared.find(&job.source, frame.time_ns).is_some()
                || missing.iter().any(|(source, time_ns, _)| {
                    Arc::ptr_eq(source, &job.source) && *time_ns == frame.time_ns
                });
            if !is_known {
                missing.push((&job.source, frame.time_ns, frame.frame.clone()));
            }
        }
    }
    for some in missing.chunks(max_frames) {
        let frames: Vec<RgbFrame> = some.iter().map(|(.., frame)| frame.clone()).collect();
        let results = together_or_alone(&frames, |frames| encoder.frame_features(frames));
        for ((source, time_ns, _), features) in some.iter().zip(results) {
            match features {
                Ok(features) => shared.keep(source, *time_ns, features),
                Err(error) => tracing::warn!(time_ns, %error, "the model fails on a frame"),
            }
        }
    }
}

fn answer<E: ClipEncoder>(
    encoder: &E,
    shared: &mut SharedFeatures<E::Features>,
    batch: &mut Vec<Job>,
) {
    let mut clips: Vec<(Job, Vec<E::Features>)> = Vec::with_capacity(batch.len());
    for job in batch.drain(..) {
        let features: Option<Vec<_>> = job
            .frames
            .iter()
            .map(|frame| shared.find(&job.source, frame.time_ns).cloned())
            .collect();
        let times_ns: Vec<u64> = job.frames.iter().map(|frame| frame.time_ns).collect();
        if let Some(features) = features {
            clips.push((job, features));
        } else {
            let error = EmbedError::Clip("it fails on one of the clip's frames".into());
            reply(job, Err(error));
            continue;
        }
        // The clips of a batch hold what they need; the next batch needs what the last clip leaves.
        if let Some((job, _)) = clips.last() {
            shared.forget_before_next(&job.source, &times_ns);
        }
    }
    // Calls are made for clips of one length; each source has one, so these are few.
    while let Some(length) = clips.first().map(|(_, features)| features.len()) {
        let (some, others): (Vec<_>, _) =
            clips.into_iter().partition(|(_, features)| features.len() == length);
        clips = others;
        let (jobs, features): (Vec<Job>, Vec<_>) = some.into_iter().unzip();
        let results = together_or_alone(&features, |clips| encoder.embed_clips(clips));
        for (job, result) in jobs.into_iter().zip(results) {
            reply(job, result.map_err(EmbedError::Clip));
        }
    }
}

/// The asker may leave while the model works; its answer is then nobody's loss.
fn reply(job: Job, result: Result<Embedding, EmbedError>) {
    drop(job.reply.send(result));
}

/// One result for each item, from one call if it succeeds; where it fails, from one call for each, so
/// that one bad item takes no other with it.
fn together_or_alone<T, R, E: fmt::Display>(
    items: &[T],
    call: impl Fn(&[T]) -> Result<Vec<R>, E>,
) -> Vec<Result<R, String>> {
    let whole = |items: &[T]| match call(items) {
        Ok(results) if results.len() == items.len() => Ok(results),
        Ok(results) => Err(format!("{} results for {} items", results.len(), items.len())),
        Err(error) => Err(error.to_string()),
    };
    match whole(items) {
        Ok(results) => results.into_iter().map(Ok).collect(),
        Err(error) if items.len() == 1 => vec![Err(error)],
        Err(_) => items
            .iter()
            .map(|item| {
                let mut results = whole(std::slice::from_ref(item))?;
                results.pop().ok_or_else(|| "no result".to_owned())
            })
            .collect(),
    }
}
