//! Where frames and clips lie in media time.

use crate::rig::{Rig, SMALL, clock_time, frame, segment};

const CLIP: &str = "footageclip length=2 stride=2 rate=1/1";

#[test]
fn media_time_is_the_segments_stream_time() {
    let mut rig = Rig::without_caps(CLIP);
    rig.harness.set_src_caps_str(SMALL);
    // A file whose timestamps start at 3600 s, played from its 10th second on.
    rig.segment(3610.0, None, Some(10.0));
    rig.frames([3610, 3611]);
    assert_eq!(rig.clip_story(), ["run 10 11"]);
    assert_eq!(rig.clips()[0].span().start_ns, 10_000_000_000);
    assert_eq!(rig.buffers()[0].pts(), Some(clock_time(3610.0)));
}

#[test]
fn a_segment_played_at_double_speed_keeps_media_time() {
    let mut rig = Rig::new(CLIP);
    let mut fast = segment(10.0, None, Some(10.0));
    fast.set_rate(2.0);
    rig.event(gst::event::Segment::new(&fast));
    rig.frames([10, 11]);
    assert_eq!(rig.clip_story(), ["run 10 11"]);
}

#[test]
fn without_a_stream_time_media_time_is_running_time() {
    let mut rig = Rig::new(CLIP);
    rig.segment(100.0, None, None);
    rig.frames([100, 101]);
    assert_eq!(rig.clip_story(), ["run 0 1"]);
    assert_eq!(rig.buffers()[0].pts(), Some(clock_time(100.0)));
}

#[test]
fn a_span_that_begins_before_the_segment_has_a_pts_inside_it() {
    let mut rig = Rig::new(CLIP);
    rig.segment(5.4, None, Some(5.4));
    rig.frame(5.4);
    rig.frame(6.0);
    assert_eq!(rig.clips()[0].span().start_ns, 5_000_000_000);
    assert_eq!(rig.buffers()[0].pts(), Some(clock_time(5.4)));
    assert_eq!(rig.buffers()[0].duration(), Some(clock_time(1.6)));
}

#[test]
fn frames_outside_the_segment_are_in_no_clip() {
    let mut rig = Rig::new("footageclip length=4 stride=4 rate=1/1");
    rig.segment(2.0, Some(4.0), Some(2.0));
    rig.frames(0..7);
    rig.eos();
    assert_eq!(rig.clip_story(), ["run 2 3 +2"]);
}

#[test]
fn a_frame_that_began_before_the_segment_is_shown_from_its_start() {
    let mut rig = Rig::new(CLIP);
    rig.segment(0.05, None, Some(0.0));
    rig.frame(0.0); // until 0.1
    rig.frame(1.05);
    assert_eq!(rig.clip_story(), ["run 0 1"]);
}

#[test]
fn frames_without_timestamps_follow_each_other_by_their_duration() {
    let mut rig = Rig::new("footageclip length=2 stride=2 rate=10/1");
    rig.segment(7.0, None, Some(7.0));
    for _ in 0..2 {
        rig.push(frame(None)).unwrap();
    }
    rig.frame(9.0);
    rig.push(frame(None)).unwrap();
    rig.eos();
    assert_eq!(rig.clip_story()[0], "run 7 7.1");
    assert!(rig.clip_story().last().unwrap().ends_with("9 9.1"));
}

#[test]
fn a_segment_that_is_only_repeated_does_not_set_the_time_back() {
    let mut rig = Rig::new("footageclip length=4 stride=4 rate=10/1");
    for _ in 0..2 {
        rig.push(frame(None)).unwrap();
        rig.push(frame(None)).unwrap();
        rig.segment(0.0, None, Some(0.0));
    }
    assert_eq!(rig.clip_story(), ["run 0 0.1 0.2 0.3"]);
}

#[test]
fn frames_without_timestamps_or_durations_follow_the_framerate() {
    let mut rig = Rig::new("footageclip length=3 stride=3 rate=10/1");
    for _ in 0..3 {
        rig.push(bare_frame()).unwrap();
    }
    assert_eq!(rig.clip_story(), ["run 0 0.1 0.2"]);
}

#[test]
fn a_frame_that_nothing_places_in_time_is_an_error_that_says_what_to_do() {
    for element in ["footageclip", "footagesample"] {
        for caps in [SMALL.replace(",framerate=10/1", ""), SMALL.replace("10/1", "0/1")] {
            let mut rig = Rig::without_caps(element);
            rig.harness.set_src_caps_str(&caps);
            rig.push(bare_frame()).unwrap(); // the first is shown from the segment's start
            assert_eq!(rig.push(bare_frame()), Err(gst::FlowError::Error));
            let error = rig.error().unwrap();
            assert!(error.contains("set the framerate with `videorate`"), "{error}");
        }
    }
}

#[test]
fn timestamps_suffice_where_the_caps_have_no_framerate() {
    let mut rig = Rig::without_caps(CLIP);
    rig.harness.set_src_caps_str(&SMALL.replace(",framerate=10/1", ""));
    for second in [0, 1] {
        let mut frame = bare_frame();
        frame.make_mut().set_pts(gst::ClockTime::from_seconds(second));
        rig.push(frame).unwrap();
    }
    assert_eq!(rig.clip_story(), ["run 0 1"]);
}

#[test]
fn timestamps_at_the_end_of_time_harm_nobody() {
    for element in ["footagesample", CLIP] {
        let mut rig = Rig::new(element);
        for nanoseconds in [0, u64::MAX - 2, 5, u64::MAX / 2, u64::MAX - 1] {
            let mut frame = frame(None);
            frame.make_mut().set_pts(gst::ClockTime::from_nseconds(nanoseconds));
            frame.make_mut().set_duration(gst::ClockTime::MAX);
            rig.push(frame).unwrap();
        }
        rig.eos();
        assert_eq!(rig.error(), None);
        assert_eq!(rig.buffers().len(), 5, "five runs, or five frames, of one each");
    }
}

#[test]
fn playing_backwards_is_refused() {
    let mut rig = Rig::new(CLIP);
    let mut backwards = segment(0.0, Some(10.0), Some(0.0));
    backwards.set_rate(-1.0);
    rig.event(gst::event::Segment::new(&backwards));
    assert!(rig.push(frame(Some(9.0))).is_err());
    assert!(rig.error().unwrap().contains("clips are cut forward only"));

    assert!(!rig.harness.push_upstream_event(seek(-1.0)));
    assert_eq!(rig.harness.upstream_events_received(), 1, "the reconfigure of linking");
    rig.harness.push_upstream_event(seek(1.0));
    assert_eq!(rig.harness.upstream_events_received(), 2);
}

#[test]
fn a_segment_that_counts_no_time_is_refused() {
    for element in ["footageclip", "footagesample"] {
        let mut rig = Rig::new(element);
        let bytes = gst::FormattedSegment::<gst::format::Bytes>::new();
        rig.event(gst::event::Segment::new(&bytes));
        assert!(rig.push(frame(Some(0.0))).is_err());
        assert!(rig.error().unwrap().contains("not time"));
    }
}

fn bare_frame() -> gst::Buffer {
    let mut frame = frame(None);
    frame.make_mut().set_duration(gst::ClockTime::NONE);
    frame
}

fn seek(rate: f64) -> gst::Event {
    gst::event::Seek::new(
        rate,
        gst::SeekFlags::FLUSH,
        gst::SeekType::Set,
        gst::ClockTime::ZERO,
        gst::SeekType::Set,
        gst::ClockTime::from_seconds(10),
    )
}
