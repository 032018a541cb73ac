//! `footageclip`: what a clip is.

use std::sync::Arc;

use footage_clip::Span;
use gst::meta::CustomMeta;
use gst::prelude::*;
use gst_video::VideoFrameExt;
use gstfootage::FootageClipMeta;

use crate::rig::{Held, LARGE, Rig, SMALL, clock_time, frame, held_frame};

#[test]
fn ten_frames_of_length_four_and_stride_two_give_four_overlapping_clips() {
    let mut rig = Rig::new("footageclip length=4 stride=2 rate=1/1");
    rig.frames(0..10);
    assert_eq!(rig.clip_story(), ["run 0 1 2 3", "clip 2 3 4 5", "clip 4 5 6 7", "clip 6 7 8 9"]);
}

#[test]
fn a_clip_leaves_with_its_last_frame() {
    let mut rig = Rig::new("footageclip length=2 stride=1 rate=1/1");
    rig.frame(0.0);
    assert_eq!(rig.buffers().len(), 0);
    rig.frame(1.0);
    assert_eq!(rig.buffers().len(), 1);
}

#[test]
fn overlapping_clips_share_their_frames_memory() {
    for length in [4, 32] {
        let stride = length / 2;
        let mut rig = Rig::new(&format!("footageclip length={length} stride={stride} rate=1/1"));
        let pushed: Vec<_> = (0..length + stride).map(|s| frame(Some(f64::from(s)))).collect();
        for frame in &pushed {
            rig.push(frame.clone()).unwrap();
        }

        let memories = |clip: &FootageClipMeta| -> Vec<_> {
            clip.frames().map(|frame| frame.buffer.peek_memory(0).as_ptr()).collect()
        };
        let clips: Vec<_> = rig.clips().iter().map(memories).collect();

        let pushed: Vec<_> = pushed.iter().map(|frame| frame.peek_memory(0).as_ptr()).collect();
        assert_eq!(clips, [&pushed[..length as usize], &pushed[stride as usize..]]);
    }
}

#[test]
fn a_clip_of_more_frames_than_a_buffer_has_memories_is_one_buffer() {
    let mut rig = Rig::new("footageclip length=1024 stride=1024 rate=1/1");
    rig.frames(0..1024);
    let clips = rig.buffers();
    assert_eq!((clips.len(), clips[0].n_memory(), clips[0].size()), (1, 0, 0));
    assert_eq!(rig.clips()[0].frames().len(), 1024);
}

#[test]
fn a_clip_lies_where_its_slots_lie() {
    let mut rig = Rig::new("footageclip length=2 stride=2 rate=2/1");
    for second in [3.1, 3.3, 3.6] {
        rig.frame(second);
    }
    let clip = &rig.clips()[0];
    assert_eq!(clip.span(), Span::new(3_000_000_000, 4_000_000_000));
    let frames: Vec<_> = clip.frames().map(|frame| (frame.slot, frame.time_ns)).collect();
    assert_eq!(frames, [(6, 3_100_000_000), (7, 3_600_000_000)]);
    let buffer = &rig.buffers()[0];
    assert_eq!(buffer.pts(), Some(clock_time(3.0)));
    assert_eq!(buffer.duration(), Some(clock_time(1.0)));
}

#[test]
fn a_slot_without_a_frame_repeats_the_one_still_shown() {
    let mut rig = Rig::new("footageclip length=4 stride=4 rate=1/1");
    rig.frames([0, 3]);
    assert_eq!(rig.clip_story(), ["run 0 0 0 3"]);
}

#[test]
fn at_the_end_a_clip_that_had_begun_is_padded() {
    let mut rig = Rig::new("footageclip length=4 stride=2 rate=1/1");
    rig.frames(0..5);
    rig.eos();

    assert_eq!(rig.clip_story(), ["run 0 1 2 3", "clip 2 3 4 +1"]);
    assert_eq!(rig.story().last().unwrap(), "eos");
    let last = &rig.clips()[1];
    assert_eq!((last.padded(), last.frames().len()), (1, 4));
    assert_eq!(last.span(), Span::new(2_000_000_000, 5_000_000_000));
    assert_eq!(rig.buffers()[1].duration(), Some(clock_time(3.0)));
}

#[test]
fn at_the_end_a_clip_that_had_begun_is_left_out_if_asked() {
    let mut rig = Rig::new("footageclip length=4 stride=2 rate=1/1 partial=drop");
    rig.frames(0..5);
    rig.eos();
    assert_eq!(rig.clip_story(), ["run 0 1 2 3"]);
}

#[test]
fn a_stream_without_frames_ends_without_clips() {
    let mut rig = Rig::new("footageclip");
    rig.eos();
    assert_eq!(rig.buffers().len(), 0);
    assert_eq!(rig.story().last().unwrap(), "eos");
}

#[test]
fn a_frame_that_is_only_there_to_decode_others_is_in_no_clip() {
    let mut rig = Rig::new("footageclip length=2 stride=2 rate=1/1");
    let mut hidden = frame(Some(0.0));
    hidden.make_mut().set_flags(gst::BufferFlags::DECODE_ONLY);
    rig.push(hidden).unwrap();
    rig.frames([1, 2]);
    assert_eq!(rig.clip_story(), ["run 1 2"]);
}

#[test]
fn an_empty_buffer_is_no_frame() {
    let mut rig = Rig::new("footageclip length=2 stride=2 rate=1/1");
    let mut gap = gst::Buffer::new();
    gap.make_mut().set_pts(gst::ClockTime::ZERO);
    rig.push(gap).unwrap();
    rig.frames([1, 2]);
    assert_eq!(rig.clip_story(), ["run 1 2"]);
}

#[test]
fn copies_of_a_clip_keep_its_frames() {
    let mut rig = Rig::new("footageclip length=2 stride=2 rate=1/1");
    rig.frames([0, 1]);
    let clip = rig.buffers().remove(0);
    let mut writable = clip.clone();
    writable.make_mut().set_offset(7);
    for copy in [clip.copy(), clip.copy_deep().unwrap(), writable] {
        assert_eq!(FootageClipMeta::of(&copy), FootageClipMeta::of(&clip));
    }
}

#[test]
fn any_language_reads_the_meta_by_its_fields() {
    let mut rig = Rig::new("footageclip length=2 stride=2 rate=1/1");
    rig.frames([0, 1]);
    rig.eos();
    let clip = rig.buffers().remove(0);

    let meta = CustomMeta::from_buffer(&clip, "FootageClipMeta").unwrap();
    let fields = meta.structure();

    assert_eq!(fields.get::<gst::BufferList>("frames").unwrap().len(), 2);
    let times = fields.get::<gst::Array>("times").unwrap();
    let times: Vec<u64> = times.iter().map(|time| time.get().unwrap()).collect();
    assert_eq!(times, [0, 1_000_000_000]);
    assert_eq!(fields.get::<gst::Array>("slots").unwrap().len(), 2);
    assert_eq!((fields.get("start"), fields.get("end")), (Ok(0u64), Ok(2_000_000_000u64)));
    assert_eq!((fields.get("padded"), fields.get("begins-run")), (Ok(0u32), Ok(true)));
    assert!(fields.get::<gst::Caps>("caps").is_ok());
}

#[test]
fn a_buffer_that_is_no_clip_has_no_clip_meta() {
    gstfootage::register_static().unwrap();
    assert_eq!(FootageClipMeta::of(&frame(Some(0.0))), None);
    let mut foreign = gst::Buffer::new();
    CustomMeta::add(foreign.make_mut(), FootageClipMeta::NAME).unwrap();
    assert_eq!(FootageClipMeta::of(&foreign), None);
}

#[test]
fn a_clip_says_how_its_frames_are_laid_out() {
    let mut rig = Rig::new("footageclip length=2 stride=2 rate=1/1");
    rig.frames([0, 1]);
    let clip = rig.clips().remove(0);
    assert_eq!(clip.caps(), &SMALL.parse::<gst::Caps>().unwrap());
    let info = clip.video_info().unwrap();
    for frame in clip.frames() {
        let picture = gst_video::VideoFrameRef::from_buffer_ref_readable(&frame.buffer, &info);
        assert_eq!(picture.unwrap().width(), 4);
    }
}

#[test]
fn frames_and_clips_are_counted() {
    let mut rig = Rig::new("footageclip length=2 stride=1 rate=1/1");
    for half in 0..8 {
        rig.frame(f64::from(half) / 2.0);
    }
    let counts = ["frames-in", "frames-sampled", "clips-out"];
    assert_eq!(counts.map(|name| rig.element.property::<u64>(name)), [8, 4, 3]);
    rig.restart();
    assert_eq!(counts.map(|name| rig.element.property::<u64>(name)), [0, 0, 0]);
}

#[test]
fn a_stopped_element_holds_no_frame_and_begins_anew() {
    let held = Held::default();
    let mut rig = Rig::new("footageclip length=3 stride=3 rate=1/1");
    for second in [0.0, 1.0] {
        rig.push(held_frame(Some(second), &held)).unwrap();
    }
    assert_eq!(Arc::strong_count(&held), 3);

    rig.element.set_state(gst::State::Ready).unwrap();

    assert_eq!(Arc::strong_count(&held), 1);
    rig.restart();
    rig.harness.set_src_caps_str(LARGE);
    rig.frames([2, 3, 4]);
    assert_eq!(rig.clip_story(), ["run 2 3 4"]);
}

#[test]
fn settings_that_contradict_each_other_are_refused_at_start() {
    gstfootage::register_static().unwrap();
    for (line, complaint) in [
        ("footageclip length=4 stride=5", "stride 5 does not fit a clip of 4 frames"),
        (
            "footageclip length=1024 stride=1 rate=1000/1 max-gap=3600000000000",
            "choose less of either",
        ),
    ] {
        let element = gst::parse::launch(line).unwrap();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        assert!(element.set_state(gst::State::Paused).is_err(), "{line}");
        let error = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
        assert!(format!("{error:?}").contains(complaint), "{error:?}");
        element.set_state(gst::State::Null).unwrap();
    }
}
