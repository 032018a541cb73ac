//! A ledger of months: what it costs to write, to read whole and in part, and how large it gets.
//! `cargo bench -p footage-index --bench ledger`; `-- --days 30 --cameras 8` is what is quoted.

#![expect(clippy::unwrap_used, reason = "a benchmark that fails may say so bluntly")]

use std::time::Instant;

use footage_clip::{
    ClipState, CoverageRecord, LostReason, SourceId, SourceKind, SourceRecord, Span,
};
use footage_index::Ledger;
use footage_index::contract::{clips, collection};
use tempfile::TempDir;

const S: u64 = 1_000_000_000;
const BEGIN_NS: u64 = 1_790_000_000 * S;
/// Clips of four seconds, a new one every two.
const STRIDE_S: u64 = 2;
/// On average so many clips end in one state before the next do.
const CLIPS_OF_A_STATE: u64 = 13;

fn main() {
    let (days, cameras) = (argument("--days").unwrap_or(3), argument("--cameras").unwrap_or(2));
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let ids: Vec<SourceId> =
        (0..cameras).map(|at| SourceId::try_new(format!("camera-{at}")).unwrap()).collect();
    let count = days * 86_400 / STRIDE_S;

    let begun = Instant::now();
    let sources: Vec<SourceRecord> = ids.iter().map(source).collect();
    ledger.enter(&sources, &[]).unwrap();
    for first in (0..count).step_by(1000) {
        let batch = (first..(first + 1000).min(count)).map(clip);
        let all = batch.flat_map(|(span, state)| {
            let of = |id: &SourceId| CoverageRecord { source_id: id.clone(), span, state };
            ids.iter().map(of).collect::<Vec<_>>()
        });
        ledger.enter(&[], &all.collect::<Vec<_>>()).unwrap();
    }
    let rate = (count * cameras) as f64 / begun.elapsed().as_secs_f64();
    let bytes = fs_err::metadata(folder.path().join("ledger.redb")).unwrap().len();
    println!(
        "{days} days of {cameras} cameras: {} clips, {rate:.0} entered a second, {} KiB on disk",
        count * cameras,
        bytes >> 10
    );

    let whole = timed("a camera's whole coverage", || ledger.coverage(&ids[0]).unwrap());
    println!("    in {} runs", whole.runs().count());
    let all = Span::new(0, u64::MAX);
    timed("its states, instant by instant", || whole.states(all).len());
    timed("what became of 100,000 of its clips", || {
        (0..100_000)
            .filter(|at| whole.state_of(clip(at * count / 100_000).0.start_ns).is_some())
            .count()
    });
    let end = BEGIN_NS + days * 86_400 * S;
    let hours = Span::new(end - 2 * 3600 * S, end);
    timed("its coverage of the last two hours", || ledger.coverage_within(&ids[0], hours).unwrap());
    timed("where it ends", || ledger.covered_end_ns(&ids[0]).unwrap());
    timed("the count of indexed clips", || ledger.indexed_clips().unwrap());
    let (span, state) = clip(count);
    let next = CoverageRecord { source_id: ids[0].clone(), span, state };
    timed("one clip more", || ledger.enter(&[], std::slice::from_ref(&next)).unwrap());
    drop(ledger);
    let ledger = timed("opening it", || Ledger::open(folder.path()).unwrap());
    let half = BEGIN_NS + days * 43_200 * S;
    let closed = timed("closing half of it, in parts of 2,048 clips", || {
        let mut parts = 0;
        while let Some(closing) = ledger.begin_closing(&ids[0], half, 2048).unwrap() {
            ledger.finish_closing(&closing).unwrap();
            parts += 1;
        }
        parts
    });
    println!("    {closed} parts");
}

fn source(id: &SourceId) -> SourceRecord {
    let any = clips(&collection(4), "any", 1).remove(0);
    SourceRecord {
        source_id: id.clone(),
        name: id.to_string(),
        kind: SourceKind::Camera,
        media: None,
        stamp: None,
        content_hash: None,
        duration_ns: None,
        decoded: None,
        added_unix_s: 1_790_000_000,
        model: any.model,
        window: any.window,
        retained_from_ns: None,
        complete: false,
        failure: None,
    }
}

/// The clip at a place, and how it ended: as chance has it, the same in every run.
fn clip(at: u64) -> (Span, ClipState) {
    let stretch = at / CLIPS_OF_A_STATE;
    let mixed = stretch.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let state = match mixed % 10 {
        0..6 => ClipState::Gated,
        6..9 => ClipState::Indexed,
        _ => ClipState::Lost(LostReason::Overload),
    };
    let start_ns = BEGIN_NS + at * STRIDE_S * S;
    (Span::new(start_ns, start_ns + 2 * STRIDE_S * S), state)
}

fn timed<R>(what: &str, call: impl FnOnce() -> R) -> R {
    let begun = Instant::now();
    let result = call();
    println!("{what}: {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    result
}

fn argument(name: &str) -> Option<u64> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}
