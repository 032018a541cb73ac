//! Files as jobs of a cluster: shared out, taken up by another pipeline where one dies, each clip once.

use std::collections::BTreeSet;
use std::time::Duration;

use footage_clip::{ClipId, ClipRecord};
use footage_index::{EmbeddedIndex, EmbeddedSettings, Filter, FindClips as _};
use footage_tests::{footage, render, run, run_well};
use serde_json::Value;

use crate::site::{Site, until};
use crate::trial::bundled;

/// Enough clips that a file is not indexed in a moment.
const DENSE: [&str; 4] = ["--set", "window.rate=10", "--set", "window.stride_frames=1"];
const VIDEOS: usize = 3;

/// Sources by id: name, clips, whether all is indexed.
fn sources(listed: &str) -> Vec<(String, String, u64, bool)> {
    let listed: Value = serde_json::from_str(listed).unwrap();
    let sources = listed["sources"].as_array().unwrap().iter();
    let mut sources: Vec<_> = sources
        .map(|source| {
            let text = |field: &str| source[field].as_str().unwrap().to_owned();
            let clips = source["indexed_clips"].as_u64().unwrap();
            let is_complete = source["is_complete"].as_bool().unwrap();
            (text("source_id"), text("name"), clips, is_complete)
        })
        .collect();
    sources.sort();
    sources
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_indexed_by_whatever_pipelines_live_as_one_machine_would() {
    let Some(mut site) = Site::new() else { return };
    let videos = site.path("videos");
    render(&videos, 5, VIDEOS, 10);
    let alone = site.path("alone");
    run_well(footage().arg("--data-dir").arg(&alone).args(DENSE).arg("index").arg(&videos));
    let wanted =
        run_well(footage().arg("--data-dir").arg(&alone).args(["source", "list", "--json"]));
    let wanted = sources(&wanted);
    assert_eq!(wanted.len(), VIDEOS, "{wanted:?}");

    fs_err::write(site.path("no.mp4"), "this is no film").unwrap();
    let paths =
        [videos.to_str().unwrap(), site.path("no.mp4").to_str().unwrap()].map(str::to_owned);
    for name in ["pipeline", "pipeline-2"] {
        site.start_with(name, "pipeline", &DENSE);
    }
    site.start("indexer", "indexer");
    site.start("search", "search");
    let told = site.ok("elsewhere", &["index", &paths[0], &paths[1]]);
    assert!(told.contains("told the cluster of 4 files"), "{told}");
    let refused = run(&mut site.command("elsewhere", &["index", "--force", &paths[0]]));
    assert_eq!(refused.code, Some(2), "{}", refused.err);

    // One dies in the middle of a file, and comes back; then the other one does.
    let collection = bundled();
    for name in ["pipeline", "pipeline-2"] {
        let before = site.clips().await.len();
        until_more(&site, before).await;
        site.kill(name);
        site.start_with(name, "pipeline", &DENSE);
    }
    // Another comes and goes while they live: what it was given goes back.
    site.start_with("pipeline-3", "pipeline", &DENSE);
    site.ready("pipeline-3");
    site.stop("pipeline-3");
    site.ready("search");
    let listed = || sources(&site.ok("search", &["source", "list", "--json"]));
    until("all files are indexed", || {
        let listed = listed();
        let done: Vec<_> = listed.into_iter().filter(|(_, name, ..)| name != "no.mp4").collect();
        (done == wanted).then_some(())
    });

    // The same clips, each once.
    let index = EmbeddedIndex::open_existing(&alone, EmbeddedSettings::default()).await.unwrap();
    let mut published = 0;
    for (id, ..) in &wanted {
        let source = footage_clip::SourceId::try_new(id).unwrap();
        let one = index.ids(&source, None, usize::MAX).await.unwrap();
        let held = site.indexed(&collection, id).await;
        assert_eq!(held, one, "clips of {id}");
        published += held.len();
    }
    assert_eq!(index.count(&Filter::default()).await.unwrap(), published as u64);
    let clips: Vec<ClipRecord> = site.clips().await;
    let ids: BTreeSet<ClipId> = clips.iter().map(|clip| clip.clip_id).collect();
    assert_eq!(ids.len(), published, "another clip was published");
    println!("{} clips were published again", clips.len() - ids.len());

    // What is no film is named, and can be taken away; so can what is.
    let no_film = until("the failure is told", || {
        let listed = site.ok("search", &["source", "list", "--json"]);
        let listed: Value = serde_json::from_str(&listed).unwrap();
        let sources = listed["sources"].as_array().unwrap().clone();
        sources.into_iter().find(|s| s["live"]["state"] == "failed")
    });
    assert!(no_film["live"]["reason"].as_str().unwrap().contains("no.mp4"), "{no_film}");
    assert_eq!(no_film["kind"], "file");
    site.ok("elsewhere", &["source", "remove", "--yes", "no.mp4", &wanted[0].0]);
    until("both are gone", || {
        let listed = listed();
        (listed.len() == VIDEOS - 1).then_some(())
    });
    let began = std::time::Instant::now();
    while !site.indexed(&collection, &wanted[0].0).await.is_empty() {
        assert!(began.elapsed() < crate::site::PATIENCE, "its clips stay\n{}", site.told());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for role in ["pipeline", "pipeline-2", "indexer", "search"] {
        site.stop(role);
    }
}

/// Waits until more clips are published.
async fn until_more(site: &Site, before: usize) {
    let began = std::time::Instant::now();
    while site.clips().await.len() <= before {
        assert!(began.elapsed() < crate::site::PATIENCE, "no clips come\n{}", site.told());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
