//! A camera's footage, read again by media time.

use std::time::Duration;

use footage_clip::{Rate, Span};
use footage_pipeline::{Cancel, DecodeError, DecodeSettings, Fragments, SpanReader};

use crate::camera::{self, DecodingTimes, ORIGIN_NS, number_in, record, time_of};

const SECOND: u64 = 1_000_000_000;

/// The frames of a span: slot, media time, number shown.
fn frames(
    dir: &std::path::Path,
    span: Span,
    rate: Rate,
) -> Result<Vec<(u64, u64, u64)>, DecodeError> {
    let settings = DecodeSettings::default();
    let mut reader =
        SpanReader::open(&Fragments::open(dir), span, rate, &settings, &Cancel::default()).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push((frame.slot, frame.time_ns, number_in(&frame.frame)));
    }
    Ok(frames)
}

/// The first picture of each slot: what a clip of that rate is cut from.
fn expected(span: Span, rate: Rate, pictures: u64) -> Vec<(u64, u64, u64)> {
    let mut firsts: Vec<(u64, u64, u64)> = Vec::new();
    for number in 0..pictures {
        let slot = rate.slot_of(time_of(number));
        if firsts.last().is_none_or(|last| last.0 < slot) {
            firsts.push((slot, time_of(number), number));
        }
    }
    firsts.retain(|(slot, ..)| {
        *slot >= rate.slot_of(span.start_ns) && rate.slot_start_ns(*slot) < span.end_ns
    });
    firsts
}

#[test]
fn the_frames_of_a_span_are_those_that_a_clip_was_cut_from() {
    for codec in [camera::H264, camera::H264_REORDERED] {
        let dir = tempfile::tempdir().unwrap();
        let recorder = record(dir.path(), codec, DecodingTimes::Untold, 250);
        assert!(recorder.finish(Duration::from_secs(20)));
        for (per_second, from_ms, to_ms) in [
            (2, 0, 4_000),
            (2, 1_500, 5_500),
            (1, 3_876, 8_876),
            (5, 6_544, 8_144),
            (25, 1_900, 2_100),
        ] {
            let rate = Rate::try_new(per_second, 1).unwrap();
            let from = rate.slot_start_ns(rate.slot_of(ORIGIN_NS + from_ms * 1_000_000) + 1);
            let to = rate.slot_start_ns(rate.slot_of(ORIGIN_NS + to_ms * 1_000_000) + 1);
            let span = Span::new(from, to);
            let (given, known) =
                (frames(dir.path(), span, rate).unwrap(), expected(span, rate, 250));
            assert_eq!(given.len(), known.len(), "{given:?}\n{known:?}");
            for (given, known) in given.iter().zip(&known) {
                assert_eq!((given.0, given.2), (known.0, known.2));
                assert!(given.1.abs_diff(known.1) <= 1000);
            }
        }
    }
}

#[test]
fn where_nothing_was_recorded_there_are_no_frames() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = record(dir.path(), camera::H264, DecodingTimes::Untold, 60);
    assert!(recorder.finish(Duration::from_secs(20)));
    let rate = Rate::try_new(2, 1).unwrap();
    let after = Span::new(time_of(80), time_of(80) + 4 * SECOND);
    assert_eq!(frames(dir.path(), after, rate), Ok(vec![]));
    let before = Span::new(time_of(0) - 9 * SECOND, time_of(0) - 5 * SECOND);
    assert_eq!(frames(dir.path(), before, rate), Ok(vec![]));
}

#[test]
fn a_fragment_that_cannot_be_read_costs_what_it_holds() {
    let dir = tempfile::tempdir().unwrap();
    let recorder = record(dir.path(), camera::H264, DecodingTimes::Untold, 150);
    assert!(recorder.finish(Duration::from_secs(20)));
    let all = Fragments::open(dir.path()).all().unwrap();
    assert_eq!(all.len(), 3);
    fs_err::write(&all[1].path, "this was footage once, and it is none any more").unwrap();
    let rate = Rate::try_new(5, 1).unwrap();
    let span = Span::new(time_of(0), time_of(150));
    let seen: Vec<_> = frames(dir.path(), span, rate).unwrap().iter().map(|each| each.2).collect();
    assert!(seen.iter().all(|number| !(51..100).contains(number)), "{seen:?}");
    assert!(seen.contains(&100) && seen.len() > 15, "{seen:?}");
    let torn = Span::new(time_of(55), time_of(90));
    assert!(
        frames(dir.path(), torn, rate).is_err(),
        "there is footage, and none of it can be read"
    );
}
