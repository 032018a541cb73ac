//! A trial of indexers: clips that keep coming while something goes wrong, and the oracle of
//! conservation, which says afterwards whether each is where it has to be.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use footage_clip::{ClipId, ClipRecord, ClipState, LostReason};
use footage_index::Collection;
use footage_index::contract::{clip, collection, direction};
use footage_tests::{footage, run_well};
use footage_topic::{KafkaTopic, PublishError, Topic as _, TopicMessage};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use crate::site::{PATIENCE, Site};

/// Cameras that the load is of: some in every partition.
pub(crate) const SOURCES: [&str; 4] = ["gate", "yard", "hall", "ramp"];

/// Clips of a source that are published together.
const AT_ONCE: u64 = 10;

/// Between two such rounds: some hundred clips a second, which a busy machine indexes as well.
const PAUSE: Duration = Duration::from_millis(80);

/// A site with load on it.
pub(crate) struct Trial {
    pub(crate) site: Site,
    pub(crate) collection: Collection,
    pub(crate) chance: ChaCha8Rng,
    topic: KafkaTopic,
    accepted: Accepted,
    ended: Arc<AtomicBool>,
    loading: tokio::task::JoinHandle<()>,
}

/// What the topic took, by source.
type Accepted = Arc<Mutex<BTreeMap<&'static str, BTreeSet<ClipId>>>>;

/// The bundled model, as records name it.
pub(crate) fn bundled() -> Collection {
    let listed = run_well(footage().args(["model", "list", "--json"]));
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let mut collection = collection(listed["dim"].as_u64().unwrap() as usize);
    let fingerprint = listed["fingerprint"].as_str().unwrap().to_owned();
    collection.model.fingerprint = fingerprint.try_into().unwrap();
    collection
}

/// Clip `seq` of a source.
pub(crate) fn clip_of(collection: &Collection, source: &str, seq: u64) -> ClipRecord {
    clip(collection, source, seq, direction(collection.dim, seq + 1))
}

impl Trial {
    /// Begins to publish. None where there is no broker, which is said.
    pub(crate) async fn begin() -> Option<Self> {
        Some(Self::on(Site::new()?).await)
    }

    /// Begins to publish, on a site with cables.
    pub(crate) async fn begin_with_cables() -> Option<Self> {
        Some(Self::on(Site::with_cables()?).await)
    }

    async fn on(site: Site) -> Self {
        let seed = std::env::var("FOOTAGE_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = seed.unwrap_or_else(rand::random);
        println!("seed {seed}: FOOTAGE_TEST_SEED={seed} repeats it");
        let collection = bundled();
        let spec = Site::topic("footage.clips.v1");
        let capacity = NonZeroUsize::new(256).unwrap();
        let kafka = site.kafka();
        let topic = KafkaTopic::open(&kafka, &spec, "footage-indexer", capacity, None);
        let topic = topic.await.unwrap();
        let (accepted, ended) = (Accepted::default(), Arc::new(AtomicBool::new(false)));
        let loading = tokio::spawn({
            let (topic, collection) = (topic.clone(), collection.clone());
            let (accepted, ended) = (accepted.clone(), ended.clone());
            async move {
                let mut from = 0;
                while !ended.load(Ordering::Relaxed) {
                    for source in SOURCES {
                        let clips = from..from + AT_ONCE;
                        let clips = clips.map(|seq| clip_of(&collection, source, seq));
                        publish(&topic, &accepted, source, clips.collect()).await;
                    }
                    from += AT_ONCE;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        });
        let chance = ChaCha8Rng::seed_from_u64(seed);
        Self { site, collection, chance, topic, accepted, ended, loading }
    }

    /// Publishes besides the load, and expects these clips in the index as well.
    pub(crate) async fn publish(&self, source: &'static str, clips: Vec<ClipRecord>) {
        publish(&self.topic, &self.accepted, source, clips).await;
    }

    /// Publishes what is not expected in the index.
    pub(crate) async fn publish_wrong(&self, message: impl Into<TopicMessage>) {
        self.topic.publish(message.into()).await.unwrap();
    }

    /// Clips that the topic took.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.lock().unwrap().values().map(BTreeSet::len).sum()
    }

    /// Clips in the index; as many as the last time while it cannot be asked.
    pub(crate) async fn held(&self) -> usize {
        let mut held = 0;
        for source in SOURCES {
            held += self.site.indexed(&self.collection, source).await.len();
        }
        held
    }

    /// Waits until so many clips more are in the index.
    pub(crate) async fn wait_for_more(&self, clips: usize) {
        let (before, began) = (self.held().await, Instant::now());
        while self.held().await < before + clips {
            assert!(began.elapsed() < PATIENCE, "nothing is indexed\n{}", self.site.told());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the ledger is told of each clip, by source and start; in order.
    pub(crate) async fn told(&self) -> BTreeMap<(String, u64), Vec<ClipState>> {
        let mut told: BTreeMap<(String, u64), Vec<ClipState>> = BTreeMap::new();
        for message in self.site.all("footage.coverage.v1").await {
            let Ok(TopicMessage::CoverageBatch(batch)) = TopicMessage::of(&message) else {
                continue;
            };
            for clip in batch.into_records() {
                let at = (clip.source_id.to_string(), clip.span.start_ns);
                told.entry(at).or_default().push(clip.state);
            }
        }
        told
    }

    /// Ends the load, and holds the oracle against what there is: every clip that was accepted is in
    /// the index once, or among the `lost` in the ledger and the dead letters; no other is anywhere; and
    /// a fresh clip flows. Returns how often clips were told of again.
    pub(crate) async fn conserved(&mut self, lost: &[ClipRecord], letters: &[&str]) -> usize {
        self.ended.store(true, Ordering::Relaxed);
        (&mut self.loading).await.unwrap();
        let fresh = clip_of(&self.collection, "fresh", 0);
        self.publish("fresh", vec![fresh]).await;
        let accepted = self.accepted.lock().unwrap().clone();
        for (source, wanted) in &accepted {
            self.has_exactly(source, wanted).await;
        }

        let began = Instant::now();
        let all = self.accepted() + lost.len();
        let told = loop {
            // The ledger hears of clips after they are in the index.
            let told = self.told().await;
            if told.len() >= all {
                break told;
            }
            let still = all - told.len();
            assert!(began.elapsed() < PATIENCE, "{still} are not told of\n{}", self.site.told());
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert_eq!(told.len(), all, "a clip is told of that nobody sent");
        for clip in lost {
            let at = (clip.source_id.to_string(), clip.span.start_ns);
            assert_eq!(told[&at].last(), Some(&ClipState::Lost(LostReason::Refused)), "{at:?}");
        }
        let states = |wanted: ClipState| told.values().filter(|t| t.contains(&wanted)).count();
        assert_eq!(states(ClipState::Indexed), self.accepted());
        self.has_letters(lost, letters);
        told.values().map(|told| told.len() - 1).sum()
    }

    async fn has_exactly(&self, source: &str, wanted: &BTreeSet<ClipId>) {
        let began = Instant::now();
        loop {
            let held = self.site.indexed(&self.collection, source).await;
            let found: BTreeSet<ClipId> = held.iter().copied().collect();
            assert_eq!(found.len(), held.len(), "a clip is in the index twice");
            assert!(found.is_subset(wanted), "a clip that nobody sent is in the index");
            if found == *wanted {
                return;
            }
            let missing = wanted.len() - found.len();
            assert!(
                began.elapsed() < PATIENCE,
                "{missing} of {source} are missing\n{}",
                self.site.told()
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    fn has_letters(&self, lost: &[ClipRecord], letters: &[&str]) {
        let listed = self.site.ok("elsewhere", &["dead-letter", "list", "--json"]);
        let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let values = listed["dead_letters"].as_array().unwrap().iter();
        let values: BTreeSet<String> =
            values.map(|letter| letter["value"].as_str().unwrap().to_owned()).collect();
        for clip in lost {
            let id = clip.clip_id.to_string();
            assert!(values.iter().any(|value| value.contains(&id)), "{id} is not there");
        }
        for letter in letters {
            assert!(values.contains(*letter), "{letter} is not there");
        }
        let found = values.len();
        assert_eq!(found, lost.len() + letters.len(), "something else is with the dead letters");
    }
}

/// Publishes until the topic has taken it. What may have been taken before an error is sent again: the
/// load has true duplicates.
async fn publish(
    topic: &KafkaTopic,
    accepted: &Accepted,
    source: &'static str,
    clips: Vec<ClipRecord>,
) {
    let ids: Vec<ClipId> = clips.iter().map(|clip| clip.clip_id).collect();
    let messages: Vec<TopicMessage> = clips.into_iter().map(TopicMessage::from).collect();
    // Before it is sent: an indexer may be quicker than the answer.
    accepted.lock().unwrap().entry(source).or_default().extend(ids);
    loop {
        match topic.publish_all(messages.clone()).await {
            Ok(()) => return,
            Err(PublishError::NotYet(why)) => {
                println!("published again: {why}");
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}
