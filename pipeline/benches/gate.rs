//! What gating saves and what it costs: the share of clips that are embedded, against the events and
//! changes that are seen, for several thresholds.
//!
//! ```sh
//! cargo bench -p footage-pipeline --bench gate
//! ```
//!
//! The footage is rendered: a fixed camera, things from three hundredths of the frame's width on,
//! some of which take a minute to cross it, noise, shake, changing light; encoded at a low bit rate,
//! and read as any file is. `FOOTAGE_SHARED` names a folder whose `footage/videos` are judged too, if
//! they are there; nothing was tuned to them. `FOOTAGE_BENCH_MISSES=1` tells what was missed.

use std::error::Error;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use footage_clip::{Cut, Rate, RgbFrame, WindowSpec};
use footage_pipeline::{
    Cancel, DecodeMode, DecodeSettings, Decoder, Novelty, NoveltyGate, NoveltySettings, Piece,
};
use footage_synth::{Film, Truth, World, write_video};

#[path = "../tests/support/vigils.rs"]
mod vigils;

use vigils::{Judged, Score, score};

type Anything<T> = Result<T, Box<dyn Error>>;

const THRESHOLDS: [f32; 8] = [4.0, 5.0, 5.5, 6.0, 6.5, 7.0, 8.0, 10.0];
const SECONDS: f64 = 150.0;
const FPS: u32 = 10;
/// Seeds, and kilobits a second for 320x240 pixels. The default threshold was chosen by the first two;
/// the third was not looked at before.
const SETS: [(Range<u64>, u32); 3] = [(0..12, 60), (0..12, 250), (100..112, 120)];

fn main() -> Anything<()> {
    let world = World::load()?;
    let dir = tempfile::tempdir()?;
    let tells_misses = std::env::var_os("FOOTAGE_BENCH_MISSES").is_some();
    for (seeds, kbps) in SETS {
        let mut filmed = Vec::new();
        for seed in seeds.clone() {
            let reel = vigils::reel(&world, seed, SECONDS, FPS);
            let film = Film { kbps, key_frame_seconds: 2 };
            let path = write_video(&reel, &dir.path().join(format!("{kbps}-{seed}")), film)?;
            filmed.push((reel.truth().clone(), clips(&path)?));
        }
        let cost_us = cost_us(&filmed);
        println!("vigils {seeds:?} of {SECONDS} s at {kbps} kbit/s; {cost_us:.0} us a frame");
        println!("  threshold  embedded   events seen   changed clips embedded");
        for threshold in THRESHOLDS {
            let told = |miss: String| {
                if tells_misses {
                    println!("    {threshold}: {miss}");
                }
            };
            let mut total = Score::default();
            for (truth, clips) in &filmed {
                total += judged(truth, clips, threshold, told);
            }
            println!(
                "  {threshold:9.1}  {:7.1}%   {:4} of {:4}   {:4} of {:4}",
                share(total.new, total.clips),
                total.found,
                total.events,
                total.changed - total.missed,
                total.changed
            );
        }
    }
    real_clips()
}

fn share(part: usize, whole: usize) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

/// Microseconds that judging takes, for each frame that no earlier clip had.
fn cost_us(filmed: &[(Truth, Vec<Cut<RgbFrame>>)]) -> f64 {
    let begun = Instant::now();
    let mut frames = 0;
    for (_, clips) in filmed {
        let mut gate = NoveltyGate::new(NoveltySettings::default());
        for clip in clips {
            gate.judge(&clip.frames);
        }
        frames += clips.len() * 4 + 4;
    }
    begun.elapsed().as_secs_f64() * 1e6 / frames as f64
}

fn judged(
    truth: &Truth,
    clips: &[Cut<RgbFrame>],
    threshold: f32,
    tell: impl FnMut(String),
) -> Score {
    let mut gate = NoveltyGate::new(NoveltySettings { threshold, ..NoveltySettings::default() });
    let clips: Vec<_> =
        clips.iter().map(|clip| Judged::new(clip, gate.judge(&clip.frames))).collect();
    score(truth, &clips, tell)
}

fn clips(path: &Path) -> Anything<Vec<Cut<RgbFrame>>> {
    let settings = DecodeSettings { mode: DecodeMode::All, ..DecodeSettings::default() };
    let window = WindowSpec::try_new(8, 4, Rate::try_new(2, 1)?)?;
    let mut decoder = Decoder::open(path, &window, &settings, &Cancel::default())?;
    let mut clips = Vec::new();
    while let Some(piece) = decoder.next_piece()? {
        if let Piece::Clip(clip) = piece {
            clips.push(clip);
        }
    }
    Ok(clips)
}

/// What the default saves on footage that was not made for it.
fn real_clips() -> Anything<()> {
    let shared = std::env::var_os("FOOTAGE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let videos = shared.join("footage/videos");
    if !videos.is_dir() {
        println!("no real footage at {}", videos.display());
        return Ok(());
    }
    let mut paths: Vec<_> =
        fs_err::read_dir(videos)?.map(|entry| Ok(entry?.path())).collect::<Anything<_>>()?;
    paths.sort();
    println!("real clips, threshold {}: embedded", NoveltySettings::default().threshold);
    let (mut new, mut all) = (0, 0);
    for path in paths {
        let clips = clips(&path)?;
        let mut gate = NoveltyGate::new(NoveltySettings::default());
        let embedded = clips.iter().filter(|clip| gate.judge(&clip.frames) == Novelty::New).count();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        println!("  {name:28} {embedded:3} of {:3}", clips.len());
        new += embedded;
        all += clips.len();
    }
    println!("  together {new} of {all}, {:.0}%", share(new, all));
    Ok(())
}
