//! Files as their authors publish them: read without running anything, used whole, or refused with
//! what they are.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use footage_model::checkpoint::Checkpoint;
use footage_model::weights::{Format, WeightsFile};
use footage_model::{Device, Model, Ops, RgbFrame};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(path)
}

fn tiny() -> Value {
    serde_json::from_slice(&fs_err::read(golden("tiny/architecture.json")).unwrap()).unwrap()
}

#[test]
fn a_training_checkpoint_under_the_authors_internal_names_computes_what_the_reference_does() {
    let file = WeightsFile::open(&golden("ckpt/pretrain_like_timesfpn.pth")).unwrap();
    assert_eq!(file.format(), Format::TorchTraining);
    assert_eq!(file.shapes().count(), 201);
    assert_eq!(file.beside(), ["meta", "message_hub"]);
    let named = file.named_code().join(" ");
    assert!(named.contains("HistoryBuffer") && named.contains("getattr"), "{named}");

    let architecture = serde_json::from_value(tiny()).unwrap();
    let report = footage_model::check(
        &golden("ckpt/pretrain_like_timesfpn.pth"),
        &golden("tiny/input.safetensors"),
        &golden("tiny/expected.safetensors"),
        Some(&architecture),
        Ops::Fused,
        &Device::Cpu,
    )
    .unwrap();
    let gated: Vec<_> =
        report.differences.iter().filter(|d| d.name.starts_with("gated.")).collect();
    assert!(gated.len() > 20);
    for difference in gated {
        assert!(difference.max_abs_diff < 2e-5, "{difference:?}");
    }
}

#[test]
fn the_tuned_branch_is_known_by_its_names_and_lies_over_the_pre_trained_one() {
    let tuned = WeightsFile::open(&golden("ckpt/sft_btadapter_like.bin")).unwrap();
    assert_eq!((tuned.format(), tuned.shapes().count()), (Format::Torch, 58));
    let whole = WeightsFile::open(&golden("ckpt/pretrain_like_timesfpn.pth")).unwrap();
    let both = Checkpoint::from_files(&[whole, tuned]).unwrap();
    let [whole, tuned] = both.files() else { panic!("two files") };
    assert_eq!((whole.replaced, tuned.tensors), (58, 58));
    assert!(both.shape("backbone.btadapter_S_layers.1.mlp.fc1.weight").is_some());

    let alone = Model::inspect(&golden("ckpt/sft_btadapter_like.bin")).unwrap_err().to_string();
    assert!(alone.contains("backbone.patch_embedding.weight"), "{alone}");
}

#[test]
fn files_that_other_readers_refuse_are_read_and_truncated_ones_are_told_apart() {
    for name in ["valid_but_candle_zip_fails.bin", "sft_mm_projector_like.bin"] {
        let file = WeightsFile::open(&golden("ckpt").join(name)).unwrap();
        let shapes: Vec<_> = file.shapes().map(|(_, shape)| shape.to_vec()).collect();
        assert_eq!(shapes.len(), 2, "{name}: {shapes:?}");
    }
    let error = WeightsFile::open(&golden("ckpt/sft_mm_projector_truncated.bin")).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("cut short") && text.contains("truncated.bin"), "{text}");
    assert!(text.contains("24576 bytes"), "{text}");
}

#[test]
fn a_pytorch_file_cut_anywhere_or_with_bytes_turned_is_refused_or_read_but_never_a_panic() {
    let whole = fs_err::read(golden("ckpt/sft_mm_projector_like.bin")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.bin");
    for end in (0..whole.len()).step_by(997) {
        fs_err::write(&path, &whole[..end]).unwrap();
        WeightsFile::open(&path).unwrap_err();
    }
    for at in (0..whole.len()).step_by(61) {
        let mut spoilt = whole.clone();
        spoilt[at] ^= 0xff;
        fs_err::write(&path, &spoilt).unwrap();
        if let Ok(file) = WeightsFile::open(&path) {
            drop(Checkpoint::from_files(&[file]));
        }
    }
}

#[test]
fn what_people_have_in_place_of_weights_is_called_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    for (bytes, part) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:25\n"[..], "Git LFS"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M", "before 2020"),
        (b"{\"error\": \"no\"}", "JSON"),
        (b"", "empty"),
        (b"GGUF....", "GGUF"),
    ] {
        let path = dir.path().join("weights.bin");
        fs_err::write(&path, bytes).unwrap();
        let text = WeightsFile::open(&path).unwrap_err().to_string();
        assert!(text.contains(part) && text.contains("weights.bin"), "{text}");
    }
}

/// The tensors of the tiny model without its branch, with CLIP's whole table of words.
fn plain_clip() -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let bytes = fs_err::read(golden("tiny/weights.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let of_branch = ["btadapter", "balance", "extra_proj"];
    let mut tensors: BTreeMap<_, _> = file
        .iter()
        .filter(|(name, _)| !of_branch.iter().any(|part| name.contains(part)))
        .map(|(name, view)| (name.to_owned(), (view.shape().to_vec(), view.data().to_vec())))
        .collect();
    let words = "text_backbone.text_model.embeddings.token_embedding.weight";
    let (shape, _) = &tensors[words];
    let shape = vec![49408, shape[1]];
    let values =
        (0..shape[0] * shape[1]).flat_map(|i| ((i % 97) as f32 / 97.0 - 0.5).to_le_bytes());
    let table = (shape, values.collect());
    tensors.insert(words.to_owned(), table);
    tensors
}

fn write(path: &Path, tensors: &BTreeMap<String, (Vec<usize>, Vec<u8>)>) {
    let views = tensors.iter().map(|(name, (shape, data))| {
        (name, TensorView::new(Dtype::F32, shape.clone(), data).unwrap())
    });
    fs_err::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// A name as Hugging Face's `CLIPModel` has it.
fn hub_name(name: &str) -> String {
    let name = name.replace("text_backbone.", "").replace("backbone.", "vision_model.");
    for inside in ["class_embedding", "patch_embedding", "position_embedding"] {
        if let Some(rest) = name.strip_prefix(&format!("vision_model.{inside}")) {
            return format!("vision_model.embeddings.{inside}{rest}");
        }
    }
    name.replace("vision_model.layers.", "vision_model.encoder.layers.")
        .replace("vision_model.visual_projection", "visual_projection")
}

fn folder_of_the_hub(size: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let architecture = tiny();
    let (vision, text) = (&architecture["vision"], &architecture["text"]);
    let config = json!({
        "model_type": "clip", "projection_dim": architecture["projection"],
        "vision_config": {
            "hidden_size": vision["width"], "intermediate_size": vision["mlp"],
            "num_hidden_layers": vision["layers"], "num_attention_heads": vision["heads"],
            "image_size": vision["image"], "patch_size": vision["patch"],
        },
        "text_config": {
            "hidden_size": text["width"], "intermediate_size": text["mlp"],
            "num_hidden_layers": text["layers"], "num_attention_heads": text["heads"],
        },
    });
    let preprocessor = json!({
        "size": size, "resample": 3, "do_center_crop": true, "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.25, 0.25, 0.25],
    });
    fs_err::write(dir.path().join("config.json"), config.to_string()).unwrap();
    fs_err::write(dir.path().join("preprocessor_config.json"), preprocessor.to_string()).unwrap();
    let mut tensors: BTreeMap<_, _> =
        plain_clip().into_iter().map(|(name, tensor)| (hub_name(&name), tensor)).collect();
    tensors.insert("logit_scale".into(), (vec![], 4.6f32.to_le_bytes().to_vec()));
    write(&dir.path().join("model.safetensors"), &tensors);
    dir
}

#[test]
fn a_folder_of_the_hub_is_the_same_model_as_one_of_ours_with_the_same_tensors() {
    let hub = folder_of_the_hub(32);
    let own = tempfile::tempdir().unwrap();
    let mut architecture = tiny();
    architecture["branch"] = Value::Null;
    architecture["text"]["vocab"] = json!(49408);
    let config = json!({
        "name": "own", "architecture": architecture,
        "preprocess": {
            "short_side": 32, "resize": "bicubic", "mean": [127.5, 127.5, 127.5],
            "std": [63.75, 63.75, 63.75]
        },
        "window": {"length": 8, "stride": 4, "rate": "2/1"},
    });
    fs_err::write(own.path().join("model.json"), config.to_string()).unwrap();
    write(&own.path().join("model.safetensors"), &plain_clip());

    let open = |dir: &TempDir| Model::open(dir.path(), &Device::Cpu).unwrap();
    let (theirs, ours) = (open(&hub), open(&own));
    assert_eq!(theirs.fingerprint(), ours.fingerprint());
    assert_eq!(theirs.files()[0].passed_over, ["logit_scale"]);
    let coverage = theirs.coverage();
    let of_file = plain_clip().into_iter().filter(|(name, _)| !name.contains("logit_scale"));
    let values: usize = of_file.map(|(_, (shape, _))| shape.iter().product::<usize>()).sum();
    assert_eq!((coverage.needed, coverage.found), (values, values));
    let embed = |model: &Model| model.text().embed_texts(&["a red car"]).unwrap().remove(0);
    assert_eq!(embed(&theirs), embed(&ours));
    let frame =
        RgbFrame::try_new(64, 36, (0..64 * 36 * 3).map(|i| i as u8).collect::<Vec<_>>()).unwrap();
    assert_eq!(theirs.embed_image(&frame).unwrap(), ours.embed_image(&frame).unwrap());
}

#[test]
fn how_a_picture_is_fitted_and_how_exactly_is_multiplied_are_part_of_what_a_model_is() {
    use footage_model::config::Fit;
    use footage_model::{ModelOptions, Precision};
    let dir = folder_of_the_hub(40);
    let open = |options| Model::open_with(dir.path(), &Device::Cpu, options).unwrap();
    let fitted = |fit| open(ModelOptions { fit, ..ModelOptions::default() });
    let rounded = open(ModelOptions { precision: Precision::Bf16, ..ModelOptions::default() });
    let models = [
        fitted(None),
        fitted(Some(Fit::Letterbox)),
        fitted(Some(Fit::Stretch)),
        fitted(Some(Fit::Tile)),
        rounded,
    ];
    for (at, model) in models.iter().enumerate() {
        for other in &models[..at] {
            assert_ne!(model.fingerprint(), other.fingerprint());
        }
    }
    assert_eq!(fitted(None).fingerprint(), fitted(Some(Fit::Crop)).fingerprint());
    // What lies at the right end of a wide picture is cut off by a crop, and seen in tiles.
    let picture = |right: u8| {
        let pixels = (0..36u32 * 96).flat_map(|at| if at % 96 > 76 { [right; 3] } else { [90; 3] });
        RgbFrame::try_new(96, 36, pixels.collect::<Vec<_>>()).unwrap()
    };
    let apart = |model: &Model| {
        let [a, b] = [picture(0), picture(255)].map(|p| model.embed_image(&p).unwrap());
        1.0 - a.cosine(&b)
    };
    assert!(apart(&models[0]) < 1e-5, "crop");
    for (name, model) in [("letterbox", &models[1]), ("stretch", &models[2]), ("tile", &models[3])]
    {
        assert!(apart(model) > 1e-3, "{name}: {}", apart(model));
    }
}
