//! `footage model eval` measures a model on labelled videos.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::Value;
use support::Bench;

/// Renders videos, and makes a data set of their events: `path,caption,from,to`. Returns how many.
fn dataset(bench: &Bench) -> u64 {
    bench.ok(&["synth", "--videos", "3", "--seconds", "20", "--seed", "11", "--out", "v"]);
    let mut lines = vec!["path,caption,from,to".to_owned()];
    for entry in fs_err::read_dir(bench.path("v")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let truth: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        let video = path.file_stem().unwrap().to_str().unwrap();
        lines.extend(truth["events"].as_array().unwrap().iter().map(|event| {
            let caption = event["captions"][0].as_str().unwrap();
            format!("{video}.mp4,\"{caption}\",{},{}", event["from"], event["to"])
        }));
    }
    fs_err::write(bench.path("v/captions.csv"), lines.join("\n") + "\n").unwrap();
    lines.len() as u64 - 1
}

#[test]
fn sentences_and_videos_find_each_other_and_kept_embeddings_give_the_same_figures() {
    let bench = Bench::new();
    let events = dataset(&bench);
    assert!(events >= 4, "too few to rank: {events}");
    let measure = ["model", "eval", "--data", "v", "--keep", "kept", "--json"];
    let first = bench.json(&measure);
    assert_eq!((&first["videos"], &first["left_out"]), (&events.into(), &0.into()), "{first}");
    for way in ["text_to_video", "video_to_text"] {
        let figures = &first[way];
        assert_eq!(figures["queries"], events);
        assert!(
            figures["mean_rank"].as_f64().unwrap() < f64::midpoint(events as f64, 1.0),
            "{figures}"
        );
    }
    let kept = fs_err::read_dir(bench.path("kept")).unwrap().count() as u64;
    assert_eq!(kept, events);
    let second = bench.json(&measure);
    assert_eq!(first["text_to_video"], second["text_to_video"]);
    let table = bench.ok(&["model", "eval", "--data", "v", "--keep", "kept"]).out;
    assert!(table.contains("text to video") && table.contains("R@10"), "{table}");
}

#[test]
fn classes_are_told_apart_by_their_names() {
    let bench = Bench::new().with_video("garden.mp4");
    fs_err::create_dir_all(bench.path("videos/wave")).unwrap();
    fs_err::copy(bench.path("garden.mp4"), bench.path("videos/wave/a.avi.mp4")).unwrap();
    fs_err::write(bench.path("wave_test_split1.txt"), "a.avi.mp4 2 \nb.avi 1 \n").unwrap();
    fs_err::write(bench.path("sit_test_split1.txt"), "c.avi 2 \n").unwrap();
    let measure = ["model", "eval", "--format", "hmdb51", "--data", ".", "--videos", "videos"];
    let ran = bench.run(&[&measure[..], &["--prompt", "somebody does {}", "--json"]].concat());
    assert_eq!(ran.code, Some(1), "one video is not there: {ran:?}");
    assert!(ran.err.contains("sit/c.avi") && ran.err.contains("1 of 2 captions"), "{ran:?}");
    let found: Value = serde_json::from_str(&ran.out).unwrap();
    let named = &found["recognition"];
    assert_eq!((&named["videos"], &named["classes"]), (&1.into(), &2.into()), "{found}");
    assert_eq!(named["top_5"], 1.0);
}

#[test]
fn what_cannot_be_measured_is_an_error_that_says_why() {
    let bench = Bench::new().with_video("garden.mp4");
    let refused = |args: &[&str]| {
        let ran = bench.run(&[&["model", "eval"], args].concat());
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        ran.err
    };
    fs_err::write(bench.path("c.csv"), "path,caption\nlost.mp4,a dog\n").unwrap();
    let told = refused(&["--data", "c.csv"]);
    assert!(told.contains("no video called lost.mp4") && told.contains("nothing was"), "{told}");
    fs_err::write(bench.path("k.txt"), "garden.mp4 7\n").unwrap();
    let kinetics = ["--format", "kinetics", "--data", "k.txt"];
    assert!(refused(&kinetics).contains("--labels"));
    assert!(refused(&["--data", "c.csv", "--labels", "k.txt"]).contains("classes"));
    assert!(refused(&["--data", "c.csv", "--prompt", "a video"]).contains("{}"));
    assert!(refused(&["--data", "none.csv"]).contains("none.csv"));
    assert!(refused(&["--format", "msrvtt", "--data", "c.csv"]).contains("video_id,sentence"));
}
