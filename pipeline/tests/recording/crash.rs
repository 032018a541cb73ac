//! A process that records is killed: what it left can be played, up to its last second.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use footage_pipeline::{Fragment, Fragments, Recorder};
use rand::Rng as _;

use crate::camera::{self, Camera, DecodingTimes, assert_shows, axis, shown_in, spec};

/// Tells the process that is to be killed where to record.
const INTO: &str = "FOOTAGE_TEST_RECORD_INTO";
const CODEC: &str = "FOOTAGE_TEST_CODEC";

/// Footage that may be lost: a second in the muxer, the picture that is held to see how long it is
/// shown, and what the camera was told to show and had not sent: its source and encoder hold some.
const LOST_PICTURES: u64 = 25 + 1 + 34;

#[test]
#[ignore = "it is started, and killed, by the others"]
fn record_until_killed() {
    let Some(dir) = std::env::var_os(INTO) else {
        eprintln!("skipped: nobody is there to kill it");
        return;
    };
    let camera = Camera::start(&std::env::var(CODEC).unwrap(), DecodingTimes::Untold);
    let _recorder = Recorder::attach(&camera.pad, spec(Path::new(&dir)), axis()).unwrap();
    for number in 0..60_000 {
        camera.show(number);
        println!("shown {number}");
        thread::sleep(Duration::from_millis(4));
    }
}

/// Lets a process record for a while, kills it, and returns the last picture that it was shown.
fn killed(dir: &Path, codec: &str, after: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "crash::record_until_killed", "--nocapture"])
        .env(INTO, dir)
        .env(CODEC, codec)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut last = None;
    let mut killer = None;
    for line in lines.map_while(Result::ok) {
        let Some(number) = line.strip_prefix("shown ") else { continue };
        last = Some(number.parse().unwrap());
        // From the first picture on.
        if killer.is_none() {
            let id = child.id().to_string();
            killer = Some(thread::spawn(move || {
                thread::sleep(after);
                assert!(Command::new("kill").args(["-9", &id]).status().unwrap().success());
            }));
        }
    }
    killer.expect("it began").join().unwrap();
    assert!(!child.wait().unwrap().success());
    last.unwrap()
}

/// Pictures that ffmpeg's demuxer and decoder give.
fn counted_by_ffprobe(path: &Path) -> u64 {
    let output = Command::new("ffprobe")
        .args(["-v", "quiet", "-count_frames", "-select_streams", "v:0"])
        .args(["-show_entries", "stream=nb_read_frames", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", path.display());
    String::from_utf8(output.stdout).unwrap().trim().trim_end_matches(',').parse().unwrap()
}

fn survives(codec: &str, rounds: u32, tolerance_ns: u64) {
    let mut random = rand::rng();
    for _ in 0..rounds {
        let dir = tempfile::tempdir().unwrap();
        let after = Duration::from_millis(random.random_range(400..3000));
        let last = killed(dir.path(), codec, after);
        let fragments = Fragments::open(dir.path()).all().unwrap();
        let shown: Vec<(&Fragment, Vec<_>)> = fragments
            .iter()
            .map(|each| (each, shown_in(&each.path, each.begins_ns)))
            // It may be killed before the first second of a fragment is written.
            .filter(|(each, shown)| !shown.is_empty() || Some(*each) != fragments.last())
            .collect();
        let pictures: u64 = shown.iter().map(|(_, shown)| shown.len() as u64).sum();
        println!("killed after {after:?}: {pictures} of {last} pictures in {} files", shown.len());
        assert!(pictures + LOST_PICTURES > last, "{pictures} of {last}");
        for (fragment, shown) in &shown {
            assert_eq!(counted_by_ffprobe(&fragment.path), shown.len() as u64);
        }
        for (fragment, _) in fragments.iter().zip(0..).skip(shown.len()) {
            fs_err::remove_file(&fragment.path).unwrap();
        }
        assert_shows(dir.path(), 0..pictures, tolerance_ns);
    }
}

#[test]
fn what_a_killed_process_left_of_h264_can_be_played_up_to_its_last_second() {
    survives(camera::H264, 6, 1000);
}

#[test]
fn what_a_killed_process_left_of_reordered_h264_can_be_played_up_to_its_last_second() {
    survives(camera::H264_REORDERED, 2, 1000);
}

#[test]
fn what_a_killed_process_left_of_motion_jpeg_can_be_played_up_to_its_last_second() {
    survives(camera::JPEG, 3, 100_000);
}
