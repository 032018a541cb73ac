//! A model's folder is used whole, or refused with the reason.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use footage_model::{
    CONFIG_FILE, Device, Model, ModelConfig, RgbFrame, TOKENIZER_FILE, WEIGHTS_FILE,
};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use tempfile::TempDir;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(path)
}

fn config() -> Value {
    let architecture: Value =
        serde_json::from_slice(&fs_err::read(golden("tiny/architecture.json")).unwrap()).unwrap();
    json!({
        "name": "tiny", "description": "random weights", "licence": "Apache-2.0",
        "architecture": architecture,
        "preprocess": {"mean": [122.771, 116.746, 104.093], "std": [68.5, 66.632, 70.323]},
        "tokenizer": "tokenizer.json",
        "window": {"length": 4, "stride": 1, "rate": "2/1"},
        "calibration": {"scale": 10.0, "offset": -3.0}
    })
}

fn tokenizer() -> Value {
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": {"type": "Lowercase"},
        "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 1, "red": 2, "car": 511}}
    })
}

/// A folder that opens, to be spoilt.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs_err::write(dir.path().join(CONFIG_FILE), config().to_string()).unwrap();
    fs_err::write(dir.path().join(TOKENIZER_FILE), tokenizer().to_string()).unwrap();
    fs_err::copy(golden("tiny/weights.safetensors"), dir.path().join(WEIGHTS_FILE)).unwrap();
    dir
}

fn open(dir: &TempDir) -> Result<Model, String> {
    Model::open(dir.path(), &Device::Cpu).map_err(|error| error.to_string())
}

/// Rewrites the weights, tensor by tensor; what `change` returns nothing for is left out.
fn rewrite(
    dir: &TempDir,
    change: impl Fn(&str, Vec<usize>, Vec<u8>) -> Option<(Vec<usize>, Vec<u8>)>,
) {
    let path = dir.path().join(WEIGHTS_FILE);
    let bytes = fs_err::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let changed: Vec<_> = file
        .iter()
        .filter_map(|(name, view)| {
            let (shape, data) = change(name, view.shape().to_vec(), view.data().to_vec())?;
            Some((name.to_owned(), view.dtype(), shape, data))
        })
        .collect();
    let views = changed.iter().map(|(name, dtype, shape, data)| {
        (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
    });
    let written = safetensors::serialize(views, None).unwrap();
    fs_err::write(path, written).unwrap();
}

#[test]
fn a_whole_folder_opens_and_embeds_pictures_and_words() {
    let model = open(&folder()).unwrap();
    assert_eq!((model.name(), model.dim(), model.image_size()), ("tiny", 32, 32));
    assert_eq!(model.window().length(), 4);
    assert!(model.calibration().unwrap().probability(0.9) > 0.99);
    let picture =
        RgbFrame::try_new(40, 30, (0..3600).map(|i| (i % 251) as u8).collect::<Vec<_>>()).unwrap();
    let seen = model.embed_image(&picture).unwrap();
    let words = model.text().embed_texts(&["red car", "car"]).unwrap();
    assert_eq!((seen.dim(), words[0].dim()), (32, 32));
    assert_ne!(words[0], words[1]);
}

#[test]
fn the_example_in_the_documentation_is_a_model_json() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/settings.md");
    let page = fs_err::read_to_string(page).unwrap();
    let example = page.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
    let config = ModelConfig::from_json(example.as_bytes()).unwrap();
    assert_eq!(config.architecture.vision.grid(), 7);
    assert_eq!(config.architecture.branch.unwrap().layers, 4);
}

#[test]
fn a_fingerprint_follows_what_changes_an_embedding_and_nothing_else() {
    let dir = folder();
    let fingerprint = || open(&dir).unwrap().fingerprint().clone();
    let write =
        |config: &Value| fs_err::write(dir.path().join(CONFIG_FILE), config.to_string()).unwrap();
    let first = fingerprint();
    assert_eq!(first, fingerprint());

    let mut described = config();
    described["description"] = json!("the same, in other words");
    described["calibration"] = Value::Null;
    write(&described);
    assert_eq!(first, fingerprint());

    let mut stretched = config();
    stretched["preprocess"]["fit"] = json!("stretch");
    write(&stretched);
    assert_ne!(first, fingerprint());

    write(&config());
    rewrite(&dir, |name, shape, mut data| {
        if name == "backbone.class_embedding" {
            data[0] ^= 1;
        }
        Some((shape, data))
    });
    assert_ne!(first, fingerprint());
}

#[test]
fn a_file_that_is_missing_is_named() {
    for file in [CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE] {
        let dir = folder();
        fs_err::remove_file(dir.path().join(file)).unwrap();
        let error = open(&dir).unwrap_err();
        assert!(error.contains(file), "{error}");
    }
}

#[test]
fn weights_cut_short_are_refused_and_the_folder_named() {
    let dir = folder();
    let path = dir.path().join(WEIGHTS_FILE);
    let bytes = fs_err::read(&path).unwrap();
    for len in [bytes.len() - 1, bytes.len() / 2, 100, 0] {
        fs_err::write(&path, &bytes[..len]).unwrap();
        let error = open(&dir).unwrap_err();
        assert!(
            error.contains("cut short") && error.contains(dir.path().to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn a_weight_that_is_no_number_is_refused_by_name() {
    let dir = folder();
    rewrite(&dir, |name, shape, mut data| {
        if name == "backbone.layers.1.mlp.fc1.bias" {
            data[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
        }
        Some((shape, data))
    });
    let error = open(&dir).unwrap_err();
    assert!(
        error.contains("`backbone.layers.1.mlp.fc1.bias`") && error.contains("element 2"),
        "{error}"
    );
}

#[test]
fn weights_of_another_model_are_refused_with_what_differs() {
    let dir = folder();
    rewrite(&dir, |name, shape, data| match name {
        "backbone.balance1" => None,
        "backbone.post_layernorm.weight" => {
            Some((vec![shape[0] / 2], data[..data.len() / 2].to_vec()))
        }
        _ => Some((shape, data)),
    });
    let error = open(&dir).unwrap_err();
    assert!(error.contains("missing from the file: `backbone.balance1` [64]"), "{error}");
    assert!(
        error.contains("`backbone.post_layernorm.weight` needs [64], the file has [32]"),
        "{error}"
    );

    let dir = folder();
    let mut plain = config();
    plain["architecture"]["branch"] = Value::Null;
    fs_err::write(dir.path().join(CONFIG_FILE), plain.to_string()).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(
        error.contains("in the file but not in the model") && error.contains("btadapter"),
        "{error}"
    );
}

#[test]
fn a_tokenizer_with_more_words_than_the_model_is_refused() {
    let dir = folder();
    let mut words = tokenizer();
    words["model"]["vocab"]["bus"] = json!(512);
    fs_err::write(dir.path().join(TOKENIZER_FILE), words.to_string()).unwrap();
    let error = open(&dir).unwrap_err();
    assert!(error.contains("ids up to 512") && error.contains("512 rows"), "{error}");
}
