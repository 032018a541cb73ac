//! Cameras, watched for months.
//!
//! [`Watch`] keeps one task for each [`Camera`]. It connects, cuts clips, hands them to the embedding
//! stage without ever waiting for it, publishes what comes of them, and connects again, for ever,
//! when the connection ends, falls silent or hangs.
//!
//! ```text
//! graph -> session -> flow --queue--> outbox -> topic
//!   |         |          \- what cannot be handed on is lost(overload)
//!   |         \- watchdog, back-off
//!   \- clock: where each picture lies on the axis, where a run begins
//! ```
//!
//! Every instant of a camera's timeline, from the first watch on, is accounted for: in a clip that is
//! published or gated, or as lost and why.

mod backoff;
mod camera;
mod clock;
mod connection;
mod cover;
mod entrance;
mod failure;
mod flow;
mod graph;
mod kept;
mod location;
mod mask;
mod outbox;
mod reach;
mod rtp_time;
mod session;
mod shared;
mod source;
mod status;
mod supervisor;
mod task;
mod watchdog;

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use footage_clip::{ModelRef, SourceId, WindowSpec};
use footage_topic::Topic;

use crate::{DecodeSettings, EmbedQueue, PictureSize};
use clock::ClockSettings;

pub use camera::{Camera, LiveDecode, Transport, UnknownWord};
pub use failure::LiveError;
pub use location::{Credentials, Location, LocationError};
pub use shared::{Clocks, SystemClocks};
pub use status::{CameraCounts, CameraState, CameraStatus, Statuses};
pub use supervisor::Watch;
pub use watchdog::Patience;

/// Tells how far a camera's past is accounted for. Asked once for each camera, from a thread that may
/// block.
pub trait Timeline: Send + Sync {
    /// The end of all that is in the ledger for this camera; none for one that was never watched.
    fn covered_end_ns(
        &self,
        source_id: &SourceId,
    ) -> Result<Option<u64>, Box<dyn Error + Send + Sync>>;
}

/// All that cameras pass through on their way to the topic.
#[derive(Clone)]
pub struct WatchParts {
    /// What the embeddings are made by: the model of the stage below.
    pub model: ModelRef,
    /// How footage is cut.
    pub window: WindowSpec,
    /// Size of pictures, and the longest gap within a run. Every camera says itself what of it is
    /// decoded.
    pub decode: DecodeSettings,
    /// How long to wait for what.
    pub patience: Patience,
    /// Where clips are embedded.
    pub embed: EmbedQueue,
    /// Where records go.
    pub topic: Arc<dyn Topic>,
    /// What earlier watches did.
    pub timeline: Arc<dyn Timeline>,
    /// This machine's clocks.
    pub clocks: Arc<dyn Clocks>,
}

impl fmt::Debug for WatchParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchParts")
            .field("model", &self.model)
            .field("window", &self.window)
            .field("decode", &self.decode)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What a connection needs to know of the parts.
#[derive(Clone, Debug)]
struct LiveSettings {
    window: WindowSpec,
    max_pixels: u64,
    picture_size: PictureSize,
    max_gap: Duration,
}

/// Keyframes of cameras lie up to ten seconds apart, rarely more.
const MIN_KEYFRAME_GAP: Duration = Duration::from_secs(30);

impl LiveSettings {
    fn of(parts: &WatchParts) -> Self {
        Self {
            window: parts.window,
            max_pixels: parts.decode.max_pixels,
            picture_size: parts.decode.picture_size,
            max_gap: parts.decode.max_gap,
        }
    }

    /// The longest time without data within a run.
    fn max_silence_ns(&self) -> u64 {
        ns(self.max_gap.max(self.slots(2)))
    }

    /// The longest time without a decoded picture within a run.
    fn max_gap_ns(&self, decode: LiveDecode) -> u64 {
        match decode {
            LiveDecode::All => self.max_silence_ns(),
            // A still picture stands so long, and is late by the decoder's own pace.
            LiveDecode::Elastic(settings) => {
                self.max_silence_ns().max(ns(settings.stand.saturating_mul(2)))
            }
            LiveDecode::Keyframes => self.max_silence_ns().max(ns(MIN_KEYFRAME_GAP)),
        }
    }

    fn clock(&self, camera: &Camera) -> ClockSettings {
        ClockSettings {
            rate: self.window.rate(),
            max_gap_ns: self.max_gap_ns(camera.decode),
            way_ms: source::way_ms(camera),
        }
    }

    fn slots(&self, count: u64) -> Duration {
        Duration::from_nanos(self.window.rate().slot_start_ns(count))
    }
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
