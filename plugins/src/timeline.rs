//! Where each picture lies in media time.

use gst::ClockTime;
use gst::prelude::MulDiv;

type TimeSegment = gst::FormattedSegment<ClockTime>;

/// Follows a stream's segments and timestamps.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    segment: Option<TimeSegment>,
    /// From the caps' framerate, for pictures that tell no duration.
    frame_duration: Option<ClockTime>,
    /// Segment position of the next picture, should it tell no time.
    next: Option<ClockTime>,
    /// Media time at which the last picture stopped being shown, as far as is known.
    shown_until_ns: Option<u64>,
}

/// A picture's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// In the segment.
    pub(crate) pts: ClockTime,
    /// In media time.
    pub(crate) time_ns: u64,
}

/// Why a picture has no place in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TimelineError {
    #[error(
        "a picture came without a timestamp, and neither a duration nor a framerate says when it \
         is shown: put a parser before the decoder, or set the framerate with `videorate`"
    )]
    Untimed,
    #[error("a picture came before any segment: the element before this one sends none")]
    NoSegment,
    #[error("the segment counts {0:?}, not time: put a parser or a demuxer before the decoder")]
    NotTime(gst::Format),
}

impl Timeline {
    /// Learns the caps' framerate; none, or a variable one, leaves pictures to tell their duration.
    pub(crate) fn set_caps(&mut self, caps: &gst::CapsRef) {
        let framerate = caps.structure(0).and_then(|fields| fields.get("framerate").ok());
        self.frame_duration =
            framerate.filter(|rate: &gst::Fraction| rate.numer() > 0).and_then(|rate| {
                ClockTime::SECOND.mul_div_round(rate.denom() as u64, rate.numer() as u64)
            });
    }

    /// How much media time would lie unseen, in nanoseconds, between the last picture and the start
    /// of this segment: none if it continues, repeats or goes back.
    pub(crate) fn leaves_out_ns(&self, segment: &gst::Segment) -> u64 {
        let start = segment
            .downcast_ref::<ClockTime>()
            .and_then(|segment| media_time(segment, segment.start()?));
        start.zip(self.shown_until_ns).map_or(0, |(start, until)| start.saturating_sub(until))
    }

    /// Begins a segment.
    pub(crate) fn enter(&mut self, segment: &gst::Segment) -> Result<(), TimelineError> {
        let segment = segment
            .downcast_ref::<ClockTime>()
            .ok_or_else(|| TimelineError::NotTime(segment.format()))?;
        if self.segment.as_ref() != Some(segment) {
            self.next = segment.start();
            self.segment = Some(segment.clone());
        }
        Ok(())
    }

    /// Forgets everything but the caps.
    pub(crate) fn flush(&mut self) {
        *self = Self { frame_duration: self.frame_duration, ..Self::default() };
    }

    /// Places the next picture; `None` if no sink would show it: it lies outside the segment, is only
    /// there to decode others, or is no picture (an empty buffer that marks a gap). One that began
    /// before the segment is shown from the segment's start.
    pub(crate) fn place(
        &mut self,
        picture: &gst::BufferRef,
    ) -> Result<Option<Place>, TimelineError> {
        let segment = self.segment.as_ref().ok_or(TimelineError::NoSegment)?;
        let pts = picture.pts().or(self.next).ok_or(TimelineError::Untimed)?;
        let end =
            picture.duration().or(self.frame_duration).map(|duration| pts.saturating_add(duration));
        self.next = end;
        let start = segment.start().unwrap_or(ClockTime::ZERO);
        let is_early = pts < start && end.is_none_or(|end| end <= start);
        let is_late = segment.stop().is_some_and(|stop| pts >= stop && stop > start);
        let is_hidden = picture.flags().contains(gst::BufferFlags::DECODE_ONLY);
        if is_early || is_late || is_hidden || picture.n_memory() == 0 {
            return Ok(None);
        }
        let pts = pts.max(start);
        let place = media_time(segment, pts).map(|time_ns| Place { pts, time_ns });
        if let Some(Place { time_ns, .. }) = place {
            let until = end.and_then(|end| media_time(segment, end));
            self.shown_until_ns = until.max(Some(time_ns));
        }
        Ok(place)
    }

    /// Nothing is shown until `end`: returns that moment in media time, if it lies ahead.
    pub(crate) fn skip_to(&mut self, end: ClockTime) -> Option<u64> {
        self.next = Some(end);
        let time_ns = media_time(self.segment.as_ref()?, end)?;
        (self.shown_until_ns.is_none_or(|until| time_ns > until)).then_some(time_ns)
    }

    /// The segment position of a moment of media time; the segment's start for one before it.
    pub(crate) fn position_of(&self, time_ns: u64) -> Option<ClockTime> {
        let segment = self.segment.as_ref()?;
        let time = ClockTime::from_nseconds(time_ns.min(ClockTime::MAX.nseconds()));
        let position = if segment.time().is_some() {
            segment.position_from_stream_time_full(time)
        } else {
            segment.position_from_running_time_full(time)
        };
        let start = segment.start().unwrap_or(ClockTime::ZERO);
        Some(position?.positive().map_or(start, |position| position.max(start)))
    }
}

fn media_time(segment: &TimeSegment, position: ClockTime) -> Option<u64> {
    // The last picture may end outside the segment.
    let position = segment.stop().map_or(position, |stop| position.min(stop));
    let time = if segment.time().is_some() {
        segment.to_stream_time(position)
    } else {
        segment.to_running_time(position)
    };
    time.map(ClockTime::nseconds)
}
