//! The stream's side: pictures are placed on the camera's axis, planned, and put into the queue. It
//! runs in the stream's own thread, never waits, and never changes what flows.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use footage_clip::FragmentName;
use gst::prelude::*;

use super::course::Course;
use super::format::Format;
use super::plan::{Plan, Step, Timed};
use super::queue::{Command, Queue};
use super::{Axis, RecordingError, RecordingSettings};
use crate::lock;

/// Pictures may come before it is known where their run lies on the axis: it may take a decoder to
/// tell. They wait so long for it, in the stream's time.
const MAX_UNPLACED: gst::ClockTime = gst::ClockTime::from_seconds(2);

/// See [`Tap::place`].
const MAX_UNPLACED_BYTES: usize = 8 << 20;

/// A picture that leaps further ahead of the one before, or this far behind it, may belong to a run of
/// which the axis does not know yet: it waits as if it had no place.
const LEAP_NS: u64 = 2_000_000_000;
const DISORDER_NS: u64 = 1_000_000_000;

/// Looks at what passes a pad.
pub(super) struct Tap {
    plan: Plan<gst::Buffer>,
    format: Option<Arc<Format>>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    unplaced: VecDeque<Unplaced>,
    unplaced_bytes: usize,
    /// Media time of the picture placed last.
    last_ns: Option<u64>,
    /// The fragment begun last.
    open: Option<FragmentName>,
    axis: Axis,
    course: Arc<Course>,
    queue: Arc<Queue>,
}

/// A picture whose place on the axis is not known yet.
struct Unplaced {
    running: gst::ClockTime,
    picture: gst::Buffer,
}

impl Tap {
    pub(super) fn new(
        settings: &RecordingSettings,
        newest_ns: Option<u64>,
        axis: Axis,
        course: Arc<Course>,
        queue: Arc<Queue>,
    ) -> Self {
        Self {
            plan: Plan::new(settings.fragment_ns(), newest_ns),
            format: None,
            segment: None,
            unplaced: VecDeque::new(),
            unplaced_bytes: 0,
            last_ns: None,
            open: None,
            axis,
            course,
            queue,
        }
    }

    /// An event passes.
    pub(super) fn event(&mut self, event: &gst::EventRef) {
        match event.view() {
            gst::EventView::Caps(caps) => self.enter(caps.caps()),
            gst::EventView::Segment(segment) => {
                self.segment = segment.segment().downcast_ref().cloned();
            }
            gst::EventView::Eos(_) => self.finish(),
            _ => {}
        }
    }

    /// A stream of these caps begins, or goes on.
    fn enter(&mut self, caps: &gst::CapsRef) {
        if self.format.as_ref().is_some_and(|format| format.holds(caps)) {
            return;
        }
        self.finish();
        self.format = match Format::of(caps) {
            Ok(format) => Some(Arc::new(format)),
            Err(error) => {
                self.course.fail(error);
                None
            }
        };
    }

    /// What came so far is all of a fragment.
    pub(super) fn finish(&mut self) {
        let unplaced = self.unplaced.len() as u64;
        self.unplaced.clear();
        self.unplaced_bytes = 0;
        let steps = self.plan.finish();
        self.put(steps);
        if unplaced > 0 {
            self.plan.lose(unplaced);
        }
    }

    /// A picture passes.
    pub(super) fn picture(&mut self, picture: &gst::BufferRef) {
        if self.format.is_none() {
            return;
        }
        if std::mem::take(&mut self.course.state().is_broken) {
            self.plan.lose(0);
        }
        let running = picture
            .pts()
            .or(picture.dts())
            .and_then(|at| self.segment.as_ref()?.to_running_time(at));
        // Copied, since some cameras' drivers have few buffers and wait for them to come back.
        let copied = picture.copy_deep().ok();
        match running.zip(copied) {
            Some((running, picture)) => {
                self.unplaced_bytes += picture.size();
                self.unplaced.push_back(Unplaced { running, picture });
                self.place();
            }
            None => self.plan.lose(1),
        }
        self.course.state().used.left_out += self.plan.take_left_out();
    }

    /// Plans the pictures whose place is known by now, in the order of the stream.
    fn place(&mut self) {
        while let Some(first) = self.unplaced.front() {
            let latest = self.unplaced.back().map_or(first.running, |last| last.running);
            let is_overdue = latest.absdiff(first.running) > MAX_UNPLACED
                || self.unplaced_bytes > MAX_UNPLACED_BYTES;
            let placed = (self.axis)(first.running);
            if !is_overdue && placed.is_none_or(|time_ns| self.is_leap(time_ns)) {
                return;
            }
            let Some(Unplaced { running, picture }) = self.unplaced.pop_front() else { return };
            self.unplaced_bytes -= picture.size();
            match placed {
                Some(time_ns) => {
                    self.last_ns = Some(time_ns);
                    let steps = self.plan.take(timed(picture, running, time_ns));
                    self.put(steps);
                }
                None => self.plan.lose(1),
            }
        }
    }

    fn is_leap(&self, time_ns: u64) -> bool {
        self.last_ns.is_some_and(|last_ns| {
            time_ns > last_ns.saturating_add(LEAP_NS)
                || time_ns.saturating_add(DISORDER_NS) < last_ns
        })
    }

    /// Puts steps into the queue; where it is full, what they are about is not kept.
    fn put(&mut self, steps: Vec<Step<gst::Buffer>>) {
        let Some(format) = self.format.clone() else { return };
        if steps.is_empty() {
            return;
        }
        let mut reaches_ns = 0;
        let mut commands = Vec::with_capacity(steps.len());
        for step in steps {
            commands.push(match step {
                Step::Begin { begins_ns } => {
                    let name = format.name(begins_ns);
                    // Before the writer hears of it, and may have to say that nothing came of it.
                    self.course.begin(name);
                    self.open = Some(name);
                    Command::Begin { begins_ns, format: format.clone() }
                }
                Step::Append(picture) => {
                    reaches_ns = picture.end_ns().max(reaches_ns);
                    Command::Append(picture)
                }
                Step::End => Command::End,
            });
        }
        match self.queue.offer(commands) {
            Ok(()) => {
                if let Some(open) = self.open {
                    self.course.reach(open, reaches_ns);
                }
            }
            Err(refused) => self.refuse(&refused),
        }
    }

    /// The queue is full.
    fn refuse(&mut self, refused: &[Command]) {
        let mut pictures = 0;
        for command in refused {
            match command {
                Command::Begin { begins_ns, format } => self.course.forget(format.name(*begins_ns)),
                Command::Append(_) => pictures += 1,
                Command::End => {}
            }
        }
        self.open = None;
        self.plan.lose(pictures);
        self.queue.end();
        self.course.fail(RecordingError::Slow(self.course.dir().to_owned()));
        self.course.state().is_broken = false;
    }
}

fn timed(picture: gst::Buffer, running: gst::ClockTime, time_ns: u64) -> Timed<gst::Buffer> {
    let lead = picture.pts().zip(picture.dts()).map(|(pts, dts)| pts.saturating_sub(dts));
    Timed {
        time_ns,
        lead_ns: lead.map(gst::ClockTime::nseconds),
        duration_ns: picture.duration().map_or(0, gst::ClockTime::nseconds),
        offset_ns: i128::from(time_ns) - i128::from(running.nseconds()),
        is_keyframe: !picture.flags().contains(gst::BufferFlags::DELTA_UNIT),
        payload: picture,
    }
}

/// Looks at all that passes `pad` from now on. Returns the probe's id.
pub(super) fn watch(pad: &gst::Pad, tap: &Arc<Mutex<Tap>>) -> Option<gst::PadProbeId> {
    let kinds = gst::PadProbeType::BUFFER
        | gst::PadProbeType::BUFFER_LIST
        | gst::PadProbeType::EVENT_DOWNSTREAM;
    let watching = tap.clone();
    let probe = pad.add_probe(kinds, move |_, info| {
        let mut tap = lock(&watching);
        match &info.data {
            Some(gst::PadProbeData::Buffer(picture)) => tap.picture(picture),
            Some(gst::PadProbeData::BufferList(pictures)) => {
                pictures.iter().for_each(|picture| tap.picture(picture));
            }
            Some(gst::PadProbeData::Event(event)) => tap.event(event),
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    // What passed before.
    let mut tap = lock(tap);
    if tap.format.is_none()
        && let Some(caps) = pad.current_caps()
    {
        tap.enter(&caps);
    }
    if tap.segment.is_none()
        && let Some(segment) = pad.sticky_event::<gst::event::Segment>(0)
    {
        tap.event(&segment);
    }
    probe
}
