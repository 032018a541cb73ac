//! `footage model bench`: how fast the model in force is on this machine.

use std::io::{Write as _, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use footage_model::{
    DeviceChoice, FrameFeatures, Model, ModelError, Precision, RgbFrame, device_name, matrix_peak,
};
use serde_json::json;

use crate::compose::House;
use crate::outcome::Outcome;

#[derive(Debug, clap::Args)]
pub(super) struct Bench {
    /// Clips given to the model at once; several, parted by commas
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1,4")]
    batch: Vec<usize>,
    /// How exactly is multiplied; several, parted by commas. Unless stated f32, and bf16 where the model
    /// is computed in it
    #[arg(long, value_name = "P,...", value_delimiter = ',', value_parser = precision)]
    precision: Vec<Precision>,
    /// Where to compute: auto, cpu, cuda or cuda:1; the setting model.device unless given
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceChoice>,
    /// Seconds for each figure
    #[arg(long, value_name = "S", default_value_t = 5.0)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn precision(text: &str) -> Result<Precision, String> {
    match text {
        "f32" => Ok(Precision::F32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err("choose f32 or bf16".to_owned()),
    }
}

/// One line of the result.
struct Measured {
    precision: &'static str,
    batch: usize,
    loading: Duration,
    clips_per_s: f64,
    /// Of the operations that the device reaches in a product of large matrices; none for the
    /// processor, whose products are not candle's.
    of_peak: Option<f64>,
    /// With half of each clip's frames known from the clip before.
    sharing_clips_per_s: f64,
    median: Duration,
    slowest: Duration,
    resident_mib: Option<u64>,
    peak_mib: Option<u64>,
}

/// Whether a model was refused for what its family is not computed with.
fn is_of_family(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause| match cause {
        ModelError::Folder { source, .. } => matches!(**source, ModelError::Family { .. }),
        other => matches!(other, ModelError::Family { .. }),
    })
}

pub(super) fn bench(args: &Bench, house: &House) -> Result<Outcome> {
    ensure!((0.1..=600.0).contains(&args.seconds), "--seconds: choose 0.1 to 600");
    let are_sane = args.batch.iter().all(|batch| (1..=256).contains(batch));
    ensure!(are_sane && !args.batch.is_empty(), "--batch: choose 1 to 256");
    let mut lines = Vec::new();
    let mut name = String::new();
    let mut frames = 0;
    let choice = args.device.unwrap_or(house.settings.device);
    let device = choice.open()?;
    let mut peaks = Vec::new();
    let is_stated = !args.precision.is_empty();
    let all = [Precision::F32, Precision::Bf16];
    for precision in if is_stated { &args.precision[..] } else { &all } {
        let mut house = house.clone();
        house.settings.precision = *precision;
        house.settings.device = choice;
        let began = Instant::now();
        let model = match house.open_model() {
            Err(error) if !is_stated && lines.len() >= args.batch.len() && is_of_family(&error) => {
                continue;
            }
            opened => opened?,
        };
        let loading = began.elapsed();
        let peak = (!device.is_cpu())
            .then(|| matrix_peak(&device, precision.dtype(), args.seconds.min(2.0)))
            .transpose()?;
        peaks
            .push(json!({ "precision": precision, "matrix_tflops": peak.map(|peak| peak / 1e12) }));
        model.name().clone_into(&mut name);
        frames = model.window().length();
        for batch in &args.batch {
            let mut line = measure(&model, *precision, *batch, loading, args.seconds)?;
            let architecture = &model.config().architecture;
            let operations = architecture.operations_of_clip(frames)
                + frames as f64 * architecture.operations_of_frame();
            line.of_peak = peak.map(|peak| line.clips_per_s * operations / peak);
            lines.push(line);
        }
    }
    let threads = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let mut out = stdout().lock();
    if args.json {
        let lines: Vec<_> = lines.iter().map(|line| line.json(frames)).collect();
        let described = json!({
            "model": name, "frames_per_clip": frames, "threads": threads,
            "device": device_name(&device), "peaks": peaks, "measured": lines,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
        return Ok(Outcome::Done);
    }
    let place = device_name(&device);
    writeln!(out, "{name}, clips of {frames} frames, on {place}, {threads} threads")?;
    writeln!(
        out,
        "{:>5} {:>6} {:>9} {:>9} {:>8} {:>13} {:>11} {:>11} {:>8} {:>10} {:>9}",
        "",
        "batch",
        "clips/s",
        "frames/s",
        "of peak",
        "half shared/s",
        "median ms",
        "slowest ms",
        "load s",
        "memory MiB",
        "peak MiB"
    )?;
    for line in &lines {
        writeln!(
            out,
            "{:>5} {:>6} {:>9.2} {:>9.1} {:>8} {:>13.2} {:>11.1} {:>11.1} {:>8.2} {:>10} {:>9}",
            line.precision,
            line.batch,
            line.clips_per_s,
            line.clips_per_s * frames as f64,
            line.of_peak.map_or_else(|| "-".to_owned(), |part| format!("{:.1} %", 100.0 * part)),
            line.sharing_clips_per_s,
            line.median.as_secs_f64() * 1e3,
            line.slowest.as_secs_f64() * 1e3,
            line.loading.as_secs_f64(),
            line.resident_mib.map_or_else(|| "?".to_owned(), |mib| mib.to_string()),
            line.peak_mib.map_or_else(|| "?".to_owned(), |mib| mib.to_string()),
        )?;
    }
    writeln!(out, "peak: since the program began; the first line is that of its model alone")?;
    Ok(Outcome::Done)
}

impl Measured {
    fn json(&self, frames: usize) -> serde_json::Value {
        json!({
            "precision": self.precision,
            "batch": self.batch,
            "load_s": self.loading.as_secs_f64(),
            "clips_per_s": self.clips_per_s,
            "frames_per_s": self.clips_per_s * frames as f64,
            "of_matrix_peak": self.of_peak,
            "clips_per_s_half_shared": self.sharing_clips_per_s,
            "median_ms": self.median.as_secs_f64() * 1e3,
            "slowest_ms": self.slowest.as_secs_f64() * 1e3,
            "resident_mib": self.resident_mib,
            "peak_mib": self.peak_mib,
        })
    }
}

fn measure(
    model: &Model,
    precision: Precision,
    batch: usize,
    loading: Duration,
    seconds: f64,
) -> Result<Measured> {
    let frames = model.window().length();
    let side = model.image_size();
    let pictures = (0..batch * frames)
        .map(|number| noise(side, number as u64))
        .collect::<Result<Vec<RgbFrame>>>()?;
    let whole = || -> Result<()> {
        let features = model.video().frame_features(&pictures)?;
        let clips: Vec<Vec<FrameFeatures>> =
            features.chunks_exact(frames).map(<[FrameFeatures]>::to_vec).collect();
        model.video().embed_clips(&clips)?;
        Ok(())
    };
    // Of each clip the later half is new, and the earlier half known.
    let new = frames.div_ceil(2);
    let known = model.video().frame_features(&pictures)?;
    let sharing = || -> Result<()> {
        let fresh = model.video().frame_features(&pictures[..batch * new])?;
        let clips: Vec<Vec<FrameFeatures>> = (0..batch)
            .map(|clip| {
                let old = &known[clip * frames..][..frames - new];
                [old, &fresh[clip * new..][..new]].concat()
            })
            .collect();
        model.video().embed_clips(&clips)?;
        Ok(())
    };
    let times = timed(&whole, seconds)?;
    let sharing_times = timed(&sharing, seconds / 2.0)?;
    let rate = |times: &[Duration]| {
        batch as f64 * times.len() as f64 / times.iter().sum::<Duration>().as_secs_f64()
    };
    let precision = match precision {
        Precision::F32 => "f32",
        Precision::Bf16 => "bf16",
    };
    Ok(Measured {
        precision,
        batch,
        loading,
        clips_per_s: rate(&times),
        of_peak: None,
        sharing_clips_per_s: rate(&sharing_times),
        median: times[times.len() / 2],
        slowest: times[times.len() - 1],
        resident_mib: memory("VmRSS:"),
        peak_mib: memory("VmHWM:"),
    })
}

/// How long each of several runs took, ascending; at least three, the first of all left out.
fn timed(run: &dyn Fn() -> Result<()>, seconds: f64) -> Result<Vec<Duration>> {
    run()?;
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || began.elapsed().as_secs_f64() < seconds {
        let run_began = Instant::now();
        run()?;
        times.push(run_began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// A picture of noise: what it shows does not change how long it takes.
fn noise(side: u32, seed: u64) -> Result<RgbFrame> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let pixels: Vec<u8> = (0..3 * side as usize * side as usize)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 56) as u8
        })
        .collect();
    RgbFrame::try_new(side, side, pixels).context("no picture")
}

/// A line of what Linux tells of this process, in MiB.
fn memory(field: &str) -> Option<u64> {
    let status = fs_err::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib / 1024)
}
