//! The stage with a real model: how clips are batched changes nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::sync::Arc;

use footage_clip::{Cut, RgbFrame};
use footage_model::{Device, Embedding, Model};
use footage_pipeline::{DecodeMode, DecodeSettings, EmbedSettings, EmbedStage};
use support::{launch, read, window};

/// The model that comes with the program; says so and gives nothing where it is not there.
fn model() -> Option<Arc<Model>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini");
    if !dir.join("model.safetensors").exists() {
        eprintln!("skipped: no model in {}", dir.display());
        return None;
    }
    Some(Arc::new(Model::open(&dir, &Device::Cpu).unwrap()))
}

fn clips() -> Vec<Cut<RgbFrame>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ball.avi");
    launch(
        "videotestsrc num-buffers=120 pattern=ball ! video/x-raw,width=160,height=120,framerate=20/1 \
         ! jpegenc ! avimux ! filesink location=OUT",
        &path,
    );
    let settings = DecodeSettings { mode: DecodeMode::All, ..DecodeSettings::default() };
    read(&path, window(8, 2, 5), &settings).clips
}

async fn embedded(model: &Arc<Model>, clips: &[Cut<RgbFrame>], most: usize) -> Vec<Embedding> {
    let some = |number: usize| number.try_into().unwrap();
    let settings = EmbedSettings {
        max_frames: some(most),
        max_clips: some(most),
        queue_clips: some(16),
        ..EmbedSettings::default()
    };
    let (queue, stage) = EmbedStage::spawn(model.clone(), settings).unwrap();
    let source = queue.source(2);
    let mut pending = Vec::new();
    for clip in clips {
        pending.push(source.submit(clip.frames.clone()).await.unwrap());
    }
    drop((queue, source));
    let mut embeddings = Vec::new();
    for embedding in pending {
        embeddings.push(embedding.embedding().await.unwrap());
    }
    stage.join().unwrap();
    embeddings
}

fn largest_difference(a: &[Embedding], b: &[Embedding]) -> f32 {
    assert_eq!(a.len(), b.len());
    let values = |all: &[Embedding]| -> Vec<f32> {
        all.iter().flat_map(|embedding| embedding.as_slice().to_vec()).collect()
    };
    let pairs = values(a).into_iter().zip(values(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clips_in_any_batch_equal_clips_computed_alone() {
    let Some(model) = model() else { return };
    let clips = &clips()[..10];
    let alone: Vec<Embedding> = clips
        .iter()
        .map(|clip| {
            let frames: Vec<_> = clip.frames.iter().map(|frame| frame.frame.clone()).collect();
            let features = model.video().frame_features(&frames).unwrap();
            model.video().embed_clips(&[features]).unwrap().remove(0)
        })
        .collect();
    for most in [1, 3, 16] {
        let shared = embedded(&model, clips, most).await;
        let difference = largest_difference(&shared, &alone);
        eprintln!("batches of {most}: largest difference {difference:e}");
        assert!(difference < 1e-5, "batches of {most}: {difference}");
    }
    assert!(largest_difference(&alone[..5], &alone[5..]) > 1e-3, "the clips differ");
}
