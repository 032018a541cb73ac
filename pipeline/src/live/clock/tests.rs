use footage_clip::{Cutter, PartialClip, Span, WindowSpec};
use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000_000;
const MS: u64 = 1_000_000;
/// Where the tests' wall clock stands at first.
const DAY: u64 = 1_700_000_000 * S;

fn settings() -> ClockSettings {
    ClockSettings { rate: Rate::try_new(1, 1).unwrap(), max_gap_ns: 5 * S, way_ms: 500 }
}

fn clock(floor_ns: u64) -> LiveClock {
    LiveClock::new(settings(), floor_ns, RunCause::Started)
}

/// At `at_ns` of steady time, with the wall clock `off_ns` from where it began.
fn reading(at_ns: u64, off_ns: i64) -> Reading {
    let wall_ns = i64::try_from(DAY + at_ns).unwrap() + off_ns;
    Reading { wall_ns, steady_ns: at_ns, age_ns: 0 }
}

fn begun(placed: Placed) -> RunStart {
    match placed {
        Placed::Begins(_, run) => run,
        other => panic!("no run begins: {other:?}"),
    }
}

#[test]
fn the_axis_begins_with_the_wall_clock_and_goes_on_with_the_stream() {
    let mut clock = clock(0);
    let run = begun(clock.place(700, reading(300 * MS, 0)));
    assert_eq!((run.start_ns, run.cause), (DAY, RunCause::Started));
    assert_eq!(clock.place(700 + S, reading(S, 0)), Placed::At(DAY + 300 * MS + S));
    assert_eq!(clock.foresee(700 + 2 * S), Some(DAY + 300 * MS + 2 * S));
}

#[test]
fn a_picture_counts_from_its_arrival_not_from_when_it_is_looked_at() {
    let mut clock = clock(0);
    let late = Reading { age_ns: 2 * S, ..reading(3 * S, 0) };
    assert_eq!(begun(clock.place(0, late)).start_ns, DAY + S);
}

#[test]
fn pictures_whose_slot_is_covered_are_dropped() {
    let mut clock = clock(DAY + 400 * MS);
    assert_eq!(clock.place(0, reading(500 * MS, 0)), Placed::Dropped);
    assert_eq!(begun(clock.place(500 * MS, reading(S, 0))).start_ns, DAY + S);
}

#[test]
fn a_wall_clock_behind_what_is_covered_lets_the_axis_go_on_from_there() {
    let mut clock = clock(DAY + 100 * S + 1);
    let run = begun(clock.place(0, reading(0, 0)));
    assert_eq!(run.start_ns, DAY + 101 * S);
    assert_eq!(run.utc.unix_ns, i64::try_from(DAY).unwrap());
}

#[test]
fn a_silence_a_jump_and_a_run_back_begin_runs_of_their_causes() {
    let cause = |stamp_s: u64, at_s: u64| {
        let mut clock = clock(0);
        clock.place(100 * S, reading(0, 0));
        clock.place(101 * S, reading(S, 0));
        match clock.place(stamp_s * S, reading(at_s * S, 0)) {
            Placed::Begins(_, run) => Some(run.cause),
            _ => None,
        }
    };
    assert_eq!(cause(105, 5), None);
    assert_eq!(cause(111, 11), Some(RunCause::Resumed));
    assert_eq!(cause(5000, 3), Some(RunCause::TimestampsJumped));
    assert_eq!(cause(50, 3), Some(RunCause::TimestampsJumped));
}

#[test]
fn a_wall_clock_set_forward_moves_the_axis_and_one_set_back_does_not() {
    let hour = 3600 * i64::try_from(S).unwrap();
    for (step, expected) in [(hour, DAY + 3602 * S), (-hour, DAY + 2 * S)] {
        let mut clock = clock(0);
        clock.place(0, reading(0, 0));
        clock.place(S, reading(S, 0));
        let run = begun(clock.place(2 * S, reading(2 * S, step)));
        assert_eq!((run.cause, run.start_ns), (RunCause::ClockSet, expected));
        assert_eq!(run.utc.unix_ns, i64::try_from(DAY + 2 * S).unwrap() + step);
        assert_eq!(clock.place(3 * S, reading(3 * S, step)), Placed::At(expected + S));
    }
}

#[test]
fn a_slewed_wall_clock_is_not_a_set_one() {
    let mut clock = clock(0);
    clock.place(0, reading(0, 0));
    for second in 1..2000 {
        let slewed = i64::try_from(second * MS / 2).unwrap();
        let placed = clock.place(second * S, reading(second * S, slewed));
        assert_eq!(placed, Placed::At(DAY + second * S));
    }
}

#[test]
fn the_cameras_own_clock_is_told_and_its_distance_from_ours_is_the_uncertainty() {
    let mut clock = clock(0);
    clock.place(10 * S, reading(0, 0));
    let arrival = clock.utc_of(DAY);
    assert_eq!((arrival.clock, arrival.uncertainty_ms), (Clock::Arrival, 500));
    let camera = i64::try_from(DAY - 250 * MS).unwrap();
    clock.tell(SenderTime { stamp_ns: 10 * S, unix_ns: camera });
    let told = clock.utc_of(DAY + 4 * S);
    assert_eq!(told.clock, Clock::RtcpSenderReport);
    assert_eq!((told.unix_ns, told.uncertainty_ms), (camera + 4_000_000_000, 250 + EXPOSED_MS));
}

#[test]
fn a_camera_that_does_not_know_the_year_is_not_believed() {
    let mut clock = clock(0);
    clock.place(0, reading(0, 0));
    clock.tell(SenderTime { stamp_ns: 0, unix_ns: 86_400_000_000_000 });
    assert_eq!(clock.utc_of(DAY).clock, Clock::Arrival);
}

#[test]
fn a_cameras_clock_that_is_set_begins_a_run() {
    let mut clock = clock(0);
    let camera = |at_s: u64| i64::try_from(DAY + at_s * S).unwrap();
    clock.place(0, reading(0, 0));
    clock.tell(SenderTime { stamp_ns: 0, unix_ns: camera(0) });
    clock.tell(SenderTime { stamp_ns: S, unix_ns: camera(1) + 20_000_000 });
    assert!(matches!(clock.place(S, reading(S, 0)), Placed::At(_)));
    clock.tell(SenderTime { stamp_ns: 2 * S, unix_ns: camera(5) });
    let run = begun(clock.place(2 * S, reading(2 * S, 0)));
    assert_eq!((run.cause, run.utc.unix_ns), (RunCause::ClockSet, camera(5)));
    assert_eq!(run.utc.clock, Clock::RtcpSenderReport);
}

#[test]
fn a_cameras_clock_that_is_set_an_hour_off_begins_a_run_and_is_not_believed() {
    for hour in [-3600, 3600] {
        let mut clock = clock(0);
        let camera = |at_s: i64| i64::try_from(DAY).unwrap() + at_s * 1_000_000_000;
        clock.place(0, reading(0, 0));
        clock.tell(SenderTime { stamp_ns: 0, unix_ns: camera(0) });
        assert!(matches!(clock.place(S, reading(S, 0)), Placed::At(_)));
        clock.tell(SenderTime { stamp_ns: 2 * S, unix_ns: camera(2 + hour) });
        let run = begun(clock.place(2 * S, reading(2 * S, 0)));
        assert_eq!((run.cause, run.utc.clock), (RunCause::ClockSet, Clock::Arrival));
        assert_eq!(run.utc.unix_ns, camera(2));
    }
}

#[test]
fn a_break_that_was_announced_waits_for_its_picture() {
    let mut clock = clock(0);
    clock.place(0, reading(0, 0));
    clock.mark(2 * S, RunCause::FormatChanged);
    assert!(matches!(clock.place(S, reading(S, 0)), Placed::At(_)));
    assert_eq!((clock.foresee(S), clock.foresee(2 * S)), (Some(DAY + S), None));
    let run = begun(clock.place(2 * S, reading(2 * S, 0)));
    assert_eq!(run.cause, RunCause::FormatChanged);
    assert_eq!((clock.foresee(3 * S), clock.foresee(9 * S)), (Some(DAY + 3 * S), None));
    assert!(matches!(clock.place(3 * S, reading(3 * S, 0)), Placed::At(_)));
}

#[test]
fn a_clock_that_is_closed_places_nothing() {
    let mut clock = clock(0);
    clock.place(0, reading(0, 0));
    clock.close();
    assert_eq!(clock.place(S, reading(S, 0)), Placed::Dropped);
    assert_eq!(clock.utc_of(DAY).unix_ns, i64::try_from(DAY).unwrap());
}

/// What happens from one picture to the next.
#[derive(Clone, Copy, Debug)]
struct Step {
    passed_ms: u64,
    stamp_ms: i64,
    wall_ms: i64,
    age_ms: u64,
    mark: bool,
    told_ms: Option<i64>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let odd = |usual: std::ops::Range<i64>| prop_oneof![8 => usual, 1 => -9_000_000i64..9_000_000];
    let step = (
        0u64..9000,
        odd(0..3000),
        odd(-20..20),
        0u64..3000,
        any::<bool>(),
        proptest::option::of(odd(-20..20)),
    )
        .prop_map(|(passed_ms, stamp_ms, wall_ms, age_ms, mark, told_ms)| Step {
            passed_ms,
            stamp_ms,
            wall_ms,
            age_ms,
            mark: mark && age_ms % 5 == 0,
            told_ms,
        });
    proptest::collection::vec(step, 1..120)
}

proptest! {
    #[test]
    fn time_runs_forward_runs_never_overlap_and_no_clip_spans_a_gap(
        steps in steps(), floor_s in 0u64..20, length in 1usize..6,
    ) {
        let floor_ns = DAY + floor_s * S + 123;
        let rate = settings().rate;
        let window = WindowSpec::try_new(length, length.div_ceil(2), rate).unwrap();
        let mut clock = clock(floor_ns);
        let mut cutter = Cutter::new(window, u64::MAX, PartialClip::Pad);
        let (mut steady, mut off, mut stamp) = (0u64, 0i64, 10_000_000i64);
        let mut last_ns = None::<u64>;
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        let (mut run_start, mut cuts) = (0, Vec::new());
        for step in steps {
            steady += step.passed_ms * MS;
            off += step.wall_ms * 1_000_000;
            stamp = (stamp + step.stamp_ms).max(0);
            let stamp_ns = stamp.unsigned_abs() * MS;
            if step.mark {
                clock.mark(stamp_ns, RunCause::FormatChanged);
            }
            if let Some(told) = step.told_ms {
                let unix_ns = i64::try_from(DAY + steady).unwrap() + told * 1_000_000;
                clock.tell(SenderTime { stamp_ns, unix_ns });
            }
            let now = Reading { age_ns: step.age_ms * MS, ..reading(steady, off) };
            let time_ns = match clock.place(stamp_ns, now) {
                Placed::Dropped => continue,
                Placed::At(time_ns) => {
                    prop_assert!(last_ns.is_some_and(|last| time_ns >= last));
                    prop_assert!(time_ns - last_ns.unwrap() <= settings().max_gap_ns);
                    time_ns
                }
                Placed::Begins(time_ns, run) => {
                    // All that a run before it sampled ends before it begins.
                    let taken = last_ns.map_or(floor_ns, |last| {
                        rate.slot_start_ns(rate.slot_of(last) + 1)
                    });
                    prop_assert!(run.start_ns >= taken && run.start_ns <= time_ns);
                    prop_assert!(time_ns < run.start_ns + S);
                    cuts.extend(cutter.finish().map(|cut| (run_start, cut)));
                    gaps.push((taken, run.start_ns));
                    run_start = run.start_ns;
                    time_ns
                }
            };
            last_ns = Some(time_ns);
            cuts.extend(cutter.push(time_ns, time_ns).into_iter().map(|cut| (run_start, cut)));
        }
        cuts.extend(cutter.finish().map(|cut| (run_start, cut)));
        for (run_start, cut) in cuts {
            prop_assert!(cut.span.start_ns >= run_start);
            for (from, to) in &gaps {
                prop_assert!(!cut.span.overlaps(&Span::new(*from, *to)));
            }
        }
    }
}
