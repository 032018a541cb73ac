//! Odd and malformed files, read as clips: each gives its pictures, or one clear line.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::path::Path;

use footage_clip::{Rate, WindowSpec};
use footage_pipeline::{DecodeError, DecodeMode, DecodeSettings};
use support::{Given, read, real_footage, window};

/// What a file must give.
enum Expected {
    /// Pictures for so many seconds, and no failure.
    Seconds(f64),
    /// A failure whose words contain this, and no clip.
    Refusal(&'static str),
    /// Pictures, then a failure.
    BreaksOff,
    /// A failure whose words contain this. Whether a picture gets out before it is a race between the
    /// threads that read and that decode.
    Fails(&'static str),
}
use Expected::{BreaksOff, Fails, Refusal, Seconds};

const VARIANTS: &[(&str, Expected)] = &[
    ("audio_only.mp4", Refusal("has no video, only sound")),
    ("black_20min_1fps.mp4", Seconds(1200.0)),
    ("bomb_8192x8192.mp4", Refusal("has pictures of 8192x8192")),
    ("bottle_mpeg2_interlaced_anamorphic.ts", Seconds(3.0)),
    ("bottle_vfr.mp4", Seconds(8.0)),
    ("extreme_aspect_16384x16.mp4", Seconds(1.0)),
    ("ffconcat_named.mkv", Refusal("is in no format")),
    ("flower_av1.mkv", Seconds(5.0)),
    ("flower_h264.ts", Seconds(5.0)),
    ("flower_hevc_main10.mp4", Seconds(5.0)),
    ("flower_raw.hevc", Seconds(5.0)),
    ("flower_start_offset.mkv", Seconds(3.07)),
    ("flower_vp9.webm", Seconds(5.0)),
    ("gray_static_3s.mp4", Seconds(3.0)),
    ("hls_concat_ssrf_named.ts", Refusal("is a playlist (HLS)")),
    ("horses_120fps.mp4", Seconds(1.0)),
    ("horses_annexb.h264", Seconds(4.0)),
    ("horses_bitflips.mkv", Seconds(4.0)),
    ("horses_fmp4.mp4", Seconds(4.0)),
    ("horses_init_segment_only.mp4", Refusal("holds only the header")),
    ("horses_mjpeg.avi", Seconds(4.0)),
    ("horses_mp4_named.avi", Seconds(4.0)),
    ("horses_negative_pts.mkv", Seconds(2.03)),
    ("horses_prores.mov", Seconds(1.0)),
    ("horses_rotate180.mp4", Seconds(4.0)),
    ("horses_rotate90.mp4", Seconds(4.0)),
    ("horses_single_gop.mp4", Seconds(4.0)),
    ("horses_sorenson.flv", Seconds(4.0)),
    ("horses_theora.ogv", Seconds(4.0)),
    ("horses_truncated.mkv", BreaksOff),
    ("horses_truncated_faststart.mp4", BreaksOff),
    ("horses_truncated_no_moov.mp4", Refusal("table of contents (`moov`)")),
    ("horses_wmv2.wmv", Seconds(4.0)),
    ("odd_321x241_yuv444.mp4", Seconds(4.0)),
    ("one_frame.mp4", Seconds(0.034)),
    ("playlist_local_file_named.mp4", Refusal("is in no format")),
    ("png_named.mp4", Refusal("is a picture (png)")),
    ("random_bytes.mp4", Refusal("is in no format")),
    ("stream_ts_near_33bit_wrap.ts", Seconds(3.0)),
    ("tiny_16x16.mp4", Seconds(4.0)),
    ("ts_discontinuity_resolution_change.ts", Seconds(4.0)),
    ("zero_bytes.mp4", Refusal("is empty")),
];

const HOSTILE: &[(&str, Expected)] = &[
    ("-video-with-dash-.mp4", Seconds(5.0)),
    ("androidx_drm_fragmented_widevine.mp4", Refusal("is encrypted")),
    ("androidx_sample-with-large-length.avi", Seconds(1.97)),
    ("androidx_sample_mdat_too_long.mp4", Seconds(1.0)),
    ("androidx_sample_missing_stsd.mp4", Fails("is damaged")),
    ("androidx_sample_without_stss.mp4", Seconds(1.0)),
    ("gst_corruptheadertestsrc.wav", Refusal("has no video, only sound")),
    ("gst_pcr_rollover.ts", Seconds(2.0)),
    ("mmaction_audio_only_test.wav", Refusal("has no video, only sound")),
    ("mp4ff_vvc_unsupported_codec.mp4", Refusal("is H.266 (VVC) video")),
    ("mp4parse_bug-1661347.avif", Refusal("is a picture")),
    ("mp4parse_clusterfuzz_6093954524250112.mp4", Refusal("`moov`")),
];

fn settings() -> DecodeSettings {
    DecodeSettings { mode: DecodeMode::All, ..DecodeSettings::default() }
}

fn check_folder(name: &str, expected: &[(&str, Expected)]) {
    let Some(folder) = real_footage(name) else { return };
    let mut wrong = Vec::new();
    let mut files: Vec<_> =
        fs_err::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files {
        let given = read(&file, window(4, 2, 2), &settings());
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let line = given.failure.as_ref().map_or(String::new(), ToString::to_string);
        eprintln!(
            "{name}: {} clips, {:.3} s, {} lost {:?}, {line}",
            given.clips.len(),
            given.seen_s(),
            given.lost.len(),
            given.facts.decoded,
        );
        if given.clips.is_empty() && line.is_empty() {
            wrong.push(format!("{name}: {} clips and `{line}`", given.clips.len()));
        }
        if line.lines().count() > 1 || line.ends_with('.') {
            wrong.push(format!("{name}: `{line}` is not one line"));
        }
        let as_expected = match expected.iter().find(|(file, _)| *file == name) {
            Some((_, Seconds(seconds))) => {
                line.is_empty() && (given.seen_s() - seconds).abs() < 0.15
            }
            Some((_, Refusal(words))) => given.clips.is_empty() && line.contains(words),
            Some((_, Fails(words))) => line.contains(words),
            Some((_, BreaksOff)) => !given.clips.is_empty() && !line.is_empty(),
            None => true,
        };
        if !as_expected {
            wrong.push(format!("{name}: {:.3} s, `{line}`", given.seen_s()));
        }
        wrong.extend(disorder(&name, &given));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What must hold for every file: time runs forward from 0, clips are whole.
fn disorder(name: &str, given: &Given) -> Vec<String> {
    let mut wrong = Vec::new();
    let starts: Vec<_> = given.clips.iter().map(|clip| clip.span.start_ns).collect();
    if starts.first().is_some_and(|first| *first != 0) {
        wrong.push(format!("{name}: begins at {starts:?}"));
    }
    if !starts.windows(2).all(|pair| pair[0] < pair[1]) {
        wrong.push(format!("{name}: starts {starts:?}"));
    }
    if given.clips.iter().any(|clip| clip.frames.len() != 4 || clip.padded > 3) {
        wrong.push(format!("{name}: clips of odd lengths"));
    }
    wrong
}

#[test]
fn every_odd_variant_gives_its_pictures_or_one_clear_line() {
    check_folder("variants", VARIANTS);
}

#[test]
fn every_hostile_file_gives_pictures_or_one_clear_line() {
    check_folder("hostile", HOSTILE);
}

#[test]
fn every_real_video_is_read_to_its_end() {
    let Some(folder) = real_footage("videos") else { return };
    for file in fs_err::read_dir(folder).unwrap() {
        let file = file.unwrap().path();
        let sparse = WindowSpec::try_new(4, 4, Rate::try_new(1, 1).unwrap()).unwrap();
        let settings = DecodeSettings { mode: DecodeMode::Keyframes, ..settings() };
        let given = read(&file, sparse, &settings);
        assert_eq!(given.failure, None, "{}", file.display());
        assert!(!given.clips.is_empty(), "{}", file.display());
        assert_eq!(given.lost, [], "{}", file.display());
    }
}

fn variant(name: &str, window: WindowSpec, settings: &DecodeSettings) -> Option<Given> {
    Some(read(&real_footage("variants")?.join(name), window, settings))
}

/// Mean difference of two frames' bytes.
fn difference(a: &[u8], b: &[u8]) -> f64 {
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len().max(1) as f64
}

#[test]
fn a_display_matrix_turns_the_picture() {
    let one = window(1, 1, 1);
    let names = ["horses_fmp4.mp4", "horses_rotate90.mp4", "horses_rotate180.mp4"];
    let Some([upright, quarter, half]): Option<[Given; 3]> = names
        .map(|name| variant(name, one, &settings()))
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .and_then(|given| given.try_into().ok())
    else {
        return;
    };
    let frame = |given: &Given| given.clips[0].frames[0].frame.clone();
    let (upright, quarter, half) = (frame(&upright), frame(&quarter), frame(&half));
    assert_eq!((upright.width(), upright.height()), (336, 224));
    assert_eq!((quarter.width(), quarter.height()), (224, 336));

    let turned: Vec<u8> = upright.data().chunks(3).rev().flatten().copied().collect();
    assert!(difference(half.data(), &turned) < 3.0);
    assert!(difference(half.data(), upright.data()) > 10.0);
    let at = |frame: &footage_clip::RgbFrame, x: u32, y: u32| {
        frame.data()[((y * frame.width() + x) * 3) as usize]
    };
    let clockwise: Vec<u8> = (0..336)
        .flat_map(|y| (0..224).map(move |x| (x, y)))
        .map(|(x, y)| at(&upright, y, 223 - x))
        .collect();
    let counter: Vec<u8> = (0..336)
        .flat_map(|y| (0..224).map(move |x| (x, y)))
        .map(|(x, y)| at(&upright, 335 - y, x))
        .collect();
    let red: Vec<u8> = quarter.data().chunks(3).map(|pixel| pixel[0]).collect();
    let turned = difference(&red, &clockwise).min(difference(&red, &counter));
    assert!(turned < 3.0, "{turned}");
}

#[test]
fn pixels_that_are_not_square_are_made_so() {
    let name = "bottle_mpeg2_interlaced_anamorphic.ts";
    let Some(given) = variant(name, window(1, 1, 1), &settings()) else { return };
    let frame = &given.clips[0].frames[0].frame;
    let aspect = f64::from(frame.width()) / f64::from(frame.height());
    assert!((aspect - 4.0 / 3.0).abs() < 0.02, "720x576 of 16:15 pixels: {frame:?}");
}

#[test]
fn footage_that_a_cut_off_file_announces_is_lost_and_said_to_be() {
    for name in ["horses_truncated.mkv", "horses_truncated_faststart.mp4"] {
        let Some(given) = variant(name, window(4, 2, 2), &settings()) else { return };
        let last = given.clips.last().unwrap().span.end_ns;
        assert_eq!(given.lost.len(), 1, "{name}");
        assert_eq!(given.lost[0].start_ns, last, "{name}");
        assert!((given.lost[0].end_s() - 4.0).abs() < 0.05, "{name}: {:?}", given.lost);
        assert!(matches!(given.failure, Some(DecodeError::CutShort(_))), "{:?}", given.failure);
    }
}

#[test]
fn a_file_is_cut_into_the_same_clips_every_time_and_in_every_container() {
    let Some(first) = variant("horses_fmp4.mp4", window(4, 2, 4), &settings()) else { return };
    for name in ["horses_fmp4.mp4", "horses_annexb.h264", "horses_mp4_named.avi"] {
        let Some(again) = variant(name, window(4, 2, 4), &settings()) else { return };
        assert_eq!(again.spans_s(), first.spans_s(), "{name}");
        assert_eq!(again.clips[0].frames[1].frame, first.clips[0].frames[1].frame, "{name}");
    }
}

#[test]
fn a_limit_of_the_settings_refuses_a_file_before_it_is_decoded() {
    let strict = DecodeSettings { max_pixels: 400 * 300, ..settings() };
    let Some(given) = variant("horses_fmp4.mp4", window(4, 2, 2), &strict) else { return };
    let expected = DecodeError::TooLarge { width: 480, height: 320, max_pixels: 400 * 300 };
    assert_eq!(given.failure, Some(expected));
    assert!(given.clips.is_empty());
}

#[test]
fn nothing_outside_a_file_is_read_on_its_behalf() {
    // A playlist and a list of references, each to a file that would give pictures.
    let Some(folder) = real_footage("variants") else { return };
    let target = folder.join("horses_fmp4.mp4");
    let dir = tempfile::tempdir().unwrap();
    let lists = [
        ("a.mp4", format!("#EXTM3U\n#EXTINF:4,\nfile://{}\n#EXT-X-ENDLIST\n", target.display())),
        ("b.mkv", format!("ffconcat version 1.0\nfile {}\n", target.display())),
        ("c.mov", format!("RTSPtextfile://{}\r\n", target.display())),
        ("d.avi", format!("{}\n", target.display())),
        (
            "e.mp4",
            format!(
                "<?xml version=\"1.0\"?><MPD><Period><AdaptationSet><Representation><BaseURL>file://{}</BaseURL></Representation></AdaptationSet></Period></MPD>",
                target.display()
            ),
        ),
        (
            "f.mp4",
            format!(
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nm=video 5004 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\nu=file://{}\r\n",
                target.display()
            ),
        ),
    ];
    for (name, content) in lists {
        let path = dir.path().join(name);
        fs_err::write(&path, content).unwrap();
        let given = read(Path::new(&path), window(4, 2, 2), &settings());
        assert!(given.clips.is_empty() && given.failure.is_some(), "{name}: {given:?}");
    }
}
