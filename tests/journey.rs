//! The main job, from a video file to the right moment, with the bundled model: footage is rendered
//! with known truth from combinations and sentences that training never saw, indexed, and asked for
//! with the truth's own captions.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;

use footage_tests::{footage, render, run_well};
use serde_json::Value;

struct Asked {
    caption: String,
    video: String,
    from: f64,
    to: f64,
}

/// One question for each event that has something to see: its richest caption, where and when it
/// is true.
fn questions(videos: &Path) -> Vec<Asked> {
    let mut asked = Vec::new();
    let mut truths: Vec<_> = fs_err::read_dir(videos)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    truths.sort();
    for path in truths {
        let truth: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        let video = path.file_stem().unwrap().to_string_lossy().into_owned();
        for event in truth["events"].as_array().unwrap() {
            if event["objects"].as_array().unwrap().is_empty() {
                continue;
            }
            asked.push(Asked {
                caption: event["captions"][0].as_str().unwrap().to_owned(),
                video: video.clone(),
                from: event["from"].as_f64().unwrap(),
                to: event["to"].as_f64().unwrap(),
            });
        }
    }
    asked
}

fn search(data: &Path, query: &str) -> Value {
    let json = run_well(
        footage()
            .arg("--data-dir")
            .arg(data)
            .args(["search", query, "--json", "--all", "--limit", "5"]),
    );
    serde_json::from_str(&json).unwrap()
}

fn is_right(moment: &Value, asked: &Asked) -> bool {
    moment["source"].as_str().unwrap().starts_with(&asked.video)
        && moment["from_s"].as_f64().unwrap() < asked.to
        && moment["to_s"].as_f64().unwrap() > asked.from
}

#[test]
fn sentences_never_trained_on_find_the_moments_they_describe() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 21, 4, 60);
    let data = folder.path().join("data");
    run_well(footage().arg("--data-dir").arg(&data).arg("index").arg(&videos));

    let asked = questions(&videos);
    let (mut first, mut among_five) = (0, 0);
    for asked in &asked {
        let answer = search(&data, &asked.caption);
        let moments = answer["moments"].as_array().unwrap();
        let place = moments.iter().position(|moment| is_right(moment, asked));
        println!("{place:?}  {}", asked.caption);
        first += usize::from(place == Some(0));
        among_five += usize::from(place.is_some());
    }
    println!("{first} first, {among_five} among five, of {}", asked.len());
    assert!(asked.len() >= 20, "too few events to tell anything: {}", asked.len());
    assert!(first * 2 >= asked.len(), "{first} of {} came first", asked.len());
    assert!(among_five * 4 >= asked.len() * 3, "{among_five} of {} among five", asked.len());
}
