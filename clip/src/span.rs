//! Where a clip lies in time.

use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// A stretch of a source's media time, `[start_ns, end_ns)`, from the source's origin, with the
/// wall-clock time of its start where one is known.
///
/// The origin of a file is its first picture. The origin of a camera is the Unix epoch, counted by
/// a clock that is never set back: see [`crate::RunRecord`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// First nanosecond.
    pub start_ns: u64,
    /// First nanosecond after the end.
    pub end_ns: u64,
    /// Wall-clock time of `start_ns`, where the source tells one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub utc: Option<UtcStart>,
}

/// Wall-clock time of a span's start, and how far to trust it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtcStart {
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: i64,
    /// Who said so.
    pub clock: Clock,
    /// Half-width of the interval in which the true time lies, in milliseconds.
    pub uncertainty_ms: u32,
}

/// Where a wall-clock time came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Clock {
    /// A date in the file's container.
    Container,
    /// The file's modification time, less its duration.
    File,
    /// The camera's own clock, as its RTCP sender reports tell it.
    RtcpSenderReport,
    /// This machine's clock when the first picture arrived, less what the way is thought to take.
    Arrival,
}

impl Span {
    /// A span without wall-clock time; an end before the start is moved to the start.
    pub fn new(start_ns: u64, end_ns: u64) -> Self {
        Self { start_ns, end_ns: end_ns.max(start_ns), utc: None }
    }

    /// Length in nanoseconds.
    pub fn duration_ns(&self) -> u64 {
        self.end_ns.saturating_sub(self.start_ns)
    }

    /// Start in seconds of media time.
    pub fn start_s(&self) -> f64 {
        self.start_ns as f64 / NANOS_PER_SECOND as f64
    }

    /// End in seconds of media time.
    pub fn end_s(&self) -> f64 {
        self.end_ns as f64 / NANOS_PER_SECOND as f64
    }

    /// Whether the two share an instant.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start_ns < other.end_ns && other.start_ns < self.end_ns
    }
}

impl UtcStart {
    /// The wall-clock time `offset_ns` later.
    #[must_use]
    pub fn plus_ns(self, offset_ns: u64) -> Self {
        let offset = i64::try_from(offset_ns).unwrap_or(i64::MAX);
        Self { unix_ns: self.unix_ns.saturating_add(offset), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_only_touch_do_not_overlap() {
        assert!(!Span::new(0, 5).overlaps(&Span::new(5, 9)));
        assert!(Span::new(0, 6).overlaps(&Span::new(5, 9)));
    }

    #[test]
    fn a_span_never_ends_before_it_starts() {
        assert_eq!(Span::new(5, 2).duration_ns(), 0);
    }
}
