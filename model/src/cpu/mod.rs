//! The encoders on the CPU: the forward pass of [`crate::bt_adapter`] and [`crate::clip_text`] on
//! plain slices, several times as fast.
//!
//! What makes the difference: weights packed once, in the order in which an AVX-512 kernel reads
//! them, on huge pages, and fetched before their turn (`matmul`, `kernel`, `floats`); query,
//! key and value as one product; bias, quick-GELU and residual addition while a tile is still in
//! registers; buffers that are kept; and every frame, clip or part of a clip on its own thread, with
//! nothing to wait for. Without AVX-512 the same code runs on AVX2, or on what the compiler makes of
//! it.
//!
//! Every row is summed in an order of its own, whoever is computed beside it, so that a clip's
//! embedding is the same to the bit whether its frames were computed for it alone or shared.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx;
mod attention;
mod block;
mod branch;
mod class_query;
mod floats;
mod kernel;
mod matmul;
mod parallel;
mod precision;
mod simd;
mod text;
mod vision;

use std::sync::Arc;

use candle_core::{Device, Tensor};
use candle_nn::VarBuilder;
use footage_clip::{Embedding, RgbFrame};
use rayon::iter::{
    IndexedParallelIterator, IntoParallelIterator, IntoParallelRefIterator, ParallelIterator,
};

use self::block::{Norm, floats_of, raw};
use self::branch::CpuBranch;
use self::matmul::{Finish, Packed, Scratch};
use self::parallel::Pool;
use self::precision::Arithmetic;
pub use self::precision::Precision;
pub use self::text::CpuTextEncoder;
pub(crate) use self::text::CpuTextTower;
use self::vision::{CpuVision, VisionRoom};
use crate::ModelError;
use crate::bt_adapter::{BtAdapter, VideoTower, above};
use crate::clip_vision::VisionTower;
use crate::config::{Architecture, VisionConfig};
use crate::encoder::{
    FrameFeatures, MAX_FRAMES_WITHOUT_BRANCH, States, VideoEncoder, frames_of_each,
};
use crate::family::Family;
use crate::layers::{Block, BlockConfig, BlockStyle};
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::unbranched::Unbranched;

/// BT-Adapter, gated or additive, plain CLIP with its frames averaged, or another system, as the tower is
/// built.
#[derive(Debug)]
pub struct CpuVideoEncoder {
    vision: CpuVision,
    above: Above,
    post_norm: Norm,
    projection: Packed,
    preprocess: Preprocess,
    arithmetic: Arithmetic,
    room: Pool<VisionRoom>,
    scratch: Pool<Scratch>,
}

/// What makes tokens that stand for a clip of its frames' states.
#[derive(Debug)]
enum Above {
    /// Nothing: the frames' class tokens are taken.
    Nothing,
    Branch(Box<CpuBranch>),
    /// A system of the paper that was never made fast: on candle's tensors.
    Unbranched(Unbranched),
}

impl Above {
    fn new(
        branch: Option<BtAdapter>,
        unbranched: Option<Unbranched>,
        arithmetic: Arithmetic,
    ) -> Result<Self, ModelError> {
        Ok(match (branch, unbranched) {
            (Some(branch), _) => Self::Branch(Box::new(CpuBranch::new(branch, arithmetic)?)),
            (None, Some(system)) => Self::Unbranched(system),
            (None, None) => Self::Nothing,
        })
    }

    /// States of a frame that it reads.
    fn states(&self) -> usize {
        if let Self::Branch(branch) = self { branch.states() } else { 1 }
    }

    fn max_frames(&self) -> usize {
        match self {
            Self::Nothing => MAX_FRAMES_WITHOUT_BRANCH,
            Self::Branch(branch) => branch.max_frames(),
            Self::Unbranched(system) => system.config().max_frames,
        }
    }

    /// Tokens of `width` end to end, from the states of a clip's frames.
    fn tokens(
        &self,
        frames: &[&[f32]],
        width: usize,
        parts: usize,
    ) -> Result<Vec<f32>, ModelError> {
        match self {
            Self::Branch(branch) => branch.class_tokens(frames, parts),
            Self::Unbranched(system) => {
                let shape = (frames.len(), (), width);
                let state = Tensor::from_vec(frames.concat(), shape, &Device::Cpu)?;
                Ok(system.tokens(&state, frames.len(), None)?.flatten_all()?.to_vec1()?)
            }
            Self::Nothing => Ok(frames.iter().flat_map(|frame| &frame[..width]).copied().collect()),
        }
    }
}

/// Only CLIP's blocks are fused here.
fn not_here(family: Family) -> ModelError {
    let what = "is not computed by the processor's own path: use the tensor encoders";
    ModelError::Family { family: family.name(), what }
}

impl CpuVideoEncoder {
    /// Packs the tower's weights, which must lie on the CPU in `f32`.
    pub fn new(
        tower: &VideoTower,
        preprocess: Preprocess,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let VideoTower { mut vision, branch, unbranched } = tower.clone();
        let replaced = unbranched.as_ref().map_or(0, |system| system.config().layers);
        vision.config.layers -= replaced;
        let block = |at: usize| Ok(vision.layers[at].clone());
        Self::of(&vision, (branch, unbranched), block, preprocess, precision)
    }

    /// Packs the weights below `vb` (`backbone` in a checkpoint of the reference) as they are read,
    /// block by block.
    pub(crate) fn read(
        architecture: &Architecture,
        vb: &VarBuilder<'_>,
        preprocess: Preprocess,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let VisionConfig { width, heads, mlp, layers: depth, .. } = architecture.vision;
        let ops = Ops::Fused;
        let without_blocks = VisionConfig { layers: 0, ..architecture.vision };
        let mut vision = VisionTower::new(
            &Architecture { vision: without_blocks, ..architecture.clone() },
            ops,
            vb,
        )?;
        vision.config.layers = depth;
        let above = above(architecture, &vision, ops, vb)?;
        vision.config.layers -= above.1.as_ref().map_or(0, |system| system.config().layers);
        let (config, blocks) =
            (BlockConfig { width, heads, mlp, depth, style: BlockStyle::CLIP }, vb.pp("layers"));
        let block = |at: usize| Ok(Block::new(config, ops, &blocks.pp(at))?);
        Self::of(&vision, above, block, preprocess, precision)
    }

    /// Packs a tower whose blocks `block` gives, each once.
    fn of(
        vision: &VisionTower,
        (branch, unbranched): (Option<BtAdapter>, Option<Unbranched>),
        block: impl Fn(usize) -> Result<Block, ModelError> + Sync,
        preprocess: Preprocess,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let arithmetic = Arithmetic::fastest(precision);
        let projection = raw(&vision.visual_projection)?;
        let [projection] = Packed::all([projection], Arithmetic::vectors())?;
        let above = Above::new(branch, unbranched, arithmetic)?;
        let post_norm = Norm::new(&vision.post_layernorm)?;
        Ok(Self {
            vision: CpuVision::new(vision, block, above.states(), arithmetic)?,
            above,
            post_norm,
            projection,
            preprocess,
            arithmetic,
            room: Pool::new(VisionRoom::new),
            scratch: Pool::new(Scratch::new),
        })
    }

    /// The embeddings of clips whose pixels are prepared already, not normalised: `[B, T, 3, image,
    /// image] -> [B, P]`, row after row.
    pub fn embed_pixels(&self, pixels: &Tensor) -> Result<Vec<Vec<f32>>, ModelError> {
        let (b, t, c, height, width) = pixels.dims5()?;
        let (side, max_frames) = (self.preprocess.side(), self.max_frames());
        if t == 0 || t > max_frames {
            return Err(ModelError::ClipLength { frames: t, max_frames });
        }
        if (c, height, width) != (3, side, side) {
            return Err(ModelError::FrameShape { shape: [c, height, width], side });
        }
        let values = floats_of(pixels)?;
        let frame_len = self.preprocess.len();
        let frame = |at: usize| &values[at * frame_len..][..frame_len];
        let states = self.states(b * t, |at, out| out.copy_from_slice(frame(at)))?;
        states
            .chunks_exact(t)
            .map(|frames| {
                let frames: Vec<&[f32]> = frames.iter().map(|frame| &**frame).collect();
                self.project(&frames, rayon::current_num_threads())
            })
            .collect()
    }

    /// The states of `count` frames; `pixels` writes those of one of them.
    fn states(
        &self,
        count: usize,
        pixels: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Result<Vec<Box<[f32]>>, ModelError> {
        let share = count.div_ceil(rayon::current_num_threads());
        let at_a_time =
            (self.arithmetic.rows_at_a_time() / self.vision.tokens()).clamp(1, share.max(1));
        let states: Vec<Vec<Box<[f32]>>> = (0..count.div_ceil(at_a_time))
            .into_par_iter()
            .with_max_len(1)
            .map(|part| {
                let first = part * at_a_time;
                let count = at_a_time.min(count - first);
                let mut room = self.room.take()?;
                let states =
                    self.vision.states(count, |at, out| pixels(first + at, out), &mut room)?;
                self.room.give_back(room);
                Ok(states)
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(states.into_iter().flatten().collect())
    }

    /// One clip's embedding, not normalised, given the states of its frames; the work is split into
    /// `parts`.
    fn project(&self, frames: &[&[f32]], parts: usize) -> Result<Vec<f32>, ModelError> {
        let width = self.post_norm.width();
        let tokens = self.above.tokens(frames, width, parts)?;
        let share = width as f32 / tokens.len() as f32;
        let mut mean = vec![0.0; width];
        let mut normed = vec![0.0; width];
        for token in tokens.chunks_exact(width) {
            self.post_norm.apply(token, &mut normed);
            simd::add_scaled(&mut mean, &normed, share);
        }
        let dim = self.projection.outputs();
        let mut embedding = vec![0.0; dim];
        let mut scratch = self.scratch.take()?;
        let out = (embedding.as_mut_slice(), dim);
        self.projection.apply(1, |_| &mean, Finish::Store, out, &mut scratch)?;
        self.scratch.give_back(scratch);
        Ok(embedding)
    }
}

impl VideoEncoder for CpuVideoEncoder {
    fn dim(&self) -> usize {
        self.projection.outputs()
    }

    fn max_frames(&self) -> usize {
        self.above.max_frames()
    }

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<FrameFeatures>, ModelError> {
        let states =
            self.states(frames.len(), |at, out| self.preprocess.apply(&frames[at], out))?;
        Ok(states
            .into_iter()
            .map(|states| FrameFeatures(Arc::new(States::Floats(states))))
            .collect())
    }

    fn embed_clips(&self, clips: &[Vec<FrameFeatures>]) -> Result<Vec<Embedding>, ModelError> {
        if clips.is_empty() {
            return Ok(Vec::new());
        }
        frames_of_each(clips, self.max_frames())?;
        let needed = self.above.states() * self.vision.state_len();
        let clips = clips
            .iter()
            .map(|clip| clip.iter().map(|frame| frame.floats(needed)).collect())
            .collect::<Result<Vec<Vec<&[f32]>>, _>>()?;
        // As many clips at once as there are threads; what is left over is shared out by parts.
        let threads = rayon::current_num_threads();
        let (at_once, shared_out) = clips.split_at(clips.len() - clips.len() % threads);
        let mut embeddings = at_once
            .par_iter()
            .with_max_len(1)
            .map(|clip| Ok(Embedding::normalise(self.project(clip, 1)?)?))
            .collect::<Result<Vec<_>, ModelError>>()?;
        for clip in shared_out {
            embeddings.push(Embedding::normalise(self.project(clip, threads)?)?);
        }
        Ok(embeddings)
    }
}
