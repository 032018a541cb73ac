//! Decode, sample at 2 frames a second, scale to 224x224 RGB: against `ffmpeg` doing the same job on
//! the same file, in CPU seconds; keyframes alone against everything; and the most memory taken.
//!
//! ```sh
//! cargo bench -p footage-pipeline --bench decode
//! ```
//!
//! `ffmpeg` decodes every picture. We leave out those that nothing refers to and that are not sampled,
//! which changes no frame that comes out (a test holds that); a file without such pictures costs us
//! about a quarter more, for `GStreamer`'s decoder copies each picture out.
//!
//! The file is a minute of 1080p30 H.264 with a keyframe every two seconds, made by `ffmpeg` in a
//! folder that is removed again. `FOOTAGE_BENCH_RUNS` sets the number of runs (3), of which the best
//! counts: what is measured is work, and everything else only adds to it.

use std::error::Error;
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Command, Stdio};

use footage_clip::{Rate, WindowSpec};
use footage_pipeline::{Cancel, DecodeMode, DecodeSettings, Decoder, PictureSize, Piece};

type Anything<T> = Result<T, Box<dyn Error>>;

/// The kernel counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

fn main() -> Anything<()> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, "read", mode, path] = &words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return read(Path::new(path), mode.parse()?);
    }
    let runs = std::env::var("FOOTAGE_BENCH_RUNS").ok().map_or(Ok(3), |runs| runs.parse())?;
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("minute.mp4");
    render(&path)?;

    let ours = |mode: &str| -> Anything<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["read", mode]).arg(&path);
        Ok(command)
    };
    let ffmpeg = |before: &[&str]| {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-loglevel", "error"]).args(before).arg("-i").arg(&path);
        command.args(["-an", "-vf", "fps=2,scale=224:224", "-pix_fmt", "rgb24"]);
        command.args(["-f", "rawvideo", "-y", "/dev/null"]);
        command
    };
    let mut best = [f64::INFINITY; 4];
    let mut peak_kib = 0;
    for _ in 0..runs {
        let commands =
            [ffmpeg(&[]), ours("all")?, ffmpeg(&["-skip_frame", "nokey"]), ours("keyframes")?];
        for (best, command) in best.iter_mut().zip(commands) {
            let (seconds, said) = cpu_seconds(command)?;
            *best = best.min(seconds);
            peak_kib = peak_kib.max(said.trim().parse().unwrap_or(0));
        }
    }
    let [ffmpeg_all, all, ffmpeg_keyframes, keyframes] = best;
    println!("CPU seconds for a minute of 1080p30, best of {runs} runs");
    println!(
        "  everything   ffmpeg {ffmpeg_all:.2}  footage {all:.2}  throughput {:.2} of ffmpeg's",
        ffmpeg_all / all
    );
    println!(
        "  keyframes    ffmpeg {ffmpeg_keyframes:.2}  footage {keyframes:.2}  {:.1} times cheaper than everything",
        all / keyframes
    );
    println!("  most memory  {:.0} MiB", f64::from(peak_kib) / 1024.0);
    Ok(())
}

/// Reads a file as an archive is read, and says how much memory that took.
fn read(path: &Path, mode: DecodeMode) -> Anything<()> {
    const SIDE: NonZeroU32 = NonZeroU32::new(224).unwrap();
    let settings = DecodeSettings {
        mode,
        picture_size: PictureSize::Exactly { width: SIDE, height: SIDE },
        ..DecodeSettings::default()
    };
    let window = WindowSpec::try_new(8, 8, Rate::try_new(2, 1)?)?;
    let mut decoder = Decoder::open(path, &window, &settings, &Cancel::default())?;
    let mut frames = 0;
    while let Some(piece) = decoder.next_piece()? {
        if let Piece::Clip(clip) = piece {
            frames += clip.frames.len() - clip.padded;
        }
    }
    assert!(frames > 0, "no frames");
    let status = fs_err::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("{}", peak.map_or("0", |line| line.trim().trim_end_matches(" kB")));
    Ok(())
}

fn render(path: &Path) -> Anything<()> {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-f", "lavfi", "-i"])
        .arg("testsrc2=size=1920x1080:rate=30:duration=60")
        .args(["-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p"])
        .args(["-g", "60", "-keyint_min", "60", "-sc_threshold", "0"])
        .arg(path)
        .status()?;
    if made.success() { Ok(()) } else { Err("ffmpeg could not make the file".into()) }
}

/// Runs a command; returns the processor time that it and its threads took, and what it said.
fn cpu_seconds(mut command: Command) -> Anything<(f64, String)> {
    let before = childrens_ticks()?;
    let done = command.stderr(Stdio::inherit()).output()?;
    if !done.status.success() {
        return Err(format!("{command:?} failed").into());
    }
    let ticks = childrens_ticks()? - before;
    Ok((ticks / TICKS_PER_SECOND, String::from_utf8_lossy(&done.stdout).into_owned()))
}

/// Processor time of all ended children: fields 16 and 17 of `proc_pid_stat(5)`.
fn childrens_ticks() -> Anything<f64> {
    let stat = fs_err::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit_once(')').ok_or("unreadable /proc/self/stat")?.1;
    let field = |at: usize| -> Anything<f64> {
        Ok(after_name.split_whitespace().nth(at - 3).ok_or("short /proc/self/stat")?.parse()?)
    };
    Ok(field(16)? + field(17)?)
}
