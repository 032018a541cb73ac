//! What stands behind every decoder: pictures are sampled, scaled, turned and cut into clips.
//!
//! ```text
//! footagesample ! deinterlace ! videoconvertscale ! size ! videoflip ! footageclip ! appsink
//! ```
//!
//! What is not sampled is dropped before it is scaled, and what is scaled is small before it is
//! turned.

use footage_clip::{PartialClip, WindowSpec};
use gst::prelude::*;

use super::elements::{make, set};
use super::picture_size::{Picture, PictureSize};
use super::{DecodeError, failure, format};

/// Clips that wait to be taken; a clip refers to its frames, so this bounds memory.
const CLIPS_QUEUED: u32 = 2;

/// The elements behind the decoder, in a graph.
pub(crate) struct Tail {
    /// Where decoded pictures enter.
    pub(crate) entry: gst::Pad,
    /// Says to what size they are scaled.
    pub(crate) size: gst::Element,
    /// Where clips are taken.
    pub(crate) clips: gst_app::AppSink,
}

impl Tail {
    /// Adds them to `pipeline`. `max_gap_ns` is the longest time without a picture within a clip.
    pub(crate) fn build(
        pipeline: &gst::Pipeline,
        window: &WindowSpec,
        max_gap_ns: u64,
        partial: PartialClip,
    ) -> Result<Self, DecodeError> {
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
            cutter(window, max_gap_ns, partial)?,
            clips.clone().upcast(),
        ];
        let broken = |error: gst::glib::BoolError| DecodeError::Broken(error.to_string());
        pipeline.add_many(&tail).map_err(broken)?;
        gst::Element::link_many(&tail).map_err(broken)?;
        let entry =
            sample.static_pad("sink").ok_or_else(|| failure::missing_element("footagesample"))?;
        Ok(Self { entry, size, clips })
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

fn cutter(
    window: &WindowSpec,
    max_gap_ns: u64,
    partial: PartialClip,
) -> Result<gst::Element, DecodeError> {
    let clip = make("footageclip")?;
    clip.set_property("rate", rate(window));
    clip.set_property("length", window.length() as u32);
    clip.set_property("stride", window.stride() as u32);
    clip.set_property("max-gap", max_gap_ns);
    set(
        &clip,
        "partial",
        match partial {
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

/// One endless segment from 0, in place of whatever a container made of its time.
pub(crate) fn whole_segment(instead_of: &gst::Event) -> gst::Event {
    let mut whole = gst::FormattedSegment::<gst::ClockTime>::new();
    whole.set_start(gst::ClockTime::ZERO);
    whole.set_time(gst::ClockTime::ZERO);
    gst::event::Segment::builder(&whole).seqnum(instead_of.seqnum()).build()
}

pub(crate) fn frame_duration(caps: &gst::CapsRef) -> Option<gst::ClockTime> {
    let rate = caps.structure(0)?.get::<gst::Fraction>("framerate").ok()?;
    let (num, den) = (u64::try_from(rate.numer()).ok()?, u64::try_from(rate.denom()).ok()?);
    if num == 0 {
        return None;
    }
    gst::ClockTime::SECOND.mul_div_round(den, num)
}

/// Packed RGB of square pixels, in the size to keep.
pub(crate) fn scaled(caps: &gst::CapsRef, picture_size: PictureSize) -> gst::Caps {
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
