//! What earlier runs did, as the ledger tells it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use footage_clip::{FileStamp, SourceId};
use footage_index::{KnownFile, Ledger};
use footage_pipeline::{EarlierWork, Ended, Event, FileOutcome, Known, News};
use tokio::task::JoinHandle;

/// The ledger as the pipeline asks it, and as it learns which file is which source.
pub(super) struct Remembered {
    ledger: Ledger,
    /// Whether files are to be read even where they are known.
    force: bool,
    writing: Mutex<Vec<JoinHandle<()>>>,
}

impl Remembered {
    pub(super) fn new(ledger: Ledger, force: bool) -> Self {
        Self { ledger, force, writing: Mutex::default() }
    }

    /// Remembers a file once it has ended, so that the next run need not read it to know it.
    pub(super) fn hear(&self, event: &Event<'_>) {
        let News::Ended(outcome) = &event.news else { return };
        let Some(identity) = &outcome.identity else { return };
        let path = outcome.file.path().to_string_lossy().into_owned();
        let known = KnownFile { stamp: identity.stamp, source_id: identity.source_id.clone() };
        let ledger = self.ledger.clone();
        let writing = tokio::task::spawn_blocking(move || {
            // A file that is not remembered is read again, no more.
            if let Err(error) = ledger.remember_file(&path, &known) {
                tracing::warn!(%path, %error, "file is not remembered");
            }
        });
        self.writing.lock().unwrap_or_else(PoisonError::into_inner).push(writing);
    }

    /// What went wrong with a file that an earlier run had read.
    pub(super) fn known_failure(&self, outcome: &FileOutcome) -> Option<String> {
        let identity = outcome.identity.as_ref()?;
        let is_known = matches!(outcome.ended, Ended::KnownAlready);
        is_known.then(|| self.ledger.source(&identity.source_id).ok()??.failure)?
    }

    /// Waits until all that was heard is written.
    pub(super) async fn settle(&self) {
        let writing =
            std::mem::take(&mut *self.writing.lock().unwrap_or_else(PoisonError::into_inner));
        for task in writing {
            // A panic in there was logged, and costs no more than an unwritten line.
            drop(task.await);
        }
    }

    fn hash_of(&self, path: &Path, stamp: &FileStamp) -> Option<blake3::Hash> {
        let known = self.ledger.known_file(&path.to_string_lossy()).ok()??;
        if known.stamp != *stamp {
            return None;
        }
        let source = self.ledger.source(&known.source_id).ok()??;
        blake3::Hash::from_hex(source.content_hash?).ok()
    }
}

impl EarlierWork for Remembered {
    fn content_hash(&self, path: &Path, stamp: &FileStamp) -> Option<blake3::Hash> {
        if self.force { None } else { self.hash_of(path, stamp) }
    }

    fn known(
        &self,
        source_id: &SourceId,
    ) -> Result<Known, Box<dyn std::error::Error + Send + Sync>> {
        let source = self.ledger.source(source_id)?;
        Ok(Known { source, coverage: self.ledger.coverage(source_id)? })
    }
}
