//! The blocks that all towers and the branch share: linear, layer norm, attention, MLP.
//!
//! Names of parameters follow Hugging Face's `CLIPEncoderLayer`, in which the reference's
//! checkpoints are written. Shapes: `M` sequences of `S` tokens of `D` channels, `H` heads.

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

use crate::ops::{Activation, Ops};

/// Epsilon of every layer norm in CLIP.
pub(crate) const LAYER_NORM_EPS: f32 = 1e-5;

/// `y = x Wᵀ + b`, with `W [out, in]`.
#[derive(Clone, Debug)]
pub struct Linear {
    pub(crate) weight: Tensor,
    pub(crate) bias: Option<Tensor>,
}

impl Linear {
    /// Of given parameters, `[out, in]` and `[out]`.
    pub fn of(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias: Some(bias) }
    }

    /// Takes `weight [out, in]` and `bias [out]` below `vb`. New weights are uniform in
    /// `±1/sqrt(in)`, as `PyTorch`'s default.
    pub fn new(from: usize, to: usize, vb: &VarBuilder) -> Result<Self> {
        let bound = 1.0 / (from as f64).sqrt();
        let uniform = Init::Uniform { lo: -bound, up: bound };
        let weight = vb.get_with_hints((to, from), "weight", uniform)?;
        Ok(Self { weight, bias: Some(vb.get_with_hints(to, "bias", uniform)?) })
    }

    /// Takes `weight [out, in]` below `vb`; new weights are normal with deviation `stdev`.
    pub fn without_bias(from: usize, to: usize, stdev: f64, vb: &VarBuilder) -> Result<Self> {
        let normal = Init::Randn { mean: 0.0, stdev };
        Ok(Self { weight: vb.get_with_hints((to, from), "weight", normal)?, bias: None })
    }

    /// Like [`Self::new`], but new weights are normal with deviation `stdev` and new biases 0.
    pub fn normal(from: usize, to: usize, stdev: f64, vb: &VarBuilder) -> Result<Self> {
        let normal = Init::Randn { mean: 0.0, stdev };
        let weight = vb.get_with_hints((to, from), "weight", normal)?;
        Ok(Self { weight, bias: Some(vb.get_with_hints(to, "bias", candle_nn::init::ZERO)?) })
    }

    /// Like [`Self::new`], but new weights and biases are 0, so that a new layer adds nothing.
    pub fn zero(from: usize, to: usize, vb: &VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints((to, from), "weight", candle_nn::init::ZERO)?;
        Ok(Self { weight, bias: Some(vb.get_with_hints(to, "bias", candle_nn::init::ZERO)?) })
    }

    /// `[.., in] -> [.., out]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (to, from) = self.weight.dims2()?;
        let mut shape = xs.dims().to_vec();
        let rows = xs.elem_count() / from.max(1);
        if let Some(last) = shape.last_mut() {
            *last = to;
        }
        // One large product is faster than one for each sequence.
        let ys = xs.reshape((rows, from))?.matmul(&self.weight.t()?)?;
        let ys = match &self.bias {
            Some(bias) => ys.broadcast_add(bias)?,
            None => ys,
        };
        ys.reshape(shape)
    }

    /// `[out, in]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[out]`.
    pub fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }
}

/// Normalisation of each token over its channels.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    pub(crate) weight: Tensor,
    pub(crate) bias: Tensor,
    pub(crate) eps: f32,
    pub(crate) ops: Ops,
}

impl LayerNorm {
    /// Takes `weight [D]` and `bias [D]` below `vb`; new ones are 1 and 0. Epsilon is CLIP's.
    pub fn new(width: usize, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        Self::with_eps(width, LAYER_NORM_EPS, ops, vb)
    }

    /// The same with another epsilon.
    pub fn with_eps(width: usize, eps: f32, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let weight = vb.get_with_hints(width, "weight", candle_nn::init::ONE)?;
        let bias = vb.get_with_hints(width, "bias", candle_nn::init::ZERO)?;
        Ok(Self { weight, bias, eps, ops })
    }

    /// `[.., D] -> [.., D]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.ops.layer_norm(xs, &self.weight, &self.bias, self.eps)
    }

    /// `[D]`.
    pub fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// `[D]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }
}

/// Multi-head self-attention; the scale `1/sqrt(D/H)` applies to the query after its projection.
#[derive(Clone, Debug)]
pub struct Attention {
    pub(crate) q_proj: Linear,
    pub(crate) k_proj: Linear,
    pub(crate) v_proj: Linear,
    pub(crate) out_proj: Linear,
    pub(crate) heads: usize,
    pub(crate) ops: Ops,
}

impl Attention {
    /// New weights as in CLIP: deviation `D^-0.5` for query, key and value, less by the square root
    /// of twice the `depth` for the output, which adds to the residual stream.
    pub fn clip(config: BlockConfig, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let BlockConfig { width, heads, depth, style, .. } = config;
        let stdev = (width as f64).powf(-0.5);
        let linear = |name: &str, stdev: f64| Linear::normal(width, width, stdev, &vb.pp(name));
        Ok(Self {
            q_proj: linear("q_proj", stdev)?,
            k_proj: if style.key_bias {
                linear("k_proj", stdev)?
            } else {
                Linear::without_bias(width, width, stdev, &vb.pp("k_proj"))?
            },
            v_proj: linear("v_proj", stdev)?,
            out_proj: linear("out_proj", stdev * (2.0 * depth as f64).powf(-0.5))?,
            heads,
            ops,
        })
    }

    /// New weights as `PyTorch`'s linear layers: what the reference does in its temporal layers.
    pub fn fresh(config: BlockConfig, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let BlockConfig { width, heads, style, .. } = config;
        let linear = |name: &str| Linear::new(width, width, &vb.pp(name));
        Ok(Self {
            q_proj: linear("q_proj")?,
            k_proj: if style.key_bias {
                linear("k_proj")?
            } else {
                // Of the same spread as the uniform weights.
                let stdev = (3.0 * width as f64).powf(-0.5);
                Linear::without_bias(width, width, stdev, &vb.pp("k_proj"))?
            },
            v_proj: linear("v_proj")?,
            out_proj: linear("out_proj")?,
            heads,
            ops,
        })
    }

    /// `M S D -> M S D`; `mask [S, S]` is added to the scores.
    pub fn forward(&self, xs: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        if self.ops == Ops::Learning && mask.is_none() && xs.device().is_cpu() {
            let parts = [&self.q_proj, &self.k_proj, &self.v_proj].map(|part| part.forward(xs));
            let [q, k, v] = parts;
            let qkv = Tensor::cat(&[q?, k?, v?], 2)?; // M S (3 D)
            return self.out_proj.forward(&crate::train::attention(&qkv, self.heads, false)?);
        }
        self.look(xs, xs, mask)
    }

    /// What tokens `query [M, Q, D]` see of others, `xs [M, S, D] -> M Q D`; `mask [Q, S]` is added to
    /// the scores.
    pub fn look(&self, query: &Tensor, xs: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        let (m, looking, d) = query.dims3()?;
        let split = |xs: Tensor| {
            let s = xs.dim(1)?;
            xs.reshape((m, s, self.heads, d / self.heads))?.transpose(1, 2)?.contiguous() // M H S D/H
        };
        let scale = 1.0 / ((d / self.heads) as f64).sqrt();
        let q = split(self.ops.scaled_query(self.q_proj.forward(query)?, scale)?)?;
        let k = split(self.k_proj.forward(xs)?)?;
        let v = split(self.v_proj.forward(xs)?)?;
        let scores = q.matmul(&k.t()?)?; // M H Q S
        let scores = match mask {
            Some(mask) => scores.broadcast_add(mask)?,
            None => scores,
        };
        let mixed = self.ops.softmax(&scores)?.matmul(&v)?; // M H Q D/H
        self.out_proj.forward(&mixed.transpose(1, 2)?.reshape((m, looking, d))?)
    }
}

/// Two linear layers with an activation in between.
#[derive(Clone, Debug)]
pub struct Mlp {
    pub(crate) fc1: Linear,
    pub(crate) fc2: Linear,
    pub(crate) activation: Activation,
    pub(crate) ops: Ops,
}

impl Mlp {
    /// New weights as in CLIP.
    pub fn new(config: BlockConfig, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let BlockConfig { width, mlp: hidden, depth, style, .. } = config;
        let narrow = (width as f64).powf(-0.5) * (2.0 * depth as f64).powf(-0.5);
        Ok(Self {
            fc1: Linear::normal(width, hidden, (2.0 * width as f64).powf(-0.5), &vb.pp("fc1"))?,
            fc2: Linear::normal(hidden, width, narrow, &vb.pp("fc2"))?,
            activation: style.activation,
            ops,
        })
    }

    /// `[.., D] -> [.., D]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.fc2.forward(&self.ops.activation(self.activation, &self.fc1.forward(xs)?)?)
    }
}

/// A pre-norm transformer block: `x += attention(ln1(x)); x += mlp(ln2(x))`.
#[derive(Clone, Debug)]
pub struct Block {
    pub(crate) layer_norm1: LayerNorm,
    pub(crate) self_attn: Attention,
    pub(crate) layer_norm2: LayerNorm,
    pub(crate) mlp: Mlp,
}

/// In what the blocks of CLIP and its relatives differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockStyle {
    /// Between the two layers of the MLP.
    pub activation: Activation,
    /// Epsilon of the layer norms.
    pub eps: f32,
    /// Whether keys have a bias. (It changes nothing: it moves all scores of a query alike.)
    pub key_bias: bool,
}

impl BlockStyle {
    /// `OpenAI`'s CLIP.
    pub const CLIP: Self =
        Self { activation: Activation::QuickGelu, eps: LAYER_NORM_EPS, key_bias: true };
    /// Text towers of `OpenCLIP` and EVA-CLIP.
    pub const OPEN_CLIP: Self = Self { activation: Activation::Gelu, ..Self::CLIP };
    /// `SigLIP`.
    pub const SIGLIP: Self = Self { activation: Activation::GeluTanh, eps: 1e-6, key_bias: true };
    /// Image tower of EVA-CLIP.
    pub const EVA: Self = Self { activation: Activation::Gelu, eps: 1e-6, key_bias: false };
}

/// Sizes of a stack of blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockConfig {
    /// Channels, D.
    pub width: usize,
    /// Attention heads, H.
    pub heads: usize,
    /// Hidden channels of the MLP.
    pub mlp: usize,
    /// Blocks in the stack; only new weights depend on it.
    pub depth: usize,
    /// What they are made of.
    pub style: BlockStyle,
}

impl Block {
    /// Takes the parameters of one block below `vb`.
    pub fn new(config: BlockConfig, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let BlockConfig { width, style: BlockStyle { eps, .. }, .. } = config;
        Ok(Self {
            layer_norm1: LayerNorm::with_eps(width, eps, ops, &vb.pp("layer_norm1"))?,
            self_attn: Attention::clip(config, ops, &vb.pp("self_attn"))?,
            layer_norm2: LayerNorm::with_eps(width, eps, ops, &vb.pp("layer_norm2"))?,
            mlp: Mlp::new(config, ops, &vb.pp("mlp"))?,
        })
    }

    /// `M S D -> M S D`.
    pub fn forward(&self, xs: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
        self.forward_with(xs, mask, Ok)
    }

    /// The same without a mask; `drop_path` is applied to the output of the attention.
    pub(crate) fn forward_dropping(
        &self,
        xs: &Tensor,
        drop_path: impl Fn(Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        self.forward_with(xs, None, drop_path)
    }

    fn forward_with(
        &self,
        xs: &Tensor,
        mask: Option<&Tensor>,
        drop_path: impl Fn(Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let mixed = self.self_attn.forward(&self.layer_norm1.forward(xs)?, mask)?;
        let xs = (xs + drop_path(mixed)?)?;
        &xs + self.mlp.forward(&self.layer_norm2.forward(&xs)?)?
    }
}
