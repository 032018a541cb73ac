//! Killed without warning, again and again: what was flushed is there.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use footage_index::contract::{clips, collection};
use footage_index::{EmbeddedIndex, EmbeddedSettings, Filter, FindClips, KeepClips, With};
use tempfile::TempDir;

const FOLDER: &str = "FOOTAGE_TEST_DATA";
const DIM: usize = 64;
const BATCH: usize = 50;
/// So many that no child has kept all of them before it is killed.
const CLIPS: u64 = 16_000;

/// Graphs are built all the time, so that kills hit that too.
fn settings() -> EmbeddedSettings {
    EmbeddedSettings {
        graph_from_kib: 64,
        optimize_after_clips: 700,
        optimize_threads: 1,
        settle_after_clips: 600,
        ..EmbeddedSettings::default()
    }
}

/// The process that is killed. It says on its standard output how many clips are durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as the child of the test below, which kills it"]
async fn child_that_keeps_clips() {
    let data = PathBuf::from(std::env::var_os(FOLDER).unwrap());
    let index = EmbeddedIndex::open(&data, &collection(DIM), settings()).await.unwrap();
    index.optimize_in_background().await.unwrap();
    let begun = index.count(&Filter::default()).await.unwrap();
    let first = begun as usize / BATCH * BATCH;
    for (at, batch) in clips(&collection(DIM), "gate", CLIPS).chunks(BATCH).enumerate() {
        if at * BATCH < first {
            continue;
        }
        index.keep(batch).await.unwrap();
        index.flush().await.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "durable {}", (at + 1) * BATCH).unwrap();
        out.flush().unwrap();
    }
}

#[tokio::test]
async fn what_was_flushed_survives_a_kill_at_any_moment() {
    let data = TempDir::new().unwrap();
    let mut durable = 0;
    for round in 1..=6 {
        let jitter = Duration::from_millis(37 * round % 50);
        durable = run_and_kill(data.path(), CLIPS * round / 8, jitter);

        let index = EmbeddedIndex::open(data.path(), &collection(DIM), settings()).await.unwrap();
        let expected = clips(&collection(DIM), "gate", durable);
        let ids: Vec<_> = expected.iter().map(|clip| clip.clip_id).collect();
        let stored = index.get(&ids, With::ALL).await.unwrap();
        assert_eq!(stored.len() as u64, durable, "round {round}");
        for (stored, expected) in stored.iter().zip(&expected) {
            assert_eq!(stored.clip_id, expected.clip_id);
            assert_eq!(stored.embedding.as_ref(), Some(&expected.embedding));
        }
        let count = index.count(&Filter::default()).await.unwrap();
        assert!(count >= durable && count <= CLIPS, "{count} clips, {durable} durable");
        index.close().await.unwrap();
    }
    assert!(durable >= CLIPS * 6 / 8);
}

/// Runs the child until it says that `target` clips are durable, and a little longer; then kills
/// it. Returns the last count it said.
fn run_and_kill(data: &Path, target: u64, jitter: Duration) -> u64 {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "child_that_keeps_clips"])
        .env(FOLDER, data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut counts =
        lines.filter_map(|line| line.split("durable ").nth(1)?.trim().parse::<u64>().ok());
    let reached = counts.by_ref().find(|count| *count >= target).expect("a child that gets there");
    std::thread::sleep(jitter);
    // SIGKILL: nothing of the child's runs after it.
    child.kill().unwrap();
    child.wait().unwrap();
    counts.last().unwrap_or(reached)
}
