//! How files are decoded.

use std::num::NonZeroU32;
use std::time::Duration;

use footage_clip::PartialClip;

use super::{DecodeMode, PictureSize};

/// How files are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeSettings {
    /// What of a file is decoded.
    pub mode: DecodeMode,
    /// Pictures with more pixels are refused, before memory for one is taken.
    pub max_pixels: u64,
    /// A file that gives nothing new for this long is given up.
    pub stalled_after: Duration,
    /// Longer without a picture, and the footage counts as interrupted: no clip spans it. Where only
    /// keyframes are decoded, at least half a minute.
    pub max_gap: Duration,
    /// What becomes of the frames left over at the end.
    pub partial: PartialClip,
    /// Size of the frames.
    pub picture_size: PictureSize,
}

/// Keyframes of files made for streaming lie up to ten seconds apart, rarely more.
const MIN_KEYFRAME_GAP: Duration = Duration::from_secs(30);

impl Default for DecodeSettings {
    fn default() -> Self {
        Self {
            mode: DecodeMode::default(),
            max_pixels: 8192 * 4320,
            stalled_after: Duration::from_secs(30),
            max_gap: Duration::from_secs(5),
            partial: PartialClip::default(),
            picture_size: PictureSize::Covering {
                short_side: const { NonZeroU32::new(224).unwrap() },
                long_side: const { NonZeroU32::new(320).unwrap() },
            },
        }
    }
}

impl DecodeSettings {
    /// In nanoseconds, as the elements want it.
    pub(super) fn max_gap_ns(&self) -> u64 {
        let gap = match self.mode {
            DecodeMode::Keyframes => self.max_gap.max(MIN_KEYFRAME_GAP),
            DecodeMode::Auto | DecodeMode::All => self.max_gap,
        };
        u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX)
    }
}
