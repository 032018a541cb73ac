//! Where compressed pictures go into the decoder, and where decoded ones come out: each is counted,
//! placed on the axis, and let through or not.

use std::sync::{Arc, Mutex};

use footage_clip::{LostReason, RunCause};
use gst::ClockTime;
use gst::prelude::*;

use super::LiveDecode;
use super::clock::{Placed, RunStart, SenderTime};
use super::rtp_time::{RtpTime, timestamp_of};
use super::shared::{Begun, Shared};
use crate::PictureSize;
use crate::decode::format::check_size;
use crate::decode::tail::{Tail, scaled, whole_segment};
use crate::lock;

/// A decoder that is further behind than this goes on at a later keyframe.
const MAX_LAG_NS: u64 = 5_000_000_000;

/// From 1900, where NTP begins to count, to 1970.
const NTP_TO_UNIX_NS: i128 = 2_208_988_800_000_000_000;

/// Reads stream times off a pad: running time, as its segments have it.
#[derive(Default)]
struct Stamps(Option<gst::FormattedSegment<ClockTime>>);

impl Stamps {
    /// At a pad, whose segment may have come already.
    fn at(pad: &gst::Pad) -> Self {
        let mut stamps = Self::default();
        if let Some(event) = pad.sticky_event::<gst::event::Segment>(0) {
            stamps.enter(event.segment());
        }
        stamps
    }

    fn enter(&mut self, segment: &gst::Segment) {
        self.0 = segment.downcast_ref::<ClockTime>().cloned();
    }

    /// None for what no sink would show.
    fn of(&self, buffer: &gst::BufferRef) -> Option<u64> {
        let at = buffer.pts().or(buffer.dts())?;
        self.0.as_ref()?.to_running_time(at).map(ClockTime::nseconds)
    }
}

fn segment_of(info: &gst::PadProbeInfo<'_>) -> Option<gst::Segment> {
    match info.event()?.view() {
        gst::EventView::Segment(event) => Some(event.segment().clone()),
        _ => None,
    }
}

const KINDS: gst::PadProbeType =
    gst::PadProbeType::BUFFER.union(gst::PadProbeType::EVENT_DOWNSTREAM);

/// Stands where a camera's packets come in: counts them, and listens to what they tell of time.
pub(super) fn watch_packets(pad: &gst::Pad, shared: &Arc<Shared>, clock_rate: u32) {
    let shared = shared.clone();
    let state = Mutex::new((Stamps::at(pad), RtpTime::new(clock_rate)));
    pad.add_probe(KINDS | gst::PadProbeType::BUFFER_LIST, move |_, info| {
        let (stamps, time) = &mut *lock(&state);
        if let Some(segment) = segment_of(info) {
            stamps.enter(&segment);
        }
        let mut look = |packet: &gst::BufferRef| {
            shared.received();
            let Some(stamp_ns) = stamps.of(packet) else { return };
            let timestamp = packet.map_readable().ok().and_then(|bytes| timestamp_of(&bytes));
            let mut clock = lock(&shared.clock);
            if timestamp.is_some_and(|timestamp| time.take(timestamp, stamp_ns)) {
                clock.mark(stamp_ns, RunCause::TimestampsJumped);
            }
            if let Some(unix_ns) = sender_time(packet) {
                clock.tell(SenderTime { stamp_ns, unix_ns });
            }
        };
        match &info.data {
            Some(gst::PadProbeData::Buffer(packet)) => look(packet),
            Some(gst::PadProbeData::BufferList(packets)) => packets.iter().for_each(&mut look),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

/// What the camera's sender reports say of a packet.
fn sender_time(packet: &gst::BufferRef) -> Option<i64> {
    let told = packet.iter_meta::<gst::ReferenceTimestampMeta>().find(|meta| {
        meta.reference().structure(0).is_some_and(|reference| reference.name() == "timestamp/x-ntp")
    })?;
    i64::try_from(i128::from(told.timestamp().nseconds()) - NTP_TO_UNIX_NS).ok()
}

/// What goes to the decoder.
pub(super) struct Guard {
    pub(super) shared: Arc<Shared>,
    pub(super) decode: LiveDecode,
    pub(super) max_pixels: u64,
    /// Without data for longer, the run is over.
    pub(super) max_gap_ns: u64,
}

#[derive(Default)]
struct Compressed {
    stamps: Stamps,
    last_ns: Option<u64>,
    /// Pictures are left out until the next keyframe that is not late.
    is_late: bool,
}

impl Guard {
    /// Stands at the pad from which compressed pictures go to the decoder.
    pub(super) fn stand_at(self, coded: &gst::Pad) {
        let state = Mutex::new(Compressed { stamps: Stamps::at(coded), ..Compressed::default() });
        coded.add_probe(KINDS, move |pad, info| {
            let mut state = lock(&state);
            if let Some(segment) = segment_of(info) {
                state.stamps.enter(&segment);
            }
            if let Some(gst::EventView::Caps(caps)) = info.event().map(|event| event.view())
                && let Err(error) = check_size(caps.caps(), self.max_pixels)
            {
                self.shared.course.fail(error);
                return gst::PadProbeReturn::Drop;
            }
            let Some(gst::PadProbeData::Buffer(picture)) = &info.data else {
                return gst::PadProbeReturn::Ok;
            };
            self.shared.received();
            let lets_through = pad
                .parent_element()
                .is_none_or(|element| self.lets_through(&mut state, picture, &element));
            if !lets_through {
                // `Drop` would make a complaint of every picture.
                drop(info.data.take());
                return gst::PadProbeReturn::Handled;
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn lets_through(
        &self,
        state: &mut Compressed,
        picture: &gst::BufferRef,
        element: &gst::Element,
    ) -> bool {
        let is_keyframe = !picture.flags().contains(gst::BufferFlags::DELTA_UNIT);
        if let Some(stamp_ns) = state.stamps.of(picture) {
            if state.last_ns.is_some_and(|last| stamp_ns.saturating_sub(last) > self.max_gap_ns) {
                lock(&self.shared.clock).mark(stamp_ns, RunCause::Resumed);
            }
            state.last_ns = state.last_ns.max(Some(stamp_ns));
            let age_ns = self.shared.reading(element, stamp_ns).age_ns;
            state.is_late = if is_keyframe {
                age_ns > MAX_LAG_NS / 2 && (state.is_late || age_ns > MAX_LAG_NS)
            } else {
                state.is_late || age_ns > MAX_LAG_NS
            };
            if state.is_late {
                self.shared.fell_behind();
            }
        }
        !state.is_late && (is_keyframe || self.decode != LiveDecode::Keyframes)
    }
}

/// Stands where decoded pictures enter the tail: gives each its place on the axis, decides to what
/// size it is scaled, and ends a run where the next one begins.
pub(super) fn normalise(
    tail: &Tail,
    shared: &Arc<Shared>,
    max_pixels: u64,
    picture_size: PictureSize,
) {
    let (shared, size) = (shared.clone(), tail.size.clone());
    let state = Mutex::new((Stamps::default(), None::<gst::Caps>));
    tail.entry.add_probe(KINDS, move |pad, info| match info.data.take() {
        Some(gst::PadProbeData::Buffer(mut picture)) => {
            shared.picture();
            let stamp_ns = lock(&state).0.of(&picture);
            let Some(time_ns) = stamp_ns.and_then(|stamp_ns| placed(pad, &shared, stamp_ns)) else {
                return gst::PadProbeReturn::Handled;
            };
            picture.make_mut().set_pts(ClockTime::from_nseconds(time_ns));
            info.data = Some(gst::PadProbeData::Buffer(picture));
            gst::PadProbeReturn::Ok
        }
        Some(gst::PadProbeData::Event(event)) => {
            let event = match event.view() {
                gst::EventView::Segment(segment) => {
                    lock(&state).0.enter(segment.segment());
                    whole_segment(&event)
                }
                // The times of the pictures tell.
                gst::EventView::Gap(_) => return gst::PadProbeReturn::Handled,
                gst::EventView::Caps(caps) => {
                    if let Err(error) = check_size(caps.caps(), max_pixels) {
                        shared.course.fail(error);
                        return gst::PadProbeReturn::Handled;
                    }
                    let before = lock(&state).1.replace(caps.caps_owned());
                    if before.is_some_and(|before| is_other_format(&before, caps.caps())) {
                        lock(&shared.clock).end_run(RunCause::FormatChanged);
                    }
                    size.set_property("caps", scaled(caps.caps(), picture_size));
                    event
                }
                _ => event,
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

/// The picture's place on the axis, if it has one. Where a run begins with it, the run before is
/// ended first, so that its last clip is cut by then.
fn placed(pad: &gst::Pad, shared: &Shared, stamp_ns: u64) -> Option<u64> {
    let element = pad.parent_element()?;
    let reading = shared.reading(&element, stamp_ns);
    let placed = lock(&shared.clock).place(stamp_ns, reading);
    match placed {
        Placed::Dropped => None,
        Placed::At(time_ns) => Some(time_ns),
        Placed::Begins(time_ns, run) => {
            end_clips(pad);
            shared.begin(Begun { run, missed: missed_before(run, shared.take_fell_behind()) });
            Some(time_ns)
        }
    }
}

/// Cuts what was begun: no clip holds pictures from before and after.
pub(super) fn end_clips(entry: &gst::Pad) {
    let cut = gst::event::SegmentDone::new(ClockTime::NONE);
    if !entry.send_event(cut) {
        tracing::debug!("nothing was there to cut");
    }
}

/// Why nothing was seen before a run on the same connection.
fn missed_before(run: RunStart, fell_behind: bool) -> LostReason {
    match run.cause {
        _ if fell_behind => LostReason::Overload,
        RunCause::Started | RunCause::ClockSet => LostReason::Stopped,
        RunCause::Reconnected => LostReason::Disconnected,
        RunCause::Resumed | RunCause::FormatChanged | RunCause::TimestampsJumped => {
            LostReason::Stalled
        }
    }
}

/// Whether pictures of these caps are of another shape or pace.
fn is_other_format(before: &gst::CapsRef, now: &gst::CapsRef) -> bool {
    let (Some(before), Some(now)) = (before.structure(0), now.structure(0)) else { return false };
    let differs = |name: &str| {
        before.value(name).map(|value| value.serialize().ok()).ok()
            != now.value(name).map(|value| value.serialize().ok()).ok()
    };
    let rate = |fields: &gst::StructureRef| {
        fields.get::<gst::Fraction>("framerate").ok().filter(|rate| rate.numer() > 0)
    };
    let is_other_rate = rate(before).zip(rate(now)).is_some_and(|(before, now)| before != now);
    ["width", "height", "format", "pixel-aspect-ratio"].into_iter().any(differs) || is_other_rate
}
