//! Removes what is older, or more, than its source is to keep.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use footage_clip::SourceId;
use footage_indexer::{Footage, FootageError, FootagePart, Retention, RetentionPolicy};
use footage_pipeline::{Fragments, footage_dir};
use tokio::sync::watch;

use super::Watching;
use crate::compose::House;
use crate::requests::Desk;
use crate::settings::sources::SourceDefinition;
use crate::shelved::follow_removals_beside;

/// How often to look.
const LOOK: Duration = Duration::from_secs(60);

/// How often to look into collections that are not searched. They are opened for it.
const LOOK_BESIDE: Duration = Duration::from_secs(3600);

const DAY_S: f64 = 86_400.0;
const GIB: f64 = (1u64 << 30) as f64;

/// Recordings under the data directory.
pub(crate) struct Recordings {
    pub data_dir: PathBuf,
}

/// Keeps every live source within what it is to keep, until `ended`.
pub(crate) async fn retain(
    desk: Desk,
    watching: Arc<Watching>,
    mut ended: watch::Receiver<bool>,
) -> Result<()> {
    let footage = Recordings { data_dir: desk.house.settings.data_dir.clone() };
    let index = Arc::new(desk.store.index.clone());
    let retention = Retention::new(index, desk.store.ledger.clone(), Arc::new(footage));
    // What was begun before and cannot be ended now is tried again with the rest, below.
    if let Err(error) = retention.finish().await {
        tracing::warn!(%error, "footage whose removal had begun is still there");
    }
    let (mut is_gone, mut beside) = (true, None::<Instant>);
    loop {
        for (id, source) in watching.definitions().await {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            // What could not go now is tried again in a minute, and keeps nothing else waiting.
            match retention.apply(&id, policy(&source, &desk.house), now_ns).await {
                Ok(gone) if gone.clips > 0 || gone.bytes > 0 => {
                    tracing::info!(source = %id, clips = gone.clips, bytes = gone.bytes, "old footage removed");
                    is_gone = true;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(source = %id, %error, "old footage is still there"),
            }
        }
        if is_gone && beside.is_none_or(|last| last.elapsed() > LOOK_BESIDE) {
            beside = Some(Instant::now());
            match follow_removals_beside(&desk.store).await {
                Ok(()) => is_gone = false,
                Err(error) => tracing::warn!(%error, "old clips of other models are still there"),
            }
        }
        tokio::select! {
            _ = ended.wait_for(|ended| *ended) => return Ok(()),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// What is kept of a source.
pub(crate) fn policy(source: &SourceDefinition, house: &House) -> RetentionPolicy {
    let record = &house.settings.record;
    let days = source.keep_days.unwrap_or(record.keep_days);
    let gib = source.keep_gib.unwrap_or(record.keep_gib);
    RetentionPolicy {
        max_age: (days > 0.0).then(|| Duration::from_secs_f64(days * DAY_S)),
        max_bytes: (gib > 0.0).then_some((gib * GIB) as u64),
    }
}

impl Recordings {
    fn of(&self, id: &SourceId) -> Fragments {
        Fragments::open(footage_dir(&self.data_dir, id))
    }
}

impl Footage for Recordings {
    fn parts(&self, id: &SourceId) -> Result<Vec<FootagePart>, FootageError> {
        let listed = self.of(id).all();
        let listed = listed.map_err(|error| FootageError {
            source_id: id.clone(),
            doing: "listed",
            cause: error.to_string(),
        })?;
        let part = |fragment: footage_pipeline::Fragment| FootagePart {
            begins_ns: fragment.begins_ns,
            bytes: fragment.bytes,
        };
        Ok(listed.into_iter().map(part).collect())
    }

    fn remove_before(&self, id: &SourceId, before_ns: u64) -> Result<u64, FootageError> {
        self.of(id).remove_before(before_ns).map_err(|error| FootageError {
            source_id: id.clone(),
            doing: "removed",
            cause: error.to_string(),
        })
    }
}
