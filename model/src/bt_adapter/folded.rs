//! Towers as a device computes them: fewer kernels, and weights of half the size.

use candle_core::{DType, Result, Tensor};

use super::{BtAdapter, SpatialLayer, TemporalLayer, VideoTower};
use crate::clip_vision::VisionTower;
use crate::layers::{Attention, Block, LayerNorm, Linear, Mlp};
use crate::ops::{Activation, Ops, QUICK_GELU};

impl VideoTower {
    /// The same tower for inference, with weights of `dtype`. What can be multiplied into weights
    /// beforehand, in `f32`, is: the scale of queries, and the factor of quick-GELU, which becomes
    /// `silu` of a larger number. The last layer norm and the projection stay as they are: they are
    /// little work, and their rounding would be the embedding's.
    pub fn folded(&self, dtype: DType) -> Result<Self> {
        let vision = self.vision.folded(dtype)?;
        let branch = match &self.branch {
            Some(branch) => Some(branch.folded(&vision, dtype)?),
            None => None,
        };
        let unbranched = match &self.unbranched {
            Some(system) => Some(system.folded(dtype)?),
            None => None,
        };
        Ok(Self { vision, branch, unbranched })
    }
}

impl VisionTower {
    fn folded(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            config: self.config,
            family: self.family,
            class_embedding: self.class_embedding.to_dtype(dtype)?,
            patch_embedding: self.patch_embedding.to_dtype(dtype)?,
            position_embedding: self.position_embedding.to_dtype(dtype)?,
            patch_bias: self.patch_bias.as_ref().map(|bias| bias.to_dtype(dtype)).transpose()?,
            pre_layrnorm: self.pre_layrnorm.as_ref().map(|n| n.folded(dtype)).transpose()?,
            layers: self.layers.iter().map(|block| block.folded(dtype)).collect::<Result<_>>()?,
            post_layernorm: self.post_layernorm.clone(),
            visual_projection: self.visual_projection.clone(),
        })
    }
}

impl BtAdapter {
    fn folded(&self, vision: &VisionTower, dtype: DType) -> Result<Self> {
        let cast = |tensor: &Tensor| tensor.to_dtype(dtype);
        let balance = match &self.balance {
            Some((output, between)) => Some((cast(output)?, cast(between)?)),
            None => None,
        };
        let t_layers = self.t_layers.iter().map(|layer| layer.folded(dtype));
        let s_layers = self.s_layers.iter().map(|layer| Ok(SpatialLayer(layer.0.folded(dtype)?)));
        Ok(Self {
            config: self.config,
            cls_token: cast(&self.cls_token)?,
            time_embed: cast(&self.time_embed)?,
            position_embedding: vision.position_embedding().clone(),
            balance,
            t_layers: t_layers.collect::<Result<_>>()?,
            s_layers: s_layers.collect::<Result<_>>()?,
        })
    }
}

impl TemporalLayer {
    pub(crate) fn folded(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            layer_norm1: self.layer_norm1.folded(dtype)?,
            self_attn: self.self_attn.folded(dtype)?,
            temporal_fc: self.temporal_fc.folded(1.0, 1.0, dtype)?,
        })
    }
}

impl Block {
    pub(crate) fn folded(&self, dtype: DType) -> Result<Self> {
        Ok(Self {
            layer_norm1: self.layer_norm1.folded(dtype)?,
            self_attn: self.self_attn.folded(dtype)?,
            layer_norm2: self.layer_norm2.folded(dtype)?,
            mlp: self.mlp.folded(dtype)?,
        })
    }
}

impl Attention {
    fn folded(&self, dtype: DType) -> Result<Self> {
        let width = self.q_proj.weight().dims()[0];
        let scale = 1.0 / ((width / self.heads) as f64).sqrt();
        Ok(Self {
            q_proj: self.q_proj.folded(scale, scale, dtype)?,
            k_proj: self.k_proj.folded(1.0, 1.0, dtype)?,
            v_proj: self.v_proj.folded(1.0, 1.0, dtype)?,
            out_proj: self.out_proj.folded(1.0, 1.0, dtype)?,
            heads: self.heads,
            ops: Ops::Folded,
        })
    }
}

impl Mlp {
    fn folded(&self, dtype: DType) -> Result<Self> {
        let factor = match self.activation {
            Activation::QuickGelu => QUICK_GELU,
            Activation::Gelu | Activation::GeluTanh => 1.0,
        };
        Ok(Self {
            fc1: self.fc1.folded(factor, factor, dtype)?,
            fc2: self.fc2.folded(1.0 / factor, 1.0, dtype)?,
            activation: self.activation,
            ops: Ops::Folded,
        })
    }
}

impl LayerNorm {
    fn folded(&self, dtype: DType) -> Result<Self> {
        let (weight, bias) = (self.weight.to_dtype(dtype)?, self.bias.to_dtype(dtype)?);
        Ok(Self { weight, bias, eps: self.eps, ops: Ops::Folded })
    }
}

impl Linear {
    /// Weights and biases times a factor each.
    fn folded(&self, weights: f64, biases: f64, dtype: DType) -> Result<Self> {
        let times = |tensor: &Tensor, factor: f64| (tensor * factor)?.to_dtype(dtype);
        let bias = self.bias.as_ref().map(|bias| times(bias, biases)).transpose()?;
        Ok(Self { weight: times(&self.weight, weights)?, bias })
    }
}
