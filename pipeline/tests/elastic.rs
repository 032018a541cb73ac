//! Keyframe-elastic decoding around real decoders: what it shows is what decoding everything shows,
//! and no event is lost by it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::time::Duration;

use footage_pipeline::{ElasticSettings, NoveltyGate, NoveltySettings};
use footage_synth::{Film, Reel, Split, View, Vigil, World, write_video};

#[path = "support/elastic.rs"]
mod elastic;
#[path = "support/vigils.rs"]
mod vigils;

use elastic::{Watched, decode, encode};
use vigils::{Judged, Score, score};

fn watched(path: &Path, codec: &str, settings: ElasticSettings) -> (Watched, Watched) {
    (decode(path, codec, None), decode(path, codec, Some(settings)))
}

/// No repeated pictures: those have another's pixels.
fn settings() -> ElasticSettings {
    ElasticSettings { stand: Duration::from_secs(60), ..ElasticSettings::default() }
}

/// A minute with two short events in it.
fn minute(world: &World, seed: u64) -> Reel<'_> {
    let vigil =
        Vigil { seconds: 60.0, heights: 0.15..0.3, stays: 4.0..6.0, pauses: 18.0..20.0, dusk: 0.0 };
    Reel::keep_vigil(world, seed, Split::Held, View::new(160, 120), 15, &vigil)
}

/// Each picture shown once, in order, as decoding everything shows it, to the bit; and something was
/// left out.
fn check(name: &str, all: &Watched, some: &Watched) {
    assert!(some.pictures.windows(2).all(|pair| pair[0].0 < pair[1].0), "{name}: out of order");
    let mut rest = all.pictures.iter();
    for (time_ns, digest) in &some.pictures {
        let same = rest.find(|picture| picture.0 == *time_ns);
        assert_eq!(same.map(|picture| picture.1), Some(*digest), "{name} at {time_ns}");
    }
    let coded = all.pictures.len() as u64;
    assert_eq!(some.pictures.len() as u64 + some.used.left_out, coded, "{name}: {:?}", some.used);
    assert_eq!(all.pictures.last(), some.pictures.last(), "{name}: the end is missing");
    assert_eq!(some.runs, all.runs, "{name}: the run breaks");
}

#[test]
fn what_is_shown_is_what_decoding_everything_shows() {
    // Some pictures are left out, or nothing was tried. How many depends on how busy the machine is, and is
    // the benchmark's to say.
    shown_as_decoding_everything_shows(&[
        ("closed", "h264", "x264enc key-int-max=30 bitrate=400", 0.01),
        ("b-frames", "h264", "x264enc key-int-max=30 bframes=3 b-adapt=false bitrate=400", 0.01),
    ]);
}

#[test]
fn streams_of_rarer_kinds_are_shown_as_decoding_everything_shows_them() {
    let open = "x264enc key-int-max=30 bframes=3 option-string=open-gop=1 bitrate=400";
    shown_as_decoding_everything_shows(&[
        ("open", "h264", open, 0.0),
        ("refresh", "h264", "x264enc key-int-max=30 intra-refresh=true bitrate=400", 0.0),
        ("openh264", "h264", "openh264enc gop-size=30 bitrate=400000", 0.0),
        ("hevc", "h265", "x265enc key-int-max=30 bitrate=400", 0.0),
        ("long", "h264", "x264enc key-int-max=600 bitrate=400", 0.0),
    ]);
}

/// Films by name, codec, encoder and the least share of pictures to be left out.
fn shown_as_decoding_everything_shows(films: &[(&str, &str, &str, f64)]) {
    let world = World::load().unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (name, codec, line, least) in films {
        let path = dir.path().join(format!("{name}.mkv"));
        let reel = minute(&world, 3);
        encode(&reel, &format!("{line} ! {codec}parse ! matroskamux"), &path);
        let (all, some) = watched(&path, codec, settings());
        eprintln!("{name}: {:?} of {}", some.used, all.pictures.len());
        check(name, &all, &some);
        let share = some.used.left_out as f64 / all.pictures.len() as f64;
        assert!(share >= *least, "{name}: only {share} left out, {:?}", some.used);
    }
}

#[test]
fn keyframes_further_apart_than_the_longest_gap_break_no_run() {
    let world = World::load().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rare.mkv");
    let reel = minute(&world, 6);
    let line =
        "x264enc key-int-max=90 option-string=scenecut=0 bitrate=400 ! h264parse ! matroskamux";
    encode(&reel, line, &path);
    let (all, some) = watched(&path, "h264", ElasticSettings::default());
    // A keyframe every six seconds, where a gap of five breaks a run.
    assert!(some.used.left_out > 10, "{:?}", some.used);
    assert_eq!(some.runs, 1);
    let spans = |watched: &Watched| watched.clips.iter().map(|clip| clip.span).collect::<Vec<_>>();
    assert_eq!(spans(&some), spans(&all), "a clip is missing");
    let apart = some.pictures.windows(2).map(|pair| pair[1].0 - pair[0].0).max().unwrap();
    assert!(apart <= 3_100_000_000, "{apart} ns without a picture");
}

#[test]
fn no_event_is_lost_by_it() {
    let world = World::load().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut of_all, mut of_some) = (Score::default(), Score::default());
    let mut left_out = 0;
    for seed in 0..3 {
        let reel = vigils::reel(&world, seed, 100.0, 10);
        let film = Film { kbps: 250, key_frame_seconds: 2 };
        let path = write_video(&reel, &dir.path().join(seed.to_string()), film).unwrap();
        let (all, some) = watched(&path, "h264", ElasticSettings::default());
        left_out += some.used.left_out;
        for (watched, sum) in [(&all, &mut of_all), (&some, &mut of_some)] {
            let mut gate = NoveltyGate::new(NoveltySettings::default());
            let clips: Vec<_> = watched
                .clips
                .iter()
                .map(|clip| Judged::new(clip, gate.judge(&clip.frames)))
                .collect();
            *sum += score(reel.truth(), &clips, |miss| eprintln!("{miss}"));
        }
    }
    assert_eq!((of_some.found, of_some.events), (of_all.events, of_all.events), "{of_some:?}");
    assert_eq!(of_some.clips, of_all.clips, "a clip is missing");
    // How many depends on how busy the machine is.
    assert!(left_out > 30, "{left_out} pictures left out");
}
