//! A source as far as a search needs to know it.

use footage_clip::{Coverage, SourceKind, SourceRecord, Span, UtcStart, WallClock};
use footage_index::{Filter, Ledger, LedgerError, MediaRange, UtcRange};

use crate::searched::intersection;

/// A source as far as a search needs to know it.
#[derive(Clone, Debug)]
pub struct KnownSource {
    /// What it is.
    pub record: SourceRecord,
    /// What became of its clips, at least of those that the search is asked about.
    pub coverage: Coverage,
    /// Its wall clock.
    pub clock: WallClock,
}

impl KnownSource {
    /// Reads what the ledger knows of the part of a source that `filter` leaves. `origin` is the
    /// wall-clock time of a file's first picture, where it is known; a camera's clock is told by its
    /// runs. Waits for the disk.
    pub fn read(
        ledger: &Ledger,
        record: SourceRecord,
        origin: Option<UtcStart>,
        filter: &Filter,
    ) -> Result<Self, LedgerError> {
        let clock = clock_of(ledger, &record, origin)?;
        let windows = windows(&clock, filter.media, filter.utc);
        let all = windows.iter().copied().reduce(|a, b| Span::new(a.start_ns, b.end_ns));
        let coverage = match all {
            Some(all) => ledger.coverage_within(&record.source_id, all)?,
            // Without a clock nothing lies in wall-clock time, but that it has clips is told.
            None => ledger.coverage(&record.source_id)?,
        };
        Ok(Self { record, coverage, clock })
    }

    /// The media time that `filter` leaves, in stretches by start.
    pub(crate) fn clock_windows(&self, filter: &Filter) -> Vec<Span> {
        windows(&self.clock, filter.media, filter.utc)
    }

    /// From its first instant to its last, as far as they are known.
    pub(crate) fn known_span(&self) -> Span {
        let covered = self.coverage.span();
        match self.record.kind {
            SourceKind::File => {
                let end_ns = self.record.duration_ns.unwrap_or(0);
                Span::new(0, covered.map_or(end_ns, |covered| covered.end_ns.max(end_ns)))
            }
            SourceKind::Camera => covered.unwrap_or(Span::new(0, 0)),
        }
    }
}

/// The wall clock of a source: told by its runs, or by its origin.
pub(crate) fn clock_of(
    ledger: &Ledger,
    record: &SourceRecord,
    origin: Option<UtcStart>,
) -> Result<WallClock, LedgerError> {
    Ok(match record.kind {
        SourceKind::File => WallClock::of_file(origin),
        SourceKind::Camera => WallClock::of_camera(&ledger.runs(&record.source_id)?),
    })
}

/// The media time that lies in both a stretch of media time and one of wall-clock time, by start.
pub(crate) fn windows(
    clock: &WallClock,
    media: Option<MediaRange>,
    utc: Option<UtcRange>,
) -> Vec<Span> {
    let media = media.unwrap_or_default();
    let media = Span::new(media.from_ns.unwrap_or(0), media.to_ns.unwrap_or(u64::MAX));
    let in_utc = match utc {
        None => vec![Span::new(0, u64::MAX)],
        Some(UtcRange { from_us, to_us }) => {
            let ns = |us: i64| us.saturating_mul(1000);
            clock.media_of(from_us.map(ns), to_us.map(ns))
        }
    };
    let both = in_utc.into_iter().map(|span| intersection(span, media));
    both.filter(|span| span.duration_ns() > 0).collect()
}
