//! Opening a ledger, and bringing one of an earlier release into today's form.

use std::path::Path;
use std::sync::Arc;

use footage_clip::{ClipState, Coverage, SourceId, Span};
use fs_err as fs;
use redb::{Database, ReadableTable as _, TableDefinition, WriteTransaction};

use super::error::{Cause, LedgerError, failed};
use super::{
    CLIP_RUNS, CLOSINGS, FILE, FILES, FORMAT, LONGEST_CLIPS, Ledger, META, REMOVALS, RUNS, SOURCES,
    WITHOUT_CLIPS, clips,
};
use crate::opening::guarded;

/// The database would take a gigabyte if it were not told otherwise.
const CACHE_BYTES: usize = 16 << 20;

/// Format 1: source id and a clip's start, to its end and its state, as JSON.
const CLIPS_OF_FORMAT_1: TableDefinition<(&str, u64), (u64, &str)> = TableDefinition::new("clips");

impl Ledger {
    /// Opens the ledger in a collection's folder, and makes an empty one where there is none. One
    /// process at a time. One of an earlier format is brought into today's, once.
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
        ledger.write("opening it", |transaction| ledger.bring_up(transaction))?;
        Ok(ledger)
    }

    fn bring_up(&self, transaction: &WriteTransaction) -> Result<(), Cause> {
        let found = transaction.open_table(META)?.get("format")?.map(|format| format.value());
        match found {
            Some(FORMAT) => return Ok(()),
            Some(found) if found > FORMAT => {
                return Err(Cause::Refused(LedgerError::Newer { at: self.at.clone(), found }));
            }
            Some(_) => bring_up_format_1(transaction)?,
            None => {}
        }
        for table in [SOURCES, FILES] {
            transaction.open_table(table)?;
        }
        transaction.open_table(CLIP_RUNS)?;
        transaction.open_table(WITHOUT_CLIPS)?;
        transaction.open_table(LONGEST_CLIPS)?;
        transaction.open_table(RUNS)?;
        transaction.open_table(REMOVALS)?;
        transaction.open_table(CLOSINGS)?;
        transaction.open_table(META)?.insert("format", FORMAT)?;
        Ok(())
    }
}

/// A row for each clip becomes a row for each run of clips.
fn bring_up_format_1(transaction: &WriteTransaction) -> Result<(), Cause> {
    {
        let table = transaction.open_table(CLIPS_OF_FORMAT_1)?;
        let mut of_source: Option<(String, Vec<(Span, ClipState)>)> = None;
        let enter = |(id, entries): (String, Vec<(Span, ClipState)>)| {
            let source_id = SourceId::try_new(id).map_err(|error| Cause::of(&error))?;
            let coverage: Coverage = entries.into_iter().collect();
            clips::change(transaction, &source_id, &Coverage::default(), &coverage)
        };
        for row in table.iter()? {
            let (key, value) = row?;
            let ((id, start_ns), (end_ns, state)) = (key.value(), value.value());
            let entry = (Span::new(start_ns, end_ns), serde_json::from_str(state)?);
            match &mut of_source {
                Some((held, entries)) if held == id => entries.push(entry),
                _ => {
                    if let Some(whole) = of_source.replace((id.to_owned(), vec![entry])) {
                        enter(whole)?;
                    }
                }
            }
        }
        if let Some(whole) = of_source {
            enter(whole)?;
        }
    }
    transaction.delete_table(CLIPS_OF_FORMAT_1)?;
    Ok(())
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
