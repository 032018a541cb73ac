//! Stretches of a camera's timeline that were received without a break.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{SourceId, UtcStart};

/// A run: a stretch of a camera's media time that one clock counted without a break. No clip lies in
/// two of them.
///
/// A camera's media time is the time since the Unix epoch, as this machine knew it when the run
/// began, counted from there by the stream's own clock. It is never set back: where the wall clock
/// is, runs go on from where the last one ended, and `utc` says what the wall clock says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The camera.
    pub source_id: SourceId,
    /// Media time at which it begins.
    pub start_ns: u64,
    /// Why it is not part of the run before.
    pub cause: RunCause,
    /// Wall-clock time of its start, as well as it was known by then.
    pub utc: UtcStart,
}

/// Why a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunCause {
    /// Watching began.
    Started,
    /// The connection was lost and made again.
    Reconnected,
    /// Pictures came again after a silence on the same connection.
    Resumed,
    /// The resolution, the codec or the frame rate changed.
    FormatChanged,
    /// The stream's timestamps jumped, ran back or wrapped.
    TimestampsJumped,
    /// The wall clock, here or in the camera, was set.
    ClockSet,
}

impl fmt::Display for RunCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Started => "started",
            Self::Reconnected => "reconnected",
            Self::Resumed => "resumed after a silence",
            Self::FormatChanged => "format changed",
            Self::TimestampsJumped => "timestamps jumped",
            Self::ClockSet => "clock set",
        })
    }
}
