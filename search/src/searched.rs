//! How much of the time that was asked about could be searched at all.

use std::collections::BTreeMap;

use footage_clip::{ClipState, LostReason, SourceKind, Span};
use footage_index::Filter;
use serde::Serialize;

use crate::KnownSource;

/// What was searched: the time, in nanoseconds of media time, that a filter leaves of all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// Sources that the filter leaves.
    pub sources: usize,
    /// Files among them that were not read to their end yet. A camera has none.
    pub incomplete: usize,
    /// Sources left out because a wall-clock time was asked for and theirs is not known.
    pub without_utc: usize,
    /// Time that can be found.
    pub indexed_ns: u64,
    /// Time with nothing new to see, covered by what is indexed.
    pub gated_ns: u64,
    /// Time that cannot be found, by reason.
    pub lost_ns: BTreeMap<LostReason, u64>,
    /// Time that nothing is known of: of files that were not read to their end, where their length
    /// is known; of cameras, amid what is covered.
    pub unseen_ns: u64,
}

impl Searched {
    /// Adds up what `filter` leaves of `sources`.
    pub fn of<'a>(sources: impl IntoIterator<Item = &'a KnownSource>, filter: &Filter) -> Self {
        let mut searched = Self::default();
        for source in sources {
            let id = &source.record.source_id;
            if filter.sources.is_empty() || filter.sources.contains(id) {
                searched.add(source, filter);
            }
        }
        searched
    }

    /// Time that cannot be found because nobody saw it: cameras that gave no pictures, could not be
    /// reached, or were not watched. A part of `lost_ns`, which names the reasons.
    pub fn unwatched_ns(&self) -> u64 {
        let lost = self.lost_ns.iter();
        lost.filter(|(reason, _)| reason.is_without_clips()).map(|(_, ns)| ns).sum()
    }

    fn add(&mut self, source: &KnownSource, filter: &Filter) {
        if filter.utc.is_some() && !source.clock.is_known() {
            // A source without a single clip has nothing that could be left out.
            let has_clips = source.coverage.clips(|state| state == ClipState::Indexed) > 0;
            self.without_utc += usize::from(has_clips);
            return;
        }
        self.sources += 1;
        let is_file = source.record.kind == SourceKind::File;
        self.incomplete += usize::from(is_file && !source.record.complete);
        let known = source.known_span();
        for window in source.clock_windows(filter) {
            let summary = source.coverage.summary(window);
            self.indexed_ns += summary.indexed_ns;
            self.gated_ns += summary.gated_ns;
            for (reason, ns) in summary.lost_ns.iter().filter(|(_, ns)| **ns > 0) {
                *self.lost_ns.entry(*reason).or_default() += ns;
            }
            let holes = source.coverage.holes(intersection(known, window));
            // What a file was read of to its end, and holds no clip, is shorter than one.
            if !is_file || !source.record.complete {
                self.unseen_ns += holes.iter().map(Span::duration_ns).sum::<u64>();
            }
        }
    }
}

pub(crate) fn intersection(a: Span, b: Span) -> Span {
    Span::new(a.start_ns.max(b.start_ns), a.end_ns.min(b.end_ns))
}

#[cfg(test)]
mod tests {
    use footage_clip::{Clock, Coverage, RunCause, RunRecord, UtcStart, WallClock};
    use footage_index::{MediaRange, UtcRange};

    use super::*;
    use crate::testing::{source, stretch};

    const S: u64 = 1_000_000_000;

    fn films() -> Vec<KnownSource> {
        let mut day = source("day", &[stretch(0, 60, ClipState::Indexed)]);
        day.clock = WallClock::of_file(Some(UtcStart {
            unix_ns: 1_000 * S.cast_signed(),
            clock: Clock::Container,
            uncertainty_ms: 0,
        }));
        let night = source(
            "night",
            &[
                stretch(0, 20, ClipState::Indexed),
                stretch(20, 30, ClipState::Gated),
                stretch(30, 34, ClipState::Lost(LostReason::DecodeError)),
            ],
        );
        vec![day, night]
    }

    #[test]
    fn without_a_filter_everything_counts() {
        let searched = Searched::of(&films(), &Filter::default());

        assert_eq!(searched.sources, 2);
        assert_eq!(searched.indexed_ns, 80 * S);
        assert_eq!(searched.gated_ns, 10 * S);
        assert_eq!(searched.lost_ns.values().sum::<u64>(), 4 * S);
        assert_eq!(searched.lost_ns[&LostReason::DecodeError], 4 * S);
        assert_eq!((searched.incomplete, searched.unseen_ns), (0, 0));
    }

    #[test]
    fn a_filter_on_source_and_media_time_leaves_what_lies_in_both() {
        let night = films()[1].record.source_id.clone();
        let media = Some(MediaRange { from_ns: Some(10 * S), to_ns: Some(32 * S) });
        let searched = Searched::of(&films(), &Filter { media, ..Filter::of_source(night) });

        assert_eq!(searched.sources, 1);
        assert_eq!(searched.indexed_ns, 10 * S);
        assert_eq!(searched.gated_ns, 10 * S);
        assert_eq!(searched.lost_ns.values().sum::<u64>(), 2 * S);
    }

    #[test]
    fn a_source_without_a_clock_is_named_where_wall_clock_time_was_asked_for() {
        let utc = UtcRange { from_us: Some(1_010_000_000), to_us: Some(1_025_000_000) };
        let searched = Searched::of(&films(), &Filter { utc: Some(utc), ..Filter::default() });

        assert_eq!((searched.sources, searched.without_utc), (1, 1));
        assert_eq!(searched.indexed_ns, 15 * S);
    }

    #[test]
    fn wall_clock_time_before_the_origin_is_not_searched() {
        let utc = UtcRange { from_us: Some(0), to_us: Some(999_000_000) };
        let searched = Searched::of(&films(), &Filter { utc: Some(utc), ..Filter::default() });
        assert_eq!(searched.indexed_ns, 0);
    }

    #[test]
    fn what_an_interrupted_run_did_not_reach_is_unseen() {
        let mut film = source("half", &[stretch(0, 40, ClipState::Indexed)]);
        film.record.complete = false;
        film.record.duration_ns = Some(100 * S);
        let searched = Searched::of(&[film], &Filter::default());

        assert_eq!((searched.incomplete, searched.unseen_ns), (1, 60 * S));
    }

    /// Media time 1,000 s to 2,000 s; at 1,500 s the clock was set back by 300 s.
    fn camera() -> KnownSource {
        let run = |start: u64, utc: u64| RunRecord {
            source_id: films()[0].record.source_id.clone(),
            start_ns: start * S,
            cause: RunCause::ClockSet,
            utc: UtcStart {
                unix_ns: (utc * S).cast_signed(),
                clock: Clock::Arrival,
                uncertainty_ms: 100,
            },
        };
        let mut gate = source("gate", &[stretch(1_000, 2_000, ClipState::Indexed)]);
        gate.record.kind = SourceKind::Camera;
        gate.record.complete = false;
        gate.clock = WallClock::of_camera(&[run(1_000, 1_000), run(1_500, 1_200)]);
        gate
    }

    #[test]
    fn time_that_a_clock_said_twice_counts_twice_and_later_time_is_found_after_a_step() {
        let searched = |from: i64, to: Option<i64>| {
            let utc =
                UtcRange { from_us: Some(from * 1_000_000), to_us: to.map(|s| s * 1_000_000) };
            let filter = Filter { utc: Some(utc), ..Filter::default() };
            Searched::of(&[camera()], &filter).indexed_ns / S
        };
        assert_eq!(searched(1_250, Some(1_300)), 100);
        assert_eq!(searched(1_600, None), 100, "the last of what the clock said");
        assert_eq!(searched(1_450, None), 50 + 250);
    }

    #[test]
    fn a_camera_is_never_incomplete_and_time_without_pictures_is_named() {
        let mut gate = camera();
        let stalled = ClipState::Lost(LostReason::Stalled);
        let mut coverage: Coverage = gate.coverage.clone();
        coverage.enter(Span::new(2_000 * S, 2_060 * S), stalled);
        coverage.enter(Span::new(2_070 * S, 2_080 * S), stalled);
        gate.coverage = coverage;
        let searched = Searched::of(&[gate], &Filter::default());

        assert_eq!((searched.incomplete, searched.indexed_ns), (0, 1_000 * S));
        assert_eq!(searched.lost_ns[&LostReason::Stalled], 70 * S);
        assert_eq!(searched.unwatched_ns(), 70 * S);
        assert_eq!(searched.unseen_ns, 10 * S, "a hole is told, not hidden");
    }
}
