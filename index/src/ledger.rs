//! What became of every clip of every source, on disk.
//!
//! A row for each clip, so that entering a clip costs the same however long its source is, and so
//! that two ledgers that were told the same in another order are the same. Every method is one
//! transaction, durable when it returns, and blocks for as long as the disk needs.
//!
//! Who writes here keeps one promise: a clip is entered as indexed only after the index has flushed
//! it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use footage_clip::{
    ClipState, Coverage, CoverageRecord, FileStamp, RunRecord, SourceId, SourceRecord, Span,
};
use fs_err as fs;
use redb::{Database, ReadableDatabase as _, ReadableTable, TableDefinition, WriteTransaction};
use serde::{Deserialize, Serialize};

use crate::opening::guarded;

/// The ledger's name in a collection's folder.
pub(crate) const FILE: &str = "ledger.redb";
/// Format of the tables. A ledger of this one and every earlier one can be opened.
const FORMAT: u64 = 1;
/// The database would take a gigabyte if it were not told otherwise.
const CACHE_BYTES: usize = 16 << 20;

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// Source id to its record, as JSON.
const SOURCES: TableDefinition<&str, &[u8]> = TableDefinition::new("sources");
/// Source id and a clip's start, to its end and its state, as JSON.
const CLIPS: TableDefinition<(&str, u64), (u64, &str)> = TableDefinition::new("clips");
/// Source id and a run's start, to the run, as JSON.
const RUNS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("runs");
/// Path to what the file there was, as JSON.
const FILES: TableDefinition<&str, &[u8]> = TableDefinition::new("files");
/// Sources whose removal has begun.
const REMOVALS: TableDefinition<&str, ()> = TableDefinition::new("removals");

/// Why the ledger did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process has it open.
    #[error("ledger {} is in use by another process: wait until that ends", .0.display())]
    InUse(PathBuf),
    /// Written by a newer release.
    #[error("ledger {} has format {found}, this release reads up to {FORMAT}: use the release that wrote it, or a newer one", at.display())]
    Newer {
        /// The file.
        at: PathBuf,
        /// The format found.
        found: u64,
    },
    /// The disk is full. Nothing of the call was entered.
    #[error("disk is full: {} cannot be written: free some space there and run again", .0.display())]
    NoSpace(PathBuf),
    /// What it holds makes no sense.
    #[error(
        "ledger {} is damaged ({cause}): restore its folder from a copy, or move that whole folder away and index again",
        at.display()
    )]
    Damaged {
        /// The file.
        at: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The database failed, or what it holds cannot be read.
    #[error("ledger {} failed while {doing}: {cause}", at.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// The file.
        at: PathBuf,
        /// What the database says.
        cause: String,
    },
    /// A source's clips are cut otherwise than before, and would not fit between those.
    #[error(
        "source `{source_id}` was indexed with {held}, not with {given}: remove the source first, or index it as before"
    )]
    OtherGrid {
        /// The source.
        source_id: SourceId,
        /// How it was indexed.
        held: String,
        /// How it was to be indexed.
        given: String,
    },
    /// A source is being removed, and takes no clips meanwhile.
    #[error("source `{0}` is being removed: finish the removal before indexing it again")]
    Removing(SourceId),
}

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
    /// Opens the ledger in a collection's folder, and makes an empty one where there is none. One
    /// process at a time.
    pub fn open(folder: &Path) -> Result<Self, LedgerError> {
        let at = folder.join(FILE);
        let opened = guarded(|| Self::open_unguarded(folder, &at));
        opened.unwrap_or_else(|cause| Err(LedgerError::Damaged { at, cause }))
    }

    fn open_unguarded(folder: &Path, at: &Path) -> Result<Self, LedgerError> {
        let at = at.to_owned();
        let damaged = |cause: String| LedgerError::Damaged { at: at.clone(), cause };
        let opened = make_if_absent(folder, &at)
            .and_then(|()| Database::builder().set_cache_size(CACHE_BYTES).open(&at));
        let database = opened.map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => LedgerError::InUse(at.clone()),
            redb::DatabaseError::Storage(redb::StorageError::Corrupted(cause)) => damaged(cause),
            redb::DatabaseError::Storage(redb::StorageError::Io(error))
                if error.kind() == std::io::ErrorKind::InvalidData =>
            {
                damaged(error.to_string())
            }
            other => failed("opening it", &at, &other.into()),
        })?;
        let ledger = Self { database: Arc::new(database), at: at.clone() };
        ledger.write("opening it", |transaction| {
            for table in [SOURCES, FILES] {
                transaction.open_table(table)?;
            }
            transaction.open_table(CLIPS)?;
            transaction.open_table(RUNS)?;
            transaction.open_table(REMOVALS)?;
            let mut meta = transaction.open_table(META)?;
            let found = meta.get("format")?.map(|format| format.value());
            match found {
                Some(found) if found > FORMAT => {
                    return Err(Cause::Refused(LedgerError::Newer {
                        at: ledger.at.clone(),
                        found,
                    }));
                }
                Some(_) => {}
                None => {
                    meta.insert("format", FORMAT)?;
                }
            }
            Ok(())
        })?;
        Ok(ledger)
    }

    /// Enters sources, then clips, all or nothing.
    ///
    /// A source entered again replaces what was known of it, but keeps the time it was first seen.
    /// Of two states of one clip the better stays, as in [`Coverage::enter`].
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
            let mut table = transaction.open_table(CLIPS)?;
            for clip in clips {
                let key = (clip.source_id.as_str(), clip.span.start_ns);
                let held = table.get(key)?.map(|row| read_state(row.value().1)).transpose()?;
                if held.is_none_or(|held| clip.state < held) {
                    let state = serde_json::to_string(&clip.state)?;
                    table.insert(key, (clip.span.end_ns, state.as_str()))?;
                }
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

    /// What became of a source's clips; empty for a source that is not known.
    pub fn coverage(&self, source_id: &SourceId) -> Result<Coverage, LedgerError> {
        self.read("reading a coverage", |transaction| {
            let table = transaction.open_table(CLIPS)?;
            table
                .range(of_source(source_id))?
                .map(|row| {
                    let (key, value) = row?;
                    let (end_ns, state) = value.value();
                    Ok((Span::new(key.value().1, end_ns), read_state(state)?))
                })
                .collect()
        })
    }

    /// Clips entered as indexed, of all sources.
    pub fn indexed_clips(&self) -> Result<u64, LedgerError> {
        self.read("counting clips", |transaction| {
            let table = transaction.open_table(CLIPS)?;
            let mut count = 0;
            for row in table.iter()? {
                count += u64::from(read_state(row?.1.value().1)? == ClipState::Indexed);
            }
            Ok(count)
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

    /// Forgets a source, its clips and its files, and remembers that its clips are still to be
    /// taken out of the index. Returns whether anything was known of it.
    pub(crate) fn begin_removal(&self, source_id: &SourceId) -> Result<bool, LedgerError> {
        self.write("beginning a removal", |transaction| {
            let known = transaction.open_table(SOURCES)?.remove(source_id.as_str())?.is_some();
            let mut clips = transaction.open_table(CLIPS)?;
            let covered = clips.range(of_source(source_id))?.next().is_some();
            clips.retain_in(of_source(source_id), |_, _| false)?;
            transaction.open_table(RUNS)?.retain_in(of_source(source_id), |_, _| false)?;
            transaction.open_table(FILES)?.retain(|_, row| {
                let file: Result<KnownFile, _> = serde_json::from_slice(row);
                file.is_ok_and(|file| file.source_id != *source_id)
            })?;
            transaction.open_table(REMOVALS)?.insert(source_id.as_str(), ())?;
            Ok(known || covered)
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
            table
                .iter()?
                .map(|row| SourceId::try_new(row?.0.value()).map_err(|error| Cause::of(&error)))
                .collect()
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

/// Makes an empty database where there is none: beside its place first, because one that a kill
/// left half made could never be opened.
fn make_if_absent(folder: &Path, at: &Path) -> Result<(), redb::DatabaseError> {
    let unfinished = folder.join(format!("{FILE}.new"));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    if at.try_exists()? {
        return Ok(());
    }
    drop(Database::create(&unfinished)?);
    fs::File::open(&unfinished)?.sync_all()?;
    fs::rename(&unfinished, at)?;
    fs::File::open(folder)?.sync_all()?;
    Ok(())
}

fn enter_source(transaction: &WriteTransaction, given: &SourceRecord) -> Result<(), Cause> {
    let id = given.source_id.as_str();
    let mut table = transaction.open_table(SOURCES)?;
    let held = table.get(id)?.map(|row| serde_json::from_slice::<SourceRecord>(row.value()));
    let mut entered = given.clone();
    if let Some(held) = held.transpose()? {
        entered.added_unix_s = held.added_unix_s.min(given.added_unix_s);
        let same = held.window == given.window && held.model.fingerprint == given.model.fingerprint;
        let clips = transaction.open_table(CLIPS)?;
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

fn read_state(json: &str) -> Result<ClipState, Cause> {
    Ok(serde_json::from_str(json)?)
}

/// What ended a transaction.
enum Cause {
    Database(Box<redb::Error>),
    Unreadable(String),
    Refused(LedgerError),
}

impl Cause {
    fn of(error: &dyn std::error::Error) -> Self {
        Self::Unreadable(error.to_string())
    }

    fn into_error(self, doing: &'static str, at: &Path) -> LedgerError {
        match self {
            Self::Database(error) => failed(doing, at, &error),
            Self::Unreadable(cause) => LedgerError::Failed { doing, at: at.to_owned(), cause },
            Self::Refused(error) => error,
        }
    }
}

impl From<redb::TableError> for Cause {
    fn from(error: redb::TableError) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

impl From<redb::StorageError> for Cause {
    fn from(error: redb::StorageError) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

impl From<serde_json::Error> for Cause {
    fn from(error: serde_json::Error) -> Self {
        Self::of(&error)
    }
}

fn failed(doing: &'static str, at: &Path, error: &redb::Error) -> LedgerError {
    match error {
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => {
            LedgerError::NoSpace(at.to_owned())
        }
        other => LedgerError::Failed { doing, at: at.to_owned(), cause: other.to_string() },
    }
}
