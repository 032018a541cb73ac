//! The write path: a source is decoded, cut into clips, embedded, and published to the topic.
//!
//! ```text
//! discover -> identify -> Decoder -> EmbedStage -> Topic
//! ```
//!
//! - [`discover`] turns what a person names into files, and [`identify`] tells who a file is.
//! - [`Decoder`] reads a file as clips: forward, the same ones every time, nothing fetched, nothing
//!   else opened, sizes checked before memory is taken, and a watch over files that never end.
//! - [`EmbedStage`] owns the model, and computes a frame once for all clips that contain it.
//! - [`Watch`] does the same for cameras, which never end and never wait.
//! - [`Archive`] ties them together for many files, goes on where an earlier run stopped
//!   ([`EarlierWork`]), and accounts for every clip: published, known already, or lost and why.
//! - [`Recorder`] keeps a camera's footage as it arrives, in [`Fragments`] that survive a crash.
//! - [`KeptFootage`] gives frames of what was indexed once more.

mod archive;
mod cancel;
mod decode;
mod discover;
mod earlier_work;
mod embed;
mod gate;
mod identify;
mod live;
mod outcome;
mod recording;
mod reread;
mod thumbnail;
mod wall_clock;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use archive::{Archive, Event, News, OnEvent};
pub use cancel::Cancel;
pub use decode::{
    DecodeError, DecodeMode, DecodeSettings, Decoder, MediaFacts, PictureSize, Piece,
    UnknownDecodeMode,
};
pub use discover::{DiscoverError, Discovered, FileSource, discover};
pub use earlier_work::{EarlierWork, Known, NoEarlierWork};
pub use embed::{
    ClipEncoder, EmbedError, EmbedLatency, EmbedQueue, EmbedSettings, EmbedStage, EmbedStats,
    EmbedTally, LATENCY_BOUNDS_S, LiveSourceQueue, PendingEmbedding, SourceQueue,
};
pub use gate::{ElasticDecode, ElasticSettings, ElasticUse, Novelty, NoveltyGate, NoveltySettings};
pub use identify::{IdentifiedFile, IdentifyError, identify, stamp};
pub use live::{
    Camera, CameraCounts, CameraState, CameraStatus, Clocks, Credentials, LiveDecode, LiveError,
    Location, LocationError, Patience, Statuses, SystemClocks, Timeline, Transport, UnknownWord,
    Watch, WatchParts,
};
pub use outcome::{ClipCounts, Ended, FileError, FileOutcome, FileProblem};
pub use recording::{
    Axis, Fragment, Fragments, Recorder, RecordingError, RecordingSettings, RecordingSpec,
    RecordingUse, SpanReader, footage_dir,
};
pub use reread::{KeptFootage, Reread, RereadError};

/// Should a thread have panicked holding one of these locks, the value inside is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
