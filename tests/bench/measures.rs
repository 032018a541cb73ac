//! Indexers, measured.

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use footage_clip::{Caption, ClipId, ClipRecord, SourceId};
use footage_index::contract::{clip, collection, direction};
use footage_index::{
    EmbeddedIndex, EmbeddedSettings, IndexError, KeepClips, Ledger, Quantization, ServerIndex,
    ServerSettings,
};
use footage_indexer::{Accounts, Announced, Indexer, IndexerSettings};
use footage_tests::broker::Broker;
use footage_tests::qdrant::VectorServer;
use footage_topic::{
    Follow, KafkaReader, KafkaSecurity, KafkaSettings, KafkaTopic, MemoryTopic, Topic,
    TopicMessage, TopicSpec,
};

const DIM: usize = 768;
const SOURCES: u64 = 16;
const PARTITIONS: i32 = 4;
const TOPIC: &str = "footage.clips.v1";

/// As the roles of a cluster are set.
fn settings() -> IndexerSettings {
    IndexerSettings {
        max_batch: NonZeroUsize::new(256).unwrap(),
        max_wait: Duration::from_millis(100),
        ..IndexerSettings::default()
    }
}

fn kafka(broker: &Broker) -> KafkaSettings {
    KafkaSettings {
        brokers: broker.address(),
        security: KafkaSecurity::default(),
        delivery_timeout: Duration::from_secs(60),
        session_timeout: Duration::from_secs(30),
        fetched_kib: 64 << 10,
    }
}

async fn opened(broker: &Broker, name: &str, group: &str) -> KafkaTopic {
    let spec = TopicSpec {
        name: name.to_owned(),
        partitions: PARTITIONS,
        replication: 1,
        retention: None,
        is_compacted: false,
    };
    let capacity = NonZeroUsize::new(4096).unwrap();
    KafkaTopic::open(&kafka(broker), &spec, group, capacity, None).await.unwrap()
}

pub(crate) fn server(server: &VectorServer) -> ServerSettings {
    ServerSettings {
        url: server.url().to_owned(),
        api_key: None,
        alias: "footage-clips".to_owned(),
        timeout: Duration::from_secs(60),
        shards: 1,
        replication: 1,
        write_consistency: 1,
        quantization: Quantization::None,
        on_disk: false,
        beam: 128,
    }
}

/// Record `at` of a load that many sources share.
fn record(at: u64) -> ClipRecord {
    let source = format!("camera-{}", at % SOURCES);
    clip(&collection(DIM), &source, at / SOURCES, direction(DIM, at))
}

/// Fills a topic of clips.
async fn filled(broker: &Broker, records: u64) {
    let topic = opened(broker, TOPIC, "none").await;
    let began = Instant::now();
    for from in (0..records).step_by(2000) {
        let messages = (from..records.min(from + 2000)).map(|at| record(at).into()).collect();
        topic.publish_all(messages).await.unwrap();
    }
    println!("published {records} records of {DIM} values: {}", rate(records, began.elapsed()));
}

fn rate(records: u64, took: Duration) -> String {
    format!("{:.0} records/s ({:.1} s)", records as f64 / took.as_secs_f64(), took.as_secs_f64())
}

/// An index that takes clips and notes when, and which keeps them where another is behind it.
#[derive(Default)]
struct Noting {
    behind: Option<Arc<dyn KeepClips>>,
    kept: AtomicU64,
    notes_when: bool,
    found: Mutex<HashMap<ClipId, Instant>>,
}

#[async_trait]
impl KeepClips for Noting {
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        if let Some(behind) = &self.behind {
            behind.keep(clips).await?;
        }
        self.kept.fetch_add(clips.len() as u64, Ordering::Relaxed);
        if self.notes_when {
            let now = Instant::now();
            self.found.lock().unwrap().extend(clips.iter().map(|clip| (clip.clip_id, now)));
        }
        Ok(())
    }

    async fn flush(&self) -> Result<(), IndexError> {
        match &self.behind {
            Some(behind) => behind.flush().await,
            None => Ok(()),
        }
    }

    async fn caption(&self, _: &[(ClipId, Caption)]) -> Result<u64, IndexError> {
        Ok(0)
    }

    async fn remove_source(&self, _: &SourceId) -> Result<u64, IndexError> {
        Ok(0)
    }

    async fn remove_before(&self, _: &SourceId, _: u64) -> Result<u64, IndexError> {
        Ok(0)
    }

    async fn optimize(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

/// Runs an indexer until it has committed so many clips. Returns how long that took since the first.
async fn indexed(
    follower: Box<dyn Follow>,
    index: Arc<dyn KeepClips>,
    accounts: impl Accounts + 'static,
    records: u64,
) -> Duration {
    let indexer = Indexer::new(index, accounts, settings());
    let mut progress = indexer.progress();
    let indexing = tokio::spawn(async move { indexer.run(follower).await });
    let mut began = None;
    loop {
        progress.changed().await.unwrap();
        let clips = progress.borrow_and_update().clips();
        // From the first batch on: joining a group is no work of an indexer's.
        let (first, since) = *began.get_or_insert((clips, Instant::now()));
        if clips >= records {
            indexing.abort();
            let took = since.elapsed();
            return took.mul_f64(records as f64 / (records - first) as f64);
        }
    }
}

/// Reads a whole topic and does nothing with it.
async fn read(broker: &Broker, records: u64) -> Duration {
    let mut reader = KafkaReader::open(&kafka(broker), TOPIC, &BTreeMap::new()).await.unwrap();
    reader.next().await;
    let began = Instant::now();
    for _ in 1..records {
        reader.next().await;
    }
    began.elapsed()
}

/// The same, and makes records of it, as whoever uses them has to.
async fn decoded(broker: &Broker, records: u64) -> Duration {
    let mut reader = KafkaReader::open(&kafka(broker), TOPIC, &BTreeMap::new()).await.unwrap();
    reader.next().await;
    let began = Instant::now();
    for _ in 1..records {
        TopicMessage::of(&reader.next().await).unwrap();
    }
    began.elapsed()
}

pub(crate) async fn through(records: u64) {
    let Some(broker) = Broker::start() else { return };
    filled(&broker, records).await;
    for round in 0..3 {
        println!("round {round}");
        println!("  only read:                    {}", rate(records, read(&broker, records).await));
        println!(
            "  read and decoded:             {}",
            rate(records, decoded(&broker, records).await)
        );
        for is_kept in [false, true] {
            let vectors = VectorServer::start(&[]);
            let index = ServerIndex::open(&server(&vectors), &collection(DIM)).await.unwrap();
            let behind = is_kept.then(|| Arc::new(index) as Arc<dyn KeepClips>);
            let index = Arc::new(Noting { behind, ..Noting::default() });
            let topic = opened(&broker, TOPIC, &format!("group-{round}-{is_kept}")).await;
            let coverage = Arc::new(opened(&broker, "footage.coverage.v1", "none").await);
            let follower = topic.follow().await.unwrap();
            let took = indexed(follower, index, Announced::new(coverage), records).await;
            let what = if is_kept {
                "indexed on the vector server: "
            } else {
                "indexed into nothing:         "
            };
            println!("  {what}{}", rate(records, took));
        }
    }
}

pub(crate) async fn memory(records: u64) {
    for is_kept in [false, true] {
        let data = tempfile::tempdir().unwrap();
        let (wanted, settings) = (collection(DIM), EmbeddedSettings::default());
        let index = EmbeddedIndex::open(data.path(), &wanted, settings).await.unwrap();
        let ledger = Ledger::open(index.folder()).unwrap();
        let behind = is_kept.then(|| Arc::new(index.clone()) as Arc<dyn KeepClips>);
        let noting = Arc::new(Noting { behind, ..Noting::default() });
        let topic = MemoryTopic::new(NonZeroUsize::new(4096).unwrap());
        let follower = topic.follow().await.unwrap();
        // Made before: making them is no work of the topic's.
        let messages: Vec<TopicMessage> = (0..records).map(|at| record(at).into()).collect();
        let publishing = tokio::spawn(async move {
            for message in messages {
                topic.publish(message).await.unwrap();
            }
        });
        let took = indexed(follower, noting, ledger, records).await;
        publishing.await.unwrap();
        let what =
            if is_kept { "index and ledger on disk" } else { "no index, the ledger on disk" };
        println!("in memory, {what}: {}", rate(records, took));
        drop(index);
    }
}

pub(crate) async fn latency(seconds: u64) {
    let Some(broker) = Broker::start() else { return };
    let vectors = VectorServer::start(&[]);
    let index = ServerIndex::open(&server(&vectors), &collection(DIM)).await.unwrap();
    let behind = Some(Arc::new(index) as Arc<dyn KeepClips>);
    let noting = Arc::new(Noting { behind, notes_when: true, ..Noting::default() });
    let topic = opened(&broker, TOPIC, "indexers").await;
    let coverage = Arc::new(opened(&broker, "footage.coverage.v1", "none").await);
    let indexer = Indexer::new(noting.clone(), Announced::new(coverage), settings());
    let follower = topic.follow().await.unwrap();
    let indexing = tokio::spawn(async move { indexer.run(follower).await });
    // Joining the group takes its time, and is no latency of a record's.
    topic.publish(record(1_000_000_000).into()).await.unwrap();
    while noting.kept.load(Ordering::Relaxed) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let mut published = Vec::new();
    for at in 0..seconds * 100 {
        tick.tick().await;
        let record = record(at);
        published.push((record.clip_id, Instant::now()));
        let topic = topic.clone();
        tokio::spawn(async move { topic.publish(record.into()).await.unwrap() });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    indexing.abort();
    let found = noting.found.lock().unwrap();
    let since = published.iter().map(|(id, then)| found[id] - *then);
    let mut since: Vec<f64> = since.map(|since| since.as_secs_f64() * 1e3).collect();
    since.sort_by(f64::total_cmp);
    let at = |part: f64| since[((since.len() - 1) as f64 * part) as usize];
    println!(
        "100 records/s through Kafka: searchable after p50 {:.0} ms, p90 {:.0} ms, p99 {:.0} ms",
        at(0.5),
        at(0.9),
        at(0.99)
    );
}

pub(crate) async fn backlog(records: u64) {
    let Some(broker) = Broker::start() else { return };
    filled(&broker, records).await;
    let topic = opened(&broker, TOPIC, "indexers").await;
    let coverage = Arc::new(opened(&broker, "footage.coverage.v1", "none").await);
    let noting = Arc::new(Noting::default());
    let follower = topic.follow().await.unwrap();
    let watched = noting.clone();
    let watching = tokio::spawn(async move {
        for tenth in 1..=10 {
            while watched.kept.load(Ordering::Relaxed) < records * tenth / 10 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            println!("  {:3} %: {} MiB resident", tenth * 10, resident_mib());
        }
    });
    let took = indexed(follower, noting, Announced::new(coverage), records).await;
    watching.await.unwrap();
    println!("a backlog of {records} records, indexed into nothing: {}", rate(records, took));
}

fn resident_mib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}
