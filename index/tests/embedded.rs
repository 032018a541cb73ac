//! What an index in a folder promises beyond the contract: it survives, and it guards its folder.

#![expect(clippy::unwrap_used, reason = "a failure is a failed test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use footage_clip::{ClipId, FileStamp, SourceId};
use footage_index::contract::{
    Fixture, clips, collection, direction, one_of_two_collections_is_read,
};
use footage_index::{
    Beside as _, EmbeddedIndex, EmbeddedSettings, Filter, FindClips, IndexError, KeepClips,
    KnownFile, Ledger, LedgerError, Manifest, With,
};
use tempfile::TempDir;

footage_index::index_contract!(|collection| Box::pin(async move {
    let data = TempDir::new().unwrap();
    let index = EmbeddedIndex::open(data.path(), &collection, small_graphs()).await.unwrap();
    Fixture { index: Arc::new(index), guard: Box::new(data) }
}));

/// Graphs are built from the first few clips on, so that small tests search some.
fn small_graphs() -> EmbeddedSettings {
    EmbeddedSettings {
        graph_from_kib: 16,
        optimize_after_clips: usize::MAX,
        optimize_idle: Duration::from_secs(3600),
        optimize_threads: 1,
        ..EmbeddedSettings::default()
    }
}

async fn open(data: &Path, dim: usize) -> Result<EmbeddedIndex, IndexError> {
    EmbeddedIndex::open(data, &collection(dim), small_graphs()).await
}

fn folder(data: &Path) -> PathBuf {
    data.join("index").join(collection(8).model.fingerprint.as_str())
}

fn shard(data: &Path) -> PathBuf {
    folder(data).join("clips")
}

fn manifest(data: &Path) -> PathBuf {
    folder(data).join("manifest.json")
}

fn gate() -> SourceId {
    SourceId::try_new("gate").unwrap()
}

async fn soon<R>(what: impl Future<Output = R>) -> R {
    tokio::time::timeout(Duration::from_secs(120), what).await.expect("an end of this")
}

#[tokio::test]
async fn everything_is_still_there_when_opened_again() {
    let data = TempDir::new().unwrap();
    let mut kept = clips(&collection(8), "gate", 100);
    kept[3].thumbnail = Some(vec![1, 2, 3]);
    let index = open(data.path(), 8).await.unwrap();
    index.keep(&kept).await.unwrap();
    let query = direction(8, 9);
    let before = index.find(&query, &Filter::default(), 100).await.unwrap();
    index.close().await.unwrap();

    let index = EmbeddedIndex::open_existing(data.path(), small_graphs()).await.unwrap();

    assert_eq!(index.collection(), &collection(8));
    assert_eq!(index.find(&query, &Filter::default(), 100).await.unwrap(), before);
    assert_eq!(index.thumbnail(kept[3].clip_id).await.unwrap(), Some(vec![1, 2, 3]));
    assert_eq!(index.count(&Filter::of_source(gate())).await.unwrap(), 100);
}

#[tokio::test]
async fn a_search_graph_finds_what_comparing_every_clip_finds() {
    let data = TempDir::new().unwrap();
    let collection = collection(64);
    let index = EmbeddedIndex::open(data.path(), &collection, small_graphs()).await.unwrap();
    index.keep(&clips(&collection, "gate", 3000)).await.unwrap();
    let queries: Vec<_> = (0..40).map(|query| direction(64, 77_000 + query)).collect();
    let mut exact = Vec::new();
    for query in &queries {
        exact.push(index.find(query, &Filter::default(), 10).await.unwrap());
    }
    assert_eq!(index.unindexed().await.unwrap(), 3000);

    index.optimize().await.unwrap();

    assert_eq!(index.unindexed().await.unwrap(), 0);
    let mut same = 0;
    for (query, exact) in queries.iter().zip(&exact) {
        let exact: BTreeSet<ClipId> = exact.iter().map(|hit| hit.clip_id).collect();
        let hits = index.find(query, &Filter::default(), 10).await.unwrap();
        same += hits.iter().filter(|hit| exact.contains(&hit.clip_id)).count();
    }
    // Directions of chance are the hardest case there is for a graph.
    assert!(same >= 380, "{same} of 400");
}

#[tokio::test]
async fn graphs_are_built_unasked_in_a_quiet_moment() {
    let data = TempDir::new().unwrap();
    let settings = EmbeddedSettings { optimize_idle: Duration::from_millis(50), ..small_graphs() };
    let collection = collection(64);
    let index = EmbeddedIndex::open(data.path(), &collection, settings).await.unwrap();
    index.optimize_in_background().await.unwrap();
    index.keep(&clips(&collection, "gate", 500)).await.unwrap();
    in_graphs(&index).await;
}

#[tokio::test]
async fn graphs_are_built_unasked_only_where_that_is_wanted() {
    let data = TempDir::new().unwrap();
    let settings = EmbeddedSettings {
        optimize_after_clips: 1,
        optimize_idle: Duration::ZERO,
        ..small_graphs()
    };
    let collection = collection(64);
    let index = EmbeddedIndex::open(data.path(), &collection, settings.clone()).await.unwrap();
    index.keep(&clips(&collection, "gate", 500)).await.unwrap();
    index.close().await.unwrap();

    let index = EmbeddedIndex::open_existing(data.path(), settings).await.unwrap();
    index.find(&direction(64, 9), &Filter::default(), 10).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(index.unindexed().await.unwrap(), 500);

    index.optimize_in_background().await.unwrap();
    in_graphs(&index).await;
}

async fn in_graphs(index: &EmbeddedIndex) {
    soon(async {
        while index.unindexed().await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn closing_at_once_does_not_wait_for_a_graph_and_loses_no_clip() {
    const CLIPS: u64 = 20_000;
    let data = TempDir::new().unwrap();
    let settings = EmbeddedSettings { optimize_after_clips: 1, ..small_graphs() };
    let collection = collection(64);
    let index = EmbeddedIndex::open(data.path(), &collection, settings).await.unwrap();
    index.keep(&clips(&collection, "gate", CLIPS)).await.unwrap();
    index.optimize_in_background().await.unwrap();
    let building = shard(data.path()).join("temp_segments");
    soon(async {
        while !fs_err::read_dir(&building).is_ok_and(|mut segments| segments.next().is_some()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;

    assert!(index.end_optimizing(), "a run goes on");
    index.close_at_once().await.unwrap();

    let refused = open(data.path(), 64).await.unwrap_err();
    assert!(matches!(refused, IndexError::InUse { .. }), "{refused}");
    let reopened = soon(async {
        loop {
            match open(data.path(), 64).await {
                Err(IndexError::InUse { .. }) => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    });
    assert_eq!(reopened.await.count(&Filter::default()).await.unwrap(), CLIPS);
}

#[tokio::test]
async fn a_directory_in_use_names_itself_and_its_holder() {
    let data = TempDir::new().unwrap();
    let index = open(data.path(), 8).await.unwrap();
    let ledger = Ledger::open(index.folder()).unwrap();

    let refused = open(data.path(), 8).await.unwrap_err();
    let again = Ledger::open(index.folder()).unwrap_err();

    let holder = Some(std::process::id());
    assert_eq!(refused, IndexError::InUse { at: data.path().to_owned(), holder });
    assert!(refused.to_string().contains(&std::process::id().to_string()), "{refused}");
    assert!(matches!(again, LedgerError::InUse(_)), "{again}");
    assert_eq!(Manifest::all(data.path()).unwrap().len(), 1);
    drop((index, ledger));
    open(data.path(), 8).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_collections_is_read_also_by_who_opens_the_directory_next() {
    let data = TempDir::new().unwrap();
    let index = open(data.path(), 8).await.unwrap();
    one_of_two_collections_is_read(&index).await;
    let mut other = collection(5);
    other.model.name = "newer-model".into();
    other.model.fingerprint = "f".repeat(32).try_into().unwrap();
    let beside = index.beside(&other).await.unwrap();
    beside.keep(&clips(&other, "gate", 3)).await.unwrap();
    index.close().await.unwrap();
    let held = EmbeddedIndex::open_existing(data.path(), small_graphs()).await;
    assert!(matches!(held, Err(IndexError::InUse { .. })), "one of two is open still");
    beside.make_current().await.unwrap();
    beside.close().await.unwrap();

    let refused = open(data.path(), 8).await.unwrap_err();
    assert!(matches!(refused, IndexError::OtherModel { .. }), "{refused}");
    let read = EmbeddedIndex::open_existing(data.path(), small_graphs()).await.unwrap();
    assert_eq!(*read.collection(), other);
    assert_eq!(read.count(&Filter::default()).await.unwrap(), 3);
}

#[tokio::test]
async fn another_model_is_refused_by_name_and_nothing_is_changed() {
    let data = TempDir::new().unwrap();
    let index = open(data.path(), 8).await.unwrap();
    index.keep(&clips(&collection(8), "gate", 5)).await.unwrap();
    index.close().await.unwrap();
    let mut other = collection(8);
    other.model.name = "newer-model".into();
    other.model.fingerprint = "f".repeat(32).try_into().unwrap();

    let opened = EmbeddedIndex::open(data.path(), &other, small_graphs()).await;

    let error = opened.unwrap_err();
    assert!(matches!(error, IndexError::OtherModel { .. }), "{error}");
    let message = error.to_string();
    assert!(message.contains("`test`") && message.contains("`newer-model`"), "{message}");
    let index = open(data.path(), 8).await.unwrap();
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 5);
}

#[tokio::test]
async fn what_a_newer_release_wrote_is_left_alone() {
    let data = TempDir::new().unwrap();
    open(data.path(), 8).await.unwrap().close().await.unwrap();
    let manifest = manifest(data.path());
    let text = fs_err::read_to_string(&manifest).unwrap();
    fs_err::write(&manifest, text.replace("\"format\": 1", "\"format\": 2, \"shape\": []"))
        .unwrap();

    let error = open(data.path(), 8).await.unwrap_err();

    assert!(matches!(error, IndexError::Newer { found: 2, supported: 1, .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_manifest_is_reported_and_not_overwritten() {
    let data = TempDir::new().unwrap();
    open(data.path(), 8).await.unwrap().close().await.unwrap();
    let manifest = manifest(data.path());
    fs_err::write(&manifest, "{\"format\": 1").unwrap();
    let error = open(data.path(), 8).await.unwrap_err();
    assert!(matches!(error, IndexError::Damaged { .. }), "{error}");
    assert_eq!(fs_err::read_to_string(&manifest).unwrap(), "{\"format\": 1");
}

#[tokio::test]
async fn an_index_that_its_ledger_claims_is_not_deleted_for_want_of_a_manifest() {
    let data = TempDir::new().unwrap();
    let index = open(data.path(), 8).await.unwrap();
    index.keep(&clips(&collection(8), "gate", 5)).await.unwrap();
    drop(Ledger::open(index.folder()).unwrap());
    index.close().await.unwrap();
    let copy = data.path().join("copy");
    fs_err::rename(manifest(data.path()), &copy).unwrap();

    let error = open(data.path(), 8).await.unwrap_err();
    let sought = EmbeddedIndex::open_existing(data.path(), small_graphs()).await.unwrap_err();

    let cause = "its manifest.json is missing".into();
    assert_eq!(error, IndexError::Damaged { at: folder(data.path()), cause });
    assert_eq!(sought, error);
    assert!(error.to_string().contains("restore it from a copy, or move that whole"), "{error}");
    fs_err::rename(&copy, manifest(data.path())).unwrap();
    let index = open(data.path(), 8).await.unwrap();
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 5);
}

#[cfg(unix)]
#[tokio::test]
async fn a_manifest_that_cannot_be_looked_at_is_not_taken_for_missing() {
    let data = TempDir::new().unwrap();
    let index = open(data.path(), 8).await.unwrap();
    index.keep(&clips(&collection(8), "gate", 5)).await.unwrap();
    index.close().await.unwrap();
    let (manifest, copy) = (manifest(data.path()), data.path().join("copy"));
    fs_err::rename(&manifest, &copy).unwrap();
    fs_err::os::unix::fs::symlink(&manifest, &manifest).unwrap();

    let error = open(data.path(), 8).await.unwrap_err();

    assert!(matches!(error, IndexError::Failed { .. }), "{error}");
    fs_err::rename(&copy, &manifest).unwrap();
    let index = open(data.path(), 8).await.unwrap();
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 5);
}

#[tokio::test]
async fn a_damaged_index_moved_away_whole_makes_room_for_a_new_one() {
    let damages: [fn(&Path); 3] = [
        |shard| fs_err::remove_dir_all(shard).unwrap(),
        |shard| fs_err::remove_dir_all(shard.join("segments")).unwrap(),
        |shard| fs_err::write(shard.join("edge_config.json"), "{").unwrap(),
    ];
    for damage in damages {
        let data = TempDir::new().unwrap();
        let index = open(data.path(), 8).await.unwrap();
        index.keep(&clips(&collection(8), "gate", 5)).await.unwrap();
        let stamp = FileStamp { size_bytes: 12, modified_unix_ns: 5 };
        let file = KnownFile { stamp, source_id: gate() };
        Ledger::open(index.folder()).unwrap().remember_file("a.mp4", &file).unwrap();
        index.close().await.unwrap();
        damage(&shard(data.path()));

        let error = open(data.path(), 8).await.unwrap_err();

        let IndexError::Damaged { at, .. } = &error else {
            panic!("{error}");
        };
        assert_eq!(*at, folder(data.path()));
        fs_err::rename(at, at.with_extension("damaged")).unwrap();
        let sought = EmbeddedIndex::open_existing(data.path(), small_graphs()).await;
        assert_eq!(sought.unwrap_err(), IndexError::Absent(data.path().to_owned()));
        let index = open(data.path(), 8).await.unwrap();
        let ledger = Ledger::open(index.folder()).unwrap();
        assert_eq!(ledger.known_file("a.mp4").unwrap(), None);
        index.keep(&clips(&collection(8), "gate", 3)).await.unwrap();
        assert_eq!(index.count(&Filter::default()).await.unwrap(), 3);
    }
}

#[tokio::test]
async fn an_absent_index_is_not_made_by_looking_for_it() {
    let data = TempDir::new().unwrap();
    let nowhere = data.path().join("nowhere");
    let error = EmbeddedIndex::open_existing(&nowhere, small_graphs()).await.unwrap_err();
    assert_eq!(error, IndexError::Absent(nowhere.clone()));
    assert!(!nowhere.exists());
}

#[tokio::test]
async fn half_built_segments_and_half_made_indexes_are_cleared_away() {
    let data = TempDir::new().unwrap();
    // Killed while it was made: a shard and no manifest.
    fs_err::create_dir_all(shard(data.path()).join("segments/garbage")).unwrap();
    let index = open(data.path(), 8).await.unwrap();
    index.keep(&clips(&collection(8), "gate", 5)).await.unwrap();
    index.close().await.unwrap();
    // Killed while it was optimized.
    let leftover = shard(data.path()).join("temp_segments/1234/vector_storage");
    fs_err::create_dir_all(&leftover).unwrap();
    fs_err::write(leftover.join("chunk_0.mmap"), "x").unwrap();

    let index = open(data.path(), 8).await.unwrap();

    assert!(!leftover.exists());
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 5);
}

#[tokio::test]
async fn a_disk_that_is_nearly_full_takes_no_clips_but_can_be_searched_and_cleared() {
    let data = TempDir::new().unwrap();
    let index = open(data.path(), 8).await.unwrap();
    index.keep(&clips(&collection(8), "gate", 5)).await.unwrap();
    index.close().await.unwrap();
    let settings = EmbeddedSettings { min_free_bytes: u64::MAX / 4, ..small_graphs() };
    let index = EmbeddedIndex::open(data.path(), &collection(8), settings.clone()).await.unwrap();

    let error = index.keep(&clips(&collection(8), "yard", 5)).await.unwrap_err();

    let IndexError::NoSpace { available_mib, needed_mib, .. } = &error else {
        panic!("{error}");
    };
    assert!(available_mib < needed_mib);
    assert!(error.to_string().contains("free some space"), "{error}");
    let stored = index.ids(&gate(), None, 10).await.unwrap();
    assert_eq!(index.get(&stored, With::ALL).await.unwrap().len(), 5);
    let query = direction(8, 9);
    assert_eq!(index.find(&query, &Filter::default(), 10).await.unwrap().len(), 5);
    assert_eq!(index.remove_source(&gate()).await.unwrap(), 5);
    index.flush().await.unwrap();
    index.close().await.unwrap();
    let index = open(data.path(), 8).await.unwrap();
    assert_eq!(index.count(&Filter::default()).await.unwrap(), 0);
    let elsewhere = TempDir::new().unwrap();
    let error = EmbeddedIndex::open(elsewhere.path(), &collection(8), settings).await.unwrap_err();
    assert!(matches!(error, IndexError::NoSpace { .. }), "{error}");
}
