//! Logs, on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// Said before what is asked for, and so overruled by it: the index's engine warns, many times in a
/// run, that nobody set switches which have working defaults, and its errors are told by ours.
const QUIET: &str = "qdrant_edge=off";

/// Starts logging: `FOOTAGE_LOG` decides where it is set, otherwise the number of `-v`.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "info",
        _ => "debug",
    };
    let asked = std::env::var("FOOTAGE_LOG").ok().filter(|filter| !filter.is_empty());
    let asked = asked.unwrap_or_else(|| level.to_owned());
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("{QUIET},{asked}")))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .compact()
        .init();
}

/// A damaged file may make the library panic that opens it. That is caught and told in one line, so
/// the panic's own words go to the log.
pub(crate) fn keep_caught_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some(footage_index::OPENING_THREAD) {
            tracing::debug!(%panic, "caught while opening the index");
        } else {
            usual(panic);
        }
    }));
}
