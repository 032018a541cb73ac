//! Reading ahead what searches touch, so that they need not wait for the disk.
//!
//! The engine maps its files and reads a page when it is first touched; one search touches thousands
//! in no order. Read from front to back beforehand, they are in the kernel's cache, which gives them
//! up again when memory is short.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use fs_err as fs;
use tracing::debug;

use super::engine::SEGMENTS;

/// No more is read ahead; about a million clips of 768 dimensions.
const MOST_BYTES: u64 = 1 << 30;

/// What every search walks through: graphs and payload indexes whole, of the vectors the rounded
/// ones. Names that the engine may change one day; then less is warm, and nothing else is wrong.
const WARM_FOLDERS: [&str; 2] = ["vector_index", "payload_index"];
const WARM_FILES: (&str, &str) = ("vector_storage", "quantized");

/// Begins to read ahead in a shard's folder, on a thread of its own.
pub(super) fn begin(shard: &Path) {
    let shard = shard.to_owned();
    let reading = std::thread::Builder::new().name("footage-warm".into());
    if let Err(error) = reading.spawn(move || read_ahead(&shard)) {
        debug!(%error, "nothing is read ahead, first searches are slower");
    }
}

/// Reads ahead in a shard's folder. What cannot be read is left: segments come and go.
pub(super) fn read_ahead(shard: &Path) {
    let mut left = MOST_BYTES;
    for file in files(shard) {
        match read(&file, left) {
            Ok(bytes) => left -= bytes,
            Err(error) => debug!(%error, "not read ahead"),
        }
    }
}

fn files(shard: &Path) -> Vec<PathBuf> {
    let mut warm = Vec::new();
    for segment in entries(&shard.join(SEGMENTS)) {
        for folder in WARM_FOLDERS {
            add_files(&segment.join(folder), &mut warm);
        }
        let (folder, prefix) = WARM_FILES;
        warm.extend(entries(&segment.join(folder)).into_iter().filter(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        }));
    }
    warm
}

/// Files of a folder and of those below it.
pub(super) fn add_files(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in entries(folder) {
        if entry.is_dir() { add_files(&entry, to) } else { to.push(entry) }
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder)
        .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
        .unwrap_or_default()
}

fn read(path: &Path, most: u64) -> io::Result<u64> {
    io::copy(&mut fs::File::open(path)?.take(most), &mut io::sink())
}
