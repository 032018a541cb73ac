//! What the elements agree on with their neighbours.

use footage_clip::Rate;
use gst::prelude::*;
use gstfootage::footageclip::LONGEST_GAP;

use crate::rig::{Rig, SMALL};

#[test]
fn clips_have_caps_of_their_own() {
    let mut rig = Rig::new("footageclip length=4 stride=2 rate=5/2");
    rig.frame(0.0);
    let caps = rig.element.static_pad("src").unwrap().current_caps().unwrap();
    let expected = "video/x-footage-clip,format=RGB,width=4,height=2,\
                    length=4,stride=2,rate=5/2";
    assert!(caps.is_strictly_equal(&expected.parse::<gst::Caps>().unwrap()), "{caps}");
}

#[test]
fn what_downstream_wants_of_a_clip_reaches_the_scaler() {
    let line = "videotestsrc num-buffers=40 ! video/x-raw,format=I420,width=64,height=48 \
                ! videoconvertscale ! footageclip name=clip length=2 stride=1 rate=10/1 \
                ! video/x-footage-clip,format=RGB,width=16,height=12,length=2 ! fakesink";
    let pipeline = play(line).unwrap();
    let sink = pipeline.by_name("clip").unwrap().static_pad("sink").unwrap();
    let caps = sink.current_caps().unwrap();
    let info = gst_video::VideoInfo::from_caps(&caps).unwrap();
    assert_eq!((info.width(), info.height()), (16, 12));
    assert_eq!(info.format(), gst_video::VideoFormat::Rgb);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn clips_cut_otherwise_than_downstream_wants_are_refused() {
    let line = "videotestsrc num-buffers=40 ! footageclip length=4 stride=2 rate=10/1 \
                ! video/x-footage-clip,length=8 ! fakesink";
    assert!(play(line).unwrap_err().contains("can't handle caps"));
}

#[test]
fn the_sampler_negotiates_nothing_itself() {
    let line = "videotestsrc num-buffers=3 ! footagesample name=sample ! video/x-raw,format=NV12 \
                ! fakesink";
    let pipeline = play(line).unwrap();
    let sample = pipeline.by_name("sample").unwrap();
    let [in_, out] = ["sink", "src"].map(|pad| sample.static_pad(pad).unwrap().current_caps());
    assert_eq!(in_, out);
    assert!(in_.unwrap().to_string().contains("NV12"));
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn frames_in_a_devices_memory_pass_unseen() {
    let mut rig = Rig::without_caps("footageclip length=2 stride=2 rate=1/1");
    let caps = "video/x-raw(memory:DMABuf),format=NV12,width=64,height=48,framerate=10/1";
    rig.harness.set_src_caps_str(caps);
    rig.frames([0, 1]);
    assert_eq!(rig.clips()[0].caps().to_string(), caps.parse::<gst::Caps>().unwrap().to_string());
    let clips = rig.element.static_pad("src").unwrap().current_caps().unwrap();
    assert!(clips.features(0).unwrap().contains("memory:DMABuf"));
}

#[test]
fn a_clips_length_adds_to_the_latency() {
    let mut rig = Rig::new("footageclip length=8 stride=4 rate=2/1");
    rig.harness.set_upstream_latency(gst::ClockTime::from_mseconds(100));
    assert_eq!(rig.harness.query_latency(), Some(gst::ClockTime::from_mseconds(4100)));
}

#[test]
fn upstream_is_told_how_many_frames_are_held() {
    let rig = Rig::new("footageclip length=8 stride=4");
    let caps: gst::Caps = SMALL.parse().unwrap();
    let mut query = gst::query::Allocation::new(Some(&caps), true);
    assert!(rig.element.static_pad("sink").unwrap().query(&mut query));
    let pools: Vec<_> = query.allocation_pools().collect();
    assert_eq!(
        pools.iter().map(|(_, size, min, max)| (*size, *min, *max)).collect::<Vec<_>>(),
        [(24, 9, 0)]
    );
    assert!(query.find_allocation_meta::<gst_video::VideoMeta>().is_some());
}

#[test]
fn a_late_clip_makes_no_decoder_skip_frames() {
    let mut rig = Rig::new("footageclip");
    let before = rig.harness.upstream_events_received();
    let late = gst::event::Qos::new(
        gst::QOSType::Underflow,
        2.0,
        1_000_000,
        gst::ClockTime::from_seconds(1),
    );
    assert!(rig.harness.push_upstream_event(late));
    assert_eq!(rig.harness.upstream_events_received(), before);
}

#[test]
fn registering_twice_is_fine() {
    gstfootage::register_static().unwrap();
    gstfootage::register_static().unwrap();
    for name in ["footagesample", "footageclip"] {
        let factory = gst::ElementFactory::find(name).unwrap();
        assert_eq!(factory.metadata("klass").unwrap(), "Filter/Video");
    }
}

#[test]
fn the_bounds_that_programs_are_told_are_those_of_the_properties() {
    gstfootage::register_static().unwrap();
    let clip = gst::ElementFactory::make("footageclip").build().unwrap();
    let max_gap = clip.find_property("max-gap").unwrap();
    let max_gap = max_gap.downcast_ref::<gst::glib::ParamSpecUInt64>().unwrap();
    assert_eq!(u128::from(max_gap.maximum()), LONGEST_GAP.as_nanos());
    for name in ["footageclip", "footagesample"] {
        let element = gst::ElementFactory::make(name).build().unwrap();
        for (num, den) in [(1, Rate::LONGEST_S), (Rate::MOST, 1)] {
            Rate::try_new(num, den).unwrap();
            let fraction = gst::Fraction::new(num.cast_signed(), den.cast_signed());
            element.set_property("rate", fraction);
            assert_eq!(element.property::<gst::Fraction>("rate"), fraction);
        }
    }
}

/// Plays to the end; fails with what the elements complained of.
fn play(line: &str) -> Result<gst::Pipeline, String> {
    gstfootage::register_static().unwrap();
    let pipeline = gst::parse::launch(line).map_err(|error| error.to_string())?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
    let bus = pipeline.bus().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let end = bus.timed_pop_filtered(gst::ClockTime::from_seconds(20), &ends).expect("an end");
    if let gst::MessageView::Error(error) = end.view() {
        pipeline.set_state(gst::State::Null).unwrap();
        return Err(format!("{} {:?}", error.error(), error.debug()));
    }
    Ok(pipeline)
}
