//! Pre-training a branch beside a frozen CLIP, as in the paper's section 3.3.
//!
//! CLIP sees every frame whole and once; what it made of a clip ([`Pretraining::features`]) never
//! changes and can be kept. The branch sees a masked part, and three losses teach it: the clip's
//! embedding and its caption's (VTC), its tokens and CLIP's (MBTA), its tokens and the caption's
//! embedding (MBCA). Where the paper and the released code differ, [`Recipe`] has both.
//!
//! The forward pass is the one definition of [`crate::bt_adapter`], built from operations that can be
//! differentiated, on the CPU. The paper's other [`System`]s learn the same way, as far as they can:
//! where there is no branch, from the first loss alone.

mod course;
mod fresh;
mod losses;
mod mask;
mod recipe;
#[cfg(test)]
mod relatives;
#[cfg(test)]
mod systems;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device, Result as Candle, Tensor};
use candle_nn::VarBuilder;
use footage_clip::{Embedding, RgbFrame};
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

pub use self::course::{Course, Features, PretrainError, StepLosses};
pub use self::losses::PretrainLosses;
pub use self::mask::{Mask, MaskOrder};
pub use self::recipe::{LossWeights, RATES, Recipe, TokenLoss, UNBRANCHED_RATES};
use super::TrainError;
use super::Weights;
use super::export::write_model;
use crate::ModelError;
use crate::bt_adapter::VideoTower;
use crate::checkpoint::Checkpoint;
use crate::clip_text::TextTower;
use crate::config::{Architecture, BranchConfig, BranchMode, ModelConfig, TokenizerKind};
use crate::cpu::{CpuTextEncoder, CpuVideoEncoder, Precision};
use crate::encoder::{FrameFeatures, States, TextEncoder, VideoEncoder};
use crate::family::Family;
use crate::layers::{LayerNorm, Linear};
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::system::System;
use crate::tensor_encoder::{TensorTextEncoder, TensorVideoEncoder};
use crate::tokenizer::Tokenizer;

/// What a new branch is to be where a model has none.
pub const NEW_BRANCH: BranchConfig = BranchConfig {
    system: System::BtAdapter,
    layers: 4,
    mode: BranchMode::Gated,
    out_norm: 1e4,
    middle_norm: 1e2,
    max_frames: 64,
};

/// Which branch, or system in its place, pre-training begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// That of the model, or a new one ([`NEW_BRANCH`]) where it has none.
    Own,
    /// A new one of this many layers, or of as many as the model's has.
    New(System, Option<usize>),
}

/// A model's files, as they are read.
#[derive(Debug)]
pub struct ModelFiles<'a> {
    /// `model.json`.
    pub config: &'a [u8],
    /// `model.safetensors`.
    pub weights: &'a [u8],
    /// `tokenizer.json`, where it has one.
    pub tokenizer: Option<&'a [u8]>,
}

/// A frozen CLIP, a branch in training and the head of its token loss.
pub struct Pretraining {
    config: ModelConfig,
    tokenizer_file: Option<Vec<u8>>,
    /// What never changes, under the names of checkpoints.
    frozen: BTreeMap<String, Tensor>,
    frozen_hash: blake3::Hash,
    /// What learns.
    pub weights: Weights,
    recipe: Recipe,
    tower: VideoTower,
    /// Of the token loss; there is none without a branch.
    head: Option<(Linear, LayerNorm)>,
    video: Box<dyn VideoEncoder>,
    text: Box<dyn TextEncoder>,
}

impl std::fmt::Debug for Pretraining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pretraining({}, {:?})", self.config.name, self.recipe)
    }
}

/// Whether a parameter belongs to the branch: the rest is CLIP, and frozen.
fn is_branch(name: &str) -> bool {
    name.starts_with("backbone.btadapter_") || name.starts_with("backbone.balance")
}

impl Pretraining {
    /// A model ready to be trained; all that begins at random follows from `seed`.
    ///
    /// # Errors
    /// Where the files make no model.
    pub fn new(
        files: &ModelFiles<'_>,
        start: Start,
        recipe: Recipe,
        seed: u64,
    ) -> Result<Self, ModelError> {
        let mut config = ModelConfig::from_json(files.config)?;
        let device = Device::Cpu;
        let checkpoint = Checkpoint::from_bytes(files.weights)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut frozen, mut weights) = (BTreeMap::new(), Weights::default());
        for (name, tensor) in &checkpoint.tensors(&device)? {
            if !is_branch(name) {
                frozen.insert(name.clone(), tensor.clone());
            } else if start == Start::Own {
                weights.set(name, tensor)?;
            }
        }
        let own = config.architecture.branch;
        if start != Start::Own || own.is_none() {
            let (system, layers) = match start {
                Start::New(system, layers) => (system, layers),
                Start::Own => (System::default(), None),
            };
            config.architecture.branch =
                new_branch(system, layers, own, config.architecture.family);
            config.check()?;
            if config.architecture.branch.is_some() {
                fresh::system(&config.architecture, &frozen, &mut weights, &mut rng)?;
            }
        }
        let system = config.architecture.system();
        if system.has_branch() {
            fresh::head(&config.architecture, &mut weights, &mut rng)?;
        } else if recipe != recipe.for_system(system) {
            return Err(ModelError::Config(format!(
                "`{}` has no branch: its mask is 0, and MBTA and MBCA have no weight",
                system.name()
            )));
        }
        Self::of(config, files.tokenizer, frozen, weights, recipe)
    }

    /// Builds what computes from what was read.
    fn of(
        config: ModelConfig,
        tokenizer_file: Option<&[u8]>,
        frozen: BTreeMap<String, Tensor>,
        weights: Weights,
        recipe: Recipe,
    ) -> Result<Self, ModelError> {
        let architecture = &config.architecture;
        // A used-whole audit of everything but the head, as for inference.
        let mut whole: BTreeMap<String, Tensor> = frozen.clone();
        for (name, var) in weights.iter().filter(|(name, _)| is_branch(name)) {
            whole.insert(name.to_owned(), var.as_tensor().clone());
        }
        let audit = Checkpoint::of_tensors(&whole)?;
        let vb = audit.var_builder(&Device::Cpu);
        VideoTower::new(architecture, Ops::Fused, &vb.pp("backbone"))?;
        let text = TextTower::new(architecture, Ops::Fused, &vb.pp("text_backbone"))?;
        audit.finish()?;

        let mut all: HashMap<String, Tensor> = frozen.clone().into_iter().collect();
        for (name, var) in weights.iter() {
            all.insert(name.to_owned(), var.as_tensor().clone());
        }
        let vb = VarBuilder::from_tensors(all, DType::F32, &Device::Cpu);
        let tower = VideoTower::new(architecture, Ops::Learning, &vb.pp("backbone"))?;
        let (d, p) = (architecture.vision.width, architecture.projection);
        let head = if architecture.system().has_branch() {
            let norm = LayerNorm::new(p, Ops::Learning, &vb.pp("extra_proj.1"))?;
            Some((Linear::new(d, p, &vb.pp("extra_proj.0"))?, norm))
        } else {
            None
        };
        let preprocess = Preprocess::new(config.preprocess.clone(), architecture.vision.image);
        let video = daily(&tower, preprocess)?;
        let words = Tokenizer::new(&config, tokenizer_file)?;
        let text: Box<dyn TextEncoder> = if architecture.family.is_clip() {
            Box::new(CpuTextEncoder::new(&text, words)?)
        } else {
            Box::new(TensorTextEncoder::new(text, words))
        };
        Ok(Self {
            text,
            tokenizer_file: tokenizer_file.map(<[u8]>::to_vec),
            frozen_hash: hash_of(&config, &frozen)?,
            config,
            frozen,
            weights,
            recipe,
            tower,
            head,
            video,
        })
    }

    /// What the model is, with its branch.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What is minimised.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// Hash over all that [`Self::features`] depends on.
    pub fn frozen_hash(&self) -> &blake3::Hash {
        &self.frozen_hash
    }

    /// Values of one frame's features: K states of `[1+N, D]`, or one without a branch.
    pub fn frame_len(&self) -> usize {
        let vision = &self.config.architecture.vision;
        self.tower.states_needed() * (1 + vision.patches()) * vision.width
    }

    /// After how many of CLIP's blocks the features are taken: the first state and the last.
    pub fn states_taken(&self) -> (usize, usize) {
        let Architecture { vision, branch, .. } = &self.config.architecture;
        let layers = branch.map_or(0, |branch| branch.layers);
        let last = self.config.architecture.system().blocks(vision.layers, layers);
        (last + 1 - self.tower.states_needed(), last)
    }

    /// What the frozen tower makes of a clip's frames: its last K states, `[T, K, 1+N, D]`; without a
    /// branch one state, that above which the system begins.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn features(&self, frames: &[RgbFrame]) -> Result<Vec<f16>, ModelError> {
        let len = self.frame_len();
        let mut all = vec![f16::ZERO; frames.len() * len];
        let features = self.video.frame_features(frames)?;
        for (to, frame) in all.chunks_exact_mut(len).zip(&features) {
            to.convert_from_f32_slice(&frame.as_floats(len)?);
        }
        Ok(all)
    }

    /// The embeddings of clips, from their [`Self::features`], as the exported model gives them: by the
    /// path of daily use, with the weights as they are now.
    ///
    /// # Errors
    /// Where features are not this model's.
    pub fn embed(&self, clips: &[Vec<f16>]) -> Result<Vec<Embedding>, ModelError> {
        let vision = &self.config.architecture.vision;
        let preprocess = Preprocess::new(self.config.preprocess.clone(), vision.image);
        let encoder = daily(&self.tower, preprocess)?;
        let shape = (1, self.tower.states_needed(), 1 + vision.patches(), vision.width);
        let is_clip = self.config.architecture.family.is_clip();
        let frame = |frame: &[f16]| -> Result<FrameFeatures, ModelError> {
            let mut values = vec![0.0; frame.len()];
            frame.convert_to_f32_slice(&mut values);
            Ok(FrameFeatures(Arc::new(if is_clip {
                States::Floats(values.into_boxed_slice())
            } else {
                States::Tensor(Tensor::from_vec(values, shape, &Device::Cpu)?)
            })))
        };
        let clips = clips.iter().map(|clip| clip.chunks(self.frame_len()).map(frame).collect());
        encoder.embed_clips(&clips.collect::<Result<Vec<_>, _>>()?)
    }

    /// The frozen embedding of each caption, of unit length, `[B, P]`. A caption beyond the context
    /// loses its end, but not the end token that stands for it.
    ///
    /// # Errors
    /// Where a caption has no embedding.
    pub fn texts(&self, captions: &[&str]) -> Result<Vec<Vec<f32>>, ModelError> {
        let embeddings = self.text.embed_texts(captions)?;
        Ok(embeddings.iter().map(|embedding| embedding.as_slice().to_vec()).collect())
    }

    /// Whether the whole caption fits the text tower's context.
    ///
    /// # Errors
    /// Where the tokenizer fails on it.
    pub fn fits(&self, caption: &str) -> Result<bool, ModelError> {
        self.text.fits(caption)
    }

    /// The clips' states as the tower's, each `[B·T, 1+N, D]`, from [`Self::features`] of clips of
    /// `frames` frames.
    fn states(&self, clips: &[Vec<f16>], frames: usize) -> Candle<Vec<Tensor>> {
        let vision = &self.config.architecture.vision;
        let (n1, d, k) = (1 + vision.patches(), vision.width, self.tower.states_needed());
        let one = n1 * d;
        (0..k)
            .map(|state| {
                let mut all = vec![0.0_f32; clips.len() * frames * one];
                let from = clips.iter().flat_map(|clip| clip.chunks_exact(k * one));
                for (to, frame) in all.chunks_exact_mut(one).zip(from) {
                    frame[state * one..][..one].convert_to_f32_slice(to);
                }
                Tensor::from_vec(all, (clips.len() * frames, n1, d), &Device::Cpu)
            })
            .collect()
    }

    /// Writes a folder that [`crate::Model`] opens: CLIP as it was, the branch as it is now, under a
    /// name of its own and without the old calibration, which is not the new model's.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn export(&self, name: &str, description: &str, folder: &Path) -> Result<(), TrainError> {
        let mut config = self.config.clone();
        name.clone_into(&mut config.name);
        description.clone_into(&mut config.description);
        config.calibration = None;
        let frozen = self.frozen.iter().map(|(name, tensor)| (name.as_str(), tensor));
        let open = self.weights.iter().filter(|(name, _)| is_branch(name));
        let open = open.map(|(name, var)| (name, var.as_tensor()));
        let tokenizer = match config.tokenizer {
            TokenizerKind::File => self.tokenizer_file.as_deref(),
            TokenizerKind::Clip => None,
        };
        write_model(frozen.chain(open), Dtype::F32, &config, tokenizer, folder)
    }
}

/// What embeds clips with these weights in daily use, on the CPU.
fn daily(tower: &VideoTower, preprocess: Preprocess) -> Result<Box<dyn VideoEncoder>, ModelError> {
    Ok(if tower.vision.family.is_clip() {
        Box::new(CpuVideoEncoder::new(tower, preprocess, Precision::default())?)
    } else {
        Box::new(TensorVideoEncoder::new(tower.folded(DType::F32)?, preprocess)?)
    })
}

/// A new system of `layers` layers, or as many as a branch before it had, which also says how long clips
/// may be; none for plain CLIP.
fn new_branch(
    system: System,
    layers: Option<usize>,
    before: Option<BranchConfig>,
    family: Family,
) -> Option<BranchConfig> {
    if system == System::MeanPooled {
        return None;
    }
    // Beside EVA-CLIP the authors sum.
    let mode = if family.is_clip() { BranchMode::Gated } else { BranchMode::Additive };
    let before = before.unwrap_or(BranchConfig { mode, ..NEW_BRANCH });
    let own = if before.layers > 0 { before.layers } else { NEW_BRANCH.layers };
    let layers = if system.learns() { layers.unwrap_or(own) } else { 0 };
    Some(BranchConfig { system, layers, ..before })
}

/// Hash of what the image tower's states follow from.
fn hash_of(
    config: &ModelConfig,
    frozen: &BTreeMap<String, Tensor>,
) -> Result<blake3::Hash, ModelError> {
    let mut hasher = blake3::Hasher::new();
    let Architecture { vision, branch, .. } = &config.architecture;
    let (system, layers) = branch.map_or((System::MeanPooled, 0), |b| (b.system, b.layers));
    let states = system.states(layers);
    hasher.update(format!("{:?} {states}\n", config.preprocess).as_bytes());
    let blocks = system.blocks(vision.layers, layers);
    if blocks != vision.layers {
        hasher.update(format!("after {blocks} blocks\n").as_bytes());
    }
    for (name, tensor) in frozen.iter().filter(|(name, _)| name.starts_with("backbone.")) {
        hasher.update(format!("{name} {:?}\n", tensor.dims()).as_bytes());
        for value in tensor.flatten_all()?.to_vec1::<f32>()? {
            hasher.update(&value.to_le_bytes());
        }
    }
    Ok(hasher.finalize())
}
