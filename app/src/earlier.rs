//! What earlier runs did, as the ledger tells it.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use footage_clip::{FileStamp, SourceId};
use footage_index::{KnownFile, Ledger};
use footage_pipeline::{EarlierWork, Ended, Event, FileOutcome, Known, News};
use tokio::task::JoinHandle;

/// The ledger as the pipeline asks it, and as it learns which file is which source.
pub(crate) struct Remembered {
    ledger: Ledger,
    /// Whether files are to be read even where they are known.
    force: bool,
    writing: Mutex<Vec<JoinHandle<()>>>,
}

/// What earlier runs have to do with a file.
#[derive(Debug, Default)]
pub(crate) struct Earlier {
    /// What went wrong with it, where it was read by then.
    pub(crate) failure: Option<String>,
    /// The source that was at its path, with other content.
    pub(crate) replaced: Option<SourceId>,
}

impl Remembered {
    pub(crate) fn new(ledger: Ledger, force: bool) -> Self {
        Self { ledger, force, writing: Mutex::default() }
    }

    /// Remembers a file once it has ended, so that the next run need not read it to know it.
    pub(crate) fn hear(&self, event: &Event<'_>) {
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

    /// What earlier runs have to do with a file that has ended. Ask before [`Self::hear`].
    pub(crate) fn about(&self, outcome: &FileOutcome) -> Earlier {
        Earlier { failure: self.known_failure(outcome), replaced: self.replaced(outcome) }
    }

    fn known_failure(&self, outcome: &FileOutcome) -> Option<String> {
        let identity = outcome.identity.as_ref()?;
        let is_known = matches!(outcome.ended, Ended::KnownAlready);
        is_known.then(|| self.ledger.source(&identity.source_id).ok()??.failure)?
    }

    fn replaced(&self, outcome: &FileOutcome) -> Option<SourceId> {
        let now = &outcome.identity.as_ref()?.source_id;
        let path = outcome.file.path().to_str()?;
        let before = self.ledger.known_file(path).ok()??.source_id;
        let record = self.ledger.source(&before).ok()??;
        let is_there = record.media.is_some_and(|media| media.path == path);
        (before != *now && is_there).then_some(before)
    }

    /// Waits until all that was heard is written.
    pub(crate) async fn settle(&self) {
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
