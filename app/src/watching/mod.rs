//! What is watched: the sources stated and added, kept in step with their definitions.

mod metrics;
mod reconcile;
mod retention;
mod searchable;
mod timeline;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use footage_clip::SourceId;
use footage_index::Ledger;
use footage_model::Model;
use footage_pipeline::{
    Camera, CameraState, CameraStatus, EmbedQueue, Patience, SystemClocks, Watch, WatchParts,
};
use footage_topic::{MemoryTopic, Topic};
use tokio::sync::{Mutex, MutexGuard};

pub(crate) use self::reconcile::reconcile;
pub(crate) use self::retention::{Recordings, policy, retain};
pub(crate) use self::searchable::Searchable;
use self::timeline::LedgerTimeline;
use crate::compose::{House, model_ref};
use crate::outcome::in_one_line;
use crate::requests::Desk;
use crate::requests::sources::{LiveState, RecordingState, States, forget_definition};
use crate::settings::sources::{OwnSources, SourceDefinition, SourceList};
use crate::terminal::tell;
use crate::when::utc_text;

/// How long what a removed source sent may take on its way into the index.
const CATCH_UP: Duration = Duration::from_secs(30);

/// Everything that is watched, and the way to change it.
pub(crate) struct Watching {
    watch: Watch,
    house: Arc<House>,
    embed: EmbedQueue,
    /// What was taken up last. Locked while that changes, so that changes come one by one.
    held: Mutex<Held>,
    /// None where clips are made searchable elsewhere.
    searchable: Option<Arc<Searchable>>,
    /// The way to the index, where that is in this process.
    corridor: Option<Arc<MemoryTopic>>,
}

/// A source that is watched no longer. As long as this is held, it cannot be taken up again.
pub(crate) struct Forgotten<'a> {
    _held: MutexGuard<'a, Held>,
}

/// What was taken up last.
#[derive(Debug, Default)]
struct Held {
    list: SourceList,
    cameras: BTreeMap<SourceId, Camera>,
}

impl Watching {
    /// Begins to watch every source there is.
    pub(crate) async fn start(
        desk: &Desk,
        embed: EmbedQueue,
        topic: Arc<MemoryTopic>,
        searchable: Arc<Searchable>,
    ) -> Result<Self> {
        let list = SourceList::read(desk.house.layers.sources(), &desk.house.settings.data_dir)?;
        let ledger = desk.store.ledger.clone();
        let (house, searchable) = (desk.house.clone(), Some(searchable));
        let corridor = Some(topic.clone());
        let begun = Self::begin(house, &desk.model, ledger, embed, topic, searchable)?;
        let watching = Self { corridor, ..begun };
        // As later: a source that cannot be watched is named, tried again, and keeps no other waiting.
        if let Err(error) = watching.take_up(list).await {
            tell(&in_one_line(&error));
        }
        Ok(watching)
    }

    /// Is ready to watch, and watches nothing yet.
    pub(crate) fn begin(
        house: Arc<House>,
        model: &Model,
        ledger: Ledger,
        embed: EmbedQueue,
        topic: Arc<dyn Topic>,
        searchable: Option<Arc<Searchable>>,
    ) -> Result<Self> {
        let live = &house.settings.live;
        let parts = WatchParts {
            model: model_ref(model),
            window: house.settings.window.of(model)?,
            decode: house.settings.decode.of(model),
            patience: Patience {
                stalled: live.stalled_after,
                silent: live.stalled_after * 2,
                ..Patience::default()
            },
            embed: embed.clone(),
            topic,
            timeline: Arc::new(LedgerTimeline(ledger)),
            clocks: Arc::new(SystemClocks::default()),
        };
        let watch = Watch::start(parts);
        Ok(Self { watch, house, embed, held: Mutex::default(), searchable, corridor: None })
    }

    /// Reads the definitions again, and takes up what changed.
    pub(crate) async fn reload(&self) -> Result<()> {
        // Locked before it is read: what is removed meanwhile would be taken up again.
        let mut held = self.held.lock().await;
        let list = self.list()?;
        self.take_up_into(&mut held, list).await
    }

    /// Adds a source, or changes one that was added.
    pub(crate) async fn add(&self, id: SourceId, definition: SourceDefinition) -> Result<()> {
        definition.check(&id)?;
        definition.camera(&id, &self.house.settings)?;
        let data_dir = &self.house.settings.data_dir;
        // Until it is written: two that add at once would each write without the other's.
        let mut held = self.held.lock().await;
        let mut own = OwnSources::read(data_dir)?;
        if let Some(origin) = held.list.stated_at.get(&id) {
            bail!("source `{id}` is stated in {origin}: change it there");
        }
        own.sources.insert(id, definition);
        own.write(data_dir)?;
        let list = self.list().context("it is added, and watched once the settings can be read")?;
        // This one is right: it was looked at above. What is wrong with others is told to whoever
        // started the watch.
        drop(self.take_up_into(&mut held, list).await);
        Ok(())
    }

    /// Stops watching a source, and forgets its definition. Resolves once nothing of it is under
    /// way, neither from the camera nor to the index.
    pub(crate) async fn forget(&self, id: &SourceId) -> Result<Forgotten<'_>> {
        let mut held = self.held.lock().await;
        forget_definition(&self.house.settings.data_dir, id)?;
        held.list.sources.remove(id);
        held.cameras.remove(id);
        self.watch.remove(id).await;
        if let Some(corridor) = &self.corridor {
            let caught_up = tokio::time::timeout(CATCH_UP, corridor.caught_up()).await;
            caught_up.with_context(|| {
                format!("source `{id}` is watched no longer, but the index takes nothing at present: try again to remove its clips")
            })?;
        }
        Ok(Forgotten { _held: held })
    }

    /// All sources, as they are stated now.
    fn list(&self) -> Result<SourceList> {
        SourceList::read(self.house.restate.layers()?.sources(), &self.house.settings.data_dir)
    }

    /// Makes what is watched what the list says, and touches nothing that stays the same. A source
    /// that cannot be is named, and keeps no other from being taken up.
    pub(crate) async fn take_up(&self, wanted: SourceList) -> Result<()> {
        let mut held = self.held.lock().await;
        self.take_up_into(&mut held, wanted).await
    }

    async fn take_up_into(&self, held: &mut Held, wanted: SourceList) -> Result<()> {
        let mut wrong = Vec::new();
        let gone = held.cameras.keys().filter(|id| !wanted.sources.contains_key(*id));
        let gone: Vec<SourceId> = gone.cloned().collect();
        for id in gone {
            self.watch.remove(&id).await;
            held.cameras.remove(&id);
        }
        for (id, definition) in &wanted.sources {
            // Made anew each time: a password in a file may have changed.
            match definition.camera(id, &self.house.settings) {
                Ok(camera) if held.cameras.get(id) == Some(&camera) => {}
                Ok(camera) => {
                    self.watch.set(camera.clone());
                    held.cameras.insert(id.clone(), camera);
                }
                Err(error) => wrong.push(format!("{error:#}")),
            }
        }
        held.list = wanted;
        if wrong.is_empty() { Ok(()) } else { bail!("{}", wrong.join("; ")) }
    }

    /// How every source is.
    pub(crate) fn states(&self) -> States {
        let statuses = self.watch.status();
        let statuses = statuses.borrow();
        statuses.iter().map(|(id, status)| (id.clone(), live_state(status))).collect()
    }

    /// Hears of changes of state.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<BTreeMap<SourceId, CameraStatus>> {
        self.watch.status()
    }

    /// Whether every source has been tried.
    pub(crate) fn is_ready(&self) -> bool {
        let statuses = self.watch.status();
        statuses.borrow().values().all(|status| status.state != CameraState::Connecting)
    }

    /// Everything there is to measure, as Prometheus reads it.
    pub(crate) fn metrics(&self) -> String {
        let statuses = self.watch.status();
        let statuses = statuses.borrow().clone();
        let delays = self.searchable.as_ref().map(|searchable| searchable.delays());
        let captions = self.searchable.as_ref().and_then(|searchable| searchable.captions());
        metrics::text(statuses, self.embed.stats(), delays.unwrap_or_default(), captions)
    }

    /// Ends every source. What was begun is published.
    pub(crate) async fn stop(self) {
        self.watch.stop().await;
    }

    /// Definitions of what is watched, for retention.
    pub(crate) async fn definitions(&self) -> Vec<(SourceId, SourceDefinition)> {
        let held = self.held.lock().await;
        held.list.sources.iter().map(|(id, definition)| (id.clone(), definition.clone())).collect()
    }
}

/// A camera's state in words.
pub(crate) fn live_state(status: &CameraStatus) -> LiveState {
    let (state, reason) = match &status.state {
        CameraState::Connecting => ("connecting", None),
        CameraState::Live => ("live", None),
        CameraState::Stalled => ("stalled", None),
        CameraState::Failed(error) => ("failed", Some(error.to_string())),
        CameraState::Ended => ("ended", None),
    };
    LiveState {
        state: state.to_owned(),
        reason,
        since: Some(text_of(status.since)),
        reconnects: status.counts.reconnects,
        seen_until: (status.counts.seen_until_ns > 0)
            .then(|| text_of(UNIX_EPOCH + Duration::from_nanos(status.counts.seen_until_ns))),
        label: status.name.clone(),
        recording: RecordingState::of(status),
    }
}

fn text_of(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    utc_text(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
