//! A spatial layer of which only the class token is wanted.
//!
//! Attention with one query needs no keys and values of the other tokens. With q the query of a
//! head, its score for token x is `q · (Wk x + bk) = (Wkᵀ q) · x + q · bk`, whose last part is the
//! same for all tokens and drops out of the softmax; and the mixed value is
//! `Σ a (Wv x + bv) = Wv (Σ a x) + bv`, as the shares add up to 1. So the two large projections act on
//! one vector for each head instead of on every token.

use super::block::{Feed, Norm, Room, floats_of, raw};
use super::matmul::Raw;
use super::parallel::Pool;
use super::precision::Arithmetic;
use super::simd;
use crate::ModelError;
use crate::layers::Block;

/// The layer.
#[derive(Debug)]
pub(super) struct ClassQuery {
    norm: Norm,
    /// Scaled, as in every attention here.
    query: Raw,
    /// `[D, D]`, row-major.
    key: Vec<f32>,
    value: Raw,
    out: Raw,
    feed: Feed,
    heads: usize,
    room: Pool<Room>,
}

impl ClassQuery {
    pub(super) fn new(block: &Block) -> Result<Self, ModelError> {
        let attention = &block.self_attn;
        let query = raw(&attention.q_proj)?;
        let scale = 1.0 / ((query.outputs() / attention.heads) as f32).sqrt();
        Ok(Self {
            norm: Norm::new(&block.layer_norm1)?,
            query: query.scaled(scale),
            key: floats_of(attention.k_proj.weight())?,
            value: raw(&attention.v_proj)?,
            out: raw(&attention.out_proj)?,
            feed: Feed::new(block, Arithmetic::vectors())?,
            heads: attention.heads,
            room: Pool::new(Room::new),
        })
    }

    /// The norm that [`Self::forward`] wants its tokens to have passed.
    pub(super) fn norm(&self) -> &Norm {
        &self.norm
    }

    /// The class token after the layer. `cls [D]` is the one before it; `normed` holds all tokens
    /// after the layer norm, a row every `stride` floats: the class token, then patch by patch, each
    /// over the `frames`.
    pub(super) fn forward(
        &self,
        cls: &mut [f32],
        normed: &[f32],
        stride: usize,
        frames: usize,
    ) -> Result<Vec<f32>, ModelError> {
        let width = cls.len();
        let size = width / self.heads;
        let rows = normed.len() / stride;
        let row = |at: usize| &normed[at * stride..][..width];

        let query = linear(&self.query, row(0));
        // Wkᵀ q of every head, [H, D].
        let mut queries = vec![0.0; self.heads * width];
        for (channel, (factor, keys)) in query.iter().zip(self.key.chunks_exact(width)).enumerate()
        {
            simd::add_scaled(&mut queries[channel / size * width..][..width], keys, *factor);
        }
        // Scores of every token, [1 + N·T, H].
        let mut scores = vec![0.0; rows * self.heads];
        for (at, scores) in scores.chunks_exact_mut(self.heads).enumerate() {
            simd::dots(row(at), &queries, scores);
        }
        // The mean over frames of what the class token sees in each, [H, D].
        let mut seen = vec![0.0; self.heads * width];
        let patches = (rows - 1) / frames;
        let mut shares = vec![0.0; 1 + patches];
        for head in 0..self.heads {
            let seen = &mut seen[head * width..][..width];
            for frame in 0..frames {
                let token = |at: usize| if at == 0 { 0 } else { 1 + (at - 1) * frames + frame };
                for (at, share) in shares.iter_mut().enumerate() {
                    *share = scores[token(at) * self.heads + head];
                }
                simd::softmax(&mut shares);
                for (at, share) in shares.iter().enumerate() {
                    simd::add_scaled(seen, row(token(at)), share / frames as f32);
                }
            }
        }
        let mut mixed = self.value.bias.clone();
        let values = self.value.weight.chunks_exact(size * width);
        for ((mixed, values), seen) in
            mixed.chunks_exact_mut(size).zip(values).zip(seen.chunks_exact(width))
        {
            simd::dots(seen, values, mixed);
        }
        simd::add_scaled(cls, &linear(&self.out, &mixed), 1.0);

        let mut room = self.room.take()?;
        self.feed.apply(cls, &mut room)?;
        self.room.give_back(room);
        Ok(cls.to_vec())
    }
}

/// One row through a linear layer.
fn linear(layer: &Raw, xs: &[f32]) -> Vec<f32> {
    let mut out = layer.bias.clone();
    simd::dots(xs, &layer.weight, &mut out);
    out
}
