//! Topic to index: batch, keep, make durable, commit.
//!
//! An [`Indexer`] follows a topic until it is closed and drained. Each batch goes through four
//! steps in this order: keep its clips in the index, flush the index, enter the clips in the
//! [`Accounts`], which are a ledger or a topic that ledgers are filled from, commit the topic's
//! position. After a crash between any two of them, the batch is delivered again and does no harm,
//! since clips are kept by an id that follows from what they show. So every clip accepted by the topic
//! ends in the index once, or in the ledger as lost.
//!
//! While one batch is entered and committed, the next is received and kept; entries keep their order.
//!
//! A removal ends its batch: the clips before it are kept, the accounts forget what is to go, and then
//! the index does, before anything after it is kept. Delivered again, it is done again.
//!
//! A clip that the index refuses is put with the dead letters, where there are any, and entered as
//! lost; the rest of its batch is kept. A failure
//! that may pass is tried again with growing pauses; one that stays, or a full disk, ends the
//! run with an error, and what was not committed waits in the topic.
//!
//! [`Retention`] takes out again what is too old, or too much. [`missing`] tells which clips are to get
//! captions, and [`due`] which another model has still to look at.

mod accounts;
mod batch;
mod captions;
mod migration;
mod progress;
mod retention;
mod retry;
mod run;

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use footage_index::{IndexError, KeepClips, LedgerError};
use footage_topic::{Bury, Follow, FollowError, PublishError};
use tokio::sync::watch;

pub use accounts::{Accounts, Announced, Entry};
pub use captions::{Described, Missing, Pace, Turn, Waiting, missing};
pub use migration::{Due, DueClip, Transcript, counterpart, due, renewed, transcribe};
pub use progress::{Progress, SourceProgress};
pub use retention::{
    Footage, FootageError, FootagePart, NoFootage, Retained, Retention, RetentionError,
    RetentionPolicy, due_before_ns,
};
pub use retry::RetrySettings;
use run::Run;

/// How clips are brought into the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexerSettings {
    /// Most messages in one batch. Larger batches make fewer flushes.
    pub max_batch: NonZeroUsize,
    /// A batch takes in what comes until so long after the one before it began, unless it is full before.
    /// So this is the longest that a message waits for others.
    pub max_wait: Duration,
    /// What to do about failures that may pass.
    pub retry: RetrySettings,
}

impl Default for IndexerSettings {
    fn default() -> Self {
        Self {
            max_batch: NonZeroUsize::new(1024).unwrap_or(NonZeroUsize::MIN),
            // A live record can be found a tenth of a second later, and a batch costs a few writes: see
            // `benches/live.rs`.
            max_wait: Duration::from_millis(100),
            retry: RetrySettings::default(),
        }
    }
}

/// What a run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexerReport {
    /// Clips kept and durable. A clip delivered twice counts twice.
    pub indexed_clips: u64,
    /// Clips that the index refused, entered as lost.
    pub refused_clips: u64,
    /// Clips that came as gated or lost.
    pub other_clips: u64,
    /// Clips taken out again, because a removal said so.
    pub removed_clips: u64,
    /// Batches committed.
    pub batches: u64,
}

/// Why a run ended before its topic did. What was not committed waits in the topic.
#[derive(Debug, thiserror::Error)]
pub enum IndexerError {
    /// The index failed, and went on failing.
    #[error("clips cannot be kept: {0}")]
    Index(#[from] IndexError),
    /// The ledger failed.
    #[error("clips cannot be accounted for: {0}")]
    Ledger(#[from] LedgerError),
    /// The topic failed.
    #[error("clips cannot be followed: {0}")]
    Topic(#[from] FollowError),
    /// What became of clips cannot be told, or refused ones cannot be put away.
    #[error("clips cannot be told of: {0}")]
    Announce(#[from] PublishError),
    /// A call was given up by the runtime.
    #[error("indexing was interrupted: {0}")]
    Interrupted(String),
}

impl IndexerError {
    /// Whether the disk was full: the same run works once there is room.
    pub fn is_no_space(&self) -> bool {
        matches!(
            self,
            Self::Index(IndexError::NoSpace { .. }) | Self::Ledger(LedgerError::NoSpace(_))
        )
    }
}

/// Brings what a topic holds into an index and its accounts.
pub struct Indexer {
    index: Arc<dyn KeepClips>,
    accounts: Box<dyn Accounts>,
    dead_letters: Option<Arc<dyn Bury>>,
    settings: IndexerSettings,
    progress: watch::Sender<Progress>,
}

impl Indexer {
    /// An indexer for one index, and the ledger beside it or what else takes its accounts.
    pub fn new(
        index: Arc<dyn KeepClips>,
        accounts: impl Accounts + 'static,
        settings: IndexerSettings,
    ) -> Self {
        let accounts = Box::new(accounts);
        let progress = watch::Sender::default();
        Self { index, accounts, dead_letters: None, settings, progress }
    }

    /// Clips that the index refuses are put there.
    #[must_use]
    pub fn with_dead_letters(self, dead_letters: Arc<dyn Bury>) -> Self {
        Self { dead_letters: Some(dead_letters), ..self }
    }

    /// Tells what was committed, by source, each time that more was.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Follows until the topic is closed and everything in it is committed.
    ///
    /// May be cancelled at any time: what was not committed is delivered to the next follower.
    pub async fn run(&self, follower: Box<dyn Follow>) -> Result<IndexerReport, IndexerError> {
        Run::new(self, follower).follow_to_end().await
    }
}

impl fmt::Debug for Indexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indexer").field("settings", &self.settings).finish_non_exhaustive()
    }
}
