//! The network between an indexer under load and its engines is cut. After each cut, the oracle of
//! [`Trial::conserved`] holds.

use std::time::Duration;

use footage_tests::cable::State;
use rand::Rng as _;

use crate::site::SESSION;
use crate::trial::Trial;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_between_indexer_and_vector_server_loses_nothing() {
    let Some(mut trial) = Trial::begin_with_cables().await else { return };
    trial.site.start("indexer", "indexer");
    // Longer than a call may take, and longer than calls are made again.
    for (state, away_s) in [(State::Silent, 8), (State::Severed, 4)] {
        trial.wait_for_more(50).await;
        let after = trial.chance.random_range(0..300);
        tokio::time::sleep(Duration::from_millis(after)).await;
        cable(&trial).vectors.set(state);
        // What had passed by then is kept.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let held = trial.held().await;
        tokio::time::sleep(Duration::from_secs(away_s)).await;
        assert_eq!(trial.held().await, held, "nothing was cut");
        cable(&trial).vectors.set(State::Whole);
    }
    trial.wait_for_more(50).await;
    trial.conserved(&[], &[]).await;
    let said = trial.site.said("indexer");
    assert!(said.contains("trying again"), "nobody noticed\n{said}");
    trial.site.stop("indexer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_between_everybody_and_the_broker_loses_nothing() {
    let Some(mut trial) = Trial::begin_with_cables().await else { return };
    trial.site.start("indexer", "indexer");
    for (state, away) in [
        (State::Severed, Duration::from_secs(2)),
        (State::Silent, SESSION + Duration::from_secs(2)),
    ] {
        trial.wait_for_more(50).await;
        let after = trial.chance.random_range(0..300);
        tokio::time::sleep(Duration::from_millis(after)).await;
        cable(&trial).broker.set(state);
        // What was fetched by then is kept.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let accepted = trial.held().await;
        tokio::time::sleep(away).await;
        assert!(trial.held().await <= accepted + 200, "nothing was cut");
        cable(&trial).broker.set(State::Whole);
    }
    trial.wait_for_more(50).await;
    trial.conserved(&[], &[]).await;
    trial.site.stop("indexer");
}

fn cable(trial: &Trial) -> &crate::site::Cables {
    trial.site.cables.as_ref().unwrap()
}
