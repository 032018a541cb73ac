//! Writing out segments beside the work, when the log has become long.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tracing::warn;

use super::engine::Engine;

/// Settles an engine on a thread of its own; one at a time.
#[derive(Debug, Default)]
pub(super) struct Settler(Mutex<Option<JoinHandle<()>>>);

impl Settler {
    /// Begins to settle, where nobody does as yet. What fails is told, and tried again later: until
    /// then the log holds what was kept.
    pub(super) fn begin(&self, engine: Arc<Engine>) {
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if running.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let thread = std::thread::Builder::new().name("footage-settle".into());
        let settle = move || {
            if let Err(error) = engine.settle() {
                warn!(%error, "segments were not written out, the log grows; trying again later");
            }
        };
        match thread.spawn(settle) {
            Ok(thread) => *running = Some(thread),
            Err(error) => warn!(%error, "segments are not written out, the log grows"),
        }
    }

    /// Waits for the thread that may be settling.
    pub(super) fn wait(&self) {
        let running = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if running.is_some_and(|thread| thread.join().is_err()) {
            warn!("the thread that writes out segments panicked; the log holds what was kept");
        }
    }
}
