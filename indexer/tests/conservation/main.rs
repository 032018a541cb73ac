//! Every clip that a topic accepted ends in the index once, or in the ledger as lost, whatever
//! fails on the way.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod faulty;
mod overlap;
mod removal;
mod retention;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footage_clip::{
    ClipId, ClipRecord, ClipState, CoverageRecord, LostReason, SourceKind, SourceRecord,
};
use footage_index::contract::{clips, collection, direction};
use footage_index::{IndexError, KeepClips as _, Ledger};
use footage_indexer::{Indexer, IndexerError, IndexerSettings, RetrySettings};
use footage_topic::{MemoryTopic, Topic, TopicMessage};
use proptest::prelude::*;
use tempfile::TempDir;

use faulty::{DIM, Fault, FaultyIndex, wrong_dimension};

const REFUSED: ClipState = ClipState::Lost(LostReason::Refused);

fn settings(max_batch: usize) -> IndexerSettings {
    IndexerSettings {
        max_batch: NonZeroUsize::new(max_batch).unwrap(),
        max_wait: Duration::from_millis(20),
        retry: RetrySettings {
            max_attempts: 3,
            first_pause: Duration::from_millis(1),
            max_pause: Duration::from_millis(2),
        },
    }
}

fn topic() -> MemoryTopic {
    MemoryTopic::new(NonZeroUsize::new(10_000).unwrap())
}

async fn publish(topic: &MemoryTopic, messages: impl IntoIterator<Item = TopicMessage>) {
    for message in messages {
        topic.publish(message).await.unwrap();
    }
}

/// Clips of a source, of which some have a dimension that no index takes.
fn some_clips(source: &str, count: u64, bad: &BTreeSet<u64>) -> Vec<ClipRecord> {
    let mut clips = clips(&collection(DIM), source, count);
    for clip in clips.iter_mut().filter(|clip| bad.contains(&clip.seq)) {
        clip.embedding = direction(DIM + 1, clip.seq);
    }
    clips
}

fn state_of(ledger: &Ledger, clip: &ClipRecord) -> Option<ClipState> {
    ledger.coverage(&clip.source_id).unwrap().state_of(clip.span.start_ns)
}

#[tokio::test]
async fn a_topic_is_brought_in_and_the_run_ends_with_it() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let index = Arc::new(FaultyIndex::default());
    let indexer = Indexer::new(index.clone(), ledger.clone(), settings(4));
    let progress = indexer.progress();
    let clips = some_clips("gate", 10, &BTreeSet::from([3]));
    let topic = topic();
    let mut source = source_of(&clips[0]);
    publish(&topic, [source.clone().into()]).await;
    publish(&topic, clips.iter().cloned().map(Into::into)).await;
    let gated = CoverageRecord {
        source_id: source.source_id.clone(),
        span: footage_clip::Span::new(90_000_000_000, 94_000_000_000),
        state: ClipState::Gated,
    };
    source.complete = true;
    publish(&topic, [gated.into(), source.clone().into()]).await;
    topic.close();

    let report = indexer.run(topic.follow().await.unwrap()).await.unwrap();

    assert_eq!((report.indexed_clips, report.refused_clips, report.other_clips), (9, 1, 1));
    assert_eq!(report.batches, 4);
    assert_eq!(index.durable().len(), 9);
    assert_eq!(ledger.source(&source.source_id).unwrap(), Some(source.clone()));
    for clip in &clips {
        let expected = if clip.seq == 3 { REFUSED } else { ClipState::Indexed };
        assert_eq!(state_of(&ledger, clip), Some(expected), "clip {}", clip.seq);
    }
    let progress = progress.borrow().clone();
    let of_source = progress.sources[&source.source_id];
    let counts = (of_source.indexed_clips, of_source.gated_clips, of_source.lost_clips);
    assert_eq!(counts, (9, 1, 1));
    assert_eq!(progress.clips(), 11);
    assert!(of_source.complete);
    assert_eq!(of_source.reached_ns, 94_000_000_000);
    assert_eq!(topic.uncommitted(), 0);
}

#[tokio::test]
async fn a_lone_clip_does_not_wait_for_a_full_batch() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let indexer =
        Indexer::new(Arc::new(FaultyIndex::default()), ledger.clone(), settings(1_000_000));
    let mut progress = indexer.progress();
    let topic = topic();
    let follower = topic.follow().await.unwrap();
    let run = tokio::spawn(async move { indexer.run(follower).await });
    publish(&topic, some_clips("gate", 1, &BTreeSet::new()).into_iter().map(Into::into)).await;

    tokio::time::timeout(Duration::from_secs(20), progress.changed()).await.unwrap().unwrap();

    assert_eq!(progress.borrow().clips(), 1);
    topic.close();
    assert_eq!(run.await.unwrap().unwrap().indexed_clips, 1);
}

#[tokio::test]
async fn a_failure_that_passes_is_tried_again_with_growing_pauses() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let faults = [(0, Fault::Passing), (1, Fault::Passing), (3, Fault::Passing)];
    let index = Arc::new(FaultyIndex::with_faults(faults));
    let mut settings = settings(10);
    settings.retry.first_pause = Duration::from_millis(40);
    settings.retry.max_pause = Duration::from_secs(1);
    let indexer = Indexer::new(index.clone(), ledger, settings);
    let topic = topic();
    publish(&topic, some_clips("gate", 5, &BTreeSet::new()).into_iter().map(Into::into)).await;
    topic.close();
    let begun = Instant::now();

    let report = indexer.run(topic.follow().await.unwrap()).await.unwrap();

    // 40 and 80 before the third keep, 40 before the second flush.
    assert!(begun.elapsed() >= Duration::from_millis(160), "{:?}", begun.elapsed());
    assert_eq!((report.indexed_clips, index.calls()), (5, 5));
}

#[tokio::test]
async fn a_failure_that_stays_ends_the_run_and_leaves_the_clips_in_the_topic() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    for (fault, calls) in [(Fault::Passing, 3), (Fault::Full, 1)] {
        let index = Arc::new(FaultyIndex::with_faults((0..100).map(|call| (call, fault))));
        let indexer = Indexer::new(index.clone(), ledger.clone(), settings(10));
        let clips = some_clips("gate", 5, &BTreeSet::new());
        let topic = topic();
        publish(&topic, clips.iter().cloned().map(Into::into)).await;
        topic.close();

        let error = indexer.run(topic.follow().await.unwrap()).await.unwrap_err();

        let is_full = matches!(error, IndexerError::Index(IndexError::NoSpace { .. }));
        assert_eq!(is_full, fault == Fault::Full, "{error}");
        assert_eq!(index.calls(), calls, "a full disk is not tried again");
        assert_eq!(topic.uncommitted(), 5);
        assert_eq!(state_of(&ledger, &clips[0]), None);
    }
}

#[tokio::test]
async fn an_error_of_the_ledger_ends_the_run_before_anything_is_committed() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let clip = some_clips("gate", 1, &BTreeSet::new()).remove(0);
    let mut other_grid = source_of(&clip);
    let rate = footage_clip::Rate::try_new(7, 1).unwrap();
    other_grid.window = footage_clip::WindowSpec::try_new(2, 1, rate).unwrap();
    ledger.enter(&[source_of(&clip)], &[]).unwrap();
    let entry = CoverageRecord {
        source_id: clip.source_id.clone(),
        span: clip.span,
        state: ClipState::Gated,
    };
    ledger.enter(&[], &[entry]).unwrap();
    let topic = topic();
    publish(&topic, [other_grid.into(), clip.into()]).await;
    topic.close();
    let indexer = Indexer::new(Arc::new(FaultyIndex::default()), ledger, settings(10));

    let error = indexer.run(topic.follow().await.unwrap()).await.unwrap_err();

    assert!(matches!(error, IndexerError::Ledger(_)), "{error}");
    assert_eq!(topic.uncommitted(), 2);
}

#[tokio::test]
async fn the_fault_double_refuses_what_a_real_index_refuses() {
    let bad = some_clips("gate", 1, &BTreeSet::from([0]));
    let error = FaultyIndex::default().keep(&bad).await.unwrap_err();
    let why = wrong_dimension(DIM + 1);
    assert_eq!(error, IndexError::Refused { clip_id: bad[0].clip_id, why });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_clip_ends_in_the_index_once_or_in_the_ledger_as_lost(
        counts in (0u64..30, 0u64..30),
        bad in proptest::collection::btree_set(0u64..30, 0..6),
        faults in proptest::collection::btree_map(
            0usize..60, prop_oneof![Just(Fault::Passing), Just(Fault::Full)], 0..25),
        max_batch in 1usize..20,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(conserves(counts, &bad, faults, max_batch));
    }
}

/// Runs, crashes and runs again until everything is through; looks at every stop.
async fn conserves(
    counts: (u64, u64),
    bad: &BTreeSet<u64>,
    faults: BTreeMap<usize, Fault>,
    max_batch: usize,
) {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let index = Arc::new(FaultyIndex::with_faults(faults));
    let gate = some_clips("gate", counts.0, bad);
    let yard = some_clips("yard", counts.1, &BTreeSet::new());
    let topic = topic();
    publish(&topic, gate.iter().chain(&yard).cloned().map(Into::into)).await;
    topic.close();
    let accepted: Vec<&ClipRecord> = gate.iter().chain(&yard).collect();
    loop {
        let indexer = Indexer::new(index.clone(), ledger.clone(), settings(max_batch));
        let done = indexer.run(topic.follow().await.unwrap()).await.is_ok();
        index.crash();

        let durable = index.durable();
        for clip in &accepted {
            if state_of(&ledger, clip) == Some(ClipState::Indexed) {
                assert!(durable.contains(&clip.clip_id), "entered as indexed before it was");
            }
        }
        if done {
            break;
        }
    }
    let durable = index.durable();
    let mut lost = BTreeSet::new();
    for clip in &accepted {
        match state_of(&ledger, clip) {
            Some(ClipState::Indexed) => assert!(durable.contains(&clip.clip_id)),
            Some(REFUSED) => assert!(lost.insert(clip.clip_id)),
            other => panic!("clip {} of {} is {other:?}", clip.seq, clip.source_id),
        }
    }
    let ids: BTreeSet<ClipId> = accepted.iter().map(|clip| clip.clip_id).collect();
    assert!(durable.is_disjoint(&lost));
    assert_eq!(&durable | &lost, ids);
    assert_eq!(lost.len(), gate.iter().filter(|clip| bad.contains(&clip.seq)).count());
    assert_eq!(topic.uncommitted(), 0);
}

fn source_of(clip: &ClipRecord) -> SourceRecord {
    SourceRecord {
        source_id: clip.source_id.clone(),
        name: "gate.mp4".into(),
        kind: SourceKind::File,
        media: None,
        stamp: None,
        content_hash: None,
        duration_ns: None,
        decoded: None,
        retained_from_ns: None,
        added_unix_s: 1_700_000_000,
        model: clip.model.clone(),
        window: clip.window,
        complete: false,
        failure: None,
    }
}
