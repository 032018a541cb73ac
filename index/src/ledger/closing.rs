//! Taking out of the ledger: a whole source, or what of it is too old.
//!
//! Both begin here, so that from then on nothing claims clips that are about to go, and remember
//! that they have begun until the index, and the footage, hold nothing of it any more.

use footage_clip::{ClipState, Coverage, LostReason, Run, RunRecord, SourceId, Span, Stretch};
use redb::{ReadableTable as _, WriteTransaction};

use super::error::{Cause, LedgerError};
use super::{
    CLIP_RUNS, CLOSINGS, FILES, INDEXED_CLIPS, KnownFile, LONGEST_CLIPS, Ledger, META, REMOVALS,
    RUNS, SOURCES, WITHOUT_CLIPS, clips, of_source,
};

/// A source's ledger being closed up to an instant: its clips from before are about to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The source.
    pub source_id: SourceId,
    /// Clips that end here or before go; footage from here on stays.
    pub before_ns: u64,
}

impl Ledger {
    /// Forgets a source, its clips and its files, and remembers that its clips are still to be
    /// taken out of the index. Returns whether anything was known of it.
    pub(crate) fn begin_removal(&self, source_id: &SourceId) -> Result<bool, LedgerError> {
        self.write("beginning a removal", |transaction| {
            let was_known = forget_source(transaction, source_id)?;
            transaction.open_table(REMOVALS)?.insert(source_id.as_str(), ())?;
            Ok(was_known)
        })
    }

    /// Forgets a source, or those of its clips that end by `before_ns`: for a ledger beside which
    /// there is no index to take anything out of. Doing it again changes nothing.
    pub fn forget(&self, source_id: &SourceId, before_ns: Option<u64>) -> Result<(), LedgerError> {
        self.write("forgetting", |transaction| {
            match before_ns {
                None => drop(forget_source(transaction, source_id)?),
                Some(before_ns) => drop(close(transaction, source_id, before_ns, u64::MAX)?),
            }
            Ok(())
        })
    }

    /// The index holds nothing of the source any more.
    pub(crate) fn finish_removal(&self, source_id: &SourceId) -> Result<(), LedgerError> {
        self.write("finishing a removal", |transaction| {
            transaction.open_table(REMOVALS)?.remove(source_id.as_str())?;
            Ok(())
        })
    }

    /// Sources whose removal has begun and not ended.
    pub(crate) fn removals(&self) -> Result<Vec<SourceId>, LedgerError> {
        self.read("reading the removals", |transaction| {
            let table = transaction.open_table(REMOVALS)?;
            table.iter()?.map(|row| source_id_of(row?.0.value())).collect()
        })
    }

    /// Closes a source's ledger up to `before_ns`, or so far that about `most_clips` clips go:
    /// clips that end there or before are forgotten, stretches and runs are cut, and the source is
    /// kept from there on. Remembers that vectors and footage are still to be removed, until
    /// [`finish_closing`](Self::finish_closing). Returns how far it went; none for a source that
    /// is not known or is being removed, or that was closed as far before.
    pub fn begin_closing(
        &self,
        source_id: &SourceId,
        before_ns: u64,
        most_clips: u64,
    ) -> Result<Option<Closing>, LedgerError> {
        self.write("beginning to close", |transaction| {
            let Some(before_ns) = close(transaction, source_id, before_ns, most_clips)? else {
                return Ok(None);
            };
            transaction.open_table(CLOSINGS)?.insert(source_id.as_str(), before_ns)?;
            Ok(Some(Closing { source_id: source_id.clone(), before_ns }))
        })
    }

    /// Index and footage hold nothing any more of what was to go.
    pub fn finish_closing(&self, closing: &Closing) -> Result<(), LedgerError> {
        self.write("finishing to close", |transaction| {
            let mut table = transaction.open_table(CLOSINGS)?;
            let id = closing.source_id.as_str();
            let open_ns = table.get(id)?.map(|row| row.value());
            // One that goes further may have begun since.
            if open_ns.is_some_and(|open_ns| open_ns <= closing.before_ns) {
                table.remove(id)?;
            }
            Ok(())
        })
    }

    /// What is being closed: begun and not ended.
    pub fn closings(&self) -> Result<Vec<Closing>, LedgerError> {
        self.read("reading what is being closed", |transaction| {
            let table = transaction.open_table(CLOSINGS)?;
            let rows = table.iter()?.map(|row| {
                let (id, before) = row?;
                let source_id = source_id_of(id.value())?;
                Ok(Closing { source_id, before_ns: before.value() })
            });
            rows.collect()
        })
    }
}

/// Forgets a source, its clips, runs and files. Returns whether anything was known of it.
fn forget_source(transaction: &WriteTransaction, source_id: &SourceId) -> Result<bool, Cause> {
    let was_known = transaction.open_table(SOURCES)?.remove(source_id.as_str())?.is_some();
    let was_covered = forget_clips(transaction, source_id)?;
    transaction.open_table(RUNS)?.retain_in(of_source(source_id), |_, _| false)?;
    transaction.open_table(FILES)?.retain(|_, row| {
        let file: Result<KnownFile, _> = serde_json::from_slice(row);
        file.is_ok_and(|file| file.source_id != *source_id)
    })?;
    Ok(was_known || was_covered)
}

/// Forgets what of a source ends by `before_ns`, about `most_clips` clips at most. Returns how far it
/// went; none where there is no such source, or where that was done before.
fn close(
    transaction: &WriteTransaction,
    source_id: &SourceId,
    before_ns: u64,
    most_clips: u64,
) -> Result<Option<u64>, Cause> {
    let Some(mut record) = super::source_of(transaction, source_id)? else {
        return Ok(None);
    };
    if record.retained_from_ns.is_some_and(|kept_from| before_ns <= kept_from) {
        return Ok(None);
    }
    let (before_ns, held) = oldest(transaction, source_id, before_ns, most_clips)?;
    let kept = held_after(&held, before_ns);
    clips::change(transaction, source_id, &held, &kept)?;
    forget_runs(transaction, source_id, before_ns)?;
    record.retained_from_ns = record.retained_from_ns.max(Some(before_ns));
    let row = serde_json::to_vec(&record)?;
    transaction.open_table(SOURCES)?.insert(source_id.as_str(), row.as_slice())?;
    Ok(Some(before_ns))
}

/// Forgets all clips of a source. Returns whether there were any, or time without them.
fn forget_clips(transaction: &WriteTransaction, source_id: &SourceId) -> Result<bool, Cause> {
    let whole = Span::new(0, u64::MAX);
    let mut table = transaction.open_table(CLIP_RUNS)?;
    let runs = clips::runs_within(&table, source_id, whole, u64::MAX)?;
    table.retain_in(of_source(source_id), |_, _| false)?;
    transaction.open_table(LONGEST_CLIPS)?.remove(source_id.as_str())?;
    let mut without = transaction.open_table(WITHOUT_CLIPS)?;
    let id = source_id.as_str();
    // Reasons are lower-case words in quotes: all sort between these.
    let of_source = (id, "", 0)..=(id, "~", u64::MAX);
    let is_covered = !runs.is_empty() || without.range(of_source.clone())?.next().is_some();
    without.retain_in(of_source, |_, _| false)?;
    let indexed = runs.iter().filter(|run| run.state == ClipState::Indexed);
    let indexed: u64 = indexed.map(|run| run.clips).sum();
    let mut meta = transaction.open_table(META)?;
    let count = meta.get(INDEXED_CLIPS)?.map_or(0, |count| count.value());
    meta.insert(INDEXED_CLIPS, count.saturating_sub(indexed))?;
    Ok(is_covered)
}

/// Up to where about `most_clips` clips end, `before_ns` at most; and the rows that begin before,
/// whole. Reads no others.
fn oldest(
    transaction: &WriteTransaction,
    source_id: &SourceId,
    mut before_ns: u64,
    most_clips: u64,
) -> Result<(u64, Coverage), Cause> {
    let id = source_id.as_str();
    let mut runs: Vec<Run> = Vec::new();
    let mut left = most_clips.max(1);
    for row in transaction.open_table(CLIP_RUNS)?.range((id, 0)..(id, before_ns))? {
        let run = clips::read_run(row?)?;
        if run.first_ns >= before_ns {
            break;
        }
        if (1..=run.clips).contains(&left) {
            let last = run.first_ns + run.step_ns * (left - 1);
            before_ns = before_ns.min(last + run.clip_ns);
        }
        left = left.saturating_sub(run.clips);
        runs.push(run);
    }
    let table = transaction.open_table(WITHOUT_CLIPS)?;
    let mut without = Vec::new();
    for reason in LostReason::WITHOUT_CLIPS {
        let past = Span::new(0, before_ns);
        without.extend(clips::stretches_within(&table, source_id, reason, past)?);
    }
    Ok((before_ns, Coverage::restore(runs, without)))
}

/// What is left when everything that ends at `before_ns` or earlier is gone, and time without clips
/// is cut there.
fn held_after(held: &Coverage, before_ns: u64) -> Coverage {
    let kept = Span::new(before_ns, u64::MAX);
    let runs: Vec<_> = held.runs().filter_map(|run| run.within(kept)).collect();
    let without = held.without_clips().filter(|stretch| stretch.end_ns > before_ns);
    let without =
        without.map(|stretch| Stretch { start_ns: stretch.start_ns.max(before_ns), ..stretch });
    Coverage::restore(runs, without.collect::<Vec<_>>())
}

/// Forgets the runs of a camera that ended: all but the last of those that begin by `before_ns`.
fn forget_runs(
    transaction: &WriteTransaction,
    source_id: &SourceId,
    before_ns: u64,
) -> Result<(), Cause> {
    let id = source_id.as_str();
    let mut table = transaction.open_table(RUNS)?;
    let last = table.range((id, 0)..=(id, before_ns))?.next_back().transpose()?;
    let last = last.map(|(_, row)| serde_json::from_slice::<RunRecord>(row.value())).transpose()?;
    if let Some(last) = last {
        table.retain_in((id, 0)..(id, last.start_ns), |_, _| false)?;
    }
    Ok(())
}

fn source_id_of(id: &str) -> Result<SourceId, Cause> {
    SourceId::try_new(id).map_err(|error| Cause::of(&error))
}
