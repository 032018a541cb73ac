//! Whether a connection still gives pictures, judged from what moved and when.

use std::time::Duration;

/// How long to wait for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// From the attempt to connect to the first data.
    pub connect: Duration,
    /// Without data, the camera counts as stalled.
    pub stalled: Duration,
    /// Without data, the connection is given up and made again.
    pub silent: Duration,
    /// With data and without a picture, the decoder is given up. Longer than any camera's distance
    /// between keyframes.
    pub undecoded: Duration,
    /// The longest pause between two attempts to connect.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(20),
            stalled: Duration::from_secs(5),
            silent: Duration::from_secs(15),
            undecoded: Duration::from_secs(40),
            pause: Duration::from_secs(30),
        }
    }
}

/// What moved so far in a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vitals {
    /// Compressed pictures, or parts of them, that arrived.
    pub(super) received: u64,
    /// Pictures that came out of the decoder, or were kept from it on purpose.
    pub(super) pictures: u64,
}

/// How the connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// Nothing yet, and not for too long.
    Connecting,
    /// Pictures come.
    Live,
    /// Data stopped coming; it may come again.
    Stalled,
    /// To be given up: connected, but no data ever came.
    NoData,
    /// To be given up: data stopped coming for good.
    Silent,
    /// To be given up: data comes, and no picture of it.
    Undecoded,
}

/// Follows one connection.
#[derive(Clone, Debug)]
pub(super) struct Watchdog {
    patience: Patience,
    vitals: Vitals,
    /// When data last came, or the attempt began.
    data_at: Duration,
    /// When a picture last came; before the first one, when the first data came.
    picture_at: Option<Duration>,
}

impl Watchdog {
    /// Times are counted from any instant, by a clock that is never set.
    pub(super) fn new(patience: Patience, now: Duration) -> Self {
        Self { patience, vitals: Vitals::default(), data_at: now, picture_at: None }
    }

    pub(super) fn judge(&mut self, vitals: Vitals, now: Duration) -> Health {
        if vitals.received != self.vitals.received {
            self.data_at = now;
            self.picture_at = self.picture_at.or(Some(now));
        }
        if vitals.pictures != self.vitals.pictures {
            self.picture_at = Some(now);
        }
        self.vitals = vitals;
        let quiet = now.saturating_sub(self.data_at);
        let Some(picture_at) = self.picture_at else {
            let is_over = quiet >= self.patience.connect;
            return if is_over { Health::NoData } else { Health::Connecting };
        };
        let unseen = self.data_at.saturating_sub(picture_at);
        if quiet >= self.patience.silent {
            Health::Silent
        } else if unseen >= self.patience.undecoded {
            Health::Undecoded
        } else if quiet >= self.patience.stalled {
            Health::Stalled
        } else if vitals.pictures == 0 {
            Health::Connecting
        } else {
            Health::Live
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Judged every second: data and pictures come while their flags are true.
    fn judged(seconds: &[(bool, bool)]) -> Vec<Health> {
        let mut dog = Watchdog::new(Patience::default(), Duration::ZERO);
        let mut vitals = Vitals::default();
        let judge = |(second, (data, picture)): (usize, &(bool, bool))| {
            vitals.received += u64::from(*data);
            vitals.pictures += u64::from(*picture);
            dog.judge(vitals, Duration::from_secs(second as u64))
        };
        seconds.iter().enumerate().map(judge).collect()
    }

    fn first(health: &[Health], wanted: Health) -> Option<usize> {
        health.iter().position(|health| *health == wanted)
    }

    #[test]
    fn a_connection_that_gives_nothing_is_given_up() {
        let health = judged(&[(false, false); 30]);
        assert_eq!(health[0], Health::Connecting);
        assert_eq!(first(&health, Health::NoData), Some(20));
    }

    #[test]
    fn a_stream_that_falls_silent_is_stalled_then_given_up() {
        let mut seconds = vec![(true, true); 10];
        seconds.extend([(false, false); 20]);
        let health = judged(&seconds);
        assert_eq!(health[5], Health::Live);
        assert_eq!(first(&health, Health::Stalled), Some(9 + 5));
        assert_eq!(first(&health, Health::Silent), Some(9 + 15));
    }

    #[test]
    fn a_stream_that_goes_on_in_time_is_live_again() {
        let mut seconds = vec![(true, true); 3];
        seconds.extend([(false, false); 8]);
        seconds.extend([(true, true); 3]);
        let health = judged(&seconds);
        assert_eq!(health[10], Health::Stalled);
        assert_eq!(health[11], Health::Live);
        assert_eq!(first(&health, Health::Silent), None);
    }

    #[test]
    fn a_decoder_that_yields_nothing_is_given_up_and_a_late_keyframe_is_waited_for() {
        let health = judged(&[(true, false); 60]);
        assert_eq!(health[30], Health::Connecting);
        assert_eq!(first(&health, Health::Undecoded), Some(40));
        let mut late = vec![(true, false); 35];
        late.extend([(true, true); 5]);
        assert_eq!(judged(&late).last(), Some(&Health::Live));
    }

    #[test]
    fn a_decoder_that_stops_after_a_while_is_noticed_too() {
        let mut seconds = vec![(true, true); 10];
        seconds.extend([(true, false); 60]);
        assert_eq!(first(&judged(&seconds), Health::Undecoded), Some(9 + 40));
    }
}
