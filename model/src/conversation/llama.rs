//! LLaMA on candle's tensors, which reads embeddings as well as words.
//!
//! Own, since candle-transformers' quantised LLaMA takes token ids alone, and a clip's tokens have
//! none. One definition for whole weights and for GGUF. `S` tokens, `D` channels, `H` heads.

use candle_core::quantized::QMatMul;
use candle_core::{D, DType, Device, Module as _, Result, Tensor};

/// Sizes of a LLaMA.
#[derive(Clone, Debug, PartialEq)]
pub struct LlamaConfig {
    /// Channels, D.
    pub width: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads, H.
    pub heads: usize,
    /// Heads of keys and values; divides `heads`.
    pub kv_heads: usize,
    /// Hidden channels of a block's MLP.
    pub mlp: usize,
    /// Rows of the table of words.
    pub vocab: usize,
    /// Most tokens it reads.
    pub context: usize,
    /// Base of the rotary positions.
    pub rope_theta: f32,
    /// Epsilon of the norms.
    pub norm_eps: f32,
    /// Whether the two channels that turn together are neighbours, as llama.cpp stores them, and not
    /// half a head apart.
    pub turns_neighbours: bool,
}

/// A matrix, whole or quantised: `[.., in] -> [.., out]`.
#[derive(Debug)]
pub(super) struct Map(pub(super) QMatMul);

impl Map {
    fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        self.0.forward(&xs.contiguous()?)
    }
}

/// One block's parameters.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) norm1: Tensor,
    pub(super) q: Map,
    pub(super) k: Map,
    pub(super) v: Map,
    pub(super) out: Map,
    pub(super) norm2: Tensor,
    pub(super) gate: Map,
    pub(super) up: Map,
    pub(super) down: Map,
}

/// The language model.
#[derive(Debug)]
pub struct Llama {
    pub(super) config: LlamaConfig,
    /// `[vocab, D]`.
    pub(super) words: Tensor,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Tensor,
    pub(super) head: Map,
    /// Cosines and sines of the positions, each `[context, D/H/2]`.
    pub(super) turns: (Tensor, Tensor),
}

/// Keys and values of what was read, one pair for each block.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    kept: Vec<(Tensor, Tensor)>,
    tokens: usize,
}

impl Memory {
    /// Tokens read so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }
}

pub(super) fn turns(config: &LlamaConfig, device: &Device) -> Result<(Tensor, Tensor)> {
    let half = config.width / config.heads / 2;
    let speeds: Vec<f32> =
        (0..half).map(|at| config.rope_theta.powf(-(at as f32) / half as f32)).collect();
    let speeds = Tensor::from_vec(speeds, (1, half), device)?;
    let positions = Tensor::arange(0u32, config.context as u32, device)?.to_dtype(DType::F32)?;
    let angles = positions.reshape((config.context, 1))?.matmul(&speeds)?;
    Ok((angles.cos()?, angles.sin()?))
}

impl Llama {
    /// Its sizes.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Rows of the table of words: `S` ids to `[S, D]`.
    pub fn embed(&self, ids: &[u32]) -> Result<Tensor> {
        let ids = Tensor::new(ids, self.words.device())?;
        self.words.index_select(&ids, 0)
    }

    /// The mean of all words, `[1, D]`: a neutral stand-in for a word that the table lacks.
    pub fn mean_word(&self) -> Result<Tensor> {
        self.words.mean_keepdim(0)
    }

    /// Reads on: embeddings `[S, D]` to the scores of the word that follows, `[vocab]`.
    pub fn read(&self, embeddings: &Tensor, memory: &mut Memory) -> Result<Tensor> {
        let (s, _) = embeddings.dims2()?;
        let LlamaConfig { context, norm_eps, .. } = self.config;
        if s == 0 || memory.tokens + s > context {
            candle_core::bail!("{} tokens do not fit a context of {context}", memory.tokens + s);
        }
        let mut xs = embeddings.unsqueeze(0)?; // 1 S D
        for (at, layer) in self.layers.iter().enumerate() {
            let normed = candle_nn::ops::rms_norm(&xs, &layer.norm1, norm_eps)?;
            xs = (&xs + self.attend(layer, &normed, at, memory)?)?;
            let normed = candle_nn::ops::rms_norm(&xs.contiguous()?, &layer.norm2, norm_eps)?;
            let hidden = (layer.gate.forward(&normed)?.silu()? * layer.up.forward(&normed)?)?;
            xs = (&xs + layer.down.forward(&hidden)?)?;
        }
        memory.tokens += s;
        let last = xs.narrow(1, s - 1, 1)?.squeeze(0)?.contiguous()?; // 1 D
        let last = candle_nn::ops::rms_norm(&last, &self.norm, norm_eps)?;
        self.head.forward(&last)?.squeeze(0)
    }

    fn attend(&self, layer: &Layer, xs: &Tensor, at: usize, memory: &mut Memory) -> Result<Tensor> {
        let (_, s, d) = xs.dims3()?;
        let LlamaConfig { heads, kv_heads, turns_neighbours, .. } = self.config;
        let side = d / heads;
        let split = |xs: Tensor, heads: usize| {
            xs.reshape((1, s, heads, side))?.transpose(1, 2)?.contiguous() // 1 H S D/H
        };
        let cos = self.turns.0.narrow(0, memory.tokens, s)?;
        let sin = self.turns.1.narrow(0, memory.tokens, s)?;
        let turned = |xs: Tensor| {
            if turns_neighbours {
                candle_nn::rotary_emb::rope_i(&xs, &cos, &sin)
            } else {
                candle_nn::rotary_emb::rope(&xs, &cos, &sin)
            }
        };
        let q = turned(split(layer.q.forward(xs)?, heads)?)?;
        let mut k = turned(split(layer.k.forward(xs)?, kv_heads)?)?;
        let mut v = split(layer.v.forward(xs)?, kv_heads)?;
        if let Some((keys, values)) = memory.kept.get(at) {
            k = Tensor::cat(&[keys, &k], 2)?;
            v = Tensor::cat(&[values, &v], 2)?;
        }
        let now = (k.clone(), v.clone());
        match memory.kept.get_mut(at) {
            Some(kept) => *kept = now,
            None => memory.kept.push(now),
        }
        let seen = k.dim(2)?;
        // Heads that share keys and values lie side by side.
        let shared = |xs: Tensor| {
            let groups = heads / kv_heads;
            xs.unsqueeze(2)?
                .broadcast_as((1, kv_heads, groups, seen, side))?
                .contiguous()?
                .reshape((1, heads, seen, side))
        };
        let (k, v) = (shared(k)?, shared(v)?);
        let scores = (q.matmul(&k.t()?)? * (side as f64).powf(-0.5))?;
        let scores =
            if s > 1 { scores.broadcast_add(&causal(s, seen, xs.device())?)? } else { scores };
        let mixed = candle_nn::ops::softmax_last_dim(&scores)?.matmul(&v)?;
        debug_assert_eq!(mixed.dim(D::Minus1)?, side);
        layer.out.forward(&mixed.transpose(1, 2)?.reshape((1, s, d))?)
    }
}

/// Added to the scores of `s` tokens, the last of `seen`: none sees what follows it. `[s, seen]`.
fn causal(s: usize, seen: usize, device: &Device) -> Result<Tensor> {
    let before = seen - s;
    let mask = (0..s).flat_map(|row| {
        (0..seen).map(move |at| if at <= before + row { 0.0_f32 } else { f32::NEG_INFINITY })
    });
    Tensor::from_iter(mask, device)?.reshape((s, seen))
}
