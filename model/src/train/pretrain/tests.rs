//! Against the reference's losses and gradients (`tests/golden/tiny`), and a course as a whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use half::f16;
use rand::Rng as _;

use super::*;
use crate::train::{self, Schedule};

const TOKENIZER: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
    "added_tokens": [{"id": 3, "content": "<|endoftext|>", "special": true, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false}],
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": {"type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}},
                   {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<|endoftext|>":
            {"id": "<|endoftext|>", "ids": [3], "tokens": ["<|endoftext|>"]}}},
    "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "red": 1, "car": 2}}
}"#;

pub(super) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny").join(name)
}

fn tensors(name: &str) -> HashMap<String, Tensor> {
    candle_core::safetensors::load(golden(name), &Device::Cpu).unwrap()
}

pub(super) fn tiny(start: Start, recipe: Recipe) -> Pretraining {
    let architecture = fs_err::read(golden("architecture.json")).unwrap();
    let architecture: serde_json::Value = serde_json::from_slice(&architecture).unwrap();
    let config = serde_json::json!({
        "name": "tiny", "architecture": architecture,
        "preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1]}, "tokenizer": "tokenizer.json",
        "window": {"length": 4, "stride": 2, "rate": "2/1"}
    })
    .to_string();
    let weights = fs_err::read(golden("weights.safetensors")).unwrap();
    let files = ModelFiles {
        config: config.as_bytes(),
        weights: &weights,
        tokenizer: Some(TOKENIZER.as_bytes()),
    };
    let mut training = Pretraining::new(&files, start, recipe, 5).unwrap();
    if start == Start::Own {
        for (name, value) in tensors("weights.safetensors") {
            if name.starts_with("extra_proj.") {
                training.weights.set(name, &value).unwrap();
            }
        }
    }
    training
}

/// The reference's losses on its own input, with its own mask.
fn losses_of_reference(training: &Pretraining) -> PretrainLosses {
    let (input, expected) = (tensors("input.safetensors"), tensors("expected.safetensors"));
    let pixels = input["pixel_values"].reshape((12, 3, 32, 32)).unwrap();
    let states = training.tower.states(&pixels).unwrap();
    let texts = expected["text.embed"].narrow(0, 0, 3).unwrap();
    // Frame by frame; every frame drops the same patches.
    let dropped: Vec<Vec<bool>> = expected["mask.ref"]
        .to_vec2::<u8>()
        .unwrap()
        .iter()
        .map(|clip| clip[..16].iter().map(|flag| *flag == 1).collect())
        .collect();
    let mask = Mask::of_dropped(training.recipe.mask, &dropped, 4).unwrap();
    training.losses(&states, 4, &texts, &mask, None).unwrap()
}

fn number(tensor: &Tensor) -> f32 {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
}

fn assert_near(what: &str, ours: f32, theirs: f32) {
    assert!((ours - theirs).abs() <= 2e-5 * theirs.abs().max(1.0), "{what}: {ours}, not {theirs}");
}

#[test]
fn the_released_losses_are_the_reference_s() {
    let losses = losses_of_reference(&tiny(Start::Own, Recipe::released()));
    let expected = tensors("expected.safetensors");
    let theirs = |name: &str| number(&expected[&format!("loss_ref.{name}")]);
    assert_near("VTC", number(&losses.vtc), theirs("NCE_loss"));
    assert_near("MBCA", 0.1 * number(&losses.mbca), theirs("branch_text_nce_loss"));
    assert_near("MBTA", 0.1 * number(&losses.mbta), theirs("clip_branch_mask_mse_loss"));
    assert_near("total", number(&losses.total), theirs("total"));
}

#[test]
fn the_papers_losses_are_those_of_a_true_tube_with_aligned_teachers() {
    let losses = losses_of_reference(&tiny(Start::Own, Recipe::paper()));
    let cosine = Recipe { tokens: TokenLoss::Cosine, ..Recipe::paper() };
    let by_cosine = losses_of_reference(&tiny(Start::Own, cosine));
    let expected = tensors("expected.safetensors");
    let theirs = |name: &str| number(&expected[&format!("loss_tube.{name}")]);
    assert_near("VTC", number(&losses.vtc), theirs("vtc"));
    assert_near("MBCA", number(&losses.mbca), theirs("mbca_unweighted"));
    assert_near("MBTA", number(&losses.mbta), theirs("mbta_paper_mse_unnormalised"));
    assert_near("MBTA", number(&by_cosine.mbta), theirs("mbta_unweighted"));
}

#[test]
fn the_gradient_of_every_trainable_parameter_is_the_reference_s() {
    let training = tiny(Start::Own, Recipe::released());
    let grads = losses_of_reference(&training).total.backward().unwrap();
    let reference = tensors("grads_ref.safetensors");
    let ours: Vec<&str> = training.weights.open().map(|(name, _)| name).collect();
    assert_eq!(ours.len(), reference.len(), "what learns is not what learnt there");
    for (name, var) in training.weights.open() {
        let theirs = &reference[name];
        let grad = grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        let size = number(&theirs.abs().unwrap().flatten_all().unwrap().max(0).unwrap());
        let off = (grad - theirs).unwrap().abs().unwrap().flatten_all().unwrap();
        let off = number(&off.max(0).unwrap());
        assert!(off <= 2e-5 + 1e-4 * size, "{name} is off by {off:e} of {size:e}");
    }
}

#[test]
fn a_new_branch_starts_out_as_the_reference_s_does() {
    let training = tiny(Start::New(System::BtAdapter, None), Recipe::paper());
    let get = |name: &str| training.weights.get(name).unwrap();
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let clip = &training.frozen["backbone.layers.2.mlp.fc1.weight"];
    assert_eq!(values(&get("backbone.btadapter_S_layers.1.mlp.fc1.weight")), values(clip));
    for zero in ["T_layers.0.temporal_fc.weight", "T_layers.0.temporal_fc.bias", "cls_token"] {
        assert!(values(&get(&format!("backbone.btadapter_{zero}"))).iter().all(|v| *v == 0.0));
    }
    for gate in ["backbone.balance1", "backbone.balance2"] {
        assert!(values(&get(gate)).iter().all(|v| *v == 0.0));
    }
    let query = values(&get("backbone.btadapter_T_layers.2.self_attn.q_proj.weight"));
    assert!(query.iter().all(|v| v.abs() <= 0.125) && query.iter().any(|v| v.abs() > 0.12));
    let times = values(&get("backbone.btadapter_time_embed.weight"));
    let square = times.iter().map(|v| v * v).sum::<f32>() / times.len() as f32;
    assert!((square - 1.0).abs() < 0.1, "{square}");
}

/// Clips of random features, each with a text of its own.
pub(super) struct Clips {
    features: Vec<Vec<f16>>,
    texts: Vec<Vec<f32>>,
}

impl Clips {
    pub(super) fn new(training: &Pretraining, count: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        let mut row =
            |len: usize| -> Vec<f32> { (0..len).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let len = 2 * training.frame_len();
        let features = (0..count).map(|_| row(len).into_iter().map(f16::from_f32).collect());
        let features = features.collect();
        Self { features, texts: (0..count).map(|_| row(32)).collect() }
    }
}

impl Features for Clips {
    fn len(&self) -> usize {
        self.features.len()
    }

    fn clip(&self, index: usize) -> std::io::Result<Vec<f16>> {
        Ok(self.features[index].clone())
    }

    fn text(&self, index: usize) -> &[f32] {
        &self.texts[index]
    }
}

pub(super) const COURSE: Course = Course {
    seed: 4,
    frames: 2,
    batch: 4,
    accumulate: 2,
    schedule: Schedule { peak: 1e-3, warmup: 2, steps: 12 },
};

fn all(training: &Pretraining) -> Vec<f32> {
    let vars = training.weights.iter();
    vars.flat_map(|(_, var)| var.flatten_all().unwrap().to_vec1::<f32>().unwrap()).collect()
}

#[test]
fn a_course_cut_in_two_equals_a_course_in_one_to_the_bit() {
    let run = |training: &Pretraining, optimiser: &mut train::Optimiser, steps| {
        let clips = Clips::new(training, 9);
        let mut last = StepLosses::default();
        for step in steps {
            last = COURSE.step(training, optimiser, &clips, step).unwrap();
        }
        last
    };
    let whole = tiny(Start::New(System::BtAdapter, None), Recipe::paper());
    let in_one = run(&whole, &mut COURSE.optimiser(&whole), 0..5);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let first = tiny(Start::New(System::BtAdapter, None), Recipe::paper());
    let mut optimiser = COURSE.optimiser(&first);
    run(&first, &mut optimiser, 0..3);
    train::save(&path, &first.weights, &optimiser, 3).unwrap();
    let mut second = tiny(Start::New(System::BtAdapter, None), Recipe::paper());
    let mut optimiser = COURSE.optimiser(&second);
    train::check(&path, &second.weights).unwrap();
    let done = train::load(&path, &mut second.weights, &mut optimiser).unwrap();
    assert_eq!(run(&second, &mut optimiser, done..5), in_one);
    assert!(all(&second) == all(&whole), "the weights differ");
}

#[test]
fn a_course_lowers_its_losses_and_leaves_clip_alone() {
    let recipe = Recipe { drop_path: 0.0, ..Recipe::paper() };
    let training = tiny(Start::New(System::BtAdapter, None), recipe);
    let before = training.frozen.clone();
    let (clips, mut optimiser) = (Clips::new(&training, 4), COURSE.optimiser(&training));
    let course = Course { accumulate: 1, ..COURSE };
    let mut totals = Vec::new();
    for step in 0..12 {
        totals.push(course.step(&training, &mut optimiser, &clips, step).unwrap().total);
    }
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    assert!(mean(&totals[9..]) < 0.9 * mean(&totals[..3]), "{totals:?}");
    for (name, tensor) in &training.frozen {
        let values = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(tensor), values(&before[name]), "{name}");
        assert!(!tensor.is_variable(), "{name} can learn");
    }
}

#[test]
fn a_loss_that_is_no_number_stops_the_course_names_the_clips_and_changes_nothing() {
    let training = tiny(Start::Own, Recipe::paper());
    let mut clips = Clips::new(&training, 4);
    clips.features[2].fill(f16::NAN);
    let before = all(&training);
    let error = COURSE.step(&training, &mut COURSE.optimiser(&training), &clips, 0).unwrap_err();
    match &error {
        PretrainError::NotFinite { step: 0, what: "loss", clips } => assert!(clips.contains(&2)),
        other => panic!("{other}"),
    }
    assert!(all(&training) == before);
}

#[test]
fn a_checkpoint_of_another_shape_is_refused_by_name_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let two = tiny(Start::New(System::BtAdapter, Some(2)), Recipe::paper());
    train::save(&path, &two.weights, &COURSE.optimiser(&two), 1).unwrap();
    let three = tiny(Start::New(System::BtAdapter, None), Recipe::paper());
    let error = train::check(&path, &three.weights).unwrap_err().to_string();
    assert!(error.contains("btadapter_") && error.contains("is missing"), "{error}");
    let error =
        train::check(&path, &tiny(Start::New(System::BtAdapter, Some(1)), Recipe::paper()).weights);
    assert!(error.unwrap_err().to_string().contains("none of this training"));
    fs_err::write(&path, b"half a file").unwrap();
    let error = train::check(&path, &three.weights).unwrap_err().to_string();
    assert!(error.contains("cannot be read"), "{error}");
}

#[test]
fn a_trained_model_is_exported_as_a_folder_that_opens_and_embeds_as_it_did() {
    let training = tiny(Start::Own, Recipe::paper());
    let folder = tempfile::tempdir().unwrap();
    training.export("tiny-2", "", folder.path()).unwrap();
    let model = crate::Model::open(folder.path(), &Device::Cpu).unwrap();
    assert_eq!(model.name(), "tiny-2");
    let frame = |shade: u8| RgbFrame::try_new(32, 32, vec![shade; 32 * 32 * 3]).unwrap();
    let frames = [frame(10), frame(200)];
    let features = model.video().frame_features(&frames).unwrap();
    let theirs = model.video().embed_clips(&[features]).unwrap();
    let ours = training.video.frame_features(&frames).unwrap();
    let ours = training.video.embed_clips(&[ours]).unwrap();
    assert!(ours[0].cosine(&theirs[0]) > 0.999_99);
}

#[test]
fn a_caption_beyond_the_context_is_cut_and_said_to_be() {
    let training = tiny(Start::Own, Recipe::paper());
    let long = "red car ".repeat(60);
    assert!(training.fits("red car").unwrap() && !training.fits(&long).unwrap());
    let texts = training.texts(&[&long, "red car"]).unwrap();
    assert!(texts[0] != texts[1]);
}
