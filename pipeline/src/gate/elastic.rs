//! Keyframe-elastic decoding: [`ElasticGate`]'s decisions, carried out around a decoder.
//!
//! One probe stands before the decoder and feeds it, another behind it, where pictures come out one
//! by one and in order; nothing that is further down ever sees time run back or a picture twice.
//! A keyframe that is to be looked at is decoded alone: the decoder is asked to give out all it holds
//! (by a still-frame event, which decoders answer so) before and after it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;

use super::calm::Calm;
use super::elastic_gate::{Coded, ElasticGate, Limits, Sight, Step};
use super::glance::Glance;
use super::parameters::ParameterSets;
use super::screen::{Screen, mark, restore};
use crate::lock;

/// When a camera's pictures are decoded, and what is kept aside meanwhile.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ElasticSettings {
    /// By how many times its noise a place must change to wake the decoder: as in
    /// [`crate::NoveltySettings`], and best no more than there.
    pub threshold: f32,
    /// How long a scene must be still before only keyframes are decoded.
    pub still: Duration,
    /// Cameras whose keyframes lie further apart are decoded whole.
    pub max_gop: Duration,
    /// While the scene is still, a keyframe is looked at so long after the last one; what lies between,
    /// keyframes too, is kept aside. By so much, or the distance of keyframes, clips of a still scene
    /// are late.
    pub look: Duration,
    /// Compressed pictures kept aside, in bytes.
    pub max_kept_bytes: usize,
    /// Pictures given out lie no further apart than this, also while only keyframes are decoded: the
    /// last one is repeated. Less than the gap at which a run of clips breaks.
    pub stand: Duration,
}

impl Default for ElasticSettings {
    fn default() -> Self {
        Self {
            threshold: 6.0,
            still: Duration::from_secs(5),
            max_gop: Duration::from_secs(12),
            // Keyframes of two seconds, which are common, are looked at by turns.
            look: Duration::from_millis(2500),
            max_kept_bytes: 16 << 20,
            stand: Duration::from_secs(3),
        }
    }
}

/// While everything is decoded, pictures are looked at this far apart.
const WATCH: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// What was decoded so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ElasticUse {
    /// Pictures that went into the decoder, those among them that went in twice counted twice.
    pub decoded: u64,
    /// Pictures that never did.
    pub left_out: u64,
    /// How often a still scene ended.
    pub woken: u64,
    /// Only keyframes are decoded now.
    pub is_asleep: bool,
}

/// Decodes only keyframes of a camera while its scene is still, and everything when it changes, from
/// the last keyframe before the change on.
///
/// For a decoder that gives out its pictures in the thread that feeds it, at the latest when it is
/// drained, in memory that can be mapped. For any other, and for streams without timestamps or with
/// rare keyframes, everything is decoded.
#[derive(Debug)]
pub struct ElasticDecode {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    gate: ElasticGate<gst::Buffer>,
    parameters: Option<ParameterSets>,
    /// What goes into the decoder is our own doing.
    is_feeding: bool,
    /// Where decoded pictures come out. Weak, for its probe holds all this.
    out: gst::glib::WeakRef<gst::Pad>,
    screen: Screen,
    calm: Calm,
    glance: Glance,
    looked_at: Option<gst::ClockTime>,
    decoded: u64,
    woken: u64,
}

impl ElasticDecode {
    /// For one camera.
    pub fn new(settings: ElasticSettings) -> Arc<Self> {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let limits = Limits {
            max_gop_ns: nanos(settings.max_gop),
            max_bytes: settings.max_kept_bytes,
            look_ns: nanos(settings.look),
            stand_ns: nanos(settings.stand),
        };
        Arc::new(Self {
            inner: Mutex::new(Inner {
                gate: ElasticGate::new(limits),
                parameters: None,
                is_feeding: false,
                out: gst::glib::WeakRef::new(),
                screen: Screen::default(),
                calm: Calm::new(settings.threshold, settings.still),
                glance: Glance::default(),
                looked_at: None,
                decoded: 0,
                woken: 0,
            }),
        })
    }

    /// Stands before a decoder, at its sink pad.
    pub fn guard(self: &Arc<Self>, decoder_sink: &gst::Pad) {
        let elastic = self.clone();
        let kinds = gst::PadProbeType::BUFFER
            | gst::PadProbeType::EVENT_DOWNSTREAM
            | gst::PadProbeType::EVENT_FLUSH;
        decoder_sink.add_probe(kinds, move |pad, info| elastic.coded(pad, info));
    }

    /// Stands behind it, at its source pad.
    pub fn watch(self: &Arc<Self>, decoder_src: &gst::Pad) {
        lock(&self.inner).out = decoder_src.downgrade();
        let elastic = self.clone();
        let kinds = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
        decoder_src.add_probe(kinds, move |_, info| elastic.decoded(info));
    }

    /// What was decoded so far.
    pub fn used(&self) -> ElasticUse {
        let inner = lock(&self.inner);
        ElasticUse {
            decoded: inner.decoded,
            left_out: inner.gate.left_out(),
            woken: inner.woken,
            is_asleep: inner.gate.is_asleep(),
        }
    }

    /// Something comes to the decoder.
    fn coded(&self, pad: &gst::Pad, info: &mut gst::PadProbeInfo) -> gst::PadProbeReturn {
        if lock(&self.inner).is_feeding {
            return gst::PadProbeReturn::Ok;
        }
        let steps = match &info.data {
            Some(gst::PadProbeData::Buffer(_)) => {
                let Some(gst::PadProbeData::Buffer(picture)) = info.data.take() else {
                    return gst::PadProbeReturn::Ok;
                };
                lock(&self.inner).take(picture)
            }
            Some(gst::PadProbeData::Event(event)) => lock(&self.inner).hear(event),
            _ => return gst::PadProbeReturn::Ok,
        };
        let is_picture = info.data.is_none();
        match self.run(pad, steps, is_picture) {
            Ok(Some(last)) => {
                info.data = Some(gst::PadProbeData::Buffer(last));
                gst::PadProbeReturn::Ok
            }
            Ok(None) if is_picture => gst::PadProbeReturn::Handled,
            Ok(None) => gst::PadProbeReturn::Ok,
            Err(error) if is_picture => {
                info.flow_res = Err(error);
                gst::PadProbeReturn::Handled
            }
            Err(error) => {
                tracing::debug!(%error, "pictures kept aside were not decoded");
                gst::PadProbeReturn::Ok
            }
        }
    }

    /// Does what the gate says. The last picture, if it is the last step, may be left to whoever
    /// brought it.
    fn run(
        &self,
        pad: &gst::Pad,
        mut steps: Vec<Step<gst::Buffer>>,
        leaves_last: bool,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let mut last = match steps.pop() {
            Some(Step::Decode(picture)) if leaves_last => Some(picture),
            Some(other) => {
                steps.push(other);
                None
            }
            None => None,
        };
        lock(&self.inner).is_feeding = true;
        let done = steps.into_iter().try_for_each(|step| self.step(pad, step));
        let mut inner = lock(&self.inner);
        inner.is_feeding = false;
        done?;
        if let Some(last) = &mut last {
            inner.feeds(last);
        }
        Ok(last)
    }

    fn step(&self, pad: &gst::Pad, step: Step<gst::Buffer>) -> Result<(), gst::FlowError> {
        match step {
            Step::Decode(mut picture) => {
                lock(&self.inner).feeds(&mut picture);
                pad.chain(picture).map(drop)
            }
            Step::Again(mut keyframe) => {
                lock(&self.inner).wakes(&mut keyframe);
                pad.chain(keyframe).map(drop)
            }
            Step::Look(keyframe) => {
                let sight = self.look(pad, keyframe)?;
                let steps = lock(&self.inner).gate.seen(sight);
                steps.into_iter().try_for_each(|step| self.step(pad, step))
            }
            Step::Stand(time_ns) => {
                let again =
                    lock(&self.inner).screen.standing_at(gst::ClockTime::from_nseconds(time_ns));
                again.map_or(Ok(()), |again| self.show(again))
            }
            Step::Show => {
                let held = lock(&self.inner).screen.take_held();
                held.into_iter().try_for_each(|picture| self.show(picture))
            }
            Step::Hide => {
                lock(&self.inner).screen.held.clear();
                Ok(())
            }
        }
    }

    /// Decodes a keyframe alone and holds what comes out.
    fn look(&self, pad: &gst::Pad, mut keyframe: gst::Buffer) -> Result<Sight, gst::FlowError> {
        if !lock(&self.inner).screen.is_drained {
            drain(pad);
        }
        {
            let mut inner = lock(&self.inner);
            inner.feeds(&mut keyframe);
            inner.screen.is_holding = true;
        }
        let fed = pad.chain(keyframe);
        drain(pad);
        let mut inner = lock(&self.inner);
        inner.screen.is_holding = false;
        inner.screen.is_drained = true;
        fed?;
        Ok(inner.sight())
    }

    fn show(&self, picture: gst::Buffer) -> Result<(), gst::FlowError> {
        let out = {
            let mut inner = lock(&self.inner);
            inner.screen.is_showing = true;
            inner.out.upgrade()
        };
        let shown = out.map_or(Ok(gst::FlowSuccess::Ok), |out| out.push(picture));
        lock(&self.inner).screen.is_showing = false;
        shown.map(drop)
    }

    /// Something comes out of the decoder.
    fn decoded(&self, info: &mut gst::PadProbeInfo) -> gst::PadProbeReturn {
        let mut inner = lock(&self.inner);
        let is_passed = match &mut info.data {
            Some(gst::PadProbeData::Buffer(picture)) => {
                if !inner.screen.is_showing {
                    restore(picture);
                }
                inner.admits(picture)
            }
            Some(gst::PadProbeData::Event(event)) => !is_drain(event),
            _ => true,
        };
        if is_passed {
            return gst::PadProbeReturn::Ok;
        }
        // Ours now: hence `Handled`, not `Drop`.
        if let Some(gst::PadProbeData::Buffer(picture)) = info.data.take()
            && inner.screen.is_holding
        {
            inner.screen.held.push(picture);
        }
        gst::PadProbeReturn::Handled
    }
}

impl Inner {
    fn take(&mut self, picture: gst::Buffer) -> Vec<Step<gst::Buffer>> {
        let is_keyframe = !picture.flags().contains(gst::BufferFlags::DELTA_UNIT);
        let parameters = self
            .parameters
            .filter(|_| is_keyframe)
            .and_then(|parameters| parameters.digest(&picture.map_readable().ok()?));
        self.gate.take(Coded {
            is_keyframe,
            time_ns: picture.pts().map(gst::ClockTime::nseconds),
            bytes: picture.size(),
            parameters,
            picture,
        })
    }

    fn hear(&mut self, event: &gst::Event) -> Vec<Step<gst::Buffer>> {
        match event.view() {
            gst::EventView::Caps(caps) => {
                self.parameters = ParameterSets::of(caps.caps());
                self.gate.break_off()
            }
            gst::EventView::Segment(_)
            | gst::EventView::Eos(_)
            | gst::EventView::StreamStart(_) => self.gate.break_off(),
            gst::EventView::FlushStop(_) => {
                self.gate.flush();
                self.screen = Screen::default();
                self.looked_at = None;
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// A picture goes into the decoder.
    fn feeds(&mut self, picture: &mut gst::Buffer) {
        self.decoded += 1;
        mark(picture);
        self.screen.expect(picture, false);
    }

    /// A keyframe that was shown goes into the decoder again, and all that follows it.
    fn wakes(&mut self, keyframe: &mut gst::Buffer) {
        self.decoded += 1;
        mark(keyframe);
        self.woken += 1;
        self.calm.disturb();
        self.looked_at = None;
        self.screen.expect(keyframe, true);
    }

    /// Whether a picture that comes out is shown now.
    fn admits(&mut self, picture: &gst::Buffer) -> bool {
        if self.screen.is_showing {
            return true;
        }
        let is_shown = self.screen.admits(picture);
        if is_shown {
            self.watch(picture);
        }
        is_shown
    }

    /// Looks at a picture that is shown while everything is decoded.
    fn watch(&mut self, picture: &gst::Buffer) {
        let Some(pts) = picture.pts() else { return self.gate.set_calm(false) };
        if self.looked_at.is_some_and(|last| (last..last + WATCH).contains(&pts)) {
            return;
        }
        self.looked_at = Some(pts);
        let frame = self.out.upgrade().and_then(|out| self.glance.at(picture, &out));
        let is_calm = frame.is_some_and(|frame| self.calm.look(pts.nseconds(), &frame));
        self.gate.set_calm(is_calm);
    }

    /// What the picture held shows.
    fn sight(&mut self) -> Sight {
        let picture = self.screen.held.last().and_then(|picture| Some((picture.pts()?, picture)));
        let seen = picture
            .and_then(|(pts, picture)| Some((pts, self.glance.at(picture, &self.out.upgrade()?)?)));
        seen.map_or(Sight::Changed, |(pts, frame)| self.calm.compare(pts.nseconds(), &frame))
    }
}

/// Asks a decoder to give out all that it holds. It forgets what it knew: a keyframe must follow.
fn drain(pad: &gst::Pad) {
    pad.send_event(gst_video::StillFrameEvent::builder(true).build());
}

/// Whether this event drained the decoder. A camera sends none.
fn is_drain(event: &gst::EventRef) -> bool {
    gst_video::StillFrameEvent::parse(event).is_ok()
}
