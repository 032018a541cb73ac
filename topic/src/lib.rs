//! The corridor: publish and follow clip records.
//!
//! A [`Topic`] takes messages from many publishers and hands them, in the order of each source, to
//! a follower, which commits a [`Position`] once everything up to it is safe elsewhere. What was
//! not committed is delivered again to the next follower, so a message arrives at least once.
//!
//! Every topic has a capacity; while it is full, publishing waits. To stop: [`Topic::close`]. The
//! follower then receives what is left, and `None` after it.
//!
//! [`MemoryTopic`] joins the rooms of one process, [`KafkaTopic`] those of many. [`contract`] holds
//! the promises that every topic must keep.

pub mod contract;
mod kafka;
mod memory;
mod message;
mod wire;

use std::fmt;

use async_trait::async_trait;

pub use kafka::{
    DeadLetter, DeadLetters, Given, KafkaError, KafkaReader, KafkaSecurity, KafkaSettings,
    KafkaTopic, Password, RawMessage, Shares, TopicSpec, make_topic, put, put_all, replay,
};
pub use memory::MemoryTopic;
pub use message::TopicMessage;

/// Where a message lies: the place in its partition, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The partition.
    pub partition: i32,
    /// The place in it.
    pub offset: i64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.partition, self.offset)
    }
}

/// A message as a follower receives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Where it lies: commit this, or a later one of the same partition, once it is safe.
    pub position: Position,
    /// What was published.
    pub message: TopicMessage,
}

/// Why a message is not in the topic.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The topic was closed: nobody would receive the message.
    #[error("topic is closed: {0} was not published")]
    Closed(String),
    /// The topic cannot take the message now. The same message may be accepted later.
    #[error("topic is not accepting messages yet: {0}")]
    NotYet(String),
    /// The message will never be accepted, however often it is sent.
    #[error("topic will never accept {what}: {cause}")]
    Never {
        /// The message refused.
        what: String,
        /// The reason.
        cause: String,
    },
}

/// Why following does not work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// Another follower holds the topic. It may be followed once that one is dropped.
    #[error("topic is followed already: drop the other follower first")]
    Taken,
    /// Nothing was delivered at this position, so nothing there can be safe.
    #[error("position {0} was not delivered to this follower and cannot be committed")]
    NotDelivered(Position),
    /// The topic is away. It may come back.
    #[error("topic cannot be reached: {0}")]
    Away(String),
}

/// Where clip records go, and come from.
#[async_trait]
pub trait Topic: Send + Sync {
    /// Resolves once the topic has accepted the message, which it then never drops. While the topic
    /// is full this waits, and with it the archive that is being read. Cancelling the wait leaves
    /// the message unpublished, unless it is under way to another machine already.
    async fn publish(&self, message: TopicMessage) -> Result<(), PublishError>;

    /// Publishes several messages, which keep their order. An error may leave some of them published.
    async fn publish_all(&self, messages: Vec<TopicMessage>) -> Result<(), PublishError> {
        for message in messages {
            self.publish(message).await?;
        }
        Ok(())
    }

    /// Starts to follow, at the first message that was never committed.
    async fn follow(&self) -> Result<Box<dyn Follow>, FollowError>;

    /// Ends the topic for publishers; whoever waits to publish is refused. Followers receive what
    /// was accepted, then `None`. Closing twice changes nothing.
    fn close(&self);
}

/// Receives what was published. Dropping it gives back what it did not commit.
#[async_trait]
pub trait Follow: Send {
    /// The next message; none once the topic is closed and everything in it was received. Waits
    /// while there is none. Cancelling the wait loses nothing.
    async fn receive(&mut self) -> Result<Option<Delivery>, FollowError>;

    /// Everything up to and including `position` in its partition is safe, and is never delivered
    /// again. Committing an earlier position than before changes nothing.
    async fn commit(&mut self, position: Position) -> Result<(), FollowError>;

    /// Commits one position of each partition.
    async fn commit_all(&mut self, positions: Vec<Position>) -> Result<(), FollowError> {
        for position in positions {
            self.commit(position).await?;
        }
        Ok(())
    }
}

/// Takes messages that nobody can use.
#[async_trait]
pub trait Bury: Send + Sync {
    /// Puts a message away, with the reason. It is safe there when this resolves.
    async fn bury(&self, message: &TopicMessage, why: &str) -> Result<(), PublishError>;
}
