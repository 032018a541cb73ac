//! Room on the disk, asked for before it is used.
//!
//! The engine makes its files sparse and writes them through memory maps, and a map that meets a
//! full disk ends the process with SIGBUS. So a reserve is kept that no write may touch.

use std::path::{Path, PathBuf};

use crate::IndexError;

const MIB: u64 = 1 << 20;

/// What opening an index that is there, and taking clips out of it, leave free: less than keeping
/// does, so that a disk with no room for more clips can still be searched and cleared.
///
/// The engine may make new files then, of 32 MiB each, but touches only their first pages. After a
/// crash it applies its log again, mostly in places that the same clips had taken before.
pub(super) const SMALL_RESERVE: u64 = 64 * MIB;

/// Fails where fewer than `needed` bytes are left.
pub(super) fn check(doing: &'static str, at: &Path, needed: u64) -> Result<(), IndexError> {
    let available = fs4::available_space(at).map_err(|error| IndexError::Failed {
        doing,
        at: at.to_owned(),
        cause: format!("free space cannot be told: {error}"),
    })?;
    if available < needed { Err(no_space(doing, at.to_owned(), needed)) } else { Ok(()) }
}

/// The error for a disk on which `needed` bytes do not fit.
pub(super) fn no_space(doing: &'static str, at: PathBuf, needed: u64) -> IndexError {
    let available_mib = fs4::available_space(&at).unwrap_or(0) / MIB;
    IndexError::NoSpace { doing, at, available_mib, needed_mib: needed.div_ceil(MIB) }
}
