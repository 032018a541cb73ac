//! A checkpoint that is used whole or refused.
//!
//! A model built from half a checkpoint still gives vectors, and a tensor nobody took means that
//! the file and the model differ. So nothing is made up for what is missing, and what is left over
//! is an error, with both sides named.
//!
//! Tensors stay in their files until the model asks for them, one after the other: a model is loaded
//! without a second copy of it in memory.

mod error;
mod held;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::var_builder::SimpleBackend;
use candle_nn::{Init, VarBuilder};

pub use self::error::{CheckpointError, Mismatch};
use self::held::Held;
pub use self::held::{Coverage, FileReport};
use crate::weights::{Stored, WeightsFile, in_our_form, is_ignorable, known_name};

/// The tensors of a checkpoint, each to be taken at least once, as `f32`.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    tensors: Arc<BTreeMap<String, Held>>,
    audit: Arc<Mutex<Audit>>,
    hash: blake3::Hash,
    files: Arc<Vec<FileReport>>,
}

#[derive(Debug, Default)]
struct Audit {
    taken: BTreeMap<String, Vec<usize>>,
    mismatch: Mismatch,
}

impl Checkpoint {
    /// Reads one file that lies in memory.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, crate::ModelError> {
        Self::from_files(&[WeightsFile::of_bytes(bytes)?])
    }

    /// Puts files on top of each other: tensors of a later one replace those of earlier ones. Every
    /// value is looked at, and hashed.
    pub fn from_files(files: &[WeightsFile]) -> Result<Self, crate::ModelError> {
        let mut tensors: BTreeMap<String, (usize, Held)> = BTreeMap::new();
        let mut reports: Vec<FileReport> = Vec::new();
        for (number, file) in files.iter().enumerate() {
            let mut report = FileReport {
                path: file.path().to_owned(),
                format: file.format(),
                tensors: 0,
                values: 0,
                replaced: 0,
                passed_over: file.beside().to_vec(),
                named_code: file.named_code().to_vec(),
            };
            for (theirs, stored) in file.tensors() {
                if is_ignorable(theirs) {
                    report.passed_over.push(theirs.clone());
                    continue;
                }
                let name = known_name(theirs);
                report.tensors += 1;
                report.values += stored.shape.iter().product::<usize>();
                for (ours, bytes, stored) in in_our_form(theirs, &name, &file.bytes, stored) {
                    match tensors.insert(ours.clone(), (number, Held { bytes, stored })) {
                        Some((earlier, _)) if earlier == number => {
                            return Err(CheckpointError::Twice(ours).into());
                        }
                        Some((earlier, _)) => reports[earlier].replaced += 1,
                        None => {}
                    }
                }
            }
            reports.push(report);
        }
        let tensors: BTreeMap<_, _> =
            tensors.into_iter().map(|(name, (_, held))| (name, held)).collect();
        let mut hasher = blake3::Hasher::new();
        for (name, held) in &tensors {
            let Stored { dtype, shape, range } = &held.stored;
            hasher.update(format!("{name} {dtype} {shape:?}\n").as_bytes());
            let check = || held.first_not_finite(name);
            let mut hash = || {
                hasher.update(held.data());
            };
            let (element, ()) = rayon::join(check, &mut hash);
            if let Some(element) = element? {
                return Err(CheckpointError::NotFinite { name: name.clone(), element }.into());
            }
            held.bytes.forget(range);
        }
        Ok(Self {
            tensors: Arc::new(tensors),
            audit: Arc::default(),
            hash: hasher.finalize(),
            files: Arc::new(reports),
        })
    }

    /// One tensor of a file, as `f32`, by the name under which the model knows it; none where the file
    /// has no such tensor.
    pub(crate) fn tensor_of(
        file: &WeightsFile,
        name: &str,
        device: &Device,
    ) -> Result<Option<Tensor>, crate::ModelError> {
        let found = file.tensors().iter().find(|(theirs, _)| known_name(theirs) == name);
        let Some((_, stored)) = found else { return Ok(None) };
        let held = Held { bytes: file.bytes.clone(), stored: stored.clone() };
        let values = held.values(name)?;
        Ok(Some(Tensor::from_vec(values, stored.shape.as_slice(), device)?))
    }

    /// Tensors that lie in memory already, to be used whole like a file's.
    pub(crate) fn of_tensors(
        tensors: &BTreeMap<String, Tensor>,
    ) -> Result<Self, crate::ModelError> {
        let bytes = safetensors::serialize(tensors, None);
        Self::from_bytes(&bytes.map_err(candle_core::Error::wrap)?)
    }

    /// All tensors, as `f32`.
    pub(crate) fn tensors(
        &self,
        device: &Device,
    ) -> Result<BTreeMap<String, Tensor>, crate::ModelError> {
        let read = |(name, held): (&String, &Held)| {
            let values = held.values(name)?;
            let tensor = Tensor::from_vec(values, held.stored.shape.as_slice(), device)?;
            Ok((name.clone(), tensor))
        };
        self.tensors.iter().map(read).collect()
    }

    /// Hash over the names, types, shapes and bytes of all tensors that can change an embedding.
    pub fn hash(&self) -> &blake3::Hash {
        &self.hash
    }

    /// What the files are.
    pub fn files(&self) -> &[FileReport] {
        &self.files
    }

    /// The shape of a tensor, where it is there.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.stored.shape)
    }

    /// The names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Hands the tensors out by path, and writes down which were asked for. [`Self::finish`] must
    /// follow before what was built is used: in place of a tensor that is missing or misshapen the
    /// builder gives zeros, so that all faults can be named at once.
    pub fn var_builder(&self, device: &Device) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(self.clone()), DType::F32, device.clone())
    }

    /// As [`Self::var_builder`], and no tensor is read: all are zeros.
    pub fn planner(&self) -> VarBuilder<'static> {
        VarBuilder::from_backend(Box::new(Planner(self.clone())), DType::F32, Device::Cpu)
    }

    /// As [`Self::finish`], where only the tensors below `prefix` were wanted.
    pub(crate) fn finish_part(&self, prefix: &str) -> Result<(), CheckpointError> {
        match self.finish() {
            Err(CheckpointError::Mismatch(mut mismatch)) => {
                mismatch.unused.retain(|name, _| name.starts_with(prefix));
                if mismatch == Mismatch::default() {
                    return Ok(());
                }
                Err(CheckpointError::Mismatch(mismatch))
            }
            finished => finished,
        }
    }

    /// Ends loading. Fails where the model asked for what is not there, or left something over.
    pub fn finish(&self) -> Result<(), CheckpointError> {
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mismatch = audit.mismatch.clone();
        for (name, held) in self.tensors.iter() {
            if !audit.taken.contains_key(name) {
                mismatch.unused.insert(name.clone(), held.stored.shape.clone());
            }
        }
        if mismatch == Mismatch::default() {
            return Ok(());
        }
        Err(CheckpointError::Mismatch(mismatch))
    }

    /// How much of what was asked for is there.
    pub fn coverage(&self) -> Coverage {
        let audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        let values = |shape: &Vec<usize>| shape.iter().product::<usize>();
        let needed = audit.taken.values().map(values).sum();
        let Mismatch { missing, misshapen, .. } = &audit.mismatch;
        let lacking: usize = missing.values().map(values).sum();
        let wrong: usize = misshapen.values().map(|(needed, _)| values(needed)).sum();
        Coverage { needed, found: needed - lacking - wrong }
    }

    /// The tensor, once it is known to be of that shape; what is wrong is written down.
    fn take(&self, shape: &Shape, name: &str) -> Option<&Held> {
        let mut audit = self.audit.lock().unwrap_or_else(PoisonError::into_inner);
        audit.taken.insert(name.to_owned(), shape.dims().to_vec());
        match self.tensors.get(name) {
            Some(held) if held.stored.shape == shape.dims() => Some(held),
            Some(held) => {
                let both = (shape.dims().to_vec(), held.stored.shape.clone());
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

/// Writes down what is asked for, and gives zeros.
struct Planner(Checkpoint);

impl SimpleBackend for Planner {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _init: Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        self.0.take(&shape, name);
        Tensor::zeros(1, dtype, device)?.broadcast_as(shape)
    }

    fn get_unchecked(&self, name: &str, _: DType, _: &Device) -> candle_core::Result<Tensor> {
        candle_core::bail!("tensor `{name}` was asked for without its shape")
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.0.tensors.contains_key(name)
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
            Some(held) => {
                let values = held.values(name).map_err(candle_core::Error::wrap)?;
                held.bytes.forget(&held.stored.range);
                Tensor::from_vec(values, shape, device)?.to_dtype(dtype)
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

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
        Checkpoint::from_bytes(bytes)
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
        let vb = checkpoint.var_builder(&Device::Cpu);
        let value = |name: &str| vb.get(1, name).unwrap().to_vec1::<f32>().unwrap();
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
        assert!(checkpoint.shape("backbone.btadapter_cls_token").is_some());
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
