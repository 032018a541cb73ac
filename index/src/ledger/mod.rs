//! What became of every clip of every source, on disk.
//!
//! Every method is one transaction, durable when it returns, and blocks for as long as the disk
//! needs. Two ledgers that were told the same in another order tell the same.
//!
//! Who writes here keeps one promise: a clip is entered as indexed only after the index has flushed
//! it.

mod clips;
mod closing;
mod error;
mod open;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use footage_clip::{CoverageRecord, FileStamp, RunRecord, SourceId, SourceRecord};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};
use serde::{Deserialize, Serialize};

pub use self::closing::Closing;
use self::error::Cause;
pub use self::error::LedgerError;
use self::error::failed;

/// The ledger's name in a collection's folder.
pub(crate) const FILE: &str = "ledger.redb";
/// Format of the tables. A ledger of this one and every earlier one can be opened.
const FORMAT: u64 = 2;

/// Format and counts.
const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// The count, in [`META`], of clips that are indexed.
const INDEXED_CLIPS: &str = "indexed-clips";
/// Source id to its record, as JSON.
const SOURCES: TableDefinition<&str, &[u8]> = TableDefinition::new("sources");
/// Source id and the start of a run of clips, to step, number and length of the clips, and their
/// state as JSON. No clip of one run starts amid another.
const CLIP_RUNS: TableDefinition<(&str, u64), (u64, u64, u64, &str)> =
    TableDefinition::new("clip-runs");
/// Source id, a reason as JSON and the start of a stretch without clips, to its end. Stretches of
/// one reason never touch.
const WITHOUT_CLIPS: TableDefinition<(&str, &str, u64), u64> =
    TableDefinition::new("without-clips");
/// Source id to the length of the longest clip it ever had: how far before a stretch of time a clip
/// may begin that reaches into it.
const LONGEST_CLIPS: TableDefinition<&str, u64> = TableDefinition::new("longest-clips");
/// Source id and a run's start, to the run, as JSON.
const RUNS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("runs");
/// Path to what the file there was, as JSON.
const FILES: TableDefinition<&str, &[u8]> = TableDefinition::new("files");
/// Sources whose removal has begun.
const REMOVALS: TableDefinition<&str, ()> = TableDefinition::new("removals");
/// Sources that are being closed, and the media time up to which.
const CLOSINGS: TableDefinition<&str, u64> = TableDefinition::new("closings");

/// A file that was read before, and the source it turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownFile {
    /// The file as it was.
    pub stamp: FileStamp,
    /// The source that its content is.
    pub source_id: SourceId,
}

/// Sources and their coverage. Clones share it.
#[derive(Clone)]
pub struct Ledger {
    database: Arc<Database>,
    at: PathBuf,
}

impl Ledger {
    /// Enters sources, then clips, all or nothing.
    ///
    /// A source entered again replaces what was known of it, but keeps the time it was first seen,
    /// and since when its footage is kept. Clips from before that are not entered. Of two states of
    /// one clip the better stays, as in [`Coverage::enter`](footage_clip::Coverage::enter).
    pub fn enter(
        &self,
        sources: &[SourceRecord],
        clips: &[CoverageRecord],
    ) -> Result<(), LedgerError> {
        if sources.is_empty() && clips.is_empty() {
            return Ok(());
        }
        self.write("entering clips", |transaction| {
            let removals = transaction.open_table(REMOVALS)?;
            let named = sources.iter().map(|source| &source.source_id);
            for source_id in named.chain(clips.iter().map(|clip| &clip.source_id)) {
                if removals.get(source_id.as_str())?.is_some() {
                    return Err(Cause::Refused(LedgerError::Removing(source_id.clone())));
                }
            }
            for source in sources {
                enter_source(transaction, source)?;
            }
            let mut by_source: BTreeMap<&SourceId, Vec<&CoverageRecord>> = BTreeMap::new();
            for clip in clips {
                by_source.entry(&clip.source_id).or_default().push(clip);
            }
            for (source_id, clips) in by_source {
                let retained_from =
                    source_of(transaction, source_id)?.and_then(|s| s.retained_from_ns);
                clips::enter(transaction, source_id, &clips, retained_from.unwrap_or(0))?;
            }
            Ok(())
        })
    }

    /// Enters runs of cameras, all or nothing. One entered again replaces what was known of it.
    pub fn enter_runs(&self, runs: &[RunRecord]) -> Result<(), LedgerError> {
        if runs.is_empty() {
            return Ok(());
        }
        self.write("entering runs", |transaction| {
            let removals = transaction.open_table(REMOVALS)?;
            let mut table = transaction.open_table(RUNS)?;
            for run in runs {
                if removals.get(run.source_id.as_str())?.is_some() {
                    return Err(Cause::Refused(LedgerError::Removing(run.source_id.clone())));
                }
                let row = serde_json::to_vec(run)?;
                table.insert((run.source_id.as_str(), run.start_ns), row.as_slice())?;
            }
            Ok(())
        })
    }

    /// The runs of a camera, by start.
    pub fn runs(&self, source_id: &SourceId) -> Result<Vec<RunRecord>, LedgerError> {
        self.read("reading runs", |transaction| {
            let table = transaction.open_table(RUNS)?;
            let rows = table.range(of_source(source_id))?;
            rows.map(|row| Ok(serde_json::from_slice(row?.1.value())?)).collect()
        })
    }

    /// A source; none where it is not known.
    pub fn source(&self, source_id: &SourceId) -> Result<Option<SourceRecord>, LedgerError> {
        self.read("reading a source", |transaction| {
            let table = transaction.open_table(SOURCES)?;
            let row = table.get(source_id.as_str())?;
            Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
        })
    }

    /// Every source, by id.
    pub fn sources(&self) -> Result<Vec<SourceRecord>, LedgerError> {
        self.read("reading the sources", |transaction| {
            let table = transaction.open_table(SOURCES)?;
            table.iter()?.map(|row| Ok(serde_json::from_slice(row?.1.value())?)).collect()
        })
    }

    /// What the file at `path` was when it was last read.
    pub fn known_file(&self, path: &str) -> Result<Option<KnownFile>, LedgerError> {
        self.read("looking up a file", |transaction| {
            let table = transaction.open_table(FILES)?;
            let row = table.get(path)?;
            Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
        })
    }

    /// Remembers what the file at `path` is, so that its content need not be read to know it again.
    pub fn remember_file(&self, path: &str, file: &KnownFile) -> Result<(), LedgerError> {
        self.write("remembering a file", |transaction| {
            let row = serde_json::to_vec(file)?;
            transaction.open_table(FILES)?.insert(path, row.as_slice())?;
            Ok(())
        })
    }

    fn read<R>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<R, Cause>,
    ) -> Result<R, LedgerError> {
        let transaction =
            self.database.begin_read().map_err(|error| failed(doing, &self.at, &error.into()))?;
        read(&transaction).map_err(|cause| cause.into_error(doing, &self.at))
    }

    fn write<R>(
        &self,
        doing: &'static str,
        write: impl FnOnce(&WriteTransaction) -> Result<R, Cause>,
    ) -> Result<R, LedgerError> {
        let transaction =
            self.database.begin_write().map_err(|error| failed(doing, &self.at, &error.into()))?;
        // Dropped on an error, which takes everything back.
        let result = write(&transaction).map_err(|cause| cause.into_error(doing, &self.at))?;
        transaction.commit().map_err(|error| failed(doing, &self.at, &error.into()))?;
        Ok(result)
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("at", &self.at).finish_non_exhaustive()
    }
}

fn enter_source(transaction: &WriteTransaction, given: &SourceRecord) -> Result<(), Cause> {
    let id = given.source_id.as_str();
    let mut table = transaction.open_table(SOURCES)?;
    let held = table.get(id)?.map(|row| serde_json::from_slice::<SourceRecord>(row.value()));
    let mut entered = given.clone();
    if let Some(held) = held.transpose()? {
        entered.added_unix_s = held.added_unix_s.min(given.added_unix_s);
        entered.retained_from_ns = held.retained_from_ns.max(given.retained_from_ns);
        let same = held.window == given.window && held.model.fingerprint == given.model.fingerprint;
        let clips = transaction.open_table(CLIP_RUNS)?;
        if !same && clips.range(of_source(&given.source_id))?.next().is_some() {
            return Err(Cause::Refused(LedgerError::OtherGrid {
                source_id: given.source_id.clone(),
                held: grid(&held),
                given: grid(given),
            }));
        }
    }
    table.insert(id, serde_json::to_vec(&entered)?.as_slice())?;
    Ok(())
}

fn grid(source: &SourceRecord) -> String {
    let SourceRecord { window, model, .. } = source;
    format!(
        "clips of {} frames every {} at {}/s by model `{}`",
        window.length(),
        window.stride(),
        window.rate(),
        model.name
    )
}

fn of_source(source_id: &SourceId) -> std::ops::RangeInclusive<(&str, u64)> {
    (source_id.as_str(), 0)..=(source_id.as_str(), u64::MAX)
}

fn source_of(
    transaction: &WriteTransaction,
    source_id: &SourceId,
) -> Result<Option<SourceRecord>, Cause> {
    let table = transaction.open_table(SOURCES)?;
    let row = table.get(source_id.as_str())?;
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}
