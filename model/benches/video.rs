//! Clips per second of the video encoder on the CPU.
//!
//! `cargo bench -p footage-model --bench video [-- b32|l14|mini [SECONDS [CLIPS [f32|bf16]]]]`, with
//! `RAYON_NUM_THREADS` threads. Prints one clip over and over; clips of one stream at a stride of
//! T/4, each computed alone; the same clips with the features of their frames shared; and how far
//! the two are apart.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]

#[path = "../tests/generated/mod.rs"]
mod generated;

use std::time::{Duration, Instant};

use footage_model::bt_adapter::VideoTower;
use footage_model::config::{Architecture, PreprocessConfig};
use footage_model::cpu::{CpuVideoEncoder, Precision};
use footage_model::preprocess::Preprocess;
use footage_model::{Embedding, FrameFeatures, Ops, RgbFrame, VideoEncoder};

const FRAMES: usize = 8;
const STRIDE: usize = FRAMES / 4;

fn architecture(name: &str) -> Architecture {
    let (image, patch, width, heads, layers, mlp, projection, branch) = match name {
        "b32" => (224, 32, 768, 12, 12, 3072, 512, 4),
        "l14" => (224, 14, 1024, 16, 24, 4096, 768, 4),
        "mini" => (64, 8, 160, 5, 5, 640, 128, 2),
        other => panic!("no model `{other}`: choose b32, l14 or mini"),
    };
    serde_json::from_value(serde_json::json!({
        "vision": {
            "image": image, "patch": patch, "width": width, "heads": heads, "layers": layers, "mlp": mlp
        },
        "text": {"vocab": 8, "width": 8, "heads": 1, "layers": 1, "mlp": 8, "context": 8},
        "projection": projection,
        "branch": {"layers": branch}
    }))
    .unwrap()
}

/// Seconds of processor time that this process has used; 0 where the system does not say.
fn cpu_seconds() -> f64 {
    let Ok(stat) = fs_err::read_to_string("/proc/self/stat") else { return 0.0 };
    let after_name = stat.rsplit(')').next().unwrap_or("");
    let ticks = |field: usize| -> f64 {
        after_name.split_whitespace().nth(field).and_then(|ticks| ticks.parse().ok()).unwrap_or(0.0)
    };
    // User and system time, in hundredths on Linux.
    (ticks(11) + ticks(12)) / 100.0
}

/// Runs `work`, which embeds `clips`, for `time` and at least once; prints the median speed and
/// returns the clips per second of processor time.
fn measure(name: &str, clips: usize, time: Duration, mut work: impl FnMut()) -> f64 {
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let mut walls = Vec::new();
    while start.elapsed() < time || walls.is_empty() {
        let begin = Instant::now();
        work();
        walls.push(begin.elapsed().as_secs_f64());
    }
    let cpu = (cpu_seconds() - cpu) / (walls.len() * clips) as f64;
    walls.sort_by(f64::total_cmp);
    let clips_per_second = clips as f64 / walls[walls.len() / 2];
    println!(
        "{name}: {clips_per_second:.3} clips/s, {cpu:.4} CPU seconds a clip ({} runs)",
        walls.len()
    );
    1.0 / cpu.max(1e-9)
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let model = args.next().unwrap_or_else(|| "b32".into());
    let time =
        Duration::from_secs_f64(args.next().map_or(10.0, |seconds| seconds.parse().unwrap()));
    let clips: usize = args.next().map_or(24, |clips| clips.parse().unwrap());
    let precision = match args.next().as_deref() {
        None | Some("f32") => Precision::F32,
        Some("bf16") => Precision::Bf16,
        Some(other) => panic!("no precision `{other}`: choose f32 or bf16"),
    };
    let architecture = architecture(&model);
    let side = architecture.vision.image;
    let vb = generated::var_builder(&candle_core::Device::Cpu).pp("backbone");
    let tower = VideoTower::new(&architecture, Ops::Fused, &vb).unwrap();
    let config: PreprocessConfig = serde_json::from_value(serde_json::json!({
        "mean": [122.771, 116.746, 104.093], "std": [68.5, 66.632, 70.323]
    }))
    .unwrap();
    let encoder = CpuVideoEncoder::new(&tower, Preprocess::new(config, side), precision).unwrap();
    drop(tower);

    // As wide as video, and scaled already, as clips come out of the plugin.
    let (width, height) = (side * 16 / 9, side);
    let frames: Vec<RgbFrame> = (0..FRAMES + STRIDE * (clips - 1))
        .map(|frame| {
            let values =
                generated::values(&format!("frame {frame}"), 3 * width * height, 128.0, 127.0);
            let bytes: Vec<u8> = values.into_iter().map(|value| value as u8).collect();
            RgbFrame::try_new(width as u32, height as u32, bytes).unwrap()
        })
        .collect();
    let alone = || -> Vec<Embedding> {
        let clip = |frames: &[RgbFrame]| {
            let features = encoder.frame_features(frames).unwrap();
            encoder.embed_clips(&[features]).unwrap().pop().unwrap()
        };
        frames.windows(FRAMES).step_by(STRIDE).map(clip).collect()
    };
    let shared = || -> Vec<Embedding> {
        let features = encoder.frame_features(&frames).unwrap();
        let windows: Vec<Vec<FrameFeatures>> =
            features.windows(FRAMES).step_by(STRIDE).map(<[_]>::to_vec).collect();
        encoder.embed_clips(&windows).unwrap()
    };

    let threads = rayon::current_num_threads();
    println!("{model} with branch, T = {FRAMES}, {precision:?}, {threads} threads");
    let one = || {
        let features = encoder.frame_features(&frames[..FRAMES]).unwrap();
        encoder.embed_clips(&[features]).unwrap();
    };
    one(); // warms the machine and makes the buffers
    measure("one clip", 1, time, one);
    let (mut apart_clips, mut sharing_clips) = (Vec::new(), Vec::new());
    let without = measure("clips alone", clips, time, || apart_clips = alone());
    let with = measure("clips sharing frames", clips, time, || sharing_clips = shared());
    let apart = apart_clips
        .iter()
        .zip(&sharing_clips)
        .flat_map(|(a, b)| {
            a.as_slice().iter().zip(b.as_slice()).map(|(a, b)| (a - b).abs()).collect::<Vec<_>>()
        })
        .fold(0.0, f32::max);
    println!("sharing: {:.2}x in processor time, largest difference {apart:e}", with / without);
}
