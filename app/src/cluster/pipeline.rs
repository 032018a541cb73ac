//! The pipeline's role: the cameras and files that the group gives this process, as clips into Kafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use footage_pipeline::{EmbedSettings, EmbedStage};
use footage_topic::{KafkaTopic, Shares, Topic};
use tokio::sync::watch;

use super::Cluster;
use super::health::{self, Gauge, Role};
use super::jobs::Jobs;
use super::letting_go::on_removal;
use super::work::Work;
use crate::compose::House;
use crate::earlier::Remembered;
use crate::outcome::Outcome;
use crate::watching::Watching;

/// How long a stop may take before it is forced.
const DRAIN: Duration = Duration::from_secs(20);

/// Works on the sources that are given until stopped.
pub(crate) async fn run(house: &House, mut stop: watch::Receiver<bool>) -> Result<Outcome> {
    let cluster = Cluster::open(house)?;
    let settings = &house.settings;
    let (clips, _) = cluster.clips().await?;
    let mut mirror = cluster.mirror().await?.with_removals(on_removal(cluster.house.clone()));
    let ledger = mirror.ledger();
    tokio::select! {
        caught_up = mirror.catch_up() => caught_up?,
        _ = stop.wait_for(|stopped| *stopped) => return Ok(Outcome::Interrupted),
    }
    let mut mirroring = tokio::spawn(mirror.follow());
    let waiting = EmbedSettings { live_queue_clips: settings.live.queue_clips, ..settings.embed };
    let (embed, stage) = EmbedStage::spawn(cluster.model.clone(), waiting)
        .context("cannot start the model's thread")?;
    let topic: Arc<dyn Topic> = Arc::new(clips.clone());
    let remembered = Arc::new(Remembered::new(ledger.clone(), false));
    let archive = cluster.house.archive_into(
        &cluster.model,
        embed.clone(),
        topic.clone(),
        remembered.clone(),
    )?;
    let (house, jobs) = (cluster.house.clone(), Jobs::new(archive, remembered.clone()));
    let mut work = Work::new(house.clone(), clips.clone(), ledger.clone(), jobs);
    let watching = Watching::begin(house, &cluster.model, ledger, embed, topic, None)?;
    let role = Arc::new(Pipeline {
        clips: clips.clone(),
        watching,
        has_joined: AtomicBool::new(false),
        files: AtomicUsize::new(0),
    });
    let serving = health::serve(settings.metrics_listen, role.clone()).await?;
    let (sources, group) = (settings.cluster.sources(), settings.cluster.group("pipeline"));
    let mut shares = Shares::join(&cluster.kafka, &sources, &group).await?;
    let failed = tokio::select! {
        _ = stop.wait_for(|stopped| *stopped) => None,
        () = work.run(&mut shares, &role) => None,
        ended = &mut mirroring => Some(match ended {
            Ok(Err(error)) => error,
            Ok(Ok(())) => anyhow::anyhow!("the topic of coverage ended"),
            Err(error) => error.into(),
        }),
    };
    mirroring.abort();
    drop(serving);
    // What monitors were just being told ends by itself.
    let role = sole(role).await?;
    let drained = async {
        tokio::join!(role.watching.stop(), work.stop());
        remembered.settle().await;
        // The others take over once nothing of ours is under way.
        shares.leave().await;
        clips.flush(DRAIN).await?;
        tokio::task::spawn_blocking(|| stage.join()).await??;
        anyhow::Ok(())
    };
    match (failed, tokio::time::timeout(DRAIN, drained).await) {
        (Some(error), _) => Err(error.context("the pipeline ended")),
        (None, Ok(drained)) => drained.map(|()| Outcome::Done),
        (None, Err(_)) => {
            bail!("not all that was begun could be finished in {DRAIN:?}: it is lost")
        }
    }
}

/// Waits until nobody else uses it.
async fn sole<T>(mut shared: Arc<T>) -> Result<T> {
    for _ in 0..100 {
        shared = match Arc::try_unwrap(shared) {
            Ok(sole) => return Ok(sole),
            Err(shared) => shared,
        };
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("the sources are still in use")
}

/// What monitors are told.
pub(super) struct Pipeline {
    clips: KafkaTopic,
    pub(super) watching: Watching,
    pub(super) has_joined: AtomicBool,
    /// Files that are read, or wait for their turn.
    pub(super) files: AtomicUsize,
}

impl Role for Pipeline {
    fn is_ready(&self) -> bool {
        self.has_joined.load(Ordering::Relaxed) && self.watching.is_ready()
    }

    fn gauges(&self) -> Vec<Gauge> {
        let in_flight = self.clips.in_flight() as f64;
        let help = "messages that wait for the brokers' acknowledgement";
        let files = self.files.load(Ordering::Relaxed) as f64;
        vec![
            Gauge::now("topic_in_flight_records", help, in_flight),
            Gauge::now("pipeline_files", "files that are indexed here, or wait to be", files),
        ]
    }

    fn more(&self) -> Option<String> {
        Some(self.watching.metrics())
    }
}
