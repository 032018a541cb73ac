//! How fast clips are kept and found, and how many of the nearest are missed.
//!
//! `cargo bench -p footage-index` takes about a minute; `-- --clips 100000 --queries 400` is what
//! `docs/benchmarks.md` quotes. `--only keep`, `--only find` or `--only real` runs a part.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails may say so bluntly")]

mod vectors;

use std::path::Path;
use std::time::{Duration, Instant};

use footage_clip::{ClipRecord, ClipState, CoverageRecord, Embedding, SourceId};
use footage_index::contract::{clip, collection};
use footage_index::{
    Collection, EmbeddedIndex, EmbeddedSettings, Filter, FindClips, KeepClips, Ledger, MediaRange,
    MemoryIndex,
};
use tempfile::TempDir;

use vectors::Vectors;

/// The one that the `footage` program has: much of keeping is copying.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// As many as the indexer takes at most.
const BATCH: usize = 1024;
const DIM: usize = 768;
const LIMIT: usize = 10;
const SOURCES: usize = 50;

struct Sizes {
    clips: usize,
    queries: usize,
    load: Duration,
}

fn main() {
    let sizes = Sizes {
        clips: argument("--clips").unwrap_or(20_000),
        queries: argument("--queries").unwrap_or(100),
        load: Duration::from_secs(argument("--load-seconds").unwrap_or(5) as u64),
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    println!("{} clips, batches of {BATCH}, {LIMIT} hits a search", sizes.clips);
    let only = option("--only");
    let is_asked = |part: &str| only.as_deref().is_none_or(|only| only == part);
    runtime.block_on(async {
        if is_asked("keep") {
            keeping(&sizes).await;
        }
        if is_asked("find") {
            let vectors = Vectors::clustered(DIM, sizes.clips, 7);
            finding(&sizes, "clustered, 768-d", &vectors).await;
        }
        if is_asked("real") {
            match Vectors::real(11) {
                Some(vectors) => finding(&sizes, "CLIP's, with noise, 512-d", &vectors).await,
                None => println!("real vectors: skipped, there are none (see FOOTAGE_SHARED)"),
            }
        }
    });
}

fn option(name: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != name).nth(1)
}

fn argument(name: &str) -> Option<usize> {
    option(name)?.parse().ok()
}

/// Records a second, each batch kept, flushed, and entered in the ledger: as the indexer does.
async fn keeping(sizes: &Sizes) {
    let collection = collection(DIM);
    let vectors = Vectors::clustered(DIM, sizes.clips.min(20_000), 3);
    for (what, thumbnail_bytes, in_background) in [
        ("graphs later", 0, false),
        ("graphs later, 6 KiB thumbnails", 6 << 10, false),
        ("as shipped", 0, true),
    ] {
        let data = TempDir::new().unwrap();
        let settings = EmbeddedSettings::default();
        let index = EmbeddedIndex::open(data.path(), &collection, settings).await.unwrap();
        if in_background {
            index.optimize_in_background().await.unwrap();
        }
        let ledger = Ledger::open(index.folder()).unwrap();
        let cpu = cpu_seconds();
        let mut slowest = Duration::ZERO;
        // In keeping, flushing and the ledger.
        let mut spent = [Duration::ZERO; 3];
        for first in (0..sizes.clips).step_by(BATCH) {
            let batch = batch(&collection, &vectors, first, sizes.clips, thumbnail_bytes);
            let begun = Instant::now();
            index.keep(&batch).await.unwrap();
            let kept = begun.elapsed();
            index.flush().await.unwrap();
            let flushed = begun.elapsed();
            enter(&ledger, &batch);
            slowest = slowest.max(begun.elapsed());
            spent[0] += kept;
            spent[1] += flushed.checked_sub(kept).unwrap();
            spent[2] += begun.elapsed().checked_sub(flushed).unwrap();
        }
        let rate = sizes.clips as f64 / spent.iter().sum::<Duration>().as_secs_f64();
        let share = spent.map(|spent| ms(spent) / sizes.clips.div_ceil(BATCH) as f64);
        let cpu = cpu_seconds() - cpu;
        let mib = folder_bytes(data.path()) >> 20;
        println!(
            "keep, {what}: {rate:.0} records/s, {cpu:.1} CPU s, {mib} MiB; a batch: keep {:.1}, \
             flush {:.1}, ledger {:.1} ms, the slowest {:.0} ms together",
            share[0],
            share[1],
            share[2],
            ms(slowest)
        );
        index.close().await.unwrap();
    }
}

/// Search times and recall, before and after graphs are built, and while clips are being kept.
async fn finding(sizes: &Sizes, what: &str, vectors: &Vectors) {
    let collection = collection(vectors.dim());
    let data = TempDir::new().unwrap();
    let settings = EmbeddedSettings::default();
    let index = EmbeddedIndex::open(data.path(), &collection, settings).await.unwrap();
    let exact = MemoryIndex::new(collection.clone());
    for first in (0..sizes.clips).step_by(BATCH) {
        let batch = batch(&collection, vectors, first, sizes.clips, 0);
        index.keep(&batch).await.unwrap();
        exact.keep(&batch).await.unwrap();
    }
    index.flush().await.unwrap();
    let filter = some_sources_and_time(sizes.clips);
    let all = Filter::default();
    println!("{what}");
    println!("  every clip compared: {}", times(&index, vectors, &all, sizes.queries).await);

    let (begun, cpu) = (Instant::now(), cpu_seconds());
    index.optimize().await.unwrap();
    println!(
        "  graphs built in {:.0} s, {:.0} CPU s",
        begun.elapsed().as_secs_f64(),
        cpu_seconds() - cpu
    );
    println!("  find: {}", times(&index, vectors, &all, sizes.queries).await);
    println!(
        "  find by source and time ({} clips): {}",
        index.count(&filter).await.unwrap(),
        times(&index, vectors, &filter, sizes.queries).await
    );
    for (filter, which) in [(&all, "all"), (&filter, "by source and time")] {
        let recall = recall(&index, &exact, vectors, filter, sizes.queries.min(200)).await;
        println!("  recall@{LIMIT}, {which}: {recall:.4}");
    }
    index.close().await.unwrap();
    opening(data.path(), &collection, vectors).await;
    load(sizes, data.path(), &collection, vectors).await;
}

/// How long opening takes, and the first search after it; the files are in the kernel's cache.
async fn opening(data: &Path, collection: &Collection, vectors: &Vectors) {
    let settings = EmbeddedSettings::default();
    let begun = Instant::now();
    let index = EmbeddedIndex::open(data, collection, settings).await.unwrap();
    let opened = begun.elapsed();
    index.find(&vectors.query(1), &Filter::default(), LIMIT).await.unwrap();
    let found = begun.elapsed().checked_sub(opened).unwrap();
    let clips = index.count(&Filter::default()).await.unwrap();
    println!("  opened with {clips} clips in {:.0} ms, first find {:.1} ms", ms(opened), ms(found));
    index.close().await.unwrap();
}

/// Search times while 5,000 records a second are kept, as the index is shipped.
async fn load(sizes: &Sizes, data: &Path, collection: &Collection, vectors: &Vectors) {
    const PER_SECOND: f64 = 5000.0;
    let settings = EmbeddedSettings::default();
    let index = EmbeddedIndex::open(data, collection, settings).await.unwrap();
    index.optimize_in_background().await.unwrap();
    let records: Vec<Vec<ClipRecord>> = (0..(PER_SECOND * sizes.load.as_secs_f64()) as usize)
        .step_by(BATCH)
        .map(|first| batch(collection, vectors, sizes.clips + first, usize::MAX, 0))
        .collect();
    let keeper = tokio::spawn({
        let index = index.clone();
        async move {
            let begun = Instant::now();
            let mut kept = 0;
            for batch in records {
                let due = Duration::from_secs_f64(kept as f64 / PER_SECOND);
                tokio::time::sleep(due.saturating_sub(begun.elapsed())).await;
                index.keep(&batch).await.unwrap();
                index.flush().await.unwrap();
                kept += batch.len();
            }
            kept as f64 / begun.elapsed().as_secs_f64()
        }
    });
    let mut times = Vec::new();
    let mut query = 0;
    while !keeper.is_finished() {
        let asked = vectors.query(query);
        let begun = Instant::now();
        index.find(&asked, &Filter::default(), LIMIT).await.unwrap();
        times.push(begun.elapsed());
        query += 1;
        // A person a hundredth of a second: more would measure the searches' own crowd.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rate = keeper.await.unwrap();
    println!("  find while {rate:.0} records/s are kept: {}", percentiles(times));
    index.close().await.unwrap();
}

async fn times(
    index: &EmbeddedIndex,
    vectors: &Vectors,
    filter: &Filter,
    queries: usize,
) -> String {
    for query in 0..queries.min(20) {
        index.find(&vectors.query(query), filter, LIMIT).await.unwrap();
    }
    let mut times = Vec::with_capacity(queries);
    let cpu = cpu_seconds();
    for query in 0..queries {
        // Made before the clock starts.
        let query = vectors.query(query);
        let begun = Instant::now();
        index.find(&query, filter, LIMIT).await.unwrap();
        times.push(begun.elapsed());
    }
    let cpu_ms = 1000.0 * (cpu_seconds() - cpu) / queries as f64;
    format!("{}, {cpu_ms:.1} CPU ms each", percentiles(times))
}

async fn recall(
    index: &EmbeddedIndex,
    exact: &MemoryIndex,
    vectors: &Vectors,
    filter: &Filter,
    queries: usize,
) -> f64 {
    let (mut found, mut wanted) = (0, 0);
    for query in 0..queries {
        let query = vectors.query(query);
        let nearest = exact.find(&query, filter, LIMIT).await.unwrap();
        let hits = index.find(&query, filter, LIMIT).await.unwrap();
        wanted += nearest.len();
        found += nearest
            .iter()
            .filter(|wanted| hits.iter().any(|hit| hit.clip_id == wanted.clip_id))
            .count();
    }
    found as f64 / wanted.max(1) as f64
}

fn batch(
    collection: &Collection,
    vectors: &Vectors,
    first: usize,
    end: usize,
    thumbnail_bytes: usize,
) -> Vec<ClipRecord> {
    (first..end.min(first + BATCH))
        .map(|at| {
            let source = format!("source-{}", at % SOURCES);
            let mut clip = clip(collection, &source, (at / SOURCES) as u64, vectors.embedding(at));
            clip.thumbnail = (thumbnail_bytes > 0).then(|| noise_bytes(thumbnail_bytes, at));
            clip
        })
        .collect()
}

/// Bytes that no compression makes smaller, as in a JPEG.
fn noise_bytes(bytes: usize, seed: usize) -> Vec<u8> {
    let values: &Embedding = &footage_index::contract::direction(bytes / 2, seed as u64);
    values.as_slice().iter().flat_map(|value| (value.to_bits() as u16).to_le_bytes()).collect()
}

/// A fifth of the sources, half of the time.
fn some_sources_and_time(clips: usize) -> Filter {
    let sources = (0..SOURCES / 5).map(|at| SourceId::try_new(format!("source-{at}")).unwrap());
    let end_ns = (clips / SOURCES) as u64 * 2_000_000_000;
    Filter {
        sources: sources.collect(),
        media: Some(MediaRange { from_ns: Some(end_ns / 4), to_ns: Some(end_ns * 3 / 4) }),
        utc: None,
    }
}

fn enter(ledger: &Ledger, batch: &[ClipRecord]) {
    let entries: Vec<_> = batch
        .iter()
        .map(|clip| CoverageRecord {
            source_id: clip.source_id.clone(),
            span: clip.span,
            state: ClipState::Indexed,
        })
        .collect();
    ledger.enter(&[], &entries).unwrap();
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |share: f64| ms(times[((times.len() - 1) as f64 * share).round() as usize]);
    format!("p50 {:.2} ms, p99 {:.2} ms, {} searches", at(0.5), at(0.99), times.len())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Processor time of this process so far, to the hundredth: on a busy machine a steadier measure
/// than the clock.
fn cpu_seconds() -> f64 {
    let stat = fs_err::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace();
    // User and system time, the 14th and 15th of all.
    fields.skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / 100.0
}

/// Bytes that a folder takes on disk: blocks, not lengths, as its files have holes.
fn folder_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs_err::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| match entry.metadata().unwrap() {
            found if found.is_dir() => folder_bytes(&entry.path()),
            found => found.blocks() * 512,
        })
        .sum()
}
