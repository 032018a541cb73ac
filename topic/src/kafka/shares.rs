//! Work that is shared out: the newest message of each key, divided among the members of a group.
//!
//! Who is given a partition reads it from its oldest message, and so knows all of its keys. Nothing is
//! ever committed. When a member dies, or leaves, its partitions are given to the others.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::producer::FutureRecord;
use rdkafka::util::Timeout;
use tokio::time::{sleep, timeout};

use super::group::{Change, Group};
use super::settings::KafkaError;
use super::{KafkaSettings, RawMessage, TopicSpec, admin, connect, locked};

/// How often changes of what is ours are looked for while nothing else comes.
const LOOK: Duration = Duration::from_millis(200);

/// A change of what is to be done here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// The newest message of a key; an empty payload takes the key away.
    Message(RawMessage),
    /// A partition that is not ours any more, with all of its keys.
    Taken(i32),
}

/// One member's part of a topic.
pub struct Shares {
    consumer: Option<Arc<StreamConsumer<Group>>>,
    group: Group,
}

impl Shares {
    /// Joins `group`, whose members share a topic. Makes the topic where there is none.
    pub async fn join(
        settings: &KafkaSettings,
        topic: &TopicSpec,
        group: &str,
    ) -> Result<Self, KafkaError> {
        admin::make_topic(settings, topic).await?;
        let context = Group::default();
        let consumer = connect::member(settings, group, context.clone())?;
        let joined = consumer.subscribe(&[&topic.name]);
        joined.map_err(|error| KafkaError::of("joining a group", error))?;
        Ok(Self { consumer: Some(Arc::new(consumer)), group: context })
    }

    /// Whether the group has said what is ours.
    pub fn has_joined(&self) -> bool {
        locked(&self.group.held).has_joined
    }

    /// Waits for the next change; none where a little time has passed without one. Cancelling the
    /// wait loses nothing.
    pub async fn next(&mut self) -> Option<Given> {
        if let Some(partition) = self.taken() {
            return Some(Given::Taken(partition));
        }
        let consumer = self.consumer.as_ref()?;
        match timeout(LOOK, consumer.recv()).await.ok()? {
            Ok(message) => {
                let message = RawMessage::of(&message);
                let is_ours = locked(&self.group.held).delivered(message.partition, message.offset);
                is_ours.then_some(Given::Message(message))
            }
            Err(error) => {
                tracing::warn!(%error, "sources cannot be shared out now");
                sleep(LOOK).await;
                None
            }
        }
    }

    /// A partition that was taken away and that nobody heard of yet.
    fn taken(&self) -> Option<i32> {
        let mut held = locked(&self.group.held);
        held.changes.retain(|change| matches!(change, Change::Taken(_)));
        if held.changes.is_empty() {
            return None;
        }
        match held.changes.remove(0) {
            Change::Taken(partition) | Change::Given(partition) => Some(partition),
        }
    }

    /// Leaves the group, so that the others need not wait until this member counts as dead.
    pub async fn leave(mut self) {
        if let Some(consumer) = self.consumer.take() {
            // It ends in any case.
            drop(tokio::task::spawn_blocking(move || drop(consumer)).await);
        }
    }
}

/// Puts the newest message of a key into a topic, which is made where there is none; without a payload
/// the key is taken away.
pub async fn put(
    settings: &KafkaSettings,
    topic: &TopicSpec,
    key: &str,
    payload: Option<&[u8]>,
) -> Result<(), KafkaError> {
    put_all(settings, topic, &[(key, payload)]).await
}

/// Puts the newest messages of several keys, one after the other.
pub async fn put_all(
    settings: &KafkaSettings,
    topic: &TopicSpec,
    messages: &[(&str, Option<&[u8]>)],
) -> Result<(), KafkaError> {
    admin::make_topic(settings, topic).await?;
    let producer = connect::producer(settings)?;
    for (key, payload) in messages {
        let record: FutureRecord<'_, str, [u8]> = FutureRecord::to(&topic.name).key(key);
        let record = match payload {
            Some(payload) => record.payload(payload),
            None => record,
        };
        let sent = producer.send(record, Timeout::Never).await;
        sent.map_err(|(error, _)| KafkaError::of("publishing", error))?;
    }
    Ok(())
}

impl fmt::Debug for Shares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shares").field("held", &self.group.held).finish_non_exhaustive()
    }
}
