//! Files that the group gives this pipeline to index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use footage_clip::SourceId;
use footage_pipeline::{
    Archive, Cancel, Ended, FileOutcome, FileProblem, FileSource, IdentifyError, OnEvent,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::earlier::Remembered;

/// Files at work here, a few at a time.
pub(super) struct Jobs {
    archive: Archive,
    remembered: Arc<Remembered>,
    places: Arc<Semaphore>,
    running: BTreeMap<SourceId, Running>,
    work: JoinSet<(SourceId, JobEnd)>,
    /// Ended, and given to us until everybody knows.
    ended: BTreeSet<SourceId>,
    /// Ended, and nobody was told.
    untold: Vec<(SourceId, JobEnd)>,
}

struct Running {
    path: PathBuf,
    cancel: Cancel,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum JobEnd {
    /// All of the file's clips are published, by us or by whoever had it before.
    Done,
    /// It was taken away, or we are to stop. Whoever has it next goes on from here.
    Stopped,
    /// It failed, and would again.
    Failed {
        why: String,
        /// A source whose file changed while it was read for the first time, so that its clips are
        /// of no file that there ever was.
        unreal: Option<SourceId>,
    },
}

impl Jobs {
    pub(super) fn new(archive: Archive, remembered: Arc<Remembered>) -> Self {
        let places = Arc::new(Semaphore::new(archive.parallel_files.get()));
        Self {
            archive,
            remembered,
            places,
            running: BTreeMap::new(),
            work: JoinSet::new(),
            ended: BTreeSet::new(),
            untold: Vec::new(),
        }
    }

    /// Files that are read now, or wait for their turn.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Begins with what is new among `wanted`, and asks what is there no more to stop.
    pub(super) fn keep(&mut self, wanted: &BTreeMap<SourceId, PathBuf>) {
        for (id, running) in &self.running {
            if wanted.get(id) != Some(&running.path) {
                running.cancel.cancel();
            }
        }
        self.ended.retain(|id| wanted.contains_key(id));
        for (id, path) in wanted {
            if !self.running.contains_key(id) && !self.ended.contains(id) {
                self.begin(id.clone(), path.clone());
            }
        }
    }

    fn begin(&mut self, id: SourceId, path: PathBuf) {
        let cancel = Cancel::default();
        self.running.insert(id.clone(), Running { path: path.clone(), cancel: cancel.clone() });
        let (archive, places) = (self.archive.clone(), self.places.clone());
        let remembered = self.remembered.clone();
        let on_event: Arc<OnEvent> = Arc::new(move |event| remembered.hear(&event));
        self.work.spawn(async move {
            // Closed never.
            let place = tokio::select! {
                place = places.acquire_owned() => place.ok(),
                () = cancel.cancelled() => None,
            };
            if place.is_none() {
                return (id, JobEnd::Stopped);
            }
            let end = match FileSource::try_new(&path) {
                Ok(file) => {
                    tracing::info!(source = %id, path = %path.display(), "indexing a file");
                    let outcomes = archive.index(vec![file], &cancel, on_event).await;
                    outcomes.first().map_or(JobEnd::Stopped, |outcome| end_of(outcome, &cancel))
                }
                Err(error) => JobEnd::Failed { why: error.to_string(), unreal: None },
            };
            (id, end)
        });
    }

    fn hear(&mut self, ended: Result<(SourceId, JobEnd), tokio::task::JoinError>) {
        match ended {
            Ok((id, end)) => {
                self.running.remove(&id);
                self.ended.insert(id.clone());
                self.untold.push((id, end));
            }
            Err(error) => tracing::error!(%error, "a file's task failed"),
        }
    }

    /// What has ended since this was asked.
    pub(super) fn ended(&mut self) -> Vec<(SourceId, JobEnd)> {
        while let Some(ended) = self.work.try_join_next() {
            self.hear(ended);
        }
        std::mem::take(&mut self.untold)
    }

    /// Forgets that a job has ended: it is begun again where it is still wanted.
    pub(super) fn begin_again(&mut self, id: &SourceId) {
        self.ended.remove(id);
    }

    /// Waits until nothing is done any more about a file that is not wanted.
    pub(super) async fn left(&mut self, id: &SourceId) {
        while self.running.contains_key(id)
            && let Some(ended) = self.work.join_next().await
        {
            self.hear(ended);
        }
    }

    /// Stops all of them. What was begun is published.
    pub(super) async fn stop(mut self) {
        for running in self.running.values() {
            running.cancel.cancel();
        }
        while let Some(ended) = self.work.join_next().await {
            self.hear(ended);
        }
        self.remembered.settle().await;
    }
}

fn end_of(outcome: &FileOutcome, cancel: &Cancel) -> JobEnd {
    match &outcome.ended {
        Ended::Complete | Ended::KnownAlready | Ended::SameAs(_) => JobEnd::Done,
        Ended::Stopped => JobEnd::Stopped,
        // What fails because it is to stop, has not failed.
        Ended::Failed(_) if cancel.is_cancelled() => JobEnd::Stopped,
        Ended::Failed(error) => {
            let is_changing =
                matches!(error.problem, FileProblem::Identify(IdentifyError::Changing));
            let is_new = outcome.clips.known == 0;
            let source = outcome.identity.as_ref().map(|identity| identity.source_id.clone());
            let unreal = source.filter(|_| is_changing && is_new);
            JobEnd::Failed { why: error.to_string(), unreal }
        }
    }
}
