//! What a device other than the processor computes is what the processor computes.
//!
//! Runs on the first CUDA device where there is one and the tests were built for it
//! (`--features cuda`), and otherwise on the processor, by the same code on the same tensors.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod generated;

use candle_core::{DType, Device, Tensor};
use footage_model::bt_adapter::{BranchOptions, VideoTower};
use footage_model::config::Architecture;
use footage_model::cpu::{CpuVideoEncoder, Precision};
use footage_model::preprocess::Preprocess;
use footage_model::{
    Batches, DeviceChoice, Embedding, Ops, RgbFrame, System, TensorVideoEncoder, VideoEncoder,
    device_name, reference_preprocess,
};

fn device() -> Device {
    let device = DeviceChoice::Auto.open().unwrap();
    println!("on {}", device_name(&device));
    device
}

fn architecture(branch: Option<&str>) -> Architecture {
    let branch = branch.map(|mode| serde_json::json!({"layers": 2, "mode": mode}));
    serde_json::from_value(serde_json::json!({
        "vision": {"image": 64, "patch": 8, "width": 128, "heads": 4, "layers": 3, "mlp": 512},
        "text": {"vocab": 8, "width": 8, "heads": 1, "layers": 1, "mlp": 8, "context": 8},
        "projection": 96,
        "branch": branch
    }))
    .unwrap()
}

fn tower(architecture: &Architecture, device: &Device) -> VideoTower {
    let vb = generated::var_builder(device).pp("backbone");
    VideoTower::new(architecture, Ops::Fused, &vb).unwrap()
}

fn preprocess() -> Preprocess {
    Preprocess::new(reference_preprocess(), 64)
}

fn frames(count: usize) -> Vec<RgbFrame> {
    (0..count)
        .map(|frame| {
            let values = generated::values(&format!("frame {frame}"), 3 * 90 * 64, 128.0, 127.0);
            let bytes: Vec<u8> = values.into_iter().map(|value| value as u8).collect();
            RgbFrame::try_new(90, 64, bytes).unwrap()
        })
        .collect()
}

/// Of clips of `length` frames, a new one every two.
fn embed(encoder: &dyn VideoEncoder, frames: &[RgbFrame], length: usize) -> Vec<Embedding> {
    let features = encoder.frame_features(frames).unwrap();
    let clips: Vec<_> = features.windows(length).step_by(2).map(<[_]>::to_vec).collect();
    encoder.embed_clips(&clips).unwrap()
}

fn largest_difference(ours: &[Embedding], theirs: &[Embedding]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().zip(theirs).flat_map(|(a, b)| a.as_slice().iter().zip(b.as_slice()));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn embeddings_on_a_device_are_those_of_the_processor_in_f32_and_turn_little_in_bf16() {
    let device = device();
    let frames = frames(14);
    for branch in [Some("gated"), Some("additive"), None] {
        let architecture = architecture(branch);
        let on_cpu = tower(&architecture, &Device::Cpu);
        let cpu = CpuVideoEncoder::new(&on_cpu, preprocess(), Precision::F32).unwrap();
        let expected = embed(&cpu, &frames, 6);
        assert_eq!(expected.len(), 5);
        let ours = |precision: Precision| {
            let tower = tower(&architecture, &device).folded(precision.dtype()).unwrap();
            embed(&TensorVideoEncoder::new(tower, preprocess()).unwrap(), &frames, 6)
        };
        let difference = largest_difference(&ours(Precision::F32), &expected);
        println!("{branch:?}: f32 is off by {difference:e}");
        assert!(difference < 2e-5, "{branch:?}: {difference:e}");
        for (ours, expected) in ours(Precision::Bf16).iter().zip(&expected) {
            let cosine = ours.cosine(expected);
            println!("{branch:?}: bf16 has a cosine of {cosine}");
            assert!(cosine > 0.9999, "{branch:?}: {cosine}");
        }
    }
}

/// What the paper compares BT-Adapter with.
#[test]
fn other_systems_on_a_device_give_what_the_processor_gives() {
    let device = device();
    let frames = frames(14);
    for system in System::ALL {
        let mut architecture = architecture(Some("gated"));
        let branch = architecture.branch.as_mut().unwrap();
        branch.system = system;
        if !system.learns() {
            branch.layers = 0;
        }
        if system == System::MeanPooled {
            architecture.branch = None;
        }
        let cpu =
            CpuVideoEncoder::new(&tower(&architecture, &Device::Cpu), preprocess(), Precision::F32);
        let expected = embed(&cpu.unwrap(), &frames, 6);
        let ours = |precision: Precision| {
            let tower = tower(&architecture, &device).folded(precision.dtype()).unwrap();
            embed(&TensorVideoEncoder::new(tower, preprocess()).unwrap(), &frames, 6)
        };
        let difference = largest_difference(&ours(Precision::F32), &expected);
        assert!(difference < 2e-5, "{system:?}: {difference:e}");
        for (ours, expected) in ours(Precision::Bf16).iter().zip(&expected) {
            let cosine = ours.cosine(expected);
            // One token in place of the mean of one per frame: rounding is not averaged.
            let least = if system == System::JointSt { 0.9995 } else { 0.9999 };
            assert!(cosine > least, "{system:?}: {cosine}");
        }
    }
}

#[test]
fn batches_of_fixed_sizes_give_what_whole_batches_give() {
    let device = device();
    let frames = frames(13);
    for branch in [Some("gated"), None] {
        let encoder = |frames: Batches, clips: Batches| {
            let tower = tower(&architecture(branch), &device).folded(DType::F32).unwrap();
            TensorVideoEncoder::new(tower, preprocess()).unwrap().with_batches(frames, clips)
        };
        let whole = embed(&encoder(Batches::Whole, Batches::Whole), &frames, 4);
        for most in [1, 4, 16] {
            let buckets = Batches::Buckets(most);
            let ours = embed(&encoder(buckets, buckets), &frames, 4);
            let difference = largest_difference(&ours, &whole);
            assert!(difference < 1e-5, "{branch:?} in batches of {most}: {difference:e}");
        }
    }
}

#[test]
fn features_say_what_memory_they_take() {
    let device = device();
    for (branch, values) in [(Some("gated"), 2 * 65 * 128), (None, 128)] {
        for (precision, size) in [(Precision::F32, 4), (Precision::Bf16, 2)] {
            let tower = tower(&architecture(branch), &device).folded(precision.dtype()).unwrap();
            let encoder = TensorVideoEncoder::new(tower, preprocess()).unwrap();
            let features = encoder.frame_features(&frames(1)).unwrap();
            assert_eq!(features[0].bytes(), size * values, "{branch:?} {precision:?}");
        }
    }
}

/// The reference's own numbers for a model of real size.
#[test]
fn vit_b32_with_branch_gives_the_reference_s_embeddings_on_a_device() {
    let device = device();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/golden/full/vit_b32_expected.safetensors");
    let expected = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    let architecture: Architecture = serde_json::from_value(serde_json::json!({
        "vision": {"image": 224, "patch": 32, "width": 768, "heads": 12, "layers": 12, "mlp": 3072},
        "text": {"vocab": 8, "width": 8, "heads": 1, "layers": 1, "mlp": 8, "context": 8},
        "projection": 512,
        "branch": {"layers": 4, "mode": "gated"}
    }))
    .unwrap();
    let pixels = generated::values("input.full.pixel_values", 8 * 3 * 224 * 224, 0.0, 2.0);
    let pixels = Tensor::from_vec(pixels, (1, 8, 3, 224, 224), &device).unwrap();
    let gated = tower(&architecture, &device);
    let additive = VideoTower {
        branch: gated.branch.as_ref().map(footage_model::bt_adapter::BtAdapter::additive),
        ..gated.clone()
    };
    let plain = VideoTower { branch: None, unbranched: None, ..gated.clone() };
    for (name, tower) in [("gated", &gated), ("additive", &additive), ("clip", &plain)] {
        let expected = expected[&format!("{name}.video_embed")].flatten_all().unwrap();
        let expected = expected.to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
        let ours = |dtype| {
            let tower = tower.folded(dtype).unwrap();
            let pixels = pixels.to_dtype(dtype).unwrap();
            let output = tower.forward(&pixels, BranchOptions::default()).unwrap();
            output.video_embed.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let exact = ours(DType::F32);
        let pairs = exact.iter().zip(&expected);
        let difference = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{name}: f32 is off by {difference:e}");
        assert!(difference < 1e-4, "{name}: {difference:e}");
        let of = |values: Vec<f32>| Embedding::normalise(values).unwrap();
        let cosine = of(ours(DType::BF16)).cosine(&of(expected));
        println!("{name}: bf16 has a cosine of {cosine}");
        assert!(cosine > 0.9999, "{name}: {cosine}");
    }
}
