//! Topic to index: batch, keep, make durable, commit.
//!
//! An [`Indexer`] follows a topic until it is closed and drained. Each batch goes through four
//! steps in this order: keep its clips in the index, flush the index, enter the clips in the
//! [`Accounts`], which are a ledger or a topic that ledgers are filled from, commit the topic's position. After a crash between any two of them, the batch is
//! delivered again and does no harm, since clips are kept by an id that follows from what they
//! show. So every clip accepted by the topic ends in the index once, or in the ledger as lost.
//!
//! A removal ends its batch: the clips before it are kept, the accounts forget what is to go, and then
//! the index does. Delivered again, it is done again.
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

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use footage_clip::{ClipRecord, ClipState, CoverageRecord, LostReason, RemovalRecord};
use footage_index::{IndexError, KeepClips, LedgerError};
use footage_topic::{Bury, Follow, FollowError, PublishError};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{info, warn};

pub use accounts::{Accounts, Announced, Entry};
use batch::Batch;
pub use captions::{Described, Missing, Pace, Turn, Waiting, missing};
pub use migration::{Due, DueClip, Transcript, counterpart, due, renewed, transcribe};
pub use progress::{Progress, SourceProgress};
pub use retention::{
    Footage, FootageError, FootagePart, NoFootage, Retained, Retention, RetentionError,
    RetentionPolicy, due_before_ns,
};
pub use retry::RetrySettings;

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
    pub async fn run(&self, mut follower: Box<dyn Follow>) -> Result<IndexerReport, IndexerError> {
        let mut report = IndexerReport::default();
        // What comes after a pause is brought in at once, and of a stream there is a batch every
        // `max_wait`: what came while the one before was under way has waited enough.
        let mut deadline = Instant::now();
        while let Some(batch) = Batch::receive(&mut *follower, &self.settings, deadline).await? {
            deadline = batch.began.unwrap_or_else(Instant::now) + self.settings.max_wait;
            self.bring_in(batch, &mut *follower, &mut report).await?;
        }
        Ok(report)
    }

    async fn bring_in(
        &self,
        mut batch: Batch,
        follower: &mut dyn Follow,
        report: &mut IndexerReport,
    ) -> Result<(), IndexerError> {
        let refused = self.keep(&mut batch.clips).await?;
        if !batch.clips.is_empty() {
            self.settings.retry.until_done("flush", || self.index.flush()).await?;
        }
        report.indexed_clips += batch.clips.len() as u64;
        report.refused_clips += refused.len() as u64;
        report.other_clips += batch.coverage.len() as u64;
        let (indexed, coverage) = (std::mem::take(&mut batch.clips), &mut batch.coverage);
        coverage.extend(indexed.iter().map(|clip| coverage_of(clip, ClipState::Indexed)));
        coverage.extend(
            refused.iter().map(|clip| coverage_of(clip, ClipState::Lost(LostReason::Refused))),
        );
        let Batch { sources, runs, coverage, removal, positions, .. } = batch;
        let entry = self.accounts.enter(Entry { sources, runs, coverage, removal }).await?;
        if let Some(removal) = &entry.removal {
            report.removed_clips += self.remove(removal).await?;
        }
        for position in positions {
            follower.commit(position).await?;
        }
        report.batches += 1;
        self.progress.send_modify(|progress| progress.add(&entry.sources, &entry.coverage));
        Ok(())
    }

    /// Takes out what is to go, once nothing claims it any more. Returns how many clips there were.
    async fn remove(&self, removal: &RemovalRecord) -> Result<u64, IndexError> {
        let RemovalRecord { source_id, before_ns, .. } = removal;
        let retry = &self.settings.retry;
        let clips = retry
            .until_done("remove", || async {
                match before_ns {
                    Some(before_ns) => self.index.remove_before(source_id, *before_ns).await,
                    None => self.index.remove_source(source_id).await,
                }
            })
            .await?;
        retry.until_done("flush", || self.index.flush()).await?;
        info!(source = %source_id, clips, before_ns, "removed");
        Ok(clips)
    }

    /// Keeps clips, taking out and returning those that the index refuses.
    async fn keep(&self, clips: &mut Vec<ClipRecord>) -> Result<Vec<ClipRecord>, IndexerError> {
        let mut refused = Vec::new();
        while !clips.is_empty() {
            match self.settings.retry.until_done("keep", || self.index.keep(clips)).await {
                Ok(()) => break,
                Err(error) => {
                    let why = error.to_string();
                    let clip = take_refused(clips, error)?;
                    if let Some(dead_letters) = &self.dead_letters {
                        accounts::bury(&**dead_letters, clip.clone().into(), &why).await?;
                    }
                    refused.push(clip);
                }
            }
        }
        Ok(refused)
    }
}

/// The clip that the index refused, or the error where it is of another kind.
fn take_refused(
    clips: &mut Vec<ClipRecord>,
    error: IndexError,
) -> Result<ClipRecord, IndexerError> {
    let at = match &error {
        IndexError::Refused { clip_id, .. } => {
            clips.iter().position(|clip| clip.clip_id == *clip_id)
        }
        _ => None,
    };
    let Some(at) = at else {
        return Err(error.into());
    };
    let clip = clips.remove(at);
    warn!(source = %clip.source_id, start_ns = clip.span.start_ns, %error, "clip is lost");
    Ok(clip)
}

impl fmt::Debug for Indexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indexer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

fn coverage_of(clip: &ClipRecord, state: ClipState) -> CoverageRecord {
    CoverageRecord { source_id: clip.source_id.clone(), span: clip.span, state }
}
