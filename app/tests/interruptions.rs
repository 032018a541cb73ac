//! A run that is stopped, refused its disk, or not alone loses nothing and says what is going on.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use support::{Bench, sample};

/// Files that show the same and differ in their content: bytes after the end of an MP4 mean nothing.
fn copies(bench: &Bench, count: u8) {
    for n in 0..count {
        let path = bench.path(&format!("copy{n}.mp4"));
        fs_err::copy(sample(), &path).unwrap();
        let mut file = fs_err::OpenOptions::new().append(true).open(&path).unwrap();
        // A box of type `free`: 9 bytes long, with one byte of content.
        file.write_all(&[0, 0, 0, 9, b'f', b'r', b'e', b'e', n]).unwrap();
    }
}

/// Starts indexing everything, and waits until the first file is done.
fn indexing(bench: &Bench) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = bench
        .command(&["index", ".", "--set", "decode.parallel_files=1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert!(line.contains("indexed"), "{line}");
    (child, out)
}

#[test]
fn ctrl_c_stops_a_run_and_the_next_one_goes_on_to_the_same_end() {
    let bench = Bench::new();
    copies(&bench, 6);

    let (mut child, mut out) = indexing(&bench);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let (mut rest, mut err) = (String::new(), String::new());
    out.read_to_string(&mut rest).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();

    assert_eq!(child.wait().unwrap().code(), Some(130), "{rest}{err}");
    assert!(err.contains("stopping"), "{err}");
    assert!(rest.contains("not finished: run it again to go on"), "{rest}");
    let so_far = bench.sources();
    assert!((1..6).contains(&so_far.iter().filter(|source| source["is_complete"] == true).count()));

    bench.ok(&["index", "."]);
    let sources = bench.sources();
    assert_eq!(sources.len(), 6);
    for source in &sources {
        assert_eq!(source["is_complete"], true, "{source}");
        assert_eq!(source["indexed_clips"], sources[0]["indexed_clips"], "{source}");
    }
}

#[test]
fn a_second_process_is_told_who_has_the_data_directory() {
    let bench = Bench::new();
    copies(&bench, 4);

    let (mut child, _out) = indexing(&bench);
    // It goes no further: who asks waits a moment, in case that it ends.
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let ran = bench.run(&["search", "a dog"]);
    let doctor = bench.ok(&["doctor"]);
    child.kill().unwrap();
    child.wait().unwrap();

    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains(&format!("in use by process {}", child.id())), "{ran:?}");
    assert!(doctor.out.contains("in use"), "being busy is no fault: {doctor:?}");
}

#[test]
fn a_full_disk_ends_the_run_clearly_and_the_next_one_finishes_it() {
    let bench = Bench::new().with_video("garden.mp4");

    let ran = bench.run(&["index", ".", "--set", "index.min_free_mib=1000000000"]);

    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("disk is full"), "{ran:?}");
    assert!(!ran.out.contains("indexed"), "{ran:?}");
    bench.ok(&["index", "."]);
    assert_eq!(bench.sources()[0]["is_complete"], true);
}

#[test]
fn another_models_or_a_newer_releases_data_is_refused_and_left_alone() {
    let bench = Bench::new().with_video("garden.mp4");
    bench.ok(&["index", "."]);
    let bundled = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/mini");
    fs_err::create_dir(bench.path("other")).unwrap();
    for name in ["model.json", "model.safetensors", "tokenizer.json"] {
        fs_err::copy(format!("{bundled}/{name}"), bench.path("other").join(name)).unwrap();
    }
    let config = bench.path("other/model.json");
    let mut other: serde_json::Value =
        serde_json::from_slice(&fs_err::read(&config).unwrap()).unwrap();
    other["preprocess"]["mean"][0] = 0.0.into();
    fs_err::write(&config, other.to_string()).unwrap();

    for args in [["search", "a dog"], ["index", "."]] {
        let ran = bench.run(&[&args[..], &["--model", "other"]].concat());
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.err.contains("model"), "{ran:?}");
    }

    let id = bench.json(&["model", "list", "--json"])["fingerprint"].as_str().unwrap().to_owned();
    let manifest = bench.data().join("index").join(id).join("manifest.json");
    let text = fs_err::read_to_string(&manifest).unwrap();
    fs_err::write(&manifest, text.replace("\"format\": 1", "\"format\": 99")).unwrap();
    let ran = bench.run(&["search", "a dog"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("format 99"), "{ran:?}");
    fs_err::write(&manifest, text).unwrap();
    assert_eq!(bench.sources().len(), 1);
}

#[test]
fn an_index_with_fewer_clips_than_its_ledger_tells_of_is_not_taken_for_whole() {
    let [whole, bench] = [Bench::new(), Bench::new()];
    for bench in [&whole, &bench] {
        fs_err::copy(sample(), bench.path("garden.mp4")).unwrap();
    }
    whole.ok(&["index", "garden.mp4"]);
    bench.ok(&["index", "garden.mp4", "--set", "window.stride_frames=8"]);
    let ledger = |bench: &Bench| {
        let folders = fs_err::read_dir(bench.data().join("index")).unwrap();
        let mut ledgers = folders.map(|entry| entry.unwrap().path().join("ledger.redb"));
        ledgers.find(|path| path.is_file()).unwrap()
    };
    fs_err::copy(ledger(&whole), ledger(&bench)).unwrap();

    let ran = bench.run(&["search", "a dog"]);

    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("of") && ran.err.contains("index again"), "{ran:?}");
}
