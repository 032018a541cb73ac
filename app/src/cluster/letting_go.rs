//! Footage that a cluster keeps no longer.
//!
//! Whoever watches a source says, in the topic of clips, up to where it is to go: so it is said after
//! all that is meant. Indexers do so, and tell the topic of coverage; then whoever has footage of it
//! removes that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use footage_clip::{RemovalRecord, SourceId};
use footage_index::Ledger;
use footage_indexer::{Footage as _, RetentionPolicy, due_before_ns};
use footage_topic::{KafkaTopic, Topic as _};

use super::mirror::OnRemoval;
use crate::compose::House;
use crate::outcome::in_one_line;
use crate::settings::sources::SourceDefinition;
use crate::watching::{Recordings, policy};

/// A source is closed a little at a time, and not every minute: at this part of its age, or at this
/// much.
const STEP: (u32, Duration) = (100, Duration::from_secs(600));

/// Says what is to go.
pub(super) struct LettingGo {
    house: Arc<House>,
    clips: KafkaTopic,
    ledger: Ledger,
    /// Up to where it was said, by source.
    said: BTreeMap<SourceId, u64>,
}

impl LettingGo {
    pub(super) fn new(house: Arc<House>, clips: KafkaTopic, ledger: Ledger) -> Self {
        Self { house, clips, ledger, said: BTreeMap::new() }
    }

    /// Looks at every source that is watched here.
    pub(super) async fn look(&mut self, watched: &[(SourceId, SourceDefinition)]) {
        self.said.retain(|said, _| watched.iter().any(|(id, _)| id == said));
        for (id, source) in watched {
            let policy = policy(source, &self.house);
            // What cannot be said now is said in a minute, and keeps nothing else waiting.
            if let Err(error) = self.look_at(id, policy).await {
                tracing::warn!(source = %id, error = in_one_line(&error), "old footage stays");
            }
        }
    }

    async fn look_at(&mut self, id: &SourceId, policy: RetentionPolicy) -> Result<()> {
        let footage = Recordings { data_dir: self.house.settings.data_dir.clone() };
        let (ledger, source, now) = (self.ledger.clone(), id.clone(), now_ns());
        let looked = tokio::task::spawn_blocking(move || -> Result<_> {
            let kept_from = ledger.source(&source)?.map(|record| record.retained_from_ns);
            Ok((kept_from, due_before_ns(&ledger, &footage, &source, policy, now)?))
        });
        let (Some(kept_from), Some(before_ns)) = looked.await?? else { return Ok(()) };
        let kept_from = kept_from.unwrap_or(0);
        // What was said and not heard yet is on its way.
        let is_under_way = self.said.get(id).is_some_and(|said| *said > kept_from);
        if is_under_way || before_ns.saturating_sub(kept_from) < step_ns(policy) {
            return Ok(());
        }
        let (source_id, before) = (id.clone(), Some(before_ns));
        let removal = RemovalRecord { source_id, before_ns: before, asked_unix_ns: now };
        self.clips.publish(removal.into()).await?;
        tracing::info!(source = %id, before_ns, "old footage is to go");
        self.said.insert(id.clone(), before_ns);
        Ok(())
    }
}

fn step_ns(policy: RetentionPolicy) -> u64 {
    let step = policy.max_age.map_or(Duration::ZERO, |age| (age / STEP.0).min(STEP.1));
    u64::try_from(step.as_nanos()).unwrap_or(u64::MAX)
}

/// Removes footage that lies here of what an indexer removed.
pub(super) fn on_removal(house: Arc<House>) -> OnRemoval {
    Arc::new(move |removal: &RemovalRecord| {
        // Of a source that was added again meanwhile, the footage since then stays.
        let before_ns = removal.before_ns.unwrap_or(removal.asked_unix_ns);
        if let Err(error) = remove_recording(&house, &removal.source_id, Some(before_ns)) {
            let error = in_one_line(&error);
            tracing::warn!(source = %removal.source_id, error, "recorded footage is still there");
        }
    })
}

/// Removes footage that lies here: all of it, or what ends by `before_ns`.
pub(super) fn remove_recording(house: &House, id: &SourceId, before_ns: Option<u64>) -> Result<()> {
    if let Some(before_ns) = before_ns {
        let recordings = Recordings { data_dir: house.settings.data_dir.clone() };
        recordings.remove_before(id, before_ns)?;
        return Ok(());
    }
    match fs_err::remove_dir_all(house.recording(id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Now, by the wall clock.
pub(super) fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
