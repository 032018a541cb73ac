//! The decoder's entrance: what must not, and what need not, go in.

use std::sync::{Arc, Mutex};

use footage_clip::Rate;
use gst::prelude::*;

use super::disposable::H264Layout;
use super::format;
use super::keyframes::{Compressed, KeyframeGate};
use super::lead::Lead;
use super::watch::Watch;
use crate::lock;

/// Which pictures are decoded; the report asks it too.
pub(super) type Gate = Arc<Mutex<KeyframeGate<gst::Buffer>>>;

/// A file that begins in the middle of a camera's media time, and of which only what follows a moment
/// is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part {
    /// Media time of its first picture.
    pub(super) begins_ns: u64,
    /// What is shown before this media time is not wanted.
    pub(super) from_ns: u64,
}

/// What the probe keeps from picture to picture.
#[derive(Default)]
struct Entrance {
    /// Of a part: the container's time of its first picture, and the way to what is wanted.
    way: Option<(gst::ClockTime, Lead<gst::Buffer>)>,
    /// Of the stream that flows, if pictures can be told apart in it.
    layout: Option<H264Layout>,
    /// Pictures that were held back are going in.
    is_releasing: bool,
}

/// Stands at a decoder's sink pad. Stops before a picture that is too large; leaves out pictures that
/// lie between keyframes, where those are enough, and those that nothing refers to and nobody would
/// look at.
pub(super) fn guard(
    sink: &gst::Pad,
    gate: &Gate,
    watch: &Arc<Watch>,
    part: Option<Part>,
    sampled: Rate,
    max_pixels: u64,
) {
    let (gate, watch) = (gate.clone(), watch.clone());
    let entrance = Mutex::new(Entrance::default());
    let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    sink.add_probe(kinds, move |pad, info| {
        if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view()) {
            if let Err(error) = format::check_size(caps.caps(), max_pixels) {
                watch.fail(error);
                return gst::PadProbeReturn::Drop;
            }
            lock(&entrance).layout = H264Layout::of(caps.caps());
        }
        let is_picture = matches!(info.data, Some(gst::PadProbeData::Buffer(_)));
        if !is_picture || lock(&entrance).is_releasing {
            return gst::PadProbeReturn::Ok;
        }
        let Some(gst::PadProbeData::Buffer(picture)) = info.data.take() else {
            return gst::PadProbeReturn::Ok;
        };
        watch.step();
        if watch.failure().is_some() {
            info.flow_res = Err(gst::FlowError::Error);
            return gst::PadProbeReturn::Handled;
        }
        let wanted = match part {
            Some(part) => lock(&entrance).wanted(picture, part, &watch),
            None => vec![picture],
        };
        let mut to_decode: Vec<_> =
            wanted.into_iter().flat_map(|picture| admitted(&gate, &watch, picture)).collect();
        let layout = lock(&entrance).layout;
        to_decode.retain(|picture| is_needed(picture, layout, &watch, sampled));
        let Some(last) = to_decode.pop() else { return gst::PadProbeReturn::Handled };
        // Pictures that were held back go first, past this probe.
        lock(&entrance).is_releasing = true;
        for earlier in to_decode {
            if let Err(error) = pad.chain(earlier) {
                tracing::debug!(%error, "a picture held back was not decoded");
            }
        }
        lock(&entrance).is_releasing = false;
        info.data = Some(gst::PadProbeData::Buffer(last));
        gst::PadProbeReturn::Ok
    });
}

impl Entrance {
    /// What of a part is wanted now, in order. Its first picture tells where it lies.
    fn wanted(&mut self, picture: gst::Buffer, part: Part, watch: &Watch) -> Vec<gst::Buffer> {
        let Some(at) = picture.pts() else { return vec![picture] };
        let (first, lead) = self.way.get_or_insert_with(|| {
            watch.course().anchor(at, part.begins_ns);
            (at, Lead::new(part.from_ns))
        });
        let time_ns = part.begins_ns.saturating_add(at.saturating_sub(*first).nseconds());
        let is_keyframe = !picture.flags().intersects(gst::BufferFlags::DELTA_UNIT);
        let bytes = picture.size();
        lead.take(picture, time_ns, is_keyframe, bytes)
    }
}

/// What the gate lets through now, in order.
fn admitted(gate: &Gate, watch: &Watch, picture: gst::Buffer) -> Vec<gst::Buffer> {
    watch.course().passes(&picture);
    let flags = picture.flags();
    let next = Compressed {
        is_keyframe: !flags.intersects(gst::BufferFlags::DELTA_UNIT),
        time_ns: picture.pts().map(gst::ClockTime::nseconds),
        bytes: picture.size(),
        picture,
    };
    lock(gate).take(next)
}

/// Whether a picture is looked at, or needed to decode another.
fn is_needed(
    picture: &gst::Buffer,
    layout: Option<H264Layout>,
    watch: &Watch,
    sampled: Rate,
) -> bool {
    let is_looked_at = watch.course().sends(picture, sampled);
    is_looked_at
        || !layout.is_some_and(|layout| {
            picture.map_readable().is_ok_and(|bytes| layout.is_disposable(&bytes))
        })
}
