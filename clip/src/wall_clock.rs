//! Media time and wall-clock time, each from the other.

use crate::{Clock, RunRecord, Span, UtcStart};

/// What the wall clock said at each instant of a source's media time.
///
/// A file has one clock from its origin on, or none. A camera's is set anew by each of its
/// [runs](RunRecord) and goes on from there to the next; before the first its media time is the
/// wall-clock time of this machine. Where a clock was set back, a wall-clock time stands for several
/// instants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// By start, each in force until the next one starts.
    settings: Vec<Setting>,
}

/// What the clock was set to, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setting {
    start_ns: u64,
    utc: UtcStart,
}

impl WallClock {
    /// The clock of a file whose first picture was taken at `origin`, where that is known.
    pub fn of_file(origin: Option<UtcStart>) -> Self {
        Self { settings: origin.map(|utc| Setting { start_ns: 0, utc }).into_iter().collect() }
    }

    /// The clock of a camera, from its runs by start.
    pub fn of_camera(runs: &[RunRecord]) -> Self {
        let machine = UtcStart { unix_ns: 0, clock: Clock::Arrival, uncertainty_ms: 0 };
        let first = Setting { start_ns: 0, utc: machine };
        let runs = runs.iter().map(|run| Setting { start_ns: run.start_ns, utc: run.utc });
        Self { settings: std::iter::once(first).chain(runs).collect() }
    }

    /// Whether it tells anything.
    pub fn is_known(&self) -> bool {
        !self.settings.is_empty()
    }

    /// The wall-clock time of an instant; none for a file without a clock.
    pub fn utc_of(&self, media_ns: u64) -> Option<UtcStart> {
        let after = self.settings.partition_point(|setting| setting.start_ns <= media_ns);
        let setting = self.settings.get(after.checked_sub(1)?)?;
        Some(setting.utc.plus_ns(media_ns - setting.start_ns))
    }

    /// The instants at which the clock said `from_unix_ns` or later and not yet `to_unix_ns`: by
    /// start, none touching another. An end that is missing is open.
    pub fn media_of(&self, from_unix_ns: Option<i64>, to_unix_ns: Option<i64>) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        for (at, setting) in self.settings.iter().enumerate() {
            let end_ns = self.settings.get(at + 1).map_or(u64::MAX, |next| next.start_ns);
            let media_ns = |unix_ns: i64| {
                let since = i128::from(unix_ns) - i128::from(setting.utc.unix_ns);
                let media = since + i128::from(setting.start_ns);
                let media = u64::try_from(media.max(0)).unwrap_or(u64::MAX);
                media.clamp(setting.start_ns, end_ns)
            };
            let start_ns = from_unix_ns.map_or(setting.start_ns, media_ns);
            let end_ns = to_unix_ns.map_or(end_ns, media_ns);
            if start_ns >= end_ns {
                continue;
            }
            match spans.last_mut() {
                Some(last) if last.end_ns == start_ns => last.end_ns = end_ns,
                _ => spans.push(Span::new(start_ns, end_ns)),
            }
        }
        spans
    }

    /// `span` in parts in which the clock goes on evenly.
    pub fn even_parts(&self, span: Span) -> Vec<Span> {
        let mut parts = Vec::new();
        let mut start_ns = span.start_ns;
        let first = self.settings.partition_point(|setting| setting.start_ns <= span.start_ns);
        for setting in &self.settings[first..] {
            if setting.start_ns >= span.end_ns {
                break;
            }
            if setting.start_ns > start_ns {
                parts.push(Span::new(start_ns, setting.start_ns));
                start_ns = setting.start_ns;
            }
        }
        if start_ns < span.end_ns {
            parts.push(Span::new(start_ns, span.end_ns));
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{RunCause, SourceId};

    fn run(start_ns: u64, unix_ns: i64) -> RunRecord {
        let utc = UtcStart { unix_ns, clock: Clock::RtcpSenderReport, uncertainty_ms: 20 };
        let source_id = SourceId::try_new("gate").unwrap();
        RunRecord { source_id, start_ns, cause: RunCause::ClockSet, utc }
    }

    #[test]
    fn a_file_without_a_date_has_no_wall_clock_time() {
        let clock = WallClock::of_file(None);
        assert!(!clock.is_known());
        assert_eq!(clock.utc_of(5), None);
        assert_eq!(clock.media_of(None, None), []);
        assert_eq!(clock.even_parts(Span::new(3, 9)), [Span::new(3, 9)]);
    }

    #[test]
    fn a_file_begins_at_its_origin() {
        let origin = UtcStart { unix_ns: -100, clock: Clock::Container, uncertainty_ms: 0 };
        let clock = WallClock::of_file(Some(origin));
        assert_eq!(clock.utc_of(30).unwrap().unix_ns, -70);
        assert_eq!(clock.media_of(Some(-500), Some(-90)), [Span::new(0, 10)]);
        assert_eq!(clock.media_of(Some(0), None), [Span::new(100, u64::MAX)]);
        assert_eq!(clock.media_of(None, Some(-100)), []);
    }

    #[test]
    fn an_hour_that_a_clock_said_twice_is_two_stretches_and_one_it_left_out_is_none() {
        // Set back by 50 at 100, and forward by 200 at 300.
        let clock = WallClock::of_camera(&[run(10, 10), run(100, 50), run(300, 450)]);
        assert_eq!(clock.media_of(Some(60), Some(90)), [Span::new(60, 90), Span::new(110, 140)]);
        assert_eq!(clock.media_of(Some(260), Some(440)), []);
        assert_eq!(clock.media_of(Some(240), Some(460)), [Span::new(290, 310)]);
        assert_eq!(clock.media_of(Some(60), None), [Span::new(60, 100), Span::new(110, u64::MAX)]);
        assert_eq!(
            clock.even_parts(Span::new(5, 350)),
            [Span::new(5, 10), Span::new(10, 100), Span::new(100, 300), Span::new(300, 350)]
        );
        assert_eq!(clock.even_parts(Span::new(100, 300)), [Span::new(100, 300)]);
    }

    #[test]
    fn a_camera_that_never_connected_counts_by_the_clock_of_this_machine() {
        let clock = WallClock::of_camera(&[]);
        assert_eq!(clock.utc_of(1_700).unwrap().unix_ns, 1_700);
        assert_eq!(clock.media_of(Some(10), Some(20)), [Span::new(10, 20)]);
    }

    proptest! {
        #[test]
        fn an_instant_lies_in_a_stretch_just_when_its_wall_clock_time_does(
            steps in prop::collection::vec((0u64..60, -80i64..120), 0..6),
            from in prop::option::of(-50i64..300),
            length in prop::option::of(-5i64..120),
        ) {
            let mut runs: Vec<RunRecord> = Vec::new();
            for (after, step) in steps {
                let start = runs.last().map_or(0, |run| run.start_ns) + after;
                runs.push(run(start, start.cast_signed() + step));
            }
            let clock = WallClock::of_camera(&runs);
            let to = length.map(|length| from.unwrap_or(0) + length);
            let spans = clock.media_of(from, to);
            prop_assert!(spans.is_sorted_by(|a, b| a.end_ns < b.start_ns));
            for instant in 0..500 {
                let unix_ns = clock.utc_of(instant).unwrap().unix_ns;
                let is_asked =
                    from.is_none_or(|from| unix_ns >= from) && to.is_none_or(|to| unix_ns < to);
                let is_told =
                    spans.iter().any(|span| (span.start_ns..span.end_ns).contains(&instant));
                prop_assert_eq!(is_told, is_asked, "{}", instant);
            }
        }
    }
}
