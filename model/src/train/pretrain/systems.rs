//! The paper's systems: each learns, is exported, and embeds as it did.

use std::path::Path;

use super::tests::{COURSE, Clips, tiny};
use super::*;
use crate::Model;
use crate::tensor_encoder::TensorVideoEncoder;
use crate::train::Schedule;

fn recipe(system: System) -> Recipe {
    Recipe::paper().for_system(system)
}

fn untrained(system: System) -> Pretraining {
    tiny(Start::New(system, system.learns().then_some(2)), recipe(system))
}

/// After some steps at a rate at which everything moves.
fn trained(system: System) -> Pretraining {
    let training = untrained(system);
    if system.learns() {
        let (clips, mut optimiser) = (Clips::new(&training, 8), COURSE.optimiser(&training));
        let course = Course { schedule: Schedule { peak: 1e-2, ..COURSE.schedule }, ..COURSE };
        for step in 0..6 {
            course.step(&training, &mut optimiser, &clips, step).unwrap();
        }
    }
    training
}

/// Frames of which each is another picture.
fn frames() -> Vec<RgbFrame> {
    let value = |frame: usize, at: usize| (at * (3 + 2 * frame) % 251) as u8;
    (0..3)
        .map(|frame| (0..32 * 32 * 3).map(|at| value(frame, at)).collect::<Vec<_>>())
        .map(|pixels| RgbFrame::try_new(32, 32, pixels).unwrap())
        .collect()
}

fn embed(encoder: &dyn crate::VideoEncoder, frames: &[RgbFrame]) -> Embedding {
    let features = encoder.frame_features(frames).unwrap();
    encoder.embed_clips(&[features]).unwrap().pop().unwrap()
}

/// The network that learns, on candle's tensors.
fn by_training(training: &Pretraining, frames: &[RgbFrame]) -> Embedding {
    let image = training.config.architecture.vision.image;
    let preprocess = Preprocess::new(training.config.preprocess.clone(), image);
    embed(&TensorVideoEncoder::new(training.tower.clone(), preprocess).unwrap(), frames)
}

fn assert_same(what: &str, a: &Embedding, b: &Embedding, most: f32) {
    let apart = a.as_slice().iter().zip(b.as_slice()).map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, f32::max);
    assert!(apart < most, "{what}: {apart} apart");
}

fn exported(training: &Pretraining, folder: &Path) -> Model {
    training.export("tiny-2", "", folder).unwrap();
    Model::open(folder, &Device::Cpu).unwrap()
}

#[test]
fn every_system_is_exported_as_a_model_that_embeds_as_the_network_that_learned() {
    for system in System::ALL {
        let training = trained(system);
        let folder = tempfile::tempdir().unwrap();
        let model = exported(&training, folder.path());
        assert_eq!(model.config().architecture.system(), system);
        let expected = by_training(&training, &frames());
        assert_same(system.name(), &embed(model.video(), &frames()), &expected, 2e-5);
        // From kept features, which are rounded to f16.
        let features = training.features(&frames()).unwrap();
        let kept = training.embed(&[features]).unwrap().pop().unwrap();
        assert_same(system.name(), &kept, &expected, 5e-3);
        // Opened once more, it is gone on with: the same weights, without a new start.
        let file = |name: &str| fs_err::read(folder.path().join(name)).unwrap();
        let (config, weights) = (file(crate::CONFIG_FILE), file(crate::WEIGHTS_FILE));
        let tokenizer = file(crate::TOKENIZER_FILE);
        let files = ModelFiles { config: &config, weights: &weights, tokenizer: Some(&tokenizer) };
        if system != System::MeanPooled {
            let again = Pretraining::new(&files, Start::Own, recipe(system), 9).unwrap();
            assert_same(system.name(), &by_training(&again, &frames()), &expected, 1e-6);
        }
    }
}

#[test]
fn systems_that_learn_tell_a_clip_from_its_reverse_and_the_others_do_not() {
    let mut backwards = frames();
    backwards.reverse();
    for system in System::ALL {
        let training = trained(system);
        let (one, two) = (by_training(&training, &frames()), by_training(&training, &backwards));
        let apart = one.as_slice().iter().zip(two.as_slice()).map(|(a, b)| (a - b).abs());
        let apart = apart.fold(0.0, f32::max);
        assert_eq!(apart > 1e-5, system.learns(), "{}: {apart}", system.name());
    }
}

#[test]
fn separate_space_time_begins_as_clip_and_frozen_it_leaves_clip_s_blocks_alone() {
    let clip = by_training(&untrained(System::MeanPooled), &frames());
    for system in [System::SeparateSt, System::SeparateStFrozen] {
        let training = untrained(system);
        assert_same(system.name(), &by_training(&training, &frames()), &clip, 1e-5);
        let copies = training.weights.open().any(|(name, _)| name.contains("_S_layers"));
        assert_eq!(copies, system == System::SeparateSt);
    }
}

#[test]
fn the_branch_without_interaction_looks_at_clip_s_first_and_last_states_alone() {
    for system in [System::Branch, System::BtAdapter] {
        let start = Start::New(system, Some(3));
        let training = tiny(start, recipe(system));
        let features = training.features(&frames()).unwrap();
        let states = training.states(&[features], 3).unwrap();
        let at = |states: &[Tensor]| {
            training.tower.embed(states, 3, crate::bt_adapter::BranchOptions::default()).unwrap()
        };
        let mut other = states.clone();
        other[1] = (&other[1] * 3.0).unwrap();
        let apart = (at(&states).video_embed - at(&other).video_embed).unwrap().abs().unwrap();
        let apart = apart.sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert_eq!(apart > 1e-4, system == System::BtAdapter, "{}: {apart}", system.name());
    }
}

#[test]
fn what_only_a_branch_can_do_is_refused_of_other_systems() {
    let architecture = fs_err::read(super::tests::golden("architecture.json")).unwrap();
    let architecture: serde_json::Value = serde_json::from_slice(&architecture).unwrap();
    assert!(architecture["branch"].get("system").is_none(), "a model of before names no system");
    let training = untrained(System::JointSt);
    let whole = Recipe { masked: 0.0, ..Recipe::paper() };
    let folder = tempfile::tempdir().unwrap();
    training.export("tiny-2", "", folder.path()).unwrap();
    let file = |name: &str| fs_err::read(folder.path().join(name)).unwrap();
    let (config, weights) = (file(crate::CONFIG_FILE), file(crate::WEIGHTS_FILE));
    let tokenizer = file(crate::TOKENIZER_FILE);
    let files = ModelFiles { config: &config, weights: &weights, tokenizer: Some(&tokenizer) };
    let error = Pretraining::new(&files, Start::Own, whole, 0).unwrap_err().to_string();
    assert!(error.contains("joint-st") && error.contains("no branch"), "{error}");
    // Tokens for a language model, too.
    let pixels = Tensor::zeros((2, 3, 32, 32), DType::F32, &Device::Cpu).unwrap();
    let groups = crate::bt_adapter::FrameGroups::Whole;
    let error = training.tower.conversation_tokens(&pixels, groups).unwrap_err().to_string();
    assert!(error.contains("not of joint-st"), "{error}");
}
