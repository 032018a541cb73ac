//! The elements in running pipelines: stopping, pausing and seeking.

use std::time::{Duration, Instant};

use gst::prelude::*;
use gst_app::AppSink;
use gstfootage::FootageClipMeta;

/// Frames without end, cut into clips that wait in a sink with room for one.
fn pipeline() -> (gst::Pipeline, AppSink) {
    gstfootage::register_static().unwrap();
    let line = "videotestsrc ! video/x-raw,format=RGB,width=16,height=16,framerate=10/1 \
                ! footagesample rate=5/1 ! footageclip name=clip length=4 stride=2 rate=5/1 \
                ! appsink name=sink sync=false max-buffers=1";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<AppSink>().unwrap();
    (pipeline, sink)
}

fn wait_until_blocked(pipeline: &gst::Pipeline) {
    let clip = pipeline.by_name("clip").unwrap();
    let pushed = || clip.property::<u64>("clips-out");
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut before = 0;
    while before == 0 || pushed() != before {
        assert!(Instant::now() < deadline, "never blocked");
        before = pushed();
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_pipeline_whose_clips_nobody_takes_can_be_paused_and_stopped() {
    let (pipeline, _never_read) = pipeline();
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_until_blocked(&pipeline);

    let asked = Instant::now();
    pipeline.set_state(gst::State::Paused).unwrap();
    pipeline.set_state(gst::State::Null).unwrap();

    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn while_downstream_is_blocked_properties_and_queries_are_answered() {
    let (pipeline, _never_read) = pipeline();
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_until_blocked(&pipeline);
    let clip = pipeline.by_name("clip").unwrap();

    let asked = Instant::now();
    assert_eq!(clip.property::<u32>("length"), 4);
    assert!(clip.property::<u64>("frames-sampled") >= 4);
    let mut latency = gst::query::Latency::new();
    assert!(clip.static_pad("src").unwrap().query(&mut latency));

    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn after_a_seek_clips_lie_where_it_led() {
    let (pipeline, sink) = pipeline();
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_until_blocked(&pipeline);

    let flags = gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE;
    pipeline.seek_simple(flags, gst::ClockTime::from_seconds(100)).unwrap();
    let clips: Vec<_> = (0..2).map(|_| next(&sink)).collect();

    assert_eq!(clips.iter().map(|clip| clip.span().start_s()).collect::<Vec<_>>(), [100.0, 100.4]);
    assert_eq!(clips.iter().map(FootageClipMeta::begins_run).collect::<Vec<_>>(), [true, false]);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_pipeline_played_twice_gives_the_same_clips_twice() {
    let (pipeline, sink) = pipeline();
    let mut runs = Vec::new();
    for _ in 0..2 {
        pipeline.set_state(gst::State::Playing).unwrap();
        let slots = |clip: FootageClipMeta| clip.frames().map(|f| f.slot).collect::<Vec<_>>();
        runs.push((0..3).map(|_| slots(next(&sink))).collect::<Vec<_>>());
        pipeline.set_state(gst::State::Null).unwrap();
    }
    assert_eq!(runs[0], [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]);
    assert_eq!(runs[0], runs[1]);
    pipeline.set_state(gst::State::Null).unwrap();
}

fn next(sink: &AppSink) -> FootageClipMeta {
    let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a clip");
    FootageClipMeta::of(sample.buffer().unwrap()).unwrap()
}
