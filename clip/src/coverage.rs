//! The ledger of a source's timeline: every clip is indexed, gated or lost.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Span;

/// How a clip ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum ClipState {
    /// It can be found.
    Indexed,
    /// Nothing new to see: covered by the clip before.
    Gated,
    /// It cannot be found, and why.
    Lost(LostReason),
}

/// Why a clip cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostReason {
    /// The footage could not be decoded.
    DecodeError,
    /// The model gave no usable embedding.
    EmbedError,
    /// The index refused the record.
    Refused,
    /// More came from live sources than could be embedded in time.
    Overload,
    /// The source was connected and gave no pictures.
    Stalled,
    /// The source could not be reached.
    Disconnected,
    /// Nobody was watching: the process did not run, or the source was paused.
    Stopped,
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DecodeError => "decode error",
            Self::EmbedError => "embed error",
            Self::Refused => "refused by the index",
            Self::Overload => "overload",
            Self::Stalled => "stalled",
            Self::Disconnected => "disconnected",
            Self::Stopped => "stopped",
        })
    }
}

/// Clips of one state at an even distance from each other: a run-length code of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// Start of the first clip.
    pub first_ns: u64,
    /// From one start to the next; 0 while there is only one clip.
    pub step_ns: u64,
    /// Number of clips, at least 1.
    pub clips: u64,
    /// Length of each clip.
    pub clip_ns: u64,
    /// How they ended.
    #[serde(flatten)]
    pub state: ClipState,
}

impl Run {
    fn last_ns(&self) -> u64 {
        self.first_ns + self.step_ns * (self.clips - 1)
    }

    /// From the start of the first clip to the end of the last.
    pub fn span(&self) -> Span {
        Span::new(self.first_ns, self.last_ns() + self.clip_ns)
    }

    fn position_of(&self, start_ns: u64) -> Option<u64> {
        let offset = start_ns.checked_sub(self.first_ns)?;
        let at = offset.checked_div(self.step_ns).unwrap_or(0);
        (at < self.clips && at * self.step_ns == offset).then_some(at)
    }

    /// Clips `from..to` of this run, counted from 0.
    fn part(&self, from: u64, to: u64) -> Option<Self> {
        let clips = to.checked_sub(from).filter(|clips| *clips > 0)?;
        let step_ns = if clips == 1 { 0 } else { self.step_ns };
        Some(Self { first_ns: self.first_ns + from * self.step_ns, step_ns, clips, ..*self })
    }
}

/// What became of every clip of one source.
///
/// Clips are known by their start. Entering a clip again changes nothing, except that an indexed
/// clip wins over a gated, and both over a lost one: what was lost can still be found later, and
/// what was found is never lost again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Coverage {
    runs: Vec<Run>,
}

/// How much of a stretch of time is covered, in nanoseconds of media time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageSummary {
    /// Can be found.
    pub indexed_ns: u64,
    /// Nothing new to see.
    pub gated_ns: u64,
    /// Cannot be found, by reason.
    pub lost_ns: BTreeMap<LostReason, u64>,
    /// Clips indexed.
    pub indexed_clips: u64,
    /// Clips gated.
    pub gated_clips: u64,
    /// Clips lost.
    pub lost_clips: u64,
}

impl Coverage {
    /// The runs, by start.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// What became of the clip that starts at `start_ns`.
    pub fn state_of(&self, start_ns: u64) -> Option<ClipState> {
        self.find(start_ns).map(|(run, _)| self.runs[run].state)
    }

    /// Enters a clip. Returns whether the ledger changed.
    pub fn enter(&mut self, clip: Span, state: ClipState) -> bool {
        if let Some((run, at)) = self.find(clip.start_ns) {
            // `ClipState` orders from best to worst.
            if self.runs[run].state <= state {
                return false;
            }
            self.take_out(run, at);
        }
        self.insert(Run {
            first_ns: clip.start_ns,
            step_ns: 0,
            clips: 1,
            clip_ns: clip.duration_ns(),
            state,
        });
        true
    }

    /// Number of clips in a state that `which` accepts.
    pub fn clips(&self, which: impl Fn(ClipState) -> bool) -> u64 {
        self.runs.iter().filter(|run| which(run.state)).map(|run| run.clips).sum()
    }

    /// Time covered within `window`. An instant that several clips share counts once, for the best
    /// of their states.
    pub fn summary(&self, window: Span) -> CoverageSummary {
        let mut summary = CoverageSummary {
            indexed_clips: self.clips(|state| state == ClipState::Indexed),
            gated_clips: self.clips(|state| state == ClipState::Gated),
            lost_clips: self.clips(|state| matches!(state, ClipState::Lost(_))),
            ..CoverageSummary::default()
        };
        for (state, covered) in self.covered_by_state(window) {
            match state {
                ClipState::Indexed => summary.indexed_ns += covered,
                ClipState::Gated => summary.gated_ns += covered,
                ClipState::Lost(reason) => *summary.lost_ns.entry(reason).or_default() += covered,
            }
        }
        summary
    }

    fn covered_by_state(&self, window: Span) -> Vec<(ClipState, u64)> {
        let mut spans: Vec<(ClipState, Span)> = self.runs.iter().flat_map(Self::spans_of).collect();
        spans.sort_by_key(|(state, span)| (*state, span.start_ns));
        let mut taken: Vec<Span> = Vec::new();
        let mut covered = Vec::new();
        for (state, span) in spans {
            let clipped = Span::new(
                span.start_ns.max(window.start_ns),
                span.end_ns.min(window.end_ns).max(span.start_ns.max(window.start_ns)),
            );
            covered.push((state, cover(&mut taken, clipped)));
        }
        covered
    }

    /// The time a run covers: one span when its clips touch, one per clip otherwise.
    fn spans_of(run: &Run) -> Vec<(ClipState, Span)> {
        if run.step_ns <= run.clip_ns {
            return vec![(run.state, run.span())];
        }
        (0..run.clips)
            .map(|at| run.first_ns + at * run.step_ns)
            .map(|start| (run.state, Span::new(start, start + run.clip_ns)))
            .collect()
    }

    fn find(&self, start_ns: u64) -> Option<(usize, u64)> {
        // Runs may interleave where a lost clip lies amid indexed ones, so all that begin early
        // enough are candidates; the latest is nearly always the one.
        let end = self.runs.partition_point(|run| run.first_ns <= start_ns);
        (0..end).rev().find_map(|run| self.runs[run].position_of(start_ns).map(|at| (run, at)))
    }

    fn take_out(&mut self, run: usize, at: u64) {
        let whole = self.runs.remove(run);
        // Other runs may begin between the two parts, so each finds its own place.
        for part in [whole.part(0, at), whole.part(at + 1, whole.clips)].into_iter().flatten() {
            let at = self.runs.partition_point(|run| run.first_ns <= part.first_ns);
            self.runs.insert(at, part);
        }
    }

    fn insert(&mut self, clip: Run) {
        let at = self.runs.partition_point(|run| run.first_ns <= clip.first_ns);
        if let Some(before) = at.checked_sub(1).map(|before| &mut self.runs[before]) {
            let gap = clip.first_ns - before.last_ns().min(clip.first_ns);
            let fits = before.state == clip.state
                && before.clip_ns == clip.clip_ns
                && clip.first_ns > before.last_ns()
                && (before.clips == 1 || before.step_ns == gap);
            if fits {
                before.step_ns = gap;
                before.clips += 1;
                return;
            }
        }
        self.runs.insert(at, clip);
    }
}

/// The same entries give the same runs, in whatever order they come.
impl FromIterator<(Span, ClipState)> for Coverage {
    fn from_iter<I: IntoIterator<Item = (Span, ClipState)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_key(|(clip, state)| (clip.start_ns, *state));
        entries.dedup_by_key(|(clip, _)| clip.start_ns);
        let mut coverage = Self::default();
        for (clip, state) in entries {
            coverage.insert(Run {
                first_ns: clip.start_ns,
                step_ns: 0,
                clips: 1,
                clip_ns: clip.duration_ns(),
                state,
            });
        }
        coverage
    }
}

/// Adds `span` to `taken`, which stays sorted and disjoint; returns the time it added.
fn cover(taken: &mut Vec<Span>, span: Span) -> u64 {
    if span.duration_ns() == 0 {
        return 0;
    }
    let first = taken.partition_point(|held| held.end_ns < span.start_ns);
    let last = taken.partition_point(|held| held.start_ns <= span.end_ns);
    let before: u64 = taken[first..last].iter().map(Span::duration_ns).sum();
    let merged = taken[first..last].iter().fold(span, |merged, held| {
        Span::new(merged.start_ns.min(held.start_ns), merged.end_ns.max(held.end_ns))
    });
    taken.splice(first..last, [merged]);
    merged.duration_ns() - before
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOST: ClipState = ClipState::Lost(LostReason::EmbedError);

    fn clip(start: u64) -> Span {
        Span::new(start * 4, start * 4 + 8)
    }

    #[test]
    fn clips_of_one_grid_and_state_are_one_run() {
        let mut coverage = Coverage::default();
        for start in 0..100 {
            assert!(coverage.enter(clip(start), ClipState::Indexed));
        }
        assert_eq!(coverage.runs().len(), 1);
        assert_eq!(coverage.clips(|state| state == ClipState::Indexed), 100);
    }

    #[test]
    fn what_was_lost_can_be_indexed_later_but_not_the_reverse() {
        let mut coverage = Coverage::default();
        for start in 0..5 {
            coverage.enter(clip(start), LOST);
        }
        assert!(coverage.enter(clip(2), ClipState::Indexed));
        assert!(!coverage.enter(clip(2), LOST));
        assert_eq!(coverage.state_of(clip(2).start_ns), Some(ClipState::Indexed));
        assert_eq!(coverage.clips(|state| state == LOST), 4);
    }

    #[test]
    fn an_instant_that_clips_share_counts_once_for_its_best_state() {
        let mut coverage = Coverage::default();
        coverage.enter(Span::new(0, 8), ClipState::Indexed);
        coverage.enter(Span::new(4, 12), LOST);
        let summary = coverage.summary(Span::new(0, 100));
        assert_eq!(summary.indexed_ns, 8);
        assert_eq!(summary.lost_ns[&LostReason::EmbedError], 4);
        assert_eq!((summary.indexed_clips, summary.lost_clips), (1, 1));
    }

    #[test]
    fn a_summary_is_cut_to_the_time_asked_for() {
        let mut coverage = Coverage::default();
        coverage.enter(Span::new(0, 8), ClipState::Indexed);
        assert_eq!(coverage.summary(Span::new(6, 20)).indexed_ns, 2);
        assert_eq!(coverage.summary(Span::new(9, 20)).indexed_ns, 0);
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_plain_map(
            entries in proptest::collection::vec((0u64..40, 0usize..3), 0..200),
        ) {
            let states = [ClipState::Indexed, ClipState::Gated, LOST];
            let (mut coverage, mut map) = (Coverage::default(), BTreeMap::new());
            for (start, state) in entries {
                coverage.enter(clip(start), states[state]);
                let held = map.entry(start).or_insert(states[state]);
                *held = (*held).min(states[state]);
            }
            for start in 0..40 {
                prop_assert_eq!(coverage.state_of(clip(start).start_ns), map.get(&start).copied());
            }
            for state in states {
                let expected = map.values().filter(|held| **held == state).count() as u64;
                prop_assert_eq!(coverage.clips(|held| held == state), expected);
            }
            let rebuilt: Coverage =
                map.iter().rev().map(|(start, state)| (clip(*start), *state)).collect();
            for start in 0..40 {
                prop_assert_eq!(rebuilt.state_of(clip(start).start_ns), map.get(&start).copied());
            }
            let summary = coverage.summary(Span::new(0, 1000));
            prop_assert_eq!(&summary, &rebuilt.summary(Span::new(0, 1000)));
            let instants = |wanted: ClipState| (0..200u64).filter(|instant| {
                let best = map.iter()
                    .filter(|(start, _)| (**start * 4..**start * 4 + 8).contains(instant))
                    .map(|(_, state)| *state)
                    .min();
                best == Some(wanted)
            }).count() as u64;
            prop_assert_eq!(summary.indexed_ns, instants(ClipState::Indexed));
            prop_assert_eq!(summary.gated_ns, instants(ClipState::Gated));
        }
    }
}
