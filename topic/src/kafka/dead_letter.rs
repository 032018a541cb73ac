//! Messages that nobody can use, put away with the reason: nothing is passed over in silence.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};

use super::connect::{self, Told};
use super::settings::KafkaError;
use super::{KIND, KafkaReader, KafkaSettings, RawMessage, TopicSpec, admin};
use crate::{Bury, PublishError, TopicMessage};

/// The header that says why.
const ERROR: &str = "footage-error";
/// The header that says where the message lay: `topic/partition/offset`.
const ORIGIN: &str = "footage-origin";

/// The group whose committed offsets say what was replayed.
const REPLAYED: &str = "footage-dead-letter-replay";

/// How long the cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The dead-letter topic, to put messages into. Clones share it.
#[derive(Clone)]
pub struct DeadLetters {
    topic: String,
    /// Where messages came from that were read before they were refused.
    origin: String,
    producer: FutureProducer<Told>,
}

/// A message in the dead-letter topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message, with the headers that it had.
    pub message: RawMessage,
    /// Why nobody could use it.
    pub error: String,
    /// Where it lay: `topic/partition/offset`, or the topic alone.
    pub origin: String,
}

impl DeadLetters {
    /// Connects to the dead-letter topic, for messages of the topic `origin`.
    pub async fn open(
        settings: &KafkaSettings,
        spec: &TopicSpec,
        origin: &str,
    ) -> Result<Self, KafkaError> {
        admin::make_topic(settings, spec).await?;
        let producer = connect::producer(settings)?;
        Ok(Self { topic: spec.name.clone(), origin: origin.to_owned(), producer })
    }

    /// Puts a message away.
    pub(super) async fn bury(&self, raw: &RawMessage, why: &str) -> Result<(), KafkaError> {
        let origin = format!("{}/{}/{}", raw.topic, raw.partition, raw.offset);
        self.put(&raw.key, &raw.payload, &raw.headers, &origin, why).await
    }

    async fn put(
        &self,
        key: &[u8],
        payload: &[u8],
        headers: &[(String, Vec<u8>)],
        origin: &str,
        why: &str,
    ) -> Result<(), KafkaError> {
        let kept = headers.iter().fold(OwnedHeaders::new(), |kept, (key, value)| {
            kept.insert(Header { key, value: Some(value) })
        });
        let headers = kept
            .insert(Header { key: ORIGIN, value: Some(origin) })
            .insert(Header { key: ERROR, value: Some(why) });
        let record = FutureRecord::to(&self.topic).key(key).payload(payload).headers(headers);
        let sent = self.producer.send(record, Timeout::Never).await;
        sent.map(drop).map_err(|(error, _)| KafkaError::of("putting a dead letter away", error))
    }
}

#[async_trait]
impl Bury for DeadLetters {
    async fn bury(&self, message: &TopicMessage, why: &str) -> Result<(), PublishError> {
        let what = message.to_string();
        let json = message.to_json().map_err(|error| PublishError::Never {
            what: what.clone(),
            cause: error.to_string(),
        })?;
        let headers = [(KIND.to_owned(), message.kind().as_bytes().to_vec())];
        let key = message.source_id().as_str().as_bytes();
        let put = self.put(key, &json, &headers, &self.origin, why).await;
        put.map_err(|error| PublishError::NotYet(format!("{what} ({error})")))
    }
}

impl DeadLetter {
    /// The letters that wait: all that were not replayed, or, with `all`, those too.
    pub async fn list(
        settings: &KafkaSettings,
        topic: &str,
        all: bool,
    ) -> Result<Vec<Self>, KafkaError> {
        let from = if all { BTreeMap::new() } else { replayed(settings, topic).await? };
        let mut reader = KafkaReader::open(settings, topic, &from).await?;
        let mut letters = Vec::new();
        while !reader.is_caught_up() {
            letters.push(Self::of(reader.next().await));
        }
        Ok(letters)
    }

    fn of(mut message: RawMessage) -> Self {
        let text = |name| message.header(name).unwrap_or_default().to_owned();
        let (error, origin) = (text(ERROR), text(ORIGIN));
        message.headers.retain(|(key, _)| key != ERROR && key != ORIGIN);
        Self { message, error, origin }
    }
}

/// Puts every letter that waits back into the topic it came from, as it was, and remembers that it
/// did. Returns how many there were. What is still of no use comes back as a new letter.
pub async fn replay(settings: &KafkaSettings, topic: &str) -> Result<usize, KafkaError> {
    const DOING: &str = "replaying dead letters";
    let letters = DeadLetter::list(settings, topic, false).await?;
    let producer = connect::producer(settings)?;
    let mut positions = BTreeMap::new();
    for DeadLetter { message, origin, .. } in &letters {
        let to = origin.split('/').next().unwrap_or_default();
        let headers = message.headers.iter().fold(OwnedHeaders::new(), |kept, (key, value)| {
            kept.insert(Header { key, value: Some(value) })
        });
        let record = FutureRecord::to(to).key(&message.key).payload(&message.payload);
        let sent = producer.send(record.headers(headers), Timeout::Never).await;
        sent.map_err(|(error, _)| KafkaError::of(DOING, error))?;
        positions.insert(message.partition, message.offset + 1);
    }
    if letters.is_empty() {
        return Ok(0);
    }
    let consumer = connect::asking(settings, REPLAYED)?;
    let topic = topic.to_owned();
    let committed = tokio::task::spawn_blocking(move || {
        let mut offsets = TopicPartitionList::new();
        for (partition, next) in positions {
            offsets.add_partition_offset(&topic, partition, Offset::Offset(next))?;
        }
        consumer.commit(&offsets, CommitMode::Sync)
    });
    let committed = committed.await.map_err(|error| KafkaError::of(DOING, error))?;
    committed.map_err(|error| KafkaError::of(DOING, error))?;
    Ok(letters.len())
}

/// Up to where letters were replayed, by partition.
async fn replayed(settings: &KafkaSettings, topic: &str) -> Result<BTreeMap<i32, i64>, KafkaError> {
    const DOING: &str = "asking what was replayed";
    let consumer = connect::asking(settings, REPLAYED)?;
    let topic = topic.to_owned();
    let asked = tokio::task::spawn_blocking(move || {
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE)?;
        let mut asked = TopicPartitionList::new();
        for found in metadata.topics().iter().filter(|found| found.name() == topic) {
            for partition in found.partitions() {
                asked.add_partition(&topic, partition.id());
            }
        }
        let committed = consumer.committed_offsets(asked, PATIENCE)?;
        let mut offsets = BTreeMap::new();
        for element in committed.elements() {
            if let Offset::Offset(offset) = element.offset() {
                offsets.insert(element.partition(), offset);
            }
        }
        Ok::<_, rdkafka::error::KafkaError>(offsets)
    });
    let asked = asked.await.map_err(|error| KafkaError::of(DOING, error))?;
    asked.map_err(|error| KafkaError::of(DOING, error))
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters").field("topic", &self.topic).finish_non_exhaustive()
    }
}
