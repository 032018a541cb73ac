//! Linear maps and norms of a clip's tokens, whose parameters lie somewhere in one long row.

use std::ops::Range;

use super::super::linear::Product;
use super::super::simd;
use crate::layers::LAYER_NORM_EPS;

/// A linear map among the parameters: weight [out, in], then bias [out].
#[derive(Debug, Clone)]
pub(super) struct Map {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
    pub(super) out: usize,
    pub(super) inner: usize,
}

impl Map {
    /// The rows of the map from `from` on, `out` of them, as a map of their own.
    pub(super) fn part(&self, from: usize, out: usize) -> Self {
        let (weight, bias) = (self.weight.start + from * self.inner, self.bias.start + from);
        let weight = weight..weight + out * self.inner;
        Self { weight, bias: bias..bias + out, out, inner: self.inner }
    }
}

/// `x W^T + b`.
pub(super) fn map(x: &[f32], params: &[f32], map: &Map) -> Vec<f32> {
    let rows = x.len() / map.inner;
    let mut y = params[map.bias.clone()].repeat(rows);
    product(
        (rows, map.out, map.inner),
        (x, map.inner, 1),
        (&params[map.weight.clone()], 1, map.inner),
        &mut y,
    );
    y
}

/// The gradient of x; adds that of weight and bias to `dparams`.
pub(super) fn map_back(
    x: &[f32],
    dy: &[f32],
    params: &[f32],
    map: &Map,
    dparams: &mut [f32],
) -> Vec<f32> {
    let rows = x.len() / map.inner;
    let dw = &mut dparams[map.weight.clone()];
    product((map.out, map.inner, rows), (dy, 1, map.out), (x, map.inner, 1), dw);
    let db = &mut dparams[map.bias.clone()];
    dy.chunks_exact(map.out).for_each(|dy| simd::add_to(db, dy));
    let mut dx = vec![0.0; x.len()];
    let weight = &params[map.weight.clone()];
    product((rows, map.inner, map.out), (dy, map.out, 1), (weight, map.inner, 1), &mut dx);
    dx
}

/// `c += a b`; matrices as (values, stride of rows, stride of columns).
fn product(
    size: (usize, usize, usize),
    a: (&[f32], usize, usize),
    b: (&[f32], usize, usize),
    c: &mut [f32],
) {
    let threads = gemm::Parallelism::None;
    Product { size, a, b, accumulate: true, scale: 1.0, threads }.write(c, size.1);
}

pub(super) fn norm(x: &[f32], params: &[f32], at: &Range<usize>) -> Vec<f32> {
    let (w, b) = params[at.clone()].split_at(at.len() / 2);
    let mut y = vec![0.0; x.len()];
    for (y, x) in y.chunks_exact_mut(w.len()).zip(x.chunks_exact(w.len())) {
        simd::layer_norm(x, w, b, LAYER_NORM_EPS, y);
    }
    y
}

/// Adds the gradient of x to `sum`, that of weight and bias to `dparams`.
pub(super) fn norm_back(
    x: &[f32],
    dy: &[f32],
    params: &[f32],
    at: &Range<usize>,
    sum: &mut [f32],
    dparams: &mut [f32],
) {
    let d = at.len() / 2;
    let w = &params[at.clone()][..d];
    let (dw, db) = dparams[at.clone()].split_at_mut(d);
    let mut dx = vec![0.0; d];
    let rows = x.chunks_exact(d).zip(dy.chunks_exact(d));
    for (sum, (x, dy)) in sum.chunks_exact_mut(d).zip(rows) {
        simd::layer_norm_back(x, w, dy, LAYER_NORM_EPS, &mut dx, dw, db);
        simd::add_to(sum, &dx);
    }
}
