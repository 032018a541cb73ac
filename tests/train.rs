//! Training through the real binary: rendered footage and its own captions, the bundled model, and
//! the trained folder taken by `footage index`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use footage_tests::{footage, render, run, run_well};
use serde_json::Value;

/// Writes a CSV of what the rendered videos' truth says; returns how many captions it has.
fn captions(videos: &Path, extra: &[&str]) -> usize {
    let mut rows = vec!["path,caption,from,to".to_owned()];
    let mut truths: Vec<_> = fs_err::read_dir(videos)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    truths.sort();
    for path in truths {
        let truth: Value = serde_json::from_slice(&fs_err::read(&path).unwrap()).unwrap();
        let video = path.with_extension("mp4");
        let video = video.file_name().unwrap().to_str().unwrap();
        for event in truth["events"].as_array().unwrap() {
            let caption = event["captions"][0].as_str().unwrap();
            rows.push(format!("{video},\"{caption}\",{},{}", event["from"], event["to"]));
        }
    }
    let count = rows.len() - 1;
    rows.extend(extra.iter().map(ToString::to_string));
    fs_err::write(videos.join("captions.csv"), rows.join("\n") + "\n").unwrap();
    count
}

fn train(videos: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = footage();
    command.args(["model", "train", "--data"]).arg(videos).arg("--out").arg(out);
    command.args(["--new-branch", "3", "--batch", "4", "--rate", "2e-3", "--save-every", "10"]);
    command.args(more);
    command
}

/// A column of the losses, step by step.
fn losses(out: &Path, column: usize) -> Vec<f32> {
    let text = fs_err::read_to_string(out.join("training/losses.csv")).unwrap();
    text.lines().skip(1).map(|line| line.split(',').nth(column).unwrap().parse().unwrap()).collect()
}

fn mean(values: &[f32]) -> f32 {
    values.iter().sum::<f32>() / values.len() as f32
}

#[test]
fn a_branch_learns_from_captioned_videos_resumes_to_the_bit_and_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 5, 2, 40);
    let count = captions(&videos, &[]);
    assert!(count >= 6, "too few events to learn from: {count}");

    // In one run, and cut in two.
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    run_well(&mut train(&videos, &whole, &["--steps", "40"]));
    let stopped = run(&mut train(&videos, &cut, &["--steps", "40", "--stop-after", "17"]));
    assert_eq!(stopped.code, Some(130), "{}", stopped.err);
    assert!(!cut.join("model.json").exists(), "a model that is not trained yet");
    run_well(&mut train(&videos, &cut, &["--steps", "40"]));
    let weights = |out: &Path| fs_err::read(out.join("model.safetensors")).unwrap();
    assert!(weights(&whole) == weights(&cut), "a run cut in two gave another model");

    let totals = losses(&whole, 1);
    assert_eq!(totals.len(), 40);
    assert!(mean(&totals[30..]) < 0.8 * mean(&totals[..10]), "{totals:?}");
    let plot = fs_err::read_to_string(whole.join("training/losses.svg")).unwrap();
    assert!(plot.starts_with("<svg"));

    // The same folder with other settings is refused, and left as it is.
    let before = weights(&whole);
    let other = run(&mut train(&videos, &whole, &["--steps", "41"]));
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("other settings (steps"), "{}", other.err);
    assert!(weights(&whole) == before);

    let data = folder.path().join("data");
    let model = |command: &mut Command| {
        command.arg("--model").arg(&whole).arg("--data-dir").arg(&data);
    };
    let mut index = footage();
    model(&mut index);
    run_well(index.arg("index").arg(&videos));
    let mut search = footage();
    model(&mut search);
    let found = run_well(search.args(["search", "a dog", "--json"]));
    let found: Value = serde_json::from_str(&found).unwrap();
    assert!(!found["moments"].as_array().unwrap().is_empty(), "{found}");
}

#[test]
fn the_paper_s_other_systems_are_trained_measured_and_searched_by_the_same_commands() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 5, 1, 30);
    captions(&videos, &[]);
    for system in ["mean-pooled", "separate-st-frozen"] {
        let out = folder.path().join(system);
        let mut command = footage();
        command.args(["model", "train", "--system", system, "--data"]).arg(&videos);
        command.args(["--steps", "2", "--batch", "2", "--out"]).arg(&out);
        run_well(&mut command);
        let config = fs_err::read_to_string(out.join("model.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        let branch = &config["architecture"]["branch"];
        assert_eq!(branch["system"].as_str(), (system != "mean-pooled").then_some(system));

        let mut eval = footage();
        eval.arg("--model").arg(&out).args(["model", "eval", "--json", "--data"]).arg(&videos);
        let figures: Value = serde_json::from_str(&run_well(&mut eval)).unwrap();
        assert!(figures["text_to_video"]["mean_rank"].as_f64().unwrap() >= 1.0, "{figures}");

        let with_model = |command: &mut Command| {
            command.arg("--model").arg(&out).arg("--data-dir").arg(out.join("data"));
        };
        let mut index = footage();
        with_model(&mut index);
        run_well(index.arg("index").arg(&videos));
        let mut search = footage();
        with_model(&mut search);
        let found = run_well(search.args(["search", "a dog", "--json"]));
        let found: Value = serde_json::from_str(&found).unwrap();
        assert!(!found["moments"].as_array().unwrap().is_empty(), "{found}");
    }

    // Nothing is learned by an average, and nothing that was learned is overwritten by it.
    let trained = folder.path().join("separate-st-frozen");
    let before = fs_err::read(trained.join("model.safetensors")).unwrap();
    let averaged = |out: &Path, more: &[&str]| {
        let mut command = footage();
        command.args(["model", "train", "--system", "mean-pooled", "--data"]).arg(&videos);
        run(command.arg("--out").arg(out).args(more))
    };
    let said = averaged(&trained, &[]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("holds something already"), "{}", said.err);
    assert_eq!(fs_err::read(trained.join("model.safetensors")).unwrap(), before);
    let said = averaged(&folder.path().join("masked"), &["--mask", "0.3"]);
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("--mask is for systems with a branch"), "{}", said.err);

    // What only a branch can do is refused, not left out silently.
    let out = folder.path().join("refused");
    let mut command = footage();
    command.args(["model", "train", "--system", "joint-st", "--mask", "0.5", "--data"]);
    let said = run(command.arg(&videos).arg("--out").arg(&out));
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("--mask is for systems with a branch"), "{}", said.err);
}

#[test]
fn captions_that_cannot_be_learned_from_are_named_and_the_rest_is_learned() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 6, 1, 30);
    let long = format!("gone.mp4,a video that is not there,0,2\n\"{}\",\"a dog\",,", "lost.mp4");
    captions(&videos, &[&long]);
    let name = fs_err::read_dir(&videos)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|name| Path::new(name).extension().is_some_and(|extension| extension == "mp4"))
        .unwrap();
    let csv = [
        fs_err::read_to_string(videos.join("captions.csv")).unwrap(),
        format!("{name},,0,2\n{name},\"{}\",0,2\n", "a red dog ".repeat(30)),
        format!("{name},too late,900,902\n"),
    ]
    .concat();
    fs_err::write(videos.join("captions.csv"), csv).unwrap();

    let out = folder.path().join("out");
    let said = run(&mut train(&videos, &out, &["--steps", "2"]));
    assert_eq!(said.code, Some(1), "{}", said.err);
    for word in
        ["gone.mp4", "lost.mp4", "caption is empty", "its end is cut off", "nothing can be seen"]
    {
        assert!(said.err.contains(word), "{word}: {}", said.err);
    }
    assert!(said.err.contains("4 captions were left out"), "{}", said.err);
    assert!(out.join("model.safetensors").is_file());

    // A rate at which nothing is finite any more: the checkpoint before it stays.
    let broken = folder.path().join("broken");
    let args = ["--steps", "40", "--save-every", "1", "--rate", "1e30"];
    let mut command = footage();
    command.args(["model", "train", "--data"]).arg(&videos).arg("--out").arg(&broken);
    let said = run(command.args(["--batch", "2"]).args(args));
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("no finite") && said.err.contains(&name), "{}", said.err);
    assert!(broken.join("training/checkpoint.safetensors").is_file());
    assert!(!broken.join("model.json").exists());

    // A folder of something else is nobody's to overwrite.
    let said = run(&mut train(&videos, &videos, &["--steps", "2"]));
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("no training"), "{}", said.err);
}
