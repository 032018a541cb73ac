//! Indexing that is killed at random moments and resumed gives what an uninterrupted run gives:
//! the same clips in the index, with the same scores, and the same ledger.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use footage_tests::{footage, render, run_well};
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

const KILLS: usize = 8;
/// Enough clips that a run takes longer than the longest wait below.
const DENSE: [&str; 4] = ["--set", "window.rate=10", "--set", "window.stride_frames=1"];

fn index(data: &Path, videos: &Path) -> Command {
    let mut command = footage();
    command.arg("--data-dir").arg(data).args(DENSE).arg("index").arg(videos);
    command
}

/// Every clip found by a query, with its score, and what the ledger says of each source.
fn contents(data: &Path) -> (Vec<Value>, Vec<Value>) {
    let mut found = Vec::new();
    for query in ["a dog", "a red ball moving left", "the sea"] {
        let json = run_well(
            footage()
                .arg("--data-dir")
                .arg(data)
                .args(["search", query, "--json", "--all", "--limit", "1000"]),
        );
        let mut answer: Value = serde_json::from_str(&json).unwrap();
        for moment in answer["moments"].as_array_mut().unwrap() {
            moment.as_object_mut().unwrap().remove("thumbnail");
        }
        found.push(answer["moments"].take());
        found.push(answer["searched"].take());
    }
    let json = run_well(footage().arg("--data-dir").arg(data).args(["source", "list", "--json"]));
    let list: Value = serde_json::from_str(&json).unwrap();
    let mut sources = list["sources"].as_array().unwrap().clone();
    for source in &mut sources {
        source.as_object_mut().unwrap().remove("added");
    }
    (found, sources)
}

#[test]
fn a_run_killed_at_random_moments_ends_as_an_uninterrupted_one() {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = std::env::var("FOOTAGE_TEST_SEED").map_or_else(|_| now(), |s| s.parse().unwrap());
    println!("FOOTAGE_TEST_SEED={seed}");
    let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let videos = folder.path().join("videos");
    render(&videos, 11, 2, 60);

    let whole = folder.path().join("whole");
    run_well(&mut index(&whole, &videos));

    let killed = folder.path().join("killed");
    let mut interrupted = 0;
    for _ in 0..KILLS {
        let mut child = index(&killed, &videos)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        sleep(Duration::from_millis(random.random_range(100..2500)));
        child.kill().unwrap();
        interrupted += usize::from(child.wait().unwrap().code().is_none());
    }
    run_well(&mut index(&killed, &videos));

    assert!(interrupted > 0, "every run had ended before it was killed: nothing was tested");
    assert_eq!(contents(&killed), contents(&whole));
}
