//! A watch with a real model and a topic, and what it told.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use footage_clip::{
    ClipRecord, ClipState, LostReason, ModelRef, Rate, RunRecord, SourceId, Span, WindowSpec,
};
use footage_model::{Device, Model};
use footage_pipeline::{
    Camera, CameraState, CameraStatus, Clocks, DecodeSettings, EmbedSettings, EmbedStage,
    LiveDecode, Location, Patience, SystemClocks, Timeline, Transport, Watch, WatchParts,
};
use footage_topic::{MemoryTopic, Topic, TopicMessage};

/// Nothing may take longer, on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

/// What earlier watches did.
#[derive(Default)]
pub(crate) struct Past(pub(crate) Mutex<BTreeMap<SourceId, u64>>);

impl Timeline for Past {
    fn covered_end_ns(
        &self,
        source_id: &SourceId,
    ) -> Result<Option<u64>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.0.lock().unwrap().get(source_id).copied())
    }
}

pub(crate) struct House {
    pub(crate) watch: Watch,
    topic: MemoryTopic,
    told: Told,
    _story: Story,
}

/// All that was told so far.
#[derive(Clone, Default)]
pub(crate) struct Told(Arc<Mutex<Vec<TopicMessage>>>);

struct Story;

impl std::ops::Deref for House {
    type Target = Told;

    fn deref(&self) -> &Told {
        &self.told
    }
}

/// How a house differs from most.
pub(crate) struct Plan {
    pub(crate) past: Past,
    pub(crate) clocks: Arc<dyn Clocks>,
    pub(crate) patience: Patience,
    pub(crate) topic: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            past: Past::default(),
            clocks: Arc::new(SystemClocks::default()),
            patience: Patience {
                connect: Duration::from_secs(10),
                stalled: Duration::from_secs(2),
                silent: Duration::from_secs(6),
                ..Patience::default()
            },
            topic: 1000,
        }
    }
}

pub(crate) fn window() -> WindowSpec {
    WindowSpec::try_new(4, 2, Rate::try_new(4, 1).unwrap()).unwrap()
}

impl House {
    /// None, and a word, where there is no model.
    pub(crate) fn open(plan: Plan) -> Option<Self> {
        let house = Self::deaf(plan)?;
        house.listen();
        Some(house)
    }

    /// One whose topic nobody follows.
    pub(crate) fn deaf(plan: Plan) -> Option<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini");
        if !dir.join("model.safetensors").exists() {
            eprintln!("skipped: no model in {}", dir.display());
            return None;
        }
        Log::capture();
        let model = Arc::new(Model::open(&dir, &Device::Cpu).unwrap());
        let fingerprint = model.fingerprint().clone();
        let (embed, _stage) = EmbedStage::spawn(model, EmbedSettings::default()).unwrap();
        let topic = MemoryTopic::new(NonZeroUsize::new(plan.topic).unwrap());
        let watch = Watch::start(WatchParts {
            model: ModelRef { name: "mini".into(), fingerprint },
            window: window(),
            decode: DecodeSettings { max_gap: Duration::from_secs(2), ..DecodeSettings::default() },
            patience: plan.patience,
            embed,
            topic: Arc::new(topic.clone()),
            timeline: Arc::new(plan.past),
            clocks: plan.clocks,
        });
        Some(Self { watch, topic, told: Told::default(), _story: Story })
    }

    /// Follows the topic from now on, and remembers nothing of it.
    pub(crate) fn forget(&self) {
        MOST_LOGGED.store(0, Ordering::Relaxed);
        let topic = self.topic.clone();
        tokio::spawn(async move {
            let mut follower = topic.follow().await.unwrap();
            while let Ok(Some(delivery)) = follower.receive().await {
                follower.commit(delivery.position).await.unwrap();
            }
        });
    }

    /// Follows the topic from now on.
    pub(crate) fn listen(&self) {
        let (topic, told) = (self.topic.clone(), self.told.clone());
        tokio::spawn(async move {
            let mut follower = topic.follow().await.unwrap();
            while let Ok(Some(delivery)) = follower.receive().await {
                told.0.lock().unwrap().push(delivery.message);
                follower.commit(delivery.position).await.unwrap();
            }
        });
    }

    pub(crate) fn status(&self, camera: &Camera) -> Option<CameraStatus> {
        self.watch.status().borrow().get(&camera.source_id).cloned()
    }

    /// Waits until the camera is so.
    pub(crate) async fn until(&self, camera: &Camera, is_so: impl Fn(&CameraState) -> bool) {
        let what = format!("{:?}", camera.source_id);
        let seen = || self.status(camera).is_some_and(|status| is_so(&status.state));
        until(&what, seen, || format!("{:?}", self.status(camera))).await;
    }

    /// Waits until so many more clips were published.
    pub(crate) async fn more_clips(&self, count: usize) {
        let before = self.clips().len();
        until(
            "clips",
            || self.clips().len() >= before + count,
            || format!("{:?}", *self.watch.status().borrow()),
        )
        .await;
    }

    /// Stops the watch, and hears it out.
    pub(crate) async fn stop(self) -> Told {
        let Self { watch, topic, told, .. } = self;
        watch.stop().await;
        until("all to be heard", || topic.uncommitted() == 0, || topic.uncommitted().to_string())
            .await;
        told
    }
}

impl Told {
    pub(crate) fn all(&self) -> Vec<TopicMessage> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn clips(&self) -> Vec<ClipRecord> {
        let clip = |message| match message {
            TopicMessage::Clip(clip) => Some(clip),
            _ => None,
        };
        self.all().into_iter().filter_map(clip).collect()
    }

    pub(crate) fn runs(&self) -> Vec<RunRecord> {
        let run = |message| match message {
            TopicMessage::Run(run) => Some(run),
            _ => None,
        };
        self.all().into_iter().filter_map(run).collect()
    }

    /// Lost stretches, in order.
    pub(crate) fn lost(&self) -> Vec<(Span, LostReason)> {
        let lost = |message| match message {
            TopicMessage::Coverage(coverage) => match coverage.state {
                ClipState::Lost(reason) => Some((coverage.span, reason)),
                _ => None,
            },
            _ => None,
        };
        self.all().into_iter().filter_map(lost).collect()
    }

    /// Holds what was told of a camera against the invariant: from its first to its last instant each
    /// is in a clip, lost or not, or in a stretch without clips; no such stretch shares an instant with
    /// anything, and no clip reaches over the beginning of a run. Returns the first and the last
    /// instant.
    pub(crate) fn conserved(&self) -> (u64, u64) {
        let gated = |message| match message {
            TopicMessage::Coverage(coverage) if coverage.state == ClipState::Gated => {
                Some(coverage.span)
            }
            _ => None,
        };
        let indexed = self.clips().into_iter().map(|clip| clip.span);
        let clips: Vec<Span> = indexed.chain(self.all().into_iter().filter_map(gated)).collect();
        let lost: Vec<Span> = self.lost().iter().map(|(span, _)| *span).collect();
        let has_no_clips = |reason| {
            matches!(reason, LostReason::Disconnected | LostReason::Stalled | LostReason::Stopped)
        };
        for (at, (span, _)) in
            self.lost().iter().enumerate().filter(|(_, lost)| has_no_clips(lost.1))
        {
            let others = lost[..at].iter().chain(&lost[at + 1..]).chain(&clips);
            for other in others {
                assert!(!span.overlaps(other), "{span:?} and {other:?}: {:#?}", self.summary());
            }
        }
        for run in self.runs() {
            let spans = clips
                .iter()
                .filter(|clip| clip.start_ns < run.start_ns && clip.end_ns > run.start_ns);
            assert_eq!(spans.count(), 0, "a clip spans {run:?}");
        }
        let mut all: Vec<Span> = clips.into_iter().chain(lost).collect();
        all.sort_by_key(|span| span.start_ns);
        let first = all.first().map_or(0, |span| span.start_ns);
        let last = all.iter().fold(first, |end, span| {
            assert!(span.start_ns <= end, "a hole from {end}: {:#?}", self.summary());
            end.max(span.end_ns)
        });
        (first, last)
    }

    fn summary(&self) -> Vec<String> {
        let told = self.all();
        let line = |message: &TopicMessage| match message {
            TopicMessage::Clip(clip) => {
                format!("clip {:?} {:?}", clip.span.start_ns, clip.span.end_ns)
            }
            TopicMessage::Coverage(coverage) => format!("{coverage:?}"),
            TopicMessage::CoverageBatch(batch) => format!("{batch:?}"),
            TopicMessage::Run(run) => format!("{run:?}"),
            TopicMessage::Source(source) => format!("{}", source.source_id),
            TopicMessage::Removal(removal) => format!("{removal:?}"),
            TopicMessage::Correction(correction) => format!("{correction:?}"),
        };
        told.iter().map(line).collect()
    }
}

impl Drop for Story {
    /// A test that fails says what it met.
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = Log::text();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(80)..].join("\n"));
        }
    }
}

/// Waits until something is so, and fails with what it is instead.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool, instead: impl Fn() -> String) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LIMIT, "{what}: {}", instead());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn camera(id: &str, uri: &str) -> Camera {
    let (location, credentials) = Location::parse(uri).unwrap();
    Camera {
        source_id: SourceId::try_new(id).unwrap(),
        name: id.to_owned(),
        location,
        credentials,
        transport: Transport::Auto,
        tls_ca: None,
        decode: LiveDecode::All,
        novelty: None,
        recording: None,
    }
}

pub(crate) fn is_live(state: &CameraState) -> bool {
    *state == CameraState::Live
}

pub(crate) fn has_failed(state: &CameraState) -> bool {
    matches!(state, CameraState::Failed(_))
}

/// All that is logged in this process while the tests run.
pub(crate) struct Log;

static LOGGED: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// In bytes: enough for every test but those that count what a process holds.
static MOST_LOGGED: AtomicUsize = AtomicUsize::new(8 << 20);

impl Log {
    fn capture() {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(|| Log)
            .finish();
        // One for all tests of a process.
        drop(tracing::subscriber::set_global_default(subscriber));
    }

    pub(crate) fn text() -> String {
        String::from_utf8_lossy(&LOGGED.lock().unwrap()).into_owned()
    }
}

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut logged = LOGGED.lock().unwrap();
        if logged.len() < MOST_LOGGED.load(Ordering::Relaxed) {
            logged.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
