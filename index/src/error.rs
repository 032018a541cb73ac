//! What can go wrong with an index, by what one may do about it.

use std::path::PathBuf;

use footage_clip::{ClipId, Fingerprint};

/// Why an index did not do what was asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum IndexError {
    /// This clip will never be kept. Nothing of its batch was kept.
    #[error("clip {clip_id} is refused: {why}")]
    Refused {
        /// The clip.
        clip_id: ClipId,
        /// What is wrong with it.
        why: Refusal,
    },
    /// The query cannot be compared with the clips.
    #[error("query cannot be compared with this index: {0}")]
    Query(Refusal),
    /// The disk is full, or nearly. Nothing was lost; the same call works once there is room.
    #[error(
        "disk is full while {doing}: {} has {available_mib} MiB left and at least {needed_mib} MiB \
         are needed: free some space there, or move the data directory, and run again",
        at.display()
    )]
    NoSpace {
        /// What was being done.
        doing: &'static str,
        /// Where.
        at: PathBuf,
        /// Room left, in MiB.
        available_mib: u64,
        /// Room needed, in MiB.
        needed_mib: u64,
    },
    /// The engine failed. Trying again may help.
    #[error("index failed while {doing} in {}: {cause}", at.display())]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// Where.
        at: PathBuf,
        /// What the engine says.
        cause: String,
    },
    /// Another process, or another part of this one, has the index open.
    #[error(
        "data directory {} is in use by {}: wait until that ends, or choose another data directory",
        at.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    InUse {
        /// The data directory.
        at: PathBuf,
        /// The process that has it, where it said so.
        holder: Option<u32>,
    },
    /// There is no index to open.
    #[error("there is no index in {}: index some footage first", .0.display())]
    Absent(PathBuf),
    /// Written by a newer release.
    #[error(
        "index in {} has format {found}, this release reads up to {supported}: use the release \
         that wrote it, or a newer one",
        at.display()
    )]
    Newer {
        /// The folder.
        at: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format that can be read.
        supported: u32,
    },
    /// Written with another model, whose vectors cannot be compared with those asked for.
    #[error(
        "data directory {} was indexed by model `{found_name}` ({found}), not by `{wanted_name}` \
         ({wanted}), and their vectors cannot be compared: use that model, or choose another data \
         directory and index again",
        at.display()
    )]
    OtherModel {
        /// The data directory.
        at: PathBuf,
        /// Name of the model found.
        found_name: String,
        /// The model found.
        found: Fingerprint,
        /// Name of the model asked for.
        wanted_name: String,
        /// The model asked for.
        wanted: Fingerprint,
    },
    /// What lies there cannot be read.
    #[error(
        "index in {} is damaged: {cause}: restore it from a copy, or move that whole folder away \
         and index again",
        at.display()
    )]
    Damaged {
        /// The collection's folder: its ledger lies there too, and must not outlive its clips.
        at: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
}

/// What is wrong with an embedding.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// Its length is not that of this index.
    #[error("its embedding has {found} values, this index holds {needed}")]
    Dimension {
        /// Values found.
        found: usize,
        /// Values needed.
        needed: usize,
    },
    /// It points nowhere, holds a value that is no number, or was never scaled.
    #[error("its embedding is of length {0}, where only unit vectors can be compared")]
    Length(f32),
    /// It was made by another model.
    #[error("it was embedded by model {found}, this index holds model {needed}")]
    Model {
        /// The model that made it.
        found: Fingerprint,
        /// The model of this index.
        needed: Fingerprint,
    },
}
