//! What can go wrong with a ledger.

use std::path::{Path, PathBuf};

use footage_clip::SourceId;

use super::FORMAT;

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

/// What ended a transaction.
pub(super) enum Cause {
    Database(Box<redb::Error>),
    Unreadable(String),
    Refused(LedgerError),
}

impl Cause {
    pub(super) fn of(error: &dyn std::error::Error) -> Self {
        Self::Unreadable(error.to_string())
    }

    pub(super) fn into_error(self, doing: &'static str, at: &Path) -> LedgerError {
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

/// An error of the database as ours.
pub(super) fn failed(doing: &'static str, at: &Path, error: &redb::Error) -> LedgerError {
    match error {
        redb::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => {
            LedgerError::NoSpace(at.to_owned())
        }
        other => LedgerError::Failed { doing, at: at.to_owned(), cause: other.to_string() },
    }
}
