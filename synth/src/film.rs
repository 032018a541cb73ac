//! Encoding: frames into an ordinary video file.

use std::path::{Path, PathBuf};

use gst::prelude::*;

use crate::error::SynthError;
use crate::reel::Reel;

/// How a video is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Film {
    /// Kilobits per second.
    pub kbps: u32,
    /// Seconds between key frames.
    pub key_frame_seconds: u32,
}

impl Default for Film {
    fn default() -> Self {
        Self { kbps: 900, key_frame_seconds: 2 }
    }
}

/// Frames that wait for the encoder, at most.
const WAITING: u64 = 8;
/// How long the muxer may take to close the file.
const CLOSING: gst::ClockTime = gst::ClockTime::from_seconds(120);

/// An encoder with what it needs around it.
struct Recipe {
    encoder: &'static str,
    parser: Option<&'static str>,
    muxer: &'static str,
    extension: &'static str,
}

/// In order of preference: H.264 first, then what "good" alone can do.
const RECIPES: [Recipe; 4] = [
    Recipe { encoder: "openh264enc", parser: Some("h264parse"), muxer: "mp4mux", extension: "mp4" },
    Recipe { encoder: "x264enc", parser: Some("h264parse"), muxer: "mp4mux", extension: "mp4" },
    Recipe { encoder: "vp8enc", parser: None, muxer: "webmmux", extension: "webm" },
    Recipe { encoder: "jpegenc", parser: None, muxer: "avimux", extension: "avi" },
];

/// Every extension that a video may have, depending on the encoders of the machine.
pub(crate) fn extensions() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|recipe| recipe.extension)
}

impl Recipe {
    fn elements(&self) -> impl Iterator<Item = &'static str> {
        [Some(self.encoder), self.parser, Some(self.muxer)].into_iter().flatten()
    }

    fn available() -> Result<&'static Self, SynthError> {
        let exists = |name: &str| gst::ElementFactory::find(name).is_some();
        RECIPES.iter().find(|recipe| recipe.elements().all(exists)).ok_or(SynthError::NoEncoder)
    }

    fn encoder(&self, film: Film, fps: u32) -> Result<gst::Element, gst::glib::BoolError> {
        let key_frames = film.key_frame_seconds * fps;
        let builder = gst::ElementFactory::make(self.encoder);
        match self.encoder {
            // It would put key frames at cuts too, and skip frames to keep its bitrate.
            "openh264enc" => builder
                .property("bitrate", film.kbps * 1000)
                .property("gop-size", key_frames)
                .property("scene-change-detection", false)
                .property("enable-frame-skip", false),
            "x264enc" => builder
                .property("bitrate", film.kbps)
                .property("key-int-max", key_frames)
                .property_from_str("speed-preset", "veryfast"),
            "vp8enc" => builder
                .property("target-bitrate", (film.kbps * 1000).cast_signed())
                .property("keyframe-max-dist", key_frames.cast_signed())
                .property("deadline", 1_i64),
            _ => builder,
        }
        .build()
    }
}

/// Renders `reel` to `stem` with the extension of the format that this machine can write, and
/// gives that path. The file appears whole or not at all.
///
/// # Errors
/// [`SynthError::OddSize`] where the frames' width is no multiple of four or their height none of
/// two; [`SynthError::NoEncoder`] where there is none; [`SynthError::Encoding`] when it
/// fails, a full disk among the reasons.
pub fn write_video(reel: &Reel<'_>, stem: &Path, film: Film) -> Result<PathBuf, SynthError> {
    let (width, height) = (reel.view().width, reel.view().height);
    if width % 4 != 0 || height % 2 != 0 {
        return Err(SynthError::OddSize { width, height });
    }
    let failed = |why: String| SynthError::Encoding { path: stem.to_owned(), why };
    gst::init().map_err(|error| failed(error.to_string()))?;
    let recipe = Recipe::available()?;
    let name = stem.file_name().unwrap_or_default().to_string_lossy();
    let path = stem.with_file_name(format!("{name}.{}", recipe.extension));
    let unfinished = stem.with_file_name(format!("{name}.{}.part", recipe.extension));
    let written = encode(reel, recipe, film, &unfinished).map_err(failed);
    if let Err(error) = written {
        // The error matters more than a leftover that the next run overwrites.
        drop(fs_err::remove_file(&unfinished));
        return Err(error);
    }
    fs_err::rename(&unfinished, &path)?;
    Ok(path)
}

fn encode(reel: &Reel<'_>, recipe: &Recipe, film: Film, path: &Path) -> Result<(), String> {
    let fps = reel.truth().fps;
    let (pipeline, source) = build(reel, recipe, film, path).map_err(|error| error.to_string())?;
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    pipeline.set_state(gst::State::Playing).map_err(|error| complaint(&bus, error.to_string()))?;
    let fed = feed(reel, &source, fps);
    let ended = match fed {
        Ok(()) => wait(&bus),
        Err(error) => Err(complaint(&bus, error.to_string())),
    };
    let stopped = pipeline.set_state(gst::State::Null).map_err(|error| error.to_string());
    ended.and(stopped.map(drop))
}

fn build(
    reel: &Reel<'_>,
    recipe: &Recipe,
    film: Film,
    path: &Path,
) -> Result<(gst::Pipeline, gst_app::AppSrc), gst::glib::BoolError> {
    let (view, fps) = (reel.view(), reel.truth().fps);
    let info = gst_video::VideoInfo::builder(
        gst_video::VideoFormat::Rgb,
        view.width as u32,
        view.height as u32,
    )
    .fps(gst::Fraction::new(fps.cast_signed(), 1))
    .build()?;
    let source = gst_app::AppSrc::builder()
        .caps(&info.to_caps()?)
        .format(gst::Format::Time)
        .block(true)
        .max_bytes(WAITING * view.rgb_len() as u64)
        .build();
    let sink = gst::ElementFactory::make("filesink").property("location", path).build()?;
    let mut chain = vec![
        source.clone().upcast(),
        gst::ElementFactory::make("videoconvert").build()?,
        recipe.encoder(film, fps)?,
    ];
    if recipe.encoder == "openh264enc" {
        end_behind(&chain[2]);
    }
    for name in [recipe.parser, Some(recipe.muxer)].into_iter().flatten() {
        chain.push(gst::ElementFactory::make(name).build()?);
    }
    chain.push(sink);
    let pipeline = gst::Pipeline::new();
    pipeline.add_many(&chain)?;
    gst::Element::link_many(&chain)?;
    Ok((pipeline, source))
}

/// Takes the end of the stream past the encoder. openh264enc keeps no frames back, yet at the end
/// asks its library for some and lets that print an error about it to the terminal.
fn end_behind(encoder: &gst::Element) {
    let (Some(sink), Some(source)) = (encoder.static_pad("sink"), encoder.static_pad("src")) else {
        return;
    };
    let source = source.downgrade();
    sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let is_end = info.event().is_some_and(|event| event.type_() == gst::EventType::Eos);
        let Some(source) = source.upgrade().filter(|_| is_end) else {
            return gst::PadProbeReturn::Ok;
        };
        // The probe's owner of the event is now us: hence `Handled`, not `Drop`.
        if let Some(gst::PadProbeData::Event(end)) = info.data.take() {
            source.push_event(end);
        }
        gst::PadProbeReturn::Handled
    });
}

fn feed(reel: &Reel<'_>, source: &gst_app::AppSrc, fps: u32) -> Result<(), gst::FlowError> {
    let second = gst::ClockTime::SECOND.nseconds();
    let time = |index: usize| {
        gst::ClockTime::from_nseconds((index as u64 * second).div_ceil(u64::from(fps)))
    };
    for index in 0..reel.frame_count() {
        let mut buffer = gst::Buffer::from_mut_slice(reel.frame(index));
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_pts(time(index));
            buffer.set_duration(time(index + 1) - time(index));
        }
        source.push_buffer(buffer)?;
    }
    source.end_of_stream().map(drop)
}

fn wait(bus: &gst::Bus) -> Result<(), String> {
    use gst::MessageView;
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(CLOSING, &kinds);
    match message.as_deref().map(gst::MessageRef::view) {
        Some(MessageView::Eos(_)) => Ok(()),
        Some(MessageView::Error(error)) => Err(error.error().to_string()),
        _ => Err(format!("the file was not closed within {CLOSING}")),
    }
}

/// What an element said on the bus, or else `otherwise`.
fn complaint(bus: &gst::Bus, otherwise: String) -> String {
    use gst::MessageView;
    let patience = gst::ClockTime::from_seconds(1);
    let message = bus.timed_pop_filtered(patience, &[gst::MessageType::Error]);
    match message.as_deref().map(gst::MessageRef::view) {
        Some(MessageView::Error(error)) => error.error().to_string(),
        _ => otherwise,
    }
}
