//! A branch beside EVA-CLIP: it learns, is exported, and embeds as it did.

use candle_core::Var;

use super::tests::{COURSE, Clips};
use super::*;
use crate::Model;
use crate::train::Schedule;

/// Words of the small vocabulary of `tests/golden/eva_tiny`.
const TOKENIZER: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "added_tokens": [],
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "red": 1, "car": 2}}
}"#;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/eva_tiny").join(name)
}

/// Both towers in one file, as a published checkpoint has them.
fn weights() -> Vec<u8> {
    let mut all = HashMap::new();
    for file in ["weights.safetensors", "text.safetensors"] {
        all.extend(candle_core::safetensors::load(golden(file), &Device::Cpu).unwrap());
    }
    safetensors::serialize(&all, None).unwrap()
}

fn config(family: &str) -> String {
    let architecture = fs_err::read(golden("architecture.json")).unwrap();
    let mut architecture: serde_json::Value = serde_json::from_slice(&architecture).unwrap();
    architecture["family"] = family.into();
    serde_json::json!({
        "name": "eva", "architecture": architecture,
        "preprocess": {"mean": [128, 128, 128], "std": [64, 64, 64]},
        "tokenizer": "tokenizer.json", "window": {"length": 2, "stride": 2, "rate": "2/1"}
    })
    .to_string()
}

fn eva(start: Start, recipe: Recipe) -> Pretraining {
    let (config, weights) = (config("eva-clip"), weights());
    let tokenizer = Some(TOKENIZER.as_bytes());
    let files = ModelFiles { config: config.as_bytes(), weights: &weights, tokenizer };
    Pretraining::new(&files, start, recipe, 5).unwrap()
}

fn frames() -> Vec<RgbFrame> {
    let value = |frame: usize, at: usize| (at * (3 + 2 * frame) % 251) as u8;
    (0..2)
        .map(|frame| (0..32 * 32 * 3).map(|at| value(frame, at)).collect::<Vec<_>>())
        .map(|pixels| RgbFrame::try_new(32, 32, pixels).unwrap())
        .collect()
}

#[test]
fn a_new_branch_beside_eva_clip_sums_copies_its_blocks_and_has_no_bias_of_keys() {
    let training = eva(Start::New(System::BtAdapter, Some(2)), Recipe::paper());
    assert_eq!(training.config.architecture.branch.unwrap().mode, BranchMode::Additive);
    let names: Vec<&str> = training.weights.iter().map(|(name, _)| name).collect();
    assert!(names.iter().all(|name| !name.contains("k_proj.bias") && !name.contains("balance")));
    let copied = training.weights.get("backbone.btadapter_S_layers.1.self_attn.v_proj.bias");
    let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let last = &training.frozen["backbone.layers.2.self_attn.v_proj.bias"];
    assert_eq!(values(&copied.unwrap()), values(last));
}

#[test]
fn the_gradient_beside_eva_clip_is_that_of_the_difference_quotient() {
    let training = eva(Start::Own, Recipe { drop_path: 0.0, ..Recipe::paper() });
    let features = training.features(&frames()).unwrap();
    let states = training.states(&[features.clone(), features], 2).unwrap();
    let texts = Tensor::new(vec![vec![0.3f32; 32], vec![-0.2; 32]], &Device::Cpu).unwrap();
    let dropped: Vec<Vec<bool>> = (0..2).map(|_| (0..16).map(|at| at % 3 != 0).collect()).collect();
    let mask = Mask::of_dropped(training.recipe.mask, &dropped, 2).unwrap();
    let loss = || training.losses(&states, 2, &texts, &mask, None).unwrap().mbta;
    let grads = loss().backward().unwrap();
    let number = |tensor: Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0];
    let along = |var: &Var, name: &str| {
        let grad = grads.get(var).unwrap_or_else(|| panic!("{name} has no gradient"));
        let before = var.as_tensor().copy().unwrap();
        let length = number(grad.sqr().unwrap().sum_all().unwrap()).sqrt();
        let step = |size: f64| {
            let moved = (&before + (grad * (size / f64::from(length))).unwrap()).unwrap();
            var.set(&moved).unwrap();
            number(loss())
        };
        let rise = (step(4e-3) - step(-4e-3)) / 8e-3;
        var.set(&before).unwrap();
        assert!((rise - length).abs() < 3e-2 * length.max(1e-2), "{name}: {rise}, not {length}");
    };
    let names = ["S_layers.0.mlp.fc1.weight", "T_layers.1.self_attn.q_proj.bias", "cls_token"];
    for (name, var) in training.weights.open() {
        if names.iter().any(|part| name.ends_with(part)) || name.ends_with("k_proj.weight") {
            along(var, name);
        }
    }
}

#[test]
fn a_branch_beside_eva_clip_learns_and_is_exported_as_a_folder_that_embeds_as_it_did() {
    let recipe = Recipe { drop_path: 0.0, ..Recipe::paper() };
    let training = eva(Start::New(System::BtAdapter, Some(2)), recipe);
    let (clips, mut optimiser) = (Clips::new(&training, 4), COURSE.optimiser(&training));
    let schedule = Schedule { peak: 3e-3, ..COURSE.schedule };
    let course = Course { accumulate: 1, schedule, ..COURSE };
    let mut totals = Vec::new();
    for step in 0..12 {
        totals.push(course.step(&training, &mut optimiser, &clips, step).unwrap().total);
    }
    let mean = |part: &[f32]| part.iter().sum::<f32>() / part.len() as f32;
    assert!(mean(&totals[9..]) < 0.9 * mean(&totals[..3]), "{totals:?}");

    let folder = tempfile::tempdir().unwrap();
    training.export("eva-2", "", folder.path()).unwrap();
    let model = Model::open(folder.path(), &Device::Cpu).unwrap();
    let features = model.video().frame_features(&frames()).unwrap();
    let theirs = model.video().embed_clips(&[features]).unwrap();
    let ours = training.embed(&[training.features(&frames()).unwrap()]).unwrap();
    // Features are kept in half precision.
    assert!(ours[0].cosine(&theirs[0]) > 0.999_9);
    let texts = training.texts(&["red car"]).unwrap();
    let theirs = model.text().embed_texts(&["red car"]).unwrap();
    let apart = texts[0].iter().zip(theirs[0].as_slice()).map(|(a, b)| (a - b).abs());
    assert!(apart.fold(0.0, f32::max) < 1e-6);
}

#[test]
fn a_family_beside_which_no_branch_can_stand_is_refused() {
    let weights = weights();
    for family in ["siglip", "mobile-clip"] {
        let config = config(family);
        let tokenizer = Some(TOKENIZER.as_bytes());
        let files = ModelFiles { config: config.as_bytes(), weights: &weights, tokenizer };
        let error = Pretraining::new(&files, Start::Own, Recipe::paper(), 5).unwrap_err();
        assert!(error.to_string().contains(family), "{error}");
    }
}
