//! The graph that turns a file into clips.
//!
//! ```text
//! filesrc ! typefind ! [autoplug] ! [tail]
//! ```
//!
//! No queue anywhere but the sink's, of a few clips: while it is full, the file is not read.

use std::path::Path;
use std::sync::{Arc, Mutex};

use footage_clip::{Rate, WindowSpec};
use gst::prelude::*;

use super::autoplug::{Autoplug, Plan, Stopping};
use super::elements::make;
use super::entrance::{self, Gate, Part};
use super::format;
use super::keyframes::KeyframeGate;
use super::picture_size::PictureSize;
use super::tail::{Tail, frame_duration, scaled, whole_segment};
use super::watch::Watch;
use super::{DecodeError, DecodeMode, DecodeSettings};
use crate::lock;

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
        pipeline.add(&source).map_err(|error| DecodeError::Broken(error.to_string()))?;
        let Tail { entry, size, clips, .. } =
            Tail::build(&pipeline, window, settings.max_gap_ns(), settings.partial)?;
        let watch = Arc::<Watch>::default();
        let period_ns = window.rate().slot_start_ns(1);
        let gate = Arc::new(Mutex::new(KeyframeGate::new(settings.mode, period_ns)));
        normalise(&entry, &size, &watch, window.rate(), settings);
        let guard = {
            let (gate, watch) = (gate.clone(), watch.clone());
            let (sampled, max_pixels) = (window.rate(), settings.max_pixels);
            Box::new(move |sink: &gst::Pad| {
                watch.course().decoder = sink.downgrade();
                entrance::guard(sink, &gate, &watch, part, sampled, max_pixels);
            })
        };
        let plan = Plan {
            out: entry.clone(),
            watch: watch.clone(),
            max_pixels: settings.max_pixels,
            on_decoder: guard,
            on_coded: None,
        };
        let stopping = Autoplug::start(&pipeline, &source, plan)?;
        Ok(Self { pipeline, clips, entry, watch, gate, stopping })
    }
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
            return Some(whole_segment(event));
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

fn date_of(tags: &gst::TagListRef) -> Option<i64> {
    let date = tags.get::<gst::tags::DateTime>()?.get();
    let seconds = date.to_g_date_time().ok()?.to_unix();
    seconds.checked_mul(1_000_000_000)
}
