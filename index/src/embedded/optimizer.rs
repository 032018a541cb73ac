//! When search graphs are built: after enough clips, or in a quiet moment; never on the query path.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::engine::Engine;
use crate::IndexError;

/// After a failure, how long until the next attempt.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// Builds search graphs on a thread of its own.
#[derive(Debug)]
pub(super) struct Optimizer {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Held while the engine optimizes: one at a time.
    optimizing: Mutex<()>,
    after_clips: usize,
    idle: Duration,
}

#[derive(Debug)]
struct State {
    /// Clips changed since graphs were last built.
    changed_clips: usize,
    last_change: Instant,
    not_before: Instant,
    is_stopped: bool,
}

impl Optimizer {
    /// Starts watching. `unindexed` clips are in no graph as yet. `after_clips` changes make a run
    /// due at once; fewer, when nothing has changed for `idle`.
    pub(super) fn start(
        engine: Arc<Engine>,
        unindexed: usize,
        after_clips: usize,
        idle: Duration,
    ) -> std::io::Result<Self> {
        let now = Instant::now();
        let state = State {
            changed_clips: unindexed,
            last_change: now,
            not_before: now,
            is_stopped: false,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            optimizing: Mutex::new(()),
            after_clips: after_clips.max(1),
            idle,
        });
        let watched = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("footage-optimize".into())
            .spawn(move || watched.run(&engine))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Tells that clips were kept or removed.
    pub(super) fn changed(&self, clips: usize) {
        let mut state = self.shared.state();
        state.changed_clips += clips;
        state.last_change = Instant::now();
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Optimizes now, after the run that may be going on.
    pub(super) fn run_now(&self, engine: &Engine) -> Result<(), IndexError> {
        let _one_at_a_time = self.shared.optimizing.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.optimize(engine)
    }

    /// Ends the watch, and waits for the run that may be going on.
    pub(super) fn stop(&self) {
        self.shared.state().is_stopped = true;
        self.shared.changed.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread that optimizes the index panicked; the index is whole, but slower");
        }
    }
}

/// Ends the watch, but does not wait for a run: it may take minutes, and a process that ends
/// meanwhile loses nothing but the run.
impl Drop for Optimizer {
    fn drop(&mut self) {
        let shared = Arc::clone(&self.shared);
        let no_run_begins = shared.optimizing.try_lock();
        shared.state().is_stopped = true;
        shared.changed.notify_all();
        if let Ok(no_run_begins) = no_run_begins {
            drop(no_run_begins);
            self.stop();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, engine: &Engine) {
        while self.wait_until_due() {
            let one_at_a_time = self.optimizing.lock().unwrap_or_else(PoisonError::into_inner);
            if self.state().is_stopped {
                return;
            }
            let done = self.optimize(engine);
            drop(one_at_a_time);
            if let Err(error) = done {
                warn!(%error, "index was not optimized, searches stay slower; trying again later");
                self.state().not_before = Instant::now() + PAUSE_AFTER_FAILURE;
            }
        }
    }

    /// Returns false when it is time to end.
    fn wait_until_due(&self) -> bool {
        let mut state = self.state();
        loop {
            if state.is_stopped {
                return false;
            }
            if state.changed_clips == 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let due = if state.changed_clips >= self.after_clips {
                state.not_before
            } else {
                state.not_before.max(state.last_change + self.idle)
            };
            let wait = due.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// One at a time: call it with `optimizing` held.
    fn optimize(&self, engine: &Engine) -> Result<(), IndexError> {
        let clips = std::mem::take(&mut self.state().changed_clips);
        let begun = Instant::now();
        if let Err(error) = engine.optimize() {
            self.state().changed_clips += clips;
            return Err(error);
        }
        debug!(clips, took = ?begun.elapsed(), "optimized the index");
        Ok(())
    }
}
