//! What the ledger promises: nothing claimed that is not so, nothing forgotten that was entered.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

mod months;

use std::collections::BTreeMap;

use footage_clip::{
    ClipState, CoverageRecord, FileStamp, LostReason, SourceId, SourceKind, SourceRecord, Span,
};
use footage_index::contract::{clips, collection};
use footage_index::{
    FindClips, KeepClips, KnownFile, Ledger, LedgerError, MemoryIndex, finish_removals,
    remove_source,
};
use proptest::prelude::*;
use tempfile::TempDir;

const REFUSED: ClipState = ClipState::Lost(LostReason::Refused);

fn source_id(id: &str) -> SourceId {
    SourceId::try_new(id).unwrap()
}

fn source(id: &str) -> SourceRecord {
    let clip = clips(&collection(4), id, 1).remove(0);
    SourceRecord {
        source_id: source_id(id),
        name: format!("{id}.mp4"),
        kind: SourceKind::File,
        media: None,
        stamp: None,
        content_hash: None,
        duration_ns: Some(60_000_000_000),
        decoded: None,
        retained_from_ns: None,
        added_unix_s: 1_700_000_000,
        model: clip.model,
        window: clip.window,
        complete: false,
        failure: None,
    }
}

fn entry(id: &str, start: u64, state: ClipState) -> CoverageRecord {
    CoverageRecord { source_id: source_id(id), span: Span::new(start * 4, start * 4 + 8), state }
}

#[test]
fn what_was_entered_is_there_when_opened_again() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let entries: Vec<_> = (0..50).map(|start| entry("gate", start, ClipState::Indexed)).collect();
    ledger.enter(&[source("gate"), source("yard")], &entries).unwrap();
    ledger.enter(&[], &[entry("yard", 3, ClipState::Gated)]).unwrap();
    drop(ledger);

    let ledger = Ledger::open(folder.path()).unwrap();

    assert_eq!(ledger.sources().unwrap(), [source("gate"), source("yard")]);
    assert_eq!(ledger.source(&source_id("gate")).unwrap(), Some(source("gate")));
    assert_eq!(ledger.source(&source_id("hall")).unwrap(), None);
    let coverage = ledger.coverage(&source_id("gate")).unwrap();
    assert_eq!(coverage.runs().count(), 1);
    assert_eq!(coverage.clips(|state| state == ClipState::Indexed), 50);
    let gated = ledger.coverage(&source_id("yard")).unwrap();
    assert_eq!(gated.state_of(12), Some(ClipState::Gated));
}

#[test]
fn a_source_entered_again_keeps_the_time_it_was_first_seen() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.enter(&[source("gate")], &[]).unwrap();
    let later = SourceRecord { added_unix_s: 1_800_000_000, complete: true, ..source("gate") };
    ledger.enter(std::slice::from_ref(&later), &[]).unwrap();
    let held = ledger.source(&source_id("gate")).unwrap();
    assert_eq!(held, Some(SourceRecord { added_unix_s: 1_700_000_000, ..later }));
}

#[test]
fn clips_of_two_grids_are_never_mixed_in_one_source() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let mut other = source("gate");
    other.window =
        footage_clip::WindowSpec::try_new(4, 4, footage_clip::Rate::try_new(1, 1).unwrap())
            .unwrap();
    ledger.enter(&[source("gate")], &[]).unwrap();
    ledger.enter(&[other.clone()], &[]).unwrap();
    ledger.enter(&[], &[entry("gate", 0, ClipState::Indexed)]).unwrap();

    let refused =
        ledger.enter(&[source("gate")], &[entry("gate", 1, ClipState::Indexed)]).unwrap_err();

    assert!(matches!(refused, LedgerError::OtherGrid { .. }), "{refused}");
    assert!(refused.to_string().contains("remove the source first"), "{refused}");
    let coverage = ledger.coverage(&source_id("gate")).unwrap();
    assert_eq!(coverage.clips(|_| true), 1, "the refused call entered nothing");
    assert_eq!(ledger.source(&source_id("gate")).unwrap(), Some(other));
}

#[test]
fn files_are_known_again_by_path_until_their_source_is_removed() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let stamp = FileStamp { size_bytes: 12, modified_unix_ns: -5 };
    let file = KnownFile { stamp, source_id: source_id("gate") };
    ledger.remember_file("/videos/a.mp4", &file).unwrap();
    assert_eq!(ledger.known_file("/videos/a.mp4").unwrap(), Some(file));
    assert_eq!(ledger.known_file("/videos/b.mp4").unwrap(), None);
}

#[test]
fn a_ledger_of_a_newer_release_is_left_alone() {
    let folder = TempDir::new().unwrap();
    drop(Ledger::open(folder.path()).unwrap());
    let database = redb::Database::open(folder.path().join("ledger.redb")).unwrap();
    let transaction = database.begin_write().unwrap();
    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    transaction.open_table(meta).unwrap().insert("format", 3).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = Ledger::open(folder.path()).unwrap_err();
    assert!(matches!(refused, LedgerError::Newer { found: 3, .. }), "{refused}");
}

#[test]
fn a_file_that_is_no_ledger_is_reported() {
    let folder = TempDir::new().unwrap();
    fs_err::write(folder.path().join("ledger.redb"), vec![7; 5000]).unwrap();
    let refused = Ledger::open(folder.path()).unwrap_err();
    assert!(matches!(refused, LedgerError::Damaged { .. }), "{refused}");
}

#[test]
fn a_ledger_whose_making_was_interrupted_is_made_anew() {
    let folder = TempDir::new().unwrap();
    let unfinished = folder.path().join("ledger.redb.new");
    fs_err::write(&unfinished, vec![0; 5000]).unwrap();

    let ledger = Ledger::open(folder.path()).unwrap();

    assert!(!unfinished.exists());
    ledger.enter(&[source("gate")], &[]).unwrap();
    drop(ledger);
    let ledger = Ledger::open(folder.path()).unwrap();
    assert_eq!(ledger.sources().unwrap(), [source("gate")]);
}

#[test]
fn a_ledger_is_made_beside_its_place() {
    let folder = TempDir::new().unwrap();
    // Nothing can be made there.
    fs_err::create_dir(folder.path().join("ledger.redb.new")).unwrap();
    let failed = Ledger::open(folder.path()).unwrap_err();
    assert!(matches!(failed, LedgerError::Failed { .. }), "{failed}");
    assert!(!folder.path().join("ledger.redb").exists());
}

#[tokio::test]
async fn removing_a_source_leaves_no_trace_of_it_and_all_of_the_others() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let index = MemoryIndex::new(collection(4));
    for id in ["gate", "gate-2", "yard"] {
        let clips = clips(&collection(4), id, 10);
        index.keep(&clips).await.unwrap();
        let entries: Vec<_> = (0..10).map(|at| entry(id, at, ClipState::Indexed)).collect();
        ledger.enter(&[source(id)], &entries).unwrap();
        let stamp = FileStamp { size_bytes: 1, modified_unix_ns: 2 };
        ledger.remember_file(id, &KnownFile { stamp, source_id: source_id(id) }).unwrap();
    }

    let removed = remove_source(&index, &ledger, &source_id("gate")).await.unwrap();

    assert_eq!((removed.known, removed.clips), (true, 10));
    assert_eq!(index.count(&footage_index::Filter::default()).await.unwrap(), 20);
    assert_eq!(ledger.sources().unwrap(), [source("gate-2"), source("yard")]);
    assert_eq!(ledger.coverage(&source_id("gate")).unwrap().clips(|_| true), 0);
    assert_eq!(ledger.coverage(&source_id("gate-2")).unwrap().clips(|_| true), 10);
    assert_eq!(ledger.known_file("gate").unwrap(), None);
    assert!(ledger.known_file("yard").unwrap().is_some());
    let again = remove_source(&index, &ledger, &source_id("gate")).await.unwrap();
    assert_eq!((again.known, again.clips), (false, 0));
    ledger.enter(&[source("gate")], &[]).unwrap();
}

/// An index that fails for as long as it is told to.
struct Failing(MemoryIndex);

#[async_trait::async_trait]
impl KeepClips for Failing {
    async fn keep(
        &self,
        clips: &[footage_clip::ClipRecord],
    ) -> Result<(), footage_index::IndexError> {
        self.0.keep(clips).await
    }

    async fn caption(
        &self,
        captions: &[(footage_clip::ClipId, footage_clip::Caption)],
    ) -> Result<u64, footage_index::IndexError> {
        self.0.caption(captions).await
    }

    async fn flush(&self) -> Result<(), footage_index::IndexError> {
        let at = std::path::PathBuf::from("/data");
        Err(footage_index::IndexError::Failed { doing: "flushing", at, cause: "told to".into() })
    }

    async fn remove_source(&self, id: &SourceId) -> Result<u64, footage_index::IndexError> {
        self.0.remove_source(id).await
    }

    async fn remove_before(
        &self,
        id: &SourceId,
        end_ns: u64,
    ) -> Result<u64, footage_index::IndexError> {
        self.0.remove_before(id, end_ns).await
    }

    async fn optimize(&self) -> Result<(), footage_index::IndexError> {
        Ok(())
    }
}

#[tokio::test]
async fn an_interrupted_removal_claims_nothing_and_is_finished_later() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let index = MemoryIndex::new(collection(4));
    let kept = clips(&collection(4), "gate", 3);
    index.keep(&kept).await.unwrap();
    ledger.enter(&[source("gate")], &[entry("gate", 0, ClipState::Indexed)]).unwrap();
    let failing = Failing(index.clone());
    remove_source(&failing, &ledger, &source_id("gate")).await.unwrap_err();
    // As if the removal had not reached the disk.
    index.keep(&kept).await.unwrap();

    assert_eq!(ledger.coverage(&source_id("gate")).unwrap().clips(|_| true), 0);
    let refused = ledger.enter(&[source("gate")], &[]).unwrap_err();
    assert!(matches!(refused, LedgerError::Removing(_)), "{refused}");

    finish_removals(&index, &ledger).await.unwrap();

    assert_eq!(index.count(&footage_index::Filter::default()).await.unwrap(), 0);
    ledger.enter(&[source("gate")], &[]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_same_entries_in_another_order_make_the_same_ledger(
        entries in proptest::collection::vec((0u64..30, 0usize..3), 1..80),
        cut in 0usize..80,
    ) {
        let states = [ClipState::Indexed, ClipState::Gated, REFUSED];
        let entries: Vec<_> =
            entries.iter().map(|(start, state)| entry("gate", *start, states[*state])).collect();
        let (first, second) = entries.split_at(cut.min(entries.len()));
        let folders = [TempDir::new().unwrap(), TempDir::new().unwrap()];
        let ledgers = folders.each_ref().map(|folder| Ledger::open(folder.path()).unwrap());
        ledgers[0].enter(&[], &entries).unwrap();
        ledgers[1].enter(&[], second).unwrap();
        ledgers[1].enter(&[], first).unwrap();
        ledgers[1].enter(&[], &entries).unwrap();

        let coverage = ledgers.each_ref().map(|ledger| ledger.coverage(&source_id("gate")).unwrap());

        prop_assert_eq!(&coverage[0], &coverage[1]);
        let mut best = BTreeMap::new();
        for entry in &entries {
            let held = best.entry(entry.span.start_ns).or_insert(entry.state);
            *held = (*held).min(entry.state);
        }
        for (start_ns, state) in &best {
            prop_assert_eq!(coverage[0].state_of(*start_ns), Some(*state));
        }
        prop_assert_eq!(coverage[0].clips(|_| true), best.len() as u64);
    }
}

#[test]
fn a_damaged_ledger_is_an_error_of_one_line_whatever_the_damage() {
    let folder = TempDir::new().unwrap();
    let at = folder.path().join("ledger.redb");
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.enter(&[source("gate")], &[]).unwrap();
    drop(ledger);
    let whole = fs_err::read(&at).unwrap();
    let damages = [
        whole[..whole.len() / 2].to_vec(),
        whole[..4096].to_vec(),
        vec![0; whole.len()],
        [vec![0x5a; 4096], whole[4096..].to_vec()].concat(),
        [whole[..4096].to_vec(), vec![0x5a; whole.len() - 4096]].concat(),
    ];
    for (at_damage, damage) in damages.into_iter().enumerate() {
        fs_err::write(&at, damage).unwrap();
        let told = Ledger::open(folder.path()).unwrap_err().to_string();
        assert_eq!(told.lines().count(), 1, "{at_damage}: {told}");
        assert!(told.contains("index again"), "{at_damage}: {told}");
    }
    fs_err::write(&at, whole).unwrap();
    assert!(Ledger::open(folder.path()).unwrap().source(&source_id("gate")).unwrap().is_some());
}
