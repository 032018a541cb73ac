//! The stage's thread: takes clips, computes each frame once, answers.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use footage_clip::{Embedding, RgbFrame};

use super::queue::{Asker, Job, SourceToken, WaitingRoom};
use super::shared_features::SharedFeatures;
use super::turns::SourceKey;
use super::{EmbedError, EmbedSettings};

/// What the stage asks of a model. [`footage_model::Model`] answers through
/// [`EmbedStage::spawn`](super::EmbedStage::spawn).
pub trait ClipEncoder: Send + 'static {
    /// What a frame gives to every clip that contains it. Cheap to clone.
    type Features: Clone;
    /// Why it failed.
    type Error: fmt::Display;

    /// Of each frame, in order.
    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<Self::Features>, Self::Error>;

    /// Of each clip, in order; all have the same number of frames.
    fn embed_clips(&self, clips: &[Vec<Self::Features>]) -> Result<Vec<Embedding>, Self::Error>;

    /// The memory that a frame's features take, in bytes.
    fn bytes(_features: &Self::Features) -> usize {
        size_of::<Self::Features>()
    }
}

/// Works until nothing more can come and the queue is empty. Nobody is left waiting, also where the
/// model brings the thread down.
pub(super) fn run<E: ClipEncoder>(encoder: &E, room: &WaitingRoom, settings: EmbedSettings) {
    struct Desert<'a>(&'a WaitingRoom);
    impl Drop for Desert<'_> {
        fn drop(&mut self) {
            self.0.desert();
        }
    }
    let _desert = Desert(room);
    let mut worker = Worker::new(encoder, settings);
    let mut batch = Vec::new();
    loop {
        room.take(&mut batch);
        if batch.is_empty() {
            return;
        }
        let begun = Instant::now();
        // Nobody waits for what a stopped run asked for.
        for job in batch.extract_if(.., |job| job.asker.has_left()) {
            job.asker.answer(Err(EmbedError::Stopped));
        }
        let live_clips = batch.iter().filter(|job| job.asker.source.is_live()).count();
        let clips = batch.len();
        worker.look_at_frames(&batch);
        worker.answer(&mut batch);
        if clips > 0 {
            room.done(clips, live_clips, begun.elapsed());
        }
    }
}

struct Worker<'a, E: ClipEncoder> {
    encoder: &'a E,
    max_frames: usize,
    max_features_bytes: u64,
    shared: SharedFeatures<E::Features>,
    /// Frames of the batch that are known or about to be, and those about to be: empty between two
    /// batches, and kept for their memory.
    known: HashSet<(SourceKey, u64)>,
    missing: Vec<RgbFrame>,
}

impl<'a, E: ClipEncoder> Worker<'a, E> {
    fn new(encoder: &'a E, settings: EmbedSettings) -> Self {
        Self {
            encoder,
            max_frames: settings.max_frames.get(),
            max_features_bytes: settings.max_features_bytes,
            shared: SharedFeatures::new(),
            known: HashSet::new(),
            missing: Vec::new(),
        }
    }

    /// Computes what is missing of the batch's frames, each once. A frame on which the model fails
    /// is left out; its clips are lost.
    fn look_at_frames(&mut self, batch: &[Job]) {
        let mut places: Vec<(&Arc<SourceToken>, u64)> = Vec::new();
        for Job { frames, asker } in batch {
            for frame in frames {
                let is_known = self.shared.find(&asker.source, frame.time_ns).is_some();
                if !is_known && self.known.insert((asker.source.key, frame.time_ns)) {
                    places.push((&asker.source, frame.time_ns));
                    // A reference to the pixels.
                    self.missing.push(frame.frame.clone());
                }
            }
        }
        for (frames, places) in
            self.missing.chunks(self.max_frames).zip(places.chunks(self.max_frames))
        {
            let results = together_or_alone(frames, |frames| self.encoder.frame_features(frames));
            for ((source, time_ns), features) in places.iter().zip(results) {
                match features {
                    Ok(features) => {
                        let bytes = E::bytes(&features);
                        self.shared.keep(source, *time_ns, features, bytes);
                    }
                    Err(error) => tracing::warn!(time_ns, %error, "the model fails on a frame"),
                }
            }
        }
        self.known.clear();
        self.missing.clear();
    }

    fn answer(&mut self, batch: &mut Vec<Job>) {
        let mut clips: Vec<(Asker, Vec<E::Features>)> = Vec::with_capacity(batch.len());
        for Job { frames, asker } in batch.drain(..) {
            let times_ns = frames.iter().map(|frame| frame.time_ns);
            let of_frame = |time_ns| self.shared.find(&asker.source, time_ns).cloned();
            let features: Option<Vec<_>> = times_ns.clone().map(of_frame).collect();
            // The clips of a batch hold what they need; the next batch needs what the last leaves.
            self.shared.forget_before_next(&asker.source, times_ns);
            if let Some(features) = features {
                clips.push((asker, features));
            } else {
                let error = EmbedError::Clip("it fails on one of the clip's frames".into());
                asker.answer(Err(error));
            }
        }
        // Calls are made for clips of one length; each source has one, so these are few.
        while let Some(length) = clips.first().map(|(_, features)| features.len()) {
            let (some, others): (Vec<_>, _) =
                clips.into_iter().partition(|(_, features)| features.len() == length);
            clips = others;
            let (askers, features): (Vec<Asker>, Vec<_>) = some.into_iter().unzip();
            let results = together_or_alone(&features, |clips| self.encoder.embed_clips(clips));
            for (asker, result) in askers.into_iter().zip(results) {
                asker.answer(result.map_err(EmbedError::Clip));
            }
        }
        self.shared.forget_ended();
        self.shared.forget_beyond(self.max_features_bytes);
    }
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

#[cfg(test)]
mod tests {
    use footage_clip::TimedFrame;

    use super::super::test_encoder::{POISON, TestEncoder};
    use super::*;

    /// A clip of four frames that begins with frame `first`; every third frame is poison.
    fn clip(first: u8) -> Vec<TimedFrame<RgbFrame>> {
        let frame = |at: u8| {
            let colour = if at.is_multiple_of(3) { POISON } else { [at, 0, 0] };
            let frame = RgbFrame::try_new(1, 1, colour.to_vec()).unwrap();
            TimedFrame { slot: u64::from(at), time_ns: u64::from(at), frame }
        };
        (first..first + 4).map(frame).collect()
    }

    #[test]
    fn without_memory_for_features_frames_are_looked_at_again_and_nothing_else_changes() {
        let (plenty, none) = (TestEncoder::default(), TestEncoder::default());
        let embed = |encoder: &TestEncoder, max_features_bytes| {
            let settings = EmbedSettings { max_features_bytes, ..EmbedSettings::default() };
            let mut worker = Worker::new(encoder, settings);
            let source = SourceToken::alone(1, 2);
            for _ in 0..3 {
                let frames = (0..2u8).map(|at| {
                    let frame = RgbFrame::try_new(1, 1, vec![at, 0, 0]).unwrap();
                    TimedFrame { slot: u64::from(at), time_ns: u64::from(at), frame }
                });
                let (job, _answer) = Job::new(&source, frames.collect(), None);
                let mut batch = vec![job];
                worker.look_at_frames(&batch);
                worker.answer(&mut batch);
            }
            worker.shared.len()
        };
        assert_eq!(embed(&plenty, 1 << 20), 1);
        assert_eq!(embed(&none, 0), 0);
        let looks = |encoder: &TestEncoder| encoder.looks.lock().unwrap().values().sum::<usize>();
        assert!(looks(&none) > looks(&plenty), "{} {}", looks(&none), looks(&plenty));
    }

    #[test]
    fn a_source_keeps_no_more_than_a_clip_has_frames_even_where_every_clip_fails() {
        let encoder = TestEncoder::default();
        let mut worker = Worker::new(&encoder, EmbedSettings::default());
        let source = SourceToken::alone(1, 2);
        let mut pending = Vec::new();
        for first in 0..200 {
            let (job, answer) = Job::new(&source, clip(first), None);
            pending.push(answer);
            let mut batch = vec![job];
            worker.look_at_frames(&batch);
            worker.answer(&mut batch);
            assert!(worker.shared.len() <= 4, "{} after {first}", worker.shared.len());
        }
    }
}
