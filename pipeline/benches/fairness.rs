//! 64 simulated live sources through one embedding stage that is behind: what each gets, how long
//! answers take, and that every clip offered is embedded or accounted as overload.
//!
//! ```sh
//! cargo bench -p footage-pipeline --bench fairness
//! ```
//!
//! Two stages: one that sleeps 5 ms for each clip, and the bundled model. The capacity of each is
//! measured first. Three loads: all sources offer the same, twice the capacity in all; every fourth
//! source offers four times as much, twice the capacity in all; and the same at 1.4 times the capacity,
//! so that the modest sources ask for less than an equal share and should lose nothing. Clips do not
//! overlap, so that all cost the same. What is fair is max-min fairness: nobody gets more than it
//! offered, and nobody who lost clips gets less than any other.
//!
//! `FOOTAGE_BENCH_SECONDS` sets the length of each run (15).

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footage_clip::{Embedding, NoDirection, RgbFrame, TimedFrame};
use footage_model::{Device, Model};
use footage_pipeline::{
    ClipEncoder, EmbedError, EmbedQueue, EmbedSettings, EmbedStage, LiveSourceQueue,
};
use tokio::task::JoinSet;

type Anything<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SOURCES: usize = 64;
const CLIP_FRAMES: usize = 8;
const FRAME: Duration = Duration::from_millis(500);

/// How much a source asks for, against the others.
type Demand = fn(usize) -> f64;

/// Loads, as multiples of the capacity.
const LOADS: [(&str, Demand, f64); 3] = [
    ("all alike, twice the capacity", |_| 1.0, 2.0),
    ("every fourth offers 4x, twice the capacity", one_in_four, 2.0),
    ("every fourth offers 4x, 1.4 times the capacity", one_in_four, 1.4),
];

fn one_in_four(source: usize) -> f64 {
    if source.is_multiple_of(4) { 4.0 } else { 1.0 }
}

/// What became of one source's clips.
#[derive(Default)]
struct Got {
    offered: usize,
    overloaded: usize,
    /// From offer to embedding.
    latencies: Vec<Duration>,
    /// What the call took that offers a clip.
    calls: Vec<Duration>,
}

fn main() -> Anything<()> {
    let seconds = std::env::var("FOOTAGE_BENCH_SECONDS").ok().map_or(Ok(15), |s| s.parse())?;
    let length = Duration::from_secs(seconds);
    let settings = EmbedSettings::default();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(2).enable_time().build()?.block_on(async {
        println!("a stage that sleeps 5 ms for each clip");
        measure(|| EmbedStage::spawn_with(Sleeps, settings), length).await?;
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini");
        let model = Arc::new(Model::open(&dir, &Device::Cpu)?);
        println!("the bundled model");
        measure(|| EmbedStage::spawn(model.clone(), settings), length).await
    })
}

/// Measures a stage's capacity, then runs every load through a fresh one.
async fn measure(
    spawn: impl Fn() -> std::io::Result<(EmbedQueue, EmbedStage)>,
    length: Duration,
) -> Anything<()> {
    let capacity = capacity(&spawn()?.0, length / 4).await?;
    println!("  capacity {capacity:.1} clips/s");
    for (name, demand, load) in LOADS {
        let (queue, stage) = spawn()?;
        let demands: f64 = (0..SOURCES).map(demand).sum();
        let per_demand = load * capacity / demands;
        let mut sources = JoinSet::new();
        for at in 0..SOURCES {
            let period = Duration::from_secs_f64(1.0 / (demand(at) * per_demand));
            // Golden-ratio phases: spread, and the same in every run.
            let phase = period.mul_f64((at as f64 * 0.618_033_988_749).fract());
            let source = queue.live_source(CLIP_FRAMES);
            sources.spawn(async move { (at, offer(source, period, phase, length).await) });
        }
        let mut got: Vec<(usize, Got)> = sources.join_all().await;
        got.sort_by_key(|(at, _)| *at);
        println!("  {name}");
        report(&got.into_iter().map(|(_, got)| got).collect::<Vec<_>>(), demand)?;
        println!("    batches {:.0} % full", queue.stats().batch_fill * 100.0);
        drop(queue);
        stage.join()?;
    }
    Ok(())
}

/// Clips per second where every source always has another.
async fn capacity(queue: &EmbedQueue, length: Duration) -> Anything<f64> {
    let end = Instant::now() + length;
    let mut sources = JoinSet::new();
    for _ in 0..SOURCES {
        let source = queue.source(CLIP_FRAMES);
        sources.spawn(async move {
            let (mut nth, pictures) = (0, pictures());
            while Instant::now() < end {
                source.submit(clip(&pictures, nth)).await?.embedding().await?;
                nth += 1;
            }
            Ok::<usize, EmbedError>(nth)
        });
    }
    let begun = Instant::now();
    let mut clips = 0;
    while let Some(done) = sources.join_next().await {
        clips += done??;
    }
    Ok(clips as f64 / begun.elapsed().as_secs_f64())
}

/// A camera: offers a clip every `period`, and waits for all answers at the end.
async fn offer(queue: LiveSourceQueue, period: Duration, phase: Duration, length: Duration) -> Got {
    let begin = tokio::time::Instant::now();
    let mut ticks = tokio::time::interval_at(begin + phase, period);
    let (mut got, mut answers, pictures) = (Got::default(), JoinSet::new(), pictures());
    while ticks.tick().await < begin + length {
        let clip = clip(&pictures, got.offered);
        let offered = Instant::now();
        let pending = queue.offer(clip);
        got.calls.push(offered.elapsed());
        got.offered += 1;
        answers.spawn(async move { (pending.embedding().await, offered.elapsed()) });
    }
    for (answer, latency) in answers.join_all().await {
        match answer {
            Ok(_) => got.latencies.push(latency),
            Err(EmbedError::Overload) => got.overloaded += 1,
            Err(error) => eprintln!("{error}"),
        }
    }
    got
}

fn report(got: &[Got], demand: Demand) -> Anything<()> {
    let offered: Vec<f64> = got.iter().map(|got| got.offered as f64).collect();
    let embedded: Vec<f64> = got.iter().map(|got| got.latencies.len() as f64).collect();
    let fair = fair_shares(&offered, embedded.iter().sum());
    for of in [1.0, 4.0] {
        let of_kind = |values: &[f64]| -> Vec<f64> {
            let kind = values.iter().enumerate().filter(|(at, _)| (demand(*at) - of).abs() < 0.1);
            kind.map(|(_, value)| *value).collect()
        };
        let (offered, embedded, fair) = (of_kind(&offered), of_kind(&embedded), of_kind(&fair));
        if embedded.is_empty() {
            continue;
        }
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let least = embedded.iter().copied().fold(f64::INFINITY, f64::min);
        let most = embedded.iter().copied().fold(0.0, f64::max);
        println!(
            "    {} sources at {of:.0}x: offered {:.1}, embedded {least:.0} / {:.1} / {most:.0} \
             (min / mean / max), fair share {:.1}",
            embedded.len(),
            mean(&offered),
            mean(&embedded),
            mean(&fair)
        );
    }
    let off = |(embedded, fair): (&f64, &f64)| (embedded - fair).abs() / fair;
    let deviation = embedded.iter().zip(&fair).map(off).fold(0.0, f64::max);
    println!("    largest deviation from the fair share {:.1} %", deviation * 100.0);
    for (what, of) in [("latency", latencies as Times), ("call of `offer`", calls as Times)] {
        let mut times: Vec<Duration> = got.iter().flat_map(of).copied().collect();
        times.sort_unstable();
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!("    {what}: p50 {:.2?}, p99 {:.2?}, longest {:.2?}", at(0.5), at(0.99), at(1.0));
    }
    let (offered, embedded): (f64, f64) = (offered.iter().sum(), embedded.iter().sum());
    let overloaded: usize = got.iter().map(|got| got.overloaded).sum();
    println!(
        "    offered {offered} = embedded {embedded} + overload {overloaded}, load {:.2}",
        offered / embedded
    );
    if (offered - embedded - overloaded as f64).abs() > 0.5 {
        return Err("a clip is not accounted for".into());
    }
    Ok(())
}

type Times = fn(&Got) -> &Vec<Duration>;

fn latencies(got: &Got) -> &Vec<Duration> {
    &got.latencies
}

fn calls(got: &Got) -> &Vec<Duration> {
    &got.calls
}

/// What each may have when `total` is there in all.
fn fair_shares(offered: &[f64], total: f64) -> Vec<f64> {
    let (mut least, mut most) = (0.0, total);
    for _ in 0..100 {
        let level = f64::midpoint(least, most);
        let given: f64 = offered.iter().map(|offered| offered.min(level)).sum();
        if given < total { least = level } else { most = level }
    }
    offered.iter().map(|offered| offered.min(most)).collect()
}

/// Pictures of the size that the bundled model looks at.
fn pictures() -> Vec<RgbFrame> {
    const SIDE: u32 = 64;
    let picture = |at: u32| {
        let pixels = (0..SIDE * SIDE * 3).map(|byte| (byte.wrapping_mul(at * 7 + 3) >> 3) as u8);
        RgbFrame::try_new(SIDE, SIDE, pixels.collect::<Vec<u8>>()).ok()
    };
    (0..CLIP_FRAMES as u32).filter_map(picture).collect()
}

/// A source's `nth` clip; its frames are its own, for none has the time of another.
fn clip(pictures: &[RgbFrame], nth: usize) -> Vec<TimedFrame<RgbFrame>> {
    let timed = |(at, frame): (usize, &RgbFrame)| {
        let slot = (nth * CLIP_FRAMES + at) as u64;
        TimedFrame { slot, time_ns: slot * FRAME.as_nanos() as u64, frame: frame.clone() }
    };
    pictures.iter().enumerate().map(timed).collect()
}

/// An encoder whose only property is its cost.
struct Sleeps;

impl ClipEncoder for Sleeps {
    type Features = ();
    type Error = NoDirection;

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<()>, Self::Error> {
        Ok(vec![(); frames.len()])
    }

    fn embed_clips(&self, clips: &[Vec<()>]) -> Result<Vec<Embedding>, Self::Error> {
        std::thread::sleep(Duration::from_millis(5) * clips.len() as u32);
        clips.iter().map(|_| Embedding::normalise(vec![1.0])).collect()
    }
}
