//! What a member of a consumer group has been given, and how far it has come.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError as Raw;
use rdkafka::statistics::Statistics;

use super::{connect, locked};

/// What a member has. Changed by librdkafka's rebalancing, which happens while it is polled.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Partitions given, and how far each has come.
    pub(super) shares: BTreeMap<i32, Share>,
    /// The last offset delivered of partitions that were taken away.
    former: BTreeMap<i32, i64>,
    /// Whether the group has said what is ours at least once.
    pub(super) has_joined: bool,
    /// Partitions that were given or taken away and that nobody heard of yet.
    pub(super) changes: Vec<Change>,
}

/// A partition given or taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Given(i32),
    Taken(i32),
}

/// How far a partition has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Share {
    first: Option<i64>,
    pub(super) delivered: Option<i64>,
    pub(super) committed: Option<i64>,
}

/// Whether a position may be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is to be committed.
    Due,
    /// It was, or a later one.
    Done,
    /// The partition was taken away: whoever has it now gets what was not committed.
    NotOurs,
    /// It was never delivered here.
    NeverSeen,
}

impl Held {
    pub(super) fn given(&mut self, partition: i32) {
        self.shares.insert(partition, Share::default());
        self.changes.push(Change::Given(partition));
    }

    pub(super) fn taken(&mut self, partition: i32) {
        if let Some(Share { delivered: Some(offset), .. }) = self.shares.remove(&partition) {
            let last = self.former.entry(partition).or_insert(offset);
            *last = (*last).max(offset);
        }
        self.changes.push(Change::Taken(partition));
    }

    /// Remembers a delivery. Returns whether the partition is ours.
    pub(super) fn delivered(&mut self, partition: i32, offset: i64) -> bool {
        let Some(share) = self.shares.get_mut(&partition) else { return false };
        share.first.get_or_insert(offset);
        share.delivered = Some(share.delivered.map_or(offset, |last| last.max(offset)));
        true
    }

    pub(super) fn committed(&mut self, partition: i32, offset: i64) {
        if let Some(share) = self.shares.get_mut(&partition) {
            share.committed = Some(share.committed.map_or(offset, |last| last.max(offset)));
        }
    }

    pub(super) fn verdict(&self, partition: i32, offset: i64) -> Verdict {
        let share = self.shares.get(&partition).copied().unwrap_or_default();
        if offset >= 0 && share.committed.is_some_and(|last| offset <= last) {
            return Verdict::Done;
        }
        if let (Some(first), Some(last)) = (share.first, share.delivered)
            && (first..=last).contains(&offset)
        {
            return Verdict::Due;
        }
        // Given away and back, it starts anew from what was committed by then.
        match self.former.get(&partition) {
            Some(last) if (0..=*last).contains(&offset) => Verdict::NotOurs,
            _ => Verdict::NeverSeen,
        }
    }
}

/// librdkafka's view of a member.
#[derive(Clone, Debug, Default)]
pub(super) struct Group {
    pub(super) held: Arc<Mutex<Held>>,
    pub(super) lag: Arc<Mutex<BTreeMap<i32, i64>>>,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        connect::log(level, facility, message);
    }

    fn error(&self, error: Raw, reason: &str) {
        tracing::warn!(%error, reason, "kafka");
    }

    fn stats(&self, statistics: Statistics) {
        let mut lag = locked(&self.lag);
        lag.clear();
        for topic in statistics.topics.values() {
            let known = topic.partitions.iter().filter(|(_, known)| known.consumer_lag >= 0);
            lag.extend(known.map(|(partition, known)| (*partition, known.consumer_lag)));
        }
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            let mut held = locked(&self.held);
            for partition in partitions.elements() {
                tracing::info!(partition = partition.partition(), "partition taken away");
                held.taken(partition.partition());
            }
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let mut held = locked(&self.held);
            held.has_joined = true;
            for partition in partitions.elements() {
                tracing::info!(partition = partition.partition(), "partition given");
                held.given(partition.partition());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_delivered_since_the_partition_was_given_is_committed() {
        let mut held = Held::default();
        assert!(!held.delivered(3, 7));
        assert_eq!(held.verdict(3, 7), Verdict::NeverSeen);
        held.given(3);
        assert!(held.delivered(3, 7));
        assert_eq!(held.verdict(3, 7), Verdict::Due);
        assert_eq!(held.verdict(3, 8), Verdict::NeverSeen);
        assert_eq!(held.verdict(3, -1), Verdict::NeverSeen);
        held.committed(3, 7);
        assert_eq!(held.verdict(3, 5), Verdict::Done);
    }

    #[test]
    fn a_partition_that_was_taken_away_is_not_committed_even_if_it_comes_back() {
        let mut held = Held::default();
        held.given(3);
        held.delivered(3, 7);
        held.taken(3);
        assert_eq!(held.verdict(3, 7), Verdict::NotOurs);
        held.given(3);
        assert_eq!(held.verdict(3, 7), Verdict::NotOurs);
        held.delivered(3, 20);
        assert_eq!(held.verdict(3, 20), Verdict::Due);
        assert_eq!(held.verdict(3, 7), Verdict::NotOurs);
        assert_eq!(held.changes, [Change::Given(3), Change::Taken(3), Change::Given(3)]);
    }
}
