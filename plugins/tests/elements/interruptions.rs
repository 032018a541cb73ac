//! `footageclip`: no clip spans an interruption, and what breaks a clip off comes after it.

use crate::rig::{LARGE, Rig, SMALL, clock_time, frame};

const CLIP: &str = "footageclip length=4 stride=2 rate=1/1 max-gap=5000000000";

#[test]
fn a_clip_broken_off_by_other_caps_comes_before_them_and_under_its_own() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..3);
    rig.harness.set_src_caps_str(LARGE);
    rig.frames(3..7);

    let story = rig.story();

    let story: Vec<_> = story.iter().filter(|line| *line != "segment").collect();
    assert_eq!(story[1..], ["caps of width 4", "run 0 1 2 +1", "caps of width 8", "run 3 4 5 6"]);
    let widths: Vec<_> =
        rig.clips().iter().map(|clip| clip.video_info().unwrap().width()).collect();
    assert_eq!(widths, [4, 8]);
}

#[test]
fn caps_that_change_nothing_but_the_framerate_end_no_run() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..2);
    rig.harness.set_src_caps_str(SMALL);
    rig.harness.set_src_caps_str(&SMALL.replace("10/1", "25/1"));
    rig.frames(2..4);
    assert_eq!(rig.clip_story(), ["run 0 1 2 3"]);
    assert_eq!(rig.story().iter().filter(|line| line.starts_with("caps")).count(), 1);
}

#[test]
fn no_clip_spans_more_than_the_longest_gap() {
    let mut rig = Rig::new(CLIP);
    rig.frames([0, 1, 6, 12, 13, 14, 15]);
    assert_eq!(
        rig.clip_story(),
        ["run 0 1 1 1", "clip 1 1 1 1", "clip 1 1 6 +1", "run 12 13 14 15"]
    );
}

#[test]
fn a_longest_gap_of_less_than_two_slots_does_not_tear_neighbours_apart() {
    let mut rig = Rig::new("footageclip length=2 stride=1 rate=1/10 max-gap=0");
    for second in [0.0, 19.0, 20.0, 60.0] {
        rig.frame(second);
    }
    rig.eos();
    assert_eq!(rig.clip_story(), ["run 0 19", "clip 19 20", "run 60 +1"]);
}

#[test]
fn a_long_gap_event_ends_the_run_before_it_passes() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..3);
    rig.event(gst::event::Gap::new(clock_time(3.0), clock_time(20.0)));
    assert_eq!(rig.story()[3..], ["run 0 1 2 +1", "gap"]);
    rig.frames(23..27);
    assert_eq!(rig.clip_story()[1..], ["run 23 24 25 26"]);
}

#[test]
fn a_short_gap_event_leaves_the_last_picture_on_show() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..2);
    rig.event(gst::event::Gap::new(clock_time(1.1), clock_time(1.0)));
    rig.frame(3.0);
    assert_eq!(rig.clip_story(), ["run 0 1 1 3"]);
}

#[test]
fn short_gap_events_add_up() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..2);
    for second in 2..8 {
        rig.event(gst::event::Gap::new(clock_time(f64::from(second)), clock_time(1.0)));
    }
    assert_eq!(rig.clip_story(), ["run 0 1 +2"]);
}

#[test]
fn a_gap_event_for_time_gone_by_ends_nothing() {
    let mut rig = Rig::new(CLIP);
    rig.frames(2..5);
    rig.event(gst::event::Gap::new(clock_time(0.0), clock_time(1.0)));
    rig.frame(5.0);
    assert_eq!(rig.clip_story(), ["run 2 3 4 5"]);
}

#[test]
fn a_discont_flag_alone_ends_nothing() {
    let mut rig = Rig::new(CLIP);
    for second in 0..4 {
        let mut frame = frame(Some(f64::from(second)));
        frame.make_mut().set_flags(gst::BufferFlags::DISCONT);
        rig.push(frame).unwrap();
    }
    assert_eq!(rig.clip_story(), ["run 0 1 2 3"]);
}

#[test]
fn time_that_runs_back_begins_a_new_run() {
    let mut rig = Rig::new(CLIP);
    rig.frames([8, 9, 0, 1, 2, 3]);
    assert_eq!(rig.clip_story(), ["run 8 9 +2", "run 0 1 2 3"]);
}

#[test]
fn the_first_clip_of_a_run_is_marked_discont() {
    let mut rig = Rig::new("footageclip length=2 stride=1 rate=1/1");
    rig.frames([0, 1, 2, 30, 31, 32]);
    let discont: Vec<_> =
        rig.buffers().iter().map(|clip| clip.flags().contains(gst::BufferFlags::DISCONT)).collect();
    assert_eq!(discont, [true, false, true, false]);
}

#[test]
fn a_flush_forgets_the_clip_that_had_begun() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..3);
    rig.event(gst::event::FlushStart::new());
    rig.event(gst::event::FlushStop::new(true));
    rig.segment(3.0, None, Some(3.0));
    rig.frames(3..7);
    assert_eq!(
        rig.story()[1..],
        ["caps of width 4", "segment", "flush-start", "flush-stop", "segment", "run 3 4 5 6"]
    );
}

#[test]
fn a_segment_that_leaves_time_out_ends_the_run_before_it_passes() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..3);
    rig.segment(5.0, None, Some(5.0)); // within the longest gap, but nothing was on show here
    rig.frames(5..9);
    assert_eq!(rig.story()[3..], ["run 0 1 2 +1", "segment", "run 5 6 7 8"]);
}

#[test]
fn a_segment_that_continues_the_stream_ends_nothing() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..2);
    rig.segment(0.0, Some(90.0), Some(0.0)); // the same, now with an end
    rig.frame(2.0);
    rig.segment(100.0, None, Some(3.0)); // as the next part of a playlist
    rig.frame(100.0);
    assert_eq!(rig.clip_story(), ["run 0 1 2 3"]);
}

#[test]
fn a_segment_that_begins_where_a_long_frame_ends_ends_nothing() {
    let mut rig = Rig::new(CLIP);
    let mut still = frame(Some(0.0));
    still.make_mut().set_duration(clock_time(3.0));
    rig.push(still).unwrap();
    rig.segment(3.0, None, Some(3.0));
    rig.frame(3.0);
    assert_eq!(rig.clip_story(), ["run 0 0 0 3"]);
}

#[test]
fn a_new_stream_ends_the_run_before_it_begins() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..3);
    rig.event(gst::event::StreamStart::new("another"));
    rig.segment(0.0, None, Some(0.0));
    rig.frames(3..7);
    assert_eq!(rig.story()[3..], ["run 0 1 2 +1", "stream-start", "segment", "run 3 4 5 6"]);
}

#[test]
fn the_end_of_a_segment_seek_ends_the_run() {
    let mut rig = Rig::new(CLIP);
    rig.frames(0..3);
    rig.event(gst::event::SegmentDone::new(clock_time(3.0)));
    assert_eq!(rig.story()[3..], ["run 0 1 2 +1", "segment-done"]);
}

#[test]
fn an_event_that_is_none_of_our_business_keeps_its_place() {
    let mut rig = Rig::new("footageclip length=2 stride=1 rate=1/1");
    rig.frames(0..2);
    let fields = gst::Structure::new_empty("somebody/elses");
    rig.event(gst::event::CustomDownstream::new(fields));
    rig.frame(2.0);
    assert_eq!(rig.story()[3..], ["run 0 1", "custom-downstream", "clip 1 2"]);
}
