//! Why footage is not kept.

use std::path::PathBuf;

/// Why a camera's footage is not kept, now or at all. The camera is watched all the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordingError {
    /// No container of ours takes it as it is.
    #[error(
        "{0} is not kept as it arrives: let the camera send H.264 or H.265, or turn its recording off"
    )]
    Format(String),
    /// An element is missing.
    #[error("recording needs GStreamer's `{element}`: install {package}")]
    MissingElement {
        /// Its name.
        element: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// Less is free than the settings leave free.
    #[error(
        "only {} MiB are free at {dir}, and {} MiB are to stay free: make room, keep footage for less \
         long, or lower the limit",
        .free_bytes >> 20,
        .min_free_bytes >> 20
    )]
    LowSpace {
        /// The folder.
        dir: PathBuf,
        /// What is free.
        free_bytes: u64,
        /// What is to stay free.
        min_free_bytes: u64,
    },
    /// Not a byte more fits on the disk.
    #[error("the disk is full at {0}: make room, or keep footage for less long")]
    Full(PathBuf),
    /// The disk takes less than the camera gives.
    #[error("the disk at {0} does not keep up with the camera: give it less to write")]
    Slow(PathBuf),
    /// The folder or a file in it cannot be written.
    #[error("footage cannot be written: {0}")]
    Unwritable(String),
    /// The stream makes no sense to the muxer.
    #[error("the camera's stream cannot be put into a file: {0}")]
    Unmuxable(String),
}
