//! What became of a source's time.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use footage_clip::{Clock, LostReason, RunCause, SourceId, SourceKind, Span, UtcStart};
use footage_index::{Filter, FindClips};
use footage_search::{CoverageReport, Interval, IntervalState, ReportedRun};
use serde::{Deserialize, Serialize};

use super::selection::{Named, time_filter};
use crate::compose::Store;
use crate::when::{When, utc_text_precise};

/// Version of the reply's form. A field may be added without changing it.
const VERSION: u32 = 1;

/// Which source, and when.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CoverageRequest {
    pub source: Named,
    #[serde(default)]
    pub from: Option<When>,
    #[serde(default)]
    pub to: Option<When>,
    /// Only the last so many seconds.
    #[serde(default)]
    pub since_s: Option<f64>,
}

/// A source's timeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CoverageReply {
    pub v: u32,
    pub source_id: SourceId,
    pub source: String,
    pub kind: SourceKind,
    /// They touch, and never overlap.
    pub stretches: Vec<StretchTold>,
    pub totals: TotalsTold,
    pub runs: Vec<RunTold>,
    /// Since when it is kept; what lay before was removed because of its age or size.
    pub kept_from: Option<String>,
}

/// A stretch of time in one state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StretchTold {
    /// Seconds of media time.
    pub from_s: f64,
    pub to_s: f64,
    /// Wall-clock time, RFC 3339, where known.
    pub from: Option<String>,
    pub to: Option<String>,
    /// `indexed`, `gated`, `lost` or `unknown`.
    pub state: StateTold,
    pub reason: Option<LostReason>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum StateTold {
    Indexed,
    Gated,
    Lost,
    Unknown,
}

/// Seconds in each state.
#[expect(clippy::struct_field_names, reason = "the unit, which JSON has no type for")]
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TotalsTold {
    pub indexed_s: f64,
    pub gated_s: f64,
    pub lost_s: BTreeMap<LostReason, f64>,
    pub unknown_s: f64,
}

/// A stretch that was received without a break.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunTold {
    pub from_s: f64,
    pub from: String,
    pub cause: RunCause,
    pub clock: Clock,
    pub uncertainty_ms: u32,
}

impl CoverageRequest {
    /// Reads the ledger.
    pub(crate) async fn answer<I: FindClips>(self, store: &Store<I>) -> Result<CoverageReply> {
        let records = store.ledger.sources()?;
        let mut meant = self.source.of(&records)?;
        ensure!(
            meant.len() == 1,
            "`{}` is the name of {} sources: give the id of one, as `footage source list` shows it",
            self.source.given,
            meant.len()
        );
        let id = meant.remove(0);
        let (media, utc) = time_filter(self.from, self.to, self.since_s)?;
        let filter = Filter { media, utc, ..Filter::of_source(id.clone()) };
        let record = records.into_iter().find(|record| record.source_id == id);
        let Some(record) = record else { unreachable!("it is one of the records") };
        let origin = match record.kind {
            SourceKind::File => store.origin(&id).await?,
            SourceKind::Camera => None,
        };
        let ledger = store.ledger.clone();
        let read = move || CoverageReport::read(&ledger, record, origin, &filter);
        Ok(tokio::task::spawn_blocking(read).await??.into())
    }
}

impl From<CoverageReport> for CoverageReply {
    fn from(report: CoverageReport) -> Self {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let totals = &report.totals;
        let kept_from = report.retained_from_ns.filter(|_| report.kind == SourceKind::Camera);
        Self {
            v: VERSION,
            source_id: report.source_id,
            source: report.name,
            kind: report.kind,
            totals: TotalsTold {
                indexed_s: seconds(totals.indexed_ns),
                gated_s: seconds(totals.gated_ns),
                lost_s: totals.lost_ns.iter().map(|(why, ns)| (*why, seconds(*ns))).collect(),
                unknown_s: seconds(totals.unknown_ns),
            },
            stretches: report.intervals.iter().map(Into::into).collect(),
            runs: report.runs.iter().map(Into::into).collect(),
            kept_from: kept_from.and_then(|ns| i64::try_from(ns / 1000).ok()).map(utc_text_precise),
        }
    }
}

impl From<&Interval> for StretchTold {
    fn from(interval: &Interval) -> Self {
        let span = Span::new(interval.start_ns, interval.end_ns);
        let text = |at: UtcStart| utc_text_precise(at.unix_ns.div_euclid(1000));
        let (state, reason) = match interval.state {
            IntervalState::Indexed => (StateTold::Indexed, None),
            IntervalState::Gated => (StateTold::Gated, None),
            IntervalState::Lost(reason) => (StateTold::Lost, Some(reason)),
            IntervalState::Unknown => (StateTold::Unknown, None),
        };
        Self {
            from_s: span.start_s(),
            to_s: span.end_s(),
            from: interval.utc.map(text),
            to: interval.utc.map(|start| text(start.plus_ns(span.duration_ns()))),
            state,
            reason,
        }
    }
}

impl From<&ReportedRun> for RunTold {
    fn from(run: &ReportedRun) -> Self {
        Self {
            from_s: run.start_ns as f64 / 1e9,
            from: utc_text_precise(run.utc.unix_ns.div_euclid(1000)),
            cause: run.cause,
            clock: run.utc.clock,
            uncertainty_ms: run.utc.uncertainty_ms,
        }
    }
}
