//! The CPU's own forward pass is the one on tensors, and sharing frames changes nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod generated;

use candle_core::{DType, Device, Tensor};
use footage_model::bt_adapter::{BranchOptions, VideoTower};
use footage_model::clip_text::TextTower;
use footage_model::config::{Architecture, ModelConfig, PreprocessConfig};
use footage_model::cpu::{CpuTextEncoder, CpuVideoEncoder, Precision};
use footage_model::preprocess::Preprocess;
use footage_model::tokenizer::Tokenizer;
use footage_model::{
    Embedding, FrameFeatures, ModelError, Ops, RgbFrame, TensorTextEncoder, TensorVideoEncoder,
    TextEncoder, VideoEncoder,
};

struct Shape {
    image: usize,
    patch: usize,
    width: usize,
    heads: usize,
    layers: usize,
    mlp: usize,
    projection: usize,
    branch: Option<(usize, &'static str)>,
}

/// Sizes of a small model as it ships, and sizes that fit no vector and no panel.
const SHAPES: [Shape; 5] = [
    Shape {
        image: 64,
        patch: 8,
        width: 160,
        heads: 5,
        layers: 3,
        mlp: 640,
        projection: 96,
        branch: Some((2, "gated")),
    },
    Shape {
        image: 64,
        patch: 8,
        width: 160,
        heads: 5,
        layers: 2,
        mlp: 640,
        projection: 96,
        branch: Some((1, "additive")),
    },
    Shape {
        image: 21,
        patch: 7,
        width: 75,
        heads: 3,
        layers: 3,
        mlp: 101,
        projection: 49,
        branch: Some((3, "gated")),
    },
    Shape {
        image: 10,
        patch: 10,
        width: 34,
        heads: 2,
        layers: 2,
        mlp: 50,
        projection: 7,
        branch: Some((2, "additive")),
    },
    Shape {
        image: 33,
        patch: 11,
        width: 96,
        heads: 1,
        layers: 2,
        mlp: 17,
        projection: 130,
        branch: None,
    },
];

impl Shape {
    fn architecture(&self) -> Architecture {
        let branch =
            self.branch.map(|(layers, mode)| serde_json::json!({"layers": layers, "mode": mode}));
        serde_json::from_value(serde_json::json!({
            "vision": {
                "image": self.image, "patch": self.patch, "width": self.width,
                "heads": self.heads, "layers": self.layers, "mlp": self.mlp
            },
            "text": {
                "vocab": 49408, "width": self.width, "heads": self.heads, "layers": 2,
                "mlp": self.mlp, "context": 20
            },
            "projection": self.projection,
            "branch": branch
        }))
        .unwrap()
    }

    fn tower(&self) -> VideoTower {
        VideoTower::new(
            &self.architecture(),
            Ops::Fused,
            &generated::var_builder(&Device::Cpu).pp("backbone"),
        )
        .unwrap()
    }

    fn cpu(&self, precision: Precision) -> CpuVideoEncoder {
        CpuVideoEncoder::new(&self.tower(), self.preprocess(), precision).unwrap()
    }

    fn preprocess(&self) -> Preprocess {
        let config: PreprocessConfig = serde_json::from_value(serde_json::json!({
            "mean": [122.771, 116.746, 104.093], "std": [68.5, 66.632, 70.323]
        }))
        .unwrap();
        Preprocess::new(config, self.image)
    }
}

/// Noise of a size that the preprocessing has to scale.
fn frames(count: usize) -> Vec<RgbFrame> {
    (0..count)
        .map(|frame| {
            let values = generated::values(&format!("frame {frame}"), 3 * 50 * 37, 128.0, 127.0);
            RgbFrame::try_new(50, 37, values.into_iter().map(|v| v as u8).collect::<Vec<_>>())
                .unwrap()
        })
        .collect()
}

fn windows(features: &[FrameFeatures], length: usize, stride: usize) -> Vec<Vec<FrameFeatures>> {
    features.windows(length).step_by(stride).map(<[_]>::to_vec).collect()
}

fn assert_close(what: &str, ours: &[Embedding], theirs: &[Embedding]) {
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        for (a, b) in ours.as_slice().iter().zip(theirs.as_slice()) {
            assert!((a - b).abs() <= 1e-5, "{what}: {a} {b}");
        }
    }
}

#[test]
fn clips_of_every_length_are_embedded_as_on_tensors_whatever_the_model_s_sizes() {
    let frames = frames(13);
    for (number, shape) in SHAPES.iter().enumerate() {
        let tensors = TensorVideoEncoder::new(shape.tower(), shape.preprocess()).unwrap();
        let cpu = shape.cpu(Precision::F32);
        assert_eq!((cpu.dim(), cpu.max_frames()), (tensors.dim(), tensors.max_frames()));
        let (on_tensors, on_cpu) =
            (tensors.frame_features(&frames).unwrap(), cpu.frame_features(&frames).unwrap());
        for (length, stride) in [(1, 5), (2, 3), (7, 6), (8, 2), (13, 1)] {
            assert_close(
                &format!("model {number}, {length} frames"),
                &cpu.embed_clips(&windows(&on_cpu, length, stride)).unwrap(),
                &tensors.embed_clips(&windows(&on_tensors, length, stride)).unwrap(),
            );
        }
    }
}

#[test]
fn embeddings_in_bf16_point_where_those_in_f32_do() {
    let frames = frames(8);
    for shape in &SHAPES {
        let [exact, rounded] = [Precision::F32, Precision::Bf16].map(|precision| {
            let cpu = shape.cpu(precision);
            cpu.embed_clips(&[cpu.frame_features(&frames).unwrap()]).unwrap().remove(0)
        });
        let cosine = exact.cosine(&rounded);
        assert!(cosine > 0.9999, "{cosine}");
    }
}

#[test]
fn clips_with_shared_frames_equal_clips_computed_alone_to_the_bit() {
    let frames = frames(12);
    for (shape, precision) in SHAPES
        .iter()
        .flat_map(|shape| [Precision::F32, Precision::Bf16].map(|precision| (shape, precision)))
    {
        let cpu = shape.cpu(precision);
        let shared =
            cpu.embed_clips(&windows(&cpu.frame_features(&frames).unwrap(), 8, 2)).unwrap();
        for (shared, frames) in shared.iter().zip(frames.windows(8).step_by(2)) {
            let alone = cpu.embed_clips(&[cpu.frame_features(frames).unwrap()]).unwrap();
            assert_eq!(*shared, alone[0]);
        }
        assert_eq!(shared.len(), 3);
    }
}

#[test]
fn clips_with_shared_frames_equal_clips_computed_alone_on_tensors() {
    let frames = frames(12);
    let encoder = TensorVideoEncoder::new(SHAPES[0].tower(), SHAPES[0].preprocess()).unwrap();
    let shared =
        encoder.embed_clips(&windows(&encoder.frame_features(&frames).unwrap(), 8, 2)).unwrap();
    for (shared, frames) in shared.iter().zip(frames.windows(8).step_by(2)) {
        let alone = encoder.embed_clips(&[encoder.frame_features(frames).unwrap()]).unwrap();
        assert_close("shared", std::slice::from_ref(shared), &alone);
    }
}

#[test]
fn texts_of_every_length_are_embedded_as_on_tensors() {
    let texts = ["", "a dog", "a red car turns left behind a slow white bus", &"cat ".repeat(50)];
    for shape in &SHAPES {
        let architecture = shape.architecture();
        let config = ModelConfig::from_json(
            serde_json::json!({
                "name": "generated", "architecture": architecture,
                "preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1]},
                "window": {"length": 8, "stride": 2, "rate": "2/1"}
            })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        let vb = generated::var_builder(&Device::Cpu).pp("text_backbone");
        let tower = TextTower::new(&architecture, Ops::Fused, &vb).unwrap();
        let tokenizer = || Tokenizer::new(&config, None).unwrap();
        let cpu = CpuTextEncoder::new(&tower, tokenizer()).unwrap();
        let tensors = TensorTextEncoder::new(tower, tokenizer());
        let (ours, theirs) =
            (cpu.embed_texts(&texts).unwrap(), tensors.embed_texts(&texts).unwrap());
        assert_close("text", &ours, &theirs);
        assert_eq!(cpu.embed_texts(&[texts[1]]).unwrap()[0], ours[1]);
        assert!(cpu.embed_texts(&[]).unwrap().is_empty());
    }
}

#[test]
fn prepared_pixels_that_do_not_fit_the_model_are_refused() {
    let shape = &SHAPES[2];
    let cpu = shape.cpu(Precision::F32);
    let embed = |sides: [usize; 5]| {
        cpu.embed_pixels(&Tensor::zeros(&sides, DType::F32, &Device::Cpu).unwrap())
    };
    assert_eq!(embed([2, 1, 3, 21, 21]).unwrap().len(), 2);
    for frames in [0, 65] {
        let refused = embed([2, frames, 3, 21, 21]);
        assert!(matches!(refused, Err(ModelError::ClipLength { frames: f, .. }) if f == frames));
    }
    let tower = shape.tower();
    let frame = Tensor::zeros((1, 3, 21, 21), DType::F32, &Device::Cpu).unwrap();
    let states = tower.states(&frame).unwrap();
    assert!(tower.embed(&states, 0, BranchOptions::default()).is_err());
    for [c, h, w] in [[3, 21, 7], [1, 21, 21], [3, 0, 21]] {
        assert!(matches!(embed([1, 2, c, h, w]), Err(ModelError::FrameShape { .. })));
    }
}

#[test]
fn clips_that_do_not_fit_the_model_are_refused() {
    let shape = &SHAPES[2];
    let cpu = shape.cpu(Precision::F32);
    let features = cpu.frame_features(&frames(3)).unwrap();
    let clip = |frames: usize| vec![features[0].clone(); frames];
    assert!(cpu.embed_clips(&[]).unwrap().is_empty());
    assert!(matches!(cpu.embed_clips(&[clip(2), clip(3)]), Err(ModelError::UnevenClips { .. })));
    assert!(matches!(cpu.embed_clips(&[clip(0)]), Err(ModelError::ClipLength { frames: 0, .. })));
    assert!(matches!(cpu.embed_clips(&[clip(65)]), Err(ModelError::ClipLength { frames: 65, .. })));
    assert!(cpu.embed_clips(&[clip(64)]).is_ok());

    let other = SHAPES[0].cpu(Precision::F32);
    assert!(matches!(other.embed_clips(&[clip(2)]), Err(ModelError::ForeignFeatures)));
    let tensors = TensorVideoEncoder::new(shape.tower(), shape.preprocess()).unwrap();
    assert!(matches!(tensors.embed_clips(&[clip(2)]), Err(ModelError::ForeignFeatures)));
}
