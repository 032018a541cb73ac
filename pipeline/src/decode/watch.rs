//! What is happening inside a graph: written by its streaming threads, read by the one that pulls.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use footage_clip::{Rate, Span};
use gst::ClockTime;

use super::DecodeError;
use super::media_clock::{MAX_FORESIGHT_NS, MediaClock};
use crate::lock;

/// More pictures than this do not wait inside any decoder.
const MAX_UNDECODED: usize = 4096;

/// Shared by the graph's probes and the puller.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    steps: AtomicU64,
    course: Mutex<Course>,
}

/// How the reading goes.
#[derive(Debug, Default)]
pub(super) struct Course {
    /// The first thing that went wrong; later ones are its consequences.
    failure: Option<DecodeError>,
    clock: MediaClock,
    /// For the clock, once the first picture comes out: a container's time, and its media time.
    anchor: Option<(ClockTime, u64)>,
    segment: Option<gst::FormattedSegment<ClockTime>>,
    /// Container times of pictures that went into the decoder and have not come out.
    undecoded: BTreeSet<u64>,
    /// Container time at which the pictures end that went by before the first one came out.
    ahead: Option<ClockTime>,
    /// The earliest picture of each slot to come, by its container time.
    first_of_slot: BTreeMap<u64, u64>,
    /// Pictures that were waited for did not come.
    is_damaged: bool,
    /// Where compressed pictures enter the decoder. Weak: the pad's probe holds us.
    pub(super) decoder: gst::glib::WeakRef<gst::Pad>,
    /// Place on the sampling grid of the last picture.
    last_slot: Option<u64>,
    /// The place at which the pictures' shape changed. A clip of the new shape begins after it: two
    /// clips that begin at one place would be one.
    taken_slot: Option<u64>,
    /// Media time without a picture although the file holds some, longest gaps only.
    unseen: Vec<Span>,
    /// The container's date, in nanoseconds since the Unix epoch.
    pub(super) dated_unix_ns: Option<i64>,
    /// A container gave a stream.
    pub(super) has_streams: bool,
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

    pub(super) fn course(&self) -> MutexGuard<'_, Course> {
        lock(&self.course)
    }

    /// Ends the reading.
    pub(crate) fn fail(&self, error: DecodeError) {
        self.course().failure.get_or_insert(error);
    }

    /// What ended the reading.
    pub(crate) fn failure(&self) -> Option<DecodeError> {
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

    /// The container's time `at` is this media time.
    pub(super) fn anchor(&mut self, at: ClockTime, time_ns: u64) {
        self.anchor = Some((at, time_ns));
    }

    /// The pictures' shape changes.
    pub(super) fn change_shape(&mut self) {
        self.taken_slot = self.last_slot;
    }

    /// A compressed picture is on its way, decoded or not: its time is part of the file's.
    pub(super) fn passes(&mut self, picture: &gst::BufferRef) {
        // Some containers tell only when to decode it, which is never after it is shown.
        let Some(at) = picture.pts().or(picture.dts()) else { return };
        if self.clock.end_ns() == 0 {
            // Where it lies is only known once there is a first picture to measure from.
            let end = at + picture.duration().unwrap_or(ClockTime::ZERO);
            let before = self.ahead.unwrap_or(end);
            let is_near = end.saturating_sub(before).nseconds() < MAX_FORESIGHT_NS;
            self.ahead = Some(if is_near { end.max(before) } else { before });
        } else if let Some(time_ns) = self.clock.foresee(self.shown_at(at))
            && self.is_shown(Some(at), picture.duration())
        {
            self.clock.pass(time_ns, picture.duration().map(ClockTime::nseconds));
        }
    }

    /// A compressed picture goes into the decoder. Returns whether what comes of it will be looked at;
    /// if not, it need only be decoded for the sake of those that refer to it.
    ///
    /// That is known for a picture that is not the earliest of its slot, seen so far. In doubt, and in
    /// a stream that is damaged, every picture is looked at.
    pub(super) fn sends(&mut self, picture: &gst::BufferRef, rate: Rate) -> bool {
        let Some(pts) = picture.pts() else { return true };
        let foreseen = self.clock.foresee(self.shown_at(pts)).filter(|_| !self.is_damaged);
        if let Some(time_ns) = foreseen
            && !self.is_earliest_of(rate.slot_of(time_ns), pts.nseconds())
        {
            return false;
        }
        if self.undecoded.len() >= MAX_UNDECODED {
            self.undecoded.pop_first();
        }
        self.undecoded.insert(pts.nseconds());
        true
    }

    fn is_earliest_of(&mut self, slot: u64, pts_ns: u64) -> bool {
        let done = self.last_slot.unwrap_or(0);
        self.first_of_slot.retain(|slot, _| *slot > done);
        if slot <= done {
            return false;
        }
        let earliest = self.first_of_slot.entry(slot).or_insert(u64::MAX);
        let is_earliest = pts_ns < *earliest;
        *earliest = pts_ns.min(*earliest);
        is_earliest
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
        // Only now is it known where the container's times lie.
        if let Some((at, time_ns)) = self.anchor.take() {
            self.clock.anchor(self.shown_at(at), time_ns);
        }
        let before_ns = self.clock.placed_until_ns();
        self.is_damaged |= overdue > 0 && before_ns > 0;
        let stamped_ns = pts.map(|pts| self.shown_at(pts));
        let time_ns = self.clock.place(stamped_ns, picture.duration().map(ClockTime::nseconds));
        if let Some((pts, ahead)) = pts.zip(self.ahead.take()) {
            let end = self.shown_end(pts, ahead);
            self.clock.passed_before(self.shown_at(end), self.shown_at(pts));
        }
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

    /// The part of a stretch of container time that a sink would show ends here.
    fn shown_end(&self, from: ClockTime, to: ClockTime) -> ClockTime {
        let shown = self.segment.as_ref().and_then(|segment| segment.clip(from, to.max(from)));
        shown.and_then(|(_, end)| end).unwrap_or(to)
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

    /// When the last picture, looked at or not, stops being shown.
    pub(super) fn end_ns(&self) -> u64 {
        self.clock.end_ns()
    }

    /// Whether pictures are known to be missing within a stretch of media time.
    pub(super) fn misses_within(&mut self, stretch: Span) -> bool {
        self.unseen.retain(|unseen| unseen.end_ns > stretch.start_ns);
        self.unseen.iter().any(|unseen| unseen.overlaps(&stretch))
    }
}

/// Whether a graph moves, while somebody waits for it.
pub(super) struct Progress {
    steps: u64,
    since: Instant,
}

impl Progress {
    /// Begins to wait.
    pub(super) fn new(watch: &Watch) -> Self {
        Self { steps: watch.steps(), since: Instant::now() }
    }

    /// For how long nothing has moved.
    pub(super) fn stands_still(&mut self, watch: &Watch) -> Duration {
        let steps = watch.steps();
        if steps != self.steps {
            *self = Self { steps, since: Instant::now() };
        }
        self.since.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use footage_clip::NANOS_PER_SECOND;

    use super::*;

    const GAP: u64 = 2 * NANOS_PER_SECOND;

    fn picture(at_ms: u64) -> gst::Buffer {
        gst::init().unwrap();
        let mut picture = gst::Buffer::new();
        let fields = picture.make_mut();
        fields.set_pts(ClockTime::from_mseconds(at_ms));
        fields.set_duration(ClockTime::from_mseconds(40));
        picture
    }

    fn rate() -> Rate {
        Rate::try_new(2, 1).unwrap()
    }

    /// Sends compressed pictures, of which those in `decoded` come out.
    fn course(sent_ms: &[u64], decoded_ms: &[u64]) -> Course {
        let mut course = Course::default();
        for at in sent_ms {
            course.passes(&picture(*at));
            assert!(course.sends(&picture(*at), rate()), "nothing is foreseen before the first");
        }
        for at in decoded_ms {
            course.came(&picture(*at), rate(), GAP);
        }
        course
    }

    #[test]
    fn a_gap_is_missed_only_where_the_file_holds_pictures_for_it() {
        let torn = course(&[0, 40, 1000, 3000, 5000], &[0, 40, 5000]).unseen;
        assert_eq!(torn, [Span::new(80_000_000, 5 * NANOS_PER_SECOND)]);
        assert_eq!(course(&[0, 40, 5000], &[0, 40, 5000]).unseen, []);
        assert_eq!(course(&[0, 40, 1000, 1500], &[0, 40, 1500]).unseen, [], "a short one");
    }

    #[test]
    fn pictures_that_go_by_before_the_first_comes_out_count() {
        assert_eq!(course(&[0, 120, 80, 40], &[]).end_ns(), 0);
        assert_eq!(course(&[0, 120, 80, 40], &[0]).end_ns(), 160_000_000);
        let mut absurd = course(&[0, 40, 999_999_999], &[0]);
        assert_eq!(absurd.end_ns(), 80_000_000);
        absurd.passes(&picture(120));
        assert_eq!(absurd.end_ns(), 160_000_000);
    }

    #[test]
    fn a_picture_that_only_says_when_to_decode_it_counts_from_then() {
        let mut course = course(&[0], &[0]);
        let mut untimed = picture(400);
        let fields = untimed.make_mut();
        fields.set_dts(fields.pts());
        fields.set_pts(None);
        course.passes(&untimed);
        assert_eq!(course.end_ns(), 440_000_000);
    }

    #[test]
    fn a_picture_that_nobody_looks_at_need_not_come_out() {
        let mut course = course(&[], &[0]);
        let looked_at = [40, 600, 560, 520, 640, 1000, 1040].map(|at| {
            course.passes(&picture(at));
            course.sends(&picture(at), rate())
        });
        // Not the second of a slot that had its first; the earliest so far of each slot to come.
        assert_eq!(looked_at, [false, true, true, true, false, true, false]);
        assert_eq!(course.end_ns(), 1_080_000_000);
    }

    #[test]
    fn every_picture_of_a_damaged_stream_is_looked_at() {
        let mut course = course(&[0, 40, 80], &[0, 80]);
        assert!([120, 160, 200].iter().all(|at| course.sends(&picture(*at), rate())));
    }

    #[test]
    fn misses_are_found_within_the_stretch_asked_for() {
        let mut torn = course(&[0, 1000, 5000], &[0, 5000]);
        assert!(torn.misses_within(Span::new(0, 5 * NANOS_PER_SECOND)));
        assert!(!torn.misses_within(Span::new(5 * NANOS_PER_SECOND, 9 * NANOS_PER_SECOND)));
    }

    #[test]
    fn pictures_of_a_new_shape_begin_in_a_slot_of_their_own() {
        let mut course = course(&[], &[0, 40]);
        course.change_shape();
        assert_eq!(course.came(&picture(80), rate(), GAP), None);
        assert_eq!(course.came(&picture(480), rate(), GAP), None);
        assert_eq!(course.came(&picture(520), rate(), GAP), Some(520_000_000));
    }

    #[test]
    fn pictures_outside_the_segment_are_not_shown() {
        let mut course = Course::default();
        gst::init().unwrap();
        let mut segment = gst::FormattedSegment::<ClockTime>::new();
        segment.set_start(ClockTime::from_mseconds(1000));
        segment.set_time(ClockTime::ZERO);
        course.enter(segment.upcast_ref());
        assert_eq!(course.came(&picture(500), rate(), GAP), None);
        assert_eq!(course.came(&picture(1000), rate(), GAP), Some(0));
        assert_eq!(course.came(&picture(1040), rate(), GAP), Some(40_000_000));
    }

    #[test]
    fn standing_still_is_measured_from_the_last_step() {
        let watch = Watch::default();
        let mut progress = Progress::new(&watch);
        sleep(Duration::from_millis(20));
        assert!(progress.stands_still(&watch) >= Duration::from_millis(20));
        watch.step();
        assert!(progress.stands_still(&watch) < Duration::from_millis(20));
    }

    #[test]
    fn the_first_failure_is_the_one_told() {
        let watch = Watch::default();
        watch.fail(DecodeError::Encrypted);
        watch.fail(DecodeError::NoPicture);
        assert_eq!(watch.failure(), Some(DecodeError::Encrypted));
    }
}
