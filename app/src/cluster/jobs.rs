//! Files that the group gives this pipeline to index.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use footage_clip::SourceId;
use footage_pipeline::{
    Archive, Cancel, Ended, FileOutcome, FileProblem, FileSource, IdentifyError, OnEvent,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::earlier::Remembered;

/// What is done about a file, until it is cancelled.
type Doing =
    Arc<dyn Fn(PathBuf, Cancel) -> Pin<Box<dyn Future<Output = JobEnd> + Send>> + Send + Sync>;

/// Files at work here, a few at a time.
pub(super) struct Jobs {
    doing: Doing,
    places: Arc<Semaphore>,
    running: BTreeMap<SourceId, Running>,
    work: JoinSet<(SourceId, JobEnd)>,
    /// Done or failed, and given to us until everybody knows.
    ended: BTreeSet<SourceId>,
    /// Ended, and nobody was told.
    untold: Vec<(SourceId, JobEnd)>,
}

struct Running {
    path: PathBuf,
    cancel: Cancel,
    task: tokio::task::Id,
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
    /// Files that an archive indexes.
    pub(super) fn new(archive: Archive, remembered: Arc<Remembered>) -> Self {
        let places = archive.parallel_files.get();
        let doing: Doing = Arc::new(move |path, cancel| {
            let (archive, remembered) = (archive.clone(), remembered.clone());
            Box::pin(async move { index(&archive, remembered, path, &cancel).await })
        });
        Self::of(places, doing)
    }

    fn of(places: usize, doing: Doing) -> Self {
        Self {
            doing,
            places: Arc::new(Semaphore::new(places)),
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
        let (doing, places) = (self.doing.clone(), self.places.clone());
        let task = self.work.spawn({
            let (id, path, cancel) = (id.clone(), path.clone(), cancel.clone());
            async move {
                // Closed never.
                let place = tokio::select! {
                    place = places.acquire_owned() => place.ok(),
                    () = cancel.cancelled() => None,
                };
                let end = match place {
                    Some(_place) => doing(path, cancel).await,
                    None => JobEnd::Stopped,
                };
                (id, end)
            }
        });
        self.running.insert(id, Running { path, cancel, task: task.id() });
    }

    fn hear(&mut self, ended: Result<(SourceId, JobEnd), tokio::task::JoinError>) {
        let (id, end) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "a file's task failed");
                let mut running = self.running.iter();
                let Some((id, _)) = running.find(|(_, running)| running.task == error.id()) else {
                    return;
                };
                let why = "it ended unexpectedly: the pipeline's log says more".to_owned();
                (id.clone(), JobEnd::Failed { why, unreal: None })
            }
        };
        self.running.remove(&id);
        // What was stopped is begun again where it is given to us again.
        if end != JobEnd::Stopped {
            self.ended.insert(id.clone());
        }
        self.untold.push((id, end));
    }

    /// What has ended since this was asked.
    pub(super) fn ended(&mut self) -> Vec<(SourceId, JobEnd)> {
        while let Some(ended) = self.work.try_join_next() {
            self.hear(ended);
        }
        std::mem::take(&mut self.untold)
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
    }
}

async fn index(
    archive: &Archive,
    remembered: Arc<Remembered>,
    path: PathBuf,
    cancel: &Cancel,
) -> JobEnd {
    let file = match FileSource::try_new(&path) {
        Ok(file) => file,
        Err(error) => return JobEnd::Failed { why: error.to_string(), unreal: None },
    };
    tracing::info!(path = %path.display(), "indexing a file");
    let on_event: Arc<OnEvent> = Arc::new(move |event| remembered.hear(&event));
    let outcomes = archive.index(vec![file], cancel, on_event).await;
    outcomes.first().map_or(JobEnd::Stopped, |outcome| end_of(outcome, cancel))
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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Jobs that take down what begins, and go on until they are cancelled.
    fn jobs(places: usize) -> (Jobs, Arc<Mutex<Vec<PathBuf>>>) {
        let begun = Arc::new(Mutex::new(Vec::new()));
        let doing: Doing = Arc::new({
            let begun = begun.clone();
            move |path, cancel| {
                begun.lock().unwrap().push(path.clone());
                Box::pin(async move {
                    assert!(!path.ends_with("fatal.mp4"), "a job that panics");
                    if path.ends_with("short.mp4") {
                        return JobEnd::Done;
                    }
                    cancel.cancelled().await;
                    JobEnd::Stopped
                })
            }
        });
        (Jobs::of(places, doing), begun)
    }

    fn wanted(names: &[&str]) -> BTreeMap<SourceId, PathBuf> {
        names
            .iter()
            .map(|name| (SourceId::try_new(*name).unwrap(), PathBuf::from(format!("{name}.mp4"))))
            .collect()
    }

    /// Waits until so many jobs have ended.
    async fn ended(jobs: &mut Jobs, count: usize) -> Vec<JobEnd> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(jobs.ended().into_iter().map(|(_, end)| end));
            tokio::task::yield_now().await;
        }
        all
    }

    #[tokio::test]
    async fn a_file_that_is_taken_away_and_given_back_is_gone_on_with() {
        // One is read, and one waits for its turn.
        let (mut jobs, begun) = jobs(1);
        jobs.keep(&wanted(&["a", "b"]));
        tokio::task::yield_now().await;
        jobs.keep(&wanted(&[]));
        assert_eq!(ended(&mut jobs, 2).await, [JobEnd::Stopped, JobEnd::Stopped]);
        assert_eq!(jobs.running(), 0);
        begun.lock().unwrap().clear();
        jobs.keep(&wanted(&["a", "b"]));
        assert_eq!(jobs.running(), 2);
        tokio::task::yield_now().await;
        assert_eq!(begun.lock().unwrap().len(), 1);
        // Given back before it has ended, it is begun again once it has.
        jobs.keep(&wanted(&[]));
        jobs.keep(&wanted(&["a", "b"]));
        ended(&mut jobs, 2).await;
        jobs.keep(&wanted(&["a", "b"]));
        assert_eq!(jobs.running(), 2);
        jobs.stop().await;
    }

    #[tokio::test]
    async fn what_is_done_or_fails_is_told_and_not_begun_again() {
        let (mut jobs, begun) = jobs(2);
        let given = wanted(&["short", "fatal"]);
        jobs.keep(&given);
        let ends = ended(&mut jobs, 2).await;
        assert!(ends.contains(&JobEnd::Done), "{ends:?}");
        assert!(ends.iter().any(|end| matches!(end, JobEnd::Failed { .. })), "{ends:?}");
        jobs.keep(&given);
        assert_eq!((jobs.running(), begun.lock().unwrap().len()), (0, 2));
    }
}
