//! What is known of a source: where it is, what it was indexed with, how far that got.

use serde::{Deserialize, Serialize};

use crate::{MediaRef, ModelRef, SourceId, WindowSpec};

/// Whether a source ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceKind {
    /// A file: it has an end, and may be read again.
    File,
    /// A camera: it has neither.
    Camera,
}

/// What tells, without reading a file, that it has not changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStamp {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Time of the last modification, in nanoseconds since the Unix epoch.
    pub modified_unix_ns: i64,
}

/// A source as it is published when work on it begins, and again when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The camera or file.
    pub source_id: SourceId,
    /// Name for people: a file's name, a camera's label.
    pub name: String,
    /// Whether it ends.
    pub kind: SourceKind,
    /// Where its footage is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaRef>,
    /// The file as it was when read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stamp: Option<FileStamp>,
    /// BLAKE3 of the whole content, 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_hash: Option<String>,
    /// Length in nanoseconds of media time, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// What of its footage was decoded: `all`, `keyframes` alone, or either as it goes (`auto`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decoded: Option<String>,
    /// When it was first seen, in seconds since the Unix epoch.
    pub added_unix_s: u64,
    /// The model its clips are embedded by.
    pub model: ModelRef,
    /// How its clips are cut.
    pub window: WindowSpec,
    /// Media time since when it is kept: what lay before was removed because of its age or size.
    /// Told by the ledger; who publishes a source leaves it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retained_from_ns: Option<u64>,
    /// Whether it was read to its end: every clip of it is accounted for. Of a camera: never.
    pub complete: bool,
    /// What went wrong with it as a whole, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}
