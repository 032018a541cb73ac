//! A language model's operations, beside what candle differentiates.

use std::sync::Arc;

use candle_core::{D, Device, Result, Tensor};

use super::assert_same_gradients;
use crate::train::ops::{self, Passage};

#[test]
fn a_language_model_s_operations_have_the_gradients_of_composed_ones() {
    assert_same_gradients(
        &[&[70, 20], &[20]],
        |t| ops::rms_norm(&t[0], &t[1], 1e-5),
        |t| {
            let scale = t[0].sqr()?.mean_keepdim(D::Minus1)?.affine(1.0, 1e-5)?.sqrt()?;
            t[0].broadcast_div(&scale)?.broadcast_mul(&t[1])
        },
    );
    assert_same_gradients(
        &[&[9, 14]],
        |t| ops::gated(&t[0]),
        |t| {
            let (gate, up) = (t[0].narrow(1, 0, 7)?, t[0].narrow(1, 7, 7)?);
            (&gate * candle_nn::ops::sigmoid(&gate)?)? * up
        },
    );
}

/// Each question by itself behind its clip, and the clip alone.
fn composed(qkv: &Tensor, heads: usize, theta: f32, passages: &[Passage]) -> Result<Tensor> {
    let d = qkv.dim(1)? / 3;
    let (side, mut first, mut out) = (d / heads, 0, Vec::new());
    for passage in passages {
        let clip = qkv.narrow(0, first, passage.shared)?;
        let mut at = first + passage.shared;
        for own in std::iter::once(0).chain(passage.own.iter().copied()) {
            let rows = match own {
                0 => clip.clone(),
                own => Tensor::cat(&[&clip, &qkv.narrow(0, at, own)?], 0)?,
            };
            let s = rows.dim(0)?;
            let speeds = (0..side / 2).map(|k| theta.powf(-2.0 * k as f32 / side as f32));
            let speeds = Tensor::from_iter(speeds, &Device::Cpu)?.reshape((1, side / 2))?;
            let places = Tensor::from_iter((0..s).map(|at| at as f32), &Device::Cpu)?;
            let angles = places.reshape((s, 1))?.matmul(&speeds)?;
            let part = |part: usize| -> Result<Tensor> {
                let part = rows.narrow(1, part * d, d)?.reshape((s, heads, side))?;
                part.transpose(0, 1)?.contiguous()?.unsqueeze(0)
            };
            let turned =
                |xs: &Tensor| candle_nn::rotary_emb::rope_slow(xs, &angles.cos()?, &angles.sin()?);
            let scores = turned(&part(0)?)?.matmul(&turned(&part(1)?)?.t()?.contiguous()?)?;
            let hidden = (0..s * s).map(|k| if k % s > k / s { -1e9_f32 } else { 0.0 });
            let hidden = Tensor::from_iter(hidden, &Device::Cpu)?.reshape((s, s))?;
            let scores = (scores / (side as f64).sqrt())?.broadcast_add(&hidden)?;
            let shares = candle_nn::ops::softmax(&scores, D::Minus1)?;
            let mixed = shares.matmul(&part(2)?)?.squeeze(0)?.transpose(0, 1)?;
            let mixed = mixed.contiguous()?.reshape((s, d))?;
            out.push(if own == 0 { mixed } else { mixed.narrow(0, passage.shared, own)? });
            at += own;
        }
        first = at;
    }
    Tensor::cat(&out, 0)
}

#[test]
fn questions_read_together_are_read_as_each_alone_behind_its_clip() {
    let passages = vec![
        Passage { shared: 5, own: vec![3, 1, 4] },
        Passage { shared: 18, own: vec![2] },
        Passage { shared: 3, own: vec![] },
    ];
    let rows = passages.iter().map(Passage::rows).sum();
    let shared = Arc::new(passages.clone());
    assert_same_gradients(
        &[&[rows, 3 * 8]],
        |t| ops::read_passages(&t[0], 2, 100.0, &shared),
        |t| composed(&t[0], 2, 100.0, &passages),
    );
}
