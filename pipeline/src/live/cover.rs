//! What of a camera's axis is accounted for: everything up to one moment, without holes.

use footage_clip::{LostReason, Span};

/// A piece of a lost stretch that goes on is published when it is so long.
const PIECE_NS: u64 = 60_000_000_000;

/// Up to where a camera's timeline is accounted for, and what is being lost at its end.
#[derive(Clone, Debug)]
pub(super) struct Cover {
    end_ns: u64,
    /// Why nothing is seen at the moment; none while a run goes on.
    losing: Option<LostReason>,
}

/// A stretch of the timeline that no clip covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) span: Span,
    pub(super) reason: LostReason,
}

impl Cover {
    /// Everything up to `end_ns` is accounted for, and from there on the camera is not seen.
    pub(super) fn new(end_ns: u64, reason: LostReason) -> Self {
        Self { end_ns, losing: Some(reason) }
    }

    /// Up to where all is accounted for.
    pub(super) fn end_ns(&self) -> u64 {
        self.end_ns
    }

    /// From the end on, the camera is not seen, for this reason. What was lost until `now_ns` for
    /// another one is returned.
    pub(super) fn lose(&mut self, reason: LostReason, now_ns: u64) -> Option<Lost> {
        if self.losing == Some(reason) {
            return None;
        }
        let lost = self.close(now_ns);
        self.losing = Some(reason);
        lost
    }

    /// Time passes: a piece of what is being lost, once it is long enough.
    pub(super) fn tick(&mut self, now_ns: u64) -> Option<Lost> {
        let is_long = now_ns.saturating_sub(self.end_ns) >= PIECE_NS;
        if is_long { self.close(now_ns) } else { None }
    }

    /// A run begins: what was lost before it.
    pub(super) fn begin_run(&mut self, start_ns: u64) -> Option<Lost> {
        let lost = self.close(start_ns);
        self.losing = None;
        lost
    }

    /// A clip was seen. Where it begins after the end, what lies between was lost for `reason`.
    pub(super) fn clip(&mut self, span: Span, reason: LostReason) -> Option<Lost> {
        let before = Span::new(self.end_ns, span.start_ns);
        self.end_ns = self.end_ns.max(span.end_ns);
        (before.duration_ns() > 0).then_some(Lost { span: before, reason })
    }

    /// What is being lost, up to `until_ns`.
    fn close(&mut self, until_ns: u64) -> Option<Lost> {
        let reason = self.losing?;
        let span = Span::new(self.end_ns, until_ns);
        self.end_ns = span.end_ns;
        (span.duration_ns() > 0).then_some(Lost { span, reason })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn a_long_loss_is_told_in_pieces_that_touch() {
        let mut cover = Cover::new(10 * S, LostReason::Disconnected);
        let told: Vec<_> = (10..200).filter_map(|second| cover.tick(second * S)).collect();
        let spans: Vec<_> = told.iter().map(|lost| lost.span).collect();
        assert_eq!(
            spans,
            [Span::new(10 * S, 70 * S), Span::new(70 * S, 130 * S), Span::new(130 * S, 190 * S)]
        );
        let rest = cover.begin_run(203 * S).unwrap();
        assert_eq!(rest.span, Span::new(190 * S, 203 * S));
        assert_eq!(cover.tick(900 * S), None, "a run goes on");
    }

    #[test]
    fn each_reason_has_its_own_stretch() {
        let mut cover = Cover::new(0, LostReason::Stalled);
        assert_eq!(cover.lose(LostReason::Stalled, 3 * S), None);
        let stalled = cover.lose(LostReason::Disconnected, 5 * S).unwrap();
        assert_eq!((stalled.span, stalled.reason), (Span::new(0, 5 * S), LostReason::Stalled));
        assert_eq!(cover.begin_run(7 * S).unwrap().reason, LostReason::Disconnected);
    }

    #[test]
    fn what_is_missing_between_clips_was_lost() {
        let mut cover = Cover::new(0, LostReason::Disconnected);
        cover.begin_run(0);
        assert_eq!(cover.clip(Span::new(0, 8), LostReason::Overload), None);
        assert_eq!(cover.clip(Span::new(4, 12), LostReason::Overload), None);
        let lost = cover.clip(Span::new(16, 24), LostReason::Overload).unwrap();
        assert_eq!(lost.span, Span::new(12, 16));
    }

    #[derive(Clone, Debug)]
    enum Event {
        Tick(u64),
        Lose(bool),
        Run(u64),
        Clip(u64, u64),
    }

    proptest! {
        #[test]
        fn every_instant_is_covered_and_lost_stretches_never_overlap(
            events in proptest::collection::vec(prop_oneof![
                (0..200 * S).prop_map(Event::Tick),
                any::<bool>().prop_map(Event::Lose),
                (0..9 * S).prop_map(Event::Run),
                ((0..9 * S), (1..9 * S)).prop_map(|(skip, length)| Event::Clip(skip, length)),
            ], 0..100),
        ) {
            let mut cover = Cover::new(5, LostReason::Stopped);
            let (mut now, mut lost, mut seen) = (5, Vec::new(), Vec::new());
            for event in events {
                let told = match event {
                    Event::Tick(passed) => {
                        now += passed;
                        cover.tick(now)
                    }
                    Event::Lose(stalled) => cover.lose(
                        if stalled { LostReason::Stalled } else { LostReason::Disconnected }, now),
                    Event::Run(later) => {
                        now = now.max(cover.end_ns()) + later;
                        cover.begin_run(now)
                    }
                    Event::Clip(skip, length) => {
                        let start = cover.end_ns() + skip;
                        let span = Span::new(start, start + length);
                        seen.push(span);
                        cover.clip(span, LostReason::Overload)
                    }
                };
                lost.extend(told.map(|lost| lost.span));
            }
            let mut all: Vec<Span> = lost.iter().chain(&seen).copied().collect();
            all.sort_by_key(|span| span.start_ns);
            let mut end = 5;
            for span in all {
                prop_assert_eq!(span.start_ns, end, "a hole or an overlap");
                end = span.end_ns;
            }
            prop_assert_eq!(end, cover.end_ns());
        }
    }
}
