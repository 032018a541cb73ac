//! The promises every topic must keep.
//!
//! A topic's tests call [`topic_contract!`](crate::topic_contract) with a function that makes an
//! empty topic of a given capacity. Each promise is a function here, and one test there.

#![expect(clippy::missing_panics_doc, reason = "these are assertions: a broken promise panics")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use footage_clip::{ClipState, CoverageRecord, SourceId, Span};
use tokio::time::timeout;

use crate::{Delivery, Follow, FollowError, Position, PublishError, Topic, TopicMessage};

/// How long a step may take that must end, before the promise counts as broken.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a step is watched that must not end.
const WATCHED: Duration = Duration::from_millis(150);

/// Makes one test of each promise, for the topics that `$make(capacity: NonZeroUsize)` makes: a
/// function to a [`Making`].
#[macro_export]
macro_rules! topic_contract {
    ($make:expr) => {
        $crate::topic_contract!(@each $make;
            messages_of_a_source_arrive_in_order,
            messages_published_together_arrive_in_order,
            what_is_accepted_arrives_exactly_as_published,
            what_was_not_committed_is_delivered_again,
            a_commit_covers_everything_before_it,
            only_what_was_delivered_can_be_committed,
            a_receive_that_is_given_up_loses_nothing,
            a_closed_topic_drains_and_ends,
            one_follower_at_a_time);
    };
    (@each $make:expr; $($promise:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            $crate::contract::$promise(&$make).await;
        }
    )*};
}

/// The promises of a topic whose capacity bounds what is not committed, besides those of every topic.
#[macro_export]
macro_rules! bounded_topic_contract {
    ($make:expr) => {
        $crate::topic_contract!(@each $make;
            a_full_topic_makes_publishers_wait_until_there_is_a_commit,
            a_publish_that_is_given_up_leaves_no_message,
            closing_refuses_those_who_wait_to_publish);
    };
}

/// A topic in the making; none where there is nothing to test with.
pub type Making = Pin<Box<dyn Future<Output = Option<Arc<dyn Topic>>> + Send>>;

/// Makes an empty topic of a capacity.
pub type Make<'a> = &'a (dyn Fn(NonZeroUsize) -> Making + Send + Sync);

/// Several publishers at once do not mix up what one of them says.
pub async fn messages_of_a_source_arrive_in_order(make: Make<'_>) {
    let Some(topic) = make(capacity(4)).await else { return };
    let publishers = ["gate", "yard", "hall"].map(|source| {
        let topic = Arc::clone(&topic);
        tokio::spawn(async move {
            for start in 0..50 {
                topic.publish(message(source, start)).await.expect("room");
            }
        })
    });
    let mut follower = topic.follow().await.expect("a follower");

    let mut seen: BTreeMap<SourceId, Vec<u64>> = BTreeMap::new();
    for _ in 0..150 {
        let delivery = next(&mut *follower).await;
        seen.entry(delivery.message.source_id().clone()).or_default().push(start_of(&delivery));
        follower.commit(delivery.position).await.expect("a commit");
    }

    for publisher in publishers {
        publisher.await.expect("a publisher that ends");
    }
    assert_eq!(seen.len(), 3);
    assert!(seen.values().all(|starts| starts.iter().copied().eq(0..50)), "{seen:?}");
}

/// As one after the other would have.
pub async fn messages_published_together_arrive_in_order(make: Make<'_>) {
    let Some(topic) = make(capacity(1000)).await else { return };
    let messages = (0..200).map(|start| message(["gate", "yard"][start as usize % 2], start));
    topic.publish_all(messages.collect()).await.expect("room");
    let mut follower = topic.follow().await.expect("a follower");
    let mut seen: BTreeMap<SourceId, Vec<u64>> = BTreeMap::new();
    for _ in 0..200 {
        let delivery = next(&mut *follower).await;
        seen.entry(delivery.message.source_id().clone()).or_default().push(start_of(&delivery));
    }
    assert_eq!(seen.len(), 2);
    assert!(seen.values().all(|starts| starts.len() == 100 && starts.is_sorted()), "{seen:?}");
}

/// A message is the same on both sides.
pub async fn what_is_accepted_arrives_exactly_as_published(make: Make<'_>) {
    let Some(topic) = make(capacity(8)).await else { return };
    let sent = [message("gate", 1), message("yard", u64::MAX - 5)];
    for message in &sent {
        topic.publish(message.clone()).await.expect("room");
    }
    let mut follower = topic.follow().await.expect("a follower");
    let received = [next(&mut *follower).await.message, next(&mut *follower).await.message];
    for message in sent {
        assert!(received.contains(&message), "{message} is not among {received:?}");
    }
}

/// The capacity counts what is accepted and not committed: receiving alone makes no room.
pub async fn a_full_topic_makes_publishers_wait_until_there_is_a_commit(make: Make<'_>) {
    let Some(topic) = make(capacity(3)).await else { return };
    for start in 0..3 {
        topic.publish(message("gate", start)).await.expect("room");
    }
    let mut follower = topic.follow().await.expect("a follower");
    let first = next(&mut *follower).await;
    let waiting = tokio::spawn({
        let topic = Arc::clone(&topic);
        async move { topic.publish(message("gate", 3)).await }
    });
    tokio::time::sleep(WATCHED).await;
    assert!(!waiting.is_finished(), "the fourth message was accepted by a topic of three");

    follower.commit(first.position).await.expect("a commit");

    let published = timeout(PATIENCE, waiting).await.expect("room after the commit");
    published.expect("a publisher that ends").expect("an accepted message");
    for start in 1..4 {
        assert_eq!(start_of(&next(&mut *follower).await), start);
    }
}

/// Cancelling a wait takes the message back, and with it the room it would have had.
pub async fn a_publish_that_is_given_up_leaves_no_message(make: Make<'_>) {
    let Some(topic) = make(capacity(1)).await else { return };
    topic.publish(message("gate", 0)).await.expect("room");
    let given_up = timeout(WATCHED, topic.publish(message("gate", 1))).await;
    assert!(given_up.is_err(), "the second message was accepted by a topic of one");

    let mut follower = topic.follow().await.expect("a follower");
    let first = next(&mut *follower).await;
    follower.commit(first.position).await.expect("a commit");
    topic.publish(message("gate", 2)).await.expect("room");
    assert_eq!(start_of(&next(&mut *follower).await), 2);
}

/// A follower that dies without committing leaves everything to the next.
pub async fn what_was_not_committed_is_delivered_again(make: Make<'_>) {
    let Some(topic) = make(capacity(8)).await else { return };
    for start in 0..5 {
        topic.publish(message("gate", start)).await.expect("room");
    }
    let mut follower = topic.follow().await.expect("a follower");
    let first = next(&mut *follower).await;
    let second = next(&mut *follower).await;
    follower.commit(first.position).await.expect("a commit");
    next(&mut *follower).await;
    drop(follower);

    let mut follower = topic.follow().await.expect("another follower");

    assert_eq!(next(&mut *follower).await, second);
    for start in 2..5 {
        assert_eq!(start_of(&next(&mut *follower).await), start);
    }
}

/// Committing the last of a batch commits the batch; committing backwards changes nothing.
pub async fn a_commit_covers_everything_before_it(make: Make<'_>) {
    let Some(topic) = make(capacity(8)).await else { return };
    for start in 0..4 {
        topic.publish(message("gate", start)).await.expect("room");
    }
    let mut follower = topic.follow().await.expect("a follower");
    let first = next(&mut *follower).await;
    next(&mut *follower).await;
    let third = next(&mut *follower).await;
    follower.commit(third.position).await.expect("a commit");
    follower.commit(third.position).await.expect("the same commit again");
    follower.commit(first.position).await.expect("an earlier commit");
    drop(follower);

    let mut follower = topic.follow().await.expect("another follower");
    assert_eq!(start_of(&next(&mut *follower).await), 3);
}

/// What a follower never saw, it cannot have made safe.
pub async fn only_what_was_delivered_can_be_committed(make: Make<'_>) {
    let Some(topic) = make(capacity(8)).await else { return };
    topic.publish(message("gate", 0)).await.expect("room");
    topic.publish(message("gate", 1)).await.expect("room");
    let mut follower = topic.follow().await.expect("a follower");
    let first = next(&mut *follower).await;
    let unseen = Position { offset: first.position.offset + 1, ..first.position };
    let elsewhere = Position { partition: first.position.partition + 1000, ..first.position };
    for position in [unseen, elsewhere, Position { offset: -1, ..first.position }] {
        let refused = follower.commit(position).await;
        assert_eq!(refused, Err(FollowError::NotDelivered(position)));
    }
}

/// Waiting for a message may be cancelled, as a batch with a bound on waiting does.
pub async fn a_receive_that_is_given_up_loses_nothing(make: Make<'_>) {
    let Some(topic) = make(capacity(8)).await else { return };
    let mut follower = topic.follow().await.expect("a follower");
    for start in 0..3 {
        assert!(timeout(WATCHED, follower.receive()).await.is_err(), "the topic is empty");
        topic.publish(message("gate", start)).await.expect("room");
        assert_eq!(start_of(&next(&mut *follower).await), start);
    }
}

/// Closing loses nothing that was accepted, and then says so for ever.
pub async fn a_closed_topic_drains_and_ends(make: Make<'_>) {
    let Some(topic) = make(capacity(8)).await else { return };
    topic.publish(message("gate", 0)).await.expect("room");
    topic.publish(message("gate", 1)).await.expect("room");
    let mut follower = topic.follow().await.expect("a follower");
    assert_eq!(start_of(&next(&mut *follower).await), 0);
    topic.close();
    topic.close();

    let last = next(&mut *follower).await;
    assert_eq!(start_of(&last), 1);
    for _ in 0..2 {
        let end = timeout(PATIENCE, follower.receive()).await.expect("an end");
        assert_eq!(end, Ok(None));
    }
    follower.commit(last.position).await.expect("a commit after the end");
    let late = topic.publish(message("gate", 2)).await;
    assert!(matches!(late, Err(PublishError::Closed(_))), "{late:?}");

    let Some(idle) = make(capacity(1)).await else { return };
    let mut follower = idle.follow().await.expect("a follower");
    let waiting = tokio::spawn(async move { follower.receive().await });
    tokio::time::sleep(WATCHED).await;
    idle.close();
    let end = timeout(PATIENCE, waiting).await.expect("an end").expect("a task that ends");
    assert_eq!(end, Ok(None));
}

/// Nobody hangs on a topic that is over.
pub async fn closing_refuses_those_who_wait_to_publish(make: Make<'_>) {
    let Some(topic) = make(capacity(1)).await else { return };
    topic.publish(message("gate", 0)).await.expect("room");
    let waiting = tokio::spawn({
        let topic = Arc::clone(&topic);
        async move { topic.publish(message("gate", 1)).await }
    });
    tokio::time::sleep(WATCHED).await;
    topic.close();
    let refused = timeout(PATIENCE, waiting).await.expect("an end").expect("a task that ends");
    assert!(matches!(refused, Err(PublishError::Closed(_))), "{refused:?}");
}

/// Two followers of one group would each see half; the second is told.
pub async fn one_follower_at_a_time(make: Make<'_>) {
    let Some(topic) = make(capacity(1)).await else { return };
    let follower = topic.follow().await.expect("a follower");
    assert_eq!(topic.follow().await.err(), Some(FollowError::Taken));
    drop(follower);
    assert!(topic.follow().await.is_ok());
}

fn capacity(messages: usize) -> NonZeroUsize {
    NonZeroUsize::new(messages).expect("a capacity")
}

fn message(source: &str, start: u64) -> TopicMessage {
    let source_id = SourceId::try_new(source).expect("an id");
    let span = Span::new(start, start + 1);
    CoverageRecord { source_id, span, state: ClipState::Gated }.into()
}

fn start_of(delivery: &Delivery) -> u64 {
    match &delivery.message {
        TopicMessage::Coverage(coverage) => coverage.span.start_ns,
        other => panic!("{other} was never published"),
    }
}

async fn next(follower: &mut dyn Follow) -> Delivery {
    let received = timeout(PATIENCE, follower.receive()).await.expect("a message in time");
    received.expect("a topic that works").expect("a message before the end")
}
