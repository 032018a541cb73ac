//! Where it is told what became of clips.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use footage_clip::{CoverageBatch, CoverageRecord, RemovalRecord, RunRecord, SourceRecord};
use footage_index::{Ledger, LedgerError};
use footage_topic::{Bury, PublishError, Topic, TopicMessage};
use tracing::warn;

use crate::IndexerError;

/// Pauses between attempts to reach a topic that takes nothing: the first one, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Most clips of a source that are told of in one message, far below what a broker takes.
const TOGETHER: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// What became of the clips of a batch, and what it says besides.
#[derive(Clone, Debug, Default)]
pub struct Entry {
    /// Sources, in order.
    pub sources: Vec<SourceRecord>,
    /// Runs of cameras, in order.
    pub runs: Vec<RunRecord>,
    /// Clips, and how each ended.
    pub coverage: Vec<CoverageRecord>,
    /// What of all this, and of what was entered before, is to go.
    pub removal: Option<RemovalRecord>,
}

/// Takes entries down.
#[async_trait]
pub trait Accounts: Send + Sync {
    /// Takes an entry down for good, and gives it back. Entering twice is entering once.
    async fn enter(&self, entry: Entry) -> Result<Entry, IndexerError>;
}

#[async_trait]
impl Accounts for Ledger {
    /// Entering is one transaction of the disk's, so it goes where blocking is allowed.
    async fn enter(&self, entry: Entry) -> Result<Entry, IndexerError> {
        let ledger = self.clone();
        let entered = tokio::task::spawn_blocking(move || -> Result<Entry, LedgerError> {
            ledger.enter_runs(&entry.runs)?;
            Ledger::enter(&ledger, &entry.sources, &entry.coverage)?;
            if let Some(removal) = &entry.removal {
                ledger.forget(&removal.source_id, removal.before_ns)?;
            }
            Ok(entry)
        });
        Ok(entered.await.map_err(|error| IndexerError::Interrupted(error.to_string()))??)
    }
}

/// Tells a topic, from which every ledger that wants to know is filled: for indexers that share work.
pub struct Announced {
    topic: Arc<dyn Topic>,
}

impl Announced {
    /// Entries go to `topic`.
    pub fn new(topic: Arc<dyn Topic>) -> Self {
        Self { topic }
    }
}

#[async_trait]
impl Accounts for Announced {
    async fn enter(&self, entry: Entry) -> Result<Entry, IndexerError> {
        // Nobody is to learn that a source is complete before all of its clips are told of.
        let (complete, begun): (Vec<_>, Vec<_>) =
            entry.sources.iter().cloned().partition(|source| source.complete);
        let coverage = CoverageBatch::by_source(&entry.coverage, TOGETHER);
        let runs = entry.runs.iter().cloned().map(TopicMessage::from);
        let messages: Vec<TopicMessage> = runs
            .chain(begun.into_iter().map(TopicMessage::from))
            .chain(coverage.into_iter().map(TopicMessage::from))
            .chain(complete.into_iter().map(TopicMessage::from))
            .chain(entry.removal.clone().map(TopicMessage::from))
            .collect();
        let mut pause = PAUSE.0;
        loop {
            match self.topic.publish_all(messages.clone()).await {
                Ok(()) => return Ok(entry),
                Err(PublishError::NotYet(cause)) => {
                    warn!(%cause, ?pause, "coverage cannot be told yet, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Puts a refused message away; waits for a topic that takes nothing.
pub(crate) async fn bury(
    dead_letters: &dyn Bury,
    message: TopicMessage,
    why: &str,
) -> Result<(), IndexerError> {
    let mut pause = PAUSE.0;
    loop {
        match dead_letters.bury(&message, why).await {
            Err(PublishError::NotYet(cause)) => {
                warn!(%cause, ?pause, "dead letter cannot be put away yet, trying again");
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
            buried => return Ok(buried?),
        }
    }
}

impl fmt::Debug for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Announced").finish_non_exhaustive()
    }
}
