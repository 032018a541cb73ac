//! Pixels and words are prepared as the reference prepares them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use footage_model::RgbFrame;
use footage_model::config::{Fit, ModelConfig, PreprocessConfig, Resize};
use footage_model::preprocess::Preprocess;
use footage_model::tokenizer::Tokenizer;

const MEAN: [f32; 3] = [122.771, 116.746, 104.093];
const STD: [f32; 3] = [68.500, 66.632, 70.323];

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(path)
}

fn pictures() -> std::collections::HashMap<String, Tensor> {
    candle_core::safetensors::load(golden("preproc/frames.safetensors"), &Device::Cpu).unwrap()
}

fn frame(pictures: &std::collections::HashMap<String, Tensor>) -> RgbFrame {
    let picture = &pictures["frame_rgb_u8"];
    let (height, width, _) = picture.dims3().unwrap();
    let bytes = picture.flatten_all().unwrap().to_vec1::<u8>().unwrap();
    RgbFrame::try_new(width as u32, height as u32, bytes).unwrap()
}

fn cropping_to_224(short_side: Option<usize>) -> Preprocess {
    let config = PreprocessConfig {
        fit: Fit::Crop,
        short_side,
        resize: Resize::Bilinear,
        mean: MEAN,
        std: STD,
    };
    Preprocess::new(config, 224)
}

#[test]
fn a_frame_is_scaled_and_cropped_as_opencv_does_within_one_grey_level() {
    let pictures = pictures();
    for (short_side, name) in [(None, "short224_crop224_u8"), (Some(256), "short256_crop224_u8")] {
        let ours = cropping_to_224(short_side).fit(&frame(&pictures));
        let theirs = pictures[name].flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert_eq!(ours.len(), theirs.len());
        let worst = ours.iter().zip(&theirs).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
        assert!(worst <= 1, "{name} is off by {worst} grey levels");
    }
}

#[test]
fn a_frame_is_normalised_as_the_reference_does() {
    let pictures = pictures();
    let preprocess = cropping_to_224(None);
    let mut ours = vec![0.0; preprocess.len()];
    preprocess.apply(&frame(&pictures), &mut ours);
    let theirs = pictures["short224_norm_mmaction_16x16"].to_vec3::<f32>().unwrap();
    // One grey level, in normalised units.
    let level = 1.001 / STD[1];
    for (channel, rows) in theirs.iter().enumerate() {
        for (y, row) in rows.iter().enumerate() {
            for (x, value) in row.iter().enumerate() {
                let got = ours[(channel * 224 + y) * 224 + x];
                assert!(
                    (got - value).abs() <= level,
                    "channel {channel} at {x},{y}: {got} {value}"
                );
            }
        }
    }
}

#[test]
fn a_frame_is_prepared_as_the_hub_s_processor_does_within_one_grey_level() {
    let pictures = pictures();
    let mean = [0.481_454_66, 0.457_827_5, 0.408_210_73].map(|mean: f32| mean * 255.0);
    let std = [0.268_629_54, 0.261_302_6, 0.275_777_1].map(|std: f32| std * 255.0);
    let config =
        PreprocessConfig { fit: Fit::Crop, short_side: None, resize: Resize::Bicubic, mean, std };
    let preprocess = Preprocess::new(config, 224);
    let mut ours = vec![0.0; preprocess.len()];
    preprocess.apply(&frame(&pictures), &mut ours);
    let theirs = pictures["hf_clip_default_norm_16x16"].to_vec3::<f32>().unwrap();
    for (channel, rows) in theirs.iter().enumerate() {
        let level = 1.001 / std[channel];
        for (y, row) in rows.iter().enumerate() {
            for (x, value) in row.iter().enumerate() {
                let got = ours[(channel * 224 + y) * 224 + x];
                let apart = (got - value).abs();
                assert!(apart <= level, "channel {channel} at {x},{y}: {got} {value}");
            }
        }
    }
}

#[test]
fn texts_become_the_reference_s_ids() {
    let config = ModelConfig::from_json(
        serde_json::json!({
            "name": "clip",
            "architecture": {
                "vision": {"image": 224, "patch": 32, "width": 768, "heads": 12, "layers": 12, "mlp": 3072},
                "text": {"vocab": 49408, "width": 512, "heads": 8, "layers": 12, "mlp": 2048, "context": 77},
                "projection": 512, "branch": null
            },
            "preprocess": {"mean": MEAN, "std": STD},
            "window": {"length": 8, "stride": 2, "rate": "2/1"}
        })
        .to_string()
        .as_bytes(),
    )
    .unwrap();
    let tokenizer = Tokenizer::new(&config, None).unwrap();
    let cases: Vec<serde_json::Value> =
        serde_json::from_slice(&fs_err::read(golden("preproc/tokenizer.json")).unwrap()).unwrap();
    assert!(cases.len() >= 8);
    for case in cases {
        let text = case["text"].as_str().unwrap();
        let theirs: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let mut ours = tokenizer.encode(text).unwrap();
        ours.resize(77, 0);
        assert_eq!(ours, theirs, "{text}");
    }
}
