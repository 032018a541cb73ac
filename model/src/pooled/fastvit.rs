//! `MobileCLIP`'s image tower: `FastViT` in the sizes that it calls `MCi`.
//!
//! Ported from the formulas of `timm`'s `FastVit` (1.0.12) with the arguments of `fastvit_mci1` and
//! `fastvit_mci2`. What is several parallel convolutions and batch norms in training is one convolution
//! here: their kernels are added up when the weights are read. Maps are `M H W C`, so that a convolution
//! of one pixel is a product of matrices as it lies.

use candle_core::{D, DType, Result, Tensor};
use candle_nn::{Init, VarBuilder};

use super::depthwise::Depthwise;
use crate::config::VisionConfig;
use crate::layers::{Attention, Linear};
use crate::ops::Ops;

/// Of every batch norm.
const BATCH_NORM_EPS: f64 = 1e-5;
/// Channels of an attention head.
const HEAD_WIDTH: usize = 32;

/// Convolutions, then attention on the last and smallest map, then the mean over it.
#[derive(Clone, Debug)]
pub struct FastVit {
    /// Three by three pixels of three colours, two apart: `[C, 3, 3, 3]`, `[C]`.
    stem: (Tensor, Tensor),
    stem_apart: Depthwise,
    stem_mix: Linear,
    stages: Vec<Stage>,
    last: Depthwise,
    last_excite: Excite,
    head: Linear,
}

#[derive(Clone, Debug)]
struct Stage {
    /// Before every stage but the first.
    halve: Option<Halve>,
    /// Before the blocks with attention: the map plus what surrounds each position.
    places: Option<Depthwise>,
    blocks: Vec<MapBlock>,
}

/// Half as many rows and columns, of twice as many channels.
#[derive(Clone, Debug)]
struct Halve {
    apart: Depthwise,
    excite: Option<Excite>,
    mix: Linear,
}

#[derive(Clone, Debug)]
struct MapBlock {
    mixer: Mixer,
    around: Depthwise,
    fc1: Linear,
    fc2: Linear,
}

#[derive(Clone, Debug)]
enum Mixer {
    Near(Depthwise),
    Far(Attention),
}

/// Channels weighed by what is in all of the map.
#[derive(Clone, Debug)]
struct Excite {
    fc1: Linear,
    fc2: Linear,
}

impl FastVit {
    /// Takes the parameters below `vb`, which are `f32`, and keeps them in `dtype`.
    pub(super) fn new(
        config: VisionConfig,
        projection: usize,
        dtype: DType,
        ops: Ops,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let (last, Some(stages)) = (config.width / 2, config.stages) else {
            candle_core::bail!("`vision.stages` of a `mobile-clip` are not given");
        };
        let first = last / 8;
        let read = Read { dtype, ops, hidden: config.mlp / last.max(1) };
        let stem = vb.pp("stem");
        let dense = Conv { from: 3, to: first, kernel: 3, stride: 2, is_depthwise: false };
        let apart = Conv { from: first, is_depthwise: true, ..dense };
        let Kernel { weight, bias } = mobile_one(dense, &stem.pp(0))?;
        let of_stages = vb.pp("stages");
        let stage = |at: usize| read.stage(at, stages[at], first << at, &of_stages.pp(at));
        let (out, pooled) = (vb.pp("final_conv"), config.width);
        let out_conv = Conv { from: last, to: pooled, kernel: 3, stride: 1, is_depthwise: true };
        Ok(Self {
            stem: (weight.to_dtype(dtype)?, bias.to_dtype(dtype)?),
            stem_apart: read.depthwise(&mobile_one(apart, &stem.pp(1))?, 2)?,
            stem_mix: read.mix(first, &stem.pp(2))?,
            stages: (0..4).map(stage).collect::<Result<_>>()?,
            last: read.depthwise(&mobile_one(out_conv, &out)?, 1)?,
            last_excite: read.excite(pooled, pooled / 16, &out.pp("se"))?,
            head: read.linear(&Linear::new(pooled, projection, &vb.pp("head").pp("fc"))?)?,
        })
    }

    /// `M 3 image image -> M P`, not normalised.
    pub(super) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let (weight, bias) = &self.stem;
        let xs = pixels.conv2d(weight, 1, 2, 1, 1)?.permute((0, 2, 3, 1))?.contiguous()?;
        let xs = xs.broadcast_add(bias)?.gelu_erf()?;
        let xs = self.stem_apart.forward(&xs)?.gelu_erf()?;
        let mut xs = self.stem_mix.forward(&xs)?.gelu_erf()?;
        for stage in &self.stages {
            xs = stage.forward(&xs)?;
        }
        let xs = self.last.forward(&twice(&xs)?)?;
        let xs = self.last_excite.forward(&xs)?.gelu_erf()?;
        self.head.forward(&over_map(&xs)?)
    }
}

impl Stage {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let mut xs = match &self.halve {
            Some(halve) => halve.forward(xs)?,
            None => xs.clone(),
        };
        if let Some(places) = &self.places {
            xs = places.forward(&xs)?;
        }
        for MapBlock { mixer, around, fc1, fc2 } in &self.blocks {
            xs = match mixer {
                Mixer::Near(mixer) => mixer.forward(&xs)?,
                Mixer::Far(attention) => {
                    let (m, height, width, channels) = xs.dims4()?;
                    let tokens = xs.reshape((m, height * width, channels))?;
                    let seen = attention.forward(&tokens, None)?;
                    (tokens + seen)?.reshape((m, height, width, channels))?
                }
            };
            let hidden = fc1.forward(&around.forward(&xs)?)?.gelu_erf()?;
            xs = (xs + fc2.forward(&hidden)?)?;
        }
        Ok(xs)
    }
}

impl Halve {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let xs = self.apart.forward(&twice(xs)?)?;
        let xs = match &self.excite {
            Some(excite) => excite.forward(&xs)?,
            None => xs,
        };
        self.mix.forward(&xs.gelu_erf()?)?.gelu_erf()
    }
}

impl Excite {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        let (m, _, _, channels) = xs.dims4()?;
        let weighed = self.fc2.forward(&self.fc1.forward(&over_map(xs)?)?.relu()?)?;
        xs.broadcast_mul(&candle_nn::ops::sigmoid(&weighed)?.reshape((m, 1, 1, channels))?)
    }
}

/// The mean over all positions, `M H W C -> M C`.
fn over_map(xs: &Tensor) -> Result<Tensor> {
    let (m, height, width, channels) = xs.dims4()?;
    xs.reshape((m, height * width, channels))?.mean(1)
}

/// Each channel twice, side by side: a convolution that makes two of each sees them so.
fn twice(xs: &Tensor) -> Result<Tensor> {
    let (m, height, width, channels) = xs.dims4()?;
    let pairs = xs.unsqueeze(D::Minus1)?.broadcast_as((m, height, width, channels, 2))?;
    pairs.contiguous()?.reshape((m, height, width, 2 * channels))
}

/// What is alike in all that is read.
struct Read {
    dtype: DType,
    ops: Ops,
    /// Hidden channels of a block for each of its own.
    hidden: usize,
}

impl Read {
    fn stage(&self, at: usize, depth: usize, channels: usize, vb: &VarBuilder) -> Result<Stage> {
        let is_last = at == 3;
        let halve = if at == 0 {
            None
        } else {
            Some(self.halve(channels, at >= 2, &vb.pp("downsample").pp("proj"))?)
        };
        let places = if is_last {
            let places = vb.pp("pos_emb").pp("pos_enc");
            let weight = convolution((channels, 1, 7, 7), &places)?;
            let bias = places.get_with_hints(channels, "bias", candle_nn::init::ZERO)?;
            let kernel = Kernel { weight, bias }.plus(&one(channels, 7, true, vb)?)?;
            Some(self.depthwise(&kernel, 1)?)
        } else {
            None
        };
        let blocks = vb.pp("blocks");
        let block = |at: usize| self.block(channels, is_last, &blocks.pp(at));
        let blocks = (0..depth).map(block).collect::<Result<_>>()?;
        Ok(Stage { halve, places, blocks })
    }

    fn halve(&self, channels: usize, is_excited: bool, vb: &VarBuilder) -> Result<Halve> {
        let own = vb.pp(0);
        let large = conv_norm((channels, 1, 7, 7), &own.pp("large_conv"))?;
        let small = conv_norm((channels, 1, 3, 3), &own.pp("small_conv"))?;
        let excite = if is_excited {
            // A quarter, in steps of eight.
            let narrow = ((channels / 4 + 4) / 8 * 8).max(8);
            Some(self.excite(channels, narrow, &own.pp("se"))?)
        } else {
            None
        };
        let apart = self.depthwise(&large.plus(&small.widened(7)?)?, 2)?;
        Ok(Halve { apart, excite, mix: self.mix(channels, &vb.pp(1))? })
    }

    fn block(&self, channels: usize, is_far: bool, vb: &VarBuilder) -> Result<MapBlock> {
        let gamma = |name: &str| -> Result<Tensor> {
            let gamma = vb.pp(name).get_with_hints((channels, 1, 1), "gamma", Init::Const(1e-5))?;
            gamma.reshape(channels)
        };
        let token_mixer = vb.pp("token_mixer");
        let (mixer, scale) = if is_far {
            let attention = self.attention(channels, &gamma("layer_scale_1")?, &token_mixer, vb)?;
            (Mixer::Far(attention), "layer_scale_2")
        } else {
            (Mixer::Near(self.near(channels, &token_mixer)?), "layer_scale")
        };
        let mlp = vb.pp("mlp");
        let hidden = self.hidden * channels;
        let around = conv_norm((channels, 1, 7, 7), &mlp.pp("conv"))?;
        let fc1 = pointwise(channels, hidden, &mlp.pp("fc1"))?;
        let fc2 = scaled(&pointwise(hidden, channels, &mlp.pp("fc2"))?, &gamma(scale)?)?;
        Ok(MapBlock {
            mixer,
            around: self.depthwise(&around, 1)?,
            fc1: self.linear(&fc1)?,
            fc2: self.linear(&fc2)?,
        })
    }

    /// `x + gamma (mixer(x) - norm(x))` as one convolution.
    fn near(&self, channels: usize, vb: &VarBuilder) -> Result<Depthwise> {
        let conv = Conv { from: channels, to: channels, kernel: 3, stride: 1, is_depthwise: true };
        let mixed = mobile_one(conv, &vb.pp("mixer"))?;
        let (scale, shift) = batch_norm(channels, &vb.pp("norm").pp("identity"))?;
        let itself = one(channels, 3, true, vb)?;
        let normed = Kernel { bias: shift, ..itself.times(&scale)? };
        let gamma =
            vb.pp("layer_scale").get_with_hints((channels, 1, 1), "gamma", Init::Const(1e-5))?;
        let added =
            Kernel { weight: (mixed.weight - normed.weight)?, bias: (mixed.bias - normed.bias)? };
        self.depthwise(&added.times(&gamma.reshape(channels)?)?.plus(&itself)?, 1)
    }

    /// Attention with the batch norm before it and the scale after it in its weights.
    fn attention(
        &self,
        channels: usize,
        gamma: &Tensor,
        vb: &VarBuilder,
        block: &VarBuilder,
    ) -> Result<Attention> {
        let (scale, shift) = batch_norm(channels, &block.pp("norm"))?;
        let normal = Init::Randn { mean: 0.0, stdev: 0.02 };
        let qkv = vb.pp("qkv").get_with_hints((3 * channels, channels), "weight", normal)?;
        let bias = qkv.matmul(&shift.reshape((channels, 1))?)?.squeeze(1)?;
        let qkv = qkv.broadcast_mul(&scale)?;
        let part = |at: usize| {
            let weight = qkv.narrow(0, at * channels, channels)?.contiguous()?;
            let bias = bias.narrow(0, at * channels, channels)?.contiguous()?;
            self.linear(&Linear::of(weight, bias))
        };
        let out = scaled(&Linear::new(channels, channels, &vb.pp("proj"))?, gamma)?;
        Ok(Attention {
            q_proj: part(0)?,
            k_proj: part(1)?,
            v_proj: part(2)?,
            out_proj: self.linear(&out)?,
            heads: channels / HEAD_WIDTH,
            ops: self.ops,
        })
    }

    fn excite(&self, channels: usize, narrow: usize, vb: &VarBuilder) -> Result<Excite> {
        let fc1 = pointwise(channels, narrow, &vb.pp("fc1"))?;
        let fc2 = pointwise(narrow, channels, &vb.pp("fc2"))?;
        Ok(Excite { fc1: self.linear(&fc1)?, fc2: self.linear(&fc2)? })
    }

    /// A block of one pixel: channels are mixed where they are.
    fn mix(&self, channels: usize, vb: &VarBuilder) -> Result<Linear> {
        let conv = Conv { from: channels, to: channels, kernel: 1, stride: 1, is_depthwise: false };
        let Kernel { weight, bias } = mobile_one(conv, vb)?;
        self.linear(&Linear::of(weight.reshape((channels, channels))?, bias))
    }

    fn depthwise(&self, kernel: &Kernel, stride: usize) -> Result<Depthwise> {
        let Kernel { weight, bias } = kernel;
        Depthwise::new(&weight.to_dtype(self.dtype)?, &bias.to_dtype(self.dtype)?, stride)
    }

    fn linear(&self, linear: &Linear) -> Result<Linear> {
        let bias = linear.bias.as_ref().map(|bias| bias.to_dtype(self.dtype)).transpose()?;
        Ok(Linear { weight: linear.weight.to_dtype(self.dtype)?, bias })
    }
}

/// A convolution whose parts are being added up: `[to, from a group, k, k]` and `[to]`.
struct Kernel {
    weight: Tensor,
    bias: Tensor,
}

impl Kernel {
    fn plus(&self, other: &Self) -> Result<Self> {
        Ok(Self { weight: (&self.weight + &other.weight)?, bias: (&self.bias + &other.bias)? })
    }

    /// What it gives times a factor for each channel, `[to]`.
    fn times(&self, factor: &Tensor) -> Result<Self> {
        let weight = self.weight.broadcast_mul(&factor.reshape(((), 1, 1, 1))?)?;
        Ok(Self { weight, bias: (&self.bias * factor)? })
    }

    /// With zeros around it up to a side of `kernel`.
    fn widened(&self, kernel: usize) -> Result<Self> {
        let around = (kernel - self.weight.dim(3)?) / 2;
        let weight = self.weight.pad_with_zeros(2, around, around)?;
        let weight = weight.pad_with_zeros(3, around, around)?;
        Ok(Self { weight, bias: self.bias.clone() })
    }
}

/// Sizes of a convolution.
#[derive(Clone, Copy)]
struct Conv {
    from: usize,
    to: usize,
    kernel: usize,
    stride: usize,
    is_depthwise: bool,
}

/// The branches of a `MobileOne` block as one convolution: that of the kernel's size, one of a single
/// pixel where the kernel is larger, and the identity where sizes stay, each with its batch norm.
fn mobile_one(conv: Conv, vb: &VarBuilder) -> Result<Kernel> {
    let Conv { from, to, kernel, stride, is_depthwise } = conv;
    let a_group = if is_depthwise { 1 } else { from };
    let mut sum = conv_norm((to, a_group, kernel, kernel), &vb.pp("conv_kxk").pp(0))?;
    if kernel > 1 {
        let single = conv_norm((to, a_group, 1, 1), &vb.pp("conv_scale"))?;
        sum = sum.plus(&single.widened(kernel)?)?;
    }
    if from == to && stride == 1 {
        let (scale, shift) = batch_norm(to, &vb.pp("identity"))?;
        let itself = one(to, kernel, is_depthwise, vb)?.times(&scale)?;
        sum = sum.plus(&Kernel { bias: shift, ..itself })?;
    }
    Ok(sum)
}

/// The convolution that gives what it is given.
fn one(channels: usize, kernel: usize, is_depthwise: bool, vb: &VarBuilder) -> Result<Kernel> {
    let single = if is_depthwise {
        Tensor::ones((channels, 1, 1, 1), DType::F32, vb.device())?
    } else {
        Tensor::eye(channels, DType::F32, vb.device())?.reshape((channels, channels, 1, 1))?
    };
    let bias = Tensor::zeros(channels, DType::F32, vb.device())?;
    Kernel { weight: single, bias }.widened(kernel)
}

/// A convolution without bias, `[to, from a group, k, k]`, and its batch norm.
fn conv_norm(shape: (usize, usize, usize, usize), vb: &VarBuilder) -> Result<Kernel> {
    let weight = convolution(shape, &vb.pp("conv"))?;
    let (scale, shift) = batch_norm(shape.0, &vb.pp("bn"))?;
    let bias = Tensor::zeros(shape.0, weight.dtype(), weight.device())?;
    let Kernel { weight, .. } = Kernel { weight, bias }.times(&scale)?;
    Ok(Kernel { weight, bias: shift })
}

fn convolution(shape: (usize, usize, usize, usize), vb: &VarBuilder) -> Result<Tensor> {
    vb.get_with_hints(shape, "weight", candle_nn::init::DEFAULT_KAIMING_NORMAL)
}

/// Factor and summand of each channel, both `[C]`.
fn batch_norm(channels: usize, vb: &VarBuilder) -> Result<(Tensor, Tensor)> {
    let read = |name: &str, new: f64| vb.get_with_hints(channels, name, Init::Const(new));
    let deviation = (read("running_var", 1.0)? + BATCH_NORM_EPS)?.sqrt()?;
    let scale = (read("weight", 1.0)? / deviation)?;
    let shift = (read("bias", 0.0)? - (read("running_mean", 0.0)? * &scale)?)?;
    Ok((scale, shift))
}

/// A convolution of one pixel with a bias, as the product of matrices that it is.
fn pointwise(from: usize, to: usize, vb: &VarBuilder) -> Result<Linear> {
    let weight = convolution((to, from, 1, 1), vb)?.reshape((to, from))?;
    Ok(Linear::of(weight, vb.get_with_hints(to, "bias", candle_nn::init::ZERO)?))
}

/// What it gives times a factor for each channel, `[to]`.
fn scaled(linear: &Linear, factor: &Tensor) -> Result<Linear> {
    let weight = linear.weight.broadcast_mul(&factor.reshape(((), 1))?)?;
    let bias = linear.bias.as_ref().map(|bias| bias * factor).transpose()?;
    Ok(Linear { weight, bias })
}
