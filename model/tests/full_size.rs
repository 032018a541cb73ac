//! A model of real size gives the reference's numbers, through both forward passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod generated;

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use footage_model::Ops;
use footage_model::bt_adapter::{BranchOptions, VideoTower};
use footage_model::config::{Architecture, Fit, PreprocessConfig, Resize};
use footage_model::cpu::{CpuVideoEncoder, Precision};
use footage_model::preprocess::Preprocess;

const TOLERANCE: f32 = 1e-4;

fn expected() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/full/vit_b32_expected.safetensors")
}

fn vit_b32() -> Architecture {
    serde_json::from_value(serde_json::json!({
        "vision": {"image": 224, "patch": 32, "width": 768, "heads": 12, "layers": 12, "mlp": 3072},
        "text": {"vocab": 8, "width": 8, "heads": 1, "layers": 1, "mlp": 8, "context": 8},
        "projection": 512,
        "branch": {"layers": 4, "mode": "gated"}
    }))
    .unwrap()
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn generated_weights_are_those_the_reference_was_given() {
    // Sum, first and last of the list that came with the expected tensors.
    let values = generated::values(
        "backbone.layers.0.self_attn.q_proj.weight",
        768 * 768,
        0.0,
        0.8 * (3f64 / 768.0).sqrt(),
    );
    let sum: f64 = values.iter().map(|value| f64::from(*value)).sum();
    assert!((sum - 10.670_235_289_768_428).abs() < 1e-6, "{sum}");
    assert_eq!((values[0], values[768 * 768 - 1]), (-0.017_375_927, 0.039_050_244));
}

#[test]
fn vit_b32_with_branch_gives_the_reference_s_embeddings() {
    let tensors = candle_core::safetensors::load(expected(), &Device::Cpu).unwrap();
    let expected = |name: &str| tensors[name].flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let gated = VideoTower::new(
        &vit_b32(),
        Ops::Fused,
        &generated::var_builder(&Device::Cpu).pp("backbone"),
    )
    .unwrap();
    let additive = VideoTower {
        branch: gated.branch.as_ref().map(footage_model::bt_adapter::BtAdapter::additive),
        ..gated.clone()
    };
    let plain = VideoTower { branch: None, ..gated.clone() };
    let pixels = generated::values("input.full.pixel_values", 8 * 3 * 224 * 224, 0.0, 2.0);
    let pixels = Tensor::from_vec(pixels, (1, 8, 3, 224, 224), &Device::Cpu).unwrap();

    // Intermediates, through candle.
    let mut seen = Vec::new();
    let mut probe = |name: &'static str, layer: usize, tokens: &Tensor| {
        seen.push((format!("probe.{name}_{layer}.head"), tokens.clone()));
    };
    let states = gated.vision.hidden_states(&pixels.squeeze(0).unwrap(), usize::MAX).unwrap();
    let options = BranchOptions { probe: Some(&mut probe), ..BranchOptions::default() };
    gated.embed(&states[states.len() - 4..], 8, options).unwrap();
    seen.extend(
        states.iter().enumerate().map(|(i, s)| (format!("probe.hidden_{i}.head"), s.clone())),
    );
    let mut probes = 0;
    for (name, tokens) in seen.iter().filter(|(name, _)| tensors.contains_key(name)) {
        let head =
            tokens.narrow(0, 0, 1).unwrap().narrow(1, 0, 3).unwrap().narrow(2, 0, 8).unwrap();
        let head = head.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let difference = largest_difference(&head, &expected(name));
        assert!(difference < TOLERANCE, "{name} is off by {difference:e}");
        probes += 1;
    }
    assert_eq!(probes, 12 + 4);

    // Embeddings, through candle and through the CPU's own path.
    let config = PreprocessConfig {
        fit: Fit::Crop,
        short_side: None,
        resize: Resize::Bilinear,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    for (name, tower) in [("gated", &gated), ("additive", &additive), ("clip", &plain)] {
        let expected = expected(&format!("{name}.video_embed"));
        let tensor = tower.forward(&pixels, BranchOptions::default()).unwrap().video_embed;
        let tensor = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let difference = largest_difference(&tensor, &expected);
        assert!(difference < TOLERANCE, "{name} on candle is off by {difference:e}");
        let fast = |precision| {
            let preprocess = Preprocess::new(config.clone(), 224);
            let encoder = CpuVideoEncoder::new(tower, preprocess, precision).unwrap();
            encoder.embed_pixels(&pixels).unwrap().remove(0)
        };
        let difference = largest_difference(&fast(Precision::F32), &expected);
        println!("{name}: f32 on the CPU path is off by {difference:e}");
        assert!(difference < TOLERANCE, "{name} on the CPU path is off by {difference:e}");
        let cosine = cosine(&fast(Precision::Bf16), &expected);
        println!("{name}: bf16 on the CPU path has a cosine of {cosine}");
        assert!(cosine > 0.9999, "{name} in bf16 on the CPU path has a cosine of {cosine}");
    }
}
