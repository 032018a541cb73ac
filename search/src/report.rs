//! The timeline of one source, told whole: what became of every instant, when that was, and why.

use std::collections::BTreeMap;

use footage_clip::{
    ClipState, LostReason, RunCause, SourceId, SourceKind, SourceRecord, Span, UtcStart, WallClock,
};
use footage_index::{Filter, Ledger, LedgerError};
use serde::{Deserialize, Serialize};

use crate::known::{clock_of, windows};
use crate::searched::intersection;

/// What became of a stretch of a source's time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageReport {
    /// The source.
    pub source_id: SourceId,
    /// Its name, for people.
    pub name: String,
    /// Whether it is a camera: its media time then counts from 1970.
    pub kind: SourceKind,
    /// Its time in stretches that touch and never overlap, by start, each of one state and with a
    /// clock that goes on evenly. What was asked for beyond its first and last instant is left out.
    pub intervals: Vec<Interval>,
    /// The same, added up.
    pub totals: Totals,
    /// The runs that reach into it, by start; none of a file.
    pub runs: Vec<ReportedRun>,
    /// Media time since when it is kept: what lay before was removed because of its age or size.
    pub retained_from_ns: Option<u64>,
}

/// A stretch of time in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// First nanosecond of media time.
    pub start_ns: u64,
    /// First nanosecond after the end.
    pub end_ns: u64,
    /// Wall-clock time of its start, where known. Its end is as much later as it is long.
    pub utc: Option<UtcStart>,
    /// What became of it.
    #[serde(flatten)]
    pub state: IntervalState,
}

/// What became of an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum IntervalState {
    /// It can be found.
    Indexed,
    /// Nothing new to see.
    Gated,
    /// It cannot be found, and why.
    Lost(LostReason),
    /// Nothing is known of it. Of a file: it was not read so far, or is shorter than a clip.
    Unknown,
}

/// Nanoseconds in each state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Can be found.
    pub indexed_ns: u64,
    /// Nothing new to see.
    pub gated_ns: u64,
    /// Cannot be found, by reason.
    pub lost_ns: BTreeMap<LostReason, u64>,
    /// Nothing is known of it.
    pub unknown_ns: u64,
}

/// A stretch that was received without a break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportedRun {
    /// Media time at which it begins.
    pub start_ns: u64,
    /// Why it is not part of the run before.
    pub cause: RunCause,
    /// Wall-clock time of its start.
    pub utc: UtcStart,
}

impl CoverageReport {
    /// Reads from the ledger what became of the time of a source that `filter` leaves; its sources
    /// are not looked at. `origin` is the wall-clock time of a file's first picture, where known.
    /// Waits for the disk.
    pub fn read(
        ledger: &Ledger,
        record: SourceRecord,
        origin: Option<UtcStart>,
        filter: &Filter,
    ) -> Result<Self, LedgerError> {
        let clock = clock_of(ledger, &record, origin)?;
        let known = known_span(ledger, &record)?;
        let mut report = Self {
            intervals: Vec::new(),
            totals: Totals::default(),
            runs: Vec::new(),
            source_id: record.source_id,
            name: record.name,
            kind: record.kind,
            retained_from_ns: record.retained_from_ns,
        };
        let windows: Vec<Span> = windows(&clock, filter.media, filter.utc)
            .into_iter()
            .map(|window| intersection(window, known))
            .filter(|window| window.duration_ns() > 0)
            .collect();
        for window in &windows {
            report.add(ledger, *window, &clock)?;
        }
        report.add_runs(ledger, &windows)?;
        Ok(report)
    }

    fn add(&mut self, ledger: &Ledger, window: Span, clock: &WallClock) -> Result<(), LedgerError> {
        let coverage = ledger.coverage_within(&self.source_id, window)?;
        let states = coverage.states(window).into_iter();
        let states = states.map(|stretch| (stretch.span(), stretch.state.into()));
        let holes = coverage.holes(window).into_iter();
        let holes = holes.map(|hole| (hole, IntervalState::Unknown));
        let mut all: Vec<(Span, IntervalState)> = states.chain(holes).collect();
        all.sort_by_key(|(span, _)| span.start_ns);
        for (span, state) in all {
            self.totals.add(span.duration_ns(), state);
            self.intervals.extend(clock.even_parts(span).into_iter().map(|part| Interval {
                start_ns: part.start_ns,
                end_ns: part.end_ns,
                utc: clock.utc_of(part.start_ns),
                state,
            }));
        }
        Ok(())
    }

    fn add_runs(&mut self, ledger: &Ledger, windows: &[Span]) -> Result<(), LedgerError> {
        let runs = ledger.runs(&self.source_id)?;
        for (at, run) in runs.iter().enumerate() {
            let end_ns = runs.get(at + 1).map_or(u64::MAX, |next| next.start_ns);
            let span = Span::new(run.start_ns, end_ns);
            if windows.iter().any(|window| window.overlaps(&span)) {
                let &footage_clip::RunRecord { start_ns, cause, utc, .. } = run;
                self.runs.push(ReportedRun { start_ns, cause, utc });
            }
        }
        Ok(())
    }
}

impl Totals {
    fn add(&mut self, ns: u64, state: IntervalState) {
        match state {
            IntervalState::Indexed => self.indexed_ns += ns,
            IntervalState::Gated => self.gated_ns += ns,
            IntervalState::Lost(reason) => *self.lost_ns.entry(reason).or_default() += ns,
            IntervalState::Unknown => self.unknown_ns += ns,
        }
    }
}

impl From<ClipState> for IntervalState {
    fn from(state: ClipState) -> Self {
        match state {
            ClipState::Indexed => Self::Indexed,
            ClipState::Gated => Self::Gated,
            ClipState::Lost(reason) => Self::Lost(reason),
        }
    }
}

/// From a source's first instant to its last, as far as they are known.
fn known_span(ledger: &Ledger, record: &SourceRecord) -> Result<Span, LedgerError> {
    let end_ns = ledger.covered_end_ns(&record.source_id)?.unwrap_or(0);
    Ok(match record.kind {
        SourceKind::File => Span::new(0, end_ns.max(record.duration_ns.unwrap_or(0))),
        SourceKind::Camera => {
            let first = ledger.covered_from_ns(&record.source_id)?.unwrap_or(end_ns);
            // A clip that reaches over the edge of what is kept begins before it.
            Span::new(record.retained_from_ns.unwrap_or(first).max(first), end_ns)
        }
    })
}

#[cfg(test)]
mod tests {
    use footage_clip::{Clock, CoverageRecord, RunRecord};
    use footage_index::{MediaRange, UtcRange};
    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;
    use crate::testing::source;

    const S: u64 = 1_000_000_000;

    fn camera() -> SourceRecord {
        let mut record = source("gate", &[]).record;
        record.kind = SourceKind::Camera;
        record.complete = false;
        record
    }

    fn entry(from: u64, to: u64, state: ClipState) -> CoverageRecord {
        let source_id = camera().source_id;
        CoverageRecord { source_id, span: Span::new(from * S, to * S), state }
    }

    fn run(start: u64, utc: u64, cause: RunCause) -> RunRecord {
        let unix_ns = (utc * S).cast_signed();
        let utc = UtcStart { unix_ns, clock: Clock::Arrival, uncertainty_ms: 100 };
        RunRecord { source_id: camera().source_id, start_ns: start * S, cause, utc }
    }

    /// Watched from 1,000 s to 1,100 s; the clock was set back by 50 s at 1,060 s.
    fn ledger() -> (TempDir, Ledger) {
        let folder = TempDir::new().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let entries = [
            entry(1_000, 1_010, ClipState::Lost(LostReason::Disconnected)),
            entry(1_010, 1_020, ClipState::Indexed),
            entry(1_020, 1_030, ClipState::Gated),
            entry(1_035, 1_100, ClipState::Indexed),
        ];
        ledger.enter(&[camera()], &entries).unwrap();
        let runs = [run(1_010, 1_010, RunCause::Started), run(1_060, 1_010, RunCause::ClockSet)];
        ledger.enter_runs(&runs).unwrap();
        (folder, ledger)
    }

    fn seconds(report: &CoverageReport) -> Vec<(u64, u64, i64, IntervalState)> {
        let of = |interval: &Interval| {
            let utc_s = interval.utc.unwrap().unix_ns / S.cast_signed();
            (interval.start_ns / S, interval.end_ns / S, utc_s, interval.state)
        };
        report.intervals.iter().map(of).collect()
    }

    #[test]
    fn a_cameras_whole_time_is_told_with_its_wall_clock_and_its_holes() {
        let (_folder, ledger) = ledger();

        let report = CoverageReport::read(&ledger, camera(), None, &Filter::default()).unwrap();

        let disconnected = IntervalState::Lost(LostReason::Disconnected);
        assert_eq!(
            seconds(&report),
            [
                (1_000, 1_010, 1_000, disconnected),
                (1_010, 1_020, 1_010, IntervalState::Indexed),
                (1_020, 1_030, 1_020, IntervalState::Gated),
                (1_030, 1_035, 1_030, IntervalState::Unknown),
                (1_035, 1_060, 1_035, IntervalState::Indexed),
                (1_060, 1_100, 1_010, IntervalState::Indexed),
            ]
        );
        assert_eq!(report.totals.indexed_ns, 75 * S);
        assert_eq!(report.totals.gated_ns, 10 * S);
        assert_eq!(report.totals.lost_ns[&LostReason::Disconnected], 10 * S);
        assert_eq!(report.totals.unknown_ns, 5 * S);
        let causes: Vec<_> = report.runs.iter().map(|run| run.cause).collect();
        assert_eq!(causes, [RunCause::Started, RunCause::ClockSet]);
    }

    #[test]
    fn a_wall_clock_window_is_told_wherever_the_clock_said_it() {
        let (_folder, ledger) = ledger();
        let utc = UtcRange { from_us: Some(1_015_000_000), to_us: Some(1_022_000_000) };
        let filter = Filter { utc: Some(utc), ..Filter::default() };

        let report = CoverageReport::read(&ledger, camera(), None, &filter).unwrap();

        assert_eq!(
            seconds(&report),
            [
                (1_015, 1_020, 1_015, IntervalState::Indexed),
                (1_020, 1_022, 1_020, IntervalState::Gated),
                (1_065, 1_072, 1_015, IntervalState::Indexed),
            ]
        );
        assert_eq!(report.runs.len(), 2);
    }

    #[test]
    fn what_was_removed_because_of_its_age_is_no_hole() {
        let (_folder, ledger) = ledger();
        ledger.begin_closing(&camera().source_id, 1_036 * S, 1_000).unwrap().unwrap();
        let record = ledger.source(&camera().source_id).unwrap().unwrap();

        let report = CoverageReport::read(&ledger, record, None, &Filter::default()).unwrap();

        assert_eq!(report.retained_from_ns, Some(1_036 * S));
        assert_eq!(report.intervals[0].start_ns, 1_036 * S);
        assert_eq!(report.totals.unknown_ns, 0);
        assert_eq!(report.runs.len(), 2);
    }

    #[test]
    fn a_report_comes_back_from_json_as_it_was() {
        let (_folder, ledger) = ledger();
        let report = CoverageReport::read(&ledger, camera(), None, &Filter::default()).unwrap();
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["intervals"][0]["state"], "lost");
        assert_eq!(json["intervals"][0]["reason"], "disconnected");
        assert_eq!(serde_json::from_value::<CoverageReport>(json).unwrap(), report);
    }

    #[test]
    fn a_file_that_was_read_in_part_has_its_end_unknown() {
        let folder = TempDir::new().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        let mut film = camera();
        film.kind = SourceKind::File;
        film.duration_ns = Some(100 * S);
        ledger.enter(&[film.clone()], &[entry(0, 40, ClipState::Indexed)]).unwrap();
        let media = Some(MediaRange { from_ns: Some(30 * S), to_ns: None });
        let filter = Filter { media, ..Filter::default() };

        let report = CoverageReport::read(&ledger, film, None, &filter).unwrap();

        assert_eq!((report.totals.indexed_ns, report.totals.unknown_ns), (10 * S, 60 * S));
        assert_eq!(report.intervals[0].utc, None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn intervals_tile_what_was_asked_for(
            // One entry for each start: of two, the ledger keeps the better.
            entries in prop::collection::btree_map(0u64..100, (1u64..20, 0usize..4), 1..40),
            runs in prop::collection::btree_map(0u64..120, 0u64..200, 0..5),
            window in (0u64..130, 0u64..130),
        ) {
            let states = [
                ClipState::Indexed,
                ClipState::Gated,
                ClipState::Lost(LostReason::Overload),
                ClipState::Lost(LostReason::Stopped),
            ];
            let folder = TempDir::new().unwrap();
            let ledger = Ledger::open(folder.path()).unwrap();
            let entries: Vec<_> = entries.iter()
                .map(|(from, (length, state))| entry(*from, from + length, states[*state])).collect();
            ledger.enter(&[camera()], &entries).unwrap();
            let runs: Vec<_> =
                runs.iter().map(|(start, utc)| run(*start, *utc, RunCause::Resumed)).collect();
            ledger.enter_runs(&runs).unwrap();
            let asked = Span::new(window.0 * S, window.1 * S);
            let media = MediaRange { from_ns: Some(asked.start_ns), to_ns: Some(asked.end_ns) };
            let filter = Filter { media: Some(media), ..Filter::default() };

            let report = CoverageReport::read(&ledger, camera(), None, &filter).unwrap();

            let first = entries.iter().map(|entry| entry.span.start_ns).min().unwrap();
            let last = entries.iter().map(|entry| entry.span.end_ns).max().unwrap();
            let whole = intersection(asked, Span::new(first, last));
            let mut reached = whole.start_ns;
            for interval in &report.intervals {
                prop_assert_eq!(interval.start_ns, reached);
                prop_assert!(interval.end_ns > interval.start_ns);
                reached = interval.end_ns;
                let amid = runs.iter().any(|run| {
                    interval.start_ns < run.start_ns && run.start_ns < interval.end_ns
                });
                prop_assert!(!amid, "no clock is set amid an interval");
            }
            prop_assert_eq!(reached, whole.end_ns);
            let Totals { indexed_ns, gated_ns, lost_ns, unknown_ns } = report.totals;
            let sum = indexed_ns + gated_ns + lost_ns.values().sum::<u64>() + unknown_ns;
            prop_assert_eq!(sum, whole.duration_ns());
        }
    }
}
