//! What is happening inside a graph: written by its streaming threads, read by the one that pulls.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use footage_clip::{Rate, Span};
use gst::ClockTime;

use super::DecodeError;
use super::media_clock::MediaClock;

/// More pictures than this do not wait inside any decoder.
const MAX_UNDECODED: usize = 4096;

/// Shared by the graph's probes and the puller.
#[derive(Debug, Default)]
pub(super) struct Watch {
    steps: AtomicU64,
    course: Mutex<Course>,
}

/// How the reading goes.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The first thing that went wrong; later ones are its consequences.
    failure: Option<DecodeError>,
    clock: MediaClock,
    segment: Option<gst::FormattedSegment<ClockTime>>,
    /// Container times of pictures that went into the decoder and have not come out.
    undecoded: BTreeSet<u64>,
    /// Place on the sampling grid of the last picture.
    last_slot: Option<u64>,
    /// The place at which the pictures' shape changed. A clip of the new shape begins after it: two
    /// clips that begin at one place would be one.
    taken_slot: Option<u64>,
    /// Media time without a picture although the file holds some, longest gaps only.
    unseen: Vec<Span>,
    /// The container's date, in nanoseconds since the Unix epoch.
    pub(super) dated_unix_ns: Option<i64>,
    /// What streams there are besides video.
    pub(super) others: BTreeSet<&'static str>,
}

impl Watch {
    /// Something moved.
    pub(super) fn step(&self) {
        self.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what moved so far.
    pub(super) fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// Should a thread have panicked holding the lock, the value inside is still whole.
    pub(super) fn course(&self) -> MutexGuard<'_, Course> {
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the reading.
    pub(super) fn fail(&self, error: DecodeError) {
        self.course().failure.get_or_insert(error);
    }

    /// What ended the reading.
    pub(super) fn failure(&self) -> Option<DecodeError> {
        self.course().failure.clone()
    }
}

impl Course {
    pub(super) fn enter(&mut self, segment: &gst::Segment) {
        self.segment = segment.downcast_ref::<ClockTime>().cloned();
    }

    pub(super) fn set_frame_duration(&mut self, duration: Option<ClockTime>) {
        self.clock.set_frame_duration(duration.map(ClockTime::nseconds));
    }

    /// The pictures' shape changes.
    pub(super) fn change_shape(&mut self) {
        self.taken_slot = self.last_slot;
    }

    /// A compressed picture goes into the decoder.
    pub(super) fn sent(&mut self, pts: Option<ClockTime>) {
        if self.undecoded.len() >= MAX_UNDECODED {
            self.undecoded.pop_first();
        }
        self.undecoded.extend(pts.map(ClockTime::nseconds));
    }

    /// A picture came out: its place in media time, or `None` if it is not to be shown. Gaps longer
    /// than `max_gap_ns` are noted where the file holds pictures that should have filled them.
    pub(super) fn came(
        &mut self,
        picture: &gst::BufferRef,
        rate: Rate,
        max_gap_ns: u64,
    ) -> Option<u64> {
        let pts = picture.pts();
        let overdue = self.overdue(pts);
        if !self.is_shown(pts, picture.duration()) {
            return None;
        }
        let before_ns = self.clock.end_ns();
        let stamped_ns = pts.map(|pts| self.shown_at(pts));
        let time_ns = self.clock.place(stamped_ns, picture.duration().map(ClockTime::nseconds));
        if overdue > 0 && time_ns.saturating_sub(before_ns) > max_gap_ns {
            self.unseen.push(Span::new(before_ns, time_ns));
        }
        let slot = rate.slot_of(time_ns);
        self.last_slot = Some(slot);
        (self.taken_slot != Some(slot)).then_some(time_ns)
    }

    /// Pictures that were to be shown before this one and never came.
    fn overdue(&mut self, pts: Option<ClockTime>) -> usize {
        let Some(pts) = pts.map(ClockTime::nseconds) else { return 0 };
        let later = self.undecoded.split_off(&pts);
        let overdue = std::mem::replace(&mut self.undecoded, later).len();
        self.undecoded.remove(&pts);
        overdue
    }

    /// Whether a sink would show it.
    fn is_shown(&self, pts: Option<ClockTime>, duration: Option<ClockTime>) -> bool {
        let (Some(segment), Some(pts)) = (&self.segment, pts) else { return true };
        let end = pts + duration.unwrap_or(ClockTime::from_nseconds(1)).max(ClockTime::NSECOND);
        segment.clip(pts, end).is_some()
    }

    /// Where a player shows it: stream time, as edit lists and segments have it.
    fn shown_at(&self, pts: ClockTime) -> i128 {
        let stream_time =
            self.segment.as_ref().and_then(|segment| segment.to_stream_time_full(pts)).map(
                |time| match time {
                    gst::Signed::Positive(time) => i128::from(time.nseconds()),
                    gst::Signed::Negative(time) => -i128::from(time.nseconds()),
                },
            );
        stream_time.unwrap_or(i128::from(pts.nseconds()))
    }

    /// When the last picture stops being shown.
    pub(super) fn end_ns(&self) -> u64 {
        self.clock.end_ns()
    }

    /// Whether pictures are known to be missing within a stretch of media time.
    pub(super) fn misses_within(&mut self, stretch: Span) -> bool {
        self.unseen.retain(|unseen| unseen.end_ns > stretch.start_ns);
        self.unseen.iter().any(|unseen| unseen.overlaps(&stretch))
    }
}
