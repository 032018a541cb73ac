//! From a source that is told to the cluster to a moment found, and from one pipeline to another.

use footage_index::Collection;
use footage_tests::render;

use crate::foreign;
use crate::site::{Site, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_camera_shows_is_found_through_the_roles_and_moves_when_a_pipeline_dies() {
    let Some(mut site) = Site::new() else { return };
    render(&site.path("videos"), 3, 1, 20);
    let mut videos =
        fs_err::read_dir(site.path("videos")).unwrap().map(|entry| entry.unwrap().path());
    let video = videos.find(|path| path.extension().is_some_and(|e| e == "mp4")).unwrap();
    site.start("pipeline", "pipeline");
    site.start("indexer", "indexer");
    site.start("search", "search");
    site.ok("elsewhere", &["source", "add", "gate", "--live", "--loop", video.to_str().unwrap()]);
    for role in ["pipeline", "indexer", "search"] {
        site.ready(role);
    }

    let indexed = |site: &Site| site.listed("gate").and_then(|gate| gate["indexed_clips"].as_u64());
    let before = until("clips of the camera", || indexed(&site).filter(|clips| *clips >= 3));
    let found = site.ok("search", &["search", "something that moves", "--all", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&found).unwrap();
    assert_eq!(found["moments"][0]["source_id"], "gate", "{found}");
    assert!(site.metrics("indexer").contains("footage_indexer_indexed_clips_total"));
    assert!(site.metrics("pipeline").contains("source=\"gate\""));

    // Another machine takes over, once the group counts this one as dead.
    site.kill("pipeline");
    site.start("pipeline-2", "pipeline");
    site.ready("pipeline-2");
    until("clips of the camera from elsewhere", || {
        indexed(&site).filter(|clips| *clips > before + 3)
    });

    let clip = site.clips().await.into_iter().next().unwrap();
    let collection = Collection { model: clip.model.clone(), dim: clip.embedding.dim() };
    if let Some(id) = foreign::reads_and_writes(&site) {
        until("the foreign clip is listed", || {
            let listed = site.listed("foreign")?;
            (listed["indexed_clips"] == 1).then_some(())
        });
        let ids = site.indexed(&collection, "foreign").await;
        assert_eq!(ids.iter().map(ToString::to_string).collect::<Vec<_>>(), [id]);
    }

    site.ok("elsewhere", &["source", "remove", "gate", "--yes"]);
    until("the camera is let go", || {
        (!site.metrics("pipeline-2").contains("source=\"gate\"")).then_some(())
    });
    for role in ["pipeline-2", "indexer", "search"] {
        site.stop(role);
    }
}
