//! Each codec that is kept comes back as it was.

use std::time::Duration;

use footage_pipeline::Fragments;

use crate::camera::{self, DecodingTimes, assert_shows, record, time_of};

/// Half a unit of an MP4 file's time, and of rounding back.
const MICROSECOND: u64 = 1_000;

/// Matroska's unit.
const TENTH_OF_A_MILLISECOND: u64 = 100_000;

/// Records ten seconds and looks at what came of it.
fn comes_back(codec: &str, times: DecodingTimes, tolerance_ns: u64) {
    let dir = tempfile::tempdir().unwrap();
    let recorder = record(dir.path(), codec, times, 250);
    assert_eq!(recorder.failure(), None);
    assert_eq!(recorder.used().left_out, 0);
    assert!(recorder.finish(Duration::from_secs(20)));

    let begins: Vec<_> =
        Fragments::open(dir.path()).all().unwrap().iter().map(|each| each.begins_ns).collect();
    assert_eq!(begins, [0, 50, 100, 150, 200].map(time_of), "a keyframe every second");
    assert_shows(dir.path(), 0..250, tolerance_ns);
}

#[test]
fn h264_comes_back_as_it_was() {
    comes_back(camera::H264, DecodingTimes::Untold, MICROSECOND);
    comes_back(camera::H264, DecodingTimes::Told, MICROSECOND);
}

#[test]
fn h264_with_its_headers_in_the_stream_comes_back_as_it_was() {
    comes_back(camera::H264_BYTES, DecodingTimes::Untold, MICROSECOND);
}

#[test]
fn pictures_that_are_sent_out_of_order_come_back_in_order() {
    comes_back(camera::H264_REORDERED, DecodingTimes::Untold, MICROSECOND);
    comes_back(camera::H264_REORDERED, DecodingTimes::Told, MICROSECOND);
}

#[test]
fn no_picture_is_lost_where_groups_of_pictures_are_open() {
    comes_back(camera::H264_OPEN, DecodingTimes::Untold, MICROSECOND);
    comes_back(camera::H265_OPEN, DecodingTimes::Untold, MICROSECOND);
}

#[test]
fn h265_comes_back_as_it_was() {
    comes_back(camera::H265, DecodingTimes::Untold, MICROSECOND);
}

#[test]
fn what_mp4_has_no_place_for_comes_back_from_matroska() {
    for codec in [camera::JPEG, camera::VP8, camera::VP9] {
        comes_back(codec, DecodingTimes::Told, TENTH_OF_A_MILLISECOND);
    }
}
