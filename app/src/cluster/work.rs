//! What a pipeline does, kept in step with what the group gives it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result};
use footage_clip::{RemovalRecord, SourceId};
use footage_index::Ledger;
use footage_topic::{Given, KafkaTopic, Shares, Topic as _};
use tokio::time::Instant;

use super::definitions::{self, FileJob, Wanted};
use super::jobs::{JobEnd, Jobs};
use super::letting_go::{LettingGo, now_ns, remove_recording};
use super::pipeline::Pipeline;
use crate::compose::House;
use crate::outcome::in_one_line;
use crate::settings::sources::{SourceDefinition, SourceList};

/// How often to look for what is too old.
const LOOK: Duration = Duration::from_secs(60);

/// Pauses between attempts at what cannot be done now: the first one, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Sources given, by the partition that they came with.
type OfPartition = BTreeMap<i32, BTreeMap<SourceId, Wanted>>;

/// What a pipeline does.
pub(super) struct Work {
    house: Arc<House>,
    clips: KafkaTopic,
    given: OfPartition,
    jobs: Jobs,
    letting_go: LettingGo,
    /// Removals that the indexers were told of, and whose recordings are still there.
    told_of: BTreeSet<SourceId>,
    /// Jobs that ended, and that the cluster could not be told of yet.
    owed: Vec<(SourceId, JobEnd)>,
}

impl Work {
    pub(super) fn new(house: Arc<House>, clips: KafkaTopic, ledger: Ledger, jobs: Jobs) -> Self {
        let letting_go = LettingGo::new(house.clone(), clips.clone(), ledger);
        Self {
            house,
            clips,
            given: OfPartition::new(),
            jobs,
            letting_go,
            told_of: BTreeSet::new(),
            owed: Vec::new(),
        }
    }

    /// Does what is given, until it is cancelled.
    pub(super) async fn run(&mut self, shares: &mut Shares, role: &Pipeline) {
        let mut is_changed = false;
        let mut look = Instant::now() + LOOK;
        // When what could not be done is tried again, and the pause until then.
        let mut again: Option<(Instant, Duration)> = None;
        loop {
            if let Some(change) = shares.next().await {
                self.take(change);
                is_changed = true;
            } else {
                if is_changed || again.is_some_and(|(at, _)| Instant::now() >= at) {
                    let is_done = self.keep_up(role, is_changed).await;
                    let before = again.filter(|_| !is_changed).map(|(_, pause)| pause * 2);
                    let pause = before.unwrap_or(PAUSE.0).min(PAUSE.1);
                    again = (!is_done).then(|| (Instant::now() + pause, pause));
                    is_changed = false;
                    look = look.min(Instant::now());
                }
                is_changed |= self.tell_ends().await;
                if Instant::now() >= look {
                    self.letting_go.look(&role.watching.definitions().await).await;
                    look = Instant::now() + LOOK;
                }
            }
            role.files.store(self.jobs.running(), Ordering::Relaxed);
            if shares.has_joined() {
                role.has_joined.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Stops what is under way with files.
    pub(super) async fn stop(self) {
        self.jobs.stop().await;
    }

    fn take(&mut self, change: Given) {
        match change {
            Given::Taken(partition) => drop(self.given.remove(&partition)),
            Given::Message(message) => {
                definitions::take_in(self.given.entry(message.partition).or_default(), &message);
            }
        }
    }

    /// Makes what is done what is given. Returns whether nothing is left to do.
    async fn keep_up(&mut self, role: &Pipeline, is_changed: bool) -> bool {
        let mut list = SourceList::default();
        let mut files = BTreeMap::<SourceId, PathBuf>::new();
        let mut removed = Vec::new();
        for (id, wanted) in self.given.values().flatten() {
            match wanted {
                Wanted::Live(source) => {
                    list.sources.insert(id.clone(), SourceDefinition::clone(source));
                }
                Wanted::File(FileJob { path, failure: None }) => {
                    files.insert(id.clone(), path.clone());
                }
                Wanted::File(FileJob { failure: Some(_), .. }) => {}
                Wanted::Removed => removed.push(id.clone()),
            }
        }
        let (live, to_index) = (list.sources.len(), files.len());
        if is_changed {
            let removed = removed.len();
            tracing::info!(live, files = to_index, removed, "given to this pipeline");
        }
        if let Err(error) = role.watching.take_up(list).await {
            tracing::warn!(error = in_one_line(&error), "some sources cannot be watched");
        }
        self.jobs.keep(&files);
        self.told_of.retain(|id| removed.contains(id));
        let mut is_done = true;
        for id in removed {
            if let Err(error) = self.remove(&id).await {
                tracing::warn!(source = %id, error = in_one_line(&error), "not removed yet");
                is_done = false;
            }
        }
        is_done
    }

    /// Has a source taken out that nothing is done about any more.
    async fn remove(&mut self, id: &SourceId) -> Result<()> {
        self.jobs.left(id).await;
        if !self.told_of.contains(id) {
            let source_id = id.clone();
            let removal = RemovalRecord { source_id, before_ns: None, asked_unix_ns: now_ns() };
            // All that was published of it lies before this.
            self.clips.publish(removal.into()).await?;
            self.told_of.insert(id.clone());
        }
        remove_recording(&self.house, id, None).context("its recording is still there")?;
        definitions::settle(&self.house, id).await?;
        for of_partition in self.given.values_mut() {
            of_partition.remove(id);
        }
        tracing::info!(source = %id, "is being removed");
        Ok(())
    }

    /// Tells the cluster of jobs that have ended. Returns whether one is to be begun again.
    async fn tell_ends(&mut self) -> bool {
        self.owed.extend(self.jobs.ended());
        let mut is_changed = false;
        for (id, end) in std::mem::take(&mut self.owed) {
            // One that was taken away, or is to be removed, is no concern of ours any more.
            let job = self.given.values().find_map(|given| given.get(&id)).cloned();
            let Some(Wanted::File(job)) = job else { continue };
            if end == JobEnd::Stopped {
                is_changed = true;
            } else if let Err(error) = self.tell_end(&id, job, &end).await {
                tracing::warn!(source = %id, error = in_one_line(&error), "not told yet");
                self.owed.push((id, end));
            }
        }
        is_changed
    }

    async fn tell_end(&self, id: &SourceId, job: FileJob, end: &JobEnd) -> Result<()> {
        let JobEnd::Failed { why, unreal } = end else {
            tracing::info!(source = %id, path = %job.path.display(), "a file is indexed");
            return definitions::settle(&self.house, id).await;
        };
        tracing::warn!(source = %id, why, "a file cannot be indexed");
        if let Some(source_id) = unreal.clone() {
            let removal = RemovalRecord { source_id, before_ns: None, asked_unix_ns: now_ns() };
            self.clips.publish(removal.into()).await?;
        }
        let failed = Wanted::File(FileJob { failure: Some(why.clone()), ..job });
        definitions::tell(&self.house, id, &failed).await
    }
}
