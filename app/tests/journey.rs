//! From files to moments and back out again, through the real binary.

mod support;

use std::io::Write as _;
use std::path::Path;

use support::Bench;

#[test]
fn a_file_is_indexed_found_and_removed() {
    let bench = Bench::new().with_video("garden.mp4");

    let indexed = bench.ok(&["index", "garden.mp4"]);
    assert!(indexed.out.contains("garden.mp4"), "{indexed:?}");
    assert!(indexed.out.contains("indexed"), "{indexed:?}");

    let answer = bench.json(&["search", "a red car turns left", "--all", "--json"]);
    let moment = &answer["moments"][0];
    assert_eq!(moment["source"], "garden.mp4");
    assert!(moment["from_s"].as_f64() < moment["to_s"].as_f64());
    assert!(moment["clips"].as_array().unwrap().contains(&moment["best_clip"]));
    let thumbnail = fs_err::read(moment["thumbnail"].as_str().unwrap()).unwrap();
    assert!(thumbnail.starts_with(&[0xff, 0xd8]), "thumbnails are JPEG");
    assert!(moment["play"]["mpv"].as_str().unwrap().contains("garden.mp4"));
    assert_eq!(answer["query"]["text"], "a red car turns left");
    assert_eq!(answer["searched"]["sources"], 1);
    assert!((answer["searched"]["indexed_s"].as_f64().unwrap() - 12.0).abs() < 1.0);

    let removed = bench.ok(&["source", "remove", "garden.mp4", "--yes"]);
    assert!(removed.out.contains("removed garden.mp4"), "{removed:?}");
    assert!(bench.sources().is_empty());
    assert_eq!(fs_err::read_dir(bench.data().join("thumbnails")).unwrap().count(), 0);
    let answer = bench.json(&["search", "a red car turns left", "--all", "--json"]);
    assert_eq!(answer["moments"].as_array().unwrap().len(), 0);
    assert!(bench.path("garden.mp4").exists(), "the file itself is left alone");
}

#[test]
fn indexing_again_does_nothing_and_a_renamed_file_is_known_by_its_content() {
    let bench = Bench::new().with_video("garden.mp4");
    bench.ok(&["index", "garden.mp4"]);
    let before = bench.sources();

    let again = bench.ok(&["index", "garden.mp4"]);
    assert!(again.out.contains("already indexed"), "{again:?}");
    fs_err::rename(bench.path("garden.mp4"), bench.path("yard.mp4")).unwrap();
    let renamed = bench.ok(&["index", "yard.mp4"]);
    assert!(renamed.out.contains("already indexed"), "{renamed:?}");

    let after = bench.sources();
    assert_eq!(after.len(), 1);
    assert_eq!(after[0]["source_id"], before[0]["source_id"]);
    assert_eq!(after[0]["indexed_clips"], before[0]["indexed_clips"]);
    assert_eq!(after[0]["name"], "yard.mp4", "the name follows the file");
    let found = bench.json(&["search", "a dog", "--all", "--json"]);
    let play = found["moments"][0]["play"]["mpv"].as_str().unwrap();
    assert!(play.contains("yard.mp4"), "so does the command that plays it: {play}");
}

#[test]
fn a_path_that_holds_another_recording_now_says_what_became_of_the_old_one() {
    let bench = Bench::new().with_video("garden.mp4");
    bench.ok(&["index", "garden.mp4"]);
    let old = bench.sources()[0]["source_id"].as_str().unwrap().to_owned();
    let more = fs_err::OpenOptions::new().append(true).open(bench.path("garden.mp4"));
    // A box of type `free`, which players pass over.
    more.unwrap().write_all(&[0, 0, 0, 9, b'f', b'r', b'e', b'e', 0]).unwrap();

    let again = bench.ok(&["index", "garden.mp4"]);

    assert!(again.out.contains(&format!("footage source remove {old}")), "{again:?}");
    bench.ok(&["source", "remove", &old, "--yes"]);
    assert_eq!(bench.sources().len(), 1);
    let third = bench.ok(&["index", "garden.mp4"]);
    assert!(!third.out.contains("remove"), "{third:?}");
}

#[test]
fn windows_that_do_not_overlap_lose_no_clip() {
    let bench = Bench::new().with_video("garden.mp4");

    bench.ok(&["index", "garden.mp4", "--set", "window.stride_frames=8"]);

    let source = &bench.sources()[0];
    assert_eq!(source["lost_clips"], 0, "{source}");
    assert!((source["indexed_s"].as_f64().unwrap() - 12.0).abs() < 1.0, "{source}");
}

#[test]
fn one_bad_file_fails_alone() {
    let bench = Bench::new().with_video("garden.mp4");
    fs_err::write(bench.path("letter.mp4"), "Dear Sir or Madam,\n".repeat(50)).unwrap();
    fs_err::write(bench.path("empty.mp4"), "").unwrap();

    let ran = bench.run(&["index", "."]);

    assert_eq!(ran.code, Some(1), "{ran:?}");
    let line_of = |name: &str| ran.out.lines().find(|line| line.contains(name)).unwrap().to_owned();
    assert!(line_of("letter.mp4").contains("failed"), "{ran:?}");
    assert!(line_of("empty.mp4").contains("failed"), "{ran:?}");
    assert!(line_of("garden.mp4").contains("indexed"), "{ran:?}");
    let again = bench.run(&["index", "."]);
    assert!(again.out.contains("already indexed"), "{again:?}");
}

#[test]
fn searching_is_narrowed_by_source_and_time() {
    let bench = Bench::new().with_video("garden.mp4");
    bench.ok(&["index", "garden.mp4"]);
    let search = |more: &[&str]| {
        let args = [&["search", "a dog", "--all", "--json"], more].concat();
        bench.json(&args)
    };

    let early = search(&["--source", "garden.mp4", "--to", "0:04"]);
    assert!(early["searched"]["indexed_s"].as_f64().unwrap() <= 4.0);
    for moment in early["moments"].as_array().unwrap() {
        assert!(moment["from_s"].as_f64().unwrap() < 4.0);
    }
    let nothing = search(&["--from", "1:00:00"]);
    assert!(nothing["moments"].as_array().unwrap().is_empty());
    assert_eq!(nothing["searched"]["indexed_s"].as_f64(), Some(0.0));
    let id = early["moments"][0]["best_clip"].as_str().unwrap().to_owned();
    let alike = bench.json(&["search", "--clip", &id, "--json"]);
    assert_eq!(alike["is_calibrated"], false, "calibration is for sentences");
    for moment in alike["moments"].as_array().unwrap() {
        assert!(!moment["clips"].as_array().unwrap().iter().any(|clip| *clip == id.as_str()));
    }
    let unknown = bench.run(&["search", "a dog", "--source", "attic.mp4"]);
    assert_eq!(unknown.code, Some(2));
    assert!(unknown.err.contains("attic.mp4"), "{unknown:?}");
}

#[test]
fn a_picture_of_a_moment_finds_it() {
    let bench = Bench::new().with_video("garden.mp4");
    bench.ok(&["index", "garden.mp4"]);
    let first = bench.json(&["search", "a dog", "--all", "--limit", "1", "--json"]);
    let thumbnail = first["moments"][0]["thumbnail"].as_str().unwrap().to_owned();

    let answer = bench.json(&["search", "--image", &thumbnail, "--limit", "1", "--json"]);

    let (from, to) = (&answer["moments"][0]["from_s"], &answer["moments"][0]["to_s"]);
    let middle = first["moments"][0]["from_s"].as_f64().unwrap();
    assert!(from.as_f64().unwrap() < middle + 8.0 && middle < to.as_f64().unwrap() + 8.0);
    assert_eq!(answer["query"]["image"], thumbnail.as_str());
}

#[test]
fn a_file_name_cannot_steer_the_terminal() {
    let name = "evil\u{1b}[2J\u{202e}.mp4";
    let bench = Bench::new().with_video(name);

    let indexed = bench.ok(&["index", "."]);
    let searched = bench.ok(&["search", "a dog", "--all"]);
    let listed = bench.ok(&["source", "list"]);

    for ran in [indexed, searched, listed] {
        assert!(ran.out.contains(r"evil\u{1b}"), "{ran:?}");
        let steers = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!ran.out.contains(steers) && !ran.err.contains('\u{202e}'), "{ran:?}");
    }
}

#[test]
fn vectors_of_texts_pictures_and_clips_come_as_json_of_unit_length() {
    let bench = Bench::new().with_video("garden.mp4");
    let embedded = bench.ok(&["embed", "text", "a dog", "a red car"]);
    let clips = bench.ok(&["embed", "video", "garden.mp4"]);

    assert_eq!(embedded.out.lines().count(), 2);
    assert!(clips.out.lines().count() > 3);
    let mut starts = Vec::new();
    for line in embedded.out.lines().chain(clips.out.lines()) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let values = value["embedding"].as_array().unwrap().iter();
        let norm: f64 = values.map(|v| v.as_f64().unwrap().powi(2)).sum();
        assert!((norm - 1.0).abs() < 1e-4, "{norm}");
        assert_eq!(value["model"]["fingerprint"].as_str().map(str::len), Some(32));
        starts.extend(value["from_s"].as_f64());
    }
    assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");
    assert!(!bench.data().exists(), "embedding indexes nothing");
}

#[test]
fn a_reader_that_stops_reading_ends_the_program_quietly() {
    let bench = Bench::new();
    let binary = Path::new(env!("CARGO_BIN_EXE_footage")).display().to_string();
    let script = format!("set -o pipefail; '{binary}' config --defaults | head -c 1");
    let output = std::process::Command::new("bash")
        .args(["-c", &script])
        .current_dir(bench.folder.path())
        .env("FOOTAGE__DATA__DIR", bench.data())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}
