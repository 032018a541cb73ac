//! Runs, formats, restarts and losses: where one fragment ends and another begins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use footage_clip::Span;
use footage_pipeline::{Fragments, Recorder, RecordingError, RecordingSettings, RecordingSpec};

use crate::camera::{
    self, Camera, DecodingTimes, PICTURE_NS, assert_shows, axis, record, shown_in, spec, time_of,
    wait_until,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn begins(dir: &std::path::Path) -> Vec<u64> {
    Fragments::open(dir).all().unwrap().iter().map(|each| each.begins_ns).collect()
}

#[test]
fn another_run_begins_a_fragment_at_its_first_keyframe() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    // From picture 30 on, everything is four seconds later.
    let placed = |running: gst::ClockTime| {
        let later_ns = if running.nseconds() < 30 * PICTURE_NS { 0 } else { 100 * PICTURE_NS };
        Some(camera::ORIGIN_NS + running.nseconds() + later_ns)
    };
    let recorder = Recorder::attach(&camera.pad, spec(dir.path()), Arc::new(placed)).unwrap();
    (0..100).for_each(|number| camera.show(number));
    camera.end();
    assert_eq!(recorder.failure(), None);
    assert!(recorder.finish(PATIENCE));
    // The group of pictures that was interrupted stays together: 30 to 49 refer to 25.
    assert_eq!(begins(dir.path()), [time_of(0), time_of(150)]);
    let first = shown_in(&Fragments::open(dir.path()).all().unwrap()[0].path, time_of(0));
    let expected =
        (0..30).map(|at| (time_of(at), at)).chain((30..50).map(|at| (time_of(at + 100), at)));
    assert!(
        first
            .iter()
            .zip(expected)
            .all(|(seen, known)| seen.1 == known.1 && seen.0.abs_diff(known.0) <= 1000),
        "{first:?}"
    );
    assert_eq!(first.len(), 50);
}

#[test]
fn a_leap_of_the_stream_waits_until_the_axis_knows_of_the_run() {
    const HOUR_NS: u64 = 3_600_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let asked = AtomicU64::new(0);
    // At first it takes what leapt for a part of the run before, an hour later.
    let placed = move |running: gst::ClockTime| {
        let has_leapt = running.nseconds() >= HOUR_NS;
        let knows = has_leapt && asked.fetch_add(1, Ordering::Relaxed) >= 5;
        Some(camera::ORIGIN_NS + running.nseconds() - if knows { HOUR_NS } else { 0 })
    };
    let recorder = Recorder::attach(&camera.pad, spec(dir.path()), Arc::new(placed)).unwrap();
    (0..30).for_each(|number| camera.show(number));
    (30..100).for_each(|number| camera.show_at(number, HOUR_NS + number * PICTURE_NS));
    camera.end();
    assert_eq!((recorder.failure(), recorder.used().left_out), (None, 0));
    assert!(recorder.finish(PATIENCE));
    assert_eq!(begins(dir.path()), [time_of(0), time_of(50)]);
    assert_shows(dir.path(), 0..100, 1000);
}

#[test]
fn a_camera_that_comes_back_goes_on_in_new_fragments() {
    let dir = tempfile::tempdir().unwrap();
    assert!(record(dir.path(), camera::H264, DecodingTimes::Untold, 60).finish(PATIENCE));
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let recorder = Recorder::attach(&camera.pad, spec(dir.path()), axis()).unwrap();
    // What it sends at first was recorded before.
    (0..100).for_each(|number| camera.show(number));
    camera.end();
    assert!(recorder.used().left_out > 0);
    assert!(recorder.finish(PATIENCE));
    let times = begins(dir.path());
    assert!(times.is_sorted() && times[..2] == [time_of(0), time_of(50)], "{times:?}");
    assert_eq!(times.last(), Some(&time_of(75)));
}

#[test]
fn another_resolution_begins_a_fragment() {
    let dir = tempfile::tempdir().unwrap();
    let mut camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let recorder = Recorder::attach(&camera.pad, spec(dir.path()), axis()).unwrap();
    (0..30).for_each(|number| camera.show(number));
    camera.grow(2);
    (30..60).for_each(|number| camera.show(number));
    camera.end();
    assert_eq!((recorder.failure(), recorder.used().left_out), (None, 0));
    assert!(recorder.finish(PATIENCE));
    assert_eq!(begins(dir.path()), [time_of(0), time_of(30)]);
    assert_shows(dir.path(), 0..60, 1000);
}

#[test]
fn pictures_wait_until_it_is_known_where_their_run_lies() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let asked = AtomicU64::new(0);
    let recorder = Recorder::attach(
        &camera.pad,
        spec(dir.path()),
        Arc::new(move |running| {
            let is_known = asked.fetch_add(1, Ordering::Relaxed) >= 20;
            is_known.then(|| camera::ORIGIN_NS + running.nseconds())
        }),
    )
    .unwrap();
    (0..60).for_each(|number| camera.show(number));
    camera.end();
    assert_eq!(recorder.used().left_out, 0);
    assert!(recorder.finish(PATIENCE));
    assert_shows(dir.path(), 0..60, 1000);
}

#[test]
fn a_clip_knows_the_fragment_in_which_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let recorder = Recorder::attach(&camera.pad, spec(dir.path()), axis()).unwrap();
    (0..80).for_each(|number| camera.show(number));
    camera.end();
    let of = |from: u64, to: u64| {
        recorder.media_of(&Span::new(time_of(from), time_of(to))).map(|media| media.begins_ns)
    };
    assert_eq!(of(0, 4), Some(time_of(0)));
    assert_eq!(of(49, 60), Some(time_of(0)), "it begins in the first and ends in the second");
    assert_eq!(of(50, 60), Some(time_of(50)));
    assert_eq!(of(79, 90), Some(time_of(50)));
    assert_eq!(of(80, 90), None, "after the last picture");
    let before = Span::new(time_of(0) - 500_000_000, time_of(4));
    let media = recorder.media_of(&before).unwrap();
    assert_eq!(media.begins_ns, time_of(0), "a slot begins before its picture");
    assert!(recorder.finish(PATIENCE));
    assert!(std::path::Path::new(&media.path).is_file());
}

#[test]
fn what_no_file_takes_is_refused_and_flows_on() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start("identity", DecodingTimes::Told);
    let recorder = Recorder::attach(&camera.pad, spec(dir.path()), axis()).unwrap();
    (0..60).for_each(|number| camera.show(number));
    camera.end();
    assert_eq!(camera.passed(), 60);
    // The thread that writes finds out in its own time.
    wait_until("it is refused", || matches!(recorder.failure(), Some(RecordingError::Format(_))));
    assert!(begins(dir.path()).is_empty());
}

#[test]
fn a_folder_that_cannot_be_written_holds_up_nothing_and_is_tried_again() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("camera");
    fs_err::write(&dir, "in the way").unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let recorder = Recorder::attach(&camera.pad, spec(&dir), axis());
    let recorder = recorder.unwrap();
    (0..60).for_each(|number| camera.show(number));
    wait_until("all passes", || camera.passed() == 60);
    wait_until("it is told", || matches!(recorder.failure(), Some(RecordingError::Unwritable(_))));
    fs_err::remove_file(&dir).unwrap();
    (60..130).for_each(|number| camera.show(number));
    camera.end();
    assert_eq!(camera.passed(), 130);
    wait_until("it is written", || recorder.used().pictures > 0);
    assert_eq!(recorder.failure(), None);
    assert!(recorder.finish(PATIENCE));
    // The first keyframe that the writer came to after there was room.
    let first = begins(&dir)[0];
    assert!([time_of(50), time_of(75)].contains(&first), "{first}");
    assert_shows(&dir, if first == time_of(50) { 50..130 } else { 75..130 }, 1000);
}

#[test]
fn nothing_is_recorded_below_the_limit_of_free_space() {
    let dir = tempfile::tempdir().unwrap();
    let camera = Camera::start(camera::H264, DecodingTimes::Untold);
    let settings = RecordingSettings { min_free_bytes: u64::MAX, ..camera::settings() };
    let spec = RecordingSpec { dir: dir.path().to_owned(), settings };
    let recorder = Recorder::attach(&camera.pad, spec, axis()).unwrap();
    (0..60).for_each(|number| camera.show(number));
    camera.end();
    wait_until("it is told", || {
        matches!(recorder.failure(), Some(RecordingError::LowSpace { .. }))
    });
    let all = Span::new(time_of(0), time_of(60));
    wait_until("it gives up", || recorder.media_of(&all).is_none());
    assert!(recorder.finish(PATIENCE));
    assert!(begins(dir.path()).is_empty());
}
