//! How a file ended.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use footage_clip::{LostReason, WindowSpec};

use crate::{DecodeError, DecodeMode, EmbedError, FileSource, IdentifiedFile, IdentifyError};

/// What became of a file's clips, each counted once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClipCounts {
    /// Embedded and published in this run.
    pub published: u64,
    /// Published by an earlier run.
    pub known: u64,
    /// Stretches that cannot be found, by reason.
    pub lost: BTreeMap<LostReason, u64>,
}

impl ClipCounts {
    /// All lost clips, whatever the reason.
    pub fn lost(&self) -> u64 {
        self.lost.values().sum()
    }
}

/// How a file ended.
#[derive(Debug)]
pub struct FileOutcome {
    /// The file.
    pub file: FileSource,
    /// Its identity; none if it could not be read to the end.
    pub identity: Option<IdentifiedFile>,
    /// What became of it.
    pub ended: Ended,
    /// What became of its clips in this run.
    pub clips: ClipCounts,
    /// Its length, in nanoseconds of media time, as far as it was seen.
    pub duration_ns: u64,
    /// What was decoded of it.
    pub decoded: DecodeMode,
}

/// What became of a file.
#[derive(Debug)]
pub enum Ended {
    /// Read to its end: all its clips are accounted for.
    Complete,
    /// An earlier run had done so already.
    KnownAlready,
    /// The same content as another file of this run, where it is accounted for.
    SameAs(PathBuf),
    /// The run was asked to stop. What was published is valid, and the next run goes on from there.
    Stopped,
    /// It failed, perhaps after some clips.
    Failed(FileError),
}

impl FileOutcome {
    /// What went wrong.
    pub fn failure(&self) -> Option<&FileError> {
        match &self.ended {
            Ended::Failed(error) => Some(error),
            _ => None,
        }
    }
}

/// What went wrong with a file, in one line: file, what is wrong, what to do.
#[derive(Debug, thiserror::Error)]
#[error("`{}` {problem}", path.display())]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: FileProblem,
}

/// What can go wrong with a file.
#[derive(Debug)]
pub enum FileProblem {
    /// It has no identity.
    Identify(IdentifyError),
    /// It cannot be decoded, from the beginning.
    Decode(DecodeError),
    /// It can be decoded to some point in time.
    BrokeOff {
        /// Media time of the last picture, in nanoseconds.
        at_ns: u64,
        /// Why not further.
        cause: DecodeError,
    },
    /// Its clips cannot be embedded.
    Embed(EmbedError),
    /// The model failed on so many of its clips.
    ClipsFailed(u64),
    /// Nobody takes its records.
    Publish(footage_topic::PublishError),
    /// What earlier runs did cannot be looked up.
    EarlierWork(String),
    /// Earlier runs cut it otherwise; its clips would not fit between those.
    OtherWindow {
        /// How it was cut.
        held: Box<WindowSpec>,
        /// How it was to be cut.
        given: Box<WindowSpec>,
    },
    /// Earlier runs looked at its keyframes alone, and all of it is asked for.
    OnlyKeyframes,
    /// This program failed.
    Internal(String),
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Identify(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::BrokeOff { at_ns, cause } => {
                let at_s = *at_ns as f64 / footage_clip::NANOS_PER_SECOND as f64;
                write!(f, "was indexed up to {at_s:.1} s, where it broke off: it {cause}")
            }
            Self::Embed(error) => write!(f, "cannot be embedded: {error}"),
            Self::ClipsFailed(count) => write!(
                f,
                "has {count} clips on which the model fails (the log says why): index it again to \
                 try those once more"
            ),
            Self::Publish(error) => write!(f, "cannot be published: {error}"),
            Self::EarlierWork(error) => {
                write!(f, "was not read, as what was done before cannot be looked up: {error}")
            }
            Self::OtherWindow { held, given } => write!(
                f,
                "was indexed in {}, not in {}: remove it first, or index it as before",
                window(held),
                window(given)
            ),
            Self::OnlyKeyframes => f.write_str(
                "was indexed from its keyframes alone: remove it first, to index all of it",
            ),
            Self::Internal(error) => write!(f, "met a fault of this program: {error}"),
        }
    }
}

fn window(spec: &WindowSpec) -> String {
    let (length, stride, rate) = (spec.length(), spec.stride(), spec.rate());
    format!("clips of {length} frames at {rate} per second, every {stride}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_one_line_with_file_fault_and_remedy() {
        let error = FileError {
            path: "/v/a.mp4".into(),
            problem: FileProblem::Decode(DecodeError::Playlist("HLS".into())),
        };
        assert_eq!(
            error.to_string(),
            "`/v/a.mp4` is a playlist (HLS), not a video: name the files it lists instead"
        );
        let cause = DecodeError::Damaged("no more".into());
        let broke = FileProblem::BrokeOff { at_ns: 2_500_000_000, cause };
        assert_eq!(
            broke.to_string(),
            "was indexed up to 2.5 s, where it broke off: it is damaged (no more): copy it again, or \
             repair it"
        );
    }
}
