//! How a stream of frames is sampled and cut.

use std::collections::VecDeque;
use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::NANOS_PER_SECOND;

/// Sampled frames per second, as a fraction in lowest terms, so that rates which are equal are one
/// rate. Slot `k` of the sampling grid begins at `k / rate` seconds of media time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rate {
    num: NonZeroU32,
    den: NonZeroU32,
}

/// Numbers that describe no window.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WindowError {
    /// A length of no frames, or of more than anyone means.
    #[error("a clip cannot have {0} frames: choose 1 to 1024")]
    Length(usize),
    /// A stride that never advances, or that would leave frames unseen.
    #[error("stride {stride} does not fit a clip of {length} frames: choose 1 to {length}")]
    Stride {
        /// The stride asked for.
        stride: usize,
        /// Frames in a clip.
        length: usize,
    },
    /// A sampling rate that is no fraction within bounds.
    #[error(
        "`{0}` is no sampling rate: write frames per second as `2`, `0.5` or `30000/1001`, from \
         1/{longest_s} to {most}",
        longest_s = Rate::LONGEST_S,
        most = Rate::MOST
    )]
    Rate(String),
}

impl Rate {
    /// Most frames per second.
    pub const MOST: u32 = 1000;
    /// Most seconds from one frame to the next.
    pub const LONGEST_S: u32 = 3600;

    /// `num / den` frames per second: [`Self::MOST`] at most, one in [`Self::LONGEST_S`] at least,
    /// in numbers that a fraction of `GStreamer` can hold.
    pub fn try_new(num: u32, den: u32) -> Result<Self, WindowError> {
        let refused = || WindowError::Rate(format!("{num}/{den}"));
        let divisor = gcd(num, den).max(1);
        let part = |whole: u32| NonZeroU32::new(whole / divisor).filter(|n| n.get() <= FRACTION);
        let (num, den) = part(num).zip(part(den)).ok_or_else(refused)?;
        let (frames, seconds) = (u64::from(num.get()), u64::from(den.get()));
        if frames > u64::from(Self::MOST) * seconds || seconds > u64::from(Self::LONGEST_S) * frames
        {
            return Err(refused());
        }
        Ok(Self { num, den })
    }

    /// Numerator.
    pub fn num(&self) -> u32 {
        self.num.get()
    }

    /// Denominator.
    pub fn den(&self) -> u32 {
        self.den.get()
    }

    /// Frames per second.
    pub fn per_second(&self) -> f64 {
        f64::from(self.num.get()) / f64::from(self.den.get())
    }

    /// The slot in which a media time lies.
    pub fn slot_of(&self, time_ns: u64) -> u64 {
        let scaled = u128::from(time_ns) * u128::from(self.num.get());
        (scaled / (u128::from(self.den.get()) * u128::from(NANOS_PER_SECOND))) as u64
    }

    /// The first nanosecond of a slot; the end of time where that is beyond 584 years.
    pub fn slot_start_ns(&self, slot: u64) -> u64 {
        let scaled = u128::from(slot) * u128::from(self.den.get()) * u128::from(NANOS_PER_SECOND);
        u64::try_from(scaled.div_ceil(u128::from(self.num.get()))).unwrap_or(u64::MAX)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.num, self.den)
    }
}

impl FromStr for Rate {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        let refused = || WindowError::Rate(text.chars().take(40).collect());
        if let Some((num, den)) = text.split_once('/') {
            let num = num.trim().parse().map_err(|_| refused())?;
            return Self::try_new(num, den.trim().parse().map_err(|_| refused())?);
        }
        let per_second: f64 = text.trim().parse().map_err(|_| refused())?;
        if !(per_second.is_finite() && (0.001..=1000.0).contains(&per_second)) {
            return Err(refused());
        }
        // Thousandths are exact enough for a rate somebody typed.
        Self::try_new((per_second * 1000.0).round() as u32, 1000)
    }
}

/// The largest number on either side of a fraction of `GStreamer`.
const FRACTION: u32 = i32::MAX.unsigned_abs();

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl TryFrom<String> for Rate {
    type Error = WindowError;

    fn try_from(text: String) -> Result<Self, WindowError> {
        text.parse()
    }
}

impl From<Rate> for String {
    fn from(rate: Rate) -> Self {
        rate.to_string()
    }
}

/// How a stream is cut: clips of `length` sampled frames, a new one every `stride` frames, sampled
/// at `rate`.
///
/// `1 <= stride <= length` always holds, so every sampled frame is seen by some clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "WireWindow", into = "WireWindow")]
pub struct WindowSpec {
    length: NonZeroUsize,
    stride: NonZeroUsize,
    rate: Rate,
}

#[derive(Serialize, Deserialize)]
struct WireWindow {
    length: usize,
    stride: usize,
    rate: Rate,
}

impl WindowSpec {
    /// Fails on an empty clip, and where the stride would leave frames that no clip contains.
    pub fn try_new(length: usize, stride: usize, rate: Rate) -> Result<Self, WindowError> {
        let length = NonZeroUsize::new(length)
            .filter(|length| length.get() <= 1024)
            .ok_or(WindowError::Length(length))?;
        let stride = NonZeroUsize::new(stride)
            .filter(|stride| *stride <= length)
            .ok_or(WindowError::Stride { stride, length: length.get() })?;
        Ok(Self { length, stride, rate })
    }

    /// Frames in a clip, T.
    pub fn length(&self) -> usize {
        self.length.get()
    }

    /// Frames from the start of one clip to the start of the next.
    pub fn stride(&self) -> usize {
        self.stride.get()
    }

    /// Sampled frames per second.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// How long a whole clip lasts, in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.rate.slot_start_ns(self.length.get() as u64)
    }
}

impl TryFrom<WireWindow> for WindowSpec {
    type Error = WindowError;

    fn try_from(wire: WireWindow) -> Result<Self, WindowError> {
        Self::try_new(wire.length, wire.stride, wire.rate)
    }
}

impl From<WindowSpec> for WireWindow {
    fn from(spec: WindowSpec) -> Self {
        Self { length: spec.length(), stride: spec.stride(), rate: spec.rate }
    }
}

/// The last frames of one stream, and how many are still missing before the next clip.
#[derive(Clone, Debug)]
pub struct SlidingWindow<F> {
    length: usize,
    stride: usize,
    frames: VecDeque<F>,
    missing: usize,
}

impl<F: Clone> SlidingWindow<F> {
    /// An empty window.
    pub fn new(spec: &WindowSpec) -> Self {
        let (length, stride) = (spec.length(), spec.stride());
        Self { length, stride, frames: VecDeque::with_capacity(length), missing: length }
    }

    /// Takes the next frame of the stream and returns the clip it completes, if any.
    pub fn push(&mut self, frame: F) -> Option<Vec<F>> {
        if self.frames.len() == self.length {
            self.frames.pop_front();
        }
        self.frames.push_back(frame);
        self.missing -= 1;
        if self.missing > 0 {
            return None;
        }
        self.missing = self.stride;
        Some(self.frames.iter().cloned().collect())
    }

    /// Ends the stream. Returns the frames of the clip that had begun and that holds a frame no
    /// earlier clip held: 1 to `length - 1` of them, oldest first. Empties the window.
    pub fn finish(&mut self) -> Option<Vec<F>> {
        // Frames that some clip holds already: none before the first, `length` after each.
        let began_a_clip = self.missing < self.length || self.frames.len() == self.length;
        let has_unseen_frame = self.frames.len() < self.length || self.missing < self.stride;
        let wanted = self.length - self.missing;
        let kept = self.frames.len().min(wanted);
        let rest = (began_a_clip && has_unseen_frame && kept > 0)
            .then(|| self.frames.iter().skip(self.frames.len() - kept).cloned().collect());
        self.restart();
        rest
    }

    /// Forgets the frames held. Call it at a seek or a gap: no clip may span one.
    pub fn restart(&mut self) {
        self.frames.clear();
        self.missing = self.length;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spec(length: usize, stride: usize) -> WindowSpec {
        WindowSpec::try_new(length, stride, Rate::try_new(1, 1).unwrap()).unwrap()
    }

    #[test]
    fn ten_frames_of_length_four_and_stride_two_give_four_overlapping_clips() {
        let mut window = SlidingWindow::new(&spec(4, 2));
        let clips: Vec<_> = (0..10).filter_map(|frame| window.push(frame)).collect();
        assert_eq!(clips, [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7], [6, 7, 8, 9]]);
        assert_eq!(window.finish(), None);
    }

    #[test]
    fn a_stride_that_would_skip_frames_is_refused() {
        let rate = Rate::try_new(1, 1).unwrap();
        assert!(WindowSpec::try_new(4, 5, rate).is_err());
        assert!(WindowSpec::try_new(4, 0, rate).is_err());
        assert!(WindowSpec::try_new(0, 0, rate).is_err());
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!("2".parse(), Rate::try_new(2, 1));
        assert_eq!("0.5".parse(), Rate::try_new(1, 2));
        assert_eq!("30000/1001".parse(), Rate::try_new(30000, 1001));
        for bad in ["0", "-1", "x", "1/0", "0/0", "NaN", "1e9", ""] {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
    }

    #[test]
    fn rates_that_are_equal_are_one_rate() {
        for (same, lowest) in [("4/2", "2/1"), ("60000/2002", "30000/1001"), ("0.5", "1/2")] {
            let rate: Rate = same.parse().unwrap();
            assert_eq!(rate, lowest.parse().unwrap());
            assert_eq!(rate.to_string(), lowest);
        }
        let huge = Rate::try_new(3_000_000_000, 1_500_000_000).unwrap();
        assert_eq!((huge.num(), huge.den()), (2, 1));
    }

    #[test]
    fn rates_end_where_those_of_the_elements_do() {
        for fits in ["1/3600", "1000/1", "2147483647/2147483646"] {
            assert!(fits.parse::<Rate>().is_ok(), "{fits}");
        }
        for beyond in ["1/3601", "1/7200", "1001/1", "4000000000/4000000001"] {
            let error = beyond.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains(beyond) && error.contains("from 1/3600 to 1000"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn every_frame_is_in_some_clip_once_the_stream_is_finished(
            length in 1usize..12, stride in 1usize..12, frames in 0usize..60,
        ) {
            let stride = stride.min(length);
            let mut window = SlidingWindow::new(&spec(length, stride));
            let mut clips: Vec<Vec<usize>> = (0..frames).filter_map(|f| window.push(f)).collect();
            let whole = clips.len();
            clips.extend(window.finish());

            for frame in 0..frames {
                prop_assert!(clips.iter().any(|clip| clip.contains(&frame)), "{frame} unseen");
            }
            for (at, clip) in clips.iter().enumerate() {
                prop_assert_eq!(clip[0], at * stride);
                prop_assert!(clip.windows(2).all(|pair| pair[1] == pair[0] + 1));
                prop_assert!(clip.len() == length || (at == whole && clip.len() < length));
            }
        }

        #[test]
        fn a_slot_starts_inside_itself(num in 1u32..60_000, den in 1u32..2000, slot in 0u64..1 << 20) {
            prop_assume!(num <= 1000 * den);
            let rate = Rate::try_new(num, den).unwrap();
            let start = rate.slot_start_ns(slot);
            prop_assert_eq!(rate.slot_of(start), slot);
            prop_assert!(start == 0 || rate.slot_of(start - 1) < slot);
        }
    }
}
