//! Reading a whole topic, as a member of no group: for who keeps a copy of what it says.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};

use super::KafkaSettings;
use super::connect::{self, Told};
use super::settings::KafkaError;

/// How long the cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message as it lies in a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawMessage {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The place in it.
    pub offset: i64,
    /// The key; empty where there is none.
    pub key: Vec<u8>,
    /// The headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value; empty where there is none.
    pub payload: Vec<u8>,
}

impl RawMessage {
    pub(super) fn of(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let headers = headers
            .map(|header| (header.key.to_owned(), header.value.unwrap_or_default().to_vec()))
            .collect();
        Self {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset(),
            key: message.key().unwrap_or_default().to_vec(),
            headers,
            payload: message.payload().unwrap_or_default().to_vec(),
        }
    }

    /// The text of the last header of this name.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().rev().find(|(key, _)| key == name);
        found.and_then(|(_, value)| std::str::from_utf8(value).ok())
    }
}

/// Reads every partition of a topic, oldest message first.
pub struct KafkaReader {
    consumer: StreamConsumer<Told>,
    /// The offset to read next, by partition.
    next: BTreeMap<i32, i64>,
    /// Where each partition ended when reading began.
    ends: BTreeMap<i32, i64>,
}

impl KafkaReader {
    /// Begins to read a topic at `from`, and at the oldest message of a partition not named there.
    pub async fn open(
        settings: &KafkaSettings,
        topic: &str,
        from: &BTreeMap<i32, i64>,
    ) -> Result<Self, KafkaError> {
        const DOING: &str = "opening a topic";
        let consumer = connect::reader(settings)?;
        let (topic, from) = (topic.to_owned(), from.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE)?;
            let found = metadata.topics().iter().find(|found| found.name() == topic);
            let partitions = found.map_or(&[][..], |found| found.partitions());
            let mut assigned = TopicPartitionList::new();
            let (mut next, mut ends) = (BTreeMap::new(), BTreeMap::new());
            for partition in partitions.iter().map(rdkafka::metadata::MetadataPartition::id) {
                let (oldest, end) = consumer.fetch_watermarks(&topic, partition, PATIENCE)?;
                // What was removed meanwhile cannot be read any more.
                let begin = from.get(&partition).copied().unwrap_or(oldest).max(oldest);
                assigned.add_partition_offset(&topic, partition, Offset::Offset(begin))?;
                next.insert(partition, begin);
                ends.insert(partition, end);
            }
            consumer.assign(&assigned)?;
            Ok::<_, rdkafka::error::KafkaError>(Self { consumer, next, ends })
        });
        let opened = opened.await.map_err(|error| KafkaError::of(DOING, error))?;
        opened.map_err(|error| KafkaError::of(DOING, error))
    }

    /// The next message. Waits while there is none, and for a cluster that is away. Cancelling the
    /// wait loses nothing.
    pub async fn next(&mut self) -> RawMessage {
        loop {
            match self.consumer.recv().await {
                Ok(message) => {
                    let message = RawMessage::of(&message);
                    self.next.insert(message.partition, message.offset + 1);
                    return message;
                }
                Err(error) => {
                    tracing::warn!(%error, "nothing can be read now");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// The offset to read next, by partition: where another reader would go on.
    pub fn positions(&self) -> &BTreeMap<i32, i64> {
        &self.next
    }

    /// Whether everything was read that was there when reading began.
    pub fn is_caught_up(&self) -> bool {
        self.ends.iter().all(|(partition, end)| self.next.get(partition).is_none_or(|at| at >= end))
    }
}

impl fmt::Debug for KafkaReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaReader").field("next", &self.next).finish_non_exhaustive()
    }
}
