//! Attention of a language model that is asked many things about one clip.
//!
//! A clip's tokens come first and are read once; each question after it sees them and itself, and no
//! other question. What a question computes is what it would compute alone behind the clip, at a
//! fraction of the work.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::linear::Product;
use super::{floats, simd};

/// A clip and what is asked about it: the clip's tokens, then each question's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::train) struct Passage {
    /// Tokens that all questions see.
    pub(in crate::train) shared: usize,
    /// Tokens of each question, with its answer.
    pub(in crate::train) own: Vec<usize>,
}

impl Passage {
    /// Rows of the passage.
    pub(in crate::train) fn rows(&self) -> usize {
        self.shared + self.own.iter().sum::<usize>()
    }

    /// Where in its context each row stands.
    fn positions(&self) -> impl Iterator<Item = usize> {
        let questions = self.own.iter().flat_map(|&len| self.shared..self.shared + len);
        (0..self.shared).chain(questions)
    }

    /// The first row of each question, and its rows.
    fn questions(&self) -> impl Iterator<Item = (usize, usize)> {
        self.own.iter().scan(self.shared, |at, &len| {
            *at += len;
            Some((*at - len, len))
        })
    }
}

/// A passage with its rows of two arrays that are read and of one that is written.
type Part<'a> = (&'a Passage, &'a [f32], &'a [f32], &'a mut [f32]);

/// Sizes and positions of the attention.
#[derive(Debug, Clone)]
struct Attention {
    heads: usize,
    theta: f32,
    passages: Arc<Vec<Passage>>,
}

/// One head of one passage.
#[derive(Debug, Clone, Copy)]
struct Head<'a> {
    passage: &'a Passage,
    /// All heads' width, D.
    width: usize,
    /// This head's width.
    size: usize,
    /// Where it begins in a row.
    at: usize,
    /// Columns of a row of shares: the clip's tokens, then those of the question itself.
    columns: usize,
}

impl Head<'_> {
    fn scale(self) -> f32 {
        (self.size as f32).sqrt().recip()
    }

    /// Each row of a question with how many rows of that question it sees, and the first of these.
    fn in_questions(self) -> impl Iterator<Item = (usize, usize, usize)> {
        self.passage
            .questions()
            .flat_map(|(first, len)| (0..len).map(move |k| (first + k, k + 1, first)))
    }

    /// The part of a row of q (0), k (1) or v (2).
    fn part(self, qkv: &[f32], part: usize, row: usize) -> &[f32] {
        &qkv[(3 * row + part) * self.width + self.at..][..self.size]
    }

    fn part_mut(self, qkv: &mut [f32], part: usize, row: usize) -> &mut [f32] {
        &mut qkv[(3 * row + part) * self.width + self.at..][..self.size]
    }

    /// `c[i, j] = a_i b_j` over all rows i and the clip's rows j; sides are given as (values, begin,
    /// row).
    fn products(self, a: (&[f32], usize, usize), b: (&[f32], usize, usize), c: &mut [f32]) {
        Product {
            size: (self.passage.rows(), self.passage.shared, self.size),
            a: (&a.0[a.1 + self.at..], a.2, 1),
            b: (&b.0[b.1 + self.at..], 1, b.2),
            accumulate: false,
            scale: 1.0,
            threads: gemm::Parallelism::None,
        }
        .write(c, self.columns);
    }

    /// `target_i = sum_j shares[i, j] source_j` over all rows i and the clip's rows j.
    fn mix(
        self,
        shares: &[f32],
        source: (&[f32], usize, usize),
        (target, begin, row): (&mut [f32], usize, usize),
    ) {
        Product {
            size: (self.passage.rows(), self.size, self.passage.shared),
            a: (shares, self.columns, 1),
            b: (&source.0[source.1 + self.at..], source.2, 1),
            accumulate: false,
            scale: 1.0,
            threads: gemm::Parallelism::None,
        }
        .write(&mut target[begin + self.at..], row);
    }

    /// `target_j = sum_i shares[i, j] source_i` over all rows i and the clip's rows j.
    fn mix_back(
        self,
        shares: &[f32],
        source: (&[f32], usize, usize),
        (target, begin, row): (&mut [f32], usize, usize),
    ) {
        Product {
            size: (self.passage.shared, self.size, self.passage.rows()),
            a: (shares, 1, self.columns),
            b: (&source.0[source.1 + self.at..], source.2, 1),
            accumulate: false,
            scale: 1.0,
            threads: gemm::Parallelism::None,
        }
        .write(&mut target[begin + self.at..], row);
    }

    /// How much each row heeds each that it sees.
    fn shares(self, qkv: &[f32], shares: &mut [f32]) {
        let (d, clip) = (self.width, self.passage.shared);
        self.products((qkv, 0, 3 * d), (qkv, d, 3 * d), shares);
        for (row, shares) in shares.chunks_exact_mut(self.columns).take(clip).enumerate() {
            shares[row + 1..clip].fill(f32::NEG_INFINITY);
            simd::softmax(&mut shares[..clip], self.scale());
        }
        for (row, sees, first) in self.in_questions() {
            let shares = &mut shares[row * self.columns..][..clip + sees];
            let q = self.part(qkv, 0, row);
            for (k, share) in shares[clip..].iter_mut().enumerate() {
                *share = simd::dot(q, self.part(qkv, 1, first + k));
            }
            simd::softmax(shares, self.scale());
        }
    }

    fn forward(self, qkv: &[f32], out: &mut [f32], shares: &mut [f32]) {
        let (d, clip) = (self.width, self.passage.shared);
        self.shares(qkv, shares);
        self.mix(shares, (qkv, 2 * d, 3 * d), (out, 0, d));
        for (row, sees, first) in self.in_questions() {
            let to = &mut out[row * d + self.at..][..self.size];
            for (k, share) in shares[row * self.columns + clip..][..sees].iter().enumerate() {
                simd::add_scaled(to, *share, self.part(qkv, 2, first + k));
            }
        }
    }

    fn back(
        self,
        qkv: &[f32],
        dout: &[f32],
        dqkv: &mut [f32],
        (shares, slopes): (&mut [f32], &mut [f32]),
    ) {
        let (d, clip, columns) = (self.width, self.passage.shared, self.columns);
        self.shares(qkv, shares);
        self.products((dout, 0, d), (qkv, 2 * d, 3 * d), slopes);
        let both = shares.chunks_exact(columns).zip(slopes.chunks_exact_mut(columns));
        for (shares, slopes) in both.take(clip) {
            simd::softmax_back(&shares[..clip], &mut slopes[..clip], self.scale());
        }
        for (row, sees, first) in self.in_questions() {
            let from = &dout[row * d + self.at..][..self.size];
            let slopes = &mut slopes[row * columns..][..clip + sees];
            for (k, slope) in slopes[clip..].iter_mut().enumerate() {
                *slope = simd::dot(from, self.part(qkv, 2, first + k));
            }
            simd::softmax_back(&shares[row * columns..][..clip + sees], slopes, self.scale());
        }
        self.mix(slopes, (qkv, d, 3 * d), (dqkv, 0, 3 * d));
        self.mix_back(slopes, (qkv, 0, 3 * d), (dqkv, d, 3 * d));
        self.mix_back(shares, (dout, 0, d), (dqkv, 2 * d, 3 * d));
        for (row, sees, first) in self.in_questions() {
            for k in 0..sees {
                let (share, slope) =
                    (shares[row * columns + clip + k], slopes[row * columns + clip + k]);
                let other = first + k;
                simd::add_scaled(self.part_mut(dqkv, 0, row), slope, self.part(qkv, 1, other));
                simd::add_scaled(self.part_mut(dqkv, 1, other), slope, self.part(qkv, 0, row));
                let from = &dout[row * d + self.at..][..self.size];
                simd::add_scaled(self.part_mut(dqkv, 2, other), share, from);
            }
        }
    }
}

impl Attention {
    fn width(&self, layout: &Layout) -> Result<usize> {
        let (rows, triple) = layout.shape().dims2()?;
        let width = triple / 3;
        let needed: usize = self.passages.iter().map(Passage::rows).sum();
        if width * 3 != triple || !width.is_multiple_of(2 * self.heads) || rows != needed {
            candle_core::bail!("{needed} rows of [3 * width] are read, got {:?}", layout.shape());
        }
        Ok(width)
    }

    /// Turns q and k by their positions, or back.
    fn turned(&self, qkv: &[f32], width: usize, is_back: bool) -> Vec<f32> {
        let half = width / self.heads / 2;
        let longest = self
            .passages
            .iter()
            .flat_map(|passage| passage.own.iter().chain(&[0]).map(|own| passage.shared + own));
        let longest = longest.max().unwrap_or_default();
        let angle = |at: usize, k: usize| {
            let speed = self.theta.powf(-(k as f32) / half as f32);
            let angle = at as f32 * speed;
            if is_back { -angle } else { angle }
        };
        let table: Vec<(Vec<f32>, Vec<f32>)> = (0..longest)
            .map(|at| {
                let angles = (0..half).map(|k| angle(at, k));
                angles.map(|angle| (angle.cos(), angle.sin())).unzip()
            })
            .collect();
        let mut turned = qkv.to_vec();
        let positions = self.passages.iter().flat_map(Passage::positions);
        for (row, at) in turned.chunks_exact_mut(3 * width).zip(positions) {
            simd::turn(&mut row[..2 * width], &table[at].0, &table[at].1);
        }
        turned
    }

    /// Each passage with its rows of three arrays, whose rows have `lens` values.
    fn each<'a>(
        &'a self,
        (a, b): (&'a [f32], &'a [f32]),
        mut to: &'a mut [f32],
        lens: [usize; 3],
    ) -> Vec<Part<'a>> {
        let mut at = 0;
        let mut parts = Vec::with_capacity(self.passages.len());
        for passage in &*self.passages {
            let rows = passage.rows();
            let (own, rest) = to.split_at_mut(rows * lens[2]);
            let part = |from: &'a [f32], len: usize| match len {
                0 => from,
                len => &from[at * len..(at + rows) * len],
            };
            parts.push((passage, part(a, lens[0]), part(b, lens[1]), own));
            to = rest;
            at += rows;
        }
        parts
    }

    fn heads<'a>(&self, passage: &'a Passage, width: usize) -> impl Iterator<Item = Head<'a>> {
        let size = width / self.heads;
        let columns = passage.shared + passage.own.iter().max().copied().unwrap_or_default();
        (0..self.heads).map(move |head| Head { passage, width, size, at: head * size, columns })
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "passages"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let width = self.width(layout)?;
        let qkv = self.turned(floats(storage, layout)?, width, false);
        let mut out = vec![0.0; qkv.len() / 3];
        let rows = out.len() / width;
        self.each((&qkv, &[]), &mut out, [3 * width, 0, width]).into_par_iter().for_each(
            |(passage, qkv, _, out)| {
                let mut shares = Vec::new();
                for head in self.heads(passage, width) {
                    shares.resize(passage.rows() * head.columns, 0.0);
                    head.forward(qkv, out, &mut shares);
                }
            },
        );
        Ok((CpuStorage::F32(out), (rows, width).into()))
    }

    fn bwd(&self, qkv: &Tensor, _out: &Tensor, dout: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(qkv.apply_op2_no_bwd(&dout.contiguous()?, &AttentionBack(self.clone()))?))
    }
}

/// Attention's gradient.
struct AttentionBack(Attention);

impl CustomOp2 for AttentionBack {
    fn name(&self) -> &'static str {
        "passages-back"
    }

    fn cpu_fwd(
        &self,
        qs: &CpuStorage,
        ql: &Layout,
        gs: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let width = self.0.width(ql)?;
        let qkv = self.0.turned(floats(qs, ql)?, width, false);
        let dout = floats(gs, gl)?;
        let mut dqkv = vec![0.0; qkv.len()];
        self.0
            .each((&qkv, dout), &mut dqkv, [3 * width, width, 3 * width])
            .into_par_iter()
            .for_each(|(passage, qkv, dout, dqkv)| {
                let (mut shares, mut slopes) = (Vec::new(), Vec::new());
                for head in self.0.heads(passage, width) {
                    shares.resize(passage.rows() * head.columns, 0.0);
                    slopes.resize(shares.len(), 0.0);
                    head.back(qkv, dout, dqkv, (&mut shares, &mut slopes));
                }
            });
        let dqkv = self.0.turned(&dqkv, width, true);
        Ok((CpuStorage::F32(dqkv), ql.shape().clone()))
    }
}

/// Self-attention with rotary positions, whose halves of a head turn together: qkv
/// [rows, 3 * width] of all passages to [rows, width].
pub(in crate::train) fn read_passages(
    qkv: &Tensor,
    heads: usize,
    theta: f32,
    passages: &Arc<Vec<Passage>>,
) -> Result<Tensor> {
    qkv.apply_op1(Attention { heads, theta, passages: Arc::clone(passages) })
}
