//! The ledger of a source's timeline: what became of every clip, and of the time without clips.

mod run;
mod states;

use std::collections::BTreeMap;

pub use self::run::Run;
pub use self::states::{CoverageSummary, Stretch};
use crate::{ClipState, LostReason, Span};

/// What became of every clip of one source, and of the time in which there were none.
///
/// Clips are known by their start. Entering a clip again changes nothing, except that an indexed
/// clip wins over a gated, and both over a lost one: what was lost can still be found later, and
/// what was found is never lost again.
///
/// Time [without clips](LostReason::is_without_clips) is no clip: however it is cut into pieces,
/// pieces of one reason that touch are one stretch.
///
/// Two coverages are equal when they tell the same of every clip and every instant.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// By their first start. No clip of one run starts amid another, so whatever is asked of a clip
    /// is asked of one run.
    runs: BTreeMap<u64, Run>,
    /// Ends of stretches without clips, by reason and start. Those of one reason never touch.
    without_clips: BTreeMap<(LostReason, u64), u64>,
    /// No clip was ever longer: how far back those lie that may reach to an instant.
    longest_clip_ns: u64,
}

impl Coverage {
    /// A coverage as [`runs`](Self::runs) and [`without_clips`](Self::without_clips) told it.
    pub fn restore(
        runs: impl IntoIterator<Item = Run>,
        without_clips: impl IntoIterator<Item = Stretch>,
    ) -> Self {
        let mut coverage = Self::default();
        for run in runs {
            coverage.put(run);
        }
        for stretch in without_clips {
            coverage.enter(stretch.span(), stretch.state);
        }
        coverage
    }

    /// The clips as runs, by start. The same clips may make other runs where they were entered in
    /// another order.
    pub fn runs(&self) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.values()
    }

    /// The stretches without clips, by reason and start.
    pub fn without_clips(&self) -> impl Iterator<Item = Stretch> {
        self.without_clips.iter().map(|((reason, start_ns), end_ns)| Stretch {
            start_ns: *start_ns,
            end_ns: *end_ns,
            state: ClipState::Lost(*reason),
        })
    }

    /// What became of the clip that starts at `start_ns`.
    pub fn state_of(&self, start_ns: u64) -> Option<ClipState> {
        self.find(start_ns).map(|(run, _)| run.state)
    }

    /// Enters a clip, or a stretch without clips. Returns whether the ledger changed.
    pub fn enter(&mut self, span: Span, state: ClipState) -> bool {
        if let ClipState::Lost(reason) = state
            && reason.is_without_clips()
        {
            return self.enter_without_clips(span, reason);
        }
        if let Some((run, at)) = self.find(span.start_ns) {
            if run.state <= state {
                return false;
            }
            self.runs.remove(&run.first_ns);
            let parts = [run.part(0, at), run.part(at + 1, run.clips)];
            parts.into_iter().flatten().for_each(|part| self.put(part));
        }
        self.insert(Run::of(span, state));
        true
    }

    /// Number of clips in a state that `which` accepts.
    pub fn clips(&self, which: impl Fn(ClipState) -> bool) -> u64 {
        self.runs().filter(|run| which(run.state)).map(|run| run.clips).sum()
    }

    /// From the first instant that is covered to the last; none where nothing is.
    pub fn span(&self) -> Option<Span> {
        let clips = self.runs().map(Run::span);
        let all = clips.chain(self.without_clips().map(|stretch| stretch.span()));
        all.reduce(|a, b| Span::new(a.start_ns.min(b.start_ns), a.end_ns.max(b.end_ns)))
    }

    fn find(&self, start_ns: u64) -> Option<(Run, u64)> {
        let (_, run) = self.runs.range(..=start_ns).next_back()?;
        run.position_of(start_ns).map(|at| (*run, at))
    }

    /// Adds a clip that is not there, to a run beside it where it continues one.
    fn insert(&mut self, clip: Run) {
        self.open(clip.first_ns);
        let mut clip = clip;
        let before = self.runs.range(..clip.first_ns).next_back().map(|(_, run)| *run);
        if let Some(joined) = before.and_then(|before| before.joined(&clip)) {
            clip = joined;
        }
        let after = self.runs.range(clip.last_ns()..).next().map(|(_, run)| *run);
        if let Some((after, joined)) = after.and_then(|after| Some((after, clip.joined(&after)?))) {
            self.runs.remove(&after.first_ns);
            clip = joined;
        }
        self.put(clip);
    }

    /// Splits the run that has clips on both sides of `start_ns`, where there is one.
    fn open(&mut self, start_ns: u64) {
        let Some((_, &run)) = self.runs.range(..start_ns).next_back() else { return };
        let before = run.starting_before(start_ns);
        if before < run.clips {
            let parts = [run.part(0, before), run.part(before, run.clips)];
            parts.into_iter().flatten().for_each(|part| self.put(part));
        }
    }

    fn put(&mut self, run: Run) {
        self.longest_clip_ns = self.longest_clip_ns.max(run.clip_ns);
        self.runs.insert(run.first_ns, run);
    }

    fn enter_without_clips(&mut self, span: Span, reason: LostReason) -> bool {
        if span.duration_ns() == 0 {
            return false;
        }
        let touching: Vec<Span> = self
            .without_clips
            .range((reason, 0)..=(reason, span.end_ns))
            .rev()
            .map(|((_, start_ns), end_ns)| Span::new(*start_ns, *end_ns))
            .take_while(|held| held.end_ns >= span.start_ns)
            .collect();
        let all = touching.iter().fold(Span::new(span.start_ns, span.end_ns), |all, held| {
            Span::new(all.start_ns.min(held.start_ns), all.end_ns.max(held.end_ns))
        });
        if touching.contains(&all) {
            return false;
        }
        for held in touching {
            self.without_clips.remove(&(reason, held.start_ns));
        }
        self.without_clips.insert((reason, all.start_ns), all.end_ns);
        true
    }

    /// Start, length and state of each clip, by start.
    fn each_clip(&self) -> impl Iterator<Item = (u64, u64, ClipState)> {
        self.runs().flat_map(|run| run.starts().map(|start| (start, run.clip_ns, run.state)))
    }
}

impl PartialEq for Coverage {
    fn eq(&self, other: &Self) -> bool {
        self.without_clips == other.without_clips && self.each_clip().eq(other.each_clip())
    }
}

impl Eq for Coverage {}

/// The same entries give the same runs, in whatever order they come.
impl FromIterator<(Span, ClipState)> for Coverage {
    fn from_iter<I: IntoIterator<Item = (Span, ClipState)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by_key(|(clip, state)| (clip.start_ns, *state, clip.end_ns));
        let mut coverage = Self::default();
        for (clip, state) in entries {
            coverage.enter(clip, state);
        }
        coverage
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOST: ClipState = ClipState::Lost(LostReason::EmbedError);
    const AWAY: ClipState = ClipState::Lost(LostReason::Disconnected);

    fn clip(start: u64) -> Span {
        Span::new(start * 4, start * 4 + 8)
    }

    #[test]
    fn clips_of_one_grid_and_state_are_one_run() {
        let mut coverage = Coverage::default();
        for start in 0..100 {
            assert!(coverage.enter(clip(start), ClipState::Indexed));
        }
        assert_eq!(coverage.runs().count(), 1);
        assert_eq!(coverage.clips(|state| state == ClipState::Indexed), 100);
    }

    #[test]
    fn a_clip_that_fills_a_gap_makes_one_run_of_both_sides() {
        let mut coverage = Coverage::default();
        for start in (0..100).filter(|start| start % 10 != 5) {
            coverage.enter(clip(start), ClipState::Indexed);
        }
        for start in (0..100).filter(|start| start % 10 == 5).rev() {
            coverage.enter(clip(start), LOST);
        }
        assert_eq!(coverage.runs().count(), 21);
        for start in 0..100 {
            coverage.enter(clip(start), ClipState::Indexed);
        }
        assert_eq!(coverage.runs().count(), 1);
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
    fn time_without_clips_told_in_pieces_is_one_stretch_and_no_clip() {
        let mut coverage = Coverage::default();
        let ends = [0, 61, 120, 183, 240, 1000];
        for piece in ends.windows(2) {
            assert!(coverage.enter(Span::new(piece[0], piece[1]), AWAY));
        }
        for piece in ends.windows(2) {
            assert!(!coverage.enter(Span::new(piece[0], piece[1]), AWAY), "told again");
        }
        let whole = Stretch { start_ns: 0, end_ns: 1000, state: AWAY };
        assert_eq!(coverage.without_clips().collect::<Vec<_>>(), [whole]);
        assert_eq!(coverage.clips(|_| true), 0);
    }

    #[test]
    fn a_clip_found_where_nobody_was_thought_to_watch_leaves_the_rest_of_that_stretch() {
        let mut coverage = Coverage::default();
        coverage.enter(Span::new(0, 100), AWAY);
        coverage.enter(Span::new(0, 8), ClipState::Indexed);
        let states = coverage.states(Span::new(0, 200));
        let of = |start_ns, end_ns, state| Stretch { start_ns, end_ns, state };
        assert_eq!(states, [of(0, 8, ClipState::Indexed), of(8, 100, AWAY)]);
    }

    /// A clip's length and state; stretches as their instants.
    #[derive(Default)]
    struct Plain {
        clips: BTreeMap<u64, (u64, ClipState)>,
        without: BTreeMap<u64, ClipState>,
    }

    const STATES: [ClipState; 5] =
        [ClipState::Indexed, ClipState::Gated, LOST, AWAY, ClipState::Lost(LostReason::Stopped)];
    const END: u64 = 260;

    impl Plain {
        fn enter(&mut self, span: Span, state: ClipState) {
            if matches!(state, ClipState::Lost(reason) if reason.is_without_clips()) {
                for instant in span.start_ns..span.end_ns {
                    let held = self.without.entry(instant).or_insert(state);
                    *held = state.min(*held);
                }
                return;
            }
            let given = (span.duration_ns(), state);
            let held = self.clips.entry(span.start_ns).or_insert(given);
            if state < held.1 {
                *held = given;
            }
        }

        fn at(&self, instant: u64) -> Option<ClipState> {
            let clips = self.clips.range(..=instant);
            let clips = clips.filter(|(start, (length, _))| **start + length > instant);
            clips.map(|(_, (_, state))| *state).chain(self.without.get(&instant).copied()).min()
        }
    }

    fn entries() -> impl Strategy<Value = Vec<(Span, ClipState)>> {
        // Mostly on a grid, as clips are, and sometimes not.
        let start = prop_oneof![4 => (0u64..50).prop_map(|at| at * 4), 1 => 0u64..200];
        let length = prop_oneof![4 => Just(8u64), 1 => 1u64..40];
        let entry = (start, length, 0..STATES.len());
        let entry = entry
            .prop_map(|(start, length, state)| (Span::new(start, start + length), STATES[state]));
        prop::collection::vec(entry, 0..200)
    }

    proptest! {
        #[test]
        fn the_ledger_agrees_with_a_plain_map_instant_for_instant(
            entries in entries(), window in (0u64..END, 0u64..END),
        ) {
            let (mut coverage, mut plain) = (Coverage::default(), Plain::default());
            for (span, state) in &entries {
                coverage.enter(*span, *state);
                plain.enter(*span, *state);
            }

            for start in 0..200 {
                let expected = plain.clips.get(&start).map(|(_, state)| *state);
                prop_assert_eq!(coverage.state_of(start), expected);
            }
            let window = Span::new(window.0, window.1);
            let expected: Vec<_> =
                (window.start_ns..window.end_ns).map(|instant| plain.at(instant)).collect();
            let mut told = vec![None; expected.len()];
            let mut instants_told = 0;
            for stretch in coverage.states(window) {
                for instant in stretch.start_ns..stretch.end_ns {
                    told[(instant - window.start_ns) as usize] = Some(stretch.state);
                    instants_told += 1;
                }
            }
            prop_assert_eq!(&told, &expected);
            for hole in coverage.holes(window) {
                for instant in hole.start_ns..hole.end_ns {
                    prop_assert_eq!(plain.at(instant), None);
                    instants_told += 1;
                }
            }
            prop_assert_eq!(instants_told, expected.len(), "each instant once");
            let summary = coverage.summary(window);
            let instants = |state| expected.iter().filter(|held| **held == Some(state)).count() as u64;
            prop_assert_eq!(summary.indexed_ns, instants(ClipState::Indexed));
            prop_assert_eq!(summary.gated_ns, instants(ClipState::Gated));
            for (reason, ns) in &summary.lost_ns {
                prop_assert_eq!(*ns, instants(ClipState::Lost(*reason)));
            }
            let clips = |state| plain.clips.iter().filter(|(start, (length, held))| {
                *held == state && Span::new(**start, **start + length).overlaps(&window)
                    && window.duration_ns() > 0
            }).count() as u64;
            prop_assert_eq!(summary.indexed_clips, clips(ClipState::Indexed));
            prop_assert_eq!(summary.lost_clips, clips(LOST));
        }

        #[test]
        fn the_order_of_entering_and_the_way_of_coding_do_not_matter(entries in entries()) {
            // Clips of one start and state have one length in life.
            let entries: BTreeMap<_, _> = entries.iter()
                .map(|(span, state)| ((span.start_ns, *state), *span)).collect();
            let mut coverage = Coverage::default();
            for ((_, state), span) in entries.iter().rev() {
                coverage.enter(*span, *state);
            }
            let sorted: Coverage =
                entries.iter().map(|((_, state), span)| (*span, *state)).collect();
            prop_assert_eq!(&coverage, &sorted);
            let runs: Vec<Run> = coverage.runs().copied().collect();
            prop_assert!(
                runs.is_sorted_by(|a, b| a.last_ns() < b.first_ns),
                "no clip of one run starts amid another"
            );
            let restored = Coverage::restore(runs, coverage.without_clips().collect::<Vec<_>>());
            prop_assert_eq!(&restored, &coverage);
        }
    }
}
