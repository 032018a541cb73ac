//! A transformer block on plain slices.

use candle_core::Tensor;

use super::attention::{Sequence, Sight, attend};
use super::floats::{Floats, stride};
use super::matmul::{Finish, Packed, Raw, Scratch};
use super::precision::Arithmetic;
use super::simd;
use crate::ModelError;
use crate::layers::{Attention, Block, LAYER_NORM_EPS, LayerNorm, Linear};

/// The values of a tensor, row-major.
pub(super) fn floats_of(tensor: &Tensor) -> Result<Vec<f32>, ModelError> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

/// A linear layer, to be packed.
pub(super) fn raw(linear: &Linear) -> Result<Raw, ModelError> {
    Ok(Raw {
        weight: floats_of(linear.weight())?,
        bias: linear.bias().map_or(Ok(Vec::new()), floats_of)?,
        inputs: linear.weight().dims2()?.1,
    })
}

/// Query, key and value as one layer, the query's scale within.
pub(super) fn raw_qkv(attention: &Attention) -> Result<Raw, ModelError> {
    let query = raw(&attention.q_proj)?;
    let scale = 1.0 / ((query.outputs() / attention.heads) as f32).sqrt();
    Ok(query.scaled(scale).beside(&raw(&attention.k_proj)?).beside(&raw(&attention.v_proj)?))
}

/// A layer norm's parameters.
#[derive(Clone, Debug)]
pub(super) struct Norm {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Norm {
    pub(super) fn new(norm: &LayerNorm) -> Result<Self, ModelError> {
        Ok(Self { weight: floats_of(norm.weight())?, bias: floats_of(norm.bias())? })
    }

    pub(super) fn width(&self) -> usize {
        self.weight.len()
    }

    pub(super) fn apply(&self, xs: &[f32], out: &mut [f32]) {
        simd::layer_norm(xs, &self.weight, &self.bias, LAYER_NORM_EPS, out);
    }

    /// Each row of `xs`, end to end, to a row of `out`, every `stride` floats.
    pub(super) fn apply_rows(&self, xs: &[f32], out: &mut [f32], stride: usize) {
        let width = self.width();
        for (xs, out) in xs.chunks_exact(width).zip(out.chunks_exact_mut(stride)) {
            self.apply(xs, &mut out[..width]);
        }
    }
}

/// The two linear layers after the attention, with their norm: `x += fc2(gelu(fc1(ln2(x))))`.
#[derive(Clone, Debug)]
pub(super) struct Feed {
    norm: Norm,
    fc1: Packed,
    fc2: Packed,
}

impl Feed {
    pub(super) fn new(block: &Block, arithmetic: Arithmetic) -> Result<Self, ModelError> {
        let [fc1, fc2] = Packed::all([raw(&block.mlp.fc1)?, raw(&block.mlp.fc2)?], arithmetic)?;
        Ok(Self { norm: Norm::new(&block.layer_norm2)?, fc1, fc2 })
    }

    /// Updates rows of the residual stream, end to end.
    pub(super) fn apply(&self, xs: &mut [f32], room: &mut Room) -> Result<(), ModelError> {
        let (width, hidden) = (self.norm.width(), self.fc1.outputs());
        let count = xs.len() / width;
        let (normed_stride, hidden_stride) = (stride(width), stride(hidden));
        let normed = room.normed.room(count * normed_stride)?;
        let wide = room.wide.room(count * hidden_stride)?;
        self.norm.apply_rows(xs, normed, normed_stride);
        let row = |at: usize| &normed[at * normed_stride..][..width];
        let out = (&mut *wide, hidden_stride);
        self.fc1.apply(count, row, Finish::QuickGelu, out, &mut room.scratch)?;
        let row = |at: usize| &wide[at * hidden_stride..][..hidden];
        self.fc2.apply(count, row, Finish::Add, (xs, width), &mut room.scratch)
    }
}

/// A block of CLIP.
#[derive(Clone, Debug)]
pub(super) struct CpuBlock {
    pub(super) norm: Norm,
    pub(super) qkv: Packed,
    pub(super) out: Packed,
    pub(super) feed: Feed,
    pub(super) heads: usize,
}

/// Room for what a block computes on the way; one for each thread at work.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) normed: Floats,
    pub(super) qkv: Floats,
    pub(super) mixed: Floats,
    wide: Floats,
    pub(super) scratch: Scratch,
}

impl Room {
    pub(super) fn new() -> Result<Self, ModelError> {
        Ok(Self {
            normed: Floats::zeroed(0)?,
            qkv: Floats::zeroed(0)?,
            mixed: Floats::zeroed(0)?,
            wide: Floats::zeroed(0)?,
            scratch: Scratch::new()?,
        })
    }
}

impl CpuBlock {
    pub(super) fn new(block: &Block, arithmetic: Arithmetic) -> Result<Self, ModelError> {
        let layers = [
            raw_qkv(&block.self_attn)?,
            raw(&block.self_attn.out_proj)?,
            raw(&block.mlp.fc1)?,
            raw(&block.mlp.fc2)?,
        ];
        let [qkv, out, fc1, fc2] = Packed::all(layers, arithmetic)?;
        Ok(Self {
            norm: Norm::new(&block.layer_norm1)?,
            qkv,
            out,
            feed: Feed { norm: Norm::new(&block.layer_norm2)?, fc1, fc2 },
            heads: block.self_attn.heads,
        })
    }

    /// Updates sequences of `len` tokens, end to end in `xs`, each by itself.
    pub(super) fn forward(
        &self,
        xs: &mut [f32],
        len: usize,
        sight: Sight,
        room: &mut Room,
    ) -> Result<(), ModelError> {
        let width = self.norm.width();
        let count = xs.len() / width;
        let (normed_stride, qkv_stride) = (stride(width), stride(3 * width));
        let normed = room.normed.room(count * normed_stride)?;
        let qkv = room.qkv.room(count * qkv_stride)?;
        let mixed = room.mixed.room(count * normed_stride)?;
        self.norm.apply_rows(xs, normed, normed_stride);
        let row = |at: usize| &normed[at * normed_stride..][..width];
        self.qkv.apply(count, row, Finish::Store, (qkv, qkv_stride), &mut room.scratch)?;
        for (qkv, mixed) in
            qkv.chunks_exact(len * qkv_stride).zip(mixed.chunks_exact_mut(len * normed_stride))
        {
            let row = |token: usize| &qkv[token * qkv_stride..][..3 * width];
            let sequence = Sequence { len, width, heads: self.heads, sight, row };
            let out = (mixed, normed_stride);
            attend(self.qkv.arithmetic(), &sequence, &mut room.scratch, out)?;
        }
        let row = |at: usize| &mixed[at * normed_stride..][..width];
        self.out.apply(count, row, Finish::Add, (xs, width), &mut room.scratch)?;
        self.feed.apply(xs, room)
    }
}
