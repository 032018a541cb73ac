//! What was found out, in a file of lines that grows as it comes: an interrupted run goes on.

use std::collections::HashMap;
use std::fs::TryLockError;
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Line<T> {
    key: String,
    #[serde(flatten)]
    value: T,
}

/// Values by what they follow from, in memory and in a file, where one is wanted. The file is ours as
/// long as this lives.
#[derive(Debug)]
pub(super) struct Kept<T> {
    known: HashMap<String, T>,
    file: Option<fs_err::File>,
}

impl<T: Serialize + DeserializeOwned + Clone> Kept<T> {
    /// Reads what `name` in a folder holds. A line that a crash cut short, or that holds what cannot be, is
    /// as if it were not there. Another run that has the file open is an error: both would ask for the same.
    pub(super) fn open(folder: Option<&Path>, name: &str) -> Result<Self> {
        let Some(folder) = folder else { return Ok(Self { known: HashMap::new(), file: None }) };
        fs_err::create_dir_all(folder)?;
        let path = folder.join(name);
        let mut file =
            fs_err::OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        match file.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!(
                "{} is in use by another run: wait for its end, or name another folder with --keep",
                folder.display()
            ),
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let known = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line<T>>(line).ok())
            .map(|line| (line.key, line.value))
            .collect();
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self { known, file: Some(file) })
    }

    pub(super) fn get(&self, key: &str) -> Option<&T> {
        self.known.get(key)
    }

    pub(super) fn put(&mut self, key: String, value: T) -> Result<()> {
        if let Some(file) = &mut self.file {
            let line = Line { key: key.clone(), value: value.clone() };
            file.write_all((serde_json::to_string(&line)? + "\n").as_bytes())?;
        }
        self.known.insert(key, value);
        Ok(())
    }
}

/// A name for what something follows from.
pub(super) fn key(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    hasher.finalize().to_hex().as_str()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Said {
        said: String,
    }

    #[test]
    fn what_was_kept_is_there_again_and_a_line_that_was_cut_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let open = || Kept::<Said>::open(Some(folder.path()), "a.jsonl").unwrap();
        let said = |text: &str| Said { said: text.to_owned() };
        let (one, two) = (key(&["a", "bc"]), key(&["ab", "c"]));
        assert_ne!(one, two);
        open().put(one.clone(), said("a\ndog")).unwrap();
        let path = folder.path().join("a.jsonl");
        let whole = fs_err::read_to_string(&path).unwrap();
        fs_err::write(&path, format!("{whole}{{\"key\": \"{two}\", \"sa")).unwrap();
        let mut kept = open();
        assert_eq!((kept.get(&one), kept.get(&two)), (Some(&said("a\ndog")), None));
        kept.put(two.clone(), said("cat")).unwrap();

        let second = Kept::<Said>::open(Some(folder.path()), "a.jsonl").unwrap_err().to_string();
        assert!(second.contains("in use by another run"), "{second}");
        assert!(Kept::<Said>::open(Some(folder.path()), "b.jsonl").is_ok());
        drop(kept);
        assert_eq!(open().get(&two), Some(&said("cat")));
    }
}
