//! Files of weights as they are published: what a file is, and where its tensors lie in it.
//!
//! Nothing is copied and nothing is run: a file is mapped, its list of tensors is read, and the rest
//! is left where it is until somebody asks for it.

mod names;
mod pickle;
mod relatives;
mod torch;
mod zip;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use safetensors::SafeTensors;
use serde::Serialize;

pub(crate) use self::names::{is_ignorable, known_name};
pub(crate) use self::relatives::in_our_form;
use crate::ModelError;
use crate::checkpoint::CheckpointError;
use crate::model::map_file;

/// How a file keeps its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// A dictionary of tensors that `torch.save` wrote.
    Torch,
    /// A checkpoint of training that `torch.save` wrote, with the tensors under `state_dict`.
    TorchTraining,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Safetensors => "safetensors",
            Self::Torch => "PyTorch, a dictionary of tensors",
            Self::TorchTraining => "PyTorch, a checkpoint of training",
        })
    }
}

/// A tensor in a file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stored {
    /// As safetensors spell it, such as `F32`.
    pub(crate) dtype: String,
    pub(crate) shape: Vec<usize>,
    /// Its bytes in the file, row-major.
    pub(crate) range: Range<usize>,
}

/// What a file holds.
#[derive(Debug)]
struct Listing {
    format: Format,
    tensors: BTreeMap<String, Stored>,
    /// What is no tensor.
    beside: Vec<String>,
    /// What of Python, other than `PyTorch`'s own tensors, a pickle mentions.
    named: Vec<String>,
}

/// Bytes of a file, mapped or held.
#[derive(Clone)]
pub(crate) enum Bytes {
    Mapped(Arc<memmap2::Mmap>),
    Held(Arc<[u8]>),
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.as_slice().len())
    }
}

impl Bytes {
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Mapped(map) => map,
            Self::Held(bytes) => bytes,
        }
    }

    /// Tells the system that a part will not be needed soon: a mapped file counts as this process's
    /// memory for as long as its pages are kept.
    pub(crate) fn forget(&self, range: &Range<usize>) {
        const LARGE: usize = 1 << 20;
        let Self::Mapped(map) = self else { return };
        if range.len() < LARGE {
            return;
        }
        #[cfg(unix)]
        {
            #[expect(unsafe_code, reason = "giving pages back has no safe form")]
            // SAFETY: the map is of a file and never written to, so what is read from these pages
            // again comes from the file again, the same bytes.
            let forgotten = unsafe {
                map.unchecked_advise_range(
                    memmap2::UncheckedAdvice::DontNeed,
                    range.start,
                    range.len(),
                )
            };
            if let Err(error) = forgotten {
                tracing::debug!(%error, "pages of the weights stay in memory");
            }
        }
    }
}

/// A file of weights.
#[derive(Debug)]
pub struct WeightsFile {
    pub(crate) bytes: Bytes,
    listing: Listing,
    path: PathBuf,
}

impl WeightsFile {
    /// Maps a file and lists its tensors, or says what the file is instead.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let refused = |source: CheckpointError| CheckpointError::InFile {
            path: path.to_owned(),
            source: Box::new(source),
        };
        // An empty file cannot be mapped.
        if fs_err::metadata(path)?.len() == 0 {
            let empty = CheckpointError::Unreadable("it is empty".into());
            return Err(refused(empty).into());
        }
        let bytes = Bytes::Mapped(Arc::new(map_file(path)?));
        let listing = list(bytes.as_slice()).map_err(refused)?;
        Ok(Self { bytes, listing, path: path.to_owned() })
    }

    /// Lists the tensors of bytes in memory.
    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self, CheckpointError> {
        let bytes = Bytes::Held(bytes.into());
        let listing = list(bytes.as_slice())?;
        Ok(Self { bytes, listing, path: PathBuf::new() })
    }

    /// How the file keeps its tensors.
    pub fn format(&self) -> Format {
        self.listing.format
    }

    /// Where the file lies; empty for bytes in memory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is in the file and no tensor, such as the history of training.
    pub fn beside(&self) -> &[String] {
        &self.listing.beside
    }

    /// What of Python the file mentions, beyond what `PyTorch` needs for tensors. None of it was run.
    pub fn named_code(&self) -> &[String] {
        &self.listing.named
    }

    /// Names and shapes of the tensors, as they stand in the file.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.listing.tensors.iter().map(|(name, stored)| (name.as_str(), stored.shape.as_slice()))
    }

    pub(crate) fn tensors(&self) -> &BTreeMap<String, Stored> {
        &self.listing.tensors
    }
}

fn list(bytes: &[u8]) -> Result<Listing, CheckpointError> {
    let size = bytes.len();
    if bytes.starts_with(b"PK\x03\x04") {
        return torch::list(bytes).map_err(|why| {
            CheckpointError::Unreadable(format!("a PyTorch file of {size} bytes: {why}"))
        });
    }
    if let Some(other) = other_kind(bytes) {
        return Err(CheckpointError::OtherKind(other));
    }
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| CheckpointError::Unreadable(error.to_string()))?;
    let base = bytes.as_ptr().addr();
    let tensors = file.iter().map(|(name, view)| {
        let begin = view.data().as_ptr().addr() - base;
        let stored = Stored {
            dtype: format!("{:?}", view.dtype()),
            shape: view.shape().to_vec(),
            range: begin..begin + view.data().len(),
        };
        (name.to_owned(), stored)
    });
    Ok(Listing {
        format: Format::Safetensors,
        tensors: tensors.collect(),
        beside: Vec::new(),
        named: Vec::new(),
    })
}

/// What people have in place of weights, with what to do about it.
fn other_kind(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.trim_ascii_start();
    let begins =
        |with: &[u8]| text.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
    if begins(b"version https://git-lfs") {
        Some("a pointer of Git LFS, not the weights: fetch them with `git lfs pull`")
    } else if begins(b"<!doctype") || begins(b"<html") || begins(b"<?xml") {
        Some("a web page, not weights: the download went wrong")
    } else if bytes.starts_with(b"GGUF") {
        Some("a GGUF file, which holds language models: not understood here")
    } else if bytes.starts_with(b"\x89HDF") {
        Some("an HDF5 file (TensorFlow): take the safetensors or PyTorch file beside it")
    } else if bytes.starts_with(b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.") {
        Some(
            "a PyTorch file of before 2020: load it and save it again with a newer PyTorch, or \
             take the safetensors file beside it",
        )
    } else if begins(b"{") {
        Some("JSON, not weights")
    } else {
        None
    }
}
