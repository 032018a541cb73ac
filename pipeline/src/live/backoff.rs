//! How long to wait before the next attempt: longer each time, up to a bound, and never all at once.

use std::time::Duration;

/// The first pause, before jitter.
const FIRST: Duration = Duration::from_millis(500);

/// A connection that lasted so long was a good one: the next failure is the first again.
const GOOD: Duration = Duration::from_secs(30);

/// Pauses between attempts. There is no last one.
#[derive(Clone, Debug)]
pub(super) struct Backoff {
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Pauses of at most `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        Self { longest, failures: 0 }
    }

    /// The pause after an attempt that was live for `lived`. `chance` is uniform in `[0, 1)`: pauses
    /// are spread over the upper half of their length, so that a hundred cameras that were lost
    /// together do not come back together.
    pub(super) fn after(&mut self, lived: Option<Duration>, chance: f64) -> Duration {
        if lived.is_some_and(|lived| lived >= GOOD) {
            self.failures = 0;
        }
        let doublings = self.failures.min(16);
        let pause = FIRST.saturating_mul(1 << doublings).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        pause.mul_f64(0.5 + 0.5 * chance.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_double_up_to_a_bound() {
        let mut backoff = Backoff::new(LONGEST);
        let pauses: Vec<_> = (0..8).map(|_| backoff.after(None, 1.0).as_millis()).collect();
        assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000]);
    }

    #[test]
    fn a_connection_that_lasted_is_forgiven_its_end_and_a_short_one_is_not() {
        let mut backoff = Backoff::new(LONGEST);
        for _ in 0..10 {
            backoff.after(None, 0.0);
        }
        assert_eq!(backoff.after(Some(GOOD / 2), 1.0), LONGEST);
        assert_eq!(backoff.after(Some(GOOD), 1.0), FIRST);
    }

    proptest! {
        #[test]
        fn a_pause_is_never_long_and_never_nothing(
            attempts in proptest::collection::vec((proptest::option::of(0u64..100), 0.0f64..1.0), 0..200),
        ) {
            let mut backoff = Backoff::new(LONGEST);
            for (lived, chance) in attempts {
                let pause = backoff.after(lived.map(Duration::from_secs), chance);
                prop_assert!(pause >= FIRST / 2 && pause <= LONGEST);
            }
        }
    }
}
