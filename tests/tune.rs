//! Instruction tuning through the real binary: rendered footage and questions about it, the bundled
//! answerer, and the tuned folder taken by `footage ask` and by `footage model eval`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::Command;

use footage_tests::{footage, render, run, run_well};
use serde_json::{Value, json};

/// What the rendered videos' truth says, as a table of questions. The answers are words of the bundled
/// answerer's, and other ones than it was taught. Returns the videos' stretches.
fn questions(videos: &Path) -> Vec<String> {
    let mut rows = vec!["path,question,answer,from,to".to_owned()];
    let mut stretches = Vec::new();
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
            let (from, to) = (event["from"].as_f64().unwrap(), event["to"].as_f64().unwrap());
            rows.push(format!("{video},what is there?,blue to the left,{from},{to}"));
            stretches.push(format!("{video}@{from:.1}-{to:.1}"));
        }
    }
    fs_err::write(videos.join("questions.csv"), rows.join("\n") + "\n").unwrap();
    stretches
}

fn tune(videos: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = footage();
    command.args(["model", "train", "--instructions"]).arg(videos.join("questions.csv"));
    command.arg("--out").arg(out).args(["--batch", "4", "--save-every", "10"]).args(more);
    command
}

fn losses(out: &Path) -> Vec<f32> {
    let text = fs_err::read_to_string(out.join("training/losses.csv")).unwrap();
    text.lines().skip(1).map(|line| line.split_once(',').unwrap().1.parse().unwrap()).collect()
}

#[test]
fn an_answerer_learns_new_answers_resumes_to_the_bit_and_gives_them() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 5, 2, 30);
    let stretches = questions(&videos);
    assert!(stretches.len() >= 4, "too few to learn from: {stretches:?}");

    // In one run, and cut in two.
    let (whole, cut) = (folder.path().join("whole"), folder.path().join("cut"));
    let tune = |out: &Path, steps: &str, more: &[&str]| {
        tune(&videos, out, &[&["--steps", steps, "--rate", "2e-3"], more].concat())
    };
    run_well(&mut tune(&whole, "30", &["--name", "mine"]));
    let stopped = run(&mut tune(&cut, "30", &["--stop-after", "13"]));
    assert_eq!(stopped.code, Some(130), "{}", stopped.err);
    assert!(!cut.join("answerer.json").exists(), "an answerer that is not tuned yet");
    run_well(&mut tune(&cut, "30", &[]));
    for part in ["projector.safetensors", "adapter.safetensors", "language/model.safetensors"] {
        let weights = |out: &Path| fs_err::read(out.join(part)).unwrap();
        assert!(weights(&whole) == weights(&cut), "a run cut in two gave another {part}");
    }
    let fell = losses(&whole);
    assert_eq!((fell.len(), losses(&cut) == fell), (30, true));
    assert!(fell[29] < 0.2 * fell[0], "{fell:?}");
    let plot = fs_err::read_to_string(whole.join("training/losses.svg")).unwrap();
    assert!(plot.starts_with("<svg") && plot.contains("mean loss of a word"));

    // The same folder with other settings is refused, and left as it is.
    let other = run(&mut tune(&whole, "31", &[]));
    assert!(other.code == Some(2) && other.err.contains("other settings (steps"), "{}", other.err);

    // It answers as it was taught, and from wherever it lies.
    let moved = folder.path().join("moved");
    fs_err::rename(&whole, &moved).unwrap();
    let data = folder.path().join("data");
    run_well(footage().arg("--data-dir").arg(&data).arg("index").arg(&videos));
    let mut ask = footage();
    ask.arg("--data-dir").arg(&data).args(["ask", "--json", "--set", "ask.temperature=0"]);
    ask.arg("--answerer").arg(&moved).args([stretches[0].as_str(), "what is there?"]);
    let told: Value = serde_json::from_str(&run_well(&mut ask)).unwrap();
    assert_eq!((&told["answer"], &told["model"]), (&json!("blue to the left"), &json!("mine")));
    let mut eval = footage();
    eval.args(["model", "eval", "--format", "qa", "--json", "--data"]).arg(&videos);
    let measured = |eval: &mut Command| -> Value {
        serde_json::from_str(&run_well(eval.args(["--set", "ask.temperature=0"]))).unwrap()
    };
    let told = measured(eval.arg("--answerer").arg(&moved));
    assert_eq!(told["answers"]["exact"], 1.0, "{told}");

    // A tuned answerer can be tuned further; what stays as it is stays where it is.
    let further = folder.path().join("further");
    let more = ["--steps", "2", "--rate", "1e-6", "--answerer", moved.to_str().unwrap()];
    run_well(&mut self::tune(&videos, &further, &more));
    assert!(losses(&further)[0] < 2.0 * fell[29], "it begins where the other ended");
    let sheet = fs_err::read_to_string(further.join("answerer.json")).unwrap();
    assert!(sheet.contains("moved/language") && !further.join("language").exists(), "{sheet}");
    let mut eval = footage();
    eval.args(["model", "eval", "--format", "qa", "--json", "--data"]).arg(&videos);
    assert_eq!(measured(eval.arg("--answerer").arg(&further))["answers"]["exact"], 1.0);
}

#[test]
fn what_cannot_be_learned_is_named_and_what_breaks_keeps_the_last_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 6, 1, 20);
    questions(&videos);
    let video = "small-world-6-000";
    let instructions = json!([
        {"video_id": video, "q": "what is there?", "a": "a dog"},
        {"id": video, "video": format!("{video}.pkl"), "conversations": [
            {"from": "human", "value": "<video>\nwhich way?"}, {"from": "gpt", "value": "left"}]},
        {"video_id": "lost", "q": "what?", "a": "a dog"},
        {"video_id": video, "q": "what?", "a": " "},
        {"video_id": video, "q": "what is there? ".repeat(100), "a": "a dog"},
        {"video_id": video, "q": "what is there?", "a": "собака"},
    ]);
    let file = videos.join("instructions.json");
    fs_err::write(&file, instructions.to_string()).unwrap();
    let tuned = |out: &str, more: &[&str]| {
        let mut command = footage();
        command.args(["model", "train", "--instructions"]).arg(&file);
        run(command.arg("--out").arg(folder.path().join(out)).args(more))
    };
    let said = tuned("out", &["--steps", "2"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    for why in [
        "line 3",
        "called lost",
        "line 4",
        "is empty",
        "line 5",
        "longer than",
        "line 6",
        "no word for",
        "4 instruct",
    ] {
        assert!(said.err.contains(why), "{why}: {}", said.err);
    }
    assert!(folder.path().join("out/answerer.json").is_file());

    // A rate at which nothing is finite any more: the checkpoint before it stays.
    let said = tuned("broken", &["--steps", "40", "--save-every", "1", "--rate", "1e30"]);
    assert_eq!(said.code, Some(2), "{}", said.err);
    assert!(said.err.contains("finite") && said.err.contains(video), "{}", said.err);
    assert!(folder.path().join("broken/training/checkpoint.safetensors").is_file());
    assert!(!folder.path().join("broken/answerer.json").exists());

    let refused = |more: &[&str], why: &str| {
        let said = tuned("refused", more);
        assert!(said.code == Some(2) && said.err.contains(why), "{more:?}: {}", said.err);
    };
    refused(&["--answerer", "http://127.0.0.1:1/v1"], "no answerer to tune here");
    refused(&["--answerer", "nowhere"], "nowhere");
    refused(&["--weights", "1,1,1"], "pre-training");
    refused(&["--data", "x.csv"], "cannot be used with");
    assert!(tuned("videos", &[]).err.contains("no training"));
}
