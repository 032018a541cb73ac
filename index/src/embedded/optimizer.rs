//! When search graphs are built: after enough clips, or in a quiet moment, and only where somebody
//! wants that; never on the query path.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
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
    /// None where nobody wants graphs unasked.
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
    /// Does nothing unasked until [`watch`](Self::watch). `after_clips` changes make a run due at
    /// once; fewer, when nothing has changed for `idle`.
    pub(super) fn new(after_clips: usize, idle: Duration) -> Self {
        let now = Instant::now();
        let state =
            State { changed_clips: 0, last_change: now, not_before: now, is_stopped: false };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
            optimizing: Mutex::new(()),
            after_clips: after_clips.max(1),
            idle,
        });
        Self { shared, thread: Mutex::default() }
    }

    /// Starts watching. `unindexed` clips are in no graph as yet.
    pub(super) fn watch(&self, engine: Arc<Engine>, unindexed: usize) -> std::io::Result<()> {
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if thread.is_some() {
            return Ok(());
        }
        let mut state = self.shared.state();
        state.changed_clips = state.changed_clips.max(unindexed);
        drop(state);
        let watched = Arc::clone(&self.shared);
        let watching = std::thread::Builder::new()
            .name("footage-optimize".into())
            .spawn(move || watched.run(&engine))?;
        *thread = Some(watching);
        Ok(())
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

    /// Ends the watch, and returns whether a run is going on still.
    pub(super) fn end(&self) -> bool {
        self.shared.state().is_stopped = true;
        self.shared.changed.notify_all();
        matches!(self.shared.optimizing.try_lock(), Err(TryLockError::WouldBlock))
    }

    /// Ends the watch, and waits for the run that may be going on.
    pub(super) fn stop(&self) {
        self.end();
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
        if !self.end() {
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
