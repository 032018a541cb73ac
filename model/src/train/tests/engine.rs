//! Training's forward pass and the engine's are two programs for one model.

use std::path::Path;

use candle_core::{Device, Tensor};
use footage_clip::RgbFrame;

use super::super::data::{self, Example};
use super::super::network::{Network, unit};
use super::super::words::Words;
use super::super::{SCALE, Weights};
use super::largest_difference;
use crate::{Model, ModelConfig};

/// The bundled model as training holds one.
fn bundled(folder: &Path) -> (Network, Words) {
    let config = ModelConfig::from_json(&fs_err::read(folder.join("model.json")).unwrap()).unwrap();
    let mut network = Network { architecture: config.architecture, weights: Weights::default() };
    let path = folder.join("model.safetensors");
    for (name, value) in candle_core::safetensors::load(path, &Device::Cpu).unwrap() {
        network.weights.set(name, &value).unwrap();
    }
    network.weights.set(SCALE, &Tensor::new(&[2.0_f32], &Device::Cpu).unwrap()).unwrap();
    let words = fs_err::read_to_string(folder.join("tokenizer.json")).unwrap();
    (network, Words::from_json(&words).unwrap())
}

/// A bright square that crosses a dark, uneven ground.
fn frames(side: usize, count: usize) -> Vec<Vec<u8>> {
    let pixel = |frame: usize, x: usize, y: usize, c: usize| {
        let is_in = x.abs_diff(8 + 6 * frame) < 8 && y.abs_diff(side / 2) < 8;
        if is_in { [230, 60, 20][c] } else { (x + 2 * y + 7 * c) as u8 / 2 }
    };
    let rows = (0..side * side * 3).map(|k| (k / 3 % side, k / 3 / side, k % 3));
    (0..count).map(|f| rows.clone().map(|(x, y, c)| pixel(f, x, y, c)).collect()).collect()
}

fn row(embedding: &footage_clip::Embedding) -> Tensor {
    let values = embedding.as_slice();
    unit(&Tensor::from_slice(values, (1, values.len()), &Device::Cpu).unwrap()).unwrap()
}

#[test]
fn training_and_the_engine_embed_the_same() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini");
    let model = Model::open(&folder, &Device::Cpu).unwrap();
    let (network, words) = bundled(&folder);
    let side = network.architecture.vision.image;
    let frames = frames(side, 8);
    let rgb = |frame: &Vec<u8>| RgbFrame::try_new(side as u32, side as u32, frame.clone()).unwrap();
    let pictures: Vec<RgbFrame> = frames.iter().map(rgb).collect();
    let features = model.video().frame_features(&pictures).unwrap();
    let engine = row(&model.video().embed_clips(&[features]).unwrap()[0]);

    let clip = Example { frames, captions: Vec::new(), place: 0, things: Vec::new() };
    let pixels = data::batch(&[clip], &network.architecture.vision, false, 0, 0).unwrap();
    let seen = network.see(&pixels).unwrap();
    let ours = unit(&network.watch(&seen.layers, 8).unwrap().videos).unwrap();
    assert!(largest_difference(&engine, &ours) < 1e-4);

    for text in ["a dog moving left", "a red ball, then a bicycle on a road", "zygote"] {
        let engine = row(&model.text().embed_texts(&[text]).unwrap()[0]);
        let ours = network.read_texts(&words, &[text.to_owned()]).unwrap();
        assert!(largest_difference(&engine, &ours) < 1e-4, "{text}");
    }
}
