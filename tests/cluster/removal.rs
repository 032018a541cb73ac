//! What is removed, or too old, goes from the index, the ledger and the list; the rest stays.

use std::num::NonZeroUsize;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use footage_clip::{ClipRecord, SourceKind, SourceRecord, Span};
use footage_index::Collection;
use footage_tests::run;
use footage_topic::{KafkaTopic, Topic as _};

use crate::site::{Site, until};
use crate::trial::{bundled, clip_of};

const CLIPS: u64 = 500;
const DAY_NS: u64 = 86_400_000_000_000;

/// A camera's record.
fn camera(clip: &ClipRecord) -> SourceRecord {
    SourceRecord {
        source_id: clip.source_id.clone(),
        name: clip.source_id.to_string(),
        kind: SourceKind::Camera,
        media: None,
        stamp: None,
        content_hash: None,
        duration_ns: None,
        decoded: None,
        retained_from_ns: None,
        added_unix_s: 1,
        model: clip.model.clone(),
        window: clip.window,
        complete: false,
        failure: None,
    }
}

/// Clips of a camera, every two seconds from `from_ns`.
fn clips(collection: &Collection, source: &str, from_ns: u64) -> Vec<ClipRecord> {
    let moved = |seq| {
        let mut clip = clip_of(collection, source, seq);
        let Span { start_ns, end_ns, .. } = clip.span;
        clip.span = Span::new(from_ns + start_ns, from_ns + end_ns);
        clip.clip_id = clip.derived_id();
        clip
    };
    (0..CLIPS).map(moved).collect()
}

async fn held(site: &Site, collection: &Collection, source: &str) -> u64 {
    site.indexed(collection, source).await.len() as u64
}

/// Waits until so many clips of a source are in the index.
async fn settled(site: &Site, collection: &Collection, source: &str, clips: u64) {
    let began = std::time::Instant::now();
    while held(site, collection, source).await != clips {
        let told = site.told();
        assert!(began.elapsed() < crate::site::PATIENCE, "{source} has not {clips} clips\n{told}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_removed_is_gone_everywhere_and_what_is_too_old_goes_with_it() {
    let Some(mut site) = Site::new() else { return };
    site.start("indexer", "indexer");
    let collection = bundled();
    let spec = Site::topic("footage.clips.v1");
    let capacity = NonZeroUsize::new(256).unwrap();
    let kafka = site.kafka();
    let topic = KafkaTopic::open(&kafka, &spec, "footage-indexer", capacity, None);
    let topic = topic.await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    // Of one camera half is three days old; another is removed; a third is left alone.
    let (old, fresh) = (now - 3 * DAY_NS, now - DAY_NS / 12);
    let load = [("gate", old), ("gate", fresh), ("yard", fresh), ("hall", old)];
    for (source, from_ns) in load {
        let clips = clips(&collection, source, from_ns);
        topic.publish(camera(&clips[0]).into()).await.unwrap();
        topic.publish_all(clips.into_iter().map(Into::into).collect()).await.unwrap();
    }
    // Nobody answers there: what there is of them is kept, or not, all the same.
    let nowhere = "rtsp://127.0.0.1:1/x";
    site.ok("elsewhere", &["source", "add", "gate", nowhere, "--keep-days", "1"]);
    for source in ["yard", "hall"] {
        site.ok("elsewhere", &["source", "add", source, nowhere, "--keep-days", "0"]);
    }
    for (source, clips) in [("gate", 2 * CLIPS), ("yard", CLIPS), ("hall", CLIPS)] {
        settled(&site, &collection, source, clips).await;
    }
    site.start("pipeline", "pipeline");
    site.start("search", "search");
    site.ready("search");

    settled(&site, &collection, "gate", CLIPS).await;
    // The search role hears of it a moment later, or before.
    let told = until("what was removed is told", || {
        let told = site.ok("search", &["coverage", "gate", "--json"]);
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        told["kept_from"].is_string().then_some(told)
    });
    assert!(told["stretches"][0]["from_s"].as_f64().unwrap() > old as f64 / 1e9, "{told}");

    let removed = site.ok("elsewhere", &["source", "remove", "yard", "--yes"]);
    assert!(removed.contains("yard"), "{removed}");
    settled(&site, &collection, "yard", 0).await;
    until("yard is listed no more", || site.listed("yard").is_none().then_some(()));
    // Whoever asks without a role of their own hears the same, and what the sources are to do.
    let listed = site.ok("elsewhere", &["source", "list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let ids: Vec<_> = listed["sources"].as_array().unwrap().iter().collect();
    let ids: Vec<_> = ids.iter().map(|s| (&s["source_id"], &s["indexed_clips"])).collect();
    assert_eq!(ids, [(&"gate".into(), &CLIPS.into()), (&"hall".into(), &CLIPS.into())]);
    assert_eq!(listed["sources"][0]["live"]["state"], "told to the cluster");
    let unknown = run(&mut site.command("elsewhere", &["coverage", "yard"]));
    assert_ne!(unknown.code, Some(0), "{}", unknown.out);
    assert_eq!(held(&site, &collection, "hall").await, CLIPS);

    // Its name is free again.
    site.ok("elsewhere", &["source", "add", "yard", nowhere]);
    let again = clips(&collection, "yard", fresh);
    topic.publish(camera(&again[0]).into()).await.unwrap();
    topic.publish(again[0].clone().into()).await.unwrap();
    settled(&site, &collection, "yard", 1).await;
    for role in ["pipeline", "indexer", "search"] {
        site.stop(role);
    }
}
