//! How a clip, or a stretch of time without clips, ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a clip ended. Orders from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "reason")]
pub enum ClipState {
    /// It can be found.
    Indexed,
    /// Nothing new to see: covered by the clip before.
    Gated,
    /// It cannot be found, and why.
    Lost(LostReason),
}

/// Why a clip cannot be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LostReason {
    /// The footage could not be decoded.
    DecodeError,
    /// The model gave no usable embedding.
    EmbedError,
    /// The index refused the record.
    Refused,
    /// Another model was to embed it, and its footage was not there any more.
    FootageGone,
    /// More came from live sources than could be embedded in time.
    Overload,
    /// The source was connected and gave no pictures.
    Stalled,
    /// The source could not be reached.
    Disconnected,
    /// Nobody was watching: the process did not run, or the source was paused.
    Stopped,
}

impl LostReason {
    /// The reasons for which there was nothing to cut clips from.
    pub const WITHOUT_CLIPS: [Self; 3] = [Self::Stalled, Self::Disconnected, Self::Stopped];

    /// Whether nothing was seen that clips could have been cut from: what is lost then is a stretch
    /// of time, told in pieces of any length, not a clip.
    pub fn is_without_clips(self) -> bool {
        Self::WITHOUT_CLIPS.contains(&self)
    }
}

impl fmt::Display for LostReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DecodeError => "decode error",
            Self::EmbedError => "embed error",
            Self::Refused => "refused by the index",
            Self::FootageGone => "footage gone",
            Self::Overload => "overload",
            Self::Stalled => "stalled",
            Self::Disconnected => "disconnected",
            Self::Stopped => "stopped",
        })
    }
}
