//! Frames with times in, clips out: sampling and cutting together.

use serde::{Deserialize, Serialize};

use crate::{SlidingWindow, Span, WindowSpec};

/// A frame at its place in a clip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedFrame<F> {
    /// Place on the sampling grid.
    pub slot: u64,
    /// Media time at which this picture began to be shown, in nanoseconds. A picture that is still
    /// shown in later slots appears there again, with the same time: the pair (source, time) is the
    /// frame's identity, and what was computed for it once serves all of them.
    pub time_ns: u64,
    /// The picture.
    pub frame: F,
}

/// A clip as cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut<F> {
    /// Its frames, exactly `length` of them.
    pub frames: Vec<TimedFrame<F>>,
    /// From the first slot's begin to the end of the last slot that was seen. Padding adds no time.
    pub span: Span,
    /// Frames at the end that repeat the last one because the stream ended early.
    pub padded: usize,
}

/// What becomes of the frames left over when a stream ends, or breaks off, in mid-clip.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PartialClip {
    /// The last frame is repeated until the clip is whole: nothing that was seen goes unindexed.
    #[default]
    Pad,
    /// They are left out.
    Drop,
}

/// Samples a stream of timed frames on the grid of a [`WindowSpec`] and cuts the samples into clips.
///
/// The first frame of each slot is taken. A slot without a frame repeats the one before, which is
/// what a viewer would see, unless more than `max_gap_ns` lie between two sampled frames: then the
/// stream was interrupted, and no clip spans the interruption. The same is true where time runs back
/// to an earlier slot.
#[derive(Clone, Debug)]
pub struct Cutter<F> {
    spec: WindowSpec,
    max_gap_ns: u64,
    partial: PartialClip,
    window: SlidingWindow<TimedFrame<F>>,
    last: Option<TimedFrame<F>>,
}

impl<F: Clone> Cutter<F> {
    /// Cuts as `spec` says.
    pub fn new(spec: WindowSpec, max_gap_ns: u64, partial: PartialClip) -> Self {
        Self { spec, max_gap_ns, partial, window: SlidingWindow::new(&spec), last: None }
    }

    /// Whether a frame of this time would be sampled: the first of its slot, or the first after an
    /// interruption. Ask before doing costly work on it.
    pub fn wants(&self, time_ns: u64) -> bool {
        self.last.as_ref().is_none_or(|last| {
            let slot = self.spec.rate().slot_of(time_ns);
            slot > last.slot || self.interrupts(last, time_ns)
        })
    }

    /// Whether the stream was interrupted before a frame of this time: it would begin a new run.
    pub fn breaks_at(&self, time_ns: u64) -> bool {
        self.last.as_ref().is_some_and(|last| self.interrupts(last, time_ns))
    }

    /// Takes the next frame, shown from `time_ns` on, and returns the clips it completes, oldest
    /// first.
    pub fn push(&mut self, time_ns: u64, frame: F) -> Vec<Cut<F>> {
        let mut cuts = Vec::new();
        let slot = self.spec.rate().slot_of(time_ns);
        if let Some(last) = self.last.take() {
            if self.interrupts(&last, time_ns) {
                cuts.extend(self.finish());
            } else if slot == last.slot {
                self.last = Some(last);
                return cuts;
            } else {
                for missed in last.slot + 1..slot {
                    cuts.extend(self.take(TimedFrame { slot: missed, ..last.clone() }));
                }
            }
        }
        let sampled = TimedFrame { slot, time_ns, frame };
        self.last = Some(sampled.clone());
        cuts.extend(self.take(sampled));
        cuts
    }

    /// The stream was interrupted, or ended: completes or drops the clip that had begun. The next
    /// frame begins a new run.
    pub fn finish(&mut self) -> Option<Cut<F>> {
        self.last = None;
        let mut frames = self.window.finish()?;
        if self.partial == PartialClip::Drop {
            return None;
        }
        let padded = self.spec.length() - frames.len();
        let span = self.span_of(&frames);
        let last = frames.last()?.clone();
        frames.resize(self.spec.length(), last);
        Some(Cut { frames, span, padded })
    }

    /// Forgets everything seen: for a flush or a seek.
    pub fn restart(&mut self) {
        self.last = None;
        self.window.restart();
    }

    fn interrupts(&self, last: &TimedFrame<F>, time_ns: u64) -> bool {
        self.spec.rate().slot_of(time_ns) < last.slot
            || time_ns.saturating_sub(last.time_ns) > self.max_gap_ns
    }

    fn take(&mut self, sampled: TimedFrame<F>) -> Option<Cut<F>> {
        let frames = self.window.push(sampled)?;
        Some(Cut { span: self.span_of(&frames), frames, padded: 0 })
    }

    fn span_of(&self, frames: &[TimedFrame<F>]) -> Span {
        let rate = self.spec.rate();
        let first = frames.first().map_or(0, |frame| frame.slot);
        let last = frames.last().map_or(0, |frame| frame.slot);
        Span::new(rate.slot_start_ns(first), rate.slot_start_ns(last + 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Rate;

    const SECOND: u64 = 1_000_000_000;

    fn cutter(length: usize, stride: usize, partial: PartialClip) -> Cutter<u64> {
        let spec = WindowSpec::try_new(length, stride, Rate::try_new(1, 1).unwrap()).unwrap();
        Cutter::new(spec, 5 * SECOND, partial)
    }

    fn times(cut: &Cut<u64>) -> Vec<u64> {
        cut.frames.iter().map(|frame| frame.frame).collect()
    }

    #[test]
    fn the_first_frame_of_each_slot_is_sampled() {
        let mut cutter = cutter(2, 2, PartialClip::Drop);
        let mut cuts = Vec::new();
        for tenth in 0..40 {
            cuts.extend(cutter.push(tenth * SECOND / 10, tenth));
        }
        assert_eq!(cuts.iter().map(times).collect::<Vec<_>>(), [[0, 10], [20, 30]]);
        assert_eq!(cuts[1].span, Span::new(2 * SECOND, 4 * SECOND));
    }

    #[test]
    fn a_slot_without_a_frame_repeats_the_one_still_shown() {
        let mut cutter = cutter(4, 4, PartialClip::Drop);
        let mut cuts = cutter.push(0, 0);
        cuts.extend(cutter.push(3 * SECOND, 3));
        assert_eq!(times(&cuts[0]), [0, 0, 0, 3]);
        assert_eq!(cuts[0].frames[1].time_ns, 0);
        assert_eq!(cuts[0].frames[1].slot, 1);
    }

    #[test]
    fn no_clip_spans_a_gap() {
        let mut cutter = cutter(4, 2, PartialClip::Pad);
        let mut cuts = Vec::new();
        for second in [0, 1, 2, 20, 21, 22, 23] {
            cuts.extend(cutter.push(second * SECOND, second));
        }
        assert_eq!(cuts.iter().map(times).collect::<Vec<_>>(), [[0, 1, 2, 2], [20, 21, 22, 23]]);
        assert_eq!((cuts[0].padded, cuts[0].span), (1, Span::new(0, 3 * SECOND)));
    }

    #[test]
    fn time_that_runs_backwards_begins_a_new_run() {
        let mut cutter = cutter(2, 1, PartialClip::Drop);
        let mut cuts = Vec::new();
        for second in [5, 6, 0, 1] {
            cuts.extend(cutter.push(second * SECOND, second));
        }
        assert_eq!(cuts.iter().map(times).collect::<Vec<_>>(), [[5, 6], [0, 1]]);
    }

    #[test]
    fn only_a_frame_after_an_interruption_breaks_the_run() {
        let mut cutter = cutter(4, 2, PartialClip::Pad);
        assert!(!cutter.breaks_at(7 * SECOND));
        cutter.push(3 * SECOND, 3);
        let breaks = [2, 3, 8, 9].map(|second| cutter.breaks_at(second * SECOND));
        assert_eq!(breaks, [true, false, false, true]);
    }

    #[test]
    fn a_partial_clip_is_padded_or_dropped_as_asked() {
        let run = |partial| {
            let mut cutter = cutter(4, 2, partial);
            for second in 0..5 {
                cutter.push(second * SECOND, second);
            }
            cutter.finish().map(|cut| times(&cut))
        };
        assert_eq!(run(PartialClip::Pad), Some(vec![2, 3, 4, 4]));
        assert_eq!(run(PartialClip::Drop), None);
    }

    proptest! {
        #[test]
        fn sampling_what_was_sampled_changes_nothing(
            steps in proptest::collection::vec(1u64..3 * SECOND, 0..80),
            length in 1usize..9, stride in 1usize..9,
        ) {
            let stride = stride.min(length);
            let mut all = cutter(length, stride, PartialClip::Pad);
            let mut thinned = cutter(length, stride, PartialClip::Pad);
            let (mut from_all, mut from_thinned, mut time) = (vec![], vec![], 0);
            for step in steps {
                if thinned.wants(time) {
                    from_thinned.extend(thinned.push(time, time));
                }
                from_all.extend(all.push(time, time));
                time += step;
            }
            from_all.extend(all.finish());
            from_thinned.extend(thinned.finish());
            prop_assert_eq!(from_all, from_thinned);
        }

        #[test]
        fn clips_are_whole_and_their_slots_follow_each_other(
            steps in proptest::collection::vec(0u64..8 * SECOND, 0..60), length in 1usize..9,
        ) {
            let mut cutter = cutter(length, length.div_ceil(2), PartialClip::Pad);
            let (mut cuts, mut time) = (vec![], 0);
            for step in steps {
                time += step;
                cuts.extend(cutter.push(time, time));
            }
            cuts.extend(cutter.finish());
            for cut in cuts {
                prop_assert_eq!(cut.frames.len(), length);
                let real = &cut.frames[..length - cut.padded];
                prop_assert!(real.windows(2).all(|pair| pair[1].slot == pair[0].slot + 1));
                prop_assert_eq!(cut.span.duration_ns(), real.len() as u64 * SECOND);
            }
        }
    }
}
