//! What a rendered collection promises, checked by decoding it.

#![expect(clippy::unwrap_used, reason = "a test says so by failing")]

use std::path::Path;

use footage_synth::{Collection, Fit, SynthError, Truth, View, World, render_collection};
use gst::prelude::*;

fn short(videos: usize) -> Collection {
    Collection { videos, seconds: 12.0, seed: 9, ..Collection::default() }
}

/// Decodes a file: its frames' (width, height), and the time of each frame in seconds.
fn decoded(path: &Path) -> ((u32, u32), Vec<f64>) {
    gst::init().unwrap();
    let line = "filesrc name=file ! decodebin ! videoconvert ! video/x-raw,format=RGB ! appsink name=out sync=false";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    pipeline.by_name("file").unwrap().set_property("location", path);
    let sink = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let (mut size, mut times) = ((0, 0), Vec::new());
    while let Ok(sample) = sink.pull_sample() {
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        size = (info.width(), info.height());
        times.push(sample.buffer().unwrap().pts().unwrap().nseconds() as f64 / 1e9);
    }
    pipeline.set_state(gst::State::Null).unwrap();
    (size, times)
}

#[test]
fn a_rendered_file_decodes_to_the_length_and_size_that_its_truth_says() {
    let (world, dir) = (World::load().unwrap(), tempfile::tempdir().unwrap());
    let rendered = render_collection(&world, dir.path(), &short(1), |_| ()).unwrap();
    let truth: Truth = serde_json::from_slice(&fs_err::read(&rendered[0].truth).unwrap()).unwrap();
    let (size, times) = decoded(&rendered[0].video);
    assert_eq!(size, (truth.width as u32, truth.height as u32));
    assert_eq!(times.len(), 12 * 15);
    let (first, last) = (times[0], times[times.len() - 1]);
    assert!((last - first - 179.0 / 15.0).abs() < 0.01, "{first} to {last}");
    assert!(!truth.events.is_empty());
}

#[test]
fn a_second_run_renders_nothing_and_a_changed_truth_is_rendered_again() {
    let (world, dir) = (World::load().unwrap(), tempfile::tempdir().unwrap());
    let run = || {
        let mut told = 0;
        let all = render_collection(&world, dir.path(), &short(2), |_| told += 1).unwrap();
        assert_eq!(told, 2);
        all
    };
    let first = run();
    assert!(first.iter().all(|video| !video.was_there));
    let bytes = fs_err::read(&first[0].truth).unwrap();
    assert!(run().iter().all(|video| video.was_there));

    fs_err::write(&first[0].truth, "{}").unwrap();
    fs_err::remove_file(&first[1].video).unwrap();
    assert!(run().iter().all(|video| !video.was_there));
    assert_eq!(fs_err::read(&first[0].truth).unwrap(), bytes);
    let leftovers = fs_err::read_dir(dir.path())
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "part")
        .count();
    assert_eq!(leftovers, 0);
}

#[test]
fn frames_that_no_encoder_takes_are_refused_before_any_work() {
    let (world, dir) = (World::load().unwrap(), tempfile::tempdir().unwrap());
    let odd = Collection { view: View::square(63, Fit::Stretch), ..short(1) };
    let error = render_collection(&world, dir.path(), &odd, |_| ()).unwrap_err();
    assert!(matches!(error, SynthError::OddSize { width: 63, height: 63 }), "{error}");
    assert_eq!(fs_err::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let (world, dir) = (World::load().unwrap(), tempfile::tempdir().unwrap());
    let file = dir.path().join("taken");
    fs_err::write(&file, "").unwrap();
    let error = render_collection(&world, &file, &short(1), |_| ()).unwrap_err();
    assert!(error.to_string().contains("taken"), "{error}");
}
