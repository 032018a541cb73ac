//! The rows of clips, and of the time without clips.
//!
//! A row is a run of clips, and a clip is entered by changing the rows beside it alone. So entering
//! costs the same however long a source is, and a camera of months has thousands of rows, not
//! millions.

use std::collections::BTreeMap;

use footage_clip::{ClipState, Coverage, CoverageRecord, LostReason, Run, SourceId, Span, Stretch};
use redb::{ReadableTable, WriteTransaction};

use super::error::{Cause, LedgerError};
use super::{CLIP_RUNS, INDEXED_CLIPS, LONGEST_CLIPS, Ledger, META, WITHOUT_CLIPS, of_source};

type RunRow = (u64, u64, u64, &'static str);

impl Ledger {
    /// What became of a source's clips; empty for a source that is not known.
    pub fn coverage(&self, source_id: &SourceId) -> Result<Coverage, LedgerError> {
        self.coverage_within(source_id, Span::new(0, u64::MAX))
    }

    /// What became of those clips of a source that share an instant with `span`, and of the time
    /// without clips in it. Reads no other rows, but for the few that one clip's length goes back.
    pub fn coverage_within(
        &self,
        source_id: &SourceId,
        span: Span,
    ) -> Result<Coverage, LedgerError> {
        self.read("reading a coverage", |transaction| {
            let longest = transaction.open_table(LONGEST_CLIPS)?.get(source_id.as_str())?;
            let longest_ns = longest.map_or(0, |longest| longest.value());
            let runs =
                runs_within(&transaction.open_table(CLIP_RUNS)?, source_id, span, longest_ns)?;
            let without =
                without_clips_within(&transaction.open_table(WITHOUT_CLIPS)?, source_id, span)?;
            Ok(Coverage::restore(runs, without))
        })
    }

    /// The first instant of a source that is covered; none where nothing is.
    pub fn covered_from_ns(&self, source_id: &SourceId) -> Result<Option<u64>, LedgerError> {
        self.read("reading where a coverage begins", |transaction| {
            let runs = transaction.open_table(CLIP_RUNS)?;
            let first_clip = runs.range(of_source(source_id))?.next().transpose()?;
            let mut from_ns = first_clip.map(|(key, _)| key.value().1);
            let without = transaction.open_table(WITHOUT_CLIPS)?;
            for reason in reasons()? {
                let first = without.range(of_reason(source_id, &reason))?.next().transpose()?;
                let first = first.map(|(key, _)| key.value().2);
                from_ns = from_ns.into_iter().chain(first).min();
            }
            Ok(from_ns)
        })
    }

    /// The end of the last instant of a source that is covered, or was, before it was removed
    /// because of its age; none where there never was one. A source that is watched again goes on
    /// from there. Looks at a handful of rows, however many there are.
    pub fn covered_end_ns(&self, source_id: &SourceId) -> Result<Option<u64>, LedgerError> {
        let retained_from = self.source(source_id)?.and_then(|source| source.retained_from_ns);
        self.read("reading where a coverage ends", |transaction| {
            let longest = transaction.open_table(LONGEST_CLIPS)?.get(source_id.as_str())?;
            let longest_ns = longest.map_or(0, |longest| longest.value());
            let mut end_ns = retained_from;
            let runs = transaction.open_table(CLIP_RUNS)?;
            for row in runs.range(of_source(source_id))?.rev() {
                let run = read_run(row?)?;
                if end_ns.is_some_and(|end| run.last_ns().saturating_add(longest_ns) <= end) {
                    break;
                }
                end_ns = end_ns.max(Some(run.span().end_ns));
            }
            let without = transaction.open_table(WITHOUT_CLIPS)?;
            for reason in reasons()? {
                let last = without.range(of_reason(source_id, &reason))?.next_back().transpose()?;
                end_ns = end_ns.max(last.map(|(_, end)| end.value()));
            }
            Ok(end_ns)
        })
    }

    /// Clips entered as indexed, of all sources.
    pub fn indexed_clips(&self) -> Result<u64, LedgerError> {
        self.read("counting clips", |transaction| {
            let count = transaction.open_table(META)?.get(INDEXED_CLIPS)?;
            Ok(count.map_or(0, |count| count.value()))
        })
    }
}

/// Enters clips and stretches without clips of one source. What ends at or before
/// `retained_from_ns` was removed because of its age, and is not entered again.
pub(super) fn enter(
    transaction: &WriteTransaction,
    source_id: &SourceId,
    entries: &[&CoverageRecord],
    retained_from_ns: u64,
) -> Result<(), Cause> {
    let entries: Vec<(Span, ClipState)> = entries
        .iter()
        .filter(|entry| entry.span.end_ns > retained_from_ns)
        .map(|entry| (without_the_past(entry, retained_from_ns), entry.state))
        .collect();
    let held = beside(transaction, source_id, &entries)?;
    let mut entered = held.clone();
    for (span, state) in entries {
        entered.enter(span, state);
    }
    change(transaction, source_id, &held, &entered)
}

/// A stretch without clips begins where its source's kept time does; a clip stays whole.
fn without_the_past(entry: &CoverageRecord, retained_from_ns: u64) -> Span {
    match entry.state {
        ClipState::Lost(reason) if reason.is_without_clips() => {
            Span::new(entry.span.start_ns.max(retained_from_ns), entry.span.end_ns)
        }
        _ => entry.span,
    }
}

/// The rows that entering `entries` can change.
fn beside(
    transaction: &WriteTransaction,
    source_id: &SourceId,
    entries: &[(Span, ClipState)],
) -> Result<Coverage, Cause> {
    let is_clip = |state: &ClipState| without_clips_reason(*state).is_none();
    let starts =
        || entries.iter().filter(|(_, state)| is_clip(state)).map(|(span, _)| span.start_ns);
    let mut runs = Vec::new();
    if let Some((first, last)) = starts().min().zip(starts().max()) {
        let table = transaction.open_table(CLIP_RUNS)?;
        let id = source_id.as_str();
        let before = table.range((id, 0)..(id, first))?.next_back();
        let after = last.checked_add(1);
        let after = after.map(|after| table.range((id, after)..=(id, u64::MAX))).transpose()?;
        let amid = table.range((id, first)..=(id, last))?;
        for row in before.into_iter().chain(amid).chain(after.and_then(|mut rows| rows.next())) {
            runs.push(read_run(row?)?);
        }
    }
    let table = transaction.open_table(WITHOUT_CLIPS)?;
    let mut without = Vec::new();
    for (span, state) in entries {
        if let Some(reason) = without_clips_reason(*state) {
            // One nanosecond more at either end: those that only touch.
            let touching =
                Span::new(span.start_ns.saturating_sub(1), span.end_ns.saturating_add(1));
            without.extend(stretches_within(&table, source_id, reason, touching)?);
        }
    }
    Ok(Coverage::restore(runs, without))
}

/// Makes the rows that tell `held` tell `wanted`, and keeps the count of indexed clips right.
pub(super) fn change(
    transaction: &WriteTransaction,
    source_id: &SourceId,
    held: &Coverage,
    wanted: &Coverage,
) -> Result<(), Cause> {
    let id = source_id.as_str();
    change_runs(transaction, id, held, wanted)?;
    let mut table = transaction.open_table(WITHOUT_CLIPS)?;
    let (old, new) = (held.without_clips(), wanted.without_clips());
    let (old, new): (Vec<_>, Vec<_>) = (old.collect(), new.collect());
    for stretch in old.iter().filter(|stretch| !new.contains(stretch)) {
        if let Some(reason) = without_clips_reason(stretch.state) {
            table.remove((id, serde_json::to_string(&reason)?.as_str(), stretch.start_ns))?;
        }
    }
    for stretch in new.iter().filter(|stretch| !old.contains(stretch)) {
        if let Some(reason) = without_clips_reason(stretch.state) {
            let key = (id, serde_json::to_string(&reason)?, stretch.start_ns);
            table.insert((key.0, key.1.as_str(), key.2), stretch.end_ns)?;
        }
    }
    let indexed = |coverage: &Coverage| coverage.clips(|state| state == ClipState::Indexed);
    let mut meta = transaction.open_table(META)?;
    let count = meta.get(INDEXED_CLIPS)?.map_or(0, |count| count.value());
    meta.insert(INDEXED_CLIPS, (count + indexed(wanted)).saturating_sub(indexed(held)))?;
    Ok(())
}

fn change_runs(
    transaction: &WriteTransaction,
    id: &str,
    held: &Coverage,
    wanted: &Coverage,
) -> Result<(), Cause> {
    let by_start = |coverage: &Coverage| -> BTreeMap<u64, Run> {
        coverage.runs().map(|run| (run.first_ns, *run)).collect()
    };
    let (old, new) = (by_start(held), by_start(wanted));
    let mut table = transaction.open_table(CLIP_RUNS)?;
    for first_ns in old.keys().filter(|first_ns| !new.contains_key(first_ns)) {
        table.remove((id, *first_ns))?;
    }
    let mut longest_ns = 0;
    for (first_ns, run) in new.iter().filter(|(first_ns, run)| old.get(first_ns) != Some(run)) {
        let state = serde_json::to_string(&run.state)?;
        let row = (run.step_ns, run.clips, run.clip_ns, state.as_str());
        table.insert((id, *first_ns), row)?;
        longest_ns = longest_ns.max(run.clip_ns);
    }
    let mut longest = transaction.open_table(LONGEST_CLIPS)?;
    let held_ns = longest.get(id)?.map_or(0, |held| held.value());
    if longest_ns > held_ns {
        longest.insert(id, longest_ns)?;
    }
    Ok(())
}

/// The runs of a source that share an instant with `span`, cut to the clips that do.
pub(super) fn runs_within(
    table: &impl ReadableTable<(&'static str, u64), RunRow>,
    source_id: &SourceId,
    span: Span,
    longest_ns: u64,
) -> Result<Vec<Run>, Cause> {
    let id = source_id.as_str();
    let mut runs = Vec::new();
    for row in table.range((id, 0)..(id, span.end_ns))?.rev() {
        let run = read_run(row?)?;
        // Going back, runs end their starts ever earlier.
        if run.last_ns().saturating_add(longest_ns) <= span.start_ns {
            break;
        }
        runs.extend(run.within(span));
    }
    runs.reverse();
    Ok(runs)
}

/// The time without clips of a source in `span`.
fn without_clips_within(
    table: &impl ReadableTable<(&'static str, &'static str, u64), u64>,
    source_id: &SourceId,
    span: Span,
) -> Result<Vec<Stretch>, Cause> {
    let mut stretches = Vec::new();
    for reason in LostReason::WITHOUT_CLIPS {
        for mut stretch in stretches_within(table, source_id, reason, span)? {
            stretch.start_ns = stretch.start_ns.max(span.start_ns);
            stretch.end_ns = stretch.end_ns.min(span.end_ns);
            stretches.push(stretch);
        }
    }
    Ok(stretches)
}

/// The whole stretches of one reason that share an instant with `span`.
pub(super) fn stretches_within(
    table: &impl ReadableTable<(&'static str, &'static str, u64), u64>,
    source_id: &SourceId,
    reason: LostReason,
    span: Span,
) -> Result<Vec<Stretch>, Cause> {
    let (id, json) = (source_id.as_str(), serde_json::to_string(&reason)?);
    let mut stretches = Vec::new();
    for row in table.range((id, json.as_str(), 0)..(id, json.as_str(), span.end_ns))?.rev() {
        let (key, end) = row?;
        let (start_ns, end_ns) = (key.value().2, end.value());
        if end_ns <= span.start_ns {
            break;
        }
        stretches.push(Stretch { start_ns, end_ns, state: ClipState::Lost(reason) });
    }
    stretches.reverse();
    Ok(stretches)
}

fn without_clips_reason(state: ClipState) -> Option<LostReason> {
    match state {
        ClipState::Lost(reason) if reason.is_without_clips() => Some(reason),
        _ => None,
    }
}

/// The reasons of time without clips, as they are written in keys.
fn reasons() -> Result<Vec<String>, Cause> {
    let reasons = LostReason::WITHOUT_CLIPS.iter();
    reasons.map(|reason| Ok(serde_json::to_string(reason)?)).collect()
}

fn of_reason<'a>(
    source_id: &'a SourceId,
    reason: &'a str,
) -> std::ops::RangeInclusive<(&'a str, &'a str, u64)> {
    (source_id.as_str(), reason, 0)..=(source_id.as_str(), reason, u64::MAX)
}

pub(super) fn read_run(
    (key, row): (redb::AccessGuard<'_, (&'static str, u64)>, redb::AccessGuard<'_, RunRow>),
) -> Result<Run, Cause> {
    let (first_ns, (step_ns, clips, clip_ns, state)) = (key.value().1, row.value());
    Ok(Run { first_ns, step_ns, clips, clip_ns, state: serde_json::from_str(state)? })
}
