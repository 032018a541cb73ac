//! What is typed or set up wrong is refused clearly, before anything is touched.

mod support;

use support::{Bench, Ran};

fn refused(ran: &Ran, parts: &[&str]) {
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert_eq!(ran.out, "", "{ran:?}");
    for part in parts {
        assert!(ran.err.contains(part), "`{part}` is not in {ran:?}");
    }
}

#[test]
fn every_setting_shows_where_it_comes_from() {
    let bench = Bench::new();
    fs_err::write(bench.path("footage.toml"), "[search]\nlimit = 7\n").unwrap();
    let mut command = bench.command(&["config", "--json", "--set", "index.beam=64"]);
    let ran = Ran::of(command.env("FOOTAGE__WINDOW__RATE", "2").output().unwrap());
    let settings: serde_json::Value = serde_json::from_str(&ran.out).unwrap();

    for (key, value, origin) in [
        ("search.limit", "7", "footage.toml"),
        ("window.rate", "\"2\"", "FOOTAGE__WINDOW__RATE"),
        ("index.beam", "64", "--set"),
        ("search.min_confidence", "0.5", "default"),
    ] {
        assert_eq!(settings[key]["origin"], origin, "{key}");
        assert_eq!(settings[key]["value"].to_string(), value, "{key}");
    }
}

#[test]
fn what_config_prints_as_defaults_can_be_used_as_settings() {
    let bench = Bench::new();
    let defaults = bench.ok(&["config", "--defaults"]).out;
    fs_err::write(bench.path("footage.toml"), defaults).unwrap();
    bench.ok(&["config"]);
}

#[test]
fn settings_that_mean_nothing_are_refused_by_name() {
    let bench = Bench::new();
    refused(&bench.run(&["config", "--set", "search.limits=3"]), &["search.limits", "--set"]);
    refused(&bench.run(&["config", "--set", "search.limit=0"]), &["search.limit", "1 to 1000"]);
    refused(&bench.run(&["config", "--set", "search.limit"]), &["section.key=value"]);
    refused(&bench.run(&["config", "--config", "absent.toml"]), &["absent.toml"]);
    fs_err::write(bench.path("footage.toml"), "[search\n").unwrap();
    refused(&bench.run(&["config"]), &["footage.toml"]);
}

#[test]
fn a_command_line_that_means_nothing_is_refused() {
    let bench = Bench::new();
    refused(&bench.run(&["search"]), &["TEXT"]);
    refused(&bench.run(&["search", " "]), &["empty"]);
    refused(&bench.run(&["search", "a dog", "--from", "yesterday"]), &["--from"]);
    refused(&bench.run(&["search", "a dog", "--image", "x.jpg"]), &["--image"]);
    refused(&bench.run(&["search", "a dog", "--limit", "0"]), &["search.limit"]);
    refused(&bench.run(&["index"]), &["PATH"]);
    refused(&bench.run(&["index", "x.mp4", "--decode", "some"]), &["some"]);
    refused(&bench.run(&["fly"]), &["fly"]);
}

#[test]
fn a_search_where_nothing_is_indexed_says_what_to_do() {
    let bench = Bench::new();
    refused(&bench.run(&["search", "a dog"]), &["nothing is indexed", "footage index"]);
    refused(&bench.run(&["source", "list"]), &["nothing is indexed"]);
}

#[test]
fn a_model_that_cannot_be_read_is_named_and_nothing_is_made() {
    let bench = Bench::new().with_video("garden.mp4");
    refused(&bench.run(&["index", "garden.mp4", "--model", "nowhere"]), &["nowhere"]);
    fs_err::create_dir(bench.path("broken")).unwrap();
    fs_err::write(bench.path("broken/model.json"), "{}").unwrap();
    refused(&bench.run(&["index", "garden.mp4", "--model", "broken"]), &["broken", "model.json"]);
    assert!(!bench.data().join("index").exists());
}

#[test]
fn a_window_longer_than_the_model_takes_is_refused_before_anything_is_read() {
    let bench = Bench::new().with_video("garden.mp4");

    let ran = bench.run(&["index", "garden.mp4", "--set", "window.length_frames=128"]);

    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("at most 64 frames"), "{ran:?}");
    bench.ok(&["index", "garden.mp4"]);
}

#[test]
fn a_source_is_only_removed_when_somebody_says_yes() {
    let bench = Bench::new().with_video("garden.mp4");
    bench.ok(&["index", "garden.mp4"]);

    let answer = |given: &str| {
        fs_err::write(bench.path("answer"), given).unwrap();
        let mut command = bench.command(&["source", "remove", "garden.mp4"]);
        let answer = std::fs::File::from(fs_err::File::open(bench.path("answer")).unwrap());
        Ran::of(command.stdin(answer).output().unwrap())
    };

    let nobody = answer("");
    assert_eq!(nobody.code, Some(2), "{nobody:?}");
    assert!(nobody.err.contains("--yes"), "{nobody:?}");
    assert_eq!(answer("n\n").code, Some(0));
    assert_eq!(bench.sources().len(), 1);
    assert_eq!(answer("y\n").code, Some(0));
    assert_eq!(bench.sources().len(), 0);
}

#[test]
fn the_doctor_finds_this_machine_fit() {
    let bench = Bench::new();
    let ran = bench.ok(&["doctor"]);
    for part in ["GStreamer", "model", "data directory", "processor"] {
        assert!(ran.out.contains(part), "{ran:?}");
    }
    let unfit = bench.run(&["doctor", "--model", "nowhere"]);
    assert_eq!(unfit.code, Some(1));
    assert!(unfit.out.contains("BAD   model"), "{unfit:?}");
}

#[test]
fn a_model_is_compared_with_what_another_program_computed() {
    let bench = Bench::new();
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/tiny");
    let file = |name: &str| format!("{golden}/{name}");
    let (weights, input) = (file("weights.safetensors"), file("input.safetensors"));
    let (expected, sizes) = (file("expected.safetensors"), file("architecture.json"));
    let check = |tolerance: &str| {
        bench.run(&[
            "model",
            "check",
            "--weights",
            &weights,
            "--input",
            &input,
            "--expected",
            &expected,
            "--architecture",
            &sizes,
            "--tolerance",
            tolerance,
        ])
    };

    let passes = check("2e-5");
    assert_eq!(passes.code, Some(0), "{passes:?}");
    assert!(passes.out.contains("gated.video_embed"), "{passes:?}");
    let fails = check("1e-12");
    assert_eq!(fails.code, Some(1), "no two programs agree to the last bit: {fails:?}");
    assert!(fails.out.contains("NOT within"), "{fails:?}");
}
