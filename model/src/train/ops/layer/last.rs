//! The last layer's attention in space and MLP, of which only the class token is wanted: all
//! tokens give keys and values, and only one token asks.

use super::super::simd;
use super::maps::{map, map_back, norm, norm_back};
use super::{BranchLayer, Places, Tape};

impl BranchLayer {
    /// From the tape's normed tokens to the output [T, 1 + N, D].
    pub(super) fn last_forward(self, tape: &mut Tape, params: &[f32], p: &Places) -> Vec<f32> {
        let d = self.width;
        tape.queries = map(&self.classes(&tape.space_normed), params, &p.space_qkv.part(0, d));
        tape.space_qkv = map(&tape.space_normed, params, &p.space_qkv.part(d, 2 * d));
        let mut mixed = vec![0.0; tape.queries.len()];
        let mut shares = vec![0.0; self.tokens];
        for (t, at) in self.each_class_head() {
            let values = self.asked(tape, t, at, &mut shares);
            let out = &mut mixed[t * d + at..][..d / self.heads];
            for (share, value) in shares.iter().zip(values) {
                simd::add_scaled(out, *share, value);
            }
        }
        tape.space_mixed = mixed;
        let mut class = self.mean(&map(&tape.space_mixed, params, &p.space_out));
        simd::add_to(&mut class, &self.mean(&self.classes(&tape.after_time)));
        tape.after_space = class;
        tape.mlp_normed = norm(&tape.after_space, params, &p.mlp_norm);
        tape.hidden = map(&tape.mlp_normed, params, &p.fc1);
        let mut inner = vec![0.0; tape.hidden.len()];
        simd::quick_gelu(&tape.hidden, &mut inner);
        let mut class = map(&inner, params, &p.fc2);
        simd::add_to(&mut class, &tape.after_space);
        let mut y = tape.after_time.clone();
        y.chunks_exact_mut(self.tokens * d).for_each(|frame| frame[..d].copy_from_slice(&class));
        y
    }

    /// The gradients of the normed tokens and of the tokens after attention in time, this without
    /// what comes over the norm.
    pub(super) fn last_back(
        self,
        tape: &Tape,
        dy: &[f32],
        (params, p): (&[f32], &Places),
        dparams: &mut [f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let (d, frame) = (self.width, self.tokens * self.width);
        let size = d / self.heads;
        let mut dclass = self.mean(&self.classes(dy));
        for value in &mut dclass {
            *value *= self.frames as f32;
        }
        // The MLP.
        let mut inner = vec![0.0; tape.hidden.len()];
        simd::quick_gelu(&tape.hidden, &mut inner);
        let dinner = map_back(&inner, &dclass, params, &p.fc2, dparams);
        simd::quick_gelu_back(&tape.hidden, &dinner, &mut inner);
        let dnormed = map_back(&tape.mlp_normed, &inner, params, &p.fc1, dparams);
        norm_back(&tape.after_space, &dnormed, params, &p.mlp_norm, &mut dclass, dparams);
        // Each frame has an equal share in the class token.
        for value in &mut dclass {
            *value /= self.frames as f32;
        }
        let mut dx = vec![0.0; tape.after_time.len()];
        dx.chunks_exact_mut(frame).for_each(|frame| frame[..d].copy_from_slice(&dclass));
        let dout = dclass.repeat(self.frames);
        let dmixed = map_back(&tape.space_mixed, &dout, params, &p.space_out, dparams);
        let mut dqueries = vec![0.0; tape.queries.len()];
        let mut dkv = vec![0.0; tape.space_qkv.len()];
        let (mut shares, mut slopes) = (vec![0.0; self.tokens], vec![0.0; self.tokens]);
        for (t, at) in self.each_class_head() {
            let dout = &dmixed[t * d + at..][..size];
            let values = self.asked(tape, t, at, &mut shares);
            for (slope, value) in slopes.iter_mut().zip(values) {
                *slope = simd::dot(dout, value);
            }
            simd::softmax_back(&shares, &mut slopes, (size as f32).sqrt().recip());
            let query = &tape.queries[t * d + at..][..size];
            let dquery = &mut dqueries[t * d + at..][..size];
            for (token, (share, slope)) in shares.iter().zip(&slopes).enumerate() {
                let row = (t * self.tokens + token) * 2 * d + at;
                simd::add_scaled(dquery, *slope, &tape.space_qkv[row..][..size]);
                simd::add_scaled(&mut dkv[row..][..size], *slope, query);
                simd::add_scaled(&mut dkv[row + d..][..size], *share, dout);
            }
        }
        let kv = p.space_qkv.part(d, 2 * d);
        let mut dnormed = map_back(&tape.space_normed, &dkv, params, &kv, dparams);
        let classes = self.classes(&tape.space_normed);
        let dclasses = map_back(&classes, &dqueries, params, &p.space_qkv.part(0, d), dparams);
        for (to, from) in dnormed.chunks_exact_mut(frame).zip(dclasses.chunks_exact(d)) {
            simd::add_to(&mut to[..d], from);
        }
        (dnormed, dx)
    }

    /// Each frame's class token with each head: the frame, and where in a row the head begins.
    fn each_class_head(self) -> impl Iterator<Item = (usize, usize)> {
        let size = self.width / self.heads;
        (0..self.frames).flat_map(move |t| (0..self.heads).map(move |head| (t, head * size)))
    }

    /// How much a frame's class token heeds each token there; the tokens' values.
    fn asked<'a>(
        self,
        tape: &'a Tape,
        t: usize,
        at: usize,
        shares: &mut [f32],
    ) -> impl Iterator<Item = &'a [f32]> + use<'a> {
        let (d, size) = (self.width, self.width / self.heads);
        let frame = &tape.space_qkv[t * self.tokens * 2 * d..][..self.tokens * 2 * d];
        let query = &tape.queries[t * d + at..][..size];
        for (share, row) in shares.iter_mut().zip(frame.chunks_exact(2 * d)) {
            *share = simd::dot(query, &row[at..at + size]);
        }
        simd::softmax(shares, (size as f32).sqrt().recip());
        frame.chunks_exact(2 * d).map(move |row| &row[d + at..][..size])
    }

    /// The class rows of all frames' tokens [T, D].
    fn classes(self, tokens: &[f32]) -> Vec<f32> {
        let (d, frame) = (self.width, self.tokens * self.width);
        tokens.chunks_exact(frame).flat_map(|frame| &frame[..d]).copied().collect()
    }

    /// The mean of rows [T, D].
    fn mean(self, rows: &[f32]) -> Vec<f32> {
        let mut mean = vec![0.0; self.width];
        rows.chunks_exact(self.width).for_each(|row| simd::add_to(&mut mean, row));
        for value in &mut mean {
            *value /= self.frames as f32;
        }
        mean
    }
}
