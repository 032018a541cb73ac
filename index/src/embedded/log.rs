//! The engine's log, made durable by itself.
//!
//! The engine's own flush writes out every part of every segment: dozens of files to wait for. What
//! was kept is in the log before, and opening replays the log, so to survive a crash it is enough
//! that the log is on disk: two or three files. The log is appended through memory maps; syncing a
//! file also writes what its maps changed.

use std::io;
use std::path::{Path, PathBuf};

use fs_err as fs;

/// Files that hold what was appended so far.
#[derive(Debug)]
pub(super) struct LogFiles(Vec<fs::File>);

impl LogFiles {
    /// Opens the log's files. No append may run meanwhile, since one may rename a file.
    pub(super) fn open(shard: &Path) -> io::Result<Self> {
        let folder = shard.join(qdrant_edge::WAL_PATH);
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder)? {
            files.extend(open_if_there(entry?.path())?);
        }
        // Last, and so synced last: the names of the others.
        files.push(fs::File::open(&folder)?);
        Ok(Self(files))
    }

    /// Waits until all of it is on disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.0.iter().try_for_each(fs::File::sync_all)
    }
}

/// A file that is gone was no longer needed: the engine removes what its segments have on disk.
fn open_if_there(path: PathBuf) -> io::Result<Option<fs::File>> {
    match fs::File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
