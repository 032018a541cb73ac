//! Which clips a search may find.

use footage_clip::{SourceId, Span};

/// Which clips to consider. The default considers all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only clips of these sources; empty means of any.
    pub sources: Vec<SourceId>,
    /// Only clips that share an instant with this stretch of their source's media time.
    pub media: Option<MediaRange>,
    /// Only clips that share an instant with this stretch of wall-clock time. Clips whose
    /// wall-clock time is not known are left out.
    pub utc: Option<UtcRange>,
}

/// A stretch of media time, `[from_ns, to_ns)`; an end that is missing is open. Exact within 104 days
/// of the origin, where a nanosecond is still a whole `f64`; to a quarter of a microsecond for cameras,
/// whose origin is 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaRange {
    /// First nanosecond.
    pub from_ns: Option<u64>,
    /// First nanosecond after the end.
    pub to_ns: Option<u64>,
}

/// A stretch of wall-clock time, `[from_us, to_us)` in microseconds since the Unix epoch; an end
/// that is missing is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UtcRange {
    /// First microsecond.
    pub from_us: Option<i64>,
    /// First microsecond after the end.
    pub to_us: Option<i64>,
}

impl Filter {
    /// Clips of one source.
    pub fn of_source(source_id: SourceId) -> Self {
        Self { sources: vec![source_id], ..Self::default() }
    }

    /// Whether a clip may be found.
    pub fn accepts(&self, source_id: &SourceId, span: &Span) -> bool {
        let of_source = self.sources.is_empty() || self.sources.contains(source_id);
        let in_media = self.media.is_none_or(|range| {
            range.to_ns.is_none_or(|to| span.start_ns < to)
                && range.from_ns.is_none_or(|from| span.end_ns > from)
        });
        let in_utc = self.utc.is_none_or(|range| {
            utc_us(span).is_some_and(|(start, end)| {
                range.to_us.is_none_or(|to| start < to)
                    && range.from_us.is_none_or(|from| end > from)
            })
        });
        of_source && in_media && in_utc
    }
}

/// Start and end of a clip in microseconds since the Unix epoch, where known: what is compared
/// with a [`UtcRange`].
pub(crate) fn utc_us(span: &Span) -> Option<(i64, i64)> {
    let start = span.utc?;
    let end = start.plus_ns(span.duration_ns());
    Some((start.unix_ns.div_euclid(1000), end.unix_ns.div_euclid(1000)))
}
