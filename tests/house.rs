//! What the tests beside this file share: where the house stands, the real binary, real footage.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The workspace's root folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The `footage` binary that was built with these tests.
///
/// # Panics
/// When it was not built; `./test` builds it first.
pub fn footage() -> Command {
    let tests = std::env::current_exe().unwrap_or_default();
    let binary = tests
        .ancestors()
        .map(|folder| folder.join("footage"))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("no `footage` beside {}: build it first", tests.display()));
    Command::new(binary)
}

/// A folder of the optional collection of real footage, from `FOOTAGE_SHARED` or `../shared`. Says
/// that the test is skipped where there is none.
pub fn real_footage(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("FOOTAGE_SHARED")
        .map_or_else(|| root().join("../shared"), PathBuf::from)
        .join("footage")
        .join(folder);
    if shared.is_dir() {
        return Some(shared);
    }
    eprintln!("skipped: no real footage at {}", shared.display());
    None
}
