//! What travels through a topic.

use std::fmt;

use footage_clip::{
    ClipRecord, CorrectionRecord, CoverageBatch, CoverageRecord, RemovalRecord, RunRecord,
    SourceId, SourceRecord, WireError,
};

use crate::RawMessage;
use crate::kafka::KIND;

/// One message. Messages of one source keep their order.
#[derive(Clone, Debug, PartialEq)]
pub enum TopicMessage {
    /// A clip to keep.
    Clip(ClipRecord),
    /// A clip that ended otherwise: gated, or lost.
    Coverage(CoverageRecord),
    /// What became of several clips of a source. Told where ledgers are filled from: a message for each
    /// clip would be as many as there are clips.
    CoverageBatch(CoverageBatch),
    /// A source: published when work on it begins, and again when it ends.
    Source(SourceRecord),
    /// A stretch of a camera's timeline that began: published before its first clip.
    Run(RunRecord),
    /// Clips that are to go, of all that came before.
    Removal(RemovalRecord),
    /// All that was told of a source is told anew, for one model. Told where ledgers are filled from.
    Correction(CorrectionRecord),
}

impl TopicMessage {
    /// The source it belongs to: the key that keeps its order.
    pub fn source_id(&self) -> &SourceId {
        match self {
            Self::Clip(clip) => &clip.source_id,
            Self::Coverage(coverage) => &coverage.source_id,
            Self::CoverageBatch(batch) => &batch.source_id,
            Self::Source(source) => &source.source_id,
            Self::Run(run) => &run.source_id,
            Self::Removal(removal) => &removal.source_id,
            Self::Correction(correction) => &correction.source_id,
        }
    }
}

impl TopicMessage {
    /// What a message as it lies in a topic says.
    pub fn of(raw: &RawMessage) -> Result<Self, WireError> {
        Self::from_json(raw.header(KIND), &raw.payload)
    }
}

/// Names the message in an error.
impl fmt::Display for TopicMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clip(clip) => write!(f, "clip {}", clip.clip_id),
            Self::Coverage(coverage) => write!(
                f,
                "the state of the clip of source `{}` at {} ns",
                coverage.source_id, coverage.span.start_ns
            ),
            Self::CoverageBatch(batch) => {
                write!(
                    f,
                    "the states of {} clips of source `{}`",
                    batch.clips.len(),
                    batch.source_id
                )
            }
            Self::Source(source) => write!(f, "source `{}`", source.source_id),
            Self::Run(run) => {
                write!(f, "the run of source `{}` from {} ns", run.source_id, run.start_ns)
            }
            Self::Removal(removal) => write!(f, "the removal of source `{}`", removal.source_id),
            Self::Correction(correction) => {
                write!(f, "what is told anew of source `{}`", correction.source_id)
            }
        }
    }
}

impl From<ClipRecord> for TopicMessage {
    fn from(clip: ClipRecord) -> Self {
        Self::Clip(clip)
    }
}

impl From<CoverageRecord> for TopicMessage {
    fn from(coverage: CoverageRecord) -> Self {
        Self::Coverage(coverage)
    }
}

impl From<CoverageBatch> for TopicMessage {
    fn from(batch: CoverageBatch) -> Self {
        Self::CoverageBatch(batch)
    }
}

impl From<SourceRecord> for TopicMessage {
    fn from(source: SourceRecord) -> Self {
        Self::Source(source)
    }
}

impl From<RunRecord> for TopicMessage {
    fn from(run: RunRecord) -> Self {
        Self::Run(run)
    }
}

impl From<RemovalRecord> for TopicMessage {
    fn from(removal: RemovalRecord) -> Self {
        Self::Removal(removal)
    }
}

impl From<CorrectionRecord> for TopicMessage {
    fn from(correction: CorrectionRecord) -> Self {
        Self::Correction(correction)
    }
}
