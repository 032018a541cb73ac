//! A safetensors checkpoint that is used whole or refused.
//!
//! A model built from half a checkpoint still gives vectors, and a tensor nobody took means that
//! the file and the model differ. So nothing is made up for what is missing, and what is left over
//! is an error, with both sides named.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

/// Tensors that published checkpoints carry and inference has no use for.
///
/// `position_ids` is a buffer that Hugging Face writes: the numbers 0, 1, 2, ... `extra_proj` is the
/// head of a pre-training loss (BT-ADAPTER.md 3.2). `logit_scale` is CLIP's temperature.
fn is_ignorable(name: &str) -> bool {
    name.ends_with("position_ids") || name.starts_with("extra_proj.") || name == "logit_scale"
}

/// The name under which the model knows a tensor: the authors' internal files call the branch
/// `timesFPN`, their released code `btadapter` (BT-ADAPTER.md 5.1).
fn known_name(name: &str) -> String {
    name.replace("timesFPN_", "btadapter_")
}

/// Why a checkpoint was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The bytes are no safetensors file, or not all of it.
    #[error(
        "the weights cannot be read ({0}): the file is cut short, damaged or no safetensors file; \
         copy it again"
    )]
    Unreadable(String),
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

/// The tensors of a checkpoint, as `f32`, each to be taken at least once.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    tensors: Arc<BTreeMap<String, Tensor>>,
    audit: Arc<Mutex<Audit>>,
    hash: blake3::Hash,
}

#[derive(Debug, Default)]
struct Audit {
    taken: BTreeMap<String, Vec<usize>>,
    mismatch: Mismatch,
}

impl Checkpoint {
    /// Reads every tensor of a safetensors file onto `device`, converted to `f32`.
    pub fn from_safetensors(bytes: &[u8], device: &Device) -> Result<Self, crate::ModelError> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|error| CheckpointError::Unreadable(error.to_string()))?;
        let views: BTreeMap<&str, TensorView<'_>> = file.iter().collect();
        let mut hasher = blake3::Hasher::new();
        let mut tensors = BTreeMap::new();
        for (name, view) in views {
            if is_ignorable(name) {
                continue;
            }
            let name = known_name(name);
            hasher.update(format!("{name} {:?} {:?}\n", view.dtype(), view.shape()).as_bytes());
            hasher.update(view.data());
            let values = to_f32(&name, &view)?;
            if let Some(element) = values.iter().position(|value| !value.is_finite()) {
                return Err(CheckpointError::NotFinite { name, element }.into());
            }
            let tensor = Tensor::from_vec(values, view.shape(), device)?;
            if tensors.insert(name.clone(), tensor).is_some() {
                return Err(CheckpointError::Twice(name).into());
            }
        }
        Ok(Self { tensors: Arc::new(tensors), audit: Arc::default(), hash: hasher.finalize() })
    }

    /// Tensors that lie in memory already, to be used whole like a file's. They have no hash of their
    /// own: it is that of nothing.
    pub(crate) fn of_tensors(tensors: BTreeMap<String, Tensor>) -> Self {
        let hash = blake3::Hasher::new().finalize();
        Self { tensors: Arc::new(tensors), audit: Arc::default(), hash }
    }

    /// Hash over the names, types, shapes and bytes of all tensors that can change an embedding.
    pub fn hash(&self) -> &blake3::Hash {
        &self.hash
    }

    /// The tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Hands the tensors out by path, and writes down which were asked for. [`Self::finish`] must
    /// follow before what was built is used: in place of a tensor that is missing or misshapen the
    /// builder gives zeros, so that all faults can be named at once.
    pub fn var_builder(&self, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, device.clone())
    }

    /// Ends loading. Fails where the model asked for what is not there, or left something over.
    pub fn finish(&self) -> Result<(), CheckpointError> {
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mismatch = audit.mismatch.clone();
        for (name, tensor) in self.tensors.iter() {
            if !audit.taken.contains_key(name) {
                mismatch.unused.insert(name.clone(), tensor.dims().to_vec());
            }
        }
        if mismatch == Mismatch::default() {
            return Ok(());
        }
        Err(CheckpointError::Mismatch(mismatch))
    }

    fn take(&self, shape: &Shape, name: &str) -> Option<Tensor> {
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        audit.taken.insert(name.to_owned(), shape.dims().to_vec());
        match self.tensors.get(name) {
            Some(tensor) if tensor.shape() == shape => Some(tensor.clone()),
            Some(tensor) => {
                let both = (shape.dims().to_vec(), tensor.dims().to_vec());
                audit.mismatch.misshapen.insert(name.to_owned(), both);
                None
            }
            None => {
                audit.mismatch.missing.insert(name.to_owned(), shape.dims().to_vec());
                None
            }
        }
    }
}

impl SimpleBackend for Checkpoint {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        match self.take(&shape, name) {
            Some(tensor) => tensor.to_device(device)?.to_dtype(dtype),
            // One value seen everywhere: a wrong configuration must not cost its memory.
            None => Tensor::zeros(1, dtype, device)?.broadcast_as(shape),
        }
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor `{name}` was asked for without its shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

fn to_f32(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>, CheckpointError> {
    let data = view.data();
    let pairs = || data.as_chunks::<2>().0.iter();
    Ok(match view.dtype() {
        Dtype::F32 => {
            data.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        Dtype::F16 => pairs().map(|bytes| half::f16::from_le_bytes(*bytes).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|bytes| half::bf16::from_le_bytes(*bytes).to_f32()).collect(),
        other => {
            return Err(CheckpointError::Dtype { name: name.into(), dtype: format!("{other:?}") });
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ModelError;

    fn file(tensors: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
        let views = tensors.iter().map(|(name, dtype, shape, data)| {
            (*name, TensorView::new(*dtype, shape.to_vec(), data).unwrap())
        });
        safetensors::serialize(views, None).unwrap()
    }

    fn floats(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn read(bytes: &[u8]) -> Result<Checkpoint, ModelError> {
        Checkpoint::from_safetensors(bytes, &Device::Cpu)
    }

    #[test]
    fn all_faults_are_named_at_once_with_both_sides() {
        let bytes = file(&[
            ("a", Dtype::F32, &[2], floats(&[1.0, 2.0])),
            ("b", Dtype::F32, &[1], floats(&[3.0])),
            ("left", Dtype::F32, &[1], floats(&[3.0])),
        ]);
        let checkpoint = read(&bytes).unwrap();
        let vb = checkpoint.var_builder(&Device::Cpu);
        vb.get(2, "a").unwrap();
        vb.get((3, 4), "b").unwrap();
        vb.pp("c").get((5, 6), "weight").unwrap();
        let text = checkpoint.finish().unwrap_err().to_string();
        assert!(text.contains("1 missing from the file: `c.weight` [5, 6]"), "{text}");
        assert!(text.contains("1 in the file but not in the model: `left` [1]"), "{text}");
        assert!(text.contains("`b` needs [3, 4], the file has [1]"), "{text}");
    }

    #[test]
    fn a_checkpoint_taken_whole_is_accepted_and_what_training_left_is_ignored() {
        let bytes = file(&[
            ("a", Dtype::F32, &[1], floats(&[1.0])),
            ("extra_proj.0.weight", Dtype::F32, &[1], floats(&[1.0])),
            ("text.position_ids", Dtype::I64, &[1], vec![0; 8]),
        ]);
        let checkpoint = read(&bytes).unwrap();
        checkpoint.var_builder(&Device::Cpu).get(1, "a").unwrap();
        checkpoint.finish().unwrap();
    }

    #[test]
    fn half_precision_is_read_as_f32() {
        let f16 = half::f16::from_f32(1.5).to_le_bytes().to_vec();
        let bf16 = half::bf16::from_f32(-2.0).to_le_bytes().to_vec();
        let bytes = file(&[("h", Dtype::F16, &[1], f16), ("b", Dtype::BF16, &[1], bf16)]);
        let checkpoint = read(&bytes).unwrap();
        let value = |name: &str| checkpoint.tensors()[name].to_vec1::<f32>().unwrap();
        assert_eq!((value("h"), value("b")), (vec![1.5], vec![-2.0]));
    }

    #[test]
    fn a_file_cut_short_or_of_another_kind_is_refused() {
        let whole = file(&[("a", Dtype::F32, &[64], floats(&[0.5; 64]))]);
        for bytes in [&whole[..whole.len() - 7], &whole[..12], &[], b"PK\x03\x04 a zip file"] {
            let text = read(bytes).unwrap_err().to_string();
            assert!(text.contains("cut short, damaged"), "{text}");
        }
    }

    #[test]
    fn values_that_are_not_finite_and_integers_are_refused_by_name() {
        let bytes = file(&[("a.b", Dtype::F32, &[3], floats(&[1.0, f32::NAN, 2.0]))]);
        let text = read(&bytes).unwrap_err().to_string();
        assert!(text.contains("`a.b`") && text.contains("element 1"), "{text}");
        let bytes = file(&[("ids", Dtype::I64, &[1], vec![0; 8])]);
        assert!(read(&bytes).unwrap_err().to_string().contains("`ids` is stored as I64"));
    }

    #[test]
    fn the_authors_internal_name_of_the_branch_is_understood_but_not_beside_the_other() {
        let branch = |name| (name, Dtype::F32, &[1usize][..], floats(&[1.0]));
        let checkpoint = read(&file(&[branch("backbone.timesFPN_cls_token")])).unwrap();
        assert!(checkpoint.tensors().contains_key("backbone.btadapter_cls_token"));
        let both =
            file(&[branch("backbone.timesFPN_cls_token"), branch("backbone.btadapter_cls_token")]);
        assert!(read(&both).unwrap_err().to_string().contains("twice"));
    }

    #[test]
    fn the_hash_follows_names_and_values() {
        let hash = |name: &str, value: f32| {
            *read(&file(&[(name, Dtype::F32, &[1], floats(&[value]))])).unwrap().hash()
        };
        assert_eq!(hash("a", 1.0), hash("a", 1.0));
        assert_ne!(hash("a", 1.0), hash("a", 2.0));
        assert_ne!(hash("a", 1.0), hash("b", 1.0));
    }
}
