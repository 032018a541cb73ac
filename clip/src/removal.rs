//! What of a source is to go, and what of it is told anew.

use serde::{Deserialize, Serialize};

use crate::{Fingerprint, SourceId};

/// Clips of a source that are to go, wherever they rest. What is told of the source before this is
/// meant, and nothing after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovalRecord {
    /// The source.
    pub source_id: SourceId,
    /// Only clips that end by this media time; none: the source, with all its clips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_ns: Option<u64>,
    /// When it was asked for, by the wall clock, in nanoseconds since the Unix epoch.
    pub asked_unix_ns: u64,
}

/// What was told of a source before this holds no longer, for who keeps account of one model's clips; what
/// comes after it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CorrectionRecord {
    /// The source.
    pub source_id: SourceId,
    /// The model whose clips are meant.
    pub fingerprint: Fingerprint,
}
