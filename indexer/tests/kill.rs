//! Killed at any moment and begun again: ledger and index agree, and agree with an uninterrupted
//! run.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use footage_clip::{ClipId, ClipState, Coverage, SourceId};
use footage_index::contract::{clips, collection};
use footage_index::{EmbeddedIndex, EmbeddedSettings, FindClips, Ledger};
use footage_indexer::{Indexer, IndexerSettings};
use footage_topic::{MemoryTopic, Topic};
use tempfile::TempDir;

const FOLDER: &str = "FOOTAGE_TEST_DATA";
const DIM: usize = 32;
const CLIPS: u64 = 2500;

/// Indexes what the ledger does not know yet, as reading a file again would.
async fn index(data: &Path) {
    let settings = EmbeddedSettings { settle_after_clips: 200, ..EmbeddedSettings::default() };
    let index = EmbeddedIndex::open(data, &collection(DIM), settings).await.unwrap();
    let ledger = Ledger::open(index.folder()).unwrap();
    let topic = MemoryTopic::new(NonZeroUsize::new(64).unwrap());
    let known = ledger.coverage(&gate()).unwrap();
    let publisher = tokio::spawn({
        let topic = topic.clone();
        async move {
            for clip in clips(&collection(DIM), "gate", CLIPS) {
                if known.state_of(clip.span.start_ns).is_none() {
                    topic.publish(clip.into()).await.unwrap();
                }
            }
            topic.close();
        }
    });
    let settings = IndexerSettings {
        max_batch: NonZeroUsize::new(16).unwrap(),
        max_wait: Duration::from_millis(5),
        ..IndexerSettings::default()
    };
    let indexer = Indexer::new(Arc::new(index.clone()), ledger, settings);
    let mut progress = indexer.progress();
    let teller = tokio::spawn(async move {
        while progress.changed().await.is_ok() {
            let mut out = std::io::stdout().lock();
            writeln!(out, "committed {}", progress.borrow().clips()).unwrap();
            out.flush().unwrap();
        }
    });
    indexer.run(topic.follow().await.unwrap()).await.unwrap();
    publisher.await.unwrap();
    drop(indexer);
    teller.await.unwrap();
    index.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as the child of the test below, which kills it"]
async fn child_that_indexes() {
    index(&PathBuf::from(std::env::var_os(FOLDER).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_run_goes_on_where_its_ledger_ends() {
    let data = TempDir::new().unwrap();
    let mut before = 0;
    for round in 1..=5 {
        run_and_kill(data.path(), 100 + 40 * round, Duration::from_millis(23 * round % 40));
        let (coverage, ids) = look(data.path()).await;
        let indexed = coverage.clips(|state| state == ClipState::Indexed);
        for clip in clips(&collection(DIM), "gate", indexed) {
            assert_eq!(coverage.state_of(clip.span.start_ns), Some(ClipState::Indexed));
            assert!(ids.contains(&clip.clip_id), "entered as indexed, and not in the index");
        }
        assert!(indexed > before, "nothing that was committed before is lost");
        before = indexed;
    }
    assert!(before < CLIPS, "the last kill came after the end");
    index(data.path()).await;

    let uninterrupted = TempDir::new().unwrap();
    index(uninterrupted.path()).await;

    assert_eq!(look(data.path()).await, look(uninterrupted.path()).await);
}

async fn look(data: &Path) -> (Coverage, BTreeSet<ClipId>) {
    let settings = EmbeddedSettings::default();
    let index = EmbeddedIndex::open(data, &collection(DIM), settings).await.unwrap();
    let coverage = Ledger::open(index.folder()).unwrap().coverage(&gate()).unwrap();
    let ids = index.ids(&gate(), None, usize::MAX).await.unwrap();
    index.close().await.unwrap();
    (coverage, ids.into_iter().collect())
}

fn gate() -> SourceId {
    SourceId::try_new("gate").unwrap()
}

/// Runs the child until it says that `target` more clips are committed, and a little longer; then
/// kills it.
fn run_and_kill(data: &Path, target: u64, jitter: Duration) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "--nocapture", "child_that_indexes"])
        .env(FOLDER, data)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut counts =
        lines.filter_map(|line| line.split("committed ").nth(1)?.trim().parse::<u64>().ok());
    counts.find(|count| *count >= target).expect("a child that gets there");
    std::thread::sleep(jitter);
    // SIGKILL: nothing of the child's runs after it.
    child.kill().unwrap();
    child.wait().unwrap();
}
