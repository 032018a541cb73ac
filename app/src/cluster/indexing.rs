//! The indexer's role: clips from Kafka into Qdrant.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use footage_index::{IndexError, KeptByModel, ServerIndex};
use footage_indexer::{Announced, Indexer, IndexerError, IndexerSettings, SourceProgress};
use footage_topic::{Delivery, Follow, FollowError, KafkaTopic, Position, Topic};
use tokio::sync::watch;

use super::Cluster;
use super::health::{self, Gauge, Role};
use crate::compose::House;
use crate::outcome::{Outcome, in_one_line};

/// How long a stop may take before it is forced: what is not committed by then is delivered again.
const DRAIN: Duration = Duration::from_secs(20);

/// Pauses between attempts while an engine is away: the first one, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Brings clips into the index until stopped.
pub(crate) async fn run(house: &House, stop: watch::Receiver<bool>) -> Result<Outcome> {
    let cluster = Cluster::open(house)?;
    let (clips, dead_letters) = cluster.clips().await?;
    let coverage = Arc::new(cluster.coverage().await?);
    let settings = &house.settings;
    let qdrant = settings.cluster.qdrant()?;
    let role = Arc::new(Indexing {
        clips: clips.clone(),
        failures: AtomicU64::new(0),
        progress: watch::Sender::default(),
        is_ready: watch::Sender::new(false),
    });
    let _serving = health::serve(settings.metrics_listen, role.clone()).await?;
    let indexing =
        IndexerSettings { max_wait: settings.live.batch_wait, ..settings.index.indexer() };
    let mut pause = PAUSE.0;
    while !*stop.borrow() {
        let once = async {
            let index = ServerIndex::open(&qdrant, &cluster.collection()).await?;
            let indexer = Indexer::new(
                Arc::new(KeptByModel::new(index)),
                Announced::new(coverage.clone()),
                indexing.clone(),
            )
            .with_dead_letters(Arc::new(dead_letters.clone()));
            let follower = clips.follow().await?;
            role.is_ready.send_replace(true);
            let progress = indexer.progress();
            let telling = tokio::spawn(tell(progress, role.clone()));
            let ended = indexer.run(Box::new(Until { follower, stop: stop.clone() })).await;
            telling.abort();
            ended
        };
        let ended = tokio::select! {
            ended = once => ended,
            () = overdue(stop.clone()) => {
                tracing::warn!("not drained in time: what is not committed is delivered again");
                return Ok(Outcome::Interrupted);
            }
        };
        role.is_ready.send_replace(false);
        match ended {
            Ok(_) => break,
            Err(error) if is_passing(&error) => {
                role.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(error = in_one_line(&error.into()), ?pause, "indexing begins again");
                let mut stop = stop.clone();
                tokio::select! {
                    _ = stop.wait_for(|stopped| *stopped) => {}
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSE.1);
            }
            Err(error) => return Err(error.into()),
        }
    }
    coverage.flush(DRAIN).await.context("not all coverage was told")?;
    Ok(Outcome::Done)
}

/// Whether it may work a moment later, with what was not committed delivered again.
fn is_passing(error: &IndexerError) -> bool {
    matches!(
        error,
        IndexerError::Index(IndexError::Failed { .. }) | IndexerError::Topic(FollowError::Away(_))
    )
}

/// Ends when a stop has taken too long.
async fn overdue(mut stop: watch::Receiver<bool>) {
    // Whoever could say so is gone: that is a stop too.
    drop(stop.wait_for(|stopped| *stopped).await);
    tokio::time::sleep(DRAIN).await;
}

/// Follows until a stop: what was received by then is the last batch.
struct Until {
    follower: Box<dyn Follow>,
    stop: watch::Receiver<bool>,
}

#[async_trait]
impl Follow for Until {
    async fn receive(&mut self) -> Result<Option<Delivery>, FollowError> {
        tokio::select! {
            biased;
            _ = self.stop.wait_for(|stopped| *stopped) => Ok(None),
            received = self.follower.receive() => received,
        }
    }

    async fn commit(&mut self, position: Position) -> Result<(), FollowError> {
        self.follower.commit(position).await
    }

    async fn commit_all(&mut self, positions: Vec<Position>) -> Result<(), FollowError> {
        self.follower.commit_all(positions).await
    }
}

/// What monitors are told.
struct Indexing {
    clips: KafkaTopic,
    failures: AtomicU64,
    /// Clips by what became of them.
    progress: watch::Sender<SourceProgress>,
    is_ready: watch::Sender<bool>,
}

/// Adds up what an indexer does.
async fn tell(mut progress: watch::Receiver<footage_indexer::Progress>, role: Arc<Indexing>) {
    let before = *role.progress.borrow();
    while progress.changed().await.is_ok() {
        let mut sum = before;
        for source in progress.borrow_and_update().sources.values() {
            sum.indexed_clips += source.indexed_clips;
            sum.gated_clips += source.gated_clips;
            sum.lost_clips += source.lost_clips;
        }
        role.progress.send_replace(sum);
    }
}

impl Role for Indexing {
    fn is_ready(&self) -> bool {
        *self.is_ready.borrow()
    }

    fn gauges(&self) -> Vec<Gauge> {
        let progress = *self.progress.borrow();
        vec![
            Gauge::now("indexer_lag_records", "records not yet committed", self.clips.lag() as f64),
            Gauge::count("indexer_indexed_clips", "clips kept and durable", progress.indexed_clips),
            Gauge::count("indexer_gated_clips", "clips with nothing new", progress.gated_clips),
            Gauge::count("indexer_lost_clips", "clips that are lost", progress.lost_clips),
            Gauge::count(
                "indexer_failures",
                "times that an engine failed and indexing began again",
                self.failures.load(Ordering::Relaxed),
            ),
        ]
    }
}
