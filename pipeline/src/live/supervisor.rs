//! All cameras: one task each, added, changed and removed without touching the others.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex};

use footage_clip::SourceId;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::status::{Board, Statuses};
use super::task::CameraTask;
use super::{Camera, WatchParts};
use crate::{Cancel, lock};

/// Watches cameras until it is stopped. One camera's failure is one camera's.
pub struct Watch {
    parts: Arc<WatchParts>,
    runtime: Handle,
    statuses: Arc<watch::Sender<Statuses>>,
    tasks: Mutex<Tasks>,
}

#[derive(Default)]
struct Tasks {
    running: BTreeMap<SourceId, Running>,
    /// Removed, and perhaps not ended yet.
    leaving: BTreeMap<SourceId, Leaving>,
    /// How far those came that were removed and have ended. A camera that is set again goes on from
    /// there, which the ledger may not know yet.
    left_off_ns: BTreeMap<SourceId, u64>,
}

struct Running {
    camera: Camera,
    leaving: Leaving,
}

/// A task on its way out, and how far it came.
struct Leaving {
    cancel: Cancel,
    task: JoinHandle<()>,
    covered_end_ns: watch::Receiver<Option<u64>>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("parts", &self.parts).finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches no camera yet. To be called within a Tokio runtime, whose threads the cameras' tasks
    /// run in.
    pub fn start(parts: WatchParts) -> Self {
        Self {
            parts: Arc::new(parts),
            runtime: Handle::current(),
            statuses: Arc::new(watch::Sender::new(Statuses::new())),
            tasks: Mutex::default(),
        }
    }

    /// Watches a camera from now on. One of the same id is replaced, unless it is the same; what it
    /// has begun is finished first.
    pub fn set(&self, camera: Camera) {
        let mut tasks = lock(&self.tasks);
        let source_id = camera.source_id.clone();
        if tasks.running.get(&source_id).is_some_and(|running| running.camera == camera) {
            return;
        }
        tasks.tidy();
        let before = match tasks.running.remove(&source_id) {
            Some(running) => Some(running.leaving),
            None => tasks.leaving.remove(&source_id),
        };
        let known_ns = tasks.left_off_ns.remove(&source_id);
        if let Some(before) = &before {
            before.cancel.cancel();
        }
        let cancel = Cancel::default();
        let (covered, covered_end_ns) = watch::channel(None);
        let (parts, statuses) = (self.parts.clone(), self.statuses.clone());
        let (set, asked) = (camera.clone(), cancel.clone());
        let task = self.runtime.spawn(async move {
            let left_off_ns = match before {
                Some(before) => before.ended().await,
                None => known_ns,
            };
            let board = Board::new(statuses, &set);
            let end_ns = CameraTask::new(set, parts, board, asked).run(left_off_ns).await;
            covered.send_replace(end_ns.max(left_off_ns));
        });
        let leaving = Leaving { cancel, task, covered_end_ns };
        tasks.running.insert(source_id, Running { camera, leaving });
    }

    /// Watches a camera no longer. Resolves once all that it gave is published; it leaves at once,
    /// also if nobody waits.
    pub fn remove(&self, source_id: &SourceId) -> impl Future<Output = ()> + Send + use<> {
        let mut tasks = lock(&self.tasks);
        tasks.tidy();
        let left = tasks.running.remove(source_id).map(|Running { leaving, .. }| {
            leaving.cancel.cancel();
            let covered_end_ns = leaving.covered_end_ns.clone();
            tasks.leaving.insert(source_id.clone(), leaving);
            covered_end_ns
        });
        drop(tasks);
        let (statuses, source_id) = (self.statuses.clone(), source_id.clone());
        async move {
            if let Some(mut covered_end_ns) = left {
                ended(&mut covered_end_ns).await;
                statuses.send_modify(|all| {
                    all.remove(&source_id);
                });
            }
        }
    }

    /// How each camera is, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<Statuses> {
        self.statuses.subscribe()
    }

    /// Leaves all cameras. Resolves once all that they gave is published.
    pub async fn stop(self) {
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        let running = tasks.running.into_values().map(|running| running.leaving);
        let all: Vec<Leaving> = running.chain(tasks.leaving.into_values()).collect();
        for leaving in &all {
            leaving.cancel.cancel();
        }
        for leaving in all {
            leaving.ended().await;
        }
    }
}

impl Tasks {
    /// Of those that have ended, only how far they came is kept.
    fn tidy(&mut self) {
        let left_off_ns = &mut self.left_off_ns;
        self.leaving.retain(|source_id, leaving| {
            let has_ended = leaving.task.is_finished();
            if has_ended && let Some(end_ns) = *leaving.covered_end_ns.borrow() {
                left_off_ns.insert(source_id.clone(), end_ns);
            }
            !has_ended
        });
    }
}

impl Drop for Watch {
    /// Leaves all cameras without waiting for them.
    fn drop(&mut self) {
        let tasks = lock(&self.tasks);
        for running in tasks.running.values() {
            running.leaving.cancel.cancel();
        }
    }
}

impl Leaving {
    /// Waits for its end: up to where the camera's timeline is accounted for.
    async fn ended(mut self) -> Option<u64> {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a camera's task failed");
        }
        ended(&mut self.covered_end_ns).await
    }
}

/// Waits until a task has told how far it came, or is gone.
async fn ended(covered_end_ns: &mut watch::Receiver<Option<u64>>) -> Option<u64> {
    // It tells once, as the last thing it does.
    drop(covered_end_ns.changed().await);
    *covered_end_ns.borrow()
}
