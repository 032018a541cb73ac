//! Starting a graph and taking it down, without ever waiting for ever.

use std::sync::{Once, mpsc};
use std::thread;
use std::time::Duration;

use gst::prelude::*;

use super::DecodeError;
use super::autoplug::Stopping;
use crate::lock;

/// How long a graph may take to stop. Malformed files can lock elements up for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a graph, in a thread of its own: malformed files can lock elements up for ever. A failure
/// to start is told by the bus, with its reason.
pub(crate) fn start(
    pipeline: gst::Pipeline,
    stopping: Stopping,
) -> Result<thread::JoinHandle<()>, DecodeError> {
    let starting = thread::Builder::new().name("footage-start".into()).spawn(move || {
        if pipeline.set_state(gst::State::Playing).is_err() {
            tracing::debug!("a graph did not start");
        }
        // Stopped before it had started: a graph that plays must not be let go.
        if *lock(&stopping) && pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!("a graph did not stop");
        }
    });
    starting.map_err(|error| DecodeError::Broken(error.to_string()))
}

/// Stops `pipeline`. One that does not stop in time is left behind with its thread and its memory:
/// better than waiting for ever. Returns whether it stopped.
pub(crate) fn stop(pipeline: gst::Pipeline, stopping: Stopping) -> bool {
    stop_holding(pipeline, stopping, ())
}

/// Stops `pipeline` likewise, and drops `held` once it has stopped, however long that takes.
pub(crate) fn stop_holding(
    pipeline: gst::Pipeline,
    stopping: Stopping,
    held: impl Send + 'static,
) -> bool {
    let (stopped, waiting) = mpsc::sync_channel(1);
    let stopper = thread::Builder::new().name("footage-stop".into()).spawn(move || {
        *lock(&stopping) = true;
        let done = pipeline.set_state(gst::State::Null);
        drop(held);
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

/// `GStreamer`'s own elements complain on the standard error stream about some malformed files, as if
/// the program were at fault. Those words go to our log.
pub(crate) fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for domain in ["GStreamer", "GLib-GObject"] {
            gst::glib::log_set_handler(
                Some(domain),
                gst::glib::LogLevels::LEVEL_CRITICAL | gst::glib::LogLevels::LEVEL_WARNING,
                false,
                false,
                |domain, _, words| tracing::debug!(domain, "{words}"),
            );
        }
    });
}
