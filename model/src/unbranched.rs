//! The paper's systems without a branch: they stand in the place of CLIP's last blocks, or after them.
//!
//! `B` clips of `T` frames of `N` patches, `D` channels, `K` layers. Where the paper leaves it open: the
//! temporal table begins at zero, and so does what the temporal layers add, so that each of these
//! systems begins as CLIP; the final layer norm and projection are CLIP's own. Parameters have the names of
//! the branch's, and the copies of CLIP's blocks those of its spatial layers.

use candle_core::{DType, Result, Tensor};
use candle_nn::VarBuilder;

use crate::bt_adapter::{DropPath, PatchTokens, TemporalLayer, class_tokens_of, patches_of};
use crate::config::{BranchConfig, VisionConfig};
use crate::family::Family;
use crate::layers::{Block, BlockConfig};
use crate::ops::Ops;
use crate::system::System;

/// What makes tokens that stand for a clip of one state of its frames.
#[derive(Clone, Debug)]
pub struct Unbranched {
    config: BranchConfig,
    /// `[max_frames, D]`; none where tokens are only averaged.
    time_embed: Option<Tensor>,
    /// One before each block; none in joint space-time.
    t_layers: Vec<TemporalLayer>,
    /// CLIP's last K blocks or the copies that learned.
    blocks: Vec<Block>,
}

impl Unbranched {
    /// Takes the parameters below `vb` (`backbone` in a checkpoint of the reference).
    pub(crate) fn new(
        config: BranchConfig,
        vision: VisionConfig,
        family: Family,
        ops: Ops,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let VisionConfig { width, heads, mlp, layers: depth, .. } = vision;
        let BranchConfig { system, layers, max_frames, .. } = config;
        let own = vb.pp("btadapter_S_layers");
        let first = depth - layers;
        let config_of = BlockConfig { width, heads, mlp, depth, style: family.image_blocks() };
        let block = |layer: usize| {
            let vb = if system.copies_blocks() {
                own.pp(layer)
            } else {
                vb.pp("layers").pp(first + layer)
            };
            Block::new(config_of, ops, &vb)
        };
        let temporal = vb.pp("btadapter_T_layers");
        let with_time = if system.attends_over_time() { layers } else { 0 };
        let time_embed = if system.learns() {
            let times = vb.pp("btadapter_time_embed");
            Some(times.get_with_hints((max_frames, width), "weight", candle_nn::init::ZERO)?)
        } else {
            None
        };
        Ok(Self {
            config,
            time_embed,
            t_layers: (0..with_time)
                .map(|layer| TemporalLayer::new(config_of, ops, &temporal.pp(layer)))
                .collect::<Result<_>>()?,
            blocks: (0..layers).map(block).collect::<Result<_>>()?,
        })
    }

    /// The same with weights of `dtype`: see [`crate::bt_adapter::VideoTower::folded`].
    pub(crate) fn folded(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            config: self.config,
            time_embed: self.time_embed.as_ref().map(|table| table.to_dtype(dtype)).transpose()?,
            t_layers: self
                .t_layers
                .iter()
                .map(|layer| layer.folded(dtype))
                .collect::<Result<_>>()?,
            blocks: self.blocks.iter().map(|block| block.folded(dtype)).collect::<Result<_>>()?,
        })
    }

    /// Which system it is, and its sizes.
    pub fn config(&self) -> &BranchConfig {
        &self.config
    }

    /// The tokens that stand for each clip, before the final layer norm: `[B·T, 1+N, D] -> [B·M, D]`.
    /// M is T, or 1 in joint space-time, or T + N where tokens are pooled. The state is the last where
    /// they are pooled, otherwise the input of the last K blocks.
    pub(crate) fn tokens(
        &self,
        state: &Tensor,
        frames: usize,
        drop_path: Option<&DropPath<'_>>,
    ) -> Result<Tensor> {
        let most = self.config.max_frames;
        if frames == 0 || frames > most || !state.dim(0)?.is_multiple_of(frames) {
            candle_core::bail!(
                "{} frames are no clips of {frames} frames (1 to {most})",
                state.dim(0)?
            );
        }
        let drop = |layer: usize, xs: Tensor| match drop_path {
            Some(drop) => drop(layer, xs),
            None => Ok(xs),
        };
        let Some(times) = &self.time_embed else { return pooled(state, frames) };
        let times = times.narrow(0, 0, frames)?;
        if self.config.system == System::JointSt {
            self.joint(state, &times, &drop)
        } else {
            self.separate(state, &times, &drop)
        }
    }

    /// One sequence a clip: the frames' mean class token, then all patches.
    fn joint(&self, state: &Tensor, times: &Tensor, drop: &DropPath<'_>) -> Result<Tensor> {
        let (frames, d) = times.dims2()?;
        let class = class_tokens_of(state, frames)?.mean_keepdim(1)?; // b 1 d
        let patches = with_times(&patches_of(state, frames)?, times)?;
        let mut xs = Tensor::cat(&[&class, &patches], 1)?; // b (1 (l t)) d
        for (layer, block) in self.blocks.iter().enumerate() {
            xs = block.forward_dropping(&xs, |mixed| drop(layer, mixed))?;
        }
        let b = xs.dim(0)?;
        xs.narrow(1, 0, 1)?.contiguous()?.reshape((b, d))
    }

    /// Over time, then, frame by frame, over space; class tokens see their own frame alone.
    fn separate(&self, state: &Tensor, times: &Tensor, drop: &DropPath<'_>) -> Result<Tensor> {
        let (frames, d) = times.dims2()?;
        let (bt, n1, _) = state.dims3()?;
        let learns = self.config.system.copies_blocks();
        let mut class = state.narrow(1, 0, 1)?.contiguous()?; // (b t) 1 d
        let mut patches = with_times(&patches_of(state, frames)?, times)?; // b (l t) d
        for (layer, (temporal, block)) in self.t_layers.iter().zip(&self.blocks).enumerate() {
            patches = temporal.forward(&patches, frames, |mixed| drop(layer, mixed))?;
            let over_space = PatchTokens::of(&patches, frames)?.over_space(&patches)?;
            let xs = Tensor::cat(&[&class, &over_space], 1)?; // (b t) (1 l) d
            let xs =
                block.forward_dropping(
                    &xs,
                    |mixed| if learns { drop(layer, mixed) } else { Ok(mixed) },
                )?;
            class = xs.narrow(1, 0, 1)?.contiguous()?;
            let over_space = xs.narrow(1, 1, n1 - 1)?.contiguous()?;
            patches = PatchTokens::of(&patches, frames)?.from_space(&over_space)?;
        }
        class.reshape((bt, d))
    }
}

/// `b (l t) d` with a time's row `[t, d]` added to each token of that time.
fn with_times(patches: &Tensor, times: &Tensor) -> Result<Tensor> {
    let (b, lt, d) = patches.dims3()?;
    let t = times.dim(0)?;
    let added = patches.reshape((b, lt / t, t, d))?.broadcast_add(times)?;
    added.reshape((b, lt, d))
}

/// Patch tokens averaged over space, T of them, and over time, N: `[B·T, 1+N, D] -> [B·(T+N), D]`.
fn pooled(state: &Tensor, frames: usize) -> Result<Tensor> {
    let (bt, n1, d) = state.dims3()?;
    let (b, n) = (bt / frames, n1 - 1);
    let patches = state.narrow(1, 1, n)?.contiguous()?.reshape((b, frames, n, d))?;
    let by_time = patches.mean(2)?; // b t d
    let by_place = patches.mean(1)?; // b l d
    Tensor::cat(&[&by_time, &by_place], 1)?.reshape((b * (frames + n), d))
}
