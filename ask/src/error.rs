//! Why a question got no answer.

use std::time::Duration;

use footage_model::conversation::ConversationError;

/// Why a question got no answer. Never holds a key.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no question.
    #[error("there is nothing to answer: give a question")]
    Empty,
    /// The endpoint's address is none.
    #[error("`{address}` is no address of an endpoint: {why}")]
    Address {
        /// As given, without credentials.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers at the address.
    #[error("{place} cannot be reached: {why}")]
    Unreachable {
        /// Host and port.
        place: String,
        /// What the network says.
        why: String,
    },
    /// It takes longer than we wait.
    #[error(
        "{place} gave no {what} for {} s: is it busy, or is `ask.timeout_s` too short?",
        .after.as_secs_f32()
    )]
    TimedOut {
        /// Host and port.
        place: String,
        /// What was waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// It does not let us in.
    #[error("{place} does not accept the key (status {status}): set `{section}.key`")]
    Key {
        /// Host and port.
        place: String,
        /// Section of the settings that hold it.
        section: &'static str,
        /// HTTP status.
        status: u16,
    },
    /// It has too much to do, also after waiting.
    #[error("{place} has too much to do (status {status}): ask again later{said}")]
    Busy {
        /// Host and port.
        place: String,
        /// HTTP status.
        status: u16,
        /// What it says, with a colon before it; may be empty.
        said: String,
        /// How long it asks us to wait.
        wait: Option<Duration>,
    },
    /// It refuses, or fails.
    #[error("{place} refuses the question (status {status}){said}")]
    Status {
        /// Host and port.
        place: String,
        /// HTTP status.
        status: u16,
        /// What it says, with a colon before it; may be empty.
        said: String,
    },
    /// It failed while it answered.
    #[error("{place} failed{said}")]
    Failed {
        /// Host and port.
        place: String,
        /// What it says, with a colon before it; may be empty.
        said: String,
    },
    /// What it answers is no chat completion.
    #[error(
        "{place} answers, but not as an OpenAI-compatible endpoint does{said}: does the address end \
         in the version, such as /v1?"
    )]
    Nonsense {
        /// Host and port.
        place: String,
        /// The begin of what it says, with a colon before it; may be empty.
        said: String,
    },
    /// It answered with nothing.
    #[error("{place} failed: the answer is empty")]
    NoAnswer {
        /// Host and port.
        place: String,
    },
    /// The answer has no end.
    #[error("the answer of {place} broke off")]
    BrokeOff {
        /// Host and port.
        place: String,
    },
    /// It was asked to describe, and said no word.
    #[error("{model} was asked for a description, and what it said has no words")]
    NoCaption {
        /// Which model, as it calls itself.
        model: String,
    },
    /// The certificates of this machine cannot be read.
    #[error("no certificates to trust on this machine: install ca-certificates ({0})")]
    Certificates(String),
    /// A frame cannot be written as a picture.
    #[error("a frame cannot be written as JPEG: {0}")]
    Picture(#[from] image::ImageError),
    /// The request cannot be written.
    #[error("the question cannot be sent: {0}")]
    Request(String),
    /// The answerer on this machine.
    #[error(transparent)]
    Here(#[from] ConversationError),
}

impl AskError {
    /// Whose fault it is, as far as can be told.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Picture(_) => Fault::Footage,
            Self::NoCaption { .. } | Self::NoAnswer { .. } | Self::BrokeOff { .. } => {
                Fault::Unclear
            }
            // Some refuse what they do not like to see, others any picture.
            Self::Status { status: 400 | 413 | 422, .. } => Fault::Unclear,
            Self::Key { .. } => Fault::Key,
            _ => Fault::Answerer,
        }
    }

    /// Whether the same question may be answered a little later. Only where nothing of an answer came.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Busy { .. } => true,
            Self::Status { status, .. } => *status >= 500,
            _ => false,
        }
    }
}

/// Why somebody who was asked gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// This footage: another stretch gets an answer.
    Footage,
    /// This footage, or who is asked: many in a row mean the latter.
    Unclear,
    /// Who is asked: a few in a row mean that nobody answers.
    Answerer,
    /// Who is asked lets nobody in, now or later.
    Key,
}
