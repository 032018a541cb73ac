//! What the stream is doing: frames and events in, clips out. Nothing here pushes, so nothing waits.

use footage_clip::{Cut, Cutter, WindowSpec};
use gst::glib;

use super::settings::{Settings, SettingsError};
use crate::FootageClipMeta;
use crate::caps::clip_caps;
use crate::timeline::{Timeline, TimelineError};

/// From the element's start to its stop.
#[derive(Debug)]
pub(super) struct Stream {
    spec: WindowSpec,
    cutter: Cutter<gst::Buffer>,
    timeline: Timeline,
    caps: Option<StreamCaps>,
    /// The next clip is the first since the stream began or was interrupted.
    begins_run: bool,
}

#[derive(Debug)]
struct StreamCaps {
    frames: gst::Caps,
    clips: gst::Caps,
}

/// What a frame led to.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) is_sampled: bool,
    /// The clips it completed, in the order in which to push them.
    pub(super) clips: Vec<gst::Buffer>,
}

/// Why the stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("frames came before their caps: the element before this one sends none")]
    NoCaps,
    #[error(
        "clips are cut forward only, and the segment plays backwards: seek with a rate above 0"
    )]
    Backwards,
    #[error(transparent)]
    Time(#[from] TimelineError),
    #[error("a clip lost its meta: {0}")]
    Meta(#[from] glib::BoolError),
}

impl StreamError {
    /// What to tell upstream.
    pub(super) fn into_flow(self) -> gst::FlowError {
        match self {
            Self::NoCaps => gst::FlowError::NotNegotiated,
            Self::Backwards | Self::Time(_) | Self::Meta(_) => gst::FlowError::Error,
        }
    }
}

impl Stream {
    pub(super) fn new(settings: &Settings) -> Result<Self, SettingsError> {
        let spec = settings.window()?;
        let max_gap_ns = settings.max_gap_ns(&spec)?;
        Ok(Self {
            spec,
            cutter: Cutter::new(spec, max_gap_ns, settings.partial()),
            timeline: Timeline::default(),
            caps: None,
            begins_run: true,
        })
    }

    pub(super) fn take(&mut self, frame: gst::Buffer) -> Result<Taken, StreamError> {
        let mut taken = Taken::default();
        if self.caps.is_none() {
            return Err(StreamError::NoCaps);
        }
        let Some(place) = self.timeline.place(&frame)? else { return Ok(taken) };
        if !self.cutter.wants(place.time_ns) {
            return Ok(taken);
        }
        taken.is_sampled = true;
        if self.cutter.breaks_at(place.time_ns) {
            taken.clips.extend(self.finish()?);
        }
        for cut in self.cutter.push(place.time_ns, frame) {
            taken.clips.push(self.envelope(cut)?);
        }
        Ok(taken)
    }

    /// Ends the run, and returns the clip that had begun, if it is wanted.
    pub(super) fn finish(&mut self) -> Result<Option<gst::Buffer>, StreamError> {
        let clip = self.cutter.finish().map(|cut| self.envelope(cut)).transpose()?;
        self.begins_run = true;
        Ok(clip)
    }

    /// The clips' caps, if these frames' caps change them. Where [`Self::ends_with`] says so, the run
    /// is finished first, under the caps its frames came with.
    pub(super) fn change_caps(&mut self, frames: gst::Caps) -> Option<gst::Caps> {
        self.timeline.set_caps(&frames);
        let clips = clip_caps(&frames, &self.spec);
        let is_new = self.caps.as_ref().is_none_or(|caps| caps.clips != clips);
        self.caps = Some(StreamCaps { frames, clips: clips.clone() });
        is_new.then_some(clips)
    }

    /// Whether the run ends where these caps come.
    pub(super) fn ends_with(&self, frames: &gst::CapsRef) -> bool {
        self.caps.as_ref().is_some_and(|caps| caps.clips != clip_caps(frames, &self.spec))
    }

    /// Begins a segment, and returns the clip that it breaks off.
    pub(super) fn enter(
        &mut self,
        segment: &gst::Segment,
    ) -> Result<Option<gst::Buffer>, StreamError> {
        if segment.rate() < 0.0 {
            return Err(StreamError::Backwards);
        }
        // The clip broken off is placed by the segment its frames came in.
        let slot_ns = self.spec.rate().slot_start_ns(1);
        let clip =
            if self.timeline.leaves_out_ns(segment) > slot_ns { self.finish()? } else { None };
        self.timeline.enter(segment)?;
        Ok(clip)
    }

    /// Nothing comes until `end`: returns the clip that this breaks off.
    pub(super) fn skip_to(
        &mut self,
        end: gst::ClockTime,
    ) -> Result<Option<gst::Buffer>, StreamError> {
        let is_long = self.timeline.skip_to(end).is_some_and(|end| self.cutter.breaks_at(end));
        if is_long { self.finish() } else { Ok(None) }
    }

    /// Forgets the frames and the time, not the caps.
    pub(super) fn flush(&mut self) {
        self.cutter.restart();
        self.timeline.flush();
        self.begins_run = true;
    }

    /// The buffer of one cut.
    fn envelope(&mut self, cut: Cut<gst::Buffer>) -> Result<gst::Buffer, StreamError> {
        let frames = self.caps.as_ref().ok_or(StreamError::NoCaps)?.frames.clone();
        let begins_run = std::mem::take(&mut self.begins_run);
        let pts = self.timeline.position_of(cut.span.start_ns);
        let end = self.timeline.position_of(cut.span.end_ns);

        let mut clip = gst::Buffer::new();
        let fields = clip.make_mut();
        fields.set_pts(pts);
        fields.set_duration(end.zip(pts).map(|(end, pts)| end.saturating_sub(pts)));
        if begins_run {
            fields.set_flags(gst::BufferFlags::DISCONT);
        }
        FootageClipMeta::of_cut(cut, begins_run, frames).attach(fields)?;
        Ok(clip)
    }
}
