//! The words of the house: ids, media time, windows, records and coverage.
//!
//! Everything here is a value: no I/O, no async, no `GStreamer`, no tensors. Every other room speaks
//! in these types, so a rule that several rooms must keep is kept here, once.

mod caption;
mod coverage;
mod cutter;
mod embedding;
mod fragment;
mod frame;
mod id;
mod record;
mod removal;
mod run;
mod source;
mod span;
mod state;
mod wall_clock;
mod window;

pub use caption::{Caption, NoWords};
pub use coverage::{Coverage, CoverageSummary, Run, Stretch};
pub use cutter::{Cut, Cutter, PartialClip, TimedFrame};
pub use embedding::{Embedding, NoDirection};
pub use fragment::{Container, FragmentName, NoFragment};
pub use frame::{FrameSizeError, RgbFrame};
pub use id::{ClipId, Fingerprint, InvalidId, SourceId};
pub use record::{
    ClipRecord, CoverageBatch, CoverageRecord, Covered, MediaRef, ModelRef, RECORD_VERSION,
    WireError,
};
pub use removal::{CorrectionRecord, RemovalRecord};
pub use run::{RunCause, RunRecord};
pub use source::{FileStamp, SourceKind, SourceRecord};
pub use span::{Clock, NANOS_PER_SECOND, Span, UtcStart};
pub use state::{ClipState, LostReason};
pub use wall_clock::WallClock;
pub use window::{Rate, SlidingWindow, WindowError, WindowSpec};
