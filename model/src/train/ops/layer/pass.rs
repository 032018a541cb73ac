//! A clip forwards and backwards through a layer.

use super::super::simd;
use super::maps::{map, map_back, norm, norm_back};
use super::{BranchLayer, Places, Tape};

impl BranchLayer {
    /// One clip: tokens `z`, CLIP's tokens `u`, both [T, 1 + N, D].
    pub(super) fn forward(
        self,
        z: &[f32],
        u: &[f32],
        params: &[f32],
        p: &Places,
    ) -> (Vec<f32>, Tape) {
        let d = self.width;
        let mut room = vec![0.0; self.tokens.max(self.frames).pow(2)];
        let mut tape = Tape { x: z.to_vec(), ..Tape::default() };
        if self.is_gated {
            let gate = &params[p.gate.clone()];
            for (x, u) in tape.x.chunks_exact_mut(d).zip(u.chunks_exact(d)) {
                for ((x, u), g) in x.iter_mut().zip(u).zip(gate) {
                    *x += g * (u - *x);
                }
            }
        }
        tape.time_normed = norm(&tape.x, params, &p.time_norm);
        tape.time_qkv = map(&tape.time_normed, params, &p.time_qkv);
        tape.time_mixed = vec![0.0; z.len()];
        for (row, head) in self.in_time() {
            let (qkv, out) = (&tape.time_qkv[3 * d * row..], &mut tape.time_mixed[d * row..]);
            head.forward(qkv, false, out, &mut room[..self.frames.pow(2)]);
        }
        tape.time_out = map(&tape.time_mixed, params, &p.time_out);
        tape.after_time = map(&tape.time_out, params, &p.time_fc);
        self.clear_class(&mut tape.after_time);
        simd::add_to(&mut tape.after_time, &tape.x);

        tape.space_normed = norm(&tape.after_time, params, &p.space_norm);
        if self.is_last {
            let y = self.last_forward(&mut tape, params, p);
            return (y, tape);
        }
        tape.space_qkv = map(&tape.space_normed, params, &p.space_qkv);
        tape.space_mixed = vec![0.0; z.len()];
        for (row, head) in self.in_space() {
            let (qkv, out) = (&tape.space_qkv[3 * d * row..], &mut tape.space_mixed[d * row..]);
            head.forward(qkv, false, out, &mut room[..self.tokens.pow(2)]);
        }
        tape.after_space = map(&tape.space_mixed, params, &p.space_out);
        self.share_class(&mut tape.after_space);
        simd::add_to(&mut tape.after_space, &tape.after_time);

        tape.mlp_normed = norm(&tape.after_space, params, &p.mlp_norm);
        tape.hidden = map(&tape.mlp_normed, params, &p.fc1);
        let mut inner = vec![0.0; tape.hidden.len()];
        simd::quick_gelu(&tape.hidden, &mut inner);
        let mut y = map(&inner, params, &p.fc2);
        simd::add_to(&mut y, &tape.after_space);
        (y, tape)
    }

    /// The gradient of z; adds that of the parameters to `dparams`.
    pub(super) fn back(
        self,
        (z, u): (&[f32], &[f32]),
        tape: &Tape,
        dy: &[f32],
        (params, p): (&[f32], &Places),
        dparams: &mut [f32],
    ) -> Vec<f32> {
        let d = self.width;
        let room = self.tokens.max(self.frames).pow(2);
        let (mut one, mut other) = (vec![0.0; room], vec![0.0; room]);
        let (dnormed, mut dx) = if self.is_last {
            self.last_back(tape, dy, (params, p), dparams)
        } else {
            self.space_back(tape, dy, (params, p), dparams, (&mut one, &mut other))
        };
        norm_back(&tape.after_time, &dnormed, params, &p.space_norm, &mut dx, dparams);
        // In time.
        let mut dout = dx.clone();
        self.clear_class(&mut dout);
        let dout = map_back(&tape.time_out, &dout, params, &p.time_fc, dparams);
        let dmixed = map_back(&tape.time_mixed, &dout, params, &p.time_out, dparams);
        let mut dqkv = vec![0.0; tape.time_qkv.len()];
        for (row, head) in self.in_time() {
            let (qkv, to) = (&tape.time_qkv[3 * d * row..], &mut dqkv[3 * d * row..]);
            let room = self.frames.pow(2);
            let room = (&mut one[..room], &mut other[..room]);
            head.back(qkv, &dmixed[d * row..], false, to, room);
        }
        let dnormed = map_back(&tape.time_normed, &dqkv, params, &p.time_qkv, dparams);
        norm_back(&tape.x, &dnormed, params, &p.time_norm, &mut dx, dparams);
        if self.is_gated {
            let (gate, dgate) = (&params[p.gate.clone()], &mut dparams[p.gate.clone()]);
            let inputs = z.chunks_exact(d).zip(u.chunks_exact(d));
            for (dx, (z, u)) in dx.chunks_exact_mut(d).zip(inputs) {
                let inputs = z.iter().zip(u).zip(gate);
                for ((dx, dgate), ((z, u), gate)) in dx.iter_mut().zip(&mut *dgate).zip(inputs) {
                    *dgate += *dx * (u - z);
                    *dx *= 1.0 - gate;
                }
            }
        }
        dx
    }

    /// MLP and attention in space, backwards: the gradients of the normed tokens and of the tokens
    /// after attention in time, this without what comes over the norm.
    fn space_back(
        self,
        tape: &Tape,
        dy: &[f32],
        (params, p): (&[f32], &Places),
        dparams: &mut [f32],
        (one, other): (&mut [f32], &mut [f32]),
    ) -> (Vec<f32>, Vec<f32>) {
        let d = self.width;
        // The MLP.
        let mut inner = vec![0.0; tape.hidden.len()];
        simd::quick_gelu(&tape.hidden, &mut inner);
        let dinner = map_back(&inner, dy, params, &p.fc2, dparams);
        let dhidden = &mut inner;
        simd::quick_gelu_back(&tape.hidden, &dinner, dhidden);
        let dnormed = map_back(&tape.mlp_normed, dhidden, params, &p.fc1, dparams);
        let mut dx = dy.to_vec();
        norm_back(&tape.after_space, &dnormed, params, &p.mlp_norm, &mut dx, dparams);
        // In space.
        let mut dout = dx.clone();
        self.share_class(&mut dout);
        let dmixed = map_back(&tape.space_mixed, &dout, params, &p.space_out, dparams);
        let mut dqkv = vec![0.0; tape.space_qkv.len()];
        for (row, head) in self.in_space() {
            let (qkv, to) = (&tape.space_qkv[3 * d * row..], &mut dqkv[3 * d * row..]);
            let room = self.tokens.pow(2);
            let room = (&mut one[..room], &mut other[..room]);
            head.back(qkv, &dmixed[d * row..], false, to, room);
        }
        (map_back(&tape.space_normed, &dqkv, params, &p.space_qkv, dparams), dx)
    }
}
