//! A topic on a real broker, over TCP: the promises of every topic, and those of a cluster.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[expect(unreachable_pub, dead_code, reason = "other tests use this file as well")]
#[path = "../../tests/support/broker.rs"]
mod broker;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use footage_clip::{ClipState, CoverageRecord, LostReason, SourceId, Span};
use footage_topic::contract::Making;
use footage_topic::{
    DeadLetter, DeadLetters, Follow, KafkaError, KafkaReader, KafkaSecurity, KafkaSettings,
    KafkaTopic, PublishError, Topic, TopicMessage, TopicSpec, replay,
};
use tokio::time::timeout;

use broker::Broker;

const PATIENCE: Duration = Duration::from_secs(30);

/// The broker that the tests of the contract share; each has a topic of its own.
static SHARED: LazyLock<Option<Broker>> = LazyLock::new(Broker::start);
static TOPICS: AtomicUsize = AtomicUsize::new(0);

fn settings(broker: &Broker) -> KafkaSettings {
    KafkaSettings {
        brokers: broker.address(),
        security: KafkaSecurity::default(),
        delivery_timeout: Duration::from_secs(20),
        session_timeout: Duration::from_secs(6),
        fetched_kib: 4096,
    }
}

fn spec(name: &str) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions: 3,
        replication: 1,
        retention: Some(Duration::from_secs(86_400)),
        is_compacted: false,
    }
}

fn fresh(name: &str) -> String {
    format!("{name}-{}", TOPICS.fetch_add(1, Ordering::Relaxed))
}

async fn opened(broker: &Broker, name: &str, capacity: usize) -> KafkaTopic {
    let capacity = NonZeroUsize::new(capacity).unwrap();
    KafkaTopic::open(&settings(broker), &spec(name), "tests", capacity, None).await.unwrap()
}

fn made(capacity: NonZeroUsize) -> Making {
    Box::pin(async move {
        let broker = SHARED.as_ref()?;
        let topic = opened(broker, &fresh("contract"), capacity.get()).await;
        Some(Arc::new(topic) as Arc<dyn Topic>)
    })
}

footage_topic::topic_contract!(made);

fn message(source: &str, start: u64) -> TopicMessage {
    let source_id = SourceId::try_new(source).unwrap();
    CoverageRecord { source_id, span: Span::new(start, start + 1), state: ClipState::Gated }.into()
}

fn start_of(message: &TopicMessage) -> u64 {
    match message {
        TopicMessage::Coverage(coverage) => coverage.span.start_ns,
        other => panic!("{other} was never published"),
    }
}

async fn next(follower: &mut dyn Follow) -> footage_topic::Delivery {
    timeout(PATIENCE, follower.receive()).await.unwrap().unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_there_is_checked() {
    let Some(broker) = SHARED.as_ref() else { return };
    let name = fresh("checked");
    let topic = opened(broker, &name, 1).await;
    drop(topic);
    opened(broker, &name, 1).await;
    let other = TopicSpec { partitions: 5, ..spec(&name) };
    let capacity = NonZeroUsize::MIN;
    let error = KafkaTopic::open(&settings(broker), &other, "tests", capacity, None).await;
    assert_eq!(error.unwrap_err(), KafkaError::OtherPartitions { name, found: 3, wanted: 5 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_group_share_the_partitions_and_what_one_holds_goes_to_the_other() {
    let Some(broker) = SHARED.as_ref() else { return };
    let name = fresh("shared");
    let (first, second) = (opened(broker, &name, 100).await, opened(broker, &name, 100).await);
    let sources: Vec<String> = (0..12).map(|n| format!("camera-{n}")).collect();
    let publish = |from: u64, to: u64| {
        let (first, sources) = (first.clone(), sources.clone());
        async move {
            for source in &sources {
                first.publish_all((from..to).map(|n| message(source, n)).collect()).await.unwrap();
            }
        }
    };
    publish(0, 10).await;
    let mut one = first.follow().await.unwrap();
    let held = next(&mut *one).await;
    let mut two = second.follow().await.unwrap();
    let mut seen: BTreeMap<i32, BTreeSet<(String, u64)>> = BTreeMap::new();
    // The first goes on receiving, or the group could not be divided anew; it commits nothing.
    let (mut of_one, mut of_two) = (BTreeSet::new(), BTreeSet::new());
    let began = tokio::time::Instant::now();
    while of_two.is_empty() {
        assert!(began.elapsed() < PATIENCE, "the second member gets nothing");
        tokio::select! {
            received = one.receive() => drop(of_one.insert(received.unwrap().unwrap().position)),
            received = two.receive() => drop(of_two.insert(received.unwrap().unwrap().position)),
        }
    }
    // What the first has of a partition that it lost is no longer its to commit, and no error.
    one.commit(held.position).await.unwrap();
    drop(one);
    publish(10, 20).await;
    let wanted: BTreeSet<(String, u64)> =
        sources.iter().flat_map(|s| (10..20).map(move |n| (s.clone(), n))).collect();
    while !wanted.iter().all(|want| seen.values().any(|seen| seen.contains(want))) {
        let delivery = next(&mut *two).await;
        let source = delivery.message.source_id().to_string();
        let of_partition = seen.entry(delivery.position.partition).or_default();
        of_partition.insert((source, start_of(&delivery.message)));
    }
    assert_eq!(seen.len(), 3, "all partitions moved to the one that is left");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_accepted_is_lost_when_the_broker_is_killed() {
    let Some(mut broker) = Broker::start() else { return };
    let topic = opened(&broker, "killed", 16).await;
    let publishing = tokio::spawn({
        let topic = topic.clone();
        async move {
            let mut again = 0;
            for start in 0..600 {
                while let Err(error) = topic.publish(message("gate", start)).await {
                    assert!(matches!(error, PublishError::NotYet(_)), "{error}");
                    again += 1;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            again
        }
    });
    let mut follower = topic.follow().await.unwrap();
    let mut seen = BTreeSet::new();
    let (mut deliveries, mut kills) = (0, 0);
    while seen.len() < 600 {
        let delivery = timeout(PATIENCE * 2, follower.receive()).await.unwrap().unwrap().unwrap();
        seen.insert(start_of(&delivery.message));
        deliveries += 1;
        if [100, 300].get(kills).is_some_and(|at| seen.len() >= *at) {
            broker.kill();
            tokio::time::sleep(Duration::from_millis(700)).await;
            broker.restart();
            kills += 1;
        }
        if deliveries % 20 == 0 {
            follower.commit(delivery.position).await.unwrap();
        }
    }
    let again = publishing.await.unwrap();
    println!("{deliveries} deliveries of 600, {again} published again, {kills} kills");
    assert_eq!((seen.len(), kills), (600, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishers_wait_while_the_broker_does_not_answer_and_are_bounded() {
    let Some(broker) = Broker::start() else { return };
    let topic = opened(&broker, "paused", 4).await;
    topic.publish(message("gate", 0)).await.unwrap();
    signalled(&broker, "-STOP");
    let publishing: Vec<_> = (1..=10)
        .map(|start| {
            let topic = topic.clone();
            tokio::spawn(async move { topic.publish(message("gate", start)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(topic.in_flight(), 4);
    assert!(publishing.iter().all(|task| !task.is_finished()));
    signalled(&broker, "-CONT");
    for task in publishing {
        timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
    }
    let mut follower = topic.follow().await.unwrap();
    let mut seen = BTreeSet::new();
    while seen.len() < 11 {
        seen.insert(start_of(&next(&mut *follower).await.message));
    }
    assert_eq!(topic.in_flight(), 0);
}

fn signalled(broker: &Broker, signal: &str) {
    let pid = broker.pid().to_string();
    assert!(std::process::Command::new("kill").args([signal, &pid]).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_lies_with_the_dead_letters_and_may_be_replayed() {
    let Some(broker) = SHARED.as_ref() else { return };
    let settings = settings(broker);
    let (name, dead) = (fresh("poisoned"), fresh("dead"));
    let dead_letters = DeadLetters::open(&settings, &spec(&dead), &name).await.unwrap();
    let topic = |group: &'static str| {
        let (settings, name, dead_letters) = (settings.clone(), name.clone(), dead_letters.clone());
        async move {
            let capacity = NonZeroUsize::new(10).unwrap();
            let dead_letters = Some(dead_letters);
            KafkaTopic::open(&settings, &spec(&name), group, capacity, dead_letters).await.unwrap()
        }
    };
    let topic = topic("tests").await;
    topic.publish(message("gate", 0)).await.unwrap();
    let poison: [&[u8]; 2] =
        [b"\xff\x00 no record", br#"{"v":9,"source_id":"gate","span":{"start_ns":5,"end_ns":6}}"#];
    let producer: rdkafka::producer::FutureProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", broker.address())
        .set("enable.metrics.push", "false")
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    for payload in poison {
        let record = rdkafka::producer::FutureRecord::to(&name).key("gate").payload(payload);
        producer.send(record, PATIENCE).await.unwrap();
    }
    topic.publish(message("gate", 9)).await.unwrap();

    let mut follower = topic.follow().await.unwrap();
    assert_eq!(start_of(&next(&mut *follower).await.message), 0);
    // Of the one that says what it is about, it is told that it is lost.
    let TopicMessage::Coverage(lost) = next(&mut *follower).await.message else { panic!() };
    assert_eq!((lost.span.start_ns, lost.state), (5, ClipState::Lost(LostReason::Refused)));
    let last = next(&mut *follower).await;
    assert_eq!(start_of(&last.message), 9);
    follower.commit(last.position).await.unwrap();

    let letters = DeadLetter::list(&settings, &dead, false).await.unwrap();
    let payloads: Vec<&[u8]> = letters.iter().map(|l| l.message.payload.as_slice()).collect();
    assert_eq!(payloads, poison);
    assert!(letters[0].error.contains("cannot be read"), "{}", letters[0].error);
    assert!(letters[1].error.contains("version 9"), "{}", letters[1].error);
    assert!(letters.iter().all(|letter| letter.origin.starts_with(&format!("{name}/"))));
    assert!(letters.iter().all(|letter| letter.message.key == b"gate"));

    assert_eq!(replay(&settings, &dead).await.unwrap(), 2);
    assert_eq!(DeadLetter::list(&settings, &dead, false).await.unwrap(), []);
    assert_eq!(DeadLetter::list(&settings, &dead, true).await.unwrap().len(), 2);
    let mut reader = KafkaReader::open(&settings, &name, &BTreeMap::new()).await.unwrap();
    let mut payloads = Vec::new();
    while !reader.is_caught_up() {
        payloads.push(reader.next().await.payload);
    }
    assert_eq!(payloads.len(), 6);
    assert_eq!(payloads.iter().filter(|held| poison.contains(&held.as_slice())).count(), 4);
}
