//! Which compressed pictures are worth decoding.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What of a file is decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DecodeMode {
    /// Keyframes where they lie at most one sampling period apart, everything elsewhere. A file is
    /// judged as it is read: two distances in a row must fit, and where a keyframe is late the
    /// pictures before it are decoded after all, so that nothing goes unseen for longer than the
    /// period.
    #[default]
    Auto,
    /// Keyframes alone: many times cheaper. A picture stands until the next keyframe, so what happens
    /// between two of them is not seen.
    Keyframes,
    /// Every picture.
    All,
}

impl fmt::Display for DecodeMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Keyframes => "keyframes",
            Self::All => "all",
        })
    }
}

/// A word that names no mode.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no decode mode: choose `auto`, `keyframes` or `all`")]
pub struct UnknownDecodeMode(String);

impl FromStr for DecodeMode {
    type Err = UnknownDecodeMode;

    fn from_str(word: &str) -> Result<Self, UnknownDecodeMode> {
        [Self::Auto, Self::Keyframes, Self::All]
            .into_iter()
            .find(|mode| mode.to_string() == word)
            .ok_or_else(|| UnknownDecodeMode(word.chars().take(40).collect()))
    }
}

/// Two keyframe distances in a row must fit before `auto` trusts them.
const FITTING_DISTANCES: u32 = 2;

/// More compressed bytes than this are not kept aside, however short the period.
const MAX_HELD_BYTES: usize = 32 << 20;

/// A compressed picture on its way to the decoder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Compressed<P> {
    pub(super) is_keyframe: bool,
    /// Time from which it is shown, as the container says.
    pub(super) time_ns: Option<u64>,
    pub(super) bytes: usize,
    pub(super) picture: P,
}

/// Stands before the decoder and lets through what is to be decoded.
///
/// In `auto` nothing goes unseen for longer than the period: pictures held back are kept until the
/// next keyframe makes them superfluous, and are decoded after all should it be late.
#[derive(Clone, Debug)]
pub(super) struct KeyframeGate<P> {
    mode: DecodeMode,
    /// Longest distance at which keyframes alone are enough.
    period_ns: u64,
    has_keyframe: bool,
    /// Time of the last keyframe; the container may not tell it.
    keyframe_ns: Option<u64>,
    /// Keyframe distances in a row that fit the period.
    fitting: u32,
    held: Vec<P>,
    held_bytes: usize,
    passed: u64,
    left_out: u64,
}

impl<P> KeyframeGate<P> {
    pub(super) fn new(mode: DecodeMode, period_ns: u64) -> Self {
        Self {
            mode,
            period_ns,
            has_keyframe: false,
            keyframe_ns: None,
            fitting: 0,
            held: Vec::new(),
            held_bytes: 0,
            passed: 0,
            left_out: 0,
        }
    }

    /// Takes the next picture and returns what to decode now, in order.
    pub(super) fn take(&mut self, next: Compressed<P>) -> Vec<P> {
        if next.is_keyframe {
            self.left_out += self.held.len() as u64;
            self.forget();
            self.measure(next.time_ns);
        }
        let wanted = match self.mode {
            DecodeMode::All => true,
            // What follows can only be decoded from a picture that was; so all is let through until
            // the first keyframe, should there be none.
            DecodeMode::Keyframes => next.is_keyframe || !self.has_keyframe,
            DecodeMode::Auto => next.is_keyframe || self.fitting < FITTING_DISTANCES,
        };
        if wanted {
            self.passed += 1;
            return vec![next.picture];
        }
        if self.mode == DecodeMode::Keyframes {
            self.left_out += 1;
            return Vec::new();
        }
        self.hold(next)
    }

    fn hold(&mut self, next: Compressed<P>) -> Vec<P> {
        let is_late = next
            .time_ns
            .zip(self.keyframe_ns)
            .is_none_or(|(now, keyframe)| now.saturating_sub(keyframe) > self.period_ns);
        self.held.push(next.picture);
        self.held_bytes += next.bytes;
        if !is_late && self.held_bytes <= MAX_HELD_BYTES {
            return Vec::new();
        }
        self.fitting = 0;
        self.passed += self.held.len() as u64;
        self.held_bytes = 0;
        std::mem::take(&mut self.held)
    }

    fn forget(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
    }

    fn measure(&mut self, time_ns: Option<u64>) {
        let distance = time_ns.zip(self.keyframe_ns).and_then(|(now, last)| now.checked_sub(last));
        let fits = distance.is_some_and(|distance| distance <= self.period_ns);
        self.fitting = if fits { (self.fitting + 1).min(FITTING_DISTANCES) } else { 0 };
        self.has_keyframe = true;
        self.keyframe_ns = time_ns;
    }

    /// What was done so far, for the report; `Auto` where some stretches were decoded whole and
    /// others not.
    pub(super) fn used(&self) -> DecodeMode {
        match (self.mode, self.passed, self.left_out) {
            (mode, 0, _) | (mode @ DecodeMode::Keyframes, _, 1..) => mode,
            (_, _, 0) => DecodeMode::All,
            (_, passed, left_out) if left_out > passed => DecodeMode::Keyframes,
            _ => DecodeMode::Auto,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn gate(mode: DecodeMode) -> KeyframeGate<u64> {
        KeyframeGate::new(mode, 500 * MS)
    }

    /// Picture `at` of 25 a second.
    fn picture(at: u64, is_keyframe: bool) -> Compressed<u64> {
        Compressed { is_keyframe, time_ns: Some(at * 40 * MS), bytes: 1000, picture: at }
    }

    /// Feeds pictures with a keyframe every `distance` of them.
    fn decoded(mode: DecodeMode, distance: u64, pictures: u64) -> (Vec<u64>, DecodeMode) {
        let mut gate = gate(mode);
        let decoded = (0..pictures)
            .flat_map(|at| gate.take(picture(at, at.is_multiple_of(distance))))
            .collect();
        (decoded, gate.used())
    }

    #[test]
    fn keyframes_mode_lets_keyframes_through_and_nothing_else() {
        assert_eq!(
            decoded(DecodeMode::Keyframes, 50, 120),
            (vec![0, 50, 100], DecodeMode::Keyframes)
        );
    }

    #[test]
    fn auto_takes_keyframes_once_they_proved_dense_enough() {
        let (dense, used) = decoded(DecodeMode::Auto, 10, 400);
        assert_eq!(dense, (0..=20).chain((3..40).map(|at| at * 10)).collect::<Vec<_>>());
        assert_eq!(used, DecodeMode::Keyframes);
    }

    #[test]
    fn auto_decodes_everything_where_keyframes_are_rare() {
        let (rare, used) = decoded(DecodeMode::Auto, 50, 200);
        assert_eq!((rare.len(), used), (200, DecodeMode::All));
    }

    #[test]
    fn auto_leaves_no_more_than_the_period_unseen_when_keyframes_become_rare() {
        let mut gate = gate(DecodeMode::Auto);
        for at in [0, 10, 20] {
            assert_eq!(gate.take(picture(at, true)), [at]);
        }
        let decoded: Vec<_> = (21..60).map(|at| (at, gate.take(picture(at, false)))).collect();
        let first = decoded.iter().find(|(_, pictures)| !pictures.is_empty()).unwrap();
        assert_eq!(first, &(33, (21..=33).collect()), "520 ms after the keyframe, in order");
        let all: Vec<_> = decoded.into_iter().flat_map(|(_, pictures)| pictures).collect();
        assert_eq!(all, (21..60).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_kept_aside_is_bounded() {
        let mut gate = gate(DecodeMode::Auto);
        for at in [0, 10, 20] {
            gate.take(picture(at, true));
        }
        let large = Compressed { bytes: MAX_HELD_BYTES / 2 + 1, ..picture(21, false) };
        assert!(gate.take(large.clone()).is_empty());
        assert_eq!(gate.take(large), [21, 21]);
    }

    #[test]
    fn a_stream_without_keyframes_is_decoded_whole() {
        let mut gate = gate(DecodeMode::Keyframes);
        assert!((0..50).all(|at| gate.take(picture(at, false)) == [at]));
    }

    #[test]
    fn pictures_without_times_are_decoded_whole() {
        let mut gate = gate(DecodeMode::Auto);
        let untimed = |at: u64| Compressed { time_ns: None, ..picture(at, at.is_multiple_of(5)) };
        assert!((0..50).all(|at| gate.take(untimed(at)) == [at]));
    }

    #[test]
    fn modes_are_read_as_people_write_them() {
        for mode in [DecodeMode::Auto, DecodeMode::Keyframes, DecodeMode::All] {
            assert_eq!(mode.to_string().parse(), Ok(mode));
        }
        assert!("Keyframe".parse::<DecodeMode>().is_err());
    }
}
