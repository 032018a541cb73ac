//! What training promises as a whole: the authors' arithmetic, right gradients, loss that falls,
//! and a stop that leaves no trace.

mod engine;
mod language;
mod squares;

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::network::Network;
use super::optimiser::{Optimiser, Schedule};
use super::{checkpoint, nce, ops};
use crate::Ops;

fn golden(name: &str) -> HashMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny");
    candle_core::safetensors::load(folder.join(name), &Device::Cpu).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// The fixtures' model.
fn tiny() -> Network {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny");
    let json = fs_err::read(folder.join("architecture.json")).unwrap();
    let architecture = serde_json::from_slice(&json).unwrap();
    let mut network = Network { architecture, weights: super::Weights::default() };
    for (name, value) in golden("weights.safetensors") {
        network.weights.set(name, &value).unwrap();
    }
    network
}

/// B, T, 3, side, side to rows of patches.
fn patch_rows(pixels: &Tensor) -> Result<Tensor> {
    let (b, t, c, h, w) = pixels.dims5()?;
    let (gh, gw) = (h / 8, w / 8);
    let grid = pixels.reshape(vec![b * t, c, gh, 8, gw, 8])?;
    grid.permute(vec![0, 2, 4, 1, 3, 5])?.contiguous()?.reshape((b * t, gh * gw, c * 64))
}

#[test]
fn towers_and_branch_compute_what_the_authors_compute() {
    let (network, input, expected) =
        (tiny(), golden("input.safetensors"), golden("expected.safetensors"));
    for (clips, key) in
        [("pixel_values", "gated.video_embed"), ("pixel_values_t6", "gated.t6.video_embed")]
    {
        let pixels = &input[clips];
        let frames = pixels.dim(1).unwrap();
        let seen = network.see(&patch_rows(pixels).unwrap()).unwrap();
        let watched = network.watch(&seen.layers, frames).unwrap();
        assert!(largest_difference(&watched.videos, &expected[key]) < 2e-5, "{key}");
        if clips == "pixel_values" {
            let plain = network.mean_pooled(&seen.layers, frames).unwrap();
            assert!(largest_difference(&plain, &expected["clip.video_embed"]) < 2e-5);
        }
    }
    let rows = input["token_ids"].to_vec2::<i64>().unwrap();
    let ids: Vec<u32> = rows.iter().flatten().map(|&id| id as u32).collect();
    let end = |row: &Vec<i64>| (0..row.len()).rev().max_by_key(|&at| row[at]).unwrap() as u32;
    let ends: Vec<u32> = rows.iter().map(end).collect();
    let texts = network.read(&ids, 77, &ends).unwrap();
    assert!(largest_difference(&texts, &expected["text.embed"]) < 2e-5);
}

#[test]
fn the_contrastive_loss_is_the_authors() {
    let (input, expected) = (golden("input.safetensors"), golden("expected.safetensors"));
    let loss =
        |a: &Tensor, b: &Tensor, scale| nce(a, b, scale).unwrap().to_scalar::<f32>().unwrap();
    let want = |key: &str| expected[key].to_vec1::<f32>().unwrap()[0];
    let (videos, texts) = (&input["random_video_feats"], &input["random_text_feats"]);
    for (scale, key) in [(100.0, "nce.random"), (10.0, "nce.random_scale10")] {
        let (got, want) = (loss(videos, texts, scale), want(key));
        assert!((got - want).abs() < 2e-5 * want.abs().max(1.0), "{key}: {got} {want}");
    }
    let texts = expected["text.embed"].narrow(0, 0, 3).unwrap();
    let got = loss(&expected["masked_ref.video_embed"], &texts, 100.0);
    let want = want("loss_ref.NCE_loss");
    assert!((got - want).abs() < 1e-4 * want.abs().max(1.0), "{got} {want}");
}

fn random(shape: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.5..1.5)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Both forms' values and gradients agree for every input.
fn assert_same_gradients(
    shapes: &[&[usize]],
    ours: impl Fn(&[Tensor]) -> Result<Tensor>,
    composed: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let vars: Vec<Var> =
        shapes.iter().map(|s| Var::from_tensor(&random(s, &mut rng)).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let (a, b) = (ours(&tensors).unwrap(), composed(&tensors).unwrap());
    assert!(largest_difference(&a, &b) < 1e-5);
    let pull = random(a.dims(), &mut rng);
    let grads = |y: &Tensor| (y * &pull).unwrap().sum_all().unwrap().backward().unwrap();
    let (ga, gb) = (grads(&a), grads(&b));
    for (index, var) in vars.iter().enumerate() {
        let difference = largest_difference(ga.get(var).unwrap(), gb.get(var).unwrap());
        assert!(difference < 5e-5, "input {index}: {difference}");
    }
}

#[test]
fn fused_operations_have_the_gradients_of_composed_ones() {
    assert_same_gradients(
        &[&[3, 5, 20], &[7, 20], &[7]],
        |t| ops::linear(&t[0], &t[1], &t[2], true),
        |t| t[0].reshape((15, 20))?.matmul(&t[1].t()?)?.reshape((3, 5, 7))?.broadcast_add(&t[2]),
    );
    assert_same_gradients(
        &[&[3, 70, 20], &[20], &[20]],
        |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5, true),
        |t| Ops::Composed.layer_norm(&t[0], &t[1], &t[2], 1e-5),
    );
    assert_same_gradients(
        &[&[40, 13]],
        |t| ops::quick_gelu(&t[0]),
        |t| Ops::Composed.quick_gelu(&t[0]),
    );
    let target = |row: usize| (!row.is_multiple_of(3)).then_some(row as u32);
    assert_same_gradients(
        &[&[6, 9]],
        move |t| ops::cross_entropy(&t[0], (0..6).map(target).collect()),
        |t| {
            let log = Ops::Composed.softmax(&t[0])?.log()?;
            let picked = [1, 2, 4, 5].map(|row| log.narrow(0, row, 1)?.narrow(1, row, 1)?.neg());
            let [a, b, c, d] = picked;
            Tensor::cat(&[a?, b?, c?, d?], 0)?.mean_all()
        },
    );
    let indices = Tensor::new(&[2_u32, 0, 2], &Device::Cpu).unwrap();
    assert_same_gradients(
        &[&[4, 6]],
        |t| ops::rows(&t[0], &indices),
        |t| t[0].index_select(&indices, 0),
    );
}

#[test]
fn fused_attention_has_the_gradient_of_composed_attention() {
    // Both sides of the length at which loops give way to matrix products.
    for tokens in [5, 23] {
        for is_causal in [false, true] {
            assert_same_gradients(
                &[&[2, tokens, 3 * 8]],
                |t| ops::attention(&t[0], 2, is_causal),
                |t| composed_attention(&t[0], 2, is_causal),
            );
        }
    }
}

#[test]
fn the_gradient_of_a_branch_layer_is_its_slope() {
    for is_last in [false, true] {
        assert_slope(ops::BranchLayer {
            frames: 3,
            tokens: 5,
            width: 8,
            heads: 2,
            mlp: 12,
            is_gated: true,
            is_last,
        });
    }
}

fn assert_slope(layer: ops::BranchLayer) {
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let shape = [6, 3, 5, 8];
    let count = 7 * 8 + 2 * (3 * 72 + 72) + 72 + (8 * 12 + 12) + (12 * 8 + 8);
    let (z, u) = (random(&shape, &mut rng), random(&shape, &mut rng));
    let params = (random(&[count], &mut rng) * 0.4).unwrap();
    // Of the last layer only the class tokens are used, which are the same in each frame.
    let pulls = if layer.is_last { 1 } else { 5 };
    let pull = random(&[6, 3, pulls, 8], &mut rng);
    let value = |z: &Tensor, params: &Tensor| {
        let y = ops::branch_layer(layer, z, &u, params).unwrap().narrow(2, 0, pulls).unwrap();
        (y * &pull).unwrap().sum_all().unwrap()
    };
    let (z_var, p_var) = (Var::from_tensor(&z).unwrap(), Var::from_tensor(&params).unwrap());
    let grads = value(z_var.as_tensor(), p_var.as_tensor()).backward().unwrap();
    let along = |x: &Tensor| x.to_scalar::<f32>().unwrap();
    for turn in 0..4 {
        // All of z, or a part of the parameters.
        let dz = random(&shape, &mut rng);
        let dp = random(&[count], &mut rng);
        let (dz, dp) =
            if turn == 0 { (dz, (dp * 0.0).unwrap()) } else { ((dz * 0.0).unwrap(), dp) };
        let slope = along(&(grads.get(&z_var).unwrap() * &dz).unwrap().sum_all().unwrap())
            + along(&(grads.get(&p_var).unwrap() * &dp).unwrap().sum_all().unwrap());
        let at = |by: f64| {
            let (z, p) =
                ((&z + (&dz * by).unwrap()).unwrap(), (&params + (&dp * by).unwrap()).unwrap());
            along(&value(&z, &p))
        };
        let measured = (at(1e-3) - at(-1e-3)) / 2e-3;
        assert!((slope - measured).abs() < 0.02 * slope.abs().max(3.0), "{slope} {measured}");
    }
}

fn composed_attention(qkv: &Tensor, heads: usize, is_causal: bool) -> Result<Tensor> {
    let (b, n, triple) = qkv.dims3()?;
    let size = triple / 3 / heads;
    let parts = qkv.reshape((b, n, 3, heads, size))?.permute((2, 0, 3, 1, 4))?.contiguous()?;
    let part = |k: usize| parts.narrow(0, k, 1)?.squeeze(0)?.contiguous();
    let scores = part(0)?.matmul(&part(1)?.t()?)?.affine((size as f64).powf(-0.5), 0.0)?;
    let scores = if is_causal {
        let mask = (0..n * n).map(|k| if k % n > k / n { -1e9_f32 } else { 0.0 });
        let mask = Tensor::from_iter(mask, &Device::Cpu)?.reshape((1, 1, n, n))?;
        scores.broadcast_add(&mask)?
    } else {
        scores
    };
    let mixed = Ops::Composed.softmax(&scores)?.matmul(&part(2)?)?;
    mixed.transpose(1, 2)?.contiguous()?.reshape((b, n, triple / 3))
}

#[test]
fn what_is_no_checkpoint_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let tensor = Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap();
    candle_core::safetensors::save(&HashMap::from([("x", tensor)]), &path).unwrap();
    let mut optimiser = Optimiser::default();
    let error = checkpoint::load(&path, &mut super::Weights::default(), &mut optimiser);
    assert!(error.unwrap_err().to_string().contains("other.safetensors"));
}

#[test]
fn the_rate_warms_up_peaks_and_falls() {
    let schedule = Schedule { peak: 4e-3, warmup: 4, steps: 60 };
    let rates: Vec<f32> = (0..60).map(|step| schedule.rate(step)).collect();
    assert!(rates[..4].is_sorted() && rates[4..].iter().rev().is_sorted());
    assert!((rates[4] - 4e-3).abs() < 1e-6 && rates[59] < 0.06 * rates[4]);
}
