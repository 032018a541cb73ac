//! The folder in which pulled models lie.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use fs_err::File;
use fs4::fs_std::FileExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::HubError;
use crate::client::{Failure, Hub, Told};
use crate::registry::{Published, PublishedFile};

/// What was pulled, beside the model's files.
const MANIFEST: &str = "pulled.json";
/// What keeps two pulls apart.
const LOCK: &str = ".pulling";
/// What the pipeline's readers look for in a model's folder.
const CONFIG: &str = "model.json";

/// What lies in a pulled model's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name of the model.
    pub name: String,
    /// Where it came from.
    pub from: String,
    /// Its files, as they were when they were checked.
    pub files: Vec<HeldFile>,
}

/// A file that was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldFile {
    /// Its name.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of what arrived.
    pub sha256: String,
    /// Whether that is what was published; otherwise only its size was.
    pub is_published: bool,
}

/// What became of a file since it was pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// It is the same to the byte.
    Same,
    /// It is not there.
    Missing,
    /// Its bytes are others.
    Changed {
        /// SHA-256 of what is there.
        found: String,
    },
}

/// How far a file is.
#[derive(Clone, Copy, Debug)]
pub struct FileProgress<'a> {
    /// Its name.
    pub path: &'a str,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all.
    pub size: u64,
    /// Whether all bytes are here and are being checked.
    pub is_checking: bool,
}

/// The folder in which pulled models lie, one folder each.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The store in `dir`, which need not be there yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where a model lies, or would.
    pub fn place(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// What was pulled of a model; none where it is not there, or not whole.
    pub fn manifest(&self, model: &Published) -> Option<Manifest> {
        let bytes = fs_err::read(self.place(model.name).join(MANIFEST)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Brings a model here from a hub.
    pub fn pull(
        &self,
        model: &Published,
        hub: &Hub,
        progress: &mut dyn FnMut(FileProgress<'_>),
    ) -> Result<Manifest, HubError> {
        let from = hub.url(&PublishedFile { path: "", ..model.files[0] });
        self.bring(model, &from, |file, dir| {
            let told = hub.ask(file)?;
            if let Some(size) = file.size.filter(|size| *size != told.size) {
                let why = format!("{} bytes are offered, {size} were published", told.size);
                return Err(HubError::Protocol { url: hub.url(file), why });
            }
            download(hub, file, &told, dir, progress)
        })
    }

    /// Brings a model here from a folder that has its files.
    pub fn pull_from(
        &self,
        model: &Published,
        folder: &Path,
        progress: &mut dyn FnMut(FileProgress<'_>),
    ) -> Result<Manifest, HubError> {
        for file in model.files {
            if !folder.join(file.path).is_file() {
                let (dir, name) = (folder.to_owned(), file.path.to_owned());
                return Err(HubError::NotInFolder { dir, name });
            }
        }
        self.bring(model, &folder.display().to_string(), |file, dir| {
            let source = folder.join(file.path);
            let size = fs_err::metadata(&source)?.len();
            room(dir, size)?;
            let part = dir.join(format!("{}.part", file.path));
            let mut reader = File::open(&source)?;
            let mut writer = File::create(&part)?;
            copy(&mut reader, &mut writer, &mut |done| {
                progress(FileProgress { path: file.path, done, size, is_checking: false });
            })?;
            finish(writer, &part, file, size, file.sha256, dir, progress)
        })
    }

    fn bring(
        &self,
        model: &Published,
        from: &str,
        mut each: impl FnMut(&PublishedFile, &Path) -> Result<HeldFile, HubError>,
    ) -> Result<Manifest, HubError> {
        let dir = self.place(model.name);
        fs_err::create_dir_all(&dir)?;
        let lock = File::create(dir.join(LOCK))?;
        if !FileExt::try_lock_exclusive(lock.file())? {
            return Err(HubError::AtWork(dir));
        }
        let held = self.manifest(model);
        let mut files = Vec::new();
        for file in model.files {
            let known =
                held.iter().flat_map(|held| &held.files).find(|held| held.path == file.path);
            let is_there = |held: &&HeldFile| {
                fs_err::metadata(dir.join(file.path)).is_ok_and(|found| found.len() == held.size)
            };
            files.push(match known.filter(is_there) {
                Some(held) => held.clone(),
                None => each(file, &dir)?,
            });
        }
        if let Some(config) = model.config {
            fs_err::write(dir.join(CONFIG), config)?;
        }
        let manifest = Manifest { name: model.name.to_owned(), from: from.to_owned(), files };
        let json = serde_json::to_vec_pretty(&manifest).map_err(std::io::Error::from)?;
        let unfinished = dir.join(format!("{MANIFEST}.part"));
        fs_err::write(&unfinished, json)?;
        fs_err::rename(&unfinished, dir.join(MANIFEST))?;
        drop(lock);
        fs_err::remove_file(dir.join(LOCK))?;
        Ok(manifest)
    }

    /// Reads every file of a pulled model again, and says whether it is what was pulled.
    pub fn verify(&self, manifest: &Manifest) -> Result<Vec<(HeldFile, Verified)>, HubError> {
        let dir = self.place(&manifest.name);
        let verify = |held: &HeldFile| {
            let path = dir.join(&held.path);
            if !path.is_file() {
                return Ok((held.clone(), Verified::Missing));
            }
            let found = sha256_of(&mut File::open(&path)?, &mut |_| ())?;
            let verified =
                if found == held.sha256 { Verified::Same } else { Verified::Changed { found } };
            Ok((held.clone(), verified))
        };
        manifest.files.iter().map(verify).collect()
    }

    /// Removes a model's folder, with what an unfinished pull left; false where there is none.
    pub fn remove(&self, model: &Published) -> Result<bool, HubError> {
        let dir = self.place(model.name);
        if !dir.is_dir() {
            return Ok(false);
        }
        fs_err::remove_dir_all(dir)?;
        Ok(true)
    }
}

/// Brings a file, from where an earlier attempt ended.
fn download(
    hub: &Hub,
    file: &PublishedFile,
    told: &Told,
    dir: &Path,
    progress: &mut dyn FnMut(FileProgress<'_>),
) -> Result<HeldFile, HubError> {
    let expected = file.sha256.map(str::to_owned).or_else(|| told.sha256.clone());
    // Parts of another version are no beginning of this one.
    let version = expected.as_deref().map_or("unsigned", |sha256| &sha256[..16]);
    let part = dir.join(format!("{}.{version}.part", file.path));
    let mut writer = fs_err::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(expected.is_none())
        .open(&part)?;
    let mut have = writer.metadata()?.len();
    if have > told.size {
        writer.set_len(0)?;
        have = 0;
    }
    room(dir, told.size - have)?;
    let url = hub.url(file);
    let mut failed = 0;
    while have < told.size {
        let before = have;
        let outcome = part_of(hub, file, told.size, &mut writer, &mut have, progress);
        if have > before {
            failed = 0;
        }
        if let Err(failure) = outcome {
            failed += 1;
            hub.wait_after(failure, failed, &url)?;
        }
    }
    finish(writer, &part, file, told.size, expected.as_deref(), dir, progress)
}

/// Brings the next part of a file, and counts what has arrived even where it ends early.
fn part_of(
    hub: &Hub,
    file: &PublishedFile,
    size: u64,
    writer: &mut File,
    have: &mut u64,
    progress: &mut dyn FnMut(FileProgress<'_>),
) -> Result<(), Failure> {
    let io = |error: std::io::Error| Failure::Final(error.into());
    let (begins, mut body) = hub.open(file, *have, size)?;
    if begins != *have {
        // A server without ranges sends everything again.
        *have = begins;
        writer.set_len(begins).map_err(io)?;
    }
    writer.seek(SeekFrom::Start(begins)).map_err(io)?;
    let mut buffer = vec![0; 256 << 10];
    loop {
        let read = match body.read(&mut buffer) {
            Ok(read) => read,
            Err(error) => {
                let connection =
                    HubError::Connection { url: hub.url(file), why: error.to_string() };
                return Err(Failure::Passing { error: connection, wait: None });
            }
        };
        if read == 0 {
            break;
        }
        if *have + read as u64 > size {
            let why = format!("more than the {size} bytes it had told of");
            return Err(Failure::Final(HubError::Protocol { url: hub.url(file), why }));
        }
        writer.write_all(&buffer[..read]).map_err(io)?;
        *have += read as u64;
        progress(FileProgress { path: file.path, done: *have, size, is_checking: false });
    }
    if *have == begins && size > begins {
        let why = "the connection ended before a byte came".to_owned();
        let error = HubError::Connection { url: hub.url(file), why };
        return Err(Failure::Passing { error, wait: None });
    }
    Ok(())
}

/// Checks a file that is here as a whole, and gives it its name.
fn finish(
    writer: File,
    part: &Path,
    file: &PublishedFile,
    size: u64,
    expected: Option<&str>,
    dir: &Path,
    progress: &mut dyn FnMut(FileProgress<'_>),
) -> Result<HeldFile, HubError> {
    writer.sync_all()?;
    drop(writer);
    let found = sha256_of(&mut File::open(part)?, &mut |done| {
        progress(FileProgress { path: file.path, done, size, is_checking: true });
    })?;
    if let Some(expected) = expected.filter(|expected| !expected.eq_ignore_ascii_case(&found)) {
        fs_err::remove_file(part)?;
        let (path, expected) = (dir.join(file.path), expected.to_owned());
        return Err(HubError::Checksum { path, expected, found });
    }
    fs_err::rename(part, dir.join(file.path))?;
    let is_published = expected.is_some();
    Ok(HeldFile { path: file.path.to_owned(), size, sha256: found, is_published })
}

fn room(dir: &Path, needed: u64) -> Result<(), HubError> {
    let free = fs4::available_space(dir)?;
    if needed > free {
        return Err(HubError::NoRoom { dir: dir.to_owned(), needed, free });
    }
    Ok(())
}

fn copy(from: &mut File, to: &mut File, told: &mut dyn FnMut(u64)) -> std::io::Result<()> {
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..read])?;
        done += read as u64;
        told(done);
    }
}

fn sha256_of(file: &mut File, told: &mut dyn FnMut(u64)) -> std::io::Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut done = 0;
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        done += read as u64;
        told(done);
    }
    let digits = hasher.finalize().into_iter().flat_map(|byte| [byte >> 4, byte & 15]);
    Ok(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect())
}
