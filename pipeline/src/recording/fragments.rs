//! What of a camera's footage is on disk.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use footage_clip::{FragmentName, MediaRef, Span};
use fs_err as fs;

/// A fragment of footage on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// Its file.
    pub path: PathBuf,
    /// Media time of its first picture.
    pub begins_ns: u64,
    /// Its size.
    pub bytes: u64,
}

impl Fragment {
    /// How a clip that begins in it names it.
    pub fn media(&self) -> MediaRef {
        MediaRef { path: self.path.to_string_lossy().into_owned(), begins_ns: self.begins_ns }
    }
}

/// The fragments of one camera, read anew from its folder for each question.
///
/// Only names and sizes are read. Where a fragment ends is not among them: it ends where the next
/// one begins, or earlier. Whatever else lies in the folder (links, other files, empty ones) is
/// neither seen nor touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fragments {
    dir: PathBuf,
}

impl Fragments {
    /// Those in `dir`; a folder that is not there holds none.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The camera's folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// All of them, oldest first.
    pub fn all(&self) -> io::Result<Vec<Fragment>> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut fragments = Vec::new();
        for entry in entries {
            fragments.extend(fragment(&entry?)?);
        }
        fragments.sort_by(|a, b| (a.begins_ns, &a.path).cmp(&(b.begins_ns, &b.path)));
        Ok(fragments)
    }

    /// The one in which a moment of media time lies, if it was recorded: the last that begins at or
    /// before it.
    pub fn at(&self, ns: u64) -> io::Result<Option<Fragment>> {
        let mut fragments = self.all()?;
        fragments.retain(|fragment| fragment.begins_ns <= ns);
        Ok(fragments.pop())
    }

    /// Those in which some of `span` may lie, oldest first.
    pub fn within(&self, span: Span) -> io::Result<Vec<Fragment>> {
        let mut fragments = self.all()?;
        fragments.retain(|fragment| fragment.begins_ns < span.end_ns);
        let first = fragments.partition_point(|fragment| fragment.begins_ns <= span.start_ns);
        Ok(fragments.split_off(first.saturating_sub(1)))
    }

    /// Deletes those that end at or before `ns`, oldest first, and returns the bytes freed.
    ///
    /// Never the one that is being written. The newest is deleted too once nobody writes it and its
    /// last change, by the wall clock, lies before `ns`: else the end of a camera that is no longer
    /// recorded would stay for ever. After a break it goes on where it stopped.
    pub fn remove_before(&self, ns: u64) -> io::Result<u64> {
        let fragments = self.all()?;
        let mut freed = 0;
        for (at, fragment) in fragments.iter().enumerate() {
            let has_ended = match fragments.get(at + 1) {
                Some(next) => next.begins_ns <= ns,
                None => fragment.begins_ns < ns && is_left_since(&fragment.path, ns)?,
            };
            if !has_ended {
                break;
            }
            freed += remove(fragment)?;
        }
        Ok(freed)
    }

    /// Their size, all together.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.all()?.iter().map(|fragment| fragment.bytes).sum())
    }

    /// Media time at which the oldest begins.
    pub fn oldest_ns(&self) -> io::Result<Option<u64>> {
        Ok(self.all()?.first().map(|fragment| fragment.begins_ns))
    }

    /// Media time at which the newest begins.
    pub fn newest_ns(&self) -> io::Result<Option<u64>> {
        Ok(self.all()?.last().map(|fragment| fragment.begins_ns))
    }

    /// Media time before which all would have to go for the rest to take `max_bytes` at most, the one
    /// that is being written aside: what to give [`Self::remove_before`]. None where they take no more.
    pub fn excess_before_ns(&self, max_bytes: u64) -> io::Result<Option<u64>> {
        let fragments = self.all()?;
        let mut bytes: u64 = fragments.iter().map(|fragment| fragment.bytes).sum();
        let mut before = None;
        for pair in fragments.windows(2) {
            if bytes <= max_bytes {
                break;
            }
            bytes -= pair[0].bytes;
            before = Some(pair[1].begins_ns);
        }
        Ok(before)
    }
}

/// The fragment that a folder's entry is, if it is one. One that disappears meanwhile is none.
fn fragment(entry: &fs::DirEntry) -> io::Result<Option<Fragment>> {
    let Some(name) = entry.file_name().to_str().and_then(|name| name.parse::<FragmentName>().ok())
    else {
        return Ok(None);
    };
    // Of the entry itself: a link is not followed.
    match entry.metadata() {
        Ok(metadata) if metadata.is_file() && metadata.len() > 0 => Ok(Some(Fragment {
            path: entry.path(),
            begins_ns: name.begins_ns,
            bytes: metadata.len(),
        })),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Who writes a fragment holds a lock on it.
fn is_left_since(path: &Path, ns: u64) -> io::Result<bool> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let changed = file.metadata()?.modified()?;
    let changed_ns = changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let is_free = file.file().try_lock_shared().is_ok();
    Ok(is_free && changed_ns < u128::from(ns))
}

fn remove(fragment: &Fragment) -> io::Result<u64> {
    match fs::remove_file(&fragment.path) {
        Ok(()) => Ok(fragment.bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
