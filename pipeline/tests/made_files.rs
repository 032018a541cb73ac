//! Files made for the question at hand.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use footage_pipeline::{Cancel, DecodeMode, DecodeSettings, Decoder, Piece};
use support::{read, window};

fn settings(mode: DecodeMode) -> DecodeSettings {
    DecodeSettings { mode, ..DecodeSettings::default() }
}

fn ffmpeg(words: &str, out: &Path) {
    let made = Command::new("ffmpeg")
        .args(["-nostdin", "-loglevel", "error", "-y"])
        .args(words.split_whitespace())
        .arg(out)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A test picture of some seconds, with a keyframe every `distance` pictures of 25 a second.
fn video(out: &Path, seconds: u32, distance: u32) {
    ffmpeg(
        &format!(
            "-f lavfi -i testsrc2=size=320x240:rate=25:duration={seconds} -c:v libx264 \
             -preset ultrafast -g {distance} -keyint_min {distance} -sc_threshold 0"
        ),
        out,
    );
}

#[test]
fn only_the_first_of_two_video_streams_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("two.mkv");
    ffmpeg(
        "-f lavfi -i testsrc2=size=160x120:rate=25:duration=2 -f lavfi -i \
         color=red:size=320x240:rate=25:duration=6 -f lavfi -i sine=duration=4 -map 0 -map 1 -map 2 \
         -c:v libx264 -c:a aac",
        &path,
    );
    let given = read(&path, window(2, 2, 2), &settings(DecodeMode::All));
    assert_eq!(given.failure, None);
    assert!((given.seen_s() - 2.0).abs() < 0.1, "{}", given.seen_s());
    assert!(given.clips.iter().all(|clip| clip.frames[0].frame.width() == 160));
}

#[test]
fn a_recording_that_was_joined_to_another_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let [first, second, joined] = ["1.ts", "2.ts", "joined.ts"].map(|name| dir.path().join(name));
    let make = |size: &str, pid: u32, out: &Path| {
        ffmpeg(
            &format!(
                "-f lavfi -i testsrc2=size={size}:rate=25:duration=2 -c:v libx264 -bf 0 -g 25 \
                 -mpegts_start_pid {pid} -mpegts_pmt_start_pid {}",
                pid + 1000
            ),
            out,
        );
    };
    make("320x240", 256, &first);
    make("640x360", 300, &second);
    let both = [fs_err::read(&first).unwrap(), fs_err::read(&second).unwrap()].concat();
    fs_err::write(&joined, both).unwrap();

    let given = read(&joined, window(2, 1, 4), &settings(DecodeMode::All));
    assert_eq!(given.failure, None);
    assert!((given.seen_s() - 4.0).abs() < 0.2, "{} s", given.seen_s());
    let starts: Vec<_> = given.clips.iter().map(|clip| clip.span.start_ns).collect();
    assert!(starts.windows(2).all(|pair| pair[0] < pair[1]), "{starts:?}");
    let widths: Vec<_> = given.clips.iter().map(|clip| clip.frames[0].frame.width()).collect();
    assert!(widths.contains(&320) && widths.contains(&398), "both shapes: {widths:?}");
}

#[test]
fn leaving_out_what_nothing_refers_to_changes_no_frame() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.mp4");
    // Pyramids of three pictures between the others, half of which nothing refers to.
    ffmpeg(
        "-f lavfi -i testsrc2=size=320x240:rate=25:duration=10 -c:v libx264 -preset medium -bf 3 -g 60",
        &path,
    );
    let all = settings(DecodeMode::All);
    // Every picture is sampled, so every picture is decoded.
    let every = read(&path, window(1, 1, 25), &all);
    let some = read(&path, window(1, 1, 2), &all);
    assert_eq!((every.clips.len(), some.clips.len()), (250, 20));
    assert_eq!(some.facts.seen_ns, every.facts.seen_ns);
    for clip in some.clips {
        let frame = &clip.frames[0];
        let same = every.clips.iter().find(|clip| clip.frames[0].time_ns == frame.time_ns).unwrap();
        assert!(same.frames[0].frame == frame.frame, "{} ns", frame.time_ns);
    }
}

#[test]
fn keyframes_alone_are_decoded_where_that_is_asked_for_or_enough() {
    let dir = tempfile::tempdir().unwrap();
    let [sparse, dense] = ["sparse.mp4", "dense.mp4"].map(|name| dir.path().join(name));
    video(&sparse, 12, 50);
    video(&dense, 12, 10);

    let keyframes = read(&sparse, window(4, 2, 2), &settings(DecodeMode::Keyframes));
    assert_eq!(keyframes.facts.decoded, DecodeMode::Keyframes);
    let times: std::collections::BTreeSet<_> =
        keyframes.clips.iter().flat_map(|clip| &clip.frames).map(|frame| frame.time_ns).collect();
    assert_eq!(
        times.into_iter().collect::<Vec<_>>(),
        [0, 2000, 4000, 6000, 8000, 10_000]
            .map(|ms| ms * 1_000_000)
            .into_iter()
            .chain([11_999_999_999])
            .collect::<Vec<_>>()
    );
    assert_eq!(keyframes.clips.last().unwrap().span.end_ns, 12_000_000_000, "it stands to the end");

    let auto = read(&sparse, window(4, 2, 2), &settings(DecodeMode::Auto));
    assert_eq!(auto.facts.decoded, DecodeMode::All);
    let auto = read(&dense, window(4, 2, 2), &settings(DecodeMode::Auto));
    assert_eq!(auto.facts.decoded, DecodeMode::Keyframes);
    let all = read(&dense, window(4, 2, 2), &settings(DecodeMode::All));
    assert_eq!(auto.spans_s(), all.spans_s());
}

#[test]
fn auto_sees_what_happens_between_keyframes_that_become_rare() {
    let dir = tempfile::tempdir().unwrap();
    let [dense, sparse, path] = ["1.ts", "2.ts", "joined.ts"].map(|name| dir.path().join(name));
    video(&dense, 4, 5);
    video(&sparse, 8, 200);
    let both = [fs_err::read(&dense).unwrap(), fs_err::read(&sparse).unwrap()].concat();
    fs_err::write(&path, both).unwrap();
    let given = read(&path, window(2, 2, 2), &settings(DecodeMode::Auto));
    assert_eq!(given.failure, None);
    let mut times: Vec<_> =
        given.clips.iter().flat_map(|clip| &clip.frames).map(|frame| frame.time_ns).collect();
    times.dedup();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest <= 1_000_000_000, "nothing seen for {longest} ns: {times:?}");
}

#[test]
fn a_reader_that_stops_or_leaves_is_let_go_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("long.mp4");
    video(&path, 60, 50);
    let (settings, cancel) = (settings(DecodeMode::All), Cancel::default());

    let mut decoder = Decoder::open(&path, &window(4, 1, 10), &settings, &cancel).unwrap();
    assert!(matches!(decoder.next_piece(), Ok(Some(Piece::Clip(_)))));
    std::thread::sleep(Duration::from_millis(200)); // the graph is full and waits
    cancel.cancel();
    assert_eq!(decoder.next_piece(), Ok(None));
    let left = Instant::now();
    drop(decoder);
    assert!(left.elapsed() < Duration::from_secs(5), "{:?}", left.elapsed());
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.mp4");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let opened =
        Decoder::open(&pipe, &window(2, 2, 2), &settings(DecodeMode::All), &Cancel::default());
    assert!(opened.unwrap_err().to_string().contains("no regular file"));
}

#[test]
fn a_pause_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let paused = dir.path().join("paused.mkv");
    ffmpeg("-f lavfi -i testsrc2=size=160x120:rate=1/2:duration=12 -c:v libx264 -bf 0", &paused);
    let strict =
        DecodeSettings { max_gap: Duration::from_millis(1500), ..settings(DecodeMode::All) };
    let given = read(&paused, window(2, 2, 2), &strict);
    assert_eq!((given.failure, given.lost), (None, vec![]));
    assert!(given.clips.len() > 3, "no clip spans it");
}

#[test]
fn pictures_that_cannot_be_decoded_are_lost_and_the_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("torn.avi");
    ffmpeg("-f lavfi -i testsrc2=size=160x120:rate=5:duration=12 -c:v mjpeg", &path);
    let mut bytes = fs_err::read(&path).unwrap();
    // Pictures 20 to 39, from 4 to 8 s: their content, not the marks of the container.
    let mut at = bytes.windows(4).position(|mark| mark == b"movi").unwrap() + 4;
    for picture in 0..40 {
        assert_eq!(&bytes[at..at + 4], b"00dc");
        let size = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
        if picture >= 20 {
            bytes[at + 8..at + 8 + size].fill(0x5a);
        }
        at += 8 + size + size % 2;
    }
    fs_err::write(&path, bytes).unwrap();
    let strict =
        DecodeSettings { max_gap: Duration::from_millis(1500), ..settings(DecodeMode::All) };
    let given = read(&path, window(2, 2, 2), &strict);
    assert_eq!(given.failure, None);
    let second = 1_000_000_000;
    assert_eq!(given.lost, [footage_clip::Span::new(4 * second, 8 * second)]);
    let seen: u64 = given.clips.iter().map(|clip| clip.span.duration_ns()).sum();
    assert_eq!(seen, 8 * second);
}
