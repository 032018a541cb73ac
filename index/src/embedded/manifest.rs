//! What a data directory holds, and who has it open.

use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use footage_clip::{Fingerprint, ModelRef};
use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::{Collection, IndexError, ledger};

/// Format of what lies in a collection's folder. A reader opens this one and every earlier one.
pub const FORMAT_VERSION: u32 = 1;

const MANIFEST: &str = "manifest.json";
const LOCK: &str = "in-use";
/// Names the collection that is read, where there are several.
const CURRENT: &str = "current";

/// What a collection's folder says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format of the folder.
    pub format: u32,
    /// The model whose clips it holds.
    pub model: ModelRef,
    /// Values in each embedding.
    pub dim: usize,
}

#[derive(Deserialize)]
struct FormatOnly {
    format: u32,
}

impl Manifest {
    pub(super) fn of(collection: &Collection) -> Self {
        let Collection { model, dim } = collection.clone();
        Self { format: FORMAT_VERSION, model, dim }
    }

    /// The collection described.
    pub fn collection(&self) -> Collection {
        Collection { model: self.model.clone(), dim: self.dim }
    }

    /// Every collection below a data directory, by fingerprint. A folder of another name is none: it
    /// was moved aside. Needs no lock, so it also answers while another process has the index open.
    pub fn all(data: &Path) -> Result<Vec<Self>, IndexError> {
        let index = index_folder(data);
        let failed = failed("listing collections", &index);
        if !index.try_exists().map_err(&failed)? {
            return Ok(Vec::new());
        }
        let mut manifests = Vec::new();
        for entry in fs::read_dir(&index).map_err(&failed)? {
            let entry = entry.map_err(&failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if Fingerprint::try_from(name).is_ok() {
                manifests.extend(Self::read(&entry.path())?);
            }
        }
        manifests.sort_by(|a: &Self, b| a.model.fingerprint.cmp(&b.model.fingerprint));
        Ok(manifests)
    }

    /// The collection that is read; none where there is none yet. Needs no lock either.
    pub fn current(data: &Path) -> Result<Option<Self>, IndexError> {
        let at = index_folder(data);
        let named = match fs::read_to_string(at.join(CURRENT)) {
            Ok(named) => named,
            // Nothing was ever made beside the only one there is.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(Self::all(data)?.into_iter().next());
            }
            Err(error) => return Err(failed("finding the collection to read", &at)(error)),
        };
        let damaged = |cause: String| IndexError::Damaged { at: at.clone(), cause };
        let fingerprint = Fingerprint::try_from(named.trim().to_owned());
        let fingerprint =
            fingerprint.map_err(|_| damaged(format!("the file `{CURRENT}` names no model")))?;
        let found = Self::read(&at.join(fingerprint.as_str()))?;
        let missing = || damaged(format!("the collection {fingerprint} is missing"));
        found.map(Some).ok_or_else(missing)
    }

    /// Makes this collection the one that is read: all of a sudden, and for good when it returns.
    pub(super) fn make_current(&self, data: &Path) -> Result<(), IndexError> {
        let at = index_folder(data);
        replace(&at, CURRENT, format!("{}\n", self.model.fingerprint).as_bytes())
            .map_err(failed("choosing the collection to read", &at))
    }

    /// The manifest in a collection's folder; none where its making was interrupted.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>, IndexError> {
        let failed = failed("reading the manifest", folder);
        let damaged = |cause: String| IndexError::Damaged { at: folder.to_owned(), cause };
        let bytes = match fs::read(folder.join(MANIFEST)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                // A ledger is only made beside a whole index: clips that it claims are there.
                return if folder.join(ledger::FILE).try_exists().map_err(failed)? {
                    Err(damaged(format!("its {MANIFEST} is missing")))
                } else {
                    Ok(None)
                };
            }
            Err(error) => return Err(failed(error)),
        };
        let unreadable = |cause: serde_json::Error| damaged(format!("{MANIFEST}: {cause}"));
        let FormatOnly { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if format > FORMAT_VERSION {
            let at = folder.to_owned();
            return Err(IndexError::Newer { at, found: format, supported: FORMAT_VERSION });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    /// Writes the manifest: the last step of making a collection, so that one which has it is
    /// whole.
    pub(super) fn write(&self, folder: &Path) -> Result<(), IndexError> {
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::other);
        text.and_then(|text| replace(folder, MANIFEST, &text))
            .map_err(failed("writing the manifest", folder))
    }
}

/// Writes a file as a whole: whoever looks sees what it held before, or all of `bytes`.
fn replace(folder: &Path, name: &str, bytes: &[u8]) -> std::io::Result<()> {
    let unfinished = folder.join(format!("{name}.new"));
    let mut file = fs::File::create(&unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, folder.join(name))?;
    fs::File::open(folder)?.sync_all()
}

/// The folder below a data directory that holds every collection.
pub(super) fn index_folder(data: &Path) -> PathBuf {
    data.join("index")
}

/// A data directory that this process alone has open, until this is dropped.
#[derive(Debug)]
pub(super) struct InUse {
    #[expect(dead_code, reason = "held for its lock, which ends when the file is closed")]
    file: fs::File,
}

impl InUse {
    /// Takes the lock, or says who has it. The kernel takes it back from a process that dies.
    pub(super) fn try_new(data: &Path) -> Result<Self, IndexError> {
        let at = index_folder(data);
        fs::create_dir_all(&at).map_err(failed("making the data directory", &at))?;
        let mut file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(at.join(LOCK))
            .map_err(failed("locking the data directory", &at))?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is only a courtesy, so a file that cannot be read is no error.
                let read = file.read_to_string(&mut holder);
                let holder = read.ok().and_then(|_| holder.trim().parse().ok());
                return Err(IndexError::InUse { at: data.to_owned(), holder });
            }
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(failed("locking the data directory", &at)(error));
            }
        }
        let sign = |file: &mut fs::File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        sign(&mut file).map_err(failed("locking the data directory", &at))?;
        Ok(Self { file })
    }
}

/// An I/O error as ours.
pub(super) fn failed(
    doing: &'static str,
    at: &Path,
) -> impl Fn(std::io::Error) -> IndexError + use<> {
    let at = at.to_owned();
    move |error| {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let at = at.clone();
        if full {
            return super::space::no_space(doing, at, 0);
        }
        IndexError::Failed { doing, at, cause: error.to_string() }
    }
}
