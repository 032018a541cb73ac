//! What is recorded where.

use std::path::{Path, PathBuf};
use std::time::Duration;

use footage_clip::SourceId;

/// How a camera's footage is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordingSettings {
    /// A fragment is closed at the first keyframe after this long.
    pub fragment: Duration,
    /// Footage that may wait in memory for a slow disk, in bytes. What comes on top is not kept.
    pub queue_bytes: usize,
    /// Nothing is recorded while less than this is free on the disk, in bytes.
    pub min_free_bytes: u64,
}

impl RecordingSettings {
    pub(super) fn fragment_ns(&self) -> u64 {
        u64::try_from(self.fragment.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Default for RecordingSettings {
    fn default() -> Self {
        Self { fragment: Duration::from_secs(60), queue_bytes: 16 << 20, min_free_bytes: 1 << 30 }
    }
}

/// One camera's recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordingSpec {
    /// Folder of the camera's fragments, and of nothing else. Made when needed. It should be
    /// absolute, since clips will name it.
    pub dir: PathBuf,
    /// How it is kept.
    pub settings: RecordingSettings,
}

impl RecordingSpec {
    /// Keeps what `source` gives under the data directory `data`, where [`footage_dir`] says.
    pub fn new(data: &Path, source: &SourceId, settings: RecordingSettings) -> Self {
        Self { dir: footage_dir(data, source), settings }
    }
}

/// Where a camera's fragments lie under a data directory: `footage/<source id>`. An id is safe as a
/// folder's name.
pub fn footage_dir(data: &Path, source: &SourceId) -> PathBuf {
    data.join("footage").join(source.as_str())
}
