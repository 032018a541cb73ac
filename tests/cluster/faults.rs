//! What goes wrong around indexers under load, one thing at a time. After each, the oracle of
//! [`Trial::conserved`] holds.

use std::time::Duration;

use footage_index::contract::direction;
use footage_topic::put;
use rand::Rng as _;
use rand::seq::SliceRandom as _;

use crate::site::{SESSION, Site, signal, until};
use crate::trial::{SOURCES, Trial, clip_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clip_is_lost_or_invented_when_the_indexer_is_killed_under_load() {
    let Some(mut trial) = Trial::begin().await else { return };
    trial.site.start("indexer", "indexer");
    // At random, while it is at work.
    trial.wait_for_more(1).await;
    let after = trial.chance.random_range(0..500);
    tokio::time::sleep(Duration::from_millis(after)).await;
    trial.site.kill("indexer");
    trial.site.start("indexer", "indexer");
    // And once where it hurts most: after it has kept a batch, before it has heard that it is told of.
    loop {
        trial.wait_for_more(1).await;
        signal(trial.site.broker.pid(), "-STOP");
        let before = trial.held().await;
        // What was fetched is kept by then.
        tokio::time::sleep(Duration::from_millis(600)).await;
        if trial.held().await > before {
            break;
        }
        signal(trial.site.broker.pid(), "-CONT");
    }
    trial.site.kill("indexer");
    signal(trial.site.broker.pid(), "-CONT");
    let untold = trial.held().await.saturating_sub(trial.told().await.len());
    trial.site.start("indexer", "indexer");
    trial.site.ready("indexer");
    let again = trial.conserved(&[], &[]).await;
    println!("{untold} clips were kept and not told of when it died; {again} were told of again");
    assert!(untold + again > 0, "nothing was delivered again: the test saw no fault");
    trial.site.stop("indexer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_indexer_that_comes_back_after_it_counted_as_dead_takes_up_its_work() {
    let Some(mut trial) = Trial::begin().await else { return };
    trial.site.start("indexer", "indexer");
    trial.wait_for_more(50).await;
    trial.site.kill("indexer");
    tokio::time::sleep(SESSION + Duration::from_secs(1)).await;
    trial.site.start("indexer", "indexer");
    trial.wait_for_more(50).await;
    trial.conserved(&[], &[]).await;
    trial.site.stop("indexer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_for_a_while_loses_nothing() {
    let Some(mut trial) = Trial::begin().await else { return };
    trial.site.start("indexer", "indexer");
    for _ in 0..2 {
        trial.wait_for_more(50).await;
        let after = trial.chance.random_range(0..300);
        tokio::time::sleep(Duration::from_millis(after)).await;
        signal(trial.site.broker.pid(), "-STOP");
        // What was on its way is counted by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let accepted = trial.accepted();
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(trial.accepted(), accepted, "the broker did not stand still");
        signal(trial.site.broker.pid(), "-CONT");
    }
    trial.wait_for_more(50).await;
    trial.conserved(&[], &[]).await;
    trial.site.stop("indexer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_server_that_is_killed_under_load_and_comes_back_loses_nothing() {
    let Some(mut trial) = Trial::begin().await else { return };
    trial.site.start("indexer", "indexer");
    for away in [300, 5000] {
        trial.wait_for_more(50).await;
        let after = trial.chance.random_range(0..300);
        tokio::time::sleep(Duration::from_millis(after)).await;
        trial.site.vectors.kill();
        // The second time for longer than calls are made again: indexing as a whole begins again.
        tokio::time::sleep(Duration::from_millis(away)).await;
        trial.site.vectors.restart(&[]);
    }
    trial.wait_for_more(50).await;
    trial.conserved(&[], &[]).await;
    let said = trial.site.said("indexer");
    assert!(said.contains("trying again"), "nobody noticed\n{said}");
    trial.site.stop("indexer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_twice_in_disorder_or_cannot_be_used_harms_nothing_beside_it() {
    let Some(mut trial) = Trial::begin().await else { return };
    // All of it lies there before the indexer begins, so that it comes in batches.
    let mut twice: Vec<_> =
        (10_000..10_200).map(|seq| clip_of(&trial.collection, "gate", seq)).collect();
    twice.extend(twice.clone());
    twice.shuffle(&mut trial.chance);
    let (first, second) = twice.split_at(200);
    trial.publish("gate", first.to_vec()).await;
    let mut wrong = Vec::new();
    for source in SOURCES {
        // One of another dimension.
        let mut clip = clip_of(&trial.collection, source, 20_000);
        clip.embedding = direction(trial.collection.dim + 1, 7);
        trial.publish_wrong(clip.clone()).await;
        wrong.push(clip);
    }
    let newer = clip_of(&trial.collection, "yard", 30_000);
    let mut json: serde_json::Value = serde_json::from_slice(&newer.to_json().unwrap()).unwrap();
    json["v"] = 9.into();
    let json = json.to_string();
    wrong.push(newer);
    let (kafka, spec) = (trial.site.kafka(), Site::topic("footage.clips.v1"));
    for (key, poison) in [("gate", "no record at all"), ("yard", json.as_str()), ("hall", "{}")] {
        put(&kafka, &spec, key, Some(poison.as_bytes())).await.unwrap();
    }
    trial.publish("gate", second.to_vec()).await;
    trial.site.start("indexer", "indexer");
    trial.wait_for_more(300).await;
    let again = trial.conserved(&wrong, &["no record at all", "{}"]).await;
    assert!(again >= 200, "{again} were told of again, and 200 came twice");
    trial.site.stop("indexer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_indexers_of_one_data_directory_share_and_one_that_counts_as_dead_does_no_harm() {
    let Some(mut trial) = Trial::begin().await else { return };
    trial.site.start("indexer", "indexer");
    trial.site.start_in("twin", "indexer", "indexer");
    trial.site.ready("indexer");
    trial.site.ready("twin");
    let indexed =
        |trial: &Trial, name| trial.site.metric(name, "footage_indexer_indexed_clips_total");
    until("both of them index", || {
        (indexed(&trial, "indexer") > 0.0 && indexed(&trial, "twin") > 0.0).then_some(())
    });
    // It stands still with a batch at hand, its partitions go to the other, and then it goes on.
    signal(trial.site.pid("indexer"), "-STOP");
    trial.wait_for_more(100).await;
    tokio::time::sleep(SESSION).await;
    trial.wait_for_more(100).await;
    signal(trial.site.pid("indexer"), "-CONT");
    trial.wait_for_more(200).await;
    trial.conserved(&[], &[]).await;
    trial.site.stop("indexer");
    trial.site.stop("twin");
}
