//! The graph that turns a file into clips.
//!
//! ```text
//! filesrc ! typefind ! [autoplug] ! footagesample ! deinterlace ! videoconvertscale ! size
//!         ! videoflip ! footageclip ! appsink
//! ```
//!
//! No queue anywhere but the sink's, of a few clips: while it is full, the file is not read. What is
//! not sampled is dropped before it is scaled, and what is scaled is small before it is turned.

use std::path::Path;
use std::sync::{Arc, Mutex};

use footage_clip::{PartialClip, Rate, WindowSpec};
use gst::prelude::*;

use super::autoplug::{Autoplug, Stopping};
use super::elements::{make, set};
use super::entrance::{self, Gate, Part};
use super::format;
use super::keyframes::KeyframeGate;
use super::picture_size::{Picture, PictureSize};
use super::watch::Watch;
use super::{DecodeError, DecodeMode, DecodeSettings};
use crate::lock;

/// Clips that wait to be taken; a clip refers to its frames, so this bounds memory.
const CLIPS_QUEUED: u32 = 2;

/// A graph that is ready to run.
pub(super) struct Graph {
    pub(super) pipeline: gst::Pipeline,
    pub(super) clips: gst_app::AppSink,
    /// Where decoded pictures enter.
    pub(super) entry: gst::Pad,
    pub(super) watch: Arc<Watch>,
    pub(super) gate: Gate,
    pub(super) stopping: Stopping,
}

impl Graph {
    pub(super) fn build(
        path: &Path,
        part: Option<Part>,
        window: &WindowSpec,
        settings: &DecodeSettings,
    ) -> Result<Self, DecodeError> {
        let pipeline = gst::Pipeline::new();
        let source = make("filesrc")?;
        source.set_property("location", path);
        let sample = make("footagesample")?;
        sample.set_property("rate", rate(window));
        let size = make("capsfilter")?;
        let clips = clips_sink();
        let tail = [
            sample.clone(),
            deinterlacer()?,
            make("videoconvertscale")?,
            size.clone(),
            turner()?,
            cutter(window, settings)?,
            clips.clone().upcast(),
        ];
        let broken = |error: gst::glib::BoolError| DecodeError::Broken(error.to_string());
        pipeline.add(&source).map_err(broken)?;
        pipeline.add_many(&tail).map_err(broken)?;
        gst::Element::link_many(&tail).map_err(broken)?;

        let entry = sample
            .static_pad("sink")
            .ok_or_else(|| super::failure::missing_element("footagesample"))?;
        let watch = Arc::<Watch>::default();
        let period_ns = window.rate().slot_start_ns(1);
        let gate = Arc::new(Mutex::new(KeyframeGate::new(settings.mode, period_ns)));
        normalise(&entry, &size, &watch, window.rate(), settings);
        let guard = {
            let (gate, watch) = (gate.clone(), watch.clone());
            let (sampled, max_pixels) = (window.rate(), settings.max_pixels);
            Box::new(move |sink: &gst::Pad| {
                watch.course().decoder = Some(sink.clone());
                entrance::guard(sink, &gate, &watch, part, sampled, max_pixels);
            })
        };
        let (out, shared) = (entry.clone(), watch.clone());
        let stopping =
            Autoplug::start(&pipeline, &source, out, shared, settings.max_pixels, guard)?;
        Ok(Self { pipeline, clips, entry, watch, gate, stopping })
    }
}

fn rate(window: &WindowSpec) -> gst::Fraction {
    gst::Fraction::new(window.rate().num().cast_signed(), window.rate().den().cast_signed())
}

/// One picture out for each that comes in: of two fields the upper one, its gaps filled from above
/// and below. Methods that look at the pictures before and after would look half a second away.
fn deinterlacer() -> Result<gst::Element, DecodeError> {
    let deinterlace = make("deinterlace")?;
    set(&deinterlace, "mode", "auto");
    set(&deinterlace, "method", "linear");
    set(&deinterlace, "fields", "top");
    Ok(deinterlace)
}

/// Turns pictures as the file's display matrix or orientation tag says.
fn turner() -> Result<gst::Element, DecodeError> {
    let flip = make("videoflip")?;
    set(&flip, "video-direction", "auto");
    Ok(flip)
}

fn cutter(window: &WindowSpec, settings: &DecodeSettings) -> Result<gst::Element, DecodeError> {
    let clip = make("footageclip")?;
    clip.set_property("rate", rate(window));
    clip.set_property("length", window.length() as u32);
    clip.set_property("stride", window.stride() as u32);
    clip.set_property("max-gap", settings.max_gap_ns());
    set(
        &clip,
        "partial",
        match settings.partial {
            PartialClip::Pad => "pad",
            PartialClip::Drop => "drop",
        },
    );
    Ok(clip)
}

fn clips_sink() -> gst_app::AppSink {
    gst_app::AppSink::builder()
        .sync(false)
        // It would hold back the first clip until all is well, and some files never are.
        .async_(false)
        .max_buffers(CLIPS_QUEUED)
        .enable_last_sample(false)
        .qos(false)
        .build()
}

/// Pictures enter here: gives each its media time, decides to what size it is scaled, and reads the
/// container's date on the way. What follows sees one endless segment from 0.
fn normalise(
    entry: &gst::Pad,
    size: &gst::Element,
    watch: &Arc<Watch>,
    sampled: Rate,
    settings: &DecodeSettings,
) {
    let (watch, size) = (watch.clone(), size.clone());
    let (max_gap_ns, max_pixels, picture_size) =
        (settings.max_gap_ns(), settings.max_pixels, settings.picture_size);
    let stands_until_next = settings.mode == DecodeMode::Keyframes;
    let standing = Mutex::new(Standing::default());
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    entry.add_probe(kinds, move |pad, info| match info.data.take() {
        Some(gst::PadProbeData::Buffer(mut picture)) => {
            if lock(&standing).is_repeated {
                info.data = Some(gst::PadProbeData::Buffer(picture));
                return gst::PadProbeReturn::Ok;
            }
            watch.step();
            let Some(time_ns) = watch.course().came(&picture, sampled, max_gap_ns) else {
                return gst::PadProbeReturn::Handled;
            };
            picture.make_mut().set_pts(gst::ClockTime::from_nseconds(time_ns));
            if stands_until_next {
                lock(&standing).picture = Some(picture.clone());
            }
            info.data = Some(gst::PadProbeData::Buffer(picture));
            gst::PadProbeReturn::Ok
        }
        Some(gst::PadProbeData::Event(event)) => {
            if event.type_() == gst::EventType::Eos {
                repeat_last(pad, &standing, &watch);
            }
            let Some(event) = normalised(&event, &watch, max_pixels, picture_size, &size) else {
                return gst::PadProbeReturn::Handled;
            };
            info.data = Some(gst::PadProbeData::Event(event));
            gst::PadProbeReturn::Ok
        }
        other => {
            info.data = other;
            gst::PadProbeReturn::Ok
        }
    });
}

/// The last picture, where pictures stand until the next one.
#[derive(Default)]
struct Standing {
    picture: Option<gst::Buffer>,
    /// It is on its way again.
    is_repeated: bool,
}

impl Standing {
    /// The last picture again, as it is still shown just before `end_ns`: else the time between the
    /// last keyframe and the end of the file would be in no clip.
    fn until(&mut self, end_ns: u64) -> Option<gst::Buffer> {
        let mut picture = self.picture.take()?;
        let last_ns = gst::ClockTime::from_nseconds(end_ns.checked_sub(1)?);
        if picture.pts()? >= last_ns {
            return None;
        }
        picture.make_mut().set_pts(last_ns);
        self.is_repeated = true;
        Some(picture)
    }
}

/// Sends the last picture once more before a stream ends. It comes back through the probe that
/// calls this, so nothing is locked meanwhile.
fn repeat_last(pad: &gst::Pad, standing: &Mutex<Standing>, watch: &Watch) {
    let end_ns = watch.course().end_ns();
    let last = lock(standing).until(end_ns);
    let Some(last) = last else { return };
    if let Err(error) = pad.chain(last) {
        tracing::debug!(%error, "the last picture was not taken again");
    }
    lock(standing).is_repeated = false;
}

/// The event to pass on, if any.
fn normalised(
    event: &gst::Event,
    watch: &Watch,
    max_pixels: u64,
    picture_size: PictureSize,
    size: &gst::Element,
) -> Option<gst::Event> {
    use gst::EventView;
    match event.view() {
        EventView::Segment(segment) => {
            watch.course().enter(segment.segment());
            let mut whole = gst::FormattedSegment::<gst::ClockTime>::new();
            whole.set_start(gst::ClockTime::ZERO);
            whole.set_time(gst::ClockTime::ZERO);
            return Some(gst::event::Segment::builder(&whole).seqnum(event.seqnum()).build());
        }
        // The times of the pictures tell.
        EventView::Gap(_) => return None,
        EventView::Caps(caps) => {
            if let Err(error) = format::check_size(caps.caps(), max_pixels) {
                watch.fail(error);
                return None;
            }
            let mut course = watch.course();
            course.change_shape();
            course.set_frame_duration(frame_duration(caps.caps()));
            drop(course);
            size.set_property("caps", scaled(caps.caps(), picture_size));
        }
        EventView::Tag(tags) => {
            let mut course = watch.course();
            course.dated_unix_ns = course.dated_unix_ns.or_else(|| date_of(tags.tag()));
        }
        _ => {}
    }
    Some(event.clone())
}

fn frame_duration(caps: &gst::CapsRef) -> Option<gst::ClockTime> {
    let rate = caps.structure(0)?.get::<gst::Fraction>("framerate").ok()?;
    let (num, den) = (u64::try_from(rate.numer()).ok()?, u64::try_from(rate.denom()).ok()?);
    if num == 0 {
        return None;
    }
    gst::ClockTime::SECOND.mul_div_round(den, num)
}

/// Packed RGB of square pixels, in the size to keep.
fn scaled(caps: &gst::CapsRef, picture_size: PictureSize) -> gst::Caps {
    let caps_builder = gst::Caps::builder("video/x-raw")
        .field("format", "RGB")
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1));
    let Some((width, height)) = format::size(caps) else { return caps_builder.build() };
    let pixel_aspect = caps
        .structure(0)
        .and_then(|fields| fields.get::<gst::Fraction>("pixel-aspect-ratio").ok())
        .map_or((1, 1), |aspect| (aspect.numer().unsigned_abs(), aspect.denom().unsigned_abs()));
    let (width, height) = picture_size.of(Picture { width, height, pixel_aspect });
    caps_builder.field("width", width.cast_signed()).field("height", height.cast_signed()).build()
}

fn date_of(tags: &gst::TagListRef) -> Option<i64> {
    let date = tags.get::<gst::tags::DateTime>()?.get();
    let seconds = date.to_g_date_time().ok()?.to_unix();
    seconds.checked_mul(1_000_000_000)
}
