//! Media time from whatever timestamps a container used.

use footage_clip::NANOS_PER_SECOND;

/// A picture this much earlier than the one before it is out of order; one that is earlier still
/// comes from a clock that was set back.
const MAX_DISORDER_NS: u64 = NANOS_PER_SECOND;

/// No picture stands this long: a leap beyond it is a clock that was set forward.
const MAX_STANDSTILL_NS: u64 = 3600 * NANOS_PER_SECOND;

/// Pictures on their way into a decoder are closer than this to the one before them, or to the one
/// that came out last.
pub(super) const MAX_FORESIGHT_NS: u64 = 60 * NANOS_PER_SECOND;

/// For pictures that say neither when nor for how long they are shown.
const FALLBACK_DURATION_NS: u64 = NANOS_PER_SECOND / 25;

/// Gives each picture its media time: 0 for the first one, and never running back.
///
/// Start offsets and negative timestamps disappear. A clock that is set back (a counter that wrapped,
/// a recording that was joined to another) or forward by more than an hour continues where the
/// picture before it ended. A pause in between is kept: it is part of what happened.
#[derive(Clone, Debug, Default)]
pub(super) struct MediaClock {
    last: Option<Placed>,
    frame_duration_ns: Option<u64>,
    /// The end of the pictures that were told of and not placed.
    passed_ns: u64,
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to each name")]
struct Placed {
    /// Media time less the container's time.
    offset_ns: i128,
    time_ns: u64,
    end_ns: u64,
}

impl MediaClock {
    /// Learns how long a picture is shown by default.
    pub(super) fn set_frame_duration(&mut self, duration_ns: Option<u64>) {
        self.frame_duration_ns = duration_ns;
    }

    /// The container's time `stamped_ns` is this media time, whatever picture comes first.
    pub(super) fn anchor(&mut self, stamped_ns: i128, time_ns: u64) {
        let offset_ns = i128::from(time_ns) - stamped_ns;
        self.last = Some(Placed { offset_ns, time_ns, end_ns: time_ns });
    }

    /// Media time of the next picture, from the container's time and duration for it.
    pub(super) fn place(&mut self, stamped_ns: Option<i128>, duration_ns: Option<u64>) -> u64 {
        let duration_ns = self.duration(duration_ns);
        let (offset_ns, time_ns) = self.locate(stamped_ns);
        self.last = Some(Placed { offset_ns, time_ns, end_ns: time_ns + duration_ns });
        time_ns
    }

    /// Where a picture will be placed that is on its way: a guess, as long as nothing unforeseen comes
    /// before it; none where it is far from the last one, or there was none yet.
    pub(super) fn foresee(&self, stamped_ns: i128) -> Option<u64> {
        let last = self.last?;
        let latest_ns = last.time_ns.max(self.passed_ns);
        let near = last.time_ns.saturating_sub(MAX_DISORDER_NS)..latest_ns + MAX_FORESIGHT_NS;
        u64::try_from(stamped_ns + last.offset_ns).ok().filter(|time| near.contains(time))
    }

    /// A picture at this media time passes without being placed.
    pub(super) fn pass(&mut self, time_ns: u64, duration_ns: Option<u64>) {
        self.passed_ns = self.passed_ns.max(time_ns + self.duration(duration_ns));
    }

    /// Pictures passed up to this time of the container before the first one, of this time, was placed.
    pub(super) fn passed_before(&mut self, end_ns: i128, first_ns: i128) {
        self.passed_ns = self.passed_ns.max(u64::try_from(end_ns - first_ns).unwrap_or(0));
    }

    fn duration(&self, told_ns: Option<u64>) -> u64 {
        told_ns
            .or(self.frame_duration_ns)
            .filter(|duration| (1..=MAX_STANDSTILL_NS).contains(duration))
            .unwrap_or(FALLBACK_DURATION_NS)
    }

    fn locate(&self, stamped_ns: Option<i128>) -> (i128, u64) {
        let Some(last) = self.last else { return (-stamped_ns.unwrap_or(0), 0) };
        let Some(stamped_ns) = stamped_ns else { return (last.offset_ns, self.end_ns()) };
        let time_ns = stamped_ns + last.offset_ns;
        let last_ns = i128::from(last.time_ns);
        if time_ns < last_ns - i128::from(MAX_DISORDER_NS)
            || time_ns > last_ns + i128::from(MAX_STANDSTILL_NS)
        {
            let end_ns = self.end_ns();
            return (i128::from(end_ns) - stamped_ns, end_ns);
        }
        // Within the bounds above it fits, as `last_ns` did.
        (last.offset_ns, u64::try_from(time_ns.max(last_ns)).unwrap_or(last.time_ns))
    }

    /// When the last picture placed stops being shown; 0 before the first.
    pub(super) fn placed_until_ns(&self) -> u64 {
        self.last.map_or(0, |last| last.end_ns)
    }

    /// When the last picture placed or passed stops being shown; 0 before the first.
    pub(super) fn end_ns(&self) -> u64 {
        self.placed_until_ns().max(self.passed_ns)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: u64 = 40_000_000;

    fn places(stamps: &[i128]) -> Vec<u64> {
        let mut clock = MediaClock::default();
        stamps.iter().map(|stamp| clock.place(Some(*stamp), Some(FRAME))).collect()
    }

    #[test]
    fn the_first_picture_is_at_zero_whatever_the_container_says() {
        let frame = i128::from(FRAME);
        assert_eq!(places(&[frame * 100, frame * 101]), [0, FRAME]);
        assert_eq!(places(&[-frame, 0]), [0, FRAME]);
    }

    #[test]
    fn a_counter_that_wraps_goes_on() {
        let wrap = (1i128 << 33) * 100_000 / 9;
        let frame = i128::from(FRAME);
        assert_eq!(places(&[wrap - frame, 0, frame]), [0, FRAME, 2 * FRAME]);
    }

    #[test]
    fn an_anchored_clock_counts_from_there_although_its_first_pictures_are_left_out() {
        let mut clock = MediaClock::default();
        clock.anchor(80, 1_700_000_000_000_000_000);
        let later = 30 * i128::from(NANOS_PER_SECOND);
        assert_eq!(clock.place(Some(80 + later), Some(FRAME)), 1_700_000_030_000_000_000);
    }

    #[test]
    fn a_pause_is_kept_and_an_absurd_leap_is_not() {
        let minute = 60 * i128::from(NANOS_PER_SECOND);
        assert_eq!(places(&[0, minute]), [0, minute as u64]);
        assert_eq!(places(&[0, 1000 * minute]), [0, FRAME]);
    }

    #[test]
    fn a_picture_without_a_stamp_follows_the_one_before() {
        let mut clock = MediaClock::default();
        clock.set_frame_duration(Some(FRAME));
        assert_eq!(clock.place(None, None), 0);
        assert_eq!(clock.place(None, None), FRAME);
        assert_eq!(clock.place(None, Some(7)), 2 * FRAME);
        assert_eq!(clock.end_ns(), 2 * FRAME + 7);
    }

    #[test]
    fn pictures_that_pass_unplaced_take_their_time() {
        let mut clock = MediaClock::default();
        assert_eq!(clock.foresee(5), None);
        clock.place(Some(100), Some(FRAME));
        let next = clock.foresee(100 + i128::from(FRAME)).unwrap();
        assert_eq!(next, FRAME);
        clock.pass(next, Some(FRAME));
        assert_eq!((clock.placed_until_ns(), clock.end_ns()), (FRAME, 2 * FRAME));
        assert_eq!(clock.place(None, None), 2 * FRAME);
        assert_eq!(clock.foresee(i128::from(MAX_STANDSTILL_NS)), None);
    }

    #[test]
    fn one_keyframe_is_foresight_enough_for_all_that_follow_it() {
        let mut clock = MediaClock::default();
        clock.place(Some(0), Some(FRAME));
        for second in 1..600 {
            let time_ns = clock.foresee(i128::from(second * NANOS_PER_SECOND)).unwrap();
            clock.pass(time_ns, Some(FRAME));
        }
        assert_eq!(clock.end_ns(), 599 * NANOS_PER_SECOND + FRAME);
    }

    proptest! {
        #[test]
        fn time_never_runs_back(
            stamps in proptest::collection::vec(proptest::option::of(any::<i64>()), 0..60),
            duration in proptest::option::of(any::<u64>()),
        ) {
            let mut clock = MediaClock::default();
            let mut last = 0;
            for stamp in stamps {
                let time = clock.place(stamp.map(i128::from), duration);
                prop_assert!(time >= last && time - last <= MAX_STANDSTILL_NS);
                last = time;
            }
        }

        #[test]
        fn an_orderly_stream_keeps_its_distances(
            start in any::<i32>(), steps in proptest::collection::vec(1u64..NANOS_PER_SECOND, 1..50),
        ) {
            let mut clock = MediaClock::default();
            let mut stamp = i128::from(start);
            let mut expected = 0;
            prop_assert_eq!(clock.place(Some(stamp), None), 0);
            for step in steps {
                stamp += i128::from(step);
                expected += step;
                prop_assert_eq!(clock.place(Some(stamp), None), expected);
            }
        }
    }
}
