//! A ledger that is written for months: what is read of it in parts, counted, closed and brought
//! over from an earlier format is what a plain map would say.

use std::collections::BTreeMap;

use footage_clip::{
    ClipState, Clock, Coverage, CoverageRecord, LostReason, RunCause, RunRecord, SourceRecord,
    Span, UtcStart,
};
use footage_index::contract::collection;
use footage_index::{Ledger, MemoryIndex, remove_source};
use proptest::prelude::*;
use tempfile::TempDir;

use crate::{source, source_id};

const STATES: [ClipState; 6] = [
    ClipState::Indexed,
    ClipState::Gated,
    ClipState::Lost(LostReason::Overload),
    ClipState::Lost(LostReason::Stalled),
    ClipState::Lost(LostReason::Disconnected),
    ClipState::Lost(LostReason::Stopped),
];
const SOURCES: [&str; 3] = ["gate", "gate-2", "yard"];
const END: u64 = 400;

fn entry(id: &str, start: u64, end: u64, state: ClipState) -> CoverageRecord {
    CoverageRecord { source_id: source_id(id), span: Span::new(start, end), state }
}

fn is_without_clips(state: ClipState) -> bool {
    matches!(state, ClipState::Lost(reason) if reason.is_without_clips())
}

/// What a ledger should know of a source, as plainly as it can be said.
#[derive(Default)]
struct Plain {
    /// End and state, by start.
    clips: BTreeMap<u64, (u64, ClipState)>,
    /// By instant.
    without_clips: BTreeMap<u64, ClipState>,
    kept_from: u64,
}

impl Plain {
    fn enter(&mut self, span: Span, state: ClipState) {
        if span.end_ns <= self.kept_from {
            return;
        }
        if is_without_clips(state) {
            for instant in span.start_ns.max(self.kept_from)..span.end_ns {
                let held = self.without_clips.entry(instant).or_insert(state);
                *held = state.min(*held);
            }
            return;
        }
        let held = self.clips.entry(span.start_ns).or_insert((span.end_ns, state));
        if state < held.1 {
            *held = (span.end_ns, state);
        }
    }

    fn keep_from(&mut self, kept_from: u64) {
        self.kept_from = kept_from;
        self.clips.retain(|_, (end, _)| *end > kept_from);
        self.without_clips.retain(|instant, _| *instant >= kept_from);
    }

    fn at(&self, instant: u64) -> Option<ClipState> {
        let clips = self.clips.iter();
        let clips = clips.filter(|(start, (end, _))| (**start..*end).contains(&instant));
        let without = self.without_clips.get(&instant).copied();
        clips.map(|(_, (_, state))| *state).chain(without).min()
    }

    fn end(&self) -> Option<u64> {
        let instant = self.without_clips.last_key_value().map(|(instant, _)| instant + 1);
        let kept_from = Some(self.kept_from).filter(|kept_from| *kept_from > 0);
        self.clips.values().map(|(end, _)| *end).chain(instant).chain(kept_from).max()
    }

    fn begin(&self) -> Option<u64> {
        let instant = self.without_clips.first_key_value().map(|(instant, _)| *instant);
        self.clips.keys().copied().chain(instant).min()
    }

    fn indexed(&self) -> u64 {
        self.clips.values().filter(|(_, state)| *state == ClipState::Indexed).count() as u64
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Enter(Vec<(usize, u64, u64, usize)>),
    Retain { source: usize, before: u64, most_clips: u64 },
    Remove(usize),
    Reopen,
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let start = prop_oneof![4 => (0u64..80).prop_map(|at| at * 4), 1 => 0u64..320];
    let length = prop_oneof![5 => Just(8u64), 1 => 1u64..60];
    let entry = (0..SOURCES.len(), start, length, 0..STATES.len());
    let operation = prop_oneof![
        12 => prop::collection::vec(entry, 0..25).prop_map(Operation::Enter),
        3 => (0..SOURCES.len(), 0u64..350, 1u64..30).prop_map(|(source, before, most_clips)| {
            Operation::Retain { source, before, most_clips }
        }),
        1 => (0..SOURCES.len()).prop_map(Operation::Remove),
        1 => Just(Operation::Reopen),
    ];
    prop::collection::vec(operation, 1..16)
}

fn states_of(coverage: &Coverage, window: Span) -> Vec<Option<ClipState>> {
    let mut told = vec![None; window.duration_ns() as usize];
    for stretch in coverage.states(window) {
        for instant in stretch.start_ns..stretch.end_ns {
            told[(instant - window.start_ns) as usize] = Some(stretch.state);
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_is_done_to_a_ledger_it_says_what_a_plain_map_says(
        operations in operations(),
        windows in prop::collection::vec((0u64..END, 0u64..120), 6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let folder = TempDir::new().unwrap();
        let mut ledger = Ledger::open(folder.path()).unwrap();
        let index = MemoryIndex::new(collection(4));
        let mut plain: BTreeMap<&str, Plain> = BTreeMap::new();
        for operation in operations {
            match operation {
                Operation::Enter(entries) => {
                    let records: Vec<_> = entries.iter().map(|(source, start, length, state)| {
                        entry(SOURCES[*source], *start, start + length, STATES[*state])
                    }).collect();
                    ledger.enter(&SOURCES.map(source), &records).unwrap();
                    for record in &records {
                        let id = SOURCES.into_iter().find(|id| *id == record.source_id.as_str());
                        plain.entry(id.unwrap()).or_default().enter(record.span, record.state);
                    }
                }
                Operation::Retain { source, before, most_clips } => {
                    let id = SOURCES[source];
                    let done = ledger.begin_closing(&source_id(id), before, most_clips).unwrap();
                    if let Some(done) = done {
                        prop_assert!(done.before_ns <= before);
                        let open = ledger.closings().unwrap();
                        prop_assert!(open.contains(&done));
                        let plain = plain.entry(id).or_default();
                        prop_assert!(done.before_ns > plain.kept_from || before == done.before_ns);
                        plain.keep_from(done.before_ns.max(plain.kept_from));
                        ledger.finish_closing(&done).unwrap();
                        prop_assert!(!ledger.closings().unwrap().contains(&done));
                    }
                }
                Operation::Remove(source) => {
                    let id = SOURCES[source];
                    runtime.block_on(remove_source(&index, &ledger, &source_id(id))).unwrap();
                    plain.remove(id);
                }
                Operation::Reopen => {
                    drop(ledger);
                    ledger = Ledger::open(folder.path()).unwrap();
                }
            }
            let indexed: u64 = plain.values().map(Plain::indexed).sum();
            prop_assert_eq!(ledger.indexed_clips().unwrap(), indexed);
        }
        for id in SOURCES {
            let none = Plain::default();
            let plain = plain.get(id).unwrap_or(&none);
            let id = source_id(id);
            prop_assert_eq!(ledger.covered_end_ns(&id).unwrap(), plain.end());
            prop_assert_eq!(ledger.covered_from_ns(&id).unwrap(), plain.begin());
            let whole = ledger.coverage(&id).unwrap();
            let expected: Vec<_> = (0..END).map(|instant| plain.at(instant)).collect();
            prop_assert_eq!(states_of(&whole, Span::new(0, END)), expected);
            for (start, (_, state)) in &plain.clips {
                prop_assert_eq!(whole.state_of(*start), Some(*state));
            }
            prop_assert_eq!(whole.clips(|_| true), plain.clips.len() as u64);
            for (start, length) in &windows {
                let window = Span::new(*start, start + length);
                let part = ledger.coverage_within(&id, window).unwrap();
                let expected: Vec<_> =
                    (window.start_ns..window.end_ns).map(|instant| plain.at(instant)).collect();
                prop_assert_eq!(states_of(&part, window), expected);
                let clips = plain.clips.iter().filter(|(start, (end, _))| {
                    *length > 0 && Span::new(**start, *end).overlaps(&window)
                });
                prop_assert_eq!(part.clips(|_| true), clips.count() as u64);
            }
        }
    }

    #[test]
    fn a_ledger_of_the_first_format_says_the_same_when_it_was_brought_over(
        entries in prop::collection::vec((0..SOURCES.len(), 0u64..80, 0usize..3), 0..200),
    ) {
        let folder = TempDir::new().unwrap();
        let mut plain: BTreeMap<&str, Plain> = BTreeMap::new();
        let database = redb::Database::create(folder.path().join("ledger.redb")).unwrap();
        let transaction = database.begin_write().unwrap();
        {
            let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
            transaction.open_table(meta).unwrap().insert("format", 1).unwrap();
            let clips: redb::TableDefinition<'_, (&str, u64), (u64, &str)> =
                redb::TableDefinition::new("clips");
            let mut clips = transaction.open_table(clips).unwrap();
            for (source, at, state) in &entries {
                let (start, end, id) = (at * 4, at * 4 + 8, SOURCES[*source]);
                let json = serde_json::to_string(&STATES[*state]).unwrap();
                clips.insert((id, start), (end, json.as_str())).unwrap();
                let plain = plain.entry(id).or_default();
                plain.clips.insert(start, (end, STATES[*state]));
            }
        }
        transaction.commit().unwrap();
        drop(database);

        drop(Ledger::open(folder.path()).unwrap());
        let ledger = Ledger::open(folder.path()).unwrap();

        prop_assert_eq!(
            ledger.indexed_clips().unwrap(),
            plain.values().map(Plain::indexed).sum::<u64>()
        );
        for (id, plain) in &plain {
            let coverage = ledger.coverage(&source_id(id)).unwrap();
            for (start, (_, state)) in &plain.clips {
                prop_assert_eq!(coverage.state_of(*start), Some(*state));
            }
            prop_assert_eq!(coverage.clips(|_| true), plain.clips.len() as u64);
            prop_assert_eq!(ledger.covered_end_ns(&source_id(id)).unwrap(), plain.end());
        }
    }
}

#[test]
fn a_camera_takes_as_many_rows_as_it_changed_its_state() {
    const S: u64 = 1_000_000_000;
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    for hour in 0..24 {
        let clips = (hour * 1800..(hour + 1) * 1800).map(|at| {
            let state = if at / 100 % 2 == 0 { ClipState::Indexed } else { ClipState::Gated };
            entry("gate", at * 2 * S, (at * 2 + 4) * S, state)
        });
        ledger.enter(&[source("gate")], &clips.collect::<Vec<_>>()).unwrap();
    }
    let coverage = ledger.coverage(&source_id("gate")).unwrap();
    assert_eq!(coverage.clips(|_| true), 43_200);
    assert_eq!(coverage.runs().count(), 432);
}

#[test]
fn a_clip_that_reaches_into_a_span_counts_however_long_it_is() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    let long = entry("gate", 0, 1000, ClipState::Gated);
    let short = (10..80).map(|at| entry("gate", at * 10, at * 10 + 10, ClipState::Indexed));
    ledger.enter(&[], &[long]).unwrap();
    ledger.enter(&[], &short.collect::<Vec<_>>()).unwrap();
    let coverage = ledger.coverage_within(&source_id("gate"), Span::new(900, 950)).unwrap();
    assert_eq!(coverage.state_of(0), Some(ClipState::Gated));
    assert_eq!(coverage.clips(|_| true), 1);
    assert_eq!(ledger.covered_end_ns(&source_id("gate")).unwrap(), Some(1000));
}

fn run(start_ns: u64) -> RunRecord {
    let utc = UtcStart { unix_ns: 5, clock: Clock::Arrival, uncertainty_ms: 100 };
    RunRecord { source_id: source_id("gate"), start_ns, cause: RunCause::Reconnected, utc }
}

#[test]
fn closing_keeps_the_run_that_goes_on_and_says_since_when_the_source_is_kept() {
    let folder = TempDir::new().unwrap();
    let ledger = Ledger::open(folder.path()).unwrap();
    ledger.enter(&[source("gate")], &[entry("gate", 0, 8, ClipState::Indexed)]).unwrap();
    ledger.enter_runs(&[run(0), run(100), run(200), run(300)]).unwrap();

    ledger.begin_closing(&source_id("gate"), 250, 1000).unwrap().unwrap();

    assert_eq!(ledger.runs(&source_id("gate")).unwrap(), [run(200), run(300)]);
    let kept = SourceRecord { retained_from_ns: Some(250), ..source("gate") };
    assert_eq!(ledger.source(&source_id("gate")).unwrap(), Some(kept.clone()));
    ledger.enter(&[source("gate")], &[]).unwrap();
    assert_eq!(ledger.source(&source_id("gate")).unwrap(), Some(kept), "published again");
    assert_eq!(ledger.begin_closing(&source_id("gate"), 250, 1000).unwrap(), None);
    assert_eq!(ledger.begin_closing(&source_id("hall"), 250, 1000).unwrap(), None);
}
