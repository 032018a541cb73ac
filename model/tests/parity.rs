//! Our numbers are the authors' numbers, intermediate by intermediate.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use footage_model::config::Architecture;
use footage_model::{Device, Ops, TensorDifference, check};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

/// Suggested with the fixtures; an independent port reaches 2e-6.
const TOLERANCE: f32 = 2e-5;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(path)
}

fn tiny_architecture() -> Architecture {
    let json = fs_err::read(golden("tiny/architecture.json")).unwrap();
    serde_json::from_slice(&json).unwrap()
}

fn assert_parity(ops: Ops) {
    let report = check(
        &golden("tiny/weights.safetensors"),
        &golden("tiny/input.safetensors"),
        &golden("tiny/expected.safetensors"),
        Some(&tiny_architecture()),
        ops,
        &Device::Cpu,
    )
    .unwrap();
    for difference in &report.differences {
        assert!(
            difference.max_abs_diff <= TOLERANCE,
            "{} {:?} is off by {:e}",
            difference.name,
            difference.shape,
            difference.max_abs_diff
        );
    }
    let compared = |prefix: &str| {
        report.differences.iter().filter(|difference| difference.name.starts_with(prefix)).count()
    };
    for rounded in &report.rounded {
        assert!(rounded.cosine > 0.9999, "{rounded:?}");
    }
    // The embeddings of videos three times: on tensors, by the CPU's own path, and as other devices do;
    // those of texts twice.
    let groups =
        ["gated.", "additive.", "clip.", "text.", "text32.", "masked_ref.", "masked_tube."];
    assert_eq!(groups.map(compared), [28, 9, 3, 3, 3, 10, 10]);
    // The rest are losses, masks and the tokens of the conversation model.
    for name in &report.not_compared {
        assert!(
            ["loss_", "nce.", "mask.", "llava_"].iter().any(|prefix| name.starts_with(prefix)),
            "{name} was not compared"
        );
    }
}

/// BT-Adapter's own code beside EVA-CLIP, summed as it does; the text tower is `OpenCLIP`'s.
fn assert_eva_parity(ops: Ops) {
    let folder = golden("eva_tiny");
    let json = fs_err::read(folder.join("architecture.json")).unwrap();
    let architecture: Architecture = serde_json::from_slice(&json).unwrap();
    let file = |name: &str| folder.join(name);
    let run = |weights: &Path, input: &str, expected: &str| {
        check(weights, &file(input), &file(expected), Some(&architecture), ops, &Device::Cpu)
            .unwrap()
    };
    let image = run(&file("weights.safetensors"), "input.safetensors", "expected.safetensors");

    let both = tempfile::tempdir().unwrap();
    let weights = both.path().join("both.safetensors");
    let mut tensors =
        candle_core::safetensors::load(file("weights.safetensors"), &Device::Cpu).unwrap();
    tensors.extend(candle_core::safetensors::load(file("text.safetensors"), &Device::Cpu).unwrap());
    candle_core::safetensors::save(&tensors, &weights).unwrap();
    let text = run(&weights, "text_expected.safetensors", "text_expected.safetensors");

    for difference in image.differences.iter().chain(&text.differences) {
        let TensorDifference { name, max_abs_diff, .. } = difference;
        assert!(*max_abs_diff <= TOLERANCE, "{name} is off by {max_abs_diff:e}");
    }
    for rounded in &image.rounded {
        assert!(rounded.cosine > 0.999, "{rounded:?}");
    }
    // Three states, six of the branch, the embedding, and again as other devices compute it.
    assert_eq!((image.differences.len(), image.not_compared.len()), (11, 0));
    assert_eq!(
        (text.differences.len(), &text.not_compared[..]),
        (1, &["token_ids".to_owned()][..])
    );
}

#[test]
fn every_intermediate_beside_eva_clip_is_the_reference_s() {
    assert_eva_parity(Ops::Fused);
    assert_eva_parity(Ops::Composed);
    assert_eva_parity(Ops::Learning);
}

#[test]
fn inputs_that_are_no_clips_are_refused() {
    for (name, shape) in [
        ("pixel_values", &[1, 0, 3, 32, 32][..]),
        ("pixel_values", &[0, 4, 3, 32, 32]),
        ("pixel_values_t0", &[1, 0, 3, 32, 32]),
        ("token_ids", &[1, 0]),
        ("pixel_values", &[1, 4, 3, 16, 64]),
        ("pixel_values", &[1, 4, 3, 8, 8]),
        ("pixel_values", &[1, 65, 3, 32, 32]),
        ("pixel_values", &[4, 3, 32, 32]),
        ("pixel_values", &[]),
        ("token_ids", &[7]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let input = folder.path().join("input.safetensors");
        let bytes = vec![0; 4 * shape.iter().product::<usize>()];
        // The ids are zeros of any type.
        let dtype = if name == "token_ids" { Dtype::U32 } else { Dtype::F32 };
        let tensor = TensorView::new(dtype, shape.to_vec(), &bytes).unwrap();
        fs_err::write(&input, safetensors::serialize([(name, tensor)], None).unwrap()).unwrap();
        let refused = check(
            &golden("tiny/weights.safetensors"),
            &input,
            &golden("tiny/expected.safetensors"),
            Some(&tiny_architecture()),
            Ops::Fused,
            &Device::Cpu,
        );
        let error = refused.unwrap_err().to_string();
        assert!(!shape.contains(&0) || error.contains(name), "{name} {shape:?}: {error}");
    }
}

#[test]
fn every_intermediate_is_the_reference_s_with_fused_kernels() {
    assert_parity(Ops::Fused);
}

#[test]
fn every_intermediate_is_the_reference_s_with_kernels_that_can_be_differentiated() {
    assert_parity(Ops::Composed);
}
