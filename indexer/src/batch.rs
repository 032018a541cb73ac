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

impl Batch {
    /// Waits for a message, then for as many more as are there or come until `deadline`. None when the
    /// topic has ended.
    pub(crate) async fn receive(
        follower: &mut dyn Follow,
        settings: &IndexerSettings,
        deadline: Instant,
    ) -> Result<Option<Self>, FollowError> {
        let Some(first) = follower.receive().await? else {
            return Ok(None);
        };
        let mut batch = Self { began: Some(Instant::now()), ..Self::default() };
        let mut positions = BTreeMap::new();
        let mut next = Some(first);
        let mut messages = 0;
        while let Some(Delivery { position, message }) = next {
            positions.insert(position.partition, position);
            match message {
                TopicMessage::Clip(clip) => batch.clips.push(clip),
                TopicMessage::Coverage(coverage) => batch.coverage.push(coverage),
                TopicMessage::Source(source) => batch.sources.push(source),
                TopicMessage::Run(run) => batch.runs.push(run),
                TopicMessage::Removal(removal) => {
                    batch.removal = Some(removal);
                    break;
                }
                // Told where ledgers are filled from, and nowhere else.
                TopicMessage::Correction(correction) => {
                    warn!(source = %correction.source_id, "passed over a correction among clips");
                }
            }
            messages += 1;
            if messages == settings.max_batch.get() {
                break;
            }
            next = match timeout_at(deadline, follower.receive()).await {
                Ok(received) => received?,
                Err(_elapsed) => None,
            };
        }
        batch.positions = positions.into_values().collect();
        Ok(Some(batch))
    }
}
