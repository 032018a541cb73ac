//! An indexer that is killed at random under load: every clip is in the index once, or with the dead
//! letters, and nothing that nobody sent is anywhere.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use footage_clip::{ClipId, ClipState, LostReason};
use footage_index::Collection;
use footage_index::contract::{clips, collection, direction};
use footage_tests::{footage, run_well};
use footage_topic::{KafkaTopic, Topic as _, TopicMessage, put};
use rand::{Rng as _, SeedableRng as _};

use crate::site::{PATIENCE, Site};

const SOURCES: [&str; 4] = ["gate", "yard", "hall", "roof"];
const CLIPS: u64 = 3000;
const KILLS: usize = 4;

/// The bundled model, as records name it.
fn bundled() -> (String, usize) {
    let listed = run_well(footage().args(["model", "list", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let fingerprint = listed["fingerprint"].as_str().unwrap().to_owned();
    (fingerprint, listed["dim"].as_u64().unwrap() as usize)
}

/// Clips in the index.
async fn held(site: &Site, collection: &Collection) -> usize {
    let mut held = 0;
    for source in SOURCES {
        held += site.indexed(collection, source).await.len();
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_clip_is_lost_or_invented_when_the_indexer_is_killed_under_load() {
    let Some(mut site) = Site::new() else { return };
    let seed = std::env::var("FOOTAGE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or_else(rand::random);
    println!("seed {seed}: FOOTAGE_TEST_SEED={seed} repeats it");
    let mut chance = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let (fingerprint, dim) = bundled();
    let mut collection = collection(dim);
    collection.model.fingerprint = fingerprint.try_into().unwrap();

    let (kafka, spec) = (site.kafka(), Site::topic("footage.clips.v1"));
    let capacity = NonZeroUsize::new(256).unwrap();
    let topic = KafkaTopic::open(&kafka, &spec, "footage-indexer", capacity, None).await.unwrap();
    let mut sent: BTreeMap<&str, BTreeSet<ClipId>> = BTreeMap::new();
    let mut load = Vec::new();
    let mut wrong = BTreeSet::new();
    for source in SOURCES {
        let mut made = clips(&collection, source, CLIPS);
        // One of another dimension in the middle.
        let at = chance.random_range(1000..2000);
        made[at].embedding = direction(dim + 1, 7);
        wrong.insert(made[at].clip_id);
        let right = made.iter().map(|clip| clip.clip_id).filter(|id| !wrong.contains(id));
        sent.insert(source, right.collect());
        load.push(made.into_iter().map(TopicMessage::from).collect::<Vec<_>>());
    }
    site.start("indexer", "indexer");
    site.ready("indexer");
    let loading = tokio::spawn({
        let (topic, kafka) = (topic.clone(), site.kafka());
        async move {
            for from in (0..CLIPS as usize).step_by(100) {
                for messages in &load {
                    topic.publish_all(messages[from..from + 100].to_vec()).await.unwrap();
                }
                if from == 1000 {
                    let spec = Site::topic("footage.clips.v1");
                    put(&kafka, &spec, "gate", Some(b"no record at all")).await.unwrap();
                }
            }
        }
    });
    for _ in 0..KILLS {
        // Each one dies at work, and not while it waits for the partitions of the one before.
        let before = held(&site, &collection).await;
        let began = Instant::now();
        while held(&site, &collection).await == before {
            assert!(began.elapsed() < PATIENCE, "nothing is indexed\n{}", site.told());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(chance.random_range(0..300))).await;
        site.kill("indexer");
        site.start("indexer", "indexer");
    }
    site.ready("indexer");
    loading.await.unwrap();

    let began = Instant::now();
    for (source, wanted) in &sent {
        loop {
            let held = site.indexed(&collection, source).await;
            let found: BTreeSet<ClipId> = held.iter().copied().collect();
            assert_eq!(found.len(), held.len(), "a clip is in the index twice");
            assert!(found.is_subset(wanted), "a clip that nobody sent is in the index");
            if found == *wanted {
                break;
            }
            let missing = wanted.len() - found.len();
            assert!(began.elapsed() < PATIENCE, "{missing} of {source} missing\n{}", site.told());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    // Fresh work flows, and the drain ends what was begun.
    let fresh = clips(&collection, "fresh", 1);
    topic.publish(fresh[0].clone().into()).await.unwrap();
    let began = Instant::now();
    while site.indexed(&collection, "fresh").await.len() != 1 {
        assert!(began.elapsed() < PATIENCE, "nothing flows any more\n{}", site.told());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    site.stop("indexer");

    let mut told: BTreeMap<(String, u64), Vec<ClipState>> = BTreeMap::new();
    for message in site.all("footage.coverage.v1").await {
        if let Ok(TopicMessage::Coverage(clip)) = TopicMessage::of(&message) {
            let at = (clip.source_id.to_string(), clip.span.start_ns);
            told.entry(at).or_default().push(clip.state);
        }
    }
    let states = |wanted: ClipState| told.values().filter(|told| told.contains(&wanted)).count();
    assert_eq!(told.len(), SOURCES.len() * CLIPS as usize + 1, "each clip is told of");
    assert_eq!(states(ClipState::Lost(LostReason::Refused)), SOURCES.len());
    assert_eq!(states(ClipState::Indexed), told.len() - SOURCES.len());
    let again: usize = told.values().map(|told| told.len() - 1).sum();
    println!("{again} clips were delivered again after {KILLS} kills");
    assert!(again > 0, "no kill hit a batch that was not committed: the test saw no fault");

    let letters = site.ok("elsewhere", &["dead-letter", "list", "--json"]);
    let letters: serde_json::Value = serde_json::from_str(&letters).unwrap();
    let values = letters["dead_letters"].as_array().unwrap().iter();
    let values: BTreeSet<String> =
        values.map(|letter| letter["value"].as_str().unwrap().to_owned()).collect();
    assert!(values.contains("no record at all"));
    for id in &wrong {
        assert!(values.iter().any(|value| value.contains(&id.to_string())), "{id} is not there");
    }
    assert_eq!(values.len(), wrong.len() + 1, "{values:?}");
}
