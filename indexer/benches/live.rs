//! How soon a live record can be found, and what it costs: `cargo bench -p footage-indexer`, two
//! minutes. `-- --seconds 60` measures longer.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails may say so bluntly")]

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use footage_clip::{Caption, ClipId, ClipRecord, ClipState, SourceId, Span};
use footage_index::contract::{clip, collection, direction};
use footage_index::{EmbeddedIndex, EmbeddedSettings, IndexError, KeepClips, Ledger};
use footage_indexer::{Indexer, IndexerSettings};
use footage_topic::{MemoryTopic, Topic as _};
use tempfile::TempDir;

const DIM: usize = 768;
const THUMBNAIL_BYTES: usize = 6 << 10;
const CAMERAS: u64 = 8;

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--seconds");
    let seconds = arguments.nth(1).map_or(20, |seconds| seconds.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("{CAMERAS} cameras, {DIM} values, {} KiB thumbnails", THUMBNAIL_BYTES >> 10);
    for (per_second, max_wait_ms) in [(4, 500), (4, 100), (4, 0), (50, 500), (50, 100), (50, 0)] {
        runtime.block_on(run(per_second, Duration::from_millis(max_wait_ms), seconds));
    }
}

/// An index that notes when each clip can be found: as soon as keeping it returns.
struct Noting {
    index: EmbeddedIndex,
    found: Mutex<BTreeMap<ClipId, Instant>>,
}

#[async_trait]
impl KeepClips for Noting {
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        self.index.keep(clips).await?;
        let now = Instant::now();
        self.found.lock().unwrap().extend(clips.iter().map(|clip| (clip.clip_id, now)));
        Ok(())
    }

    async fn caption(&self, captions: &[(ClipId, Caption)]) -> Result<u64, IndexError> {
        self.index.caption(captions).await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        self.index.flush().await
    }

    async fn remove_source(&self, source_id: &SourceId) -> Result<u64, IndexError> {
        self.index.remove_source(source_id).await
    }

    async fn remove_before(&self, source_id: &SourceId, end_ns: u64) -> Result<u64, IndexError> {
        self.index.remove_before(source_id, end_ns).await
    }

    async fn optimize(&self) -> Result<(), IndexError> {
        self.index.optimize().await
    }
}

async fn run(per_second: u64, max_wait: Duration, seconds: u64) {
    let data = TempDir::new().unwrap();
    let settings = EmbeddedSettings::default();
    let index = EmbeddedIndex::open(data.path(), &collection(DIM), settings).await.unwrap();
    let ledger = Ledger::open(index.folder()).unwrap();
    let noting = Arc::new(Noting { index: index.clone(), found: Mutex::default() });
    let topic = MemoryTopic::new(NonZeroUsize::new(256).unwrap());
    let settings = IndexerSettings { max_wait, ..IndexerSettings::default() };
    let indexer = Indexer::new(noting.clone(), ledger.clone(), settings);
    let mut progress = indexer.progress();
    let follower = topic.follow().await.unwrap();
    let records = records(per_second * seconds);
    let (cpu, written) = (cpu_seconds(), written_bytes());
    let indexing = tokio::spawn(async move { indexer.run(follower).await.unwrap() });
    let accounted = tokio::spawn(async move {
        let mut reached = Vec::new();
        while progress.changed().await.is_ok() {
            let clips = progress.borrow_and_update().clips() as usize;
            reached.resize(clips, Instant::now());
        }
        reached
    });
    let mut published = Vec::new();
    let mut tick =
        tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_second).unwrap());
    for record in &records {
        tick.tick().await;
        published.push(Instant::now());
        topic.publish(record.clone().into()).await.unwrap();
    }
    topic.close();
    let report = indexing.await.unwrap();
    let accounted = accounted.await.unwrap();
    let (cpu, written) = (cpu_seconds() - cpu, written_bytes() - written);
    let found = noting.found.lock().unwrap().clone();
    let since = |(at, published): (usize, &Instant)| found[&records[at].clip_id] - *published;
    let findable = spread(published.iter().enumerate().map(since).collect());
    let accounted = accounted.iter().zip(&published).map(|(then, published)| *then - *published);
    println!(
        "{per_second:3} records/s, max-wait {:3} ms: findable after {findable}; in the ledger after \
         {}; {:.1} batches/s, {:.1} % of a core, {:.0} KiB/s written",
        max_wait.as_millis(),
        spread(accounted.collect()),
        report.batches as f64 / seconds as f64,
        100.0 * cpu / seconds as f64,
        written as f64 / 1024.0 / seconds as f64,
    );
    assert_eq!(ledger.indexed_clips().unwrap(), per_second * seconds);
    assert_eq!(whole(&ledger), per_second * seconds);
    drop(noting);
    index.close().await.unwrap();
    let bytes = folder_bytes(data.path());
    println!("    {} MiB on disk, of which the ledger is {} KiB", bytes.0 >> 20, bytes.1 >> 10);
}

/// Clips of all cameras in turn, four seconds long, a new one every two.
fn records(count: u64) -> Vec<ClipRecord> {
    const BEGIN_NS: u64 = 1_790_000_000_000_000_000;
    let record = |at: u64| {
        let source = format!("camera-{}", at % CAMERAS);
        let mut record = clip(&collection(DIM), &source, at / CAMERAS, direction(DIM, at));
        let Span { start_ns, end_ns, .. } = record.span;
        record.span = Span::new(BEGIN_NS + start_ns, BEGIN_NS + end_ns);
        record.clip_id = record.derived_id();
        record.thumbnail = Some(vec![7; THUMBNAIL_BYTES]);
        record
    };
    (0..count).map(record).collect()
}

/// Clips that the ledger has as indexed, counted one by one.
fn whole(ledger: &Ledger) -> u64 {
    let of = |camera: u64| {
        let source = SourceId::try_new(format!("camera-{camera}")).unwrap();
        ledger.coverage(&source).unwrap().clips(|state| state == ClipState::Indexed)
    };
    (0..CAMERAS).map(of).sum()
}

fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    format!("p50 {:.0}, p99 {:.0}, at most {:.0} ms", at(0.5), at(0.99), at(1.0))
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    // In ticks, which are hundredths of a second on Linux.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// What was handed to the disk, memory maps included.
fn written_bytes() -> u64 {
    let io = fs_err::read_to_string("/proc/self/io").unwrap();
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.unwrap().parse().unwrap()
}

/// Bytes of a folder, and of the ledger in it.
fn folder_bytes(folder: &Path) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt as _;

    let (mut all, mut ledger) = (0, 0);
    for entry in fs_err::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let below = folder_bytes(&entry.path());
            all += below.0;
            ledger += below.1;
            continue;
        }
        let bytes = entry.metadata().unwrap().blocks() * 512;
        all += bytes;
        if entry.file_name() == "ledger.redb" {
            ledger += bytes;
        }
    }
    (all, ledger)
}
