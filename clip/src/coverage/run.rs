//! Clips of one state at an even distance from each other.

use crate::{ClipState, Span};

/// A run of clips: of one state and one length, each starting `step_ns` after the one before it and
/// before that one ends. So a run covers one stretch of time without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    pub state: ClipState,
}

impl Run {
    /// A run of one clip.
    pub(super) fn of(clip: Span, state: ClipState) -> Self {
        Self { first_ns: clip.start_ns, step_ns: 0, clips: 1, clip_ns: clip.duration_ns(), state }
    }

    /// Start of the last clip.
    pub fn last_ns(&self) -> u64 {
        self.first_ns + self.step_ns * self.clips.saturating_sub(1)
    }

    /// From the start of the first clip to the end of the last.
    pub fn span(&self) -> Span {
        Span::new(self.first_ns, self.last_ns() + self.clip_ns)
    }

    /// Starts of the clips.
    pub fn starts(&self) -> impl Iterator<Item = u64> + use<> {
        let Self { first_ns, step_ns, clips, .. } = *self;
        (0..clips).map(move |at| first_ns + at * step_ns)
    }

    /// The clips that share an instant with `span`; none where none does.
    #[must_use]
    pub fn within(&self, span: Span) -> Option<Self> {
        if span.duration_ns() == 0 {
            return None;
        }
        // Clips before this one end before the span starts, or as it does.
        let from = match span.start_ns.checked_sub(self.first_ns + self.clip_ns) {
            None => 0,
            Some(since) => self.steps(since) + 1,
        };
        self.part(from, self.starting_before(span.end_ns))
    }

    /// Whole steps in so much time.
    fn steps(&self, ns: u64) -> u64 {
        ns.checked_div(self.step_ns).unwrap_or(0)
    }

    /// Which clip starts at `start_ns`, counted from 0.
    pub(super) fn position_of(&self, start_ns: u64) -> Option<u64> {
        let offset = start_ns.checked_sub(self.first_ns)?;
        let at = self.steps(offset);
        (at < self.clips && at * self.step_ns == offset).then_some(at)
    }

    /// Number of clips that start before `start_ns`.
    pub(super) fn starting_before(&self, start_ns: u64) -> u64 {
        match start_ns.checked_sub(self.first_ns) {
            None | Some(0) => 0,
            Some(offset) => (self.steps(offset - 1) + 1).min(self.clips),
        }
    }

    /// Clips `from..to`, counted from 0.
    pub(super) fn part(&self, from: u64, to: u64) -> Option<Self> {
        let clips = to.checked_sub(from).filter(|clips| *clips > 0)?;
        let step_ns = if clips == 1 { 0 } else { self.step_ns };
        Some(Self { first_ns: self.first_ns + from * self.step_ns, step_ns, clips, ..*self })
    }

    /// This run and a later one as one, where they are.
    pub(super) fn joined(&self, later: &Self) -> Option<Self> {
        let step_ns = later.first_ns.checked_sub(self.last_ns())?;
        let in_step = |run: &Self| run.clips == 1 || run.step_ns == step_ns;
        let is_one = self.state == later.state
            && self.clip_ns == later.clip_ns
            && (1..=self.clip_ns).contains(&step_ns)
            && in_step(self)
            && in_step(later);
        is_one.then_some(Self { step_ns, clips: self.clips + later.clips, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_lies_within_a_span_is_every_clip_that_shares_an_instant_with_it(
            first in 0u64..20, step in 1u64..6, more in 0u64..6, clips in 1u64..8,
            start in 0u64..70, length in 0u64..40,
        ) {
            let step_ns = if clips == 1 { 0 } else { step };
            let run =
                Run { first_ns: first, step_ns, clips, clip_ns: step + more, state: ClipState::Gated };
            let span = Span::new(start, start + length);
            let expected: Vec<u64> = run
                .starts()
                .filter(|start| *start < span.end_ns && start + run.clip_ns > span.start_ns)
                .collect();
            let expected = if length == 0 { Vec::new() } else { expected };
            let found: Vec<u64> = run.within(span).iter().flat_map(Run::starts).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
