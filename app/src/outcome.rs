//! How the program ends: what it says, and its exit code.

use std::io::{self, Write as _};
use std::process::ExitCode;

use crate::terminal::{escaped, masked};

/// How a verb ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything asked for was done.
    Done,
    /// The run went through, and something in it failed and was reported.
    SomeFailed,
    /// It was interrupted and can be resumed.
    Interrupted,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Done => Self::SUCCESS,
            Outcome::SomeFailed => Self::from(1),
            // As a shell says of a command that Ctrl-C ended.
            Outcome::Interrupted => Self::from(130),
        }
    }
}

/// Says what went wrong, if anything, and gives the exit code: 2 where the verb could not do its
/// work at all.
pub(crate) fn reported(result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(outcome) => outcome.into(),
        // Whoever reads the output has seen enough: `footage ... | head`.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to tell where even stderr is gone.
            drop(writeln!(io::stderr(), "error: {}", in_one_line(&error)));
            ExitCode::from(2)
        }
    }
}

/// The error and its causes, each once, safe for a terminal.
pub(crate) fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.trim().replace('\n', " ");
        // Errors that wrap another one often repeat it.
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    escaped(&masked(&line))
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|io| io.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_follow_in_one_line_and_are_not_repeated() {
        let error =
            anyhow!("disk is full").context("cannot write x: disk is full").context("no go");
        assert_eq!(in_one_line(&error), "no go: cannot write x: disk is full");
    }

    #[test]
    fn an_error_cannot_steer_the_terminal() {
        assert_eq!(in_one_line(&anyhow!("a\u{1b}[31m\nb")), r"a\u{1b}[31m b");
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        let closed = anyhow::Error::from(io::Error::from(io::ErrorKind::BrokenPipe));
        assert!(is_closed_pipe(&closed.context("writing")));
        assert!(!is_closed_pipe(&anyhow!("broken pipe")));
    }
}
