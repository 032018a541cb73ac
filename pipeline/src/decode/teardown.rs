//! Taking a graph down, within a bounded time.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use gst::prelude::*;

/// How long a graph may take to stop. Malformed files can lock elements up for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Stops `pipeline`. One that does not stop in time is left behind with its thread and its memory:
/// better than waiting for ever. Returns whether it stopped.
pub(super) fn stop(pipeline: gst::Pipeline) -> bool {
    let (stopped, waiting) = mpsc::sync_channel(1);
    let stopper = thread::Builder::new().name("footage-stop".into()).spawn(move || {
        let done = pipeline.set_state(gst::State::Null);
        if stopped.send(done.is_ok()).is_err() {
            tracing::debug!("a graph stopped after all");
        }
    });
    match stopper {
        Ok(_) => waiting.recv_timeout(PATIENCE).unwrap_or(false),
        // The closure, and with it the pipeline, is gone: its last reference stops it.
        Err(_) => false,
    }
}
