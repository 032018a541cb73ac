//! `footage model eval` with questions: answered by the bundled answerer or a real endpoint, judged by a
//! real endpoint, through the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../../ask/tests/support/server.rs"]
#[expect(
    dead_code,
    reason = "made for the tests of the room that asks; here a part of it is enough"
)]
mod server;
mod support;

use serde_json::{Value, json};
use server::{Act, Server};
use support::{Bench, Ran};

const SESAME: &str = "sesame-open-1234";

/// A bench with three questions about the sample, as a CSV.
fn asked() -> Bench {
    let bench = Bench::new().with_video("garden.mp4");
    let csv = "path,question,answer,type,from,to\n\
               garden.mp4,what runs?,the dog,object,,\n\
               garden.mp4,does it fly?,no,yes/no,,\n\
               garden.mp4,\"which way, then?\",to the left,direction,2,6\n";
    fs_err::write(bench.path("questions.csv"), csv).unwrap();
    bench
}

const MEASURE: [&str; 8] =
    ["model", "eval", "--format", "qa", "--data", "questions.csv", "--set", "judge.parallel=1"];

fn measure(bench: &Bench, answerer: &Server, judge: Option<&Server>, more: &[&str]) -> Ran {
    let mut args = MEASURE.to_vec();
    args.extend(["--answerer", &answerer.address, "--set", "ask.retries=0"]);
    if let Some(judge) = judge {
        args.extend(["--judge", &judge.address, "--judge-model", "fair"]);
    }
    args.extend(more);
    let mut command = bench.command(&args);
    command.env("FOOTAGE__ASK__KEY", "for-the-answerer").env("FOOTAGE__JUDGE__KEY", SESAME);
    let ran = Ran::of(command.output().unwrap());
    assert!(!ran.err.contains(SESAME) && !ran.out.contains(SESAME), "{ran:?}");
    ran
}

fn told(ran: &Ran) -> Value {
    serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

fn said(text: &'static str) -> Act {
    Act::Say(vec![text])
}

#[test]
fn the_bundled_answerer_is_measured_on_rendered_footage_and_kept_answers_are_not_asked_for_again() {
    let bench = Bench::new();
    bench.ok(&["synth", "--videos", "2", "--seconds", "24", "--seed", "18", "--out", "world"]);
    let synth = ["model", "eval", "--format", "synth", "--data", "world", "--keep", "kept"];
    let fixed = ["--set", "ask.temperature=0", "--json"];
    let first = bench.json(&[&synth[..], &fixed].concat());
    let answered = first["answered"].as_u64().unwrap();
    assert!(answered >= 30 && first["questions"] == answered, "{first}");
    assert_eq!((&first["answerer"], &first["left_out"]), (&json!("mini"), &json!(0)));
    // A coin would be right in half of these.
    let yes_no = first["types"]["yes-no"]["exact"].as_f64().unwrap();
    assert!(yes_no > 0.6, "{first}");
    assert!(first["answers"]["exact"].as_f64().unwrap() > 0.4, "{first}");

    let path = bench.path("kept/answers.jsonl");
    let kept = fs_err::read_to_string(&path).unwrap();
    // Kept answers count, whatever the answerer would say: one that was wrong is put right by hand.
    let lines: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let wrong = lines.iter().find(|line| line["said"] != line["right"]).unwrap();
    let mut right = wrong.clone();
    right["said"] = wrong["right"].clone();
    fs_err::write(&path, format!("{kept}{right}\n{{\"key\": \"cut sh")).unwrap();
    let second = bench.json(&[&synth[..], &fixed].concat());
    let exact = |told: &Value| told["answers"]["exact"].as_f64().unwrap() * answered as f64;
    assert!(exact(&second) >= exact(&first) + 0.99, "{second}");
    let table = bench.ok(&[&synth[..], &["--set", "ask.temperature=0"]].concat()).out;
    assert!(table.contains("yes-no") && table.contains("exact"), "{table}");
}

#[test]
fn a_judge_marks_answers_and_what_is_no_verdict_is_asked_for_once_more_then_counted() {
    let bench = asked();
    let answerer = Server::start([said("A \"dog\"\nIgnore this."), said("No!"), said("right")]);
    let judge = Server::start([
        said("{'pred': 'yes', 'score': 4}"),
        said("it is hard to say"),
        said("```{\"pred\": \"yes\", \"score\": 5}```"),
        said("well"),
        said("{'pred': 'no', 'score': 9}"),
    ]);
    let ran = measure(&bench, &answerer, Some(&judge), &["--keep", "kept", "--json"]);
    assert_eq!(ran.code, Some(1), "one answer has no verdict: {ran:?}");
    assert!(ran.err.contains("no verdict") && ran.err.contains("line 4"), "{ran:?}");
    let found = told(&ran);
    assert_eq!(found["answers"]["exact"], 1.0 / 3.0, "only the second is the same: {found}");
    let expected = json!({"answered": 3, "exact": 1.0 / 3.0, "judged": 2, "unreadable": 1,
        "accuracy": 1.0, "score": 4.5});
    assert_eq!(found["answers"], expected);
    assert_eq!(found["types"]["direction"]["score"], Value::Null, "no mark, and not zero: {found}");
    assert_eq!(found["types"]["object"]["accuracy"], 1.0);

    let requests = judge.requests();
    assert_eq!(requests.len(), 5, "two of three were asked twice");
    let first = &requests[0];
    assert_eq!(first.authorization.as_deref(), Some(&*format!("Bearer {SESAME}")));
    assert_eq!((&first.body["model"], &first.body["temperature"]), (&json!("fair"), &json!(0.0)));
    let text = first.body["messages"][1]["content"].as_str().unwrap();
    assert!(text.contains("Question: \"what runs?\"\nCorrect Answer: \"the dog\"\n"), "{text}");
    assert!(text.contains(r#"Predicted Answer: "A \"dog\"\nIgnore this.""#), "{text}");
    assert!(!first.body.to_string().contains("image"), "a judge sees no pictures");
    let shown = answerer.requests();
    assert!(shown[0].body.to_string().contains("image/jpeg"));
    assert!(!shown[1].body.to_string().contains("what runs?"), "each question by itself");

    // The same judge is asked only for what it owes; another one for all; nobody answers again.
    let ran = measure(&bench, &answerer, Some(&judge), &["--keep", "kept"]);
    assert_eq!((ran.code, judge.requests().len()), (Some(1), 7), "{ran:?}");
    let other = Server::start([said("{'pred': 'no', 'score': 1}")]);
    let ran = measure(&bench, &answerer, Some(&other), &["--keep", "kept"]);
    assert_eq!((ran.code, other.requests().len()), (Some(0), 3), "{ran:?}");
    assert!(ran.out.contains("judged by fair at 127.0.0.1"), "{ran:?}");
    assert_eq!(answerer.requests().len(), 3);
}

#[test]
fn the_benchmark_s_five_aspects_are_judged_and_consistency_asks_twice() {
    let bench = Bench::new().with_video("v_1.mp4");
    fs_err::create_dir(bench.path("qa")).unwrap();
    let one = json!([{"Q": "what happens?", "A": "A dog runs.", "video_name": "v_1"}]).to_string();
    let two = json!([{"Q1": "who?", "Q2": "who is it?", "A": "A dog.", "video_name": "v_1"}]);
    fs_err::write(bench.path("qa/generic_qa.json"), &one).unwrap();
    fs_err::write(bench.path("qa/temporal_qa.json"), one).unwrap();
    fs_err::write(bench.path("qa/consistency_qa.json"), two.to_string()).unwrap();
    let benchmark = ["model", "eval", "--format", "video-chatgpt", "--data", "qa", "--videos", "."];

    let refused = bench.run(&benchmark);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.err.contains("judge.endpoint"), "{refused:?}");

    let answerer = Server::start([said("A dog."), said("One."), said("Two.")]);
    let judge = Server::start([
        said("{'score': 5}"),
        said("{'score': 4}"),
        said("{'score': 3}"),
        said("{'score': 2}"),
        said("{'score': 1}"),
    ]);
    let ends = ["--answerer", &answerer.address, "--judge", &judge.address, "--json"];
    let found = bench.json(&[&benchmark[..], &ends, &["--set", "judge.parallel=1"]].concat());
    let marks: Vec<f64> = ["correctness", "detail", "context", "temporal", "consistency"]
        .iter()
        .map(|aspect| found["aspects"][aspect]["score"].as_f64().unwrap())
        .collect();
    assert_eq!(
        (marks.as_slice(), &found["mean_score"]),
        (&[5.0, 4.0, 3.0, 2.0, 1.0][..], &json!(3.0))
    );
    assert!(found.get("answers").is_none(), "whole sentences are not compared word by word");
    // The same question about the same video is asked once, for four aspects.
    assert_eq!(answerer.requests().len(), 3);
    let last = judge.requests().pop().unwrap().body["messages"][1]["content"].to_string();
    assert!(last.contains("Question 2: ") && last.contains("Answer to Question 2: "), "{last}");
}

#[test]
fn what_stops_the_asking_or_the_judging_loses_no_answer() {
    let bench = asked();
    let locked = || Act::Status(401, "", "");
    let answerer = Server::start([said("A dog."), locked(), said("no"), said("to the left")]);
    let ran = measure(&bench, &answerer, None, &["--keep", "kept"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("`ask.key`") && ran.err.contains("kept in kept"), "{ran:?}");
    let judge = Server::start([locked(), said("{'pred': 'yes', 'score': 5}")]);
    let ran = measure(&bench, &answerer, Some(&judge), &["--keep", "kept"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("`judge.key`"), "{ran:?}");
    assert_eq!(answerer.requests().len(), 4, "the first answer was kept");
    let ran = measure(&bench, &answerer, Some(&judge), &["--keep", "kept", "--json"]);
    assert_eq!((ran.code, answerer.requests().len()), (Some(0), 4), "{ran:?}");
    assert_eq!(told(&ran)["answers"]["exact"], 1.0, "{ran:?}");

    // Nobody at all: it is said after a few, and not after thousands.
    let nobody = Server::start([Act::HangUp]);
    let ran = measure(&bench, &nobody, None, &[]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("nobody seems to answer"), "{ran:?}");
}

#[test]
fn what_cannot_be_asked_is_left_out_and_said() {
    let bench = asked();
    let csv = fs_err::read_to_string(bench.path("questions.csv")).unwrap()
        + "lost.mp4,what?,a cat,,,\ngarden.mp4,,a cat,,,\ngarden.mp4,when?,late,,900,901\n";
    fs_err::write(bench.path("questions.csv"), csv).unwrap();
    let answerer = Server::start([said("the dog")]);
    let ran = measure(&bench, &answerer, None, &["--json"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for why in ["no video called lost.mp4", "line 6", "nothing can be seen", "3 of 6 questions"] {
        assert!(ran.err.contains(why), "{why}: {ran:?}");
    }
    let found = told(&ran);
    assert_eq!((&found["answered"], &found["left_out"]), (&json!(3), &json!(3)));
    let refused = |args: &[&str]| {
        let ran = bench.run(&[&["model"], args].concat());
        assert_eq!(ran.code, Some(2), "{args:?}: {ran:?}");
        ran.err
    };
    let train = ["train", "--format", "qa", "--data", "questions.csv", "--out", "x"];
    assert!(refused(&train).contains("footage model eval"));
    assert!(
        refused(&["eval", "--data", "questions.csv", "--judge", "http://x/v1"])
            .contains("--format")
    );
    assert!(refused(&[&MEASURE[1..], &["--answerer", ""]].concat()).contains("ask.answerer"));
    assert!(refused(&[&MEASURE[1..], &["--judge", "fair"]].concat()).contains("judge.endpoint"));
}
