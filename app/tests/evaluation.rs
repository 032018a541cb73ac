//! `footage eval` measures searches of one's own footage, and gates them.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use serde_json::Value;
use support::{Bench, sample};

/// A line of the questions for every event of the sample, with its times moved by so many seconds.
fn questions(moved_s: f64) -> String {
    let truth = fs_err::read(sample().with_extension("json")).unwrap();
    let truth: Value = serde_json::from_slice(&truth).unwrap();
    let lines = truth["events"].as_array().unwrap().iter().map(|event| {
        let at = |key: &str| event[key].as_f64().unwrap() + moved_s;
        let caption = event["captions"][0].as_str().unwrap();
        format!("\"{caption}\",garden.mp4,{},{}\n", at("from"), at("to"))
    });
    format!("sentence,source,from,to\na purple submarine,,,\n{}", lines.collect::<String>())
}

#[test]
fn sentences_are_scored_and_a_bar_that_is_not_reached_is_an_exit_code() {
    let bench = Bench::new().with_video("garden.mp4");
    bench.ok(&["index", "garden.mp4"]);
    fs_err::write(bench.path("right.csv"), questions(0.0)).unwrap();
    fs_err::write(bench.path("wrong.csv"), questions(1000.0)).unwrap();

    let right = bench.json(&["eval", "right.csv", "--json", "--min-recall-at-10", "0.5"]);
    let scores = &right["scores"];
    assert!(scores["recall_at_10"].as_f64().unwrap() >= 0.5, "{scores}");
    assert_eq!(scores["sentences_without_answer"], 1);
    let sentences = right["sentences"].as_array().unwrap().len() as u64;
    assert_eq!(scores["sentences"].as_u64().unwrap() + 1, sentences);
    assert!(scores["false_alarms_per_hour"].is_number());
    assert!(right["missed"].as_array().unwrap().is_empty());

    let wrong = bench.run(&["eval", "wrong.csv", "--min-mrr", "0.1"]);
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.out.contains("below the bar: mean reciprocal rank is 0.0000"), "{wrong:?}");
    let ungated = bench.ok(&["eval", "wrong.csv"]);
    assert!(ungated.out.contains("first right       0.0 %"), "{ungated:?}");
    assert!(!bench.data().join("thumbnails").exists(), "measuring leaves nothing behind");
}

#[test]
fn a_file_of_questions_that_cannot_be_used_is_an_error_with_its_line() {
    let bench = Bench::new().with_video("garden.mp4");
    bench.ok(&["index", "garden.mp4"]);
    fs_err::write(bench.path("q.csv"), "sentence,source,from,to\na dog,attic.mp4,0,1\n").unwrap();
    let ran = bench.run(&["eval", "q.csv"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("line 2") && ran.err.contains("attic.mp4"), "{ran:?}");
    fs_err::write(bench.path("q.csv"), "sentence,source,from,to\na dog,,,\n").unwrap();
    let ran = bench.run(&["eval", "q.csv", "--min-mrr", "0.5"]);
    assert_eq!(ran.code, Some(2), "a bar that cannot be measured does not hold: {ran:?}");
}
