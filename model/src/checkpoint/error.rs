//! Why a checkpoint was refused, with both sides named.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Why a checkpoint was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The bytes are no file of weights, or not all of it.
    #[error(
        "the weights cannot be read ({0}): the file is cut short, damaged or neither safetensors \
         nor PyTorch; copy it again"
    )]
    Unreadable(String),
    /// The bytes are something else that people have in place of weights.
    #[error("this is {0}")]
    OtherKind(&'static str),
    /// One of a model's files was refused.
    #[error("`{}`: {source}", .path.display())]
    InFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<CheckpointError>,
    },
    /// A tensor holds something other than floating-point numbers.
    #[error("tensor `{name}` is stored as {dtype}: only F32, F16 and BF16 are understood")]
    Dtype {
        /// Its name.
        name: String,
        /// What it is stored as.
        dtype: String,
    },
    /// A tensor holds NaN or infinity.
    #[error(
        "tensor `{name}` holds a value that is not finite (element {element}): {}",
        "the weights are damaged or training diverged"
    )]
    NotFinite {
        /// Its name.
        name: String,
        /// The first such element, row-major.
        element: usize,
    },
    /// An input holds no values.
    #[error("tensor `{name}` has shape {shape:?}: there is nothing in it")]
    Empty {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The file has one tensor under two names.
    #[error("tensor `{0}` is there twice, as `btadapter_` and as `timesFPN_`")]
    Twice(String),
    /// The file and the model are not the same model.
    #[error("the weights are not those of the configured model: {0}")]
    Mismatch(Mismatch),
}

/// How a checkpoint differs from the model that was to be built from it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// What the model needs and the file lacks, with the shape needed.
    pub missing: BTreeMap<String, Vec<usize>>,
    /// What the file has and the model does not know, with the shape found.
    pub unused: BTreeMap<String, Vec<usize>>,
    /// Right name, wrong shape: needed, then found.
    pub misshapen: BTreeMap<String, (Vec<usize>, Vec<usize>)>,
}

impl fmt::Display for Mismatch {
    /// The beginning of each list: a wrong file differs in hundreds of tensors.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 5;
        let list = |lines: Vec<String>| {
            let more = lines.len().saturating_sub(SHOWN);
            let shown = lines.into_iter().take(SHOWN).collect::<Vec<_>>().join(", ");
            if more > 0 { format!("{shown} and {more} more") } else { shown }
        };
        let with_shape = |tensors: &BTreeMap<String, Vec<usize>>| {
            list(tensors.iter().map(|(name, shape)| format!("`{name}` {shape:?}")).collect())
        };
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            let (n, names) = (self.missing.len(), with_shape(&self.missing));
            parts.push(format!("{n} missing from the file: {names}"));
        }
        if !self.unused.is_empty() {
            let (n, names) = (self.unused.len(), with_shape(&self.unused));
            parts.push(format!("{n} in the file but not in the model: {names}"));
        }
        if !self.misshapen.is_empty() {
            let lines = self.misshapen.iter().map(|(name, (needed, found))| {
                format!("`{name}` needs {needed:?}, the file has {found:?}")
            });
            let n = self.misshapen.len();
            parts.push(format!("{n} of another shape: {}", list(lines.collect())));
        }
        f.write_str(&parts.join("; "))
    }
}
