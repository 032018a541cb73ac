//! Why a model did not get here.

use std::path::PathBuf;
use std::time::Duration;

/// Why a model did not get here. No message holds a token: none is ever part of an address.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub does not let this be read by whoever asks.
    #[error(
        "{url} answered {status}: it needs a token, or the token has no right to it; state \
         `hub.token`, best as the variable FOOTAGE__HUB__TOKEN, and accept the model's terms on its \
         page"
    )]
    Refused {
        /// What was asked for.
        url: String,
        /// 401 or 403.
        status: u16,
    },
    /// There is no such file.
    #[error("{0} is not there (404): the mirror lacks it, or its repository was moved")]
    NotFound(String),
    /// The hub asks to be left alone for longer than we wait.
    #[error("{url} asks to come back in {} s: run the command again then", .wait.as_secs())]
    Busy {
        /// What was asked for.
        url: String,
        /// How long it wants to be left alone.
        wait: Duration,
    },
    /// The hub answered with something else, again and again.
    #[error("{url} answered {status}, {attempts} times")]
    Status {
        /// What was asked for.
        url: String,
        /// The last answer.
        status: u16,
        /// How often it was asked.
        attempts: u32,
    },
    /// The hub cannot be reached, or the connection ended, again and again.
    #[error("{url}: {why}; what has arrived is kept, and the next pull goes on from there")]
    Connection {
        /// What was asked for.
        url: String,
        /// What went wrong last.
        why: String,
    },
    /// An answer that makes no sense.
    #[error("{url} answered what no hub answers: {why}")]
    Protocol {
        /// What was asked for.
        url: String,
        /// What is odd about it.
        why: String,
    },
    /// A token would have to go over the network for everyone to read.
    #[error("{0} is not encrypted, so the token is not sent there: use https, or state no token")]
    TokenInTheClear(String),
    /// The bytes are not those that were published.
    #[error(
        "{} is not what was published: its SHA-256 is {found}, not {expected}; it was removed",
        .path.display()
    )]
    Checksum {
        /// The file.
        path: PathBuf,
        /// As published.
        expected: String,
        /// As it came.
        found: String,
    },
    /// The network may not be used.
    #[error(
        "{0} is not here, and `hub.offline` is set: bring its files and use `footage model pull {0} \
         --from DIR`"
    )]
    Offline(String),
    /// Files are missing in the folder that was to bring them.
    #[error("{} lacks {name}", .dir.display())]
    NotInFolder {
        /// The folder.
        dir: PathBuf,
        /// The file that is missing.
        name: String,
    },
    /// Nobody publishes such a model here.
    #[error("no model is called `{0}`: `footage model list` shows what there is")]
    NoSuchModel(String),
    /// The disk is too small.
    #[error("{needed} bytes are needed in {}, and {free} are free", .dir.display())]
    NoRoom {
        /// Where.
        dir: PathBuf,
        /// Bytes that are still to come.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Another process brings the same model.
    #[error("another `footage model pull` is at work in {}", .0.display())]
    AtWork(PathBuf),
    /// A file could not be read or written; the error names it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
