//! What is brought into the index in one go.

use std::collections::BTreeMap;

use footage_clip::{ClipRecord, CoverageRecord, RemovalRecord, RunRecord, SourceRecord};
use footage_topic::{Delivery, Follow, FollowError, Position, TopicMessage};
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use crate::IndexerSettings;

/// Messages received together, sorted by kind. Those of one kind keep their order.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// When the first of them came.
    pub(crate) began: Option<Instant>,
    pub(crate) clips: Vec<ClipRecord>,
    pub(crate) coverage: Vec<CoverageRecord>,
    pub(crate) sources: Vec<SourceRecord>,
    pub(crate) runs: Vec<RunRecord>,
    /// The last message, where it is a removal: what comes after it is not meant.
    pub(crate) removal: Option<RemovalRecord>,
    /// The last position of each partition.
    pub(crate) positions: Vec<Position>,
}

/// A batch that is being received.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    batch: Batch,
    positions: BTreeMap<i32, Position>,
    messages: usize,
}

impl Filling {
    /// Waits for a message, then for as many more as are there or come until `deadline`. Whether there is
    /// a batch then: there is none when the topic has ended. A wait that is given up loses nothing, and
    /// is taken up again by calling again.
    pub(crate) async fn receive(
        &mut self,
        follower: &mut dyn Follow,
        settings: &IndexerSettings,
        deadline: Instant,
    ) -> Result<bool, FollowError> {
        loop {
            let received = if self.messages == 0 {
                follower.receive().await?
            } else {
                match timeout_at(deadline, follower.receive()).await {
                    Ok(received) => received?,
                    Err(_elapsed) => None,
                }
            };
            let Some(delivery) = received else { return Ok(self.messages > 0) };
            let ends = self.take(delivery);
            if ends || self.messages == settings.max_batch.get() {
                return Ok(true);
            }
        }
    }

    /// Takes in a message. Whether the batch ends with it.
    fn take(&mut self, Delivery { position, message }: Delivery) -> bool {
        let Self { batch, positions, messages } = self;
        batch.began.get_or_insert_with(Instant::now);
        positions.insert(position.partition, position);
        *messages += 1;
        match message {
            TopicMessage::Clip(clip) => batch.clips.push(clip),
            TopicMessage::Coverage(coverage) => batch.coverage.push(coverage),
            TopicMessage::CoverageBatch(told) => batch.coverage.extend(told.into_records()),
            TopicMessage::Source(source) => batch.sources.push(source),
            TopicMessage::Run(run) => batch.runs.push(run),
            TopicMessage::Removal(removal) => {
                batch.removal = Some(removal);
                return true;
            }
            // Told where ledgers are filled from, and nowhere else.
            TopicMessage::Correction(correction) => {
                warn!(source = %correction.source_id, "passed over a correction among clips");
            }
        }
        false
    }

    pub(crate) fn into_batch(self) -> Batch {
        Batch { positions: self.positions.into_values().collect(), ..self.batch }
    }
}
