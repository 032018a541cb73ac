//! What is too old goes, whole and nothing else, whatever fails on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use footage_clip::{
    ClipId, ClipRecord, ClipState, CoverageRecord, LostReason, SourceId, SourceKind, SourceRecord,
    Span,
};
use footage_index::{KeepClips as _, Ledger};
use footage_indexer::{
    Footage, FootageError, FootagePart, Indexer, NoFootage, Retained, Retention, RetentionPolicy,
};
use footage_topic::Topic as _;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::faulty::{Fault, FaultyIndex};
use crate::{publish, settings, some_clips, source_of, topic};

const S: u64 = 1_000_000_000;
/// A part of footage is a minute, and as many bytes.
const PART_S: u64 = 60;

/// Footage in minutes, whose removals fail when told to: before anything went, or after.
#[derive(Debug, Default)]
struct FaultyFootage {
    parts: Mutex<Vec<FootagePart>>,
    removals: Mutex<usize>,
    faults: BTreeMap<usize, When>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Before,
    After,
}

impl FaultyFootage {
    fn of(seconds: u64, faults: impl IntoIterator<Item = (usize, When)>) -> Self {
        let begins = (0..seconds.div_ceil(PART_S)).map(|at| at * PART_S * S);
        let parts = begins.map(|begins_ns| FootagePart { begins_ns, bytes: PART_S });
        Self {
            parts: Mutex::new(parts.collect()),
            faults: faults.into_iter().collect(),
            ..Self::default()
        }
    }

    fn begins(&self) -> Vec<u64> {
        self.parts.lock().unwrap().iter().map(|part| part.begins_ns).collect()
    }
}

impl Footage for FaultyFootage {
    fn parts(&self, _: &SourceId) -> Result<Vec<FootagePart>, FootageError> {
        Ok(self.parts.lock().unwrap().clone())
    }

    fn remove_before(&self, source_id: &SourceId, before_ns: u64) -> Result<u64, FootageError> {
        let mut removals = self.removals.lock().unwrap();
        let fault = self.faults.get(&removals);
        *removals += 1;
        let failed = || FootageError {
            source_id: source_id.clone(),
            doing: "removed",
            cause: "told to".into(),
        };
        if fault == Some(&When::Before) {
            return Err(failed());
        }
        let mut parts = self.parts.lock().unwrap();
        let held = parts.len();
        parts.retain(|part| part.begins_ns + PART_S * S > before_ns);
        if fault == Some(&When::After) { Err(failed()) } else { Ok((held - parts.len()) as u64) }
    }
}

/// A camera that was watched without a break: clips of four seconds every two, of which every
/// seventh is gated, and a stretch at the end in which it could not be reached.
struct Watched {
    _folder: TempDir,
    ledger: Ledger,
    index: Arc<FaultyIndex>,
    footage: Arc<FaultyFootage>,
    clips: Vec<ClipRecord>,
    end_ns: u64,
}

fn camera(clip: &ClipRecord) -> SourceRecord {
    SourceRecord { kind: SourceKind::Camera, ..source_of(clip) }
}

impl Watched {
    async fn new(
        clips: u64,
        faults: impl IntoIterator<Item = (usize, Fault)>,
        footage_faults: impl IntoIterator<Item = (usize, When)>,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let ledger = Ledger::open(folder.path()).unwrap();
        // Two calls bring the clips in.
        let faults = faults.into_iter().map(|(call, fault)| (call + 2, fault));
        let index = Arc::new(FaultyIndex::with_faults(faults));
        let all = some_clips("gate", clips, &BTreeSet::new());
        let clips: Vec<_> = all.iter().filter(|clip| clip.seq % 7 != 6).cloned().collect();
        index.keep(&clips).await.unwrap();
        index.flush().await.unwrap();
        let entry = |clip: &ClipRecord| CoverageRecord {
            source_id: clip.source_id.clone(),
            span: clip.span,
            state: if clip.seq % 7 == 6 { ClipState::Gated } else { ClipState::Indexed },
        };
        let mut entries: Vec<_> = all.iter().map(entry).collect();
        let reached_ns = all.last().unwrap().span.end_ns;
        let end_ns = reached_ns + 500 * S;
        entries.push(CoverageRecord {
            span: Span::new(reached_ns, end_ns),
            state: ClipState::Lost(LostReason::Disconnected),
            ..entries[0].clone()
        });
        ledger.enter(&[camera(&all[0])], &entries).unwrap();
        let footage = Arc::new(FaultyFootage::of(reached_ns / S, footage_faults));
        Self { _folder: folder, ledger, index, footage, clips, end_ns }
    }

    fn id(&self) -> &SourceId {
        &self.clips[0].source_id
    }

    fn retention(&self) -> Retention {
        Retention::new(self.index.clone(), self.ledger.clone(), self.footage.clone())
    }

    fn kept_from(&self) -> u64 {
        let record = self.ledger.source(self.id()).unwrap().unwrap();
        record.retained_from_ns.unwrap_or(0)
    }

    /// Ids of what the ledger claims to be indexed.
    fn claimed(&self) -> BTreeSet<ClipId> {
        let coverage = self.ledger.coverage(self.id()).unwrap();
        let is_claimed =
            |clip: &&ClipRecord| coverage.state_of(clip.span.start_ns) == Some(ClipState::Indexed);
        self.clips.iter().filter(is_claimed).map(|clip| clip.clip_id).collect()
    }

    /// What holds at every instant, however far a removal got.
    fn claims_nothing_that_is_gone(&self) {
        let claimed = self.claimed();
        assert!(claimed.is_subset(&self.index.durable()));
        assert_eq!(self.ledger.indexed_clips().unwrap(), claimed.len() as u64);
        let kept_from = self.kept_from();
        let coverage = self.ledger.coverage(self.id()).unwrap();
        assert_eq!(coverage.holes(Span::new(kept_from, self.end_ns)), []);
        let begins = self.footage.begins();
        let reached = (self.end_ns - 500 * S) / S;
        for begins_ns in (0..reached.div_ceil(PART_S)).map(|at| at * PART_S * S) {
            let is_kept = begins_ns + PART_S * S > kept_from;
            assert!(!is_kept || begins.contains(&begins_ns), "footage went that was to stay");
        }
    }

    /// What holds once nothing is left to finish.
    fn holds_what_is_kept_and_no_more(&self) {
        self.claims_nothing_that_is_gone();
        assert_eq!(self.ledger.closings().unwrap(), []);
        let kept_from = self.kept_from();
        let kept = self.clips.iter().filter(|clip| clip.span.end_ns > kept_from);
        let kept: BTreeSet<ClipId> = kept.map(|clip| clip.clip_id).collect();
        assert_eq!(self.index.durable(), kept);
        assert_eq!(self.claimed(), kept);
        assert!(self.footage.begins().iter().all(|begins| begins + PART_S * S > kept_from));
    }
}

fn days(days: u64) -> RetentionPolicy {
    RetentionPolicy { max_age: Some(Duration::from_secs(days * 86_400)), max_bytes: None }
}

#[tokio::test]
async fn what_is_older_than_its_age_goes_and_the_rest_stays() {
    let watched = Watched::new(500, [], []).await;
    let now = 86_400 * S + 601 * S;

    let went = watched.retention().apply(watched.id(), days(1), now).await.unwrap();

    assert_eq!(watched.kept_from(), 601 * S);
    watched.holds_what_is_kept_and_no_more();
    // Clips end by 600 s up to the one that starts at 596 s; of those each seventh was gated.
    assert_eq!(went, Retained { clips: 299 - 42, bytes: 10 });
    let again = watched.retention().apply(watched.id(), days(1), now).await.unwrap();
    assert_eq!(again, Retained::default());
}

#[tokio::test]
async fn the_oldest_goes_when_footage_takes_too_much_room() {
    let watched = Watched::new(500, [], []).await;
    let policy = RetentionPolicy { max_bytes: Some(5 * PART_S + 1), max_age: None };

    let went = watched.retention().apply(watched.id(), policy, 0).await.unwrap();

    // 17 minutes were recorded, and 5 fit.
    assert_eq!(went.bytes, 12);
    assert_eq!(watched.kept_from(), 12 * PART_S * S);
    watched.holds_what_is_kept_and_no_more();
    assert_eq!(watched.footage.begins().len(), 5);
}

#[tokio::test]
async fn without_a_policy_everything_stays() {
    let watched = Watched::new(50, [], []).await;
    let policy = RetentionPolicy::default();
    let went = watched.retention().apply(watched.id(), policy, u64::MAX).await.unwrap();
    assert_eq!((went, watched.kept_from()), (Retained::default(), 0));
    watched.holds_what_is_kept_and_no_more();
}

#[tokio::test]
async fn everything_may_be_too_old_and_the_camera_goes_on_from_there() {
    let watched = Watched::new(50, [], []).await;
    let now = 90_000 * S;
    let policy = RetentionPolicy { max_age: Some(Duration::from_secs(3600)), max_bytes: None };

    watched.retention().apply(watched.id(), policy, now).await.unwrap();

    assert_eq!(watched.index.durable(), BTreeSet::new());
    assert_eq!(watched.footage.begins(), Vec::<u64>::new());
    assert_eq!(watched.ledger.covered_end_ns(watched.id()).unwrap(), Some(86_400 * S));
}

#[tokio::test]
async fn a_clip_that_comes_after_its_time_was_closed_is_not_claimed() {
    let watched = Watched::new(500, [], []).await;
    let now = 86_400 * S + 601 * S;
    watched.retention().apply(watched.id(), days(1), now).await.unwrap();
    let claimed = watched.claimed();
    let topic = topic();
    publish(&topic, watched.clips[..20].iter().cloned().map(Into::into)).await;
    topic.close();
    let indexer = Indexer::new(watched.index.clone(), watched.ledger.clone(), settings(10));

    indexer.run(topic.follow().await.unwrap()).await.unwrap();

    assert_eq!(watched.claimed(), claimed);
    let later = now + 10 * S;
    watched.retention().apply(watched.id(), days(1), later).await.unwrap();
    watched.holds_what_is_kept_and_no_more();
}

/// Fails at one step, crashes there, and is begun anew.
async fn crashes(fault: Option<(usize, Fault)>, footage_fault: Option<(usize, When)>) {
    // Three parts of a removal, with three calls of the index in all but its first.
    let watched = Watched::new(6000, fault, footage_fault).await;
    let now = 86_400 * S + 11_000 * S;
    let failed = watched.retention().apply(watched.id(), days(1), now).await;
    failed.unwrap_err();
    watched.index.crash();
    watched.claims_nothing_that_is_gone();

    watched.retention().finish().await.unwrap();
    watched.holds_what_is_kept_and_no_more();
    watched.retention().apply(watched.id(), days(1), now).await.unwrap();
    assert_eq!(watched.kept_from(), 11_000 * S);
    watched.holds_what_is_kept_and_no_more();
}

#[tokio::test]
async fn a_removal_that_crashes_between_any_two_steps_is_finished_later() {
    // Of each part: vectors, flush. Footage: before and after.
    for call in 0..6 {
        crashes(Some((call, Fault::Full)), None).await;
    }
    for removal in 0..3 {
        crashes(None, Some((removal, When::Before))).await;
        crashes(None, Some((removal, When::After))).await;
    }
}

#[tokio::test]
async fn a_removal_that_failed_goes_on_with_the_next_without_a_new_beginning() {
    let watched = Watched::new(500, [(0, Fault::Full)], [(0, When::Before)]).await;
    let now = 86_400 * S + 601 * S;
    let retention = watched.retention();
    retention.apply(watched.id(), days(1), now).await.unwrap_err();
    retention.apply(watched.id(), days(1), now).await.unwrap_err();
    retention.apply(watched.id(), days(1), now).await.unwrap();
    watched.holds_what_is_kept_and_no_more();
}

#[tokio::test]
async fn who_records_nothing_still_lets_go_of_old_clips() {
    let watched = Watched::new(500, [], []).await;
    let footage = Arc::new(NoFootage);
    let retention = Retention::new(watched.index.clone(), watched.ledger.clone(), footage);
    let went = retention.apply(watched.id(), days(1), 86_400 * S + 601 * S).await.unwrap();
    assert_eq!((went.bytes, watched.kept_from()), (0, 601 * S));
    assert_eq!(watched.claimed(), watched.index.durable());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_fails_and_whenever_nothing_is_claimed_that_is_gone(
        faults in prop::collection::btree_set(0usize..24, 0..6),
        footage_faults in prop::collection::btree_map(
            0usize..12, prop_oneof![Just(When::Before), Just(When::After)], 0..4),
        ages in prop::collection::vec((1u64..12_500, any::<bool>()), 1..5),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let faults = faults.into_iter().map(|call| (call, Fault::Full));
            let watched = Watched::new(6000, faults, footage_faults).await;
            for (at, has_crashed) in ages {
                let now = 86_400 * S + at * S;
                while watched.retention().apply(watched.id(), days(1), now).await.is_err() {
                    watched.claims_nothing_that_is_gone();
                    if has_crashed {
                        watched.index.crash();
                        watched.claims_nothing_that_is_gone();
                        // May fail as well, and leaves it to the next.
                        let _finished = watched.retention().finish().await;
                    }
                }
                watched.holds_what_is_kept_and_no_more();
            }
        });
    }
}
