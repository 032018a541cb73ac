//! What waits to be written, bounded. The stream's thread never waits for it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::format::Format;
use super::plan::Timed;
use crate::lock;

/// For the writer to do.
#[derive(Debug)]
pub(super) enum Command {
    Begin { begins_ns: u64, format: Arc<Format> },
    Append(Timed<gst::Buffer>),
    End,
}

impl Command {
    fn bytes(&self) -> usize {
        match self {
            Self::Append(picture) => picture.payload.size(),
            Self::Begin { .. } | Self::End => 0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Queue {
    max_bytes: usize,
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    commands: VecDeque<Command>,
    bytes: usize,
    /// Nothing more will come.
    is_closed: bool,
    /// Nobody takes any more.
    is_left: bool,
}

impl Queue {
    pub(super) fn new(max_bytes: usize) -> Self {
        Self { max_bytes, waiting: Mutex::default(), changed: Condvar::new() }
    }

    /// Puts all of `commands` behind what waits, or gives them back where there is no room. What is
    /// put into an empty queue always fits.
    pub(super) fn offer(&self, commands: Vec<Command>) -> Result<(), Vec<Command>> {
        let mut waiting = lock(&self.waiting);
        let more: usize = commands.iter().map(Command::bytes).sum();
        let fits = waiting.bytes == 0 || waiting.bytes + more <= self.max_bytes;
        if waiting.is_closed || !fits {
            return Err(commands);
        }
        waiting.bytes += more;
        waiting.commands.extend(commands);
        self.changed.notify_all();
        Ok(())
    }

    /// Puts the end of a fragment behind what waits, whatever waits.
    pub(super) fn end(&self) {
        let mut waiting = lock(&self.waiting);
        // Nothing can be between two ends, so there are no more of them than of pictures.
        if !matches!(waiting.commands.back(), Some(Command::End)) {
            waiting.commands.push_back(Command::End);
        }
        self.changed.notify_all();
    }

    /// The next command; waits for it. None once the queue was closed and is empty.
    pub(super) fn take(&self) -> Option<Command> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(command) = waiting.commands.pop_front() {
                waiting.bytes -= command.bytes();
                return Some(command);
            }
            if waiting.is_closed {
                return None;
            }
            waiting = self.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing more comes; what waits is still taken.
    pub(super) fn close(&self) {
        lock(&self.waiting).is_closed = true;
        self.changed.notify_all();
    }

    /// The one who takes has gone.
    pub(super) fn leave(&self) {
        lock(&self.waiting).is_left = true;
        self.changed.notify_all();
    }

    /// Waits until all was taken and done; false if that takes longer.
    pub(super) fn wait_until_left(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut waiting = lock(&self.waiting);
        while !waiting.is_left {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting =
                self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
