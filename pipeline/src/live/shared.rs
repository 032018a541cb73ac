//! What a connection's streaming threads tell whoever watches them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use footage_clip::LostReason;
use gst::prelude::*;
use tokio::sync::Notify;

use super::LiveError;
use super::clock::{LiveClock, Reading, RunStart};
use super::watchdog::Vitals;
use crate::decode::watch::Watch as Course;
use crate::lock;

/// This machine's clocks.
pub trait Clocks: Send + Sync {
    /// The wall clock, in nanoseconds since the Unix epoch.
    fn wall_ns(&self) -> i64;

    /// A clock that is never set, from any origin, in nanoseconds.
    fn steady_ns(&self) -> u64;
}

/// The clocks of the operating system.
#[derive(Clone, Copy, Debug)]
pub struct SystemClocks {
    origin: Instant,
}

impl Default for SystemClocks {
    fn default() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Clocks for SystemClocks {
    fn wall_ns(&self) -> i64 {
        let now = SystemTime::now();
        let ns = |duration: std::time::Duration| i64::try_from(duration.as_nanos());
        match now.duration_since(UNIX_EPOCH) {
            Ok(after) => ns(after).unwrap_or(i64::MAX),
            Err(before) => ns(before.duration()).map_or(i64::MIN, |ns| -ns),
        }
    }

    fn steady_ns(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A run that began, and why what lies between it and the run before was not seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) run: RunStart,
    pub(super) missed: LostReason,
}

/// Runs that wait to be taken; far more than ever begin before somebody looks.
const RUNS_QUEUED: usize = 64;

/// Shared by a connection's probes, its bus, and the task that follows it.
pub(super) struct Shared {
    pub(super) clock: Mutex<LiveClock>,
    pub(super) clocks: Arc<dyn Clocks>,
    /// What the plugging of elements tells.
    pub(super) course: Arc<Course>,
    /// Wakes who follows the connection.
    pub(super) changed: Notify,
    begun: Mutex<VecDeque<Begun>>,
    received: AtomicU64,
    pictures: AtomicU64,
    /// Pictures were left out since the last run began, as the decoder was behind.
    fell_behind: AtomicBool,
    failure: Mutex<Option<LiveError>>,
    /// Something that explains the next failure better than that itself.
    hint: Mutex<Option<LiveError>>,
}

impl Shared {
    pub(super) fn new(clock: LiveClock, clocks: Arc<dyn Clocks>) -> Self {
        Self {
            clock: Mutex::new(clock),
            clocks,
            course: Arc::default(),
            changed: Notify::new(),
            begun: Mutex::default(),
            received: AtomicU64::new(0),
            pictures: AtomicU64::new(0),
            fell_behind: AtomicBool::new(false),
            failure: Mutex::default(),
            hint: Mutex::default(),
        }
    }

    pub(super) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn picture(&self) {
        self.pictures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn fell_behind(&self) {
        self.fell_behind.store(true, Ordering::Relaxed);
    }

    /// Whether that happened since the last call.
    pub(super) fn take_fell_behind(&self) -> bool {
        self.fell_behind.swap(false, Ordering::Relaxed)
    }

    pub(super) fn vitals(&self) -> Vitals {
        Vitals {
            received: self.received.load(Ordering::Relaxed),
            pictures: self.pictures.load(Ordering::Relaxed),
        }
    }

    /// What the clocks say of a picture, by its stream time.
    pub(super) fn reading(&self, element: &gst::Element, stamp_ns: u64) -> Reading {
        let now = element.current_running_time().map_or(stamp_ns, gst::ClockTime::nseconds);
        Reading {
            wall_ns: self.clocks.wall_ns(),
            steady_ns: self.clocks.steady_ns(),
            age_ns: now.saturating_sub(stamp_ns),
        }
    }

    pub(super) fn begin(&self, begun: Begun) {
        let mut waiting = lock(&self.begun);
        if waiting.len() == RUNS_QUEUED {
            waiting.pop_front();
        }
        waiting.push_back(begun);
        drop(waiting);
        self.changed.notify_one();
    }

    /// The earliest run that began and was not taken.
    pub(super) fn next_begun(&self) -> Option<Begun> {
        lock(&self.begun).front().copied()
    }

    pub(super) fn take_begun(&self) {
        lock(&self.begun).pop_front();
    }

    /// The connection has failed. The first reason is the true one.
    pub(super) fn fail(&self, error: LiveError) {
        let error = lock(&self.hint).take().unwrap_or(error);
        lock(&self.failure).get_or_insert(error);
        self.changed.notify_one();
    }

    pub(super) fn hint(&self, error: LiveError) {
        lock(&self.hint).get_or_insert(error);
    }

    pub(super) fn failure(&self) -> Option<LiveError> {
        let failure = lock(&self.failure).clone();
        failure.or_else(|| self.course.failure().map(LiveError::Stream))
    }
}
