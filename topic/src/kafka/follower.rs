//! A member of the consumer group that carries messages on.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use footage_clip::{ClipState, CoverageRecord, LostReason};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError as Raw;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::{sleep, timeout};

use super::group::{Group, Held, Verdict};
use super::{DeadLetters, Followed, RawMessage, Shared, connect, locked};
use crate::wire::About;
use crate::{Delivery, Follow, FollowError, Position, TopicMessage};

/// How often a follower looks whether it has everything, once the topic is closed, and tries again to
/// commit what it owes.
const LOOK: Duration = Duration::from_millis(100);

/// Pauses between attempts to reach the cluster: the first one, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

type Burying = Pin<Box<dyn Future<Output = ()> + Send>>;

pub(super) struct KafkaFollower {
    /// None only while it is dropped.
    consumer: Option<Arc<StreamConsumer<Group>>>,
    group: Group,
    followed: Followed,
    /// A message that cannot be read, and its way to the dead letters.
    unreadable: Option<(RawMessage, Burying)>,
    /// What is to be committed once the group has settled, by partition.
    owed: BTreeMap<i32, i64>,
}

impl KafkaFollower {
    pub(super) fn join(followed: Followed) -> Result<Self, FollowError> {
        let shared = &followed.0;
        let group = Group { lag: Arc::clone(&shared.lag), ..Group::default() };
        let away = |error: String| FollowError::Away(error);
        let consumer = connect::member(&shared.settings, &shared.group, group.clone())
            .map_err(|error| away(error.to_string()))?;
        consumer.subscribe(&[&shared.name]).map_err(|error| away(error.to_string()))?;
        Ok(Self {
            consumer: Some(Arc::new(consumer)),
            group,
            followed,
            unreadable: None,
            owed: BTreeMap::new(),
        })
    }

    fn shared(&self) -> &Shared {
        &self.followed.0
    }

    /// Whether the topic is closed and everything accepted by then, of the partitions that are ours,
    /// was delivered.
    fn is_drained(&self) -> bool {
        let shared = self.shared();
        if !*shared.closed.borrow() {
            return false;
        }
        let accepted = locked(&shared.accepted);
        let held = locked(&self.group.held);
        let is_delivered = |(partition, end): (&i32, &i64)| {
            held.shares
                .get(partition)
                .is_none_or(|share| share.delivered.is_some_and(|last| last + 1 >= *end))
        };
        accepted.is_empty() || held.has_joined && accepted.iter().all(is_delivered)
    }

    /// The next message as it lies in the topic; none when a little time has passed without one.
    async fn next(&mut self) -> Result<Option<RawMessage>, FollowError> {
        let Some(consumer) = self.consumer.clone() else { return Ok(None) };
        let mut closed = self.shared().closed.subscribe();
        let waits = *closed.borrow() || !self.owed.is_empty();
        let received = async {
            if waits {
                return timeout(LOOK, consumer.recv()).await.ok();
            }
            tokio::select! {
                received = consumer.recv() => Some(received),
                // The sender lives as long as the follower.
                _ = closed.wait_for(|closed| *closed) => None,
            }
        };
        match received.await {
            None => Ok(None),
            Some(Ok(message)) => Ok(Some(RawMessage::of(&message))),
            Some(Err(Raw::MessageConsumptionFatal(code))) => {
                Err(FollowError::Away(code.to_string()))
            }
            Some(Err(error)) => {
                // A broker that is away comes back, and librdkafka with it.
                tracing::warn!(%error, "nothing can be received now");
                sleep(PAUSE.0).await;
                Ok(None)
            }
        }
    }

    /// Waits until the message that cannot be read lies with the dead letters. Returns what is told
    /// instead of it, where it says what it is about. A wait that is given up goes on with the next.
    async fn passed_over(&mut self) -> Option<Delivery> {
        let (raw, burying) = self.unreadable.as_mut()?;
        burying.await;
        let lost = About::read(&raw.payload).map(|about| CoverageRecord {
            source_id: about.source_id,
            span: about.span,
            state: ClipState::Lost(LostReason::Refused),
        });
        let position = Position { partition: raw.partition, offset: raw.offset };
        self.unreadable = None;
        lost.map(|lost| Delivery { position, message: lost.into() })
    }

    /// Commits offsets by partition, now and in one request. Waits for a cluster that is away; gives up
    /// where the group is being divided anew.
    async fn commit_now(&mut self, offsets: BTreeMap<i32, i64>) -> Result<(), FollowError> {
        let mut pause = PAUSE.0;
        loop {
            let Some(consumer) = self.consumer.clone().filter(|_| !offsets.is_empty()) else {
                return Ok(());
            };
            let (name, next) = (self.shared().name.clone(), offsets.clone());
            let committed = tokio::task::spawn_blocking(move || {
                let mut positions = TopicPartitionList::new();
                for (partition, offset) in next {
                    let offset = Offset::Offset(offset + 1);
                    positions.add_partition_offset(&name, partition, offset)?;
                }
                consumer.commit(&positions, CommitMode::Sync)
            });
            let committed =
                committed.await.map_err(|error| FollowError::Away(error.to_string()))?;
            match committed.as_ref().map_err(Raw::rdkafka_error_code) {
                Ok(()) => {
                    let mut held = locked(&self.group.held);
                    for (partition, offset) in offsets {
                        held.committed(partition, offset);
                        self.owed.remove(&partition);
                    }
                    return Ok(());
                }
                Err(Some(Code::RebalanceInProgress)) => {
                    self.owed.extend(offsets);
                    return Ok(());
                }
                // Another member has them, or will: it gets what was not committed, once more.
                Err(Some(
                    Code::IllegalGeneration
                    | Code::UnknownMemberId
                    | Code::AssignmentLost
                    | Code::UnknownPartition
                    | Code::State,
                )) => {
                    tracing::info!(?offsets, "not committed: the group goes on without us");
                    self.owed.retain(|partition, _| !offsets.contains_key(partition));
                    return Ok(());
                }
                Err(Some(Code::Fatal | Code::GroupAuthorizationFailed)) => {
                    let error = committed.err().map_or_else(String::new, |e| e.to_string());
                    return Err(FollowError::Away(error));
                }
                Err(code) => {
                    tracing::warn!(?code, ?offsets, ?pause, "not committed yet");
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE.1);
                }
            }
        }
    }

    async fn commit_owed(&mut self) -> Result<(), FollowError> {
        let mut due = self.owed.clone();
        due.retain(|partition, offset| self.verdict(*partition, *offset) == Verdict::Due);
        self.owed.retain(|partition, _| due.contains_key(partition));
        self.commit_now(due).await
    }

    fn verdict(&self, partition: i32, offset: i64) -> Verdict {
        let held: &Held = &locked(&self.group.held);
        held.verdict(partition, offset)
    }
}

/// Puts a message with the dead letters, where there are any; waits for a cluster that is away.
async fn buried(dead_letters: Option<DeadLetters>, raw: RawMessage, why: String) {
    tracing::warn!(partition = raw.partition, offset = raw.offset, why, "dead letter");
    let Some(dead_letters) = dead_letters else { return };
    let mut pause = PAUSE.0;
    while let Err(error) = dead_letters.bury(&raw, &why).await {
        tracing::warn!(%error, ?pause, "a dead letter cannot be put away yet");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

#[async_trait]
impl Follow for KafkaFollower {
    async fn receive(&mut self) -> Result<Option<Delivery>, FollowError> {
        loop {
            if let Some(delivery) = self.passed_over().await {
                return Ok(Some(delivery));
            }
            self.commit_owed().await?;
            if self.is_drained() {
                return Ok(None);
            }
            let Some(raw) = self.next().await? else { continue };
            // Nothing is awaited between receiving and returning: a wait that is given up loses none.
            if !locked(&self.group.held).delivered(raw.partition, raw.offset) {
                continue;
            }
            match TopicMessage::of(&raw) {
                Ok(message) => {
                    let position = Position { partition: raw.partition, offset: raw.offset };
                    return Ok(Some(Delivery { position, message }));
                }
                Err(error) => {
                    let dead_letters = self.shared().dead_letters.clone();
                    let burying = buried(dead_letters, raw.clone(), error.to_string());
                    self.unreadable = Some((raw, Box::pin(burying)));
                }
            }
        }
    }

    async fn commit(&mut self, position: Position) -> Result<(), FollowError> {
        self.commit_all(vec![position]).await
    }

    async fn commit_all(&mut self, positions: Vec<Position>) -> Result<(), FollowError> {
        let mut due = BTreeMap::new();
        for position in positions {
            let Position { partition, offset } = position;
            match self.verdict(partition, offset) {
                Verdict::Due => drop(due.insert(partition, offset)),
                Verdict::Done => {}
                Verdict::NotOurs => {
                    tracing::debug!(%position, "not committed: the partition was taken away");
                }
                Verdict::NeverSeen => return Err(FollowError::NotDelivered(position)),
            }
        }
        self.commit_now(due).await
    }
}

impl Drop for KafkaFollower {
    fn drop(&mut self) {
        let Some(consumer) = self.consumer.take() else { return };
        locked(&self.followed.0.lag).clear();
        // Leaving the group waits for the cluster.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let leaving = runtime.spawn_blocking(move || drop(consumer));
            *locked(&self.followed.0.left) = Some(leaving);
        }
    }
}
