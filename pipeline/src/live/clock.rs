//! The axis of a camera's time: where each picture lies on it, and where a new run begins.
//!
//! Within a run the stream's own clock counts, from the time that this machine's clock told when the
//! run began. Nothing here reads a clock: every call is told what the clocks say.

use footage_clip::{Clock, Rate, RunCause, UtcStart};

/// A clock that moves further than this against one that is never set was set.
const STEP_NS: u64 = 500_000_000;

/// Pictures this far out of order are shown late, not the sign of a clock that was set back.
const DISORDER_NS: u64 = 1_000_000_000;

/// A camera's clock that is further off than this is believed not to have been set, or to keep the time
/// of another zone: when its pictures arrive is nearer to the truth.
const BELIEVED_NS: u64 = 10 * 1_000_000_000;

/// What lies between a picture's exposure and the time that its camera gives it.
const EXPOSED_MS: u32 = 50;

/// More breaks than this are not announced ahead of their pictures.
const MAX_MARKS: usize = 64;

/// What this machine's clocks say while a picture is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to each name")]
pub(super) struct Reading {
    /// The wall clock, in nanoseconds since the Unix epoch.
    pub(super) wall_ns: i64,
    /// A clock that is never set, from any origin.
    pub(super) steady_ns: u64,
    /// For how long the picture has been here already.
    pub(super) age_ns: u64,
}

/// What a camera's own clock said of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SenderTime {
    /// Stream time of the picture.
    pub(super) stamp_ns: u64,
    /// Nanoseconds since the Unix epoch.
    pub(super) unix_ns: i64,
}

/// The beginning of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunStart {
    /// Where its first slot begins.
    pub(super) start_ns: u64,
    pub(super) cause: RunCause,
    pub(super) utc: UtcStart,
}

/// A picture's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placed {
    /// Its time is covered already, or it is out of order.
    Dropped,
    /// At this time, in the run that goes on.
    At(u64),
    /// At this time, and a run begins with it.
    Begins(u64, RunStart),
}

/// How a source's clocks are to be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockSettings {
    pub(super) rate: Rate,
    /// Longer without a picture, and the run is over.
    pub(super) max_gap_ns: u64,
    /// What the way from the camera's eye to this machine may take: the uncertainty of an arrival.
    pub(super) way_ms: u32,
}

/// Places pictures on the axis.
#[derive(Clone, Debug)]
pub(super) struct LiveClock {
    settings: ClockSettings,
    /// Up to here the axis is covered.
    floor_ns: u64,
    run: Option<Running>,
    /// The run before: its last clip may be asked about when the next one has begun.
    before: Option<(Running, Option<SenderTime>)>,
    /// Why the next picture begins a run, should there be a reason that the picture does not tell.
    due: RunCause,
    /// Breaks announced for pictures from a stream time on, in order.
    marks: Vec<(u64, RunCause)>,
    sender: Option<SenderTime>,
    last: Option<Reading>,
    is_closed: bool,
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to each name")]
struct Running {
    /// Where its first slot begins.
    start_ns: u64,
    /// Axis and stream time of its first picture.
    axis_ns: u64,
    stamp_ns: u64,
    /// What the wall clock said when the first picture arrived.
    wall_ns: i64,
    /// Of the last picture.
    last_stamp_ns: u64,
    last_axis_ns: u64,
    /// When the last picture arrived, by the clock that is never set.
    last_arrival_ns: u64,
}

impl LiveClock {
    /// A clock of a new connection. `floor_ns` is the end of what is covered, and `cause` why the
    /// first run begins.
    pub(super) fn new(settings: ClockSettings, floor_ns: u64, cause: RunCause) -> Self {
        Self {
            settings,
            floor_ns,
            run: None,
            before: None,
            due: cause,
            marks: Vec::new(),
            sender: None,
            last: None,
            is_closed: false,
        }
    }

    /// The run is over: the next picture begins another.
    pub(super) fn end_run(&mut self, cause: RunCause) {
        if let Some(run) = self.run.take() {
            self.floor_ns = self.floor_ns.max(self.slot_end_of(run.last_axis_ns));
            self.before = Some((run, self.sender));
            self.due = cause;
        }
        if cause == RunCause::TimestampsJumped {
            // It told the time of stamps that are no longer counted.
            self.sender = None;
        }
    }

    /// The connection is over: no picture is placed any more.
    pub(super) fn close(&mut self) {
        self.end_run(RunCause::Reconnected);
        self.is_closed = true;
    }

    /// Pictures from `stamp_ns` of stream time on begin a new run.
    pub(super) fn mark(&mut self, stamp_ns: u64, cause: RunCause) {
        let is_later = self.marks.last().is_none_or(|(last, _)| stamp_ns > *last);
        if is_later && self.marks.len() < MAX_MARKS {
            self.marks.push((stamp_ns, cause));
        }
    }

    /// The camera tells its own time. Should that have been set, pictures from then on begin a new
    /// run.
    pub(super) fn tell(&mut self, sender: SenderTime) {
        let before = self.sender.replace(sender);
        let is_set = before.is_some_and(|before| {
            let counted = i128::from(sender.stamp_ns) - i128::from(before.stamp_ns);
            let told = i128::from(sender.unix_ns) - i128::from(before.unix_ns);
            (counted - told).unsigned_abs() > u128::from(STEP_NS)
        });
        if is_set {
            self.mark(sender.stamp_ns, RunCause::ClockSet);
        }
    }

    /// Places the next picture, by its stream time.
    pub(super) fn place(&mut self, stamp_ns: u64, now: Reading) -> Placed {
        if self.is_closed {
            return Placed::Dropped;
        }
        let arrival_ns = now.steady_ns.saturating_sub(now.age_ns);
        if let Some(cause) = self.break_before(stamp_ns, arrival_ns, now) {
            self.end_run(cause);
        }
        self.last = Some(now);
        let Some(run) = &mut self.run else { return self.begin(stamp_ns, arrival_ns, now) };
        let Some(later_ns) = stamp_ns.checked_sub(run.last_stamp_ns) else {
            return Placed::Dropped;
        };
        run.last_axis_ns += later_ns;
        run.last_stamp_ns = stamp_ns;
        run.last_arrival_ns = arrival_ns;
        Placed::At(run.last_axis_ns)
    }

    /// Whether the run ends before a picture, and why.
    fn break_before(&mut self, stamp_ns: u64, arrival_ns: u64, now: Reading) -> Option<RunCause> {
        let marked = self.marks.iter().rev().find(|(from, _)| *from <= stamp_ns).map(|mark| mark.1);
        self.marks.retain(|(from, _)| *from > stamp_ns);
        let is_set = self.last.is_some_and(|last| was_set(last, now));
        let run = self.run.as_ref()?;
        if is_set {
            return Some(RunCause::ClockSet);
        }
        let max_gap_ns = self.settings.max_gap_ns;
        let waited_ns = arrival_ns.saturating_sub(run.last_arrival_ns);
        if stamp_ns.saturating_add(DISORDER_NS) < run.last_stamp_ns {
            return Some(RunCause::TimestampsJumped);
        }
        if stamp_ns.saturating_sub(run.last_stamp_ns) > max_gap_ns {
            // Was there a silence, or does only the stream say so?
            let is_silence = waited_ns.saturating_add(STEP_NS) > max_gap_ns;
            let cause = if is_silence { RunCause::Resumed } else { RunCause::TimestampsJumped };
            return Some(cause);
        }
        marked
    }

    fn begin(&mut self, stamp_ns: u64, arrival_ns: u64, now: Reading) -> Placed {
        let rate = self.settings.rate;
        let age_ns = i64::try_from(now.age_ns).unwrap_or(i64::MAX);
        let wall_ns = now.wall_ns.saturating_sub(age_ns);
        let by_wall_ns = u64::try_from(wall_ns).unwrap_or(0);
        let first_free = self.first_free_slot();
        let is_behind = by_wall_ns < self.floor_ns;
        // Where the wall clock is behind what is covered, the axis goes on from there.
        let axis_ns = if is_behind { rate.slot_start_ns(first_free) } else { by_wall_ns };
        if rate.slot_of(axis_ns) < first_free {
            return Placed::Dropped;
        }
        let start_ns = rate.slot_start_ns(rate.slot_of(axis_ns));
        self.run = Some(Running {
            start_ns,
            axis_ns,
            stamp_ns,
            wall_ns,
            last_stamp_ns: stamp_ns,
            last_axis_ns: axis_ns,
            last_arrival_ns: arrival_ns,
        });
        let cause = self.due;
        let utc = self.utc_of(start_ns);
        Placed::Begins(axis_ns, RunStart { start_ns, cause, utc })
    }

    /// The first slot of which nothing is covered.
    fn first_free_slot(&self) -> u64 {
        let rate = self.settings.rate;
        let slot = rate.slot_of(self.floor_ns);
        if rate.slot_start_ns(slot) < self.floor_ns { slot + 1 } else { slot }
    }

    fn slot_end_of(&self, axis_ns: u64) -> u64 {
        let rate = self.settings.rate;
        rate.slot_start_ns(rate.slot_of(axis_ns) + 1)
    }

    /// Where a picture that is not decoded yet will lie; none while it is not known to which run it
    /// will belong.
    pub(super) fn foresee(&self, stamp_ns: u64) -> Option<u64> {
        let run = self.run.as_ref()?;
        let breaks_before = self.marks.first().is_some_and(|(from, _)| *from <= stamp_ns);
        let is_far = stamp_ns.saturating_sub(run.last_stamp_ns) > self.settings.max_gap_ns;
        if breaks_before || is_far {
            return None;
        }
        let axis_ns = i128::from(run.axis_ns) + i128::from(stamp_ns) - i128::from(run.stamp_ns);
        u64::try_from(axis_ns).ok()
    }

    /// Wall-clock time of a moment on the axis, in this run or the one before, as well as it is known.
    pub(super) fn utc_of(&self, axis_ns: u64) -> UtcStart {
        let now = self.run.map(|run| (run, self.sender));
        let of_now = now.filter(|(run, _)| run.start_ns <= axis_ns);
        let Some((run, sender)) = of_now.or(self.before).or(now) else {
            let unix_ns = i64::try_from(axis_ns).unwrap_or(i64::MAX);
            return UtcStart { unix_ns, clock: Clock::Arrival, uncertainty_ms: u32::MAX };
        };
        let into_run = i128::from(axis_ns) - i128::from(run.axis_ns);
        let by_arrival = i128::from(run.wall_ns) + into_run;
        let by_sender = sender.map(|sender| {
            let stamp = i128::from(run.stamp_ns) + into_run;
            i128::from(sender.unix_ns) + stamp - i128::from(sender.stamp_ns)
        });
        // The true time lies between what the two clocks say, or near: a camera's clock may be off,
        // and a picture arrives later than it was taken.
        let apart = |time: i128| (time - by_arrival).unsigned_abs();
        match by_sender.filter(|time| apart(*time) <= u128::from(BELIEVED_NS)) {
            Some(time) => UtcStart {
                unix_ns: i64::try_from(time).unwrap_or(i64::MAX),
                clock: Clock::RtcpSenderReport,
                uncertainty_ms: u32::try_from(apart(time).div_ceil(1_000_000))
                    .unwrap_or(u32::MAX)
                    .saturating_add(EXPOSED_MS),
            },
            None => UtcStart {
                unix_ns: i64::try_from(by_arrival).unwrap_or(i64::MAX),
                clock: Clock::Arrival,
                uncertainty_ms: self.settings.way_ms,
            },
        }
    }
}

/// Whether the wall clock was set between two readings.
fn was_set(last: Reading, now: Reading) -> bool {
    let by_wall = i128::from(now.wall_ns) - i128::from(last.wall_ns);
    let passed = i128::from(now.steady_ns) - i128::from(last.steady_ns);
    (by_wall - passed).unsigned_abs() > u128::from(STEP_NS)
}

#[cfg(test)]
mod tests;
