//! One run: while a batch is received and kept, the one before it is entered and committed.

use std::future::pending;
use std::pin::Pin;

use footage_clip::{ClipRecord, ClipState, CoverageRecord, LostReason, RemovalRecord};
use footage_index::IndexError;
use footage_topic::{Follow, Position};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::accounts::{self, Entry};
use crate::batch::{Batch, Filling};
use crate::{Indexer, IndexerError, IndexerReport};

/// What is in the index for good, on its way into the accounts.
type Entering<'a> = Pin<Box<dyn Future<Output = Result<Entered, IndexerError>> + Send + 'a>>;

/// What is in the index and in the accounts.
struct Entered {
    entry: Entry,
    /// The last position of each partition.
    positions: Vec<Position>,
    removed_clips: u64,
}

pub(crate) struct Run<'a> {
    indexer: &'a Indexer,
    follower: Box<dyn Follow>,
    /// The batch before the one that is received or kept.
    entering: Option<Entering<'a>>,
    report: IndexerReport,
}

impl<'a> Run<'a> {
    pub(crate) fn new(indexer: &'a Indexer, follower: Box<dyn Follow>) -> Self {
        Self { indexer, follower, entering: None, report: IndexerReport::default() }
    }

    pub(crate) async fn follow_to_end(mut self) -> Result<IndexerReport, IndexerError> {
        // What comes after a pause is brought in at once, and of a stream there is a batch every
        // `max_wait`: what came while the one before was under way has waited enough.
        let mut deadline = Instant::now();
        while let Some(batch) = self.receive(deadline).await? {
            let began = batch.began.unwrap_or_else(Instant::now);
            deadline = began + self.indexer.settings.max_wait;
            self.bring_in(batch).await?;
        }
        self.settle().await?;
        Ok(self.report)
    }

    /// The next batch; none when the topic has ended.
    async fn receive(&mut self, deadline: Instant) -> Result<Option<Batch>, IndexerError> {
        let mut filling = Filling::default();
        let settings = &self.indexer.settings;
        loop {
            let entered = tokio::select! {
                biased;
                entered = entered(&mut self.entering) => entered?,
                is_batch = filling.receive(&mut *self.follower, settings, deadline) => {
                    return Ok(is_batch?.then(|| filling.into_batch()));
                }
            };
            self.commit(entered).await?;
        }
    }

    /// Keeps a batch, and begins to enter it.
    async fn bring_in(&mut self, batch: Batch) -> Result<(), IndexerError> {
        let Batch { sources, runs, mut coverage, removal, positions, mut clips, .. } = batch;
        let indexer = self.indexer;
        let (refused, settled) = tokio::join!(indexer.keep(&mut clips), self.settle());
        settled?;
        let refused = refused?;
        self.report.indexed_clips += clips.len() as u64;
        self.report.refused_clips += refused.len() as u64;
        self.report.other_clips += coverage.len() as u64;
        coverage.extend(clips.iter().map(|clip| coverage_of(clip, ClipState::Indexed)));
        let lost = ClipState::Lost(LostReason::Refused);
        coverage.extend(refused.iter().map(|clip| coverage_of(clip, lost)));
        let is_removal = removal.is_some();
        let entry = Entry { sources, runs, coverage, removal };
        self.entering = Some(Box::pin(async move {
            let entry = indexer.accounts.enter(entry).await?;
            let removed_clips = match &entry.removal {
                Some(removal) => indexer.remove(removal).await?,
                None => 0,
            };
            Ok(Entered { entry, positions, removed_clips })
        }));
        if is_removal {
            // What is kept after it must not be gone with it.
            self.settle().await?;
        }
        Ok(())
    }

    /// Waits until nothing is on its way into the accounts.
    async fn settle(&mut self) -> Result<(), IndexerError> {
        if self.entering.is_some() {
            let entered = entered(&mut self.entering).await?;
            self.commit(entered).await?;
        }
        Ok(())
    }

    async fn commit(&mut self, entered: Entered) -> Result<(), IndexerError> {
        let Entered { entry, positions, removed_clips } = entered;
        self.follower.commit_all(positions).await?;
        self.report.removed_clips += removed_clips;
        self.report.batches += 1;
        let progress = &self.indexer.progress;
        progress.send_modify(|progress| progress.add(&entry.sources, &entry.coverage));
        Ok(())
    }
}

/// Waits for what is being entered, without end where nothing is. A wait that is given up can be taken up
/// again.
async fn entered(entering: &mut Option<Entering<'_>>) -> Result<Entered, IndexerError> {
    let Some(running) = entering else { return pending().await };
    let entered = running.await;
    *entering = None;
    entered
}

impl Indexer {
    /// Keeps clips for good, taking out and returning those that the index refuses.
    async fn keep(&self, clips: &mut Vec<ClipRecord>) -> Result<Vec<ClipRecord>, IndexerError> {
        let retry = &self.settings.retry;
        let mut refused = Vec::new();
        while !clips.is_empty() {
            match retry.until_done("keep", || self.index.keep(clips)).await {
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
        if !clips.is_empty() {
            retry.until_done("flush", || self.index.flush()).await?;
        }
        Ok(refused)
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

fn coverage_of(clip: &ClipRecord, state: ClipState) -> CoverageRecord {
    CoverageRecord { source_id: clip.source_id.clone(), span: clip.span, state }
}
