//! How a network's weights start out.

use candle_core::{Device, Result, Tensor};
use rand_chacha::ChaCha8Rng;

use super::network::{Network, TEXT};
use super::weights::Weights;
use crate::config::{Architecture, BranchConfig, VisionConfig};

impl Network {
    /// Both towers with fresh weights; those of the branch come with [`Self::add_branch`].
    pub fn new(architecture: Architecture, rng: &mut ChaCha8Rng) -> Result<Self> {
        let mut w = Weights::default();
        let (vision, text) = (architecture.vision, architecture.text);
        let (d, p) = (vision.width, architecture.projection);
        let patch = [d, 3, vision.patch, vision.patch];
        w.normal("backbone.class_embedding", &[d], 0.5, rng)?;
        let spread = (vision.patch_values() as f32).sqrt().recip();
        w.normal("backbone.patch_embedding.weight", &patch, spread, rng)?;
        w.set("backbone.position_embedding.weight", &positions(vision)?)?;
        norm(&mut w, "backbone.pre_layrnorm", d)?;
        let tower = (vision.width, vision.mlp, vision.layers);
        for i in 0..vision.layers {
            block(&mut w, &format!("backbone.layers.{i}"), tower, rng)?;
        }
        norm(&mut w, "backbone.post_layernorm", d)?;
        let spread = (d as f32).sqrt().recip();
        w.normal("backbone.visual_projection.weight", &[p, d], spread, rng)?;

        let d = text.width;
        w.normal(format!("{TEXT}.embeddings.token_embedding.weight"), &[text.vocab, d], 0.3, rng)?;
        let table = format!("{TEXT}.embeddings.position_embedding.weight");
        w.normal(table, &[text.context, d], 0.1, rng)?;
        let tower = (text.width, text.mlp, text.layers);
        for i in 0..text.layers {
            block(&mut w, &format!("{TEXT}.encoder.layers.{i}"), tower, rng)?;
        }
        norm(&mut w, &format!("{TEXT}.final_layer_norm"), d)?;
        let spread = (d as f32).sqrt().recip();
        w.normal("text_backbone.text_projection.weight", &[p, d], spread, rng)?;
        Ok(Self { architecture, weights: w })
    }

    /// Adds the branch: spatial layers copied from the CLIP layers they follow, temporal layers
    /// that look at neighbouring frames but at first pass their input through.
    pub fn add_branch(&mut self, rng: &mut ChaCha8Rng) -> Result<()> {
        let BranchConfig { layers: k, max_frames, .. } = self.branch()?;
        let d = self.architecture.vision.width;
        let w = &mut self.weights;
        for i in 0..k {
            let from = format!("backbone.layers.{}.", self.architecture.vision.layers - k + i);
            let copies: Vec<(String, Tensor)> = w
                .iter()
                .filter_map(|(name, var)| {
                    let rest = name.strip_prefix(&from)?;
                    let to = format!("backbone.btadapter_S_layers.{i}.{rest}");
                    Some((to, var.as_detached_tensor()))
                })
                .collect();
            for (name, value) in copies {
                w.set(name, &value)?;
            }
            let to = format!("backbone.btadapter_T_layers.{i}");
            norm(w, &format!("{to}.layer_norm1"), d)?;
            attention(w, &format!("{to}.self_attn"), d, 1.0, rng)?;
            let heads = self.architecture.vision.heads;
            for (part, is_asking) in [("q_proj", true), ("k_proj", false)] {
                let table = neighbours(d, heads, is_asking)?;
                w.set(format!("{to}.self_attn.{part}.weight"), &table)?;
            }
            w.fill(format!("{to}.temporal_fc.weight"), &[d, d], 0.0)?;
            w.fill(format!("{to}.temporal_fc.bias"), &[d], 0.0)?;
        }
        w.set("backbone.btadapter_time_embed.weight", &times(max_frames, d)?)?;
        w.fill("backbone.btadapter_cls_token", &[1, 1, d], 0.0)?;
        w.fill("backbone.balance1", &[d], 0.0)?;
        // Three quarters of a middle layer's input come from the branch: CLIP knows no times.
        w.fill("backbone.balance2", &[d], -0.01)
    }
}

/// Sines and cosines of a patch's row and column, as learned positions start out; the class
/// token's row is zero.
fn positions(vision: VisionConfig) -> Result<Tensor> {
    let (side, d) = (vision.grid(), vision.width);
    let mut table = vec![0.0_f32; d];
    for row in 0..side {
        for column in 0..side {
            for k in 0..d {
                let place = if k % 2 == 0 { row } else { column } as f32 / side as f32;
                let frequency = 0.5 * 16.0_f32.powf((k / 4) as f32 / (d / 4) as f32);
                let angle = std::f32::consts::TAU * frequency * place;
                table.push(0.4 * if k % 4 < 2 { angle.sin() } else { angle.cos() });
            }
        }
    }
    Tensor::from_vec(table, (side * side + 1, d), &Device::Cpu)
}

/// Waves of a frame's number, as the branch's learned times start out, in frames: sines and cosines
/// side by side. Over a clip the slowest are ramps, from which "later" is a short way.
fn wave(pair: usize, d: usize) -> f32 {
    std::f32::consts::TAU / (4.0 * 16.0_f32.powf(pair as f32 / (d / 2) as f32))
}

/// The learned times [frames, D] as they start out.
fn times(frames: usize, d: usize) -> Result<Tensor> {
    let at = |frame: usize, k: usize| {
        let angle = frame as f32 * wave(k / 2, d);
        1.5 * if k.is_multiple_of(2) { angle.sin() } else { angle.cos() }
    };
    let table: Vec<f32> = (0..frames).flat_map(|t| (0..d).map(move |k| at(t, k))).collect();
    Tensor::from_vec(table, (frames, d), &Device::Cpu)
}

/// Queries or keys [D, D] of a temporal layer as they start out: each head compares the quicker
/// waves of its tokens' times, and asks for those of a frame before or after. Attention that heeds
/// all frames alike cannot tell an order, and is slow to learn to.
fn neighbours(d: usize, heads: usize, is_asking: bool) -> Result<Tensor> {
    let size = d / heads;
    let mut table = vec![0.0_f32; d * d];
    for row in 0..d {
        let (head, pair) = (row / size, row % size / 2);
        let pair = (2 * pair).min(d / 2 - 1);
        let frames = if is_asking { AHEAD[head % AHEAD.len()] } else { 0.0 };
        let (sin, cos) = (frames * wave(pair, d)).sin_cos();
        // The sine's row, then the cosine's: a rotation of the two.
        let turn = if row % 2 == 0 { [cos, sin] } else { [-sin, cos] };
        table[row * d + 2 * pair..][..2].copy_from_slice(&turn.map(|value| SHARP * value));
    }
    Tensor::from_vec(table, (d, d), &Device::Cpu)
}

/// How many frames ahead each head of a temporal layer looks at first.
const AHEAD: [f32; 4] = [-1.0, 1.0, -3.0, 3.0];
/// How closely it keeps to that.
const SHARP: f32 = 4.0;

fn norm(w: &mut Weights, name: &str, d: usize) -> Result<()> {
    w.fill(format!("{name}.weight"), &[d], 1.0)?;
    w.fill(format!("{name}.bias"), &[d], 0.0)
}

fn attention(
    w: &mut Weights,
    name: &str,
    d: usize,
    out_share: f32,
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    let spread = (d as f32).sqrt().recip();
    for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
        let spread = if part == "out_proj" { spread * out_share } else { spread };
        w.normal(format!("{name}.{part}.weight"), &[d, d], spread, rng)?;
        w.fill(format!("{name}.{part}.bias"), &[d], 0.0)?;
    }
    Ok(())
}

/// A transformer block; what it adds to its input starts small in deep towers.
fn block(
    w: &mut Weights,
    name: &str,
    (d, m, layers): (usize, usize, usize),
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    let share = (2.0 * layers as f32).sqrt().recip();
    norm(w, &format!("{name}.layer_norm1"), d)?;
    norm(w, &format!("{name}.layer_norm2"), d)?;
    attention(w, &format!("{name}.self_attn"), d, share, rng)?;
    let spread = (d as f32).sqrt().recip();
    w.normal(format!("{name}.mlp.fc1.weight"), &[m, d], spread, rng)?;
    w.fill(format!("{name}.mlp.fc1.bias"), &[m], 0.0)?;
    let spread = (m as f32).sqrt().recip() * share;
    w.normal(format!("{name}.mlp.fc2.weight"), &[d, m], spread, rng)?;
    w.fill(format!("{name}.mlp.fc2.bias"), &[d], 0.0)
}
