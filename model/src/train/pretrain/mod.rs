//! Pre-training a branch beside a frozen CLIP, as in the paper's section 3.3.
//!
//! CLIP sees every frame whole and once; what it made of a clip ([`Pretraining::features`]) never
//! changes and can be kept. The branch sees a masked part, and three losses teach it: the clip's
//! embedding and its caption's (VTC), its tokens and CLIP's (MBTA), its tokens and the caption's
//! embedding (MBCA). Where the paper and the released code differ, [`Recipe`] has both.
//!
//! The forward pass is the one definition of [`crate::bt_adapter`], built from operations that can be
//! differentiated, on the CPU.

mod course;
mod fresh;
mod mask;
mod recipe;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::{DType, Device, Result as Candle, Tensor};
use candle_nn::VarBuilder;
use footage_clip::RgbFrame;
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;

pub use self::course::{Course, Features, PretrainError, StepLosses};
pub use self::mask::{Mask, MaskOrder};
pub use self::recipe::{LossWeights, RATES, Recipe, TokenLoss};
use super::TrainError;
use super::Weights;
use super::export::write_model;
use super::objective::nce;
use crate::ModelError;
use crate::bt_adapter::{BranchOptions, VideoTower, patches_of, select};
use crate::checkpoint::Checkpoint;
use crate::clip_text::TextTower;
use crate::config::{BranchConfig, BranchMode, ModelConfig, TokenizerKind};
use crate::cpu::{CpuTextEncoder, CpuVideoEncoder, Precision};
use crate::encoder::{TextEncoder as _, VideoEncoder as _};
use crate::layers::{LayerNorm, Linear};
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::tokenizer::Tokenizer;

/// What a new branch is to be where a model has none.
pub const NEW_BRANCH: BranchConfig = BranchConfig {
    layers: 4,
    mode: BranchMode::Gated,
    out_norm: 1e4,
    middle_norm: 1e2,
    max_frames: 64,
};

/// Which branch pre-training begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// That of the model, or a new one ([`NEW_BRANCH`]) where it has none.
    Own,
    /// A new one of this many layers, or of as many as the model's has.
    New(Option<usize>),
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
    head: (Linear, LayerNorm),
    video: CpuVideoEncoder,
    text: CpuTextEncoder,
}

impl std::fmt::Debug for Pretraining {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pretraining({}, {:?})", self.config.name, self.recipe)
    }
}

/// The losses of a step, before their weights.
#[derive(Clone, Debug)]
pub struct PretrainLosses {
    /// The sum that is minimised, with the weights.
    pub total: Tensor,
    /// Video and text.
    pub vtc: Tensor,
    /// The branch's tokens and CLIP's.
    pub mbta: Tensor,
    /// The branch's tokens and text.
    pub mbca: Tensor,
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
            let mut branch = own.unwrap_or(NEW_BRANCH);
            if let Start::New(Some(layers)) = start {
                branch.layers = layers;
            }
            if branch.layers == 0 || branch.layers > config.architecture.vision.layers {
                return Err(ModelError::Config(format!(
                    "a branch of {} layers does not fit beside a tower of {}",
                    branch.layers, config.architecture.vision.layers
                )));
            }
            config.architecture.branch = Some(branch);
            fresh::branch(&config.architecture, &frozen, &mut weights, &mut rng)?;
        }
        fresh::head(&config.architecture, &mut weights, &mut rng)?;
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
        let text = TextTower::new(
            architecture.text,
            architecture.projection,
            Ops::Fused,
            &vb.pp("text_backbone"),
        )?;
        audit.finish()?;

        let mut all: HashMap<String, Tensor> = frozen.clone().into_iter().collect();
        for (name, var) in weights.iter() {
            all.insert(name.to_owned(), var.as_tensor().clone());
        }
        let vb = VarBuilder::from_tensors(all, DType::F32, &Device::Cpu);
        let tower = VideoTower::new(architecture, Ops::Composed, &vb.pp("backbone"))?;
        let (d, p) = (architecture.vision.width, architecture.projection);
        let head = (
            Linear::new(d, p, &vb.pp("extra_proj.0"))?,
            LayerNorm::new(p, Ops::Composed, &vb.pp("extra_proj.1"))?,
        );
        let preprocess = Preprocess::new(config.preprocess.clone(), architecture.vision.image);
        let video = CpuVideoEncoder::new(&tower, preprocess, Precision::default())?;
        let words = Tokenizer::new(&config, tokenizer_file)?;
        Ok(Self {
            text: CpuTextEncoder::new(&text, words)?,
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

    /// Branch layers, K.
    pub fn layers(&self) -> usize {
        self.tower.states_needed()
    }

    /// Hash over all that [`Self::features`] depends on.
    pub fn frozen_hash(&self) -> &blake3::Hash {
        &self.frozen_hash
    }

    /// Values of one frame's features: K states of `[1+N, D]`.
    pub fn frame_len(&self) -> usize {
        let vision = &self.config.architecture.vision;
        self.layers() * (1 + vision.patches()) * vision.width
    }

    /// What the frozen tower makes of a clip's frames: its last K states, `[T, K, 1+N, D]`.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn features(&self, frames: &[RgbFrame]) -> Result<Vec<f16>, ModelError> {
        let len = self.frame_len();
        let mut all = vec![f16::ZERO; frames.len() * len];
        let features = self.video.frame_features(frames)?;
        for (to, frame) in all.chunks_exact_mut(len).zip(&features) {
            to.convert_from_f32_slice(frame.floats(len)?);
        }
        Ok(all)
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
        let (n1, d, k) = (1 + vision.patches(), vision.width, self.layers());
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

    /// The three losses of clips whose states are `states`, with captions' embeddings `texts [B, P]`.
    /// `drop` holds what drops attention outputs at random; nothing is dropped without it.
    ///
    /// # Errors
    /// Where sizes do not fit.
    pub fn losses(
        &self,
        states: &[Tensor],
        frames: usize,
        texts: &Tensor,
        mask: &Mask,
        drop: Option<ChaCha8Rng>,
    ) -> Candle<PretrainLosses> {
        let Recipe { weights, temperature, tokens, drop_path, .. } = self.recipe;
        let rng = drop.map(RefCell::new);
        let last_layer = self.layers().saturating_sub(1).max(1) as f64;
        let dropping = |layer: usize, xs: Tensor| match &rng {
            Some(rng) => {
                drop_rows(&xs, drop_path * layer as f64 / last_layer, &mut rng.borrow_mut())
            }
            None => Ok(xs),
        };
        let options =
            BranchOptions { kept: Some(&mask.branch), drop_path: Some(&dropping), probe: None };
        let output = self.tower.embed(states, frames, options)?;
        let (Some(branch), Some(last)) = (output.branch, states.last()) else {
            candle_core::bail!("pre-training wants a branch")
        };
        let scale = 1.0 / temperature;
        let vtc = nce(&output.video_embed, texts, scale)?;

        let vision = &self.tower.vision;
        let seen = vision.visual_projection().forward(&branch.patches)?.mean(1)?;
        let mbca = nce(&seen, texts, scale)?;

        let teacher = vision.project(&select(&patches_of(last, frames)?, &mask.teacher)?)?;
        let student = self.head.1.forward(&self.head.0.forward(&branch.patches)?)?;
        let mbta = token_loss(tokens, &student, &teacher)?;

        let total = ((&vtc * weights.vtc)? + (&mbta * weights.mbta)?)?;
        let total = (total + (&mbca * weights.mbca)?)?;
        Ok(PretrainLosses { total, vtc, mbta, mbca })
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

/// Hash of what the image tower's states follow from.
fn hash_of(
    config: &ModelConfig,
    frozen: &BTreeMap<String, Tensor>,
) -> Result<blake3::Hash, ModelError> {
    let mut hasher = blake3::Hasher::new();
    let layers = config.architecture.branch.map_or(1, |branch| branch.layers);
    hasher.update(format!("{:?} {layers}\n", config.preprocess).as_bytes());
    for (name, tensor) in frozen.iter().filter(|(name, _)| name.starts_with("backbone.")) {
        hasher.update(format!("{name} {:?}\n", tensor.dims()).as_bytes());
        for value in tensor.flatten_all()?.to_vec1::<f32>()? {
            hasher.update(&value.to_le_bytes());
        }
    }
    Ok(hasher.finalize())
}

/// Mean over tokens of their distance (BT-ADAPTER.md 3.2 and 3.3, row 6).
fn token_loss(loss: TokenLoss, student: &Tensor, teacher: &Tensor) -> Candle<Tensor> {
    let (student, teacher) = match loss {
        TokenLoss::SquaredDistance => (student.clone(), teacher.clone()),
        TokenLoss::Cosine => (super::network::unit(student)?, super::network::unit(teacher)?),
    };
    // Of tokens of unit length the squared distance is 2 - 2 cos.
    (student - teacher)?.sqr()?.sum(2)?.mean_all()
}

/// Sets whole rows of `xs [rows, ..]` to zero with probability `share`, and lets the others make up
/// for them.
fn drop_rows(xs: &Tensor, share: f64, rng: &mut ChaCha8Rng) -> Candle<Tensor> {
    if share <= 0.0 {
        return Ok(xs.clone());
    }
    let rows = xs.dim(0)?;
    let kept = (1.0 / (1.0 - share)) as f32;
    let factors: Vec<f32> =
        (0..rows).map(|_| if rng.random::<f64>() < share { 0.0 } else { kept }).collect();
    let mut shape = vec![1; xs.rank()];
    shape[0] = rows;
    xs.broadcast_mul(&Tensor::from_vec(factors, shape, &Device::Cpu)?)
}
