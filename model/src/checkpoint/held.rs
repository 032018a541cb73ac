//! Tensors where they lie, and what is told of the files they lie in.

use std::path::PathBuf;

use serde::Serialize;

use super::CheckpointError;
use crate::weights::{Bytes, Format, Stored};

/// A tensor where it lies.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) bytes: Bytes,
    pub(super) stored: Stored,
}

impl Held {
    /// The bytes of the tensor; a range within the file was checked when the file was listed.
    pub(super) fn data(&self) -> &[u8] {
        self.bytes.as_slice().get(self.stored.range.clone()).unwrap_or_default()
    }

    /// The values, row-major.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>, CheckpointError> {
        let data = self.data();
        let pairs = || data.as_chunks::<2>().0.iter();
        Ok(match self.stored.dtype.as_str() {
            "F32" => {
                data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
            }
            "F16" => pairs().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
            "BF16" => pairs().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect(),
            other => {
                return Err(CheckpointError::Dtype { name: name.into(), dtype: other.to_owned() });
            }
        })
    }

    /// Position of the first value that is NaN or infinite: its exponent has all bits set.
    pub(super) fn first_not_finite(&self, name: &str) -> Result<Option<usize>, CheckpointError> {
        let data = self.data();
        let pairs = |exponent: u16| {
            let mut values = data.as_chunks::<2>().0.iter();
            values.position(|bytes| u16::from_le_bytes(*bytes) & exponent == exponent)
        };
        match self.stored.dtype.as_str() {
            "F32" => {
                const EXPONENT: u32 = 0x7f80_0000;
                let is_bad = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes) & EXPONENT == EXPONENT;
                let values = data.as_chunks::<4>().0;
                // A block at a time without a way out of it, which the compiler can do in vectors.
                let bad_block = values
                    .chunks(4096)
                    .position(|block| block.iter().fold(false, |bad, bytes| bad | is_bad(bytes)));
                Ok(bad_block.and_then(|block| {
                    let from = block * 4096;
                    values[from..].iter().position(is_bad).map(|at| from + at)
                }))
            }
            "F16" => Ok(pairs(0x7c00)),
            "BF16" => Ok(pairs(0x7f80)),
            other => Err(CheckpointError::Dtype { name: name.into(), dtype: other.to_owned() }),
        }
    }
}

/// What a file is, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Where it lies; empty for bytes in memory.
    pub path: PathBuf,
    /// How it keeps its tensors.
    pub format: Format,
    /// Tensors that the model can use.
    pub tensors: usize,
    /// Their values.
    pub values: usize,
    /// Of these tensors, those that a later file replaced.
    pub replaced: usize,
    /// Tensors that embedding has no use for, and what is no tensor, by name.
    pub passed_over: Vec<String>,
    /// What of Python the file mentions beyond tensors. None of it was run.
    pub named_code: Vec<String>,
}

/// How much of a model its files cover, in values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// Values the model needs.
    pub needed: usize,
    /// Values of those that the files have in the right shape.
    pub found: usize,
}
