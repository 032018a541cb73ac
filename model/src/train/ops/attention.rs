//! Self-attention.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::linear::Product;
use super::{floats, simd};

/// Multi-head self-attention of sequences whose q, k and v lie side by side.
#[derive(Debug, Clone, Copy)]
struct Attention {
    heads: usize,
    is_causal: bool,
}

/// One head of one sequence of tokens: q, k and v lie side by side in rows of `3 * width`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    /// Tokens of the sequence.
    pub(super) tokens: usize,
    /// From one token of the sequence to the next, rows.
    pub(super) step: usize,
    /// All heads' width.
    pub(super) width: usize,
    /// This head's width.
    pub(super) size: usize,
    /// Where it begins in the first row.
    pub(super) at: usize,
}

/// Up to this many tokens plain loops beat packing for a matrix product.
const FEW: usize = 16;

impl Head {
    fn scale(self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    /// Probabilities [tokens, tokens] from q and k.
    fn probabilities(self, qkv: &[f32], is_causal: bool, p: &mut [f32]) {
        self.products((qkv, 0, 3), (qkv, 1, 3), p);
        for (i, row) in p.chunks_exact_mut(self.tokens).enumerate() {
            if is_causal {
                row[i + 1..].fill(f32::NEG_INFINITY);
            }
            simd::softmax(row, self.scale());
        }
    }

    /// `p[i, j] = a_i b_j`. Sides are given as (values, part of a row, parts of a row).
    fn products(self, a: (&[f32], usize, usize), b: (&[f32], usize, usize), p: &mut [f32]) {
        let n = self.tokens;
        let side = |(values, part, parts): (_, usize, usize)| {
            let values: &[f32] = values;
            (&values[part * self.width + self.at..], parts * self.width * self.step)
        };
        let ((a, a_row), (b, b_row)) = (side(a), side(b));
        if n <= FEW {
            simd::few_products(a, a_row, b, b_row, [n, self.size], p);
            return;
        }
        Product {
            size: (n, n, self.size),
            a: (a, a_row, 1),
            b: (b, 1, b_row),
            accumulate: false,
            scale: 1.0,
            threads: gemm::Parallelism::None,
        }
        .write(p, n);
    }

    /// `target_i = sum_j matrix[i, j] source_j`, or with the matrix transposed; sides as in
    /// [`Self::products`].
    fn mix(
        self,
        matrix: &[f32],
        is_transposed: bool,
        (source, from, sources): (&[f32], usize, usize),
        (target, to, targets): (&mut [f32], usize, usize),
    ) {
        let n = self.tokens;
        let (rs, cs) = if is_transposed { (1, n) } else { (n, 1) };
        let source = &source[from * self.width + self.at..];
        let target = &mut target[to * self.width + self.at..];
        let (source_row, target_row) =
            (sources * self.width * self.step, targets * self.width * self.step);
        if n <= FEW {
            let size = [n, self.size];
            simd::few_mixes(matrix, [rs, cs], source, source_row, size, target, target_row);
            return;
        }
        Product {
            size: (n, self.size, n),
            a: (matrix, rs, cs),
            b: (source, source_row, 1),
            accumulate: false,
            scale: 1.0,
            threads: gemm::Parallelism::None,
        }
        .write(target, target_row);
    }

    /// From q, k, v to the mixed values, rows of `width`; `p` is [tokens, tokens] of room.
    pub(super) fn forward(self, qkv: &[f32], is_causal: bool, out: &mut [f32], p: &mut [f32]) {
        self.probabilities(qkv, is_causal, p);
        self.mix(p, false, (qkv, 2, 3), (out, 0, 1));
    }

    /// The gradient of q, k, v from that of the mixed values. Probabilities are computed anew,
    /// which is cheaper than keeping them; `p` and `d` are [tokens, tokens] of room.
    pub(super) fn back(
        self,
        qkv: &[f32],
        dout: &[f32],
        is_causal: bool,
        dqkv: &mut [f32],
        (p, d): (&mut [f32], &mut [f32]),
    ) {
        self.probabilities(qkv, is_causal, p);
        self.mix(p, true, (dout, 0, 1), (dqkv, 2, 3));
        self.products((dout, 0, 1), (qkv, 2, 3), d);
        for (p, d) in p.chunks_exact(self.tokens).zip(d.chunks_exact_mut(self.tokens)) {
            simd::softmax_back(p, d, self.scale());
        }
        self.mix(d, false, (qkv, 1, 3), (dqkv, 0, 3));
        self.mix(d, true, (qkv, 0, 3), (dqkv, 1, 3));
    }
}

impl Attention {
    fn sizes(self, layout: &Layout) -> Result<(usize, usize)> {
        let (_, tokens, triple) = layout.shape().dims3()?;
        let width = triple / 3;
        if width * 3 != triple || !width.is_multiple_of(self.heads) {
            candle_core::bail!("attention wants [.., 3 * width], got {:?}", layout.shape());
        }
        Ok((tokens, width))
    }

    fn heads(self, tokens: usize, width: usize) -> impl Iterator<Item = Head> {
        let size = width / self.heads;
        (0..self.heads).map(move |head| Head { tokens, step: 1, width, size, at: head * size })
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = floats(storage, layout)?;
        let (n, width) = self.sizes(layout)?;
        let mut out = vec![0.0; qkv.len() / 3];
        out.par_chunks_mut(n * width).zip(qkv.par_chunks(n * 3 * width)).for_each_init(
            || vec![0.0_f32; n * n],
            |p, (out, qkv)| {
                for head in self.heads(n, width) {
                    head.forward(qkv, self.is_causal, out, p);
                }
            },
        );
        let (batch, tokens, _) = layout.shape().dims3()?;
        Ok((CpuStorage::F32(out), (batch, tokens, width).into()))
    }

    fn bwd(&self, qkv: &Tensor, _out: &Tensor, dout: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(qkv.apply_op2_no_bwd(&dout.contiguous()?, &AttentionBack(*self))?))
    }
}

/// Attention's gradient.
struct AttentionBack(Attention);

impl CustomOp2 for AttentionBack {
    fn name(&self) -> &'static str {
        "attention-back"
    }

    fn cpu_fwd(
        &self,
        qs: &CpuStorage,
        ql: &Layout,
        gs: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (qkv, dout) = (floats(qs, ql)?, floats(gs, gl)?);
        let (n, width) = self.0.sizes(ql)?;
        let triple = 3 * width;
        let mut dqkv = vec![0.0; qkv.len()];
        let sequences = qkv.par_chunks(n * triple).zip(dout.par_chunks(n * width));
        dqkv.par_chunks_mut(n * triple).zip(sequences).for_each_init(
            || (vec![0.0_f32; n * n], vec![0.0_f32; n * n]),
            |(p, d), (dqkv, (qkv, dout))| {
                for head in self.0.heads(n, width) {
                    head.back(qkv, dout, self.0.is_causal, dqkv, (p, d));
                }
            },
        );
        Ok((CpuStorage::F32(dqkv), ql.shape().clone()))
    }
}

/// Self-attention: qkv [sequences, tokens, 3 * width] to [sequences, tokens, width]. Queries are
/// scaled by the root of the head's size; with `is_causal` a token sees only itself and those
/// before it.
pub(crate) fn attention(qkv: &Tensor, heads: usize, is_causal: bool) -> Result<Tensor> {
    qkv.apply_op1(Attention { heads, is_causal })
}
