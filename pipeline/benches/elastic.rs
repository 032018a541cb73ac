//! What a 1080p30 H.264 camera costs: decoded whole, and with keyframe-elastic decoding, while its
//! scene is still and while it is not. In CPU seconds of everything from the file's bytes to clips.
//!
//! ```sh
//! cargo bench -p footage-pipeline --bench elastic
//! ```
//!
//! The footage is a rendered place with a sensor's noise, weak and strong, as H.264 without B-frames, as
//! cameras have it, with a keyframe every two or four seconds; made by `ffmpeg` in a folder that is
//! removed again. The first sixteen seconds are not counted: it takes some to see that a scene is still.
//! `FOOTAGE_BENCH_RUNS` sets the number of runs (3), of which the best counts.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use footage_pipeline::{ElasticDecode, ElasticSettings};
use footage_synth::{Reel, Split, View, Vigil, World};
use gst::prelude::*;

type Anything<T> = Result<T, Box<dyn Error>>;

/// The kernel counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// From here on the time counts.
const SETTLED: gst::ClockTime = gst::ClockTime::from_seconds(16);

fn main() -> Anything<()> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, "watch", mode, path] = &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return watch(Path::new(path), mode);
    }
    let runs = std::env::var("FOOTAGE_BENCH_RUNS").ok().map_or(Ok(3), |runs| runs.parse())?;
    let dir = tempfile::tempdir()?;
    let still = dir.path().join("still.png");
    paint(&still)?;
    println!("CPU seconds a second of 1080p30 H.264, best of {runs} runs");
    for film in FILMS {
        let path = film.shoot(&still)?;
        let mut best = [f64::INFINITY; 3];
        for _ in 0..runs {
            for (best, mode) in best.iter_mut().zip(["all", "still", "restless"]) {
                let child = Command::new(std::env::current_exe()?)
                    .args(["watch", mode])
                    .arg(&path)
                    .stderr(Stdio::inherit())
                    .output()?;
                *best = best.min(String::from_utf8(child.stdout)?.trim().parse()?);
            }
        }
        println!("{film}");
        for (name, cost) in
            ["decoded whole", "elastic, still", "elastic, never still"].iter().zip(best)
        {
            let (share, cameras) = (cost / best[0], 1.0 / cost);
            println!("  {name:20}  {cost:.4}  {share:5.3} of whole  {cameras:5.1} cameras a core");
        }
    }
    Ok(())
}

/// A place where nothing happens, seen through a sensor of so much noise.
#[derive(Clone, Copy)]
struct Film {
    noise: u32,
    kbps: u32,
    gop_s: u32,
}

const FILMS: [Film; 3] = [
    Film { noise: 2, kbps: 2000, gop_s: 2 },
    Film { noise: 5, kbps: 4000, gop_s: 2 },
    Film { noise: 5, kbps: 4000, gop_s: 4 },
];

impl std::fmt::Display for Film {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { noise, kbps, gop_s } = self;
        write!(f, "noise {noise}, at most {kbps} kbit/s, a keyframe every {gop_s} s")
    }
}

impl Film {
    /// Eighty seconds of it.
    fn shoot(self, still: &Path) -> Anything<PathBuf> {
        let Self { noise, kbps, gop_s } = self;
        let gop = gop_s * 30;
        let film = still.with_file_name("film.mp4");
        let coding = format!(
            "-vf loop=-1:1,noise=alls={noise}:allf=t -t 80 -c:v libx264 -preset veryfast -pix_fmt yuv420p -bf 0 \
             -g {gop} -keyint_min {gop} -sc_threshold 0 -crf 23 -maxrate {kbps}k -bufsize {kbps}k"
        );
        ffmpeg(&["-framerate", "30"], still, &coding, &film)?;
        Ok(film)
    }
}

fn ffmpeg(before: &[&str], input: &Path, words: &str, out: &Path) -> Anything<()> {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y"])
        .args(before)
        .arg("-i")
        .arg(input)
        .args(words.split_whitespace())
        .arg(out)
        .status()?;
    if made.success() { Ok(()) } else { Err("ffmpeg could not make the film".into()) }
}

fn paint(still: &Path) -> Anything<()> {
    let world = World::load()?;
    let nothing =
        Vigil { seconds: 1.0, heights: 0.1..0.2, stays: 9.0..10.0, pauses: 9.0..10.0, dusk: 0.0 };
    let reel = Reel::keep_vigil(&world, 5, Split::Train, View::new(1920, 1080), 1, &nothing);
    Ok(image::save_buffer(still, &reel.frame(0), 1920, 1080, image::ColorType::Rgb8)?)
}

/// Reads the file as a camera's stream, and prints what a second of it cost.
fn watch(path: &Path, mode: &str) -> Anything<()> {
    gst::init()?;
    gstfootage::register_static()?;
    let pipeline = gst::parse::launch(&format!(
        "filesrc location={} ! qtdemux ! h264parse ! avdec_h264 name=decoder max-threads=1 \
         ! footagesample rate=2/1 ! videoconvertscale ! video/x-raw,format=RGB,width=320,height=180 \
         ! footageclip rate=2/1 length=8 stride=2 ! fakesink",
        path.display()
    ))?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "no pipeline")?;
    let decoder = pipeline.by_name("decoder").ok_or("no decoder")?;
    let sink = decoder.static_pad("sink").ok_or("no sink pad")?;
    let counted = Arc::new(Mutex::new(Vec::new()));
    let into = counted.clone();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let keyframe =
            info.buffer().filter(|coded| !coded.flags().contains(gst::BufferFlags::DELTA_UNIT));
        let pts = keyframe.and_then(|coded| coded.pts()).filter(|pts| *pts >= SETTLED);
        if let (Some(pts), Some(ticks), Ok(mut into)) = (pts, ticks(), into.lock()) {
            into.push((pts, ticks));
        }
        gst::PadProbeReturn::Ok
    });
    let elastic = match mode {
        "still" => Some(ElasticSettings::default()),
        // Every picture differs: what watching costs where it saves nothing.
        "restless" => Some(ElasticSettings {
            threshold: 0.0,
            still: Duration::from_secs(1),
            ..ElasticSettings::default()
        }),
        _ => None,
    };
    let elastic = elastic.map(ElasticDecode::new);
    if let Some(elastic) = &elastic {
        elastic.guard(&sink);
        elastic.watch(&decoder.static_pad("src").ok_or("no source pad")?);
    }
    pipeline.set_state(gst::State::Playing)?;
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().ok_or("no bus")?.timed_pop_filtered(gst::ClockTime::NONE, &kinds);
    if let Some(gst::MessageView::Error(error)) = message.as_ref().map(|message| message.view()) {
        return Err(error.error().into());
    }
    pipeline.set_state(gst::State::Null)?;
    if let Some(used) = elastic.map(|elastic| elastic.used()) {
        eprintln!("{mode}: {used:?}");
    }
    // From keyframe to keyframe: at the end of a file the last one's pictures are decoded after all.
    let counted = counted.lock().map_err(|_| "a probe panicked")?;
    let (Some(first), Some(last)) = (counted.first(), counted.last()) else {
        return Err("the film is too short".into());
    };
    println!("{}", (last.1 - first.1) / TICKS_PER_SECOND / (last.0 - first.0).seconds_f64());
    Ok(())
}

/// Processor time of this process so far: fields 14 and 15 of `proc_pid_stat(5)`.
fn ticks() -> Option<f64> {
    let stat = fs_err::read_to_string("/proc/self/stat").ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    let field = |at: usize| after_name.split_whitespace().nth(at - 3)?.parse::<f64>().ok();
    Some(field(14)? + field(15)?)
}
