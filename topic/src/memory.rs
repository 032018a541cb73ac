//! A topic within one process: bounded, ordered, gone with the process.
//!
//! What is accepted and not committed takes up the capacity, so memory is bounded even where the
//! follower commits late. A crash loses the messages; that is no loss of footage, because a file
//! that was not read to its end is read again from what the ledger holds.

use std::collections::VecDeque;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use tokio::sync::{Notify, Semaphore};

use crate::{Delivery, Follow, FollowError, Position, PublishError, Topic, TopicMessage};

/// The one partition of a topic in memory.
const PARTITION: i32 = 0;

/// A topic within one process. Clones share it.
#[derive(Clone)]
pub struct MemoryTopic {
    shared: Arc<Shared>,
}

struct Shared {
    /// One permit for each message that still fits. First come, first served, so no publisher
    /// starves. Closed with the topic.
    room: Semaphore,
    held: Mutex<Held>,
    /// Told at every publish, every commit and at the close.
    changed: Notify,
}

#[derive(Default)]
struct Held {
    /// Everything accepted and not committed, oldest first.
    messages: VecDeque<TopicMessage>,
    /// Offset of the oldest of them.
    first_offset: i64,
    is_followed: bool,
    is_closed: bool,
}

struct MemoryFollower {
    shared: Arc<Shared>,
    /// Offset of the next message to deliver.
    next: i64,
}

impl MemoryTopic {
    /// An empty topic that holds up to `capacity` messages which are not yet committed.
    pub fn new(capacity: NonZeroUsize) -> Self {
        let shared = Shared {
            room: Semaphore::new(capacity.get().min(Semaphore::MAX_PERMITS)),
            held: Mutex::default(),
            changed: Notify::new(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Number of messages accepted and not committed.
    pub fn uncommitted(&self) -> usize {
        self.shared.held().messages.len()
    }

    /// Resolves once all that was accepted before the call is committed, or the topic is closed.
    pub async fn caught_up(&self) {
        let until = self.shared.held().end();
        loop {
            let mut changed = std::pin::pin!(self.shared.changed.notified());
            // Listen before looking: a commit that comes in between is not slept through.
            changed.as_mut().enable();
            {
                let held = self.shared.held();
                if held.first_offset >= until || held.is_closed {
                    return;
                }
            }
            changed.await;
        }
    }
}

impl Held {
    /// The offset that the next accepted message will have.
    fn end(&self) -> i64 {
        self.first_offset.saturating_add_unsigned(self.messages.len() as u64)
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        // Each critical section leaves the state whole, so a panic elsewhere does not spoil it.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Topic for MemoryTopic {
    async fn publish(&self, message: TopicMessage) -> Result<(), PublishError> {
        let Ok(room) = self.shared.room.acquire().await else {
            return Err(PublishError::Closed(message.to_string()));
        };
        {
            let mut held = self.shared.held();
            if held.is_closed {
                return Err(PublishError::Closed(message.to_string()));
            }
            held.messages.push_back(message);
        }
        room.forget();
        self.shared.changed.notify_waiters();
        Ok(())
    }

    async fn follow(&self) -> Result<Box<dyn Follow>, FollowError> {
        let mut held = self.shared.held();
        if held.is_followed {
            return Err(FollowError::Taken);
        }
        held.is_followed = true;
        let next = held.first_offset;
        drop(held);
        Ok(Box::new(MemoryFollower { shared: Arc::clone(&self.shared), next }))
    }

    fn close(&self) {
        self.shared.held().is_closed = true;
        self.shared.room.close();
        self.shared.changed.notify_waiters();
    }
}

impl MemoryFollower {
    /// The next message, or whether the topic has ended.
    fn take(&mut self) -> Result<Delivery, Ended> {
        let held = self.shared.held();
        let at = usize::try_from(self.next - held.first_offset).unwrap_or(0);
        let Some(message) = held.messages.get(at) else {
            return Err(Ended(held.is_closed));
        };
        let position = Position { partition: PARTITION, offset: self.next };
        let delivery = Delivery { position, message: message.clone() };
        self.next += 1;
        drop(held);
        Ok(delivery)
    }
}

struct Ended(bool);

#[async_trait]
impl Follow for MemoryFollower {
    async fn receive(&mut self) -> Result<Option<Delivery>, FollowError> {
        loop {
            let shared = Arc::clone(&self.shared);
            let mut changed = std::pin::pin!(shared.changed.notified());
            // Listen before looking: a message that comes in between is not slept through.
            changed.as_mut().enable();
            match self.take() {
                Ok(delivery) => return Ok(Some(delivery)),
                Err(Ended(true)) => return Ok(None),
                Err(Ended(false)) => changed.await,
            }
        }
    }

    async fn commit(&mut self, position: Position) -> Result<(), FollowError> {
        if position.partition != PARTITION || position.offset >= self.next || position.offset < 0 {
            return Err(FollowError::NotDelivered(position));
        }
        let freed = {
            let mut held = self.shared.held();
            let done = usize::try_from(position.offset + 1 - held.first_offset).unwrap_or(0);
            held.messages.drain(..done);
            held.first_offset = held.first_offset.max(position.offset + 1);
            done
        };
        if !self.shared.room.is_closed() {
            self.shared.room.add_permits(freed);
        }
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

impl Drop for MemoryFollower {
    fn drop(&mut self) {
        self.shared.held().is_followed = false;
    }
}

impl fmt::Debug for MemoryTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let held = self.shared.held();
        f.debug_struct("MemoryTopic")
            .field("uncommitted", &held.messages.len())
            .field("first_offset", &held.first_offset)
            .field("is_closed", &held.is_closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Making;

    fn made(capacity: NonZeroUsize) -> Making {
        Box::pin(async move { Some(Arc::new(MemoryTopic::new(capacity)) as Arc<dyn Topic>) })
    }

    crate::topic_contract!(made);
    crate::bounded_topic_contract!(made);

    #[tokio::test]
    async fn memory_is_given_back_at_every_commit() {
        use footage_clip::{ClipState, CoverageRecord, SourceId, Span};

        let topic = MemoryTopic::new(NonZeroUsize::new(2).unwrap());
        let mut follower = topic.follow().await.unwrap();
        for start in 0..100 {
            let message = CoverageRecord {
                source_id: SourceId::try_new("gate").unwrap(),
                span: Span::new(start, start + 1),
                state: ClipState::Gated,
            };
            topic.publish(message.into()).await.unwrap();
            assert_eq!(topic.uncommitted(), 1);
            let delivery = follower.receive().await.unwrap().unwrap();
            follower.commit(delivery.position).await.unwrap();
            assert_eq!(topic.uncommitted(), 0);
        }
    }

    #[tokio::test]
    async fn catching_up_waits_for_what_was_accepted_before_and_for_nothing_later() {
        use std::time::Duration;

        use footage_clip::{ClipState, CoverageRecord, SourceId, Span};
        use tokio::time::timeout;

        let topic = MemoryTopic::new(NonZeroUsize::new(8).unwrap());
        let message = CoverageRecord {
            source_id: SourceId::try_new("gate").unwrap(),
            span: Span::new(0, 1),
            state: ClipState::Gated,
        };
        topic.caught_up().await;
        topic.publish(message.clone().into()).await.unwrap();
        let mut follower = topic.follow().await.unwrap();
        let delivery = follower.receive().await.unwrap().unwrap();
        let waiting = tokio::spawn({
            let topic = topic.clone();
            async move { topic.caught_up().await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished(), "it was received, not committed");
        topic.publish(message.into()).await.unwrap();
        follower.commit(delivery.position).await.unwrap();
        timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
        assert_eq!(topic.uncommitted(), 1);
    }
}
