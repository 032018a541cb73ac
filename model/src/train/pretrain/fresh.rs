//! How a branch that is to be pre-trained starts out (BT-ADAPTER.md 3), or a system in its place.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use crate::config::{Architecture, BranchMode};
use crate::system::System;
use crate::train::Weights;

/// What learns of a new system above the tower of `clip`: spatial layers are copies of the CLIP layers
/// they follow or replace, temporal ones are as `PyTorch` makes them, and their last projection, the
/// class token and the gates are zero. Without a branch, so is the temporal table, and the new model
/// embeds as CLIP does, but for joint attention.
pub(super) fn system(
    architecture: &Architecture,
    clip: &BTreeMap<String, Tensor>,
    weights: &mut Weights,
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    let Some(branch) = architecture.branch else {
        candle_core::bail!("the architecture has no branch")
    };
    let system = branch.system;
    let (d, layers) = (architecture.vision.width, architecture.vision.layers);
    for i in 0..branch.layers {
        let from = format!("backbone.layers.{}.", layers - branch.layers + i);
        for (name, value) in clip {
            if let Some(rest) = name.strip_prefix(&from)
                && system.copies_blocks()
            {
                weights.set(format!("backbone.btadapter_S_layers.{i}.{rest}"), value)?;
            }
        }
        if !system.attends_over_time() {
            continue;
        }
        let to = format!("backbone.btadapter_T_layers.{i}");
        norm(weights, &format!("{to}.layer_norm1"), d)?;
        for part in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            let name = format!("{to}.self_attn.{part}");
            linear(weights, &name, (d, d), rng)?;
            if part == "k_proj" && !architecture.family.image_blocks().key_bias {
                weights.remove(&format!("{name}.bias"));
            }
        }
        weights.fill(format!("{to}.temporal_fc.weight"), &[d, d], 0.0)?;
        weights.fill(format!("{to}.temporal_fc.bias"), &[d], 0.0)?;
    }
    let (times, table) = ("backbone.btadapter_time_embed.weight", [branch.max_frames, d]);
    if !system.has_branch() {
        return if system.learns() { weights.fill(times, &table, 0.0) } else { Ok(()) };
    }
    weights.normal(times, &table, 1.0, rng)?;
    weights.fill("backbone.btadapter_cls_token", &[1, 1, d], 0.0)?;
    if system == System::BtAdapter && branch.mode == BranchMode::Gated {
        weights.fill("backbone.balance1", &[d], 0.0)?;
        weights.fill("backbone.balance2", &[d], 0.0)?;
    }
    Ok(())
}

/// A new head for the branch's tokens: a linear layer and a layer norm.
pub(super) fn head(
    architecture: &Architecture,
    weights: &mut Weights,
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    let (d, p) = (architecture.vision.width, architecture.projection);
    linear(weights, "extra_proj.0", (d, p), rng)?;
    norm(weights, "extra_proj.1", p)
}

fn norm(weights: &mut Weights, name: &str, d: usize) -> Result<()> {
    weights.fill(format!("{name}.weight"), &[d], 1.0)?;
    weights.fill(format!("{name}.bias"), &[d], 0.0)
}

/// `PyTorch`'s default: weight and bias uniform in `±1/sqrt(from)`.
fn linear(
    weights: &mut Weights,
    name: &str,
    (from, to): (usize, usize),
    rng: &mut ChaCha8Rng,
) -> Result<()> {
    let bound = (from as f32).sqrt().recip();
    let mut uniform = |shape: &[usize]| {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count).map(|_| rng.random_range(-bound..bound)).collect();
        Tensor::from_vec(values, shape, &Device::Cpu)
    };
    let (weight, bias) = (uniform(&[to, from])?, uniform(&[to])?);
    weights.set(format!("{name}.weight"), &weight)?;
    weights.set(format!("{name}.bias"), &bias)
}
