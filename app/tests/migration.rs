//! Another model for what is indexed, through the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::{Bench, Ran};

/// A model that sees what the bundled one sees in another light: other embeddings, and another
/// fingerprint.
fn with_other_model(bench: &Bench) {
    let bundled = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini");
    let other = bench.path("other");
    fs_err::create_dir(&other).unwrap();
    for name in ["model.safetensors", "tokenizer.json"] {
        fs_err::copy(bundled.join(name), other.join(name)).unwrap();
    }
    let mut config: Value =
        serde_json::from_slice(&fs_err::read(bundled.join("model.json")).unwrap()).unwrap();
    config["name"] = "other".into();
    config["preprocess"]["mean"] = serde_json::json!([90.0, 118.0, 140.0]);
    fs_err::write(other.join("model.json"), config.to_string()).unwrap();
}

/// What a search finds, by either model: source, begin, end and score of each moment.
fn found(bench: &Bench, model: &[&str]) -> Vec<(String, f64, f64, f64)> {
    let args = [model, &["search", "a red car", "--all", "--by", "video", "--json"]].concat();
    let reply = bench.json(&args);
    let number = |moment: &Value, name: &str| moment[name].as_f64().unwrap();
    let moments = reply["moments"].as_array().unwrap().iter();
    let mut found: Vec<_> = moments
        .map(|moment| {
            let source = moment["source"].as_str().unwrap().to_owned();
            let [from, to, score] = ["from_s", "to_s", "score"].map(|name| number(moment, name));
            (source, from, to, score)
        })
        .collect();
    found.sort_by(|a, b| a.partial_cmp(b).unwrap());
    found
}

fn assert_same(one: &[(String, f64, f64, f64)], other: &[(String, f64, f64, f64)]) {
    assert!(!one.is_empty());
    assert_eq!(one.len(), other.len(), "{one:?} {other:?}");
    for (a, b) in one.iter().zip(other) {
        assert_eq!((&a.0, a.1, a.2), (&b.0, b.1, b.2));
        assert!((a.3 - b.3).abs() < 1e-5, "{a:?} {b:?}");
    }
}

const OTHER: [&str; 2] = ["--model", "other"];

#[test]
fn the_other_model_finds_what_it_would_find_had_it_indexed_everything() {
    let bench = Bench::new().with_video("a.mp4");
    with_other_model(&bench);
    bench.ok(&["index", "a.mp4"]);
    let before = found(&bench, &[]);

    let built = bench.json(&["model", "migrate", "--to", "other", "--json"]);
    let clips = built["clips"]["embedded"].as_u64().unwrap();
    assert!(clips > 4, "{built}");
    assert_eq!((&built["switched"], &built["clips"]["lost"]), (&false.into(), &0.into()));
    assert_same(&found(&bench, &[]), &before);
    let refused = bench.run(&[&OTHER[..], &["search", "a red car"]].concat());
    assert_eq!(refused.code, Some(2), "{refused:?}");

    let switched = bench.json(&["model", "migrate", "--to", "other", "--switch", "--json"]);
    assert_eq!(switched["switched"], true);
    assert_eq!(
        (&switched["clips"]["embedded"], &switched["clips"]["held"]),
        (&0.into(), &clips.into())
    );
    let anew = Bench::new().with_video("a.mp4");
    with_other_model(&anew);
    anew.ok(&[&OTHER[..], &["index", "a.mp4"]].concat());
    let after = found(&bench, &OTHER);
    assert_same(&after, &found(&anew, &OTHER));
    assert!(
        before.iter().zip(&after).any(|(a, b)| (a.3 - b.3).abs() > 1e-3),
        "it is another model"
    );
    let lists = |bench: &Bench| bench.json(&[&OTHER[..], &["source", "list", "--json"]].concat());
    let told = |list: &Value, name: &str| list["sources"][0][name].clone();
    for name in ["source_id", "is_complete", "indexed_clips", "lost_clips", "indexed_s", "window"] {
        assert_eq!(told(&lists(&bench), name), told(&lists(&anew), name), "{name}");
    }
    // It is the file that was indexed: nothing is done twice.
    let again = bench.ok(&[&OTHER[..], &["index", "a.mp4"]].concat());
    assert!(again.out.contains("already indexed"), "{again:?}");

    let back =
        bench.ok(&[&OTHER[..], &["model", "migrate", "--to", "bundled", "--switch"]].concat());
    assert!(back.out.contains("clips of mini are searched from now on"), "{back:?}");
    assert_same(&found(&bench, &[]), &before);
}

#[test]
fn what_was_indexed_and_removed_since_is_brought_over_by_the_same_command() {
    let bench = Bench::new().with_video("a.mp4");
    with_other_model(&bench);
    bench.ok(&["index", "a.mp4"]);
    bench.ok(&["model", "migrate", "--to", "other"]);
    bench.ok(&["source", "remove", "--yes", "a.mp4"]);
    // Another film: the same pictures with something behind them are another content.
    let mut film = fs_err::read(bench.path("a.mp4")).unwrap();
    film.extend([0, 0, 0, 8, b'f', b'r', b'e', b'e']);
    fs_err::write(bench.path("b.mp4"), film).unwrap();
    bench.ok(&["index", "b.mp4"]);
    let built = bench.json(&["model", "migrate", "--to", "other", "--switch", "--json"]);
    assert_eq!(built["clips"]["held"], 0, "{built}");
    assert!(built["clips"]["embedded"].as_u64().unwrap() > 4, "{built}");
    let names: Vec<_> = found(&bench, &OTHER).into_iter().map(|moment| moment.0).collect();
    assert!(names.iter().all(|name| name.contains("b.mp4")), "{names:?}");

    let listed = bench.json(&["model", "migrate", "--list", "--json"]);
    let listed = listed.as_array().unwrap();
    let beside = listed.iter().find(|held| held["is_searched"] == false).unwrap();
    let fingerprint = beside["fingerprint"].as_str().unwrap();
    bench.ok(&["model", "migrate", "--remove", fingerprint]);
    assert_eq!(bench.json(&["model", "migrate", "--list", "--json"]).as_array().unwrap().len(), 1);
    let searched = listed.iter().find(|held| held["is_searched"] == true).unwrap();
    let fingerprint = searched["fingerprint"].as_str().unwrap();
    let refused = bench.run(&["model", "migrate", "--remove", fingerprint]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(!found(&bench, &OTHER).is_empty());
}

#[test]
fn clips_whose_footage_is_gone_are_lost_in_the_other_collection_and_found_in_the_first() {
    let bench = Bench::new().with_video("a.mp4");
    with_other_model(&bench);
    bench.ok(&["index", "a.mp4"]);
    let before = found(&bench, &[]);
    fs_err::rename(bench.path("a.mp4"), bench.path("elsewhere.mp4")).unwrap();
    let built = bench.run(&["model", "migrate", "--to", "other", "--switch"]);
    assert_eq!(built.code, Some(1), "{built:?}");
    assert!(built.out.contains("lost: the footage of `a.mp4` is not at"), "{built:?}");
    assert!(built.out.contains("not switched"), "{built:?}");
    assert_same(&found(&bench, &[]), &before);
    let accepting = ["model", "migrate", "--to", "other", "--switch", "--accept-lost", "--json"];
    let built = bench.run(&accepting);
    let told: Value = serde_json::from_str(&built.out).unwrap();
    assert_eq!((built.code, &told["switched"]), (Some(1), &true.into()), "{built:?}");
    let why = told["lost"][0]["why"].as_str().unwrap();
    assert!(why.contains("the footage of `a.mp4` is not at"), "{told}");
    let coverage = bench.json(&[&OTHER[..], &["coverage", "a.mp4", "--json"]].concat()).to_string();
    assert!(coverage.contains("footage-gone"), "{coverage}");

    // It comes back, and with it its clips.
    fs_err::rename(bench.path("elsewhere.mp4"), bench.path("a.mp4")).unwrap();
    bench.ok(&[&OTHER[..], &["model", "migrate", "--to", "bundled", "--switch"]].concat());
    assert_same(&found(&bench, &[]), &before);
    bench.ok(&["model", "migrate", "--to", "other", "--switch"]);
    let coverage = bench.json(&[&OTHER[..], &["coverage", "a.mp4", "--json"]].concat()).to_string();
    assert!(!coverage.contains("footage-gone"), "{coverage}");
}

#[test]
fn clips_that_were_lost_are_made_once_their_file_is_indexed_where_it_is_now() {
    let bench = Bench::new().with_video("a.mp4");
    with_other_model(&bench);
    bench.ok(&["index", "a.mp4"]);
    fs_err::rename(bench.path("a.mp4"), bench.path("elsewhere.mp4")).unwrap();
    let built = bench.run(&["model", "migrate", "--to", "other", "--switch", "--accept-lost"]);
    assert_eq!(built.code, Some(1), "{built:?}");

    bench.ok(&[&OTHER[..], &["index", "elsewhere.mp4"]].concat());

    let anew = Bench::new().with_video("elsewhere.mp4");
    with_other_model(&anew);
    anew.ok(&[&OTHER[..], &["index", "elsewhere.mp4"]].concat());
    assert_same(&found(&bench, &OTHER), &found(&anew, &OTHER));
    let coverage = [&OTHER[..], &["coverage", "elsewhere.mp4", "--json"]].concat();
    assert!(!bench.json(&coverage).to_string().contains("footage-gone"));
    let again = bench.ok(&[&OTHER[..], &["index", "elsewhere.mp4"]].concat());
    assert!(again.out.contains("already indexed"), "{again:?}");
}

#[test]
fn a_file_stays_as_it_was_cut_whatever_the_other_model_would_cut() {
    let bench = Bench::new().with_video("a.mp4");
    with_other_model(&bench);
    let path = bench.path("other").join("model.json");
    let mut config: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
    let stride = config["window"]["stride"].as_u64().unwrap();
    config["window"]["stride"] = (stride * 2).into();
    fs_err::write(path, config.to_string()).unwrap();
    bench.ok(&["index", "a.mp4"]);
    bench.ok(&["model", "migrate", "--to", "other", "--switch"]);
    let clips = found(&bench, &OTHER).len();

    let again = bench.ok(&[&OTHER[..], &["index", "a.mp4"]].concat());
    assert!(again.out.contains("already indexed"), "{again:?}");
    assert_eq!(found(&bench, &OTHER).len(), clips);
    // A window that is stated is a wish, and this file cannot meet it.
    let wished = [&OTHER[..], &["--set", "window.stride_frames=3", "index", "a.mp4"]].concat();
    let refused = bench.run(&wished);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.out.contains("was indexed in clips of"), "{refused:?}");
}

#[test]
fn what_is_removed_goes_from_both_collections() {
    let bench = Bench::new().with_video("a.mp4");
    with_other_model(&bench);
    bench.ok(&["index", "a.mp4"]);
    bench.ok(&["model", "migrate", "--to", "other", "--switch"]);
    bench.ok(&[&OTHER[..], &["source", "remove", "--yes", "a.mp4"]].concat());
    // As somebody would look who has the folder: the earlier collection, without any migration.
    let listed = bench.json(&[&OTHER[..], &["model", "migrate", "--list", "--json"]].concat());
    let listed = listed.as_array().unwrap();
    let beside = listed.iter().find(|held| held["is_searched"] == false).unwrap();
    let fingerprint = beside["fingerprint"].as_str().unwrap();
    fs_err::write(bench.data().join("index/current"), fingerprint).unwrap();
    let list = bench.json(&["source", "list", "--json"]);
    assert_eq!(list["sources"], serde_json::json!([]), "{list}");
    let reply = bench.json(&["search", "a red car", "--all", "--json"]);
    assert_eq!(reply["moments"], serde_json::json!([]), "{reply}");
}

#[test]
fn while_clips_are_brought_over_searches_go_on_and_changes_are_refused() {
    let bench = Bench::new().with_video("a.mp4");
    with_other_model(&bench);
    bench.ok(&["index", "a.mp4"]);
    let before = found(&bench, &[]);
    // It waits for the sentences for as long as nobody writes them.
    let mut migrating = bench
        .command(&["model", "migrate", "--to", "other", "--sentences", "/dev/stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !bench.data().join("footage.sock").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody answers");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(migrating.try_wait().unwrap().is_none(), "it is under way");
    assert_same(&found(&bench, &[]), &before);
    let refused = bench.run(&["source", "remove", "--yes", "a.mp4"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("`footage model migrate` is under way"), "{refused:?}");

    migrating.stdin.take().unwrap().write_all(b"a red car\n").unwrap();
    let ran = Ran::of(migrating.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("asked 1 sentence: "), "{ran:?}");
    bench.ok(&["source", "remove", "--yes", "a.mp4"]);
}

#[test]
fn a_model_that_is_searched_already_or_is_not_there_is_refused() {
    let bench = Bench::new().with_video("a.mp4");
    with_other_model(&bench);
    let nothing = bench.run(&["model", "migrate", "--to", "other"]);
    assert!(nothing.err.contains("nothing is indexed"), "{nothing:?}");
    bench.ok(&["index", "a.mp4"]);
    for (to, why) in [("bundled", "searched already"), ("nowhere", "nowhere")] {
        let refused = bench.run(&["model", "migrate", "--to", to]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.err.contains(why), "{refused:?}");
    }
    assert_eq!(bench.json(&["model", "migrate", "--list", "--json"]).as_array().unwrap().len(), 1);
}
