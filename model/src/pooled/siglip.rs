//! `SigLIP`'s image tower.
//!
//! Ported from the formulas of Hugging Face's `SiglipVisionTransformer` (transformers 4.46). `M`
//! frames, `N` patches, `D` channels.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::config::VisionConfig;
use crate::layers::{Attention, Block, BlockConfig, BlockStyle, LayerNorm, Linear, Mlp};
use crate::ops::Ops;

/// Patches, blocks, and one learned query that looks at what they give.
#[derive(Clone, Debug)]
pub struct SiglipVision {
    config: VisionConfig,
    /// `[D, 3 patch patch]`.
    patches: Linear,
    /// `[N, D]`.
    position_embedding: Tensor,
    layers: Vec<Block>,
    post_layernorm: LayerNorm,
    /// The learned query, `[1, 1, D]`.
    probe: Tensor,
    attention: Attention,
    layernorm: LayerNorm,
    mlp: Mlp,
}

impl SiglipVision {
    /// Takes the parameters below `vb`.
    pub(super) fn new(
        config: VisionConfig,
        projection: usize,
        ops: Ops,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let VisionConfig { patch, width, heads, layers, mlp, .. } = config;
        if projection != width {
            candle_core::bail!(
                "SigLIP's image tower gives {width} values a frame, and {projection} are wanted"
            );
        }
        let style = BlockStyle::SIGLIP;
        let block = BlockConfig { width, heads, mlp, depth: layers, style };
        let normal = |stdev| Init::Randn { mean: 0.0, stdev };
        let small = (width as f64).powf(-0.5);
        let (blocks, head) = (vb.pp("layers"), vb.pp("head"));
        let embedding = vb.pp("patch_embedding");
        let weight = embedding.get_with_hints((width, 3, patch, patch), "weight", normal(small))?;
        let bias = embedding.get_with_hints(width, "bias", candle_nn::init::ZERO)?;
        Ok(Self {
            patches: Linear::of(weight.reshape((width, config.patch_values()))?, bias),
            position_embedding: vb.pp("position_embedding").get_with_hints(
                (config.patches(), width),
                "weight",
                normal(small),
            )?,
            layers: (0..layers)
                .map(|layer| Block::new(block, ops, &blocks.pp(layer)))
                .collect::<Result<_>>()?,
            post_layernorm: LayerNorm::with_eps(width, style.eps, ops, &vb.pp("post_layernorm"))?,
            probe: head.get_with_hints((1, 1, width), "probe", normal(small))?,
            attention: Attention::clip(block, ops, &head.pp("attention"))?,
            layernorm: LayerNorm::with_eps(width, style.eps, ops, &head.pp("layernorm"))?,
            mlp: Mlp::new(block, ops, &head.pp("mlp"))?,
            config,
        })
    }

    /// `M 3 image image -> M D`, not normalised.
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let VisionConfig { patch, .. } = self.config;
        let grid = self.config.grid();
        let m = pixels.dim(0)?;
        // What is left of the picture beyond the last whole patch is not looked at.
        let whole = pixels.narrow(2, 0, grid * patch)?.narrow(3, 0, grid * patch)?;
        let patches = whole
            .contiguous()?
            .reshape((m, 3, grid, patch, grid * patch))?
            .transpose(1, 2)? // M gy 3 p (gx p)
            .contiguous()?
            .reshape((m * grid, 3 * patch, grid, patch))?
            .transpose(1, 2)? // (M gy) gx (3 p) p
            .contiguous()?
            .reshape((m, grid * grid, 3 * patch * patch))?;
        let mut xs = self.patches.forward(&patches)?.broadcast_add(&self.position_embedding)?;
        for block in &self.layers {
            xs = block.forward(&xs, None)?;
        }
        let xs = self.post_layernorm.forward(&xs)?;
        let query = self.probe.broadcast_as((m, 1, self.config.width))?.contiguous()?;
        let seen = self.attention.look(&query, &xs, None)?; // M 1 D
        (&seen + self.mlp.forward(&self.layernorm.forward(&seen)?)?)?.squeeze(1)
    }
}
