//! The pipeline's role: the cameras that the group gives this process, as clips into Kafka.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use footage_clip::SourceId;
use footage_pipeline::{EmbedSettings, EmbedStage};
use footage_topic::{Given, KafkaTopic, Shares, Topic};
use tokio::sync::watch;

use super::health::{self, Gauge, Role};
use super::{Cluster, definitions};
use crate::compose::House;
use crate::outcome::{Outcome, in_one_line};
use crate::settings::sources::{SourceDefinition, SourceList};
use crate::watching::Watching;

/// How long a stop may take before it is forced.
const DRAIN: Duration = Duration::from_secs(20);

/// Sources given, by the partition that they came with.
type OfPartition = BTreeMap<i32, BTreeMap<SourceId, SourceDefinition>>;

/// Watches the sources that are given until stopped.
pub(crate) async fn run(house: &House, mut stop: watch::Receiver<bool>) -> Result<Outcome> {
    let cluster = Cluster::open(house)?;
    let settings = &house.settings;
    let (clips, _) = cluster.clips().await?;
    let mut mirror = cluster.mirror().await?;
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
    let watching =
        Watching::begin(cluster.house.clone(), &cluster.model, ledger, embed, topic, None)?;
    let role =
        Arc::new(Pipeline { clips: clips.clone(), watching, has_joined: AtomicBool::new(false) });
    let serving = health::serve(settings.metrics_listen, role.clone()).await?;
    let (sources, group) = (settings.cluster.sources(), settings.cluster.group("pipeline"));
    let mut shares = Shares::join(&cluster.kafka, &sources, &group).await?;
    let failed = tokio::select! {
        _ = stop.wait_for(|stopped| *stopped) => None,
        () = work(&mut shares, &role) => None,
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
        role.watching.stop().await;
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

/// Keeps what is watched in step with what is given.
async fn work(shares: &mut Shares, role: &Pipeline) {
    let mut given = OfPartition::new();
    let mut is_changed = false;
    loop {
        match shares.next().await {
            Some(change) => {
                take(&mut given, change);
                is_changed = true;
            }
            None if is_changed => {
                let sources = given.values().flatten();
                let sources = sources.map(|(id, source)| (id.clone(), source.clone())).collect();
                let list = SourceList { sources, ..SourceList::default() };
                tracing::info!(sources = list.sources.len(), "sources of this pipeline");
                if let Err(error) = role.watching.take_up(list).await {
                    tracing::warn!(error = in_one_line(&error), "some sources cannot be watched");
                }
                is_changed = false;
            }
            None => {}
        }
        if shares.has_joined() {
            role.has_joined.store(true, Ordering::Relaxed);
        }
    }
}

fn take(given: &mut OfPartition, change: Given) {
    match change {
        Given::Taken(partition) => drop(given.remove(&partition)),
        Given::Message(message) => match definitions::read(&message) {
            Ok((id, Some(definition))) => {
                given.entry(message.partition).or_default().insert(id, definition);
            }
            Ok((id, None)) => {
                if let Some(of_partition) = given.get_mut(&message.partition) {
                    of_partition.remove(&id);
                }
            }
            Err(error) => tracing::warn!(error = in_one_line(&error), "a source is passed over"),
        },
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
struct Pipeline {
    clips: KafkaTopic,
    watching: Watching,
    has_joined: AtomicBool,
}

impl Role for Pipeline {
    fn is_ready(&self) -> bool {
        self.has_joined.load(Ordering::Relaxed) && self.watching.is_ready()
    }

    fn gauges(&self) -> Vec<Gauge> {
        let in_flight = self.clips.in_flight() as f64;
        let help = "messages that wait for the brokers' acknowledgement";
        vec![Gauge::now("topic_in_flight_records", help, in_flight)]
    }

    fn more(&self) -> Option<String> {
        Some(self.watching.metrics())
    }
}
