//! Stretches of video files, each as a few frames that are spread over it: what a model is trained
//! and measured with.

use std::path::Path;

use anyhow::{Result, ensure};
use footage_clip::{RgbFrame, TimedFrame, WindowSpec};
use footage_model::conversation::chosen_frames;
use footage_pipeline::{Cancel, DecodeSettings, Decoder, Piece};

/// Frames of a stretch that are kept until it ends. Of a longer one, every second is let go, as
/// often as need be: what is kept stays evenly spread.
const MOST_FRAMES: usize = 512;

/// How stretches are read.
#[derive(Clone, Debug)]
pub(crate) struct Stretches<'a> {
    /// The pace at which frames are looked at, and how many of them stand for a stretch.
    pub window: WindowSpec,
    pub decode: DecodeSettings,
    pub cancel: &'a Cancel,
}

/// A part of a file that is wanted. The end may lie behind the file's.
#[derive(Debug)]
pub(crate) struct Wanted<T> {
    pub what: T,
    pub from_ns: u64,
    pub to_ns: u64,
}

/// A stretch that is being read.
struct Open<T> {
    wanted: Wanted<T>,
    frames: Vec<TimedFrame<RgbFrame>>,
    most: usize,
    /// Every how many frames one is kept.
    every: usize,
    seen: usize,
}

impl<T> Open<T> {
    fn push(&mut self, frame: &TimedFrame<RgbFrame>) {
        if self.seen.is_multiple_of(self.every) {
            self.frames.push(frame.clone());
            if self.frames.len() == self.most {
                let mut count = 0_usize;
                self.frames.retain(|_| {
                    count += 1;
                    count % 2 == 1
                });
                self.every *= 2;
            }
        }
        self.seen += 1;
    }
}

/// Which of `count` frames stand for a stretch: the middles of `wanted` equal parts, as the
/// reference samples when it does not sample at random; the same ones twice where there are too few.
fn spread(count: usize, wanted: usize) -> Vec<usize> {
    let part = count.saturating_sub(1) as f64 / wanted as f64;
    let last = count.saturating_sub(1);
    let at = |i: usize| (part * i as f64).round_ties_even() as usize + (part / 2.0) as usize;
    (0..wanted).map(|i| at(i).min(last)).collect()
}

impl Stretches<'_> {
    /// Reads a file once, from its begin, and gives each stretch as its frames when it has ended, as
    /// many as the window has. Returns those in whose time there was no frame.
    pub(crate) fn read<T>(
        &self,
        path: &Path,
        wanted: Vec<Wanted<T>>,
        mut each: impl FnMut(T, &[RgbFrame]) -> Result<()>,
    ) -> Result<Vec<T>> {
        self.gather(path, wanted, MOST_FRAMES, |what, frames| {
            let at = spread(frames.len(), self.window.length());
            let frames: Vec<RgbFrame> = at.iter().map(|at| frames[*at].frame.clone()).collect();
            each(what, &frames)
        })
    }

    /// The same for who is asked about a stretch: at most `most` frames with their times, none twice.
    pub(crate) fn shown<T>(
        &self,
        path: &Path,
        wanted: Vec<Wanted<T>>,
        most: usize,
        mut each: impl FnMut(T, &[TimedFrame<RgbFrame>]) -> Result<()>,
    ) -> Result<Vec<T>> {
        self.gather(path, wanted, most.saturating_mul(8).clamp(64, MOST_FRAMES), |what, frames| {
            let at = chosen_frames(frames.len(), most);
            let frames: Vec<_> = at.iter().map(|at| frames[*at].clone()).collect();
            each(what, &frames)
        })
    }

    /// Gives each stretch as the frames that are kept of it: fewer than `most`.
    fn gather<T>(
        &self,
        path: &Path,
        wanted: Vec<Wanted<T>>,
        most: usize,
        mut each: impl FnMut(T, &[TimedFrame<RgbFrame>]) -> Result<()>,
    ) -> Result<Vec<T>> {
        let mut unseen = Vec::new();
        let mut finish = |ended: Vec<Open<T>>| -> Result<()> {
            for Open { wanted, frames, .. } in ended {
                if frames.is_empty() {
                    unseen.push(wanted.what);
                    continue;
                }
                each(wanted.what, &frames)?;
            }
            Ok(())
        };
        let open = |wanted| Open { wanted, frames: Vec::new(), most, every: 1, seen: 0 };
        let mut open: Vec<Open<T>> = wanted.into_iter().map(open).collect();
        // One frame after the other, at the pace at which the model looks.
        let frame_by_frame = WindowSpec::try_new(1, 1, self.window.rate())?;
        let mut decoder = Decoder::open(path, &frame_by_frame, &self.decode, self.cancel)?;
        while !open.is_empty()
            && let Some(piece) = decoder.next_piece()?
        {
            let Piece::Clip(cut) = piece else { continue };
            let (from_ns, to_ns) = (cut.span.start_ns, cut.span.end_ns);
            let (ended, still): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|stretch| stretch.wanted.to_ns <= from_ns);
            open = still;
            finish(ended)?;
            for stretch in open.iter_mut().filter(|stretch| stretch.wanted.from_ns < to_ns) {
                cut.frames.iter().for_each(|frame| stretch.push(frame));
            }
        }
        ensure!(!self.cancel.is_cancelled(), "the run was stopped");
        finish(open)?;
        Ok(unseen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_spread_over_a_stretch_and_shown_twice_where_there_are_too_few() {
        assert_eq!(spread(9, 4), [1, 3, 5, 7]);
        assert_eq!(spread(2, 4), [0, 0, 0, 1]);
        assert_eq!(spread(1, 3), [0, 0, 0]);
        for (count, wanted) in [(3, 8), (8, 8), (500, 8), (17, 5)] {
            let at = spread(count, wanted);
            assert!(at.is_sorted() && at.iter().all(|at| *at < count), "{count}: {at:?}");
        }
    }
}
