//! What can go wrong between a folder of weights and an embedding.

use std::path::PathBuf;

use footage_clip::NoDirection;

use crate::checkpoint::CheckpointError;

/// Why a model could not be loaded, or gave no embedding.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read; the error names it.
    #[error("cannot read the model: {0}")]
    Io(#[from] std::io::Error),
    /// Something in a model's folder was refused.
    #[error("model in `{}`: {source}", .dir.display())]
    Folder {
        /// The folder.
        dir: PathBuf,
        /// What is wrong in it.
        source: Box<ModelError>,
    },
    /// `model.json` describes no model.
    #[error("model.json: {0}")]
    Config(String),
    /// What is asked is not there for models of this family.
    #[error("a model of family `{family}` {what}")]
    Family {
        /// The family, as `model.json` spells it.
        family: &'static str,
        /// What it cannot, and what to do.
        what: &'static str,
    },
    /// The weights do not fit the configuration.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The tokenizer cannot be used, or failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// Clips of one call must have the same number of frames.
    #[error("clips of one batch need the same number of frames, got {first} and {other}")]
    UnevenClips {
        /// Frames of the first clip.
        first: usize,
        /// Frames of a later clip.
        other: usize,
    },
    /// A clip with no frames, or more than the model knows.
    #[error("a clip of {frames} frames does not fit the model: choose 1 to {max_frames}")]
    ClipLength {
        /// Frames of the clip.
        frames: usize,
        /// The most it may have.
        max_frames: usize,
    },
    /// Prepared pixels that are no frames of this model.
    #[error("frames of {shape:?} do not fit the model: prepare them as [3, {side}, {side}]")]
    FrameShape {
        /// Channels, height and width of a frame.
        shape: [usize; 3],
        /// Side of the model's input, in pixels.
        side: usize,
    },
    /// Frame features that another model or another device made.
    #[error("frame features come from another model or device: compute them with this encoder")]
    ForeignFeatures,
    /// The embedding is zero or not finite.
    #[error("the model gave no usable embedding: {0}")]
    NoDirection(#[from] NoDirection),
    /// There is no memory for the model, or for what it computes.
    #[error("not enough memory for the model: {0}")]
    Memory(std::io::Error),
    /// The device cannot run the model.
    #[error("device: {0}")]
    Device(String),
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}
