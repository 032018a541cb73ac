//! What can go wrong while training.

use std::path::PathBuf;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// A tensor operation failed, or a gradient was not finite.
    #[error("training step failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The tokenizer could not be read or used.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A loss or a gradient was no number. Nothing was changed by the step.
    #[error("the {0} is not finite: lower the learning rate")]
    NotFinite(&'static str),
    /// An answerer cannot be tuned as it is.
    #[error("this answerer cannot be tuned: {0}")]
    Answerer(String),
    /// A part of an answerer could not be read.
    #[error(transparent)]
    Conversation(#[from] Box<crate::conversation::ConversationError>),
    /// The model could not be put into its files' formats.
    #[error("cannot write the model: {0}")]
    Export(String),
    /// A file could not be read or written.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A checkpoint is not one of this training.
    #[error("checkpoint {path}: {why}")]
    Checkpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}
