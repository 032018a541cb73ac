//! What earlier runs did, as whoever keeps the ledger tells it.

use std::error::Error;
use std::path::Path;

use footage_clip::{ClipState, Coverage, FileStamp, LostReason, SourceId, SourceRecord};

/// What is known of a source.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its record, if it was ever begun.
    pub source: Option<SourceRecord>,
    /// What became of its clips so far.
    pub coverage: Coverage,
}

impl Known {
    /// Whether nothing of it is left to do. Clips that were lost because the footage was not where it had
    /// been are: whoever asks has found it.
    pub(crate) fn is_done(&self) -> bool {
        let gone = ClipState::Lost(LostReason::FootageGone);
        self.source.as_ref().is_some_and(|source| source.complete)
            && self.coverage.clips(|state| state == gone) == 0
    }

    /// Whether a clip needs no more work. A lost one may have better luck this time.
    pub(crate) fn has(&self, start_ns: u64) -> bool {
        matches!(self.coverage.state_of(start_ns), Some(ClipState::Indexed | ClipState::Gated))
    }
}

/// Answers about earlier runs. It is asked once for each file, from a thread that may block.
pub trait EarlierWork: Send + Sync {
    /// The content hash of a file that was read before and has not changed since, by its path and
    /// stamp. Without an answer the file is read to know it.
    fn content_hash(&self, path: &Path, stamp: &FileStamp) -> Option<blake3::Hash>;

    /// What is known of a source.
    fn known(&self, source_id: &SourceId) -> Result<Known, Box<dyn Error + Send + Sync>>;
}

/// There were no earlier runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEarlierWork;

impl EarlierWork for NoEarlierWork {
    fn content_hash(&self, _path: &Path, _stamp: &FileStamp) -> Option<blake3::Hash> {
        None
    }

    fn known(&self, _source_id: &SourceId) -> Result<Known, Box<dyn Error + Send + Sync>> {
        Ok(Known::default())
    }
}
