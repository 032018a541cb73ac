//! Who a file is: its content, not its name.

use std::io::Read;
use std::time::UNIX_EPOCH;

use footage_clip::{FileStamp, SourceId};
use fs_err as fs;

use crate::{Cancel, FileSource};

/// Bytes hashed between two looks at the cancellation.
const STEP_BYTES: usize = 1 << 20;

/// A file whose content is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifiedFile {
    /// Where it is.
    pub file: FileSource,
    /// Derived from the content.
    pub source_id: SourceId,
    /// BLAKE3 of the whole content.
    pub content_hash: blake3::Hash,
    /// The file as it was when it was read.
    pub stamp: FileStamp,
}

/// Why a file has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// It grew, shrank or was written to while it was read.
    #[error("was changed while it was read: index it once its recording or copy has finished")]
    Changing,
    /// Somebody asked to stop.
    #[error("was not read: the run was stopped")]
    Cancelled,
}

/// What tells, without reading the file, that it has not changed.
pub fn stamp(file: &FileSource) -> std::io::Result<FileStamp> {
    let metadata = fs::metadata(file.path())?;
    let modified = metadata.modified()?;
    // Files older than 1970 exist: archives that kept no date unpack to strange ones.
    let modified_unix_ns = match modified.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    };
    Ok(FileStamp { size_bytes: metadata.len(), modified_unix_ns })
}

/// Reads the whole file once. `on_bytes` hears of the bytes read so far.
pub fn identify(
    file: &FileSource,
    cancel: &Cancel,
    mut on_bytes: impl FnMut(u64),
) -> Result<IdentifiedFile, IdentifyError> {
    let before = stamp(file)?;
    let mut content = fs::File::open(file.path())?;
    let mut hasher = blake3::Hasher::new();
    let mut step = vec![0; STEP_BYTES];
    let mut done = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(IdentifyError::Cancelled);
        }
        let read = content.read(&mut step)?;
        if read == 0 {
            break;
        }
        hasher.update(&step[..read]);
        done += read as u64;
        // A file that grows faster than it is read has no end.
        if done > before.size_bytes {
            return Err(IdentifyError::Changing);
        }
        on_bytes(done);
    }
    if stamp(file)? != before {
        return Err(IdentifyError::Changing);
    }
    Ok(IdentifiedFile::new(file.clone(), hasher.finalize(), before))
}

impl IdentifiedFile {
    /// A file whose content was hashed before and that has not changed since.
    pub fn new(file: FileSource, content_hash: blake3::Hash, stamp: FileStamp) -> Self {
        Self { source_id: SourceId::of_content(&content_hash), file, content_hash, stamp }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_content_is_the_same_source_under_any_name() {
        let dir = tempfile::tempdir().unwrap();
        let ids: Vec<_> = [("a.mp4", "one"), ("b.mkv", "one"), ("c.mp4", "two")]
            .iter()
            .map(|(name, content)| {
                let path = dir.path().join(name);
                fs::write(&path, content).unwrap();
                let file = FileSource::try_new(&path).unwrap();
                identify(&file, &Cancel::default(), |_| ()).unwrap()
            })
            .collect();
        assert_eq!(ids[0].source_id, ids[1].source_id);
        assert_eq!(ids[0].content_hash, blake3::hash(b"one"));
        assert_ne!(ids[0].source_id, ids[2].source_id);
    }

    #[test]
    fn reading_ends_when_asked_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        fs::write(&path, vec![7; 3 * STEP_BYTES]).unwrap();
        let cancel = Cancel::default();
        let file = FileSource::try_new(&path).unwrap();
        let mut steps = 0;
        let result = identify(&file, &cancel, |_| {
            steps += 1;
            cancel.cancel();
        });
        assert!(matches!(result, Err(IdentifyError::Cancelled)));
        assert_eq!(steps, 1);
    }

    #[test]
    fn a_file_that_grows_meanwhile_has_no_identity_yet() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.mp4");
        fs::write(&path, vec![7; STEP_BYTES]).unwrap();
        let file = FileSource::try_new(&path).unwrap();
        let result = identify(&file, &Cancel::default(), |_| {
            fs::write(&path, vec![7; 2 * STEP_BYTES]).unwrap();
        });
        assert!(matches!(result, Err(IdentifyError::Changing)));
    }
}
