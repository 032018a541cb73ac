//! Another model for the clips of a cluster, while its roles run.

use footage_tests::{render, run, twin_model};
use serde_json::Value;

use crate::site::{Site, until};

/// The best score of each source, and what is said of the time that was searched.
fn found(site: &Site, role: &str) -> Vec<(String, f64)> {
    let search = ["search", "a red car", "--all", "--by", "video", "--json", "--limit", "100"];
    let reply: Value = serde_json::from_str(&site.ok(role, &search)).unwrap();
    let mut best: Vec<(String, f64)> = Vec::new();
    for moment in reply["moments"].as_array().unwrap() {
        let (source, score) =
            (moment["source"].as_str().unwrap(), moment["score"].as_f64().unwrap());
        match best.iter_mut().find(|(name, _)| name == source) {
            Some((_, held)) => *held = held.max(score),
            None => best.push((source.to_owned(), score)),
        }
    }
    best.sort_by(|a, b| a.0.cmp(&b.0));
    best
}

fn is_complete(site: &Site, name: &str) -> Option<()> {
    let said = run(&mut site.command("search", &["source", "list", "--json"]));
    let listed: Value = serde_json::from_str(&said.out).ok()?;
    let mut sources = listed["sources"].as_array()?.iter();
    let source = sources.find(|source| source["name"] == name)?;
    (source["is_complete"] == true).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_changes_its_model_while_it_is_searched_and_indexes_on() {
    let Some(mut site) = Site::new() else { return };
    render(&site.path("videos"), 7, 3, 10);
    let mut videos: Vec<_> = fs_err::read_dir(site.path("videos"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "mp4"))
        .collect();
    videos.sort();
    let path = |at: usize| videos[at].to_str().unwrap().to_owned();
    let name = |at: usize| videos[at].file_name().unwrap().to_str().unwrap().to_owned();
    site.start("pipeline", "pipeline");
    site.start("indexer", "indexer");
    site.start("search", "search");
    site.ok("elsewhere", &["index", &path(0), &path(1)]);
    for at in [0, 1] {
        until("the file is indexed", || is_complete(&site, &name(at)));
    }
    let before = found(&site, "search");
    assert_eq!(before.len(), 2, "{before:?}");
    // Of the second file nothing is kept.
    fs_err::rename(&videos[1], site.path("elsewhere.film")).unwrap();

    let twin = twin_model(&site.path("twin"));
    let model = ["--model", twin.as_str()];
    let migrate = |site: &Site, args: &[&str]| {
        let args = [&["model", "migrate", "--to", twin.as_str(), "--json"], args].concat();
        let said = run(&mut site.command("migrating", &args));
        assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
        let told: Value = serde_json::from_str(&said.out).unwrap();
        told["clips"].clone()
    };
    let first = migrate(&site, &[]);
    assert!(first["embedded"].as_u64() > Some(2) && first["lost"].as_u64() > Some(2), "{first}");
    assert_eq!(found(&site, "search"), before, "nothing changed for who searches");

    // A pipeline has the other model already: its clips come to an indexer that has not.
    site.stop("pipeline");
    site.start_with("pipeline-2", "pipeline", &model);
    site.ready("pipeline-2");
    site.ok("elsewhere", &["index", &path(2)]);
    until("the third file is indexed", || is_complete(&site, &name(2)));
    assert_eq!(found(&site, "search"), before, "it is the other model's alone");

    let second = migrate(&site, &["--switch", "--accept-lost"]);
    assert_eq!((&second["embedded"], &second["held"]), (&0.into(), &first["embedded"]), "{second}");
    assert_eq!(found(&site, "search"), before, "whoever searches goes on");
    let refused = run(&mut site.command("late", &["model", "migrate", "--to", "bundled"]));
    assert_eq!(refused.code, Some(2), "{}", refused.err);

    site.start_with("search-2", "search", &model);
    site.ready("search-2");
    let after = found(&site, "search-2");
    let names: Vec<_> = after.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, [name(0), name(2)], "{after:?}");
    assert!((after[0].1 - before[0].1).abs() < 0.02, "{before:?} {after:?}");
    let coverage = |role: &str, at: usize| site.ok(role, &["coverage", &name(at), "--json"]);
    assert!(coverage("search-2", 1).contains("footage-gone"), "{}", coverage("search-2", 1));
    assert!(!coverage("search-2", 0).contains("footage-gone"));
    assert!(!coverage("search", 1).contains("footage-gone"), "it is there for the model before");
    assert_eq!(
        site.ok("elsewhere", &["dead-letter", "list", "--json"]).matches("offset").count(),
        0
    );

    // And back: the clips that only the other model has are looked at by the first one.
    let back =
        [&model[..], &["model", "migrate", "--to", "bundled", "--switch", "--json"]].concat();
    let back: Value = serde_json::from_str(&site.ok("migrating", &back)).unwrap();
    assert!(back["clips"]["embedded"].as_u64() > Some(2), "{back}");
    assert_eq!(found(&site, "search").len(), 3);
    for role in ["pipeline-2", "indexer", "search", "search-2"] {
        site.stop(role);
    }
}
