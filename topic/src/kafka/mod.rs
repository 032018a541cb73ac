//! A topic on a Kafka cluster: kept by brokers, shared by many processes.
//!
//! **Publishing** is idempotent, acknowledged by all in-sync replicas, compressed with zstd, and keyed
//! by source, so that one source's messages keep their order. A publish resolves with the broker's
//! report of delivery. Its capacity is the number of messages that may wait for theirs; beyond it
//! publishing waits. A publish that is given up after it was handed over may be delivered all the
//! same, which is harmless: ids are derived. One that no broker acknowledges in
//! [`KafkaSettings::delivery_timeout`] is [`PublishError::NotYet`].
//!
//! **Following** is as a member of a consumer group with cooperative rebalancing: the followers of
//! all processes share the partitions. A position is committed when the follower says so, and never
//! for a partition that was taken away meanwhile: what was not committed goes to whoever has it now.
//!
//! **Closing** ends this process's handle. Its follower receives everything that was accepted
//! through it, of the partitions it has, and then the end.
//!
//! What cannot be read is put into the dead-letter topic before it is passed over, with the reason.

mod admin;
mod connect;
mod dead_letter;
mod follower;
mod group;
mod reader;
mod settings;
mod shares;
mod unreached;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::error::KafkaError as Raw;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _, PurgeConfig};
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinHandle;

pub use self::admin::{TopicSpec, make_topic};
use self::connect::Told;
pub use self::dead_letter::{DeadLetter, DeadLetters, replay};
use self::follower::KafkaFollower;
pub use self::reader::{KafkaReader, RawMessage};
pub use self::settings::{KafkaError, KafkaSecurity, KafkaSettings, Password};
pub use self::shares::{Given, Shares, put, put_all};
use crate::{Follow, FollowError, PublishError, Topic, TopicMessage};

/// The header that names a message's kind.
pub(crate) const KIND: &str = "footage-kind";

/// How long to wait where librdkafka's own queue is full, which it cannot tell the end of.
const QUEUE_FULL: Duration = Duration::from_millis(20);

/// A topic on a Kafka cluster, as one process uses it. Clones share it.
#[derive(Clone)]
pub struct KafkaTopic {
    shared: Arc<Shared>,
}

/// What a handle and its follower share.
struct Shared {
    settings: KafkaSettings,
    name: String,
    group: String,
    dead_letters: Option<DeadLetters>,
    producer: Mutex<Current>,
    /// One permit for each message that may wait for its report. Closed with the topic.
    room: Semaphore,
    capacity: usize,
    /// The offset after the last message that was accepted here, by partition.
    accepted: Mutex<BTreeMap<i32, i64>>,
    /// What is known of the group's lag, by partition.
    lag: Arc<Mutex<BTreeMap<i32, i64>>>,
    is_followed: AtomicBool,
    /// The follower before, which leaves the group on a thread of its own.
    leaving: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    left: Mutex<Option<JoinHandle<()>>>,
    closed: watch::Sender<bool>,
}

/// The producer that is used now. It is replaced when brokers refuse all that it sends.
struct Current {
    producer: FutureProducer<Told>,
    /// How many there were before.
    generation: u64,
}

impl KafkaTopic {
    /// Connects to the topic called `name`, whose followers are members of `group`. Makes the topic
    /// where there is none, and fails where it is not as `spec` says.
    pub async fn open(
        settings: &KafkaSettings,
        spec: &TopicSpec,
        group: &str,
        capacity: NonZeroUsize,
        dead_letters: Option<DeadLetters>,
    ) -> Result<Self, KafkaError> {
        admin::make_topic(settings, spec).await?;
        let producer = Current { producer: connect::producer(settings)?, generation: 0 };
        let shared = Shared {
            settings: settings.clone(),
            name: spec.name.clone(),
            group: group.to_owned(),
            dead_letters,
            producer: Mutex::new(producer),
            room: Semaphore::new(capacity.get().min(Semaphore::MAX_PERMITS)),
            capacity: capacity.get(),
            accepted: Mutex::default(),
            lag: Arc::default(),
            is_followed: AtomicBool::new(false),
            leaving: tokio::sync::Mutex::default(),
            left: Mutex::default(),
            closed: watch::Sender::new(false),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Number of messages that wait for the broker's report.
    pub fn in_flight(&self) -> usize {
        self.shared.capacity.saturating_sub(self.shared.room.available_permits())
    }

    /// Messages that this handle's follower has yet to commit, in all its partitions, as the brokers
    /// said last.
    pub fn lag(&self) -> i64 {
        locked(&self.shared.lag).values().filter(|lag| **lag > 0).sum()
    }

    /// Waits until a broker has reported on everything that was handed over, for so long at most.
    pub async fn flush(&self, most: Duration) -> Result<(), KafkaError> {
        let producer = locked(&self.shared.producer).producer.clone();
        let flushed = tokio::task::spawn_blocking(move || producer.flush(most)).await;
        let flushed = flushed.map_err(|error| KafkaError::of("flushing", error))?;
        flushed.map_err(|error| KafkaError::of("flushing", error))
    }
}

/// What a lock guards stays whole at every step, so a panic elsewhere does not spoil it.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A message that was handed over, and takes up room until the broker reports on it.
struct Sent<'a> {
    what: String,
    report: DeliveryFuture,
    /// Which producer has it.
    generation: u64,
    _room: SemaphorePermit<'a>,
}

impl Shared {
    /// Hands a message over. What is handed over first comes first.
    async fn send<'a>(
        &self,
        message: &TopicMessage,
        room: SemaphorePermit<'a>,
    ) -> Result<Sent<'a>, PublishError> {
        let what = message.to_string();
        let json = message.to_json().map_err(|error| PublishError::Never {
            what: what.clone(),
            cause: error.to_string(),
        })?;
        let kind = Header { key: KIND, value: Some(message.kind()) };
        let mut record = FutureRecord::to(&self.name)
            .key(message.source_id().as_str())
            .payload(&json)
            .headers(OwnedHeaders::new().insert(kind));
        loop {
            let (producer, generation) = {
                let current = locked(&self.producer);
                (current.producer.clone(), current.generation)
            };
            match producer.send_result(record) {
                Ok(report) => return Ok(Sent { what, report, generation, _room: room }),
                Err((error, back)) => {
                    self.renew_where_cast_out(&error, generation);
                    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                        return Err(refused(what, &error));
                    }
                    record = back;
                    tokio::time::sleep(QUEUE_FULL).await;
                }
            }
        }
    }

    /// Waits for the broker's report.
    async fn reported(&self, sent: Sent<'_>) -> Result<(), PublishError> {
        match sent.report.await {
            Ok(Ok(delivery)) => {
                let mut accepted = locked(&self.accepted);
                let end = accepted.entry(delivery.partition).or_default();
                *end = (*end).max(delivery.offset + 1);
                Ok(())
            }
            Ok(Err((error, _))) => {
                self.renew_where_cast_out(&error, sent.generation);
                Err(refused(sent.what, &error))
            }
            Err(gone) => Err(PublishError::NotYet(format!("{} ({gone})", sent.what))),
        }
    }
}

impl Shared {
    /// Makes a producer in place of one from which brokers take nothing any more. What the former one still
    /// had is refused, and its publishers try again. An idempotent producer counts its messages; where a
    /// broker has lost count, each further one is refused.
    fn renew_where_cast_out(&self, error: &Raw, generation: u64) {
        if !is_cast_out(error) {
            return;
        }
        let mut current = locked(&self.producer);
        if current.generation != generation {
            return;
        }
        match connect::producer(&self.settings) {
            Ok(producer) => {
                tracing::warn!(%error, "brokers take nothing from this producer: making another one");
                let next = Current { producer, generation: generation + 1 };
                let former = std::mem::replace(&mut *current, next);
                drop(current);
                former.producer.purge(PurgeConfig::default().queue().inflight());
            }
            Err(why) => tracing::warn!(%error, %why, "no other producer can be made"),
        }
    }
}

/// Whether a broker has lost count of a producer's messages.
fn is_cast_out(error: &Raw) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::Unknown
                | RDKafkaErrorCode::OutOfOrderSequenceNumber
                | RDKafkaErrorCode::UnknownProducerId
                | RDKafkaErrorCode::InvalidProducerEpoch
                | RDKafkaErrorCode::ProducerFenced
                | RDKafkaErrorCode::Fatal
        )
    )
}

/// Why a message was not taken.
fn refused(what: String, error: &Raw) -> PublishError {
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::MessageSizeTooLarge
            | RDKafkaErrorCode::InvalidMessage
            | RDKafkaErrorCode::InvalidMessageSize,
        ) => PublishError::Never { what, cause: error.to_string() },
        _ => PublishError::NotYet(format!("{what} ({error})")),
    }
}

#[async_trait]
impl Topic for KafkaTopic {
    async fn publish(&self, message: TopicMessage) -> Result<(), PublishError> {
        let Ok(room) = self.shared.room.acquire().await else {
            return Err(PublishError::Closed(message.to_string()));
        };
        let sent = self.shared.send(&message, room).await?;
        self.shared.reported(sent).await
    }

    async fn publish_all(&self, messages: Vec<TopicMessage>) -> Result<(), PublishError> {
        let shared = &self.shared;
        let mut under_way: VecDeque<Sent<'_>> = VecDeque::new();
        for message in messages {
            let room = loop {
                if let Ok(room) = shared.room.try_acquire() {
                    break room;
                }
                // What is under way of these very messages may be what takes up all the room.
                if let Some(oldest) = under_way.pop_front() {
                    shared.reported(oldest).await?;
                } else if let Ok(room) = shared.room.acquire().await {
                    break room;
                } else {
                    return Err(PublishError::Closed(message.to_string()));
                }
            };
            under_way.push_back(shared.send(&message, room).await?);
        }
        for sent in under_way {
            shared.reported(sent).await?;
        }
        Ok(())
    }

    async fn follow(&self) -> Result<Box<dyn Follow>, FollowError> {
        let shared = &self.shared;
        if shared.is_followed.swap(true, Ordering::AcqRel) {
            return Err(FollowError::Taken);
        }
        let followed = Followed(Arc::clone(shared));
        let mut leaving = shared.leaving.lock().await;
        if let Some(left) = locked(&shared.left).take() {
            *leaving = Some(left);
        }
        if let Some(thread) = leaving.as_mut() {
            // It ends in any case; whether it panicked is no concern of the next one.
            drop(thread.await);
            *leaving = None;
        }
        Ok(Box::new(KafkaFollower::join(followed)?))
    }

    fn close(&self) {
        self.shared.room.close();
        self.shared.closed.send_replace(true);
    }
}

/// The right to follow, given back when dropped.
struct Followed(Arc<Shared>);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.is_followed.store(false, Ordering::Release);
    }
}

impl fmt::Debug for KafkaTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTopic")
            .field("name", &self.shared.name)
            .field("group", &self.shared.group)
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
