//! How much of the time that was asked about could be searched at all.

use std::collections::BTreeMap;

use footage_clip::{ClipState, Coverage, LostReason, SourceRecord, Span, UtcStart};
use footage_index::{Filter, MediaRange, UtcRange};
use serde::Serialize;

/// A source as far as a search needs to know it.
#[derive(Clone, Debug)]
pub struct KnownSource {
    /// What it is.
    pub record: SourceRecord,
    /// What became of its clips.
    pub coverage: Coverage,
    /// Wall-clock time of its origin, where one is known.
    pub origin: Option<UtcStart>,
}

/// What was searched: the time, in nanoseconds of media time, that a filter leaves of all sources.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Searched {
    /// Sources that the filter leaves.
    pub sources: usize,
    /// Those of them that were not read to their end yet.
    pub incomplete: usize,
    /// Sources left out because a wall-clock time was asked for and theirs is not known.
    pub without_utc: usize,
    /// Time that can be found.
    pub indexed_ns: u64,
    /// Time with nothing new to see, covered by what is indexed.
    pub gated_ns: u64,
    /// Time that cannot be found, by reason.
    pub lost_ns: BTreeMap<LostReason, u64>,
    /// Time of incomplete sources that nobody has looked at yet, where their length is known.
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

    fn add(&mut self, source: &KnownSource, filter: &Filter) {
        let media = filter.media.map_or(Span::new(0, u64::MAX), media_window);
        let utc = match (filter.utc, source.origin) {
            (None, _) => Span::new(0, u64::MAX),
            (Some(range), Some(origin)) => utc_window(range, origin),
            (Some(_), None) => {
                // A source without a single clip has nothing that could be left out.
                let has_clips = source.coverage.clips(|state| state == ClipState::Indexed) > 0;
                self.without_utc += usize::from(has_clips);
                return;
            }
        };
        let window = intersection(media, utc);
        self.sources += 1;
        let summary = source.coverage.summary(window);
        self.indexed_ns += summary.indexed_ns;
        self.gated_ns += summary.gated_ns;
        for (reason, ns) in summary.lost_ns.iter().filter(|(_, ns)| **ns > 0) {
            *self.lost_ns.entry(*reason).or_default() += ns;
        }
        if !source.record.complete {
            self.incomplete += 1;
            let whole = Span::new(0, source.record.duration_ns.unwrap_or(0));
            let lost: u64 = summary.lost_ns.values().sum();
            let covered = summary.indexed_ns + summary.gated_ns + lost;
            self.unseen_ns += intersection(whole, window).duration_ns().saturating_sub(covered);
        }
    }
}

fn media_window(range: MediaRange) -> Span {
    Span::new(range.from_ns.unwrap_or(0), range.to_ns.unwrap_or(u64::MAX))
}

/// The media time that lies in a stretch of wall-clock time.
fn utc_window(range: UtcRange, origin: UtcStart) -> Span {
    let media_ns = |us: i64| {
        let offset = i128::from(us) * 1000 - i128::from(origin.unix_ns);
        u64::try_from(offset.max(0)).unwrap_or(u64::MAX)
    };
    Span::new(range.from_us.map_or(0, media_ns), range.to_us.map_or(u64::MAX, media_ns))
}

fn intersection(a: Span, b: Span) -> Span {
    Span::new(a.start_ns.max(b.start_ns), a.end_ns.min(b.end_ns))
}

#[cfg(test)]
mod tests {
    use footage_clip::Clock;

    use super::*;
    use crate::testing::{source, stretch};

    const S: u64 = 1_000_000_000;

    fn films() -> Vec<KnownSource> {
        let mut day = source("day", &[stretch(0, 60, ClipState::Indexed)]);
        day.origin = Some(UtcStart {
            unix_ns: 1_000 * S.cast_signed(),
            clock: Clock::Container,
            uncertainty_ms: 0,
        });
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
}
