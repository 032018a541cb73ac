//! What a run did: a line for each file, and a summary.

use std::io::{Write as _, stdout};
use std::path::PathBuf;
use std::time::Duration;

use footage_pipeline::{ClipCounts, DecodeError, DecodeMode, Ended, FileOutcome, FileProblem};

use super::called;
use super::captions::Captioned;
use crate::earlier::Earlier;
use crate::outcome::Outcome;
use crate::terminal::{counted, duration, escaped};

/// Says what happened, and remembers whether all went well.
#[derive(Debug, Default)]
pub(super) struct Report {
    failed: u64,
}

/// What a run did in all.
#[derive(Debug, Default)]
pub(super) struct Totals {
    indexed: u64,
    known: u64,
    stopped: u64,
    clips: u64,
    footage_ns: u64,
    elapsed: Duration,
}

impl Totals {
    pub(super) fn of(outcomes: &[FileOutcome], elapsed: Duration) -> Self {
        let mut totals = Self { elapsed, ..Self::default() };
        for outcome in outcomes {
            match outcome.ended {
                Ended::Complete => totals.indexed += 1,
                Ended::KnownAlready | Ended::SameAs(_) => totals.known += 1,
                Ended::Stopped => totals.stopped += 1,
                Ended::Failed(_) => {}
            }
            totals.clips += outcome.clips.published;
            if outcome.clips.published > 0 {
                totals.footage_ns += outcome.duration_ns;
            }
        }
        totals
    }
}

impl Report {
    /// An argument that gives no file.
    pub(super) fn unusable(&mut self, why: &str) {
        self.failed += 1;
        line(&format!("failed: {}", escaped(why)));
    }

    /// Files in directories that do not look like video.
    pub(super) fn skipped(paths: &[PathBuf]) {
        if let Some(first) = paths.first() {
            let files = counted(paths.len() as u64, "file");
            let such = called(first);
            line(&format!("skipped {files} that do not look like video, such as {such}"));
        }
        for path in paths {
            tracing::info!(path = %called(path), "skipped");
        }
    }

    /// Counts the files that failed.
    pub(super) fn count(&mut self, outcomes: &[FileOutcome]) {
        self.failed += outcomes.iter().filter(|outcome| outcome.failure().is_some()).count() as u64;
    }

    /// One line on the whole run.
    pub(super) fn summary(&self, totals: &Totals) {
        let mut parts = Vec::new();
        if totals.indexed > 0 {
            parts.push(format!("{} indexed", counted(totals.indexed, "file")));
        }
        if totals.known > 0 {
            parts.push(format!("{} known already", counted(totals.known, "file")));
        }
        if self.failed > 0 {
            parts.push(format!("{} failed", self.failed));
        }
        if totals.stopped > 0 {
            parts.push(format!("{} not finished: run it again to go on", totals.stopped));
        }
        let what = parts.join(", ");
        if totals.clips == 0 {
            return line(&what);
        }
        let elapsed = u64::try_from(totals.elapsed.as_nanos()).unwrap_or(u64::MAX);
        line(&format!(
            "{what}; {} of {} in {}",
            counted(totals.clips, "clip"),
            duration(totals.footage_ns),
            duration(elapsed)
        ));
    }

    /// One line on captions, so that none is left out without a word.
    pub(super) fn captions(captioned: &Captioned) {
        let made = counted(captioned.made as u64, "clip");
        let left = match captioned.left {
            0 => String::new(),
            left => format!(", {left} left to `footage caption --missing`"),
        };
        let why = captioned.why.as_ref().map(|why| format!(": {why}"));
        line(&format!("{made} captioned{left}{}", why.unwrap_or_default()));
    }

    pub(super) fn outcome(&self, is_cancelled: bool) -> Outcome {
        if is_cancelled {
            Outcome::Interrupted
        } else if self.failed > 0 {
            Outcome::SomeFailed
        } else {
            Outcome::Done
        }
    }
}

/// How a file ended, in a line; with what earlier runs have to do with it.
pub(super) fn line_of(outcome: &FileOutcome, earlier: &Earlier) -> String {
    let failure = earlier.failure.as_ref().map(|failure| format!("; it {}", escaped(failure)));
    let replaced = earlier.replaced.as_ref().map(|old| {
        format!(
            "; what was at this path before is still indexed: `footage source remove {old}` takes \
             it out"
        )
    });
    let more = [failure, replaced].into_iter().flatten().collect::<String>();
    format!("{}: {}{more}", called(outcome.file.path()), said_of(outcome))
}

fn said_of(outcome: &FileOutcome) -> String {
    let clips = &outcome.clips;
    match &outcome.ended {
        Ended::Complete => {
            let from =
                if outcome.decoded == DecodeMode::Keyframes { " from keyframes" } else { "" };
            format!("indexed {}{from}{}", counted(clips.published, "clip"), beside(clips))
        }
        Ended::KnownAlready => format!("already indexed, {}", counted(clips.known, "clip")),
        Ended::SameAs(path) => format!("the same content as {}", called(path)),
        Ended::Stopped => {
            let so_far = counted(clips.published + clips.known, "clip");
            format!("stopped with {so_far} indexed: run it again to go on")
        }
        Ended::Failed(error) => {
            let setting = match &error.problem {
                FileProblem::Decode(cause) | FileProblem::BrokeOff { cause, .. } => match cause {
                    DecodeError::TooLarge { .. } => " (setting decode.max_megapixels)",
                    DecodeError::Stalled(_) => " (setting decode.stalled_after_s)",
                    _ => "",
                },
                _ => "",
            };
            format!("failed: {}{setting}", escaped(&error.problem.to_string()))
        }
    }
}

/// What else there is to say of a file's clips.
fn beside(clips: &ClipCounts) -> String {
    let mut beside = Vec::new();
    if clips.known > 0 {
        beside.push(format!("{} were there", clips.known));
    }
    for (reason, count) in &clips.lost {
        beside.push(format!("{count} lost: {reason}"));
    }
    if beside.is_empty() { String::new() } else { format!(" ({})", beside.join(", ")) }
}

/// Prints a line. Whoever stops reading gets no more of them, and the run goes on.
pub(super) fn line(text: &str) {
    drop(writeln!(stdout(), "{text}"));
}
