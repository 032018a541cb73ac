//! `SigLIP` and `MobileCLIP`, from files in the hub's layout to embeddings, are what their own programs
//! compute (`tests/golden/relatives.py`).

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use footage_model::config::Fit;
use footage_model::{Device, Family, Model, ModelError, ModelOptions, Precision, RgbFrame};

const TOLERANCE: f32 = 2e-5;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name)
}

struct Expected(HashMap<String, Tensor>);

impl Expected {
    fn of(name: &str) -> Self {
        let path = golden(name).join("expected.safetensors");
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    fn frames(&self) -> Vec<RgbFrame> {
        let frame = |at: usize| {
            let pixels = self.0.get(&format!("frame_{at}"))?;
            let (height, width, _) = pixels.dims3().unwrap();
            let pixels = pixels.flatten_all().unwrap().to_vec1::<u8>().unwrap();
            Some(RgbFrame::try_new(width as u32, height as u32, pixels).unwrap())
        };
        (0..).map_while(frame).collect()
    }

    fn rows(&self, name: &str) -> Vec<Vec<f32>> {
        self.0[name].to_dtype(DType::F32).unwrap().to_vec2().unwrap()
    }
}

fn unit(row: &[f32]) -> Vec<f32> {
    let length = row.iter().map(|value| value * value).sum::<f32>().sqrt();
    row.iter().map(|value| value / length).collect()
}

fn mean(rows: &[Vec<f32>]) -> Vec<f32> {
    (0..rows[0].len())
        .map(|at| rows.iter().map(|row| row[at]).sum::<f32>() / rows.len() as f32)
        .collect()
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    let off = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(off <= TOLERANCE, "{what} is off by {off:e}");
}

fn assert_is_the_reference(name: &str, family: Family) {
    let expected = Expected::of(name);
    let model = Model::open(&golden(name), &Device::Cpu).unwrap();
    assert_eq!(model.config().architecture.family, family);
    assert_eq!(model.coverage().found, model.coverage().needed);

    let frames = expected.frames();
    assert_eq!(frames.len(), 5);
    let images = expected.rows("image_embeds");
    for (at, (frame, theirs)) in frames.iter().zip(&images).enumerate() {
        let ours = model.embed_image(frame).unwrap();
        assert_close(&format!("frame {at}"), ours.as_slice(), &unit(theirs));
    }
    // A clip is the mean of what the tower gives, and frames that clips share are looked at once.
    let features = model.video().frame_features(&frames).unwrap();
    let clips = [features[0..4].to_vec(), features[1..5].to_vec()];
    let ours = model.video().embed_clips(&clips).unwrap();
    for (at, ours) in ours.iter().enumerate() {
        assert_close(&format!("clip {at}"), ours.as_slice(), &unit(&mean(&images[at..at + 4])));
    }

    let texts = fs_err::read(golden(name).join("texts.json")).unwrap();
    let texts: Vec<String> = serde_json::from_slice(&texts).unwrap();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let theirs = expected.rows("text_embeds");
    let ours = model.text().embed_texts(&texts).unwrap();
    for (at, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_close(&format!("text {at}"), ours.as_slice(), &unit(theirs));
        // The length of a batch changes nothing, though padding is seen.
        let alone = model.text().embed_texts(&texts[at..=at]).unwrap();
        assert_close(&format!("text {at} alone"), alone[0].as_slice(), ours.as_slice());
    }
    assert!(model.text().fits(texts[0]).unwrap());
    assert!(!model.text().fits(texts[4]).unwrap());
}

#[test]
fn siglip_is_the_hub_s_from_pixels_and_words_to_embeddings() {
    assert_is_the_reference("siglip_tiny", Family::Siglip);
}

#[test]
fn mobileclip_is_openclip_s_from_pixels_and_words_to_embeddings() {
    assert_is_the_reference("mobileclip_tiny", Family::MobileClip);
}

#[test]
fn a_picture_can_be_fitted_otherwise_and_then_has_another_fingerprint() {
    for name in ["siglip_tiny", "mobileclip_tiny"] {
        let wide = &Expected::of(name).frames()[4];
        let open = |fit| {
            let options = ModelOptions { fit, ..ModelOptions::default() };
            Model::open_with(&golden(name), &Device::Cpu, options).unwrap()
        };
        let own = open(None);
        for fit in [Fit::Letterbox, Fit::Tile] {
            let other = open(Some(fit));
            assert_ne!(own.fingerprint(), other.fingerprint());
            let [a, b] = [&own, &other].map(|model| model.embed_image(wide).unwrap());
            assert!(a.cosine(&b) < 0.9999, "{name} {fit:?}");
        }
    }
}

#[test]
fn bf16_is_refused_on_the_processor_and_says_what_to_set() {
    for name in ["siglip_tiny", "mobileclip_tiny"] {
        let options = ModelOptions { precision: Precision::Bf16, ..ModelOptions::default() };
        let error = Model::open_with(&golden(name), &Device::Cpu, options).unwrap_err();
        let ModelError::Folder { source, .. } = &error else { panic!("{error}") };
        assert!(source.to_string().contains("set model.precision to \"f32\""), "{source}");
    }
}

#[test]
fn a_file_that_lacks_a_tensor_or_has_one_too_many_is_refused_by_its_name() {
    for (name, file, tensor, known) in [
        ("siglip_tiny", "model.safetensors", "vision_model.head.probe", "backbone.head.probe"),
        (
            "mobileclip_tiny",
            "open_clip_model.safetensors",
            "visual.trunk.stages.2.downsample.proj.0.se.fc1.bias",
            "backbone.stages.2.downsample.proj.0.se.fc1.bias",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        for entry in fs_err::read_dir(golden(name)).unwrap() {
            let entry = entry.unwrap();
            fs_err::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
        }
        let path = folder.path().join(file);
        let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
        let taken = tensors.remove(tensor).unwrap();
        tensors.retain(|_, tensor| tensor.dtype() == DType::F32);
        candle_core::safetensors::save(&tensors, &path).unwrap();
        let error = Model::open(folder.path(), &Device::Cpu).unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains(&format!("`{known}`")) && said.contains("missing"), "{said}");

        tensors.insert(tensor.to_owned(), taken.clone());
        tensors.insert(format!("{tensor}.more"), taken);
        candle_core::safetensors::save(&tensors, &path).unwrap();
        let error = Model::open(folder.path(), &Device::Cpu).unwrap_err();
        let said = std::error::Error::source(&error).unwrap().to_string();
        assert!(said.contains(&format!("`{known}.more`")), "{said}");
    }
}
