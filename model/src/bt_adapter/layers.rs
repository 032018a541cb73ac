//! One temporal and one spatial layer of the branch.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::tokens::PatchTokens;
use crate::layers::{Attention, Block, BlockConfig, LayerNorm, Linear};
use crate::ops::Ops;

/// Applied to the output of an attention before it is added; the argument before it is the number
/// of the branch layer. Training drops whole rows here, inference has none.
pub type DropPath<'a> = dyn Fn(usize, Tensor) -> Result<Tensor> + 'a;

/// Attention over the frames of one patch position (BT-ADAPTER.md 2.3), without an MLP:
/// `p += temporal_fc(attention(ln(p)))`. The class token passes by.
#[derive(Clone, Debug)]
pub struct TemporalLayer {
    pub(crate) layer_norm1: LayerNorm,
    pub(crate) self_attn: Attention,
    pub(crate) temporal_fc: Linear,
}

impl TemporalLayer {
    pub(crate) fn new(config: BlockConfig, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let BlockConfig { width, style, .. } = config;
        Ok(Self {
            layer_norm1: LayerNorm::with_eps(width, style.eps, ops, &vb.pp("layer_norm1"))?,
            self_attn: Attention::fresh(config, ops, &vb.pp("self_attn"))?,
            temporal_fc: Linear::zero(width, width, &vb.pp("temporal_fc"))?,
        })
    }

    /// `b (l t) d -> b (l t) d`.
    pub(crate) fn forward(
        &self,
        patches: &Tensor,
        frames: usize,
        drop_path: impl Fn(Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let tokens = PatchTokens::of(patches, frames)?;
        let over_time = tokens.over_time(patches)?; // (b l) t d
        let mixed = self.self_attn.forward(&self.layer_norm1.forward(&over_time)?, None)?;
        let added = self.temporal_fc.forward(&drop_path(mixed)?)?;
        patches + tokens.from_time(&added)?
    }
}

/// Attention over the patches of one frame (BT-ADAPTER.md 2.4), then one MLP on all tokens.
///
/// Every frame sees the one class token of the clip; the class token takes the mean of what it saw
/// in the frames.
#[derive(Clone, Debug)]
pub struct SpatialLayer(pub(crate) Block);

impl SpatialLayer {
    pub(super) fn new(config: BlockConfig, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        Ok(Self(Block::new(config, ops, vb)?))
    }

    /// `cls [b, 1, d]` and `patches` of `b (l t) d`, both updated.
    pub(super) fn forward(
        &self,
        cls: &Tensor,
        patches: &Tensor,
        frames: usize,
        drop_path: impl Fn(Tensor) -> Result<Tensor>,
    ) -> Result<(Tensor, Tensor)> {
        let tokens = PatchTokens::of(patches, frames)?;
        let (b, _, d) = cls.dims3()?;
        let over_space = tokens.over_space(patches)?; // (b t) l d
        let (bt, l, _) = over_space.dims3()?;
        let copies = cls.broadcast_as((b, frames, d))?.contiguous()?.reshape((bt, 1, d))?;
        let sequence = Tensor::cat(&[&copies, &over_space], 1)?; // (b t) (1 l) d

        let Block { layer_norm1, self_attn, layer_norm2, mlp } = &self.0;
        let mixed = drop_path(self_attn.forward(&layer_norm1.forward(&sequence)?, None)?)?;
        let cls_seen = mixed.narrow(1, 0, 1)?.reshape((b, frames, d))?.mean_keepdim(1)?;
        let cls = (cls + cls_seen)?;
        let patches = (patches + tokens.from_space(&mixed.narrow(1, 1, l)?.contiguous()?)?)?;

        let merged = Tensor::cat(&[&cls, &patches], 1)?; // b (1 (l t)) d
        let merged = (&merged + mlp.forward(&layer_norm2.forward(&merged)?)?)?;
        let patch_tokens = merged.dim(1)? - 1;
        Ok((merged.narrow(1, 0, 1)?, merged.narrow(1, 1, patch_tokens)?.contiguous()?))
    }
}

/// `(1 - g) a + g b` for a gate of one value per channel, or `a + b` without one.
pub(super) fn mix(a: &Tensor, b: &Tensor, gate: Option<&Tensor>) -> Result<Tensor> {
    match gate {
        None => a.broadcast_add(b),
        Some(gate) => {
            let kept = a.broadcast_mul(&gate.affine(-1.0, 1.0)?)?;
            kept.broadcast_add(&b.broadcast_mul(gate)?)
        }
    }
}

/// `sigmoid(factor * balance)`: the factor is a gain on the gate's learning rate.
pub(super) fn gate(balance: &Tensor, factor: f64) -> Result<Tensor> {
    candle_nn::ops::sigmoid(&(balance * factor)?)
}

/// Mean over the second axis, kept: `b t d -> b 1 d`.
pub(super) fn mean_over_frames(xs: &Tensor) -> Result<Tensor> {
    xs.mean_keepdim(1)
}
