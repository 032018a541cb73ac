//! A source's timeline with each instant in one state, or in none.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Coverage, Run};
use crate::{ClipState, LostReason, Span};

/// A stretch of time in one state: `[start_ns, end_ns)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// First nanosecond.
    pub start_ns: u64,
    /// First nanosecond after the end.
    pub end_ns: u64,
    /// What became of it.
    #[serde(flatten)]
    pub state: ClipState,
}

impl Stretch {
    /// Where it lies.
    pub fn span(&self) -> Span {
        Span::new(self.start_ns, self.end_ns)
    }
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
    /// Clips indexed that share an instant with it.
    pub indexed_clips: u64,
    /// Clips gated that do.
    pub gated_clips: u64,
    /// Clips lost that do.
    pub lost_clips: u64,
}

impl Coverage {
    /// What of `window` is covered, as stretches that do not overlap, by start. An instant that
    /// several clips share is in the best of their states.
    pub fn states(&self, window: Span) -> Vec<Stretch> {
        let mut edges = Vec::new();
        for Stretch { start_ns, end_ns, state } in self.covering(window) {
            edges.push((start_ns.max(window.start_ns), true, state));
            edges.push((end_ns.min(window.end_ns), false, state));
        }
        edges.sort_unstable();
        let mut open: BTreeMap<ClipState, usize> = BTreeMap::new();
        let mut states: Vec<Stretch> = Vec::new();
        let mut reached = window.start_ns;
        for (at_ns, begins, state) in edges {
            if let Some((best, _)) = open.first_key_value()
                && reached < at_ns
            {
                append(&mut states, Stretch { start_ns: reached, end_ns: at_ns, state: *best });
            }
            reached = at_ns;
            let count = open.entry(state).or_default();
            // At one instant, ends sort before beginnings, and no stretch begins after its end.
            *count = if begins { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                open.remove(&state);
            }
        }
        states
    }

    /// What of `window` nothing is known of, by start.
    pub fn holes(&self, window: Span) -> Vec<Span> {
        let mut holes = Vec::new();
        let mut reached = window.start_ns;
        for stretch in self.states(window) {
            if reached < stretch.start_ns {
                holes.push(Span::new(reached, stretch.start_ns));
            }
            reached = stretch.end_ns;
        }
        if reached < window.end_ns {
            holes.push(Span::new(reached, window.end_ns));
        }
        holes
    }

    /// Time covered within `window`, each instant once, and the clips that share an instant with it.
    pub fn summary(&self, window: Span) -> CoverageSummary {
        let mut summary = CoverageSummary::default();
        for stretch in self.states(window) {
            let ns = stretch.span().duration_ns();
            match stretch.state {
                ClipState::Indexed => summary.indexed_ns += ns,
                ClipState::Gated => summary.gated_ns += ns,
                ClipState::Lost(reason) => *summary.lost_ns.entry(reason).or_default() += ns,
            }
        }
        for run in self.runs_within(window) {
            match run.state {
                ClipState::Indexed => summary.indexed_clips += run.clips,
                ClipState::Gated => summary.gated_clips += run.clips,
                ClipState::Lost(_) => summary.lost_clips += run.clips,
            }
        }
        summary
    }

    /// Where the state in which `at_ns` is begins to differ: the end of the stretch of that state
    /// around it; `at_ns` itself where it is in another state.
    pub fn end_of_state(&self, at_ns: u64, state: ClipState) -> u64 {
        /// What is looked at first. A longer stretch is followed in ever longer parts.
        const FIRST_LOOK_NS: u64 = 60_000_000_000;
        let (mut reached, mut look) = (at_ns, FIRST_LOOK_NS);
        loop {
            let window = Span::new(reached, reached.saturating_add(look));
            match self.states(window).first() {
                Some(first) if first.state == state && first.start_ns == reached => {
                    let is_all = first.end_ns == window.end_ns && window.duration_ns() == look;
                    reached = first.end_ns;
                    look = look.saturating_mul(2);
                    if !is_all {
                        return reached;
                    }
                }
                _ => return reached,
            }
        }
    }

    /// The clips that share an instant with `window`.
    pub(super) fn runs_within(&self, window: Span) -> impl Iterator<Item = Run> {
        let before_end = self.runs.range(..window.end_ns).rev().map(|(_, run)| run);
        // Going back, runs end their starts ever earlier: beyond the longest clip none reaches here.
        let longest = self.longest_clip_ns;
        let near = before_end
            .take_while(move |run| run.last_ns().saturating_add(longest) > window.start_ns);
        near.filter_map(move |run| run.within(window))
    }

    /// What covers `window` in part or whole, overlapping, in no order.
    fn covering(&self, window: Span) -> impl Iterator<Item = Stretch> {
        let of_run = |run: Run| {
            let Span { start_ns, end_ns, .. } = run.span();
            Stretch { start_ns, end_ns, state: run.state }
        };
        let stretches = LostReason::WITHOUT_CLIPS.into_iter().flat_map(move |reason| {
            let before_end = self.without_clips.range((reason, 0)..(reason, window.end_ns)).rev();
            let stretches = before_end.map(move |((_, start_ns), end_ns)| Stretch {
                start_ns: *start_ns,
                end_ns: *end_ns,
                state: ClipState::Lost(reason),
            });
            stretches.take_while(move |stretch| stretch.end_ns > window.start_ns)
        });
        let stretches = stretches.filter(move |_| window.duration_ns() > 0);
        self.runs_within(window).map(of_run).chain(stretches)
    }
}

/// Adds a stretch to the end, to the one before it where that ends there in the same state.
fn append(states: &mut Vec<Stretch>, stretch: Stretch) {
    match states.last_mut() {
        Some(last) if last.state == stretch.state && last.end_ns == stretch.start_ns => {
            last.end_ns = stretch.end_ns;
        }
        _ => states.push(stretch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: ClipState = ClipState::Lost(LostReason::EmbedError);

    #[test]
    fn an_instant_that_clips_share_counts_once_for_its_best_state() {
        let mut coverage = Coverage::default();
        coverage.enter(Span::new(0, 8), ClipState::Indexed);
        coverage.enter(Span::new(4, 12), LOST);
        let summary = coverage.summary(Span::new(0, 100));
        assert_eq!(summary.indexed_ns, 8);
        assert_eq!(summary.lost_ns[&LostReason::EmbedError], 4);
        assert_eq!((summary.indexed_clips, summary.lost_clips), (1, 1));
        assert_eq!(coverage.holes(Span::new(0, 100)), [Span::new(12, 100)]);
    }

    #[test]
    fn a_summary_is_cut_to_the_time_asked_for() {
        let mut coverage = Coverage::default();
        coverage.enter(Span::new(0, 8), ClipState::Indexed);
        assert_eq!(coverage.summary(Span::new(6, 20)).indexed_ns, 2);
        assert_eq!(coverage.summary(Span::new(9, 20)).indexed_ns, 0);
    }

    #[test]
    fn a_state_is_followed_to_its_end_however_long_it_lasts() {
        const S: u64 = 1_000_000_000;
        let mut coverage = Coverage::default();
        for at in 0..10_000 {
            coverage.enter(Span::new(at * 2 * S, (at * 2 + 4) * S), ClipState::Gated);
        }
        coverage.enter(Span::new(20_002 * S, 20_006 * S), ClipState::Indexed);
        for at in [0, 4, 61, 19_999] {
            assert_eq!(coverage.end_of_state(at * S, ClipState::Gated), 20_002 * S);
        }
        assert_eq!(coverage.end_of_state(5, ClipState::Indexed), 5);
        assert_eq!(coverage.end_of_state(20_004 * S, ClipState::Gated), 20_004 * S);
        assert_eq!(coverage.end_of_state(30_000 * S, ClipState::Gated), 30_000 * S);
    }
}
