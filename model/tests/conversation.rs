//! The tokens for a language model are the authors' tokens.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use footage_model::Ops;
use footage_model::bt_adapter::{BtAdapter, FrameGroups, VideoTower};
use footage_model::checkpoint::Checkpoint;
use footage_model::config::Architecture;

/// Suggested with the fixtures.
const TOLERANCE: f32 = 2e-5;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(path)
}

fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(&format!("tiny/{name}.safetensors")), &Device::Cpu)
        .unwrap()
}

fn tower() -> VideoTower {
    let json = fs_err::read(golden("tiny/architecture.json")).unwrap();
    let architecture: Architecture = serde_json::from_slice(&json).unwrap();
    let bytes = fs_err::read(golden("tiny/weights.safetensors")).unwrap();
    let checkpoint = Checkpoint::from_bytes(&bytes).unwrap();
    let vb = checkpoint.var_builder(&Device::Cpu);
    VideoTower::new(&architecture, Ops::Fused, &vb.pp("backbone")).unwrap()
}

fn assert_near(ours: &Tensor, expected: &Tensor, name: &str) {
    assert_eq!(ours.dims(), expected.dims(), "{name}");
    let off = (ours - expected).unwrap().abs().unwrap().flatten_all().unwrap();
    let off = off.max(0).unwrap().to_scalar::<f32>().unwrap();
    assert!(off <= TOLERANCE, "{name} is off by {off:e}");
}

#[test]
fn tokens_are_the_reference_s_whole_and_with_its_halving_gated_and_additive() {
    let (input, expected, gated) = (tensors("input"), tensors("expected"), tower());
    let additive =
        VideoTower { branch: gated.branch.as_ref().map(BtAdapter::additive), ..gated.clone() };
    let clip = input["pixel_values"].get(0).unwrap();
    for (tower, groups, name) in [
        (&gated, FrameGroups::ReleasedHalving, "llava_ref.t4.llm_tokens"),
        (&gated, FrameGroups::Whole, "llava_nohalf.t4.llm_tokens"),
        (&additive, FrameGroups::ReleasedHalving, "llava_ref_additive.t4.llm_tokens"),
        (&additive, FrameGroups::Whole, "llava_nohalf_additive.t4.llm_tokens"),
    ] {
        let tokens = tower.conversation_tokens(&clip, groups).unwrap();
        assert_near(&tokens, &expected[name], name);
    }
}

#[test]
fn every_clip_of_a_batch_has_the_reference_s_tokens() {
    let (input, expected, tower) = (tensors("input"), tensors("expected"), tower());
    let name = "llava_ref.b3t4.hidden_m2";
    for clip in 0..3 {
        let pixels = input["pixel_values"].get(clip).unwrap();
        let tokens = tower.conversation_tokens(&pixels, FrameGroups::ReleasedHalving).unwrap();
        assert_near(&tokens, &expected[name].get(clip).unwrap(), name);
    }
}

#[test]
fn of_more_frames_than_the_table_has_two_neighbours_become_one() {
    let (input, expected, tower) = (tensors("input"), tensors("expected"), tower());
    let pixels = input["pixel_values_t66_u8"].to_dtype(DType::F32).unwrap();
    let pixels = pixels.affine(1.0 / 64.0, -2.0).unwrap();
    for groups in [FrameGroups::Whole, FrameGroups::ReleasedHalving] {
        let tokens = tower.conversation_tokens(&pixels, groups).unwrap();
        assert_near(&tokens, &expected["llava_ref.t66.llm_tokens"], "llava_ref.t66.llm_tokens");
    }
}

#[test]
fn frames_that_cannot_be_halved_are_refused_where_halves_are_wanted() {
    let tower = tower();
    let frames = |count| Tensor::zeros((count, 3, 32, 32), DType::F32, &Device::Cpu).unwrap();
    let refused =
        |count, groups| tower.conversation_tokens(&frames(count), groups).unwrap_err().to_string();
    for count in [1, 3] {
        assert!(refused(count, FrameGroups::ReleasedHalving).contains("cannot be halved"));
        tower.conversation_tokens(&frames(count), FrameGroups::Whole).unwrap();
    }
    assert!(refused(65, FrameGroups::Whole).contains("cannot be halved"));
    assert!(refused(130, FrameGroups::Whole).contains("1 to 128"));
}
