//! One layer of the branch as one operation: gate, attention in time, attention in space, MLP.
//!
//! Composed from the other operations a layer spends two thirds of its time copying tokens between
//! the orders that time and space want, and adding gradients up. Here tokens keep one order, the
//! frames' own [clips, T, 1 + N, D], with the branch's one class token repeated in each frame; a
//! clip's tokens stay in the processor's caches from the layer's beginning to its end.

mod last;
mod maps;
mod pass;

use std::ops::Range;
use std::sync::Mutex;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use self::maps::Map;
use super::attention::Head;
use super::{floats, simd, total};

/// Sizes of a layer.
#[derive(Debug, Clone, Copy)]
pub(in crate::train) struct BranchLayer {
    /// Frames of a clip, T.
    pub(in crate::train) frames: usize,
    /// Tokens of a frame, 1 + N.
    pub(in crate::train) tokens: usize,
    /// D.
    pub(in crate::train) width: usize,
    /// Attention heads.
    pub(in crate::train) heads: usize,
    /// Width inside the MLP.
    pub(in crate::train) mlp: usize,
    /// Whether the input is mixed with CLIP's tokens first.
    pub(in crate::train) is_gated: bool,
    /// Whether only the class token matters from here on. Then the layer leaves the patches as
    /// attention in time made them, and takes no gradient from them.
    pub(in crate::train) is_last: bool,
}

/// Where a layer's parameters lie in their row.
#[derive(Debug, Clone)]
struct Places {
    gate: Range<usize>,
    time_norm: Range<usize>,
    time_qkv: Map,
    time_out: Map,
    time_fc: Map,
    space_norm: Range<usize>,
    space_qkv: Map,
    space_out: Map,
    mlp_norm: Range<usize>,
    fc1: Map,
    fc2: Map,
    count: usize,
}

impl BranchLayer {
    /// In the order in which [`super::super::network::Network`] lays the parameters out.
    fn places(&self) -> Places {
        let (d, m) = (self.width, self.mlp);
        let mut at = 0;
        let mut take = |count: usize| {
            at += count;
            at - count..at
        };
        let map = |take: &mut dyn FnMut(usize) -> Range<usize>, out: usize, inner: usize| Map {
            weight: take(out * inner),
            bias: take(out),
            out,
            inner,
        };
        let gate = take(d);
        let time_norm = take(2 * d);
        let time_qkv = map(&mut take, 3 * d, d);
        let time_out = map(&mut take, d, d);
        let time_fc = map(&mut take, d, d);
        let space_norm = take(2 * d);
        let space_qkv = map(&mut take, 3 * d, d);
        let space_out = map(&mut take, d, d);
        let mlp_norm = take(2 * d);
        let fc1 = map(&mut take, m, d);
        let fc2 = map(&mut take, d, m);
        let count = take(0).end;
        Places {
            gate,
            time_norm,
            time_qkv,
            time_out,
            time_fc,
            space_norm,
            space_qkv,
            space_out,
            mlp_norm,
            fc1,
            fc2,
            count,
        }
    }

    fn rows(&self) -> usize {
        self.frames * self.tokens
    }

    fn each_head(self, tokens: usize, step: usize) -> impl Iterator<Item = Head> {
        let (width, size) = (self.width, self.width / self.heads);
        (0..self.heads).map(move |head| Head { tokens, step, width, size, at: head * size })
    }

    /// Every patch over the frames: for each, its first row.
    fn in_time(self) -> impl Iterator<Item = (usize, Head)> {
        let (tokens, frames) = (self.tokens, self.frames);
        (1..tokens).flat_map(move |patch| self.each_head(frames, tokens).map(move |h| (patch, h)))
    }

    /// Every frame's tokens: for each, its first row.
    fn in_space(self) -> impl Iterator<Item = (usize, Head)> {
        let (tokens, frames) = (self.tokens, self.frames);
        (0..frames).flat_map(move |t| self.each_head(tokens, 1).map(move |h| (t * tokens, h)))
    }

    /// `sum = (sum over the frames' class rows) / T` in each class row of `rows`.
    fn share_class(&self, rows: &mut [f32]) {
        let (d, frame) = (self.width, self.tokens * self.width);
        let mut mean = vec![0.0; d];
        rows.chunks_exact(frame).for_each(|frame| simd::add_to(&mut mean, &frame[..d]));
        for value in &mut mean {
            *value /= self.frames as f32;
        }
        rows.chunks_exact_mut(frame).for_each(|frame| frame[..d].copy_from_slice(&mean));
    }

    /// Sets the class rows to zero.
    fn clear_class(&self, rows: &mut [f32]) {
        let (d, frame) = (self.width, self.tokens * self.width);
        rows.chunks_exact_mut(frame).for_each(|frame| frame[..d].fill(0.0));
    }
}

/// What the backward pass needs of a clip's forward pass.
///
/// Of a last layer the fields from `queries` on have rows for class tokens only.
#[derive(Debug, Default)]
struct Tape {
    x: Vec<f32>,
    time_normed: Vec<f32>,
    time_qkv: Vec<f32>,
    time_mixed: Vec<f32>,
    time_out: Vec<f32>,
    after_time: Vec<f32>,
    space_normed: Vec<f32>,
    /// In a last layer k and v alone.
    space_qkv: Vec<f32>,
    /// In a last layer, of the class tokens.
    queries: Vec<f32>,
    space_mixed: Vec<f32>,
    after_space: Vec<f32>,
    mlp_normed: Vec<f32>,
    hidden: Vec<f32>,
}

/// The layer and, after a forward pass, its clips' tapes.
struct Op {
    layer: BranchLayer,
    tapes: Mutex<Vec<Tape>>,
}

/// Clips that one task takes in the backward pass; each task has gradients of its own.
const CLIPS: usize = 4;

impl CustomOp3 for Op {
    fn name(&self) -> &'static str {
        "branch-layer"
    }

    fn cpu_fwd(
        &self,
        zs: &CpuStorage,
        zl: &Layout,
        us: &CpuStorage,
        ul: &Layout,
        ps: &CpuStorage,
        pl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (z, u, params) = (floats(zs, zl)?, floats(us, ul)?, floats(ps, pl)?);
        let (len, places) = (self.layer.rows() * self.layer.width, self.layer.places());
        if zl.shape() != ul.shape() || !z.len().is_multiple_of(len) || params.len() != places.count
        {
            candle_core::bail!("{zl:?} and {ul:?} do not fit {:?}", self.layer)
        }
        let clips = z.par_chunks(len).zip(u.par_chunks(len));
        let (outputs, tapes): (Vec<Vec<f32>>, Vec<Tape>) =
            clips.map(|(z, u)| self.layer.forward(z, u, params, &places)).unzip();
        if let Ok(mut kept) = self.tapes.lock() {
            *kept = tapes;
        }
        Ok((CpuStorage::F32(outputs.concat()), zl.shape().clone()))
    }

    fn bwd(
        &self,
        z: &Tensor,
        u: &Tensor,
        params: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let tapes = self.tapes.lock().map(|mut tapes| std::mem::take(&mut *tapes));
        let back = Back {
            layer: self.layer,
            tapes: tapes.unwrap_or_default(),
            dy: dy.flatten_all()?.to_vec1()?,
        };
        let all = z.apply_op3_no_bwd(u, params, &back)?;
        let (n, count) = (z.elem_count(), params.elem_count());
        let dz = all.narrow(0, 0, n)?.reshape(z.shape())?;
        Ok((Some(dz), None, Some(all.narrow(0, n, count)?)))
    }
}

/// The gradients of z and of the parameters, one behind the other.
struct Back {
    layer: BranchLayer,
    tapes: Vec<Tape>,
    dy: Vec<f32>,
}

impl CustomOp3 for Back {
    fn name(&self) -> &'static str {
        "branch-layer-back"
    }

    fn cpu_fwd(
        &self,
        zs: &CpuStorage,
        zl: &Layout,
        us: &CpuStorage,
        ul: &Layout,
        ps: &CpuStorage,
        pl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (z, u, params) = (floats(zs, zl)?, floats(us, ul)?, floats(ps, pl)?);
        let (len, places) = (self.layer.rows() * self.layer.width, self.layer.places());
        if self.tapes.len() * len != z.len() {
            candle_core::bail!("a branch layer runs backward once, after it ran forward")
        }
        let some = CLIPS * len;
        let inputs = z.par_chunks(some).zip(u.par_chunks(some)).zip(self.dy.par_chunks(some));
        let (dz, dparams): (Vec<Vec<f32>>, Vec<Vec<f32>>) = inputs
            .zip(self.tapes.par_chunks(CLIPS))
            .map(|(((z, u), dy), tapes)| {
                let mut dparams = vec![0.0; params.len()];
                let mut dz = Vec::with_capacity(z.len());
                let clips = z.chunks_exact(len).zip(u.chunks_exact(len)).zip(dy.chunks_exact(len));
                for (((z, u), dy), tape) in clips.zip(tapes) {
                    let some = self.layer.back((z, u), tape, dy, (params, &places), &mut dparams);
                    dz.extend_from_slice(&some);
                }
                (dz, dparams)
            })
            .unzip();
        let mut all = dz.concat();
        all.extend(total(dparams, params.len()));
        let count = all.len();
        Ok((CpuStorage::F32(all), count.into()))
    }
}

/// A layer of the branch: its tokens `z` and CLIP's tokens `u`, both [clips, T, 1 + N, D] with the
/// class token in each frame, and all parameters in a row: gate; in time norm, q, k and v, out,
/// fc; in space norm, q, k and v, out; norm, fc1, fc2. Of each the weight comes before the bias. `u`
/// gets no gradient.
pub(in crate::train) fn branch_layer(
    layer: BranchLayer,
    z: &Tensor,
    u: &Tensor,
    params: &Tensor,
) -> Result<Tensor> {
    z.apply_op3(u, params, Op { layer, tapes: Mutex::default() })
}
