//! Looking at kept footage again, with another model.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use footage_clip::{Embedding, RgbFrame, Span, WindowSpec};
use footage_indexer::DueClip;
use footage_model::{FrameFeatures, Model};
use footage_pipeline::{Cancel, DecodeSettings, KeptFootage, Reread, RereadError};

/// Clips whose frames are decoded before the model is asked.
const TOGETHER: usize = 16;

/// What looks again.
#[derive(Clone, Debug)]
pub(super) struct Looker {
    pub model: Arc<Model>,
    pub decode: DecodeSettings,
    pub cancel: Cancel,
}

/// A clip, looked at again.
#[derive(Debug)]
pub(super) enum Looked {
    /// What the model makes of it.
    Embedded(DueClip, Embedding),
    /// No picture is left of a clip.
    Gone,
}

impl Looker {
    /// Reads the footage of clips, which come in order of time and are cut alike, once from the first of
    /// them on, and gives each to `each`, which says whether to go on. Blocks.
    pub(super) fn look(
        &self,
        kept: &KeptFootage,
        clips: &[DueClip],
        mut each: impl FnMut(Looked) -> bool,
    ) -> Result<()> {
        let (Some(first), Some(window)) = (clips.first(), common_window(clips)?) else {
            return Ok(());
        };
        let most = self.model.video().max_frames();
        ensure!(
            window.length() <= most,
            "its clips have {} frames, and the model `{}` looks at {most} at most",
            window.length(),
            self.model.name()
        );
        let end_ns = clips.iter().map(|clip| clip.span.end_ns).max().unwrap_or(first.span.end_ns);
        let span = Span::new(first.span.start_ns, end_ns);
        let reread = kept.reread(span, window.rate(), &self.decode, &self.cancel)?;
        let mut film = Film { reread, window, pictures: BTreeMap::new(), read_to: 0 };
        let mut features = BTreeMap::new();
        for some in clips.chunks(TOGETHER) {
            let mut cut = Vec::new();
            let mut unseen: BTreeMap<u64, RgbFrame> = BTreeMap::new();
            for clip in some {
                ensure!(!self.cancel.is_cancelled(), "the run was stopped");
                let Some(frames) = film.frames(clip.span)? else {
                    if !each(Looked::Gone) {
                        return Ok(());
                    }
                    continue;
                };
                for (time_ns, frame) in &frames {
                    if !features.contains_key(time_ns) {
                        unseen.entry(*time_ns).or_insert_with(|| frame.clone());
                    }
                }
                cut.push((*clip, frames.into_iter().map(|(time_ns, _)| time_ns).collect()));
            }
            self.compute(unseen, &mut features)?;
            for looked in self.embed(&cut, &features)? {
                if !each(looked) {
                    return Ok(());
                }
            }
            film.forget(some);
            let earliest = film.pictures.values().map(|(time_ns, _)| *time_ns).min();
            features.retain(|time_ns, _| earliest.is_some_and(|earliest| *time_ns >= earliest));
        }
        Ok(())
    }

    /// What the image tower makes of pictures, each once.
    fn compute(
        &self,
        unseen: BTreeMap<u64, RgbFrame>,
        features: &mut BTreeMap<u64, FrameFeatures>,
    ) -> Result<()> {
        let (times, frames): (Vec<_>, Vec<_>) = unseen.into_iter().unzip();
        if !frames.is_empty() {
            let computed = self.model.video().frame_features(&frames)?;
            features.extend(times.into_iter().zip(computed));
        }
        Ok(())
    }

    fn embed(
        &self,
        cut: &[(DueClip, Vec<u64>)],
        features: &BTreeMap<u64, FrameFeatures>,
    ) -> Result<Vec<Looked>> {
        if cut.is_empty() {
            return Ok(Vec::new());
        }
        let of_clip = |times: &Vec<u64>| -> Result<Vec<FrameFeatures>> {
            let found = times.iter().map(|time_ns| features.get(time_ns).cloned());
            found.collect::<Option<_>>().context("a picture was not looked at")
        };
        let clips = cut.iter().map(|(_, times)| of_clip(times)).collect::<Result<Vec<_>>>()?;
        let embeddings = self.model.video().embed_clips(&clips)?;
        let clips = cut.iter().map(|(clip, _)| *clip);
        Ok(clips.zip(embeddings).map(|(clip, made)| Looked::Embedded(clip, made)).collect())
    }
}

/// How all of these clips are cut; none where there is no clip.
fn common_window(clips: &[DueClip]) -> Result<Option<WindowSpec>> {
    let Some(first) = clips.first() else { return Ok(None) };
    let is_alike = clips.iter().all(|clip| clip.window == first.window);
    ensure!(is_alike, "its clips are not all cut alike");
    Ok(Some(first.window))
}

/// Footage that passes by once, of which what overlapping clips share is held.
struct Film {
    reread: Reread,
    window: WindowSpec,
    /// Pictures by the slot they are shown in, with the time since when.
    pictures: BTreeMap<u64, (u64, RgbFrame)>,
    /// The first slot that was not asked for as yet.
    read_to: u64,
}

impl Film {
    /// The frames of a clip with their times, as many as the window has; none where nothing is left of it.
    fn frames(&mut self, span: Span) -> Result<Option<Vec<(u64, RgbFrame)>>> {
        let rate = self.window.rate();
        let (first, end) = (rate.slot_of(span.start_ns), rate.slot_of(span.end_ns));
        let from = first.max(self.read_to);
        if from < end {
            let wanted: Vec<u64> = (from..end).collect();
            let part = Span::new(rate.slot_start_ns(from), span.end_ns);
            match self.reread.frames(part, &wanted) {
                Ok(frames) => {
                    let shown = |frame: footage_clip::TimedFrame<RgbFrame>| {
                        (frame.slot, (frame.time_ns, frame.frame))
                    };
                    self.pictures.extend(frames.into_iter().map(shown));
                }
                Err(RereadError::Nothing) => {}
                Err(error) => return Err(error.into()),
            }
            self.read_to = end;
        }
        Ok(spread(&self.pictures, first..end, self.window.length()))
    }

    /// Lets go of what no later clip can hold.
    fn forget(&mut self, done: &[DueClip]) {
        let Some(last) = done.last() else { return };
        let first = self.window.rate().slot_of(last.span.start_ns);
        self.pictures.retain(|slot, _| *slot >= first);
    }
}

/// The pictures of a clip as they were cut: a slot without one shows the one before still, and after the
/// last slot the last one is repeated. None where more than half of the slots would have to be made up.
fn spread<P: Clone>(
    pictures: &BTreeMap<u64, P>,
    slots: std::ops::Range<u64>,
    length: usize,
) -> Option<Vec<P>> {
    let there = pictures.range(slots.clone()).count();
    let wanted = usize::try_from(slots.end.saturating_sub(slots.start)).unwrap_or(usize::MAX);
    let (_, opening) = pictures.range(slots.clone()).next().filter(|_| 2 * there >= wanted)?;
    let mut shown = opening;
    let mut frames = Vec::with_capacity(length);
    for slot in slots.take(length) {
        shown = pictures.get(&slot).unwrap_or(shown);
        frames.push(shown.clone());
    }
    frames.resize(length, frames.last()?.clone());
    Some(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_is_shown_as_it_was_cut() {
        let shown = |slots: &[u64]| slots.iter().map(|slot| (*slot, *slot)).collect();
        let all: BTreeMap<u64, u64> = shown(&[4, 5, 6, 7]);
        assert_eq!(spread(&all, 4..8, 4), Some(vec![4, 5, 6, 7]));
        assert_eq!(spread(&all, 6..8, 4), Some(vec![6, 7, 7, 7]), "a clip that ended early");
        let holes: BTreeMap<u64, u64> = shown(&[4, 6]);
        assert_eq!(spread(&holes, 4..8, 4), Some(vec![4, 4, 6, 6]));
        assert_eq!(spread(&holes, 7..11, 4), None, "nothing is left of it");
        assert_eq!(spread(&shown(&[7]), 4..8, 4), None, "most of it is gone");
    }
}
