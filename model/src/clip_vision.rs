//! The image tower of CLIP and of EVA-CLIP.
//!
//! Ported from the formulas of Hugging Face's `CLIPVisionModelWithProjection` (transformers 4.35,
//! `modeling_clip.py`), which the reference subclasses. `M` frames, `N` patches, `D` channels, `P`
//! dimensions of the shared space.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::config::{Architecture, VisionConfig};
use crate::family::Family;
use crate::layers::{Block, BlockConfig, LayerNorm, Linear};
use crate::ops::Ops;

/// The image tower and its projection into the shared space.
#[derive(Clone, Debug)]
pub struct VisionTower {
    pub(crate) config: VisionConfig,
    pub(crate) family: Family,
    pub(crate) class_embedding: Tensor,
    pub(crate) patch_embedding: Tensor,
    pub(crate) position_embedding: Tensor,
    /// Only EVA-CLIP has it.
    pub(crate) patch_bias: Option<Tensor>,
    /// EVA-CLIP has none.
    pub(crate) pre_layrnorm: Option<LayerNorm>,
    pub(crate) layers: Vec<Block>,
    pub(crate) post_layernorm: LayerNorm,
    pub(crate) visual_projection: Linear,
}

impl VisionTower {
    /// Takes the parameters below `vb` (`backbone` in a checkpoint of the reference).
    ///
    /// # Errors
    /// Where a tensor is missing, or the family's tower is another: see [`Family::has_states`].
    pub fn new(architecture: &Architecture, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let &Architecture { vision: config, family, projection, .. } = architecture;
        if !family.has_states() {
            candle_core::bail!(
                "an image tower of `{}` gives embeddings of frames, and nothing to learn beside",
                family.name()
            );
        }
        let is_eva = family == Family::EvaClip;
        let style = family.image_blocks();
        let VisionConfig { patch, width, heads, layers, mlp, .. } = config;
        let small = (width as f64).powf(-0.5);
        let normal = |stdev| Init::Randn { mean: 0.0, stdev };
        let fan_in = (config.patch_values() as f64).powf(-0.5);
        let patch_shape = (width, 3, patch, patch);
        let block = BlockConfig { width, heads, mlp, depth: layers, style };
        let blocks = vb.pp("layers");
        Ok(Self {
            class_embedding: vb.get_with_hints(width, "class_embedding", normal(small))?,
            patch_embedding: vb.pp("patch_embedding").get_with_hints(
                patch_shape,
                "weight",
                normal(fan_in),
            )?,
            patch_bias: if is_eva {
                let patches = vb.pp("patch_embedding");
                Some(patches.get_with_hints(width, "bias", candle_nn::init::ZERO)?)
            } else {
                None
            },
            position_embedding: vb.pp("position_embedding").get_with_hints(
                (1 + config.patches(), width),
                "weight",
                normal(small),
            )?,
            // Spelt as in the checkpoints.
            pre_layrnorm: if is_eva {
                None
            } else {
                Some(LayerNorm::new(width, ops, &vb.pp("pre_layrnorm"))?)
            },
            layers: (0..layers)
                .map(|layer| Block::new(block, ops, &blocks.pp(layer)))
                .collect::<Result<_>>()?,
            post_layernorm: LayerNorm::with_eps(width, style.eps, ops, &vb.pp("post_layernorm"))?,
            visual_projection: if is_eva {
                Linear::normal(width, projection, small, &vb.pp("visual_projection"))?
            } else {
                Linear::without_bias(width, projection, small, &vb.pp("visual_projection"))?
            },
            config,
            family,
        })
    }

    /// Sizes of the tower.
    pub fn config(&self) -> &VisionConfig {
        &self.config
    }

    /// Learned positions, `[1 + N, D]`; the branch adds the same table.
    pub fn position_embedding(&self) -> &Tensor {
        &self.position_embedding
    }

    /// Patches, class token and positions: `M 3 image image -> M (1+N) D`.
    pub fn embed(&self, pixels: &Tensor) -> Result<Tensor> {
        let VisionConfig { patch, width, .. } = self.config;
        let grid = self.config.grid();
        let m = pixels.dim(0)?;
        // A convolution whose stride is its width is one product over gathered patches.
        let patches = pixels
            .reshape((m, 3, grid, patch, grid * patch))?
            .transpose(1, 2)? // M gy 3 p (gx p)
            .contiguous()?
            .reshape((m * grid, 3 * patch, grid, patch))?
            .transpose(1, 2)? // (M gy) gx (3 p) p
            .reshape((m * grid * grid, 3 * patch * patch))?;
        let weight = self.patch_embedding.reshape((width, 3 * patch * patch))?;
        let patches = patches.matmul(&weight.t()?)?.reshape((m, grid * grid, width))?;
        let patches = match &self.patch_bias {
            Some(bias) => patches.broadcast_add(bias)?,
            None => patches,
        };
        let class = self.class_embedding.reshape((1, 1, width))?.broadcast_as((m, 1, width))?;
        Tensor::cat(&[&class.contiguous()?, &patches], 1)?.broadcast_add(&self.position_embedding)
    }

    /// The states of the tower for `pixels [M, 3, image, image]`: `hidden_0`, after the first layer
    /// norm, then the output of every block, each `[M, 1+N, D]`. Only the `last` ones are kept, in
    /// order; the branch needs its number of layers K.
    pub fn hidden_states(&self, pixels: &Tensor, last: usize) -> Result<Vec<Tensor>> {
        self.hidden_states_after(&self.embed(pixels)?, last)
    }

    /// Like [`Self::hidden_states`], from the output of [`Self::embed`].
    pub fn hidden_states_after(&self, embeddings: &Tensor, last: usize) -> Result<Vec<Tensor>> {
        let skip = (self.layers.len() + 1).saturating_sub(last);
        let mut xs = self.first_state(embeddings)?;
        let mut states = Vec::with_capacity(last.min(self.layers.len() + 1));
        if skip == 0 {
            states.push(xs.clone());
        }
        for (layer, block) in self.layers.iter().enumerate() {
            xs = block.forward(&xs, None)?;
            if layer + 1 >= skip {
                states.push(xs.clone());
            }
        }
        Ok(states)
    }

    /// The output of the block before the last `without` ones, or of the first layer norm.
    pub(crate) fn state_before(&self, pixels: &Tensor, without: usize) -> Result<Tensor> {
        let mut xs = self.first_state(&self.embed(pixels)?)?;
        for block in &self.layers[..self.layers.len().saturating_sub(without)] {
            xs = block.forward(&xs, None)?;
        }
        Ok(xs)
    }

    fn first_state(&self, embeddings: &Tensor) -> Result<Tensor> {
        match &self.pre_layrnorm {
            Some(norm) => norm.forward(embeddings),
            None => Ok(embeddings.clone()),
        }
    }

    /// The class tokens of a state: `M (1+N) D -> M D`.
    pub fn class_token(state: &Tensor) -> Result<Tensor> {
        state.narrow(1, 0, 1)?.squeeze(1)
    }

    /// Layer norm and projection: `[.., D] -> [.., P]`.
    pub fn project(&self, xs: &Tensor) -> Result<Tensor> {
        // Exactly, in whatever type the blocks are computed: it is little work.
        let xs = &xs.to_dtype(self.post_layernorm.weight().dtype())?;
        self.visual_projection.forward(&self.post_layernorm.forward(xs)?)
    }

    /// The layer norm before the projection.
    pub fn post_layernorm(&self) -> &LayerNorm {
        &self.post_layernorm
    }

    /// The projection alone, without layer norm: `D -> P`.
    pub fn visual_projection(&self) -> &Linear {
        &self.visual_projection
    }
}
