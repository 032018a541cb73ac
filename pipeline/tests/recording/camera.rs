//! A camera of known pictures: each shows its own number.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use footage_pipeline::{
    Axis, DecodeMode, DecodeSettings, Fragments, Recorder, RecordingSettings, RecordingSpec,
};
use gst::prelude::*;

use crate::support::{read, window};

/// Media time of picture 0.
pub(crate) const ORIGIN_NS: u64 = 1_700_000_000_123_456_789;

/// 25 pictures a second.
pub(crate) const PICTURE_NS: u64 = 40_000_000;

const WIDTH: usize = 160;
const HEIGHT: usize = 128;

/// What it sends, as elements behind raw video.
pub(crate) const H264: &str = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! h264parse ! \
     video/x-h264,stream-format=avc,alignment=au";
pub(crate) const H264_BYTES: &str = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! \
     h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au";
pub(crate) const H264_REORDERED: &str = "x264enc speed-preset=ultrafast bframes=3 b-adapt=false key-int-max=25 ! \
     video/x-h264,profile=main ! h264parse ! video/x-h264,stream-format=avc,alignment=au";
pub(crate) const H264_OPEN: &str = "x264enc speed-preset=medium bframes=3 b-adapt=false key-int-max=25 \
     option-string=open-gop=1:scenecut=0 ! video/x-h264,profile=main ! h264parse ! \
     video/x-h264,stream-format=avc,alignment=au";
pub(crate) const H265: &str = "x265enc speed-preset=ultrafast tune=zerolatency key-int-max=25 ! h265parse ! \
     video/x-h265,stream-format=hvc1,alignment=au";
pub(crate) const H265_OPEN: &str = "x265enc speed-preset=ultrafast key-int-max=25 \
     option-string=open-gop=1:bframes=3:b-adapt=0:scenecut=0 ! h265parse ! \
     video/x-h265,stream-format=hvc1,alignment=au";
pub(crate) const JPEG: &str = "jpegenc ! jpegparse";
pub(crate) const VP8: &str = "vp8enc deadline=1 cpu-used=8 keyframe-max-dist=25";
pub(crate) const VP9: &str = "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=25 ! vp9parse";

/// Whether decoding times are told, as files do and RTSP does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DecodingTimes {
    Told,
    Untold,
}

/// A running graph: pictures in, a tee out, of which one branch only counts.
pub(crate) struct Camera {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    counted: gst::Element,
    scale: usize,
    /// Where a recorder looks.
    pub(crate) pad: gst::Pad,
}

impl Camera {
    pub(crate) fn start(codec: &str, times: DecodingTimes) -> Self {
        gst::init().unwrap();
        let line = format!(
            "appsrc name=in format=time block=true max-bytes=400000 ! {codec} ! tee name=t ! \
             fakesink name=out sync=false async=false"
        );
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        source.set_caps(Some(&raw(1)));
        let pad = pipeline.by_name("t").unwrap().static_pad("sink").unwrap();
        if times == DecodingTimes::Untold {
            pad.add_probe(gst::PadProbeType::BUFFER, |_, info| {
                info.buffer_mut().unwrap().make_mut().set_dts(None);
                gst::PadProbeReturn::Ok
            });
        }
        let counted = pipeline.by_name("out").unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, source, counted, pad, scale: 1 }
    }

    /// Gives picture `number`, at its own time in the stream.
    pub(crate) fn show(&self, number: u64) {
        self.show_at(number, number * PICTURE_NS);
    }

    /// Gives picture `number` at a time of the stream.
    pub(crate) fn show_at(&self, number: u64, stream_ns: u64) {
        let mut buffer = gst::Buffer::from_mut_slice(drawn(number, self.scale));
        let fields = buffer.get_mut().unwrap();
        fields.set_pts(gst::ClockTime::from_nseconds(stream_ns));
        fields.set_duration(gst::ClockTime::from_nseconds(PICTURE_NS));
        self.source.push_buffer(buffer).unwrap();
    }

    /// Sends pictures `scale` times as wide and high from now on.
    pub(crate) fn grow(&mut self, scale: usize) {
        self.scale = scale;
        self.source.set_caps(Some(&raw(scale)));
    }

    /// Pictures that came out of the tee's other branch.
    pub(crate) fn passed(&self) -> u64 {
        let stats = self.counted.property::<gst::Structure>("stats");
        stats.get::<u64>("rendered").unwrap()
    }

    /// Ends the stream, and waits until all of it has passed.
    pub(crate) fn end(&self) {
        self.source.end_of_stream().unwrap();
        let bus = self.pipeline.bus().unwrap();
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let last = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).unwrap();
        assert_eq!(last.type_(), gst::MessageType::Eos, "{last:?}");
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

fn raw(scale: usize) -> gst::Caps {
    gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", i32::try_from(WIDTH * scale).unwrap())
        .field("height", i32::try_from(HEIGHT * scale).unwrap())
        .field("framerate", gst::Fraction::new(25, 1))
        .build()
}

/// 16 black and white fields: the bits of the number.
fn drawn(number: u64, scale: usize) -> Vec<u8> {
    let (width, height) = (WIDTH * scale, HEIGHT * scale);
    let mut picture = vec![128; width * height * 3 / 2];
    for (at, luma) in picture[..width * height].iter_mut().enumerate() {
        let field = at / width / (height / 4) * 4 + at % width / (width / 4);
        *luma = if number >> field & 1 == 1 { 235 } else { 16 };
    }
    picture
}

/// The number that a picture shows.
pub(crate) fn number_in(picture: &footage_clip::RgbFrame) -> u64 {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    (0..16)
        .filter(|field| {
            let (x, y) = ((field % 4 * 2 + 1) * width / 8, (field / 4 * 2 + 1) * height / 8);
            picture.data()[(y * width + x) * 3] > 128
        })
        .map(|field| 1 << field)
        .sum()
}

/// Media time of a picture.
pub(crate) fn time_of(number: u64) -> u64 {
    ORIGIN_NS + number * PICTURE_NS
}

/// Media time goes on with the stream's.
pub(crate) fn axis() -> Axis {
    Arc::new(|running| Some(ORIGIN_NS + running.nseconds()))
}

/// Fragments of two seconds; no bound on free space.
pub(crate) fn settings() -> RecordingSettings {
    RecordingSettings {
        fragment: Duration::from_secs(2),
        min_free_bytes: 0,
        ..RecordingSettings::default()
    }
}

pub(crate) fn spec(dir: &Path) -> RecordingSpec {
    RecordingSpec { dir: dir.to_owned(), settings: settings() }
}

/// Records `pictures` of a codec into `dir`.
pub(crate) fn record(dir: &Path, codec: &str, times: DecodingTimes, pictures: u64) -> Recorder {
    let camera = Camera::start(codec, times);
    let recorder = Recorder::attach(&camera.pad, spec(dir), axis()).unwrap();
    (0..pictures).for_each(|number| camera.show(number));
    camera.end();
    recorder
}

/// What a fragment shows when it is read as a file: media time and number of each picture.
pub(crate) fn shown_in(path: &Path, begins_ns: u64) -> Vec<(u64, u64)> {
    let settings = DecodeSettings { mode: DecodeMode::All, ..DecodeSettings::default() };
    // Fine enough for each picture to have a slot of its own.
    let given = read(path, window(1, 1, 100), &settings);
    let mut shown: Vec<_> = given
        .clips
        .iter()
        .map(|clip| (begins_ns + clip.frames[0].time_ns, number_in(&clip.frames[0].frame)))
        .collect();
    shown.dedup();
    shown
}

/// Checks that a folder's fragments show each of `numbers`, once, in order, at its time, and that
/// each begins with the picture that its name says.
pub(crate) fn assert_shows(dir: &Path, numbers: std::ops::Range<u64>, tolerance_ns: u64) {
    let mut shown = Vec::new();
    for fragment in Fragments::open(dir).all().unwrap() {
        let pictures = shown_in(&fragment.path, fragment.begins_ns);
        let given = read(&fragment.path, window(1, 1, 1), &DecodeSettings::default());
        assert_eq!((given.lost, given.failure), (vec![], None), "it is a whole file to others too");
        assert!(!pictures.is_empty(), "{} shows nothing", fragment.path.display());
        // The first of the next fragment may also end this one, where pictures refer to it.
        shown.retain(|(at, _)| *at < fragment.begins_ns);
        shown.extend(pictures);
    }
    let seen: Vec<_> = shown.iter().map(|(_, number)| *number).collect();
    assert_eq!(seen, numbers.collect::<Vec<_>>());
    for (at, number) in shown {
        assert!(at.abs_diff(time_of(number)) <= tolerance_ns, "{number} at {at}");
    }
}

/// Waits for something to become true.
pub(crate) fn wait_until(what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !is_true() {
        assert!(Instant::now() < until, "{what} does not happen");
        std::thread::sleep(Duration::from_millis(10));
    }
}
