//! `GStreamer` glue. Where a frame lies in time is the timeline's matter.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use footage_clip::Rate;
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use crate::caps::any_raw_video;
use crate::lock;
use crate::rate::{default_rate, rate_of, rate_property};
use crate::timeline::{Place, Timeline};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    let colour = gst::DebugColorFlags::empty();
    gst::DebugCategory::new("footagesample", colour, Some("Samples frames on a grid"))
});

/// What the user set. The only place its defaults are written.
#[derive(Clone, Copy, Debug)]
struct Settings {
    rate: gst::Fraction,
}

impl Default for Settings {
    fn default() -> Self {
        Self { rate: default_rate() }
    }
}

/// What the stream is doing.
#[derive(Debug)]
struct Stream {
    rate: Rate,
    timeline: Timeline,
    /// The slot that has had its frame.
    slot: Option<u64>,
    caps: Option<gst::Caps>,
    /// A dropped frame said that data was lost before it: the next one to pass says so.
    is_discont: bool,
}

impl Stream {
    fn new(rate: Rate) -> Self {
        Self { rate, timeline: Timeline::default(), slot: None, caps: None, is_discont: true }
    }

    /// Whether a frame at this place is the first of its slot.
    fn wants(&mut self, place: Place) -> bool {
        let slot = self.rate.slot_of(place.time_ns);
        self.slot.replace(slot) != Some(slot)
    }

    fn change_caps(&mut self, caps: gst::Caps) {
        self.timeline.set_caps(&caps);
        if self.caps.as_ref() != Some(&caps) {
            self.slot = None;
            self.caps = Some(caps);
        }
    }
}

#[derive(Debug)]
pub struct FootageSample {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    /// Present between READY and PAUSED.
    stream: Mutex<Option<Stream>>,
    frames_in: AtomicU64,
    frames_sampled: AtomicU64,
}

impl FootageSample {
    fn chain(&self, frame: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.frames_in.fetch_add(1, Ordering::Relaxed);
        let Some(frame) = self.sample(frame)? else { return Ok(gst::FlowSuccess::Ok) };
        self.frames_sampled.fetch_add(1, Ordering::Relaxed);
        gst::trace!(CAT, imp = self, "passing {frame:?}");
        self.srcpad.push(frame) // no lock is held: this may wait
    }

    /// The frame, if it is the first of its slot.
    fn sample(&self, mut frame: gst::Buffer) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let mut stream = lock(&self.stream);
        let stream = stream.as_mut().ok_or(gst::FlowError::Flushing)?;
        stream.is_discont |= frame.flags().contains(gst::BufferFlags::DISCONT);
        let place = stream.timeline.place(&frame).map_err(|error| {
            gst::element_imp_error!(self, gst::StreamError::Format, ["{error}"]);
            gst::FlowError::Error
        })?;
        let Some(place) = place else { return Ok(None) };
        if !stream.wants(place) {
            return Ok(None);
        }
        let is_discont = std::mem::take(&mut stream.is_discont);
        // What follows sees too few frames to tell the time by counting them.
        if frame.pts().is_none() {
            frame.make_mut().set_pts(place.pts);
        }
        if is_discont && !frame.flags().contains(gst::BufferFlags::DISCONT) {
            frame.make_mut().set_flags(gst::BufferFlags::DISCONT);
        }
        Ok(Some(frame))
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
        let entered = match (lock(&self.stream).as_mut(), event.view()) {
            (Some(stream), EventView::Caps(caps)) => {
                stream.change_caps(caps.caps_owned());
                Ok(())
            }
            (Some(stream), EventView::Segment(segment)) => stream.timeline.enter(segment.segment()),
            (Some(stream), EventView::Gap(gap)) => {
                let (start, duration) = gap.get();
                stream.timeline.skip_to(start.saturating_add(duration.unwrap_or_default()));
                Ok(())
            }
            (Some(stream), EventView::FlushStop(_)) => {
                stream.timeline.flush();
                stream.slot = None;
                Ok(())
            }
            (Some(stream), EventView::StreamStart(_)) => {
                stream.slot = None;
                Ok(())
            }
            _ => Ok(()),
        };
        if let Err(error) = entered {
            gst::element_imp_error!(self, gst::StreamError::Format, ["{error}"]);
            return false;
        }
        gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    fn start(&self) -> Result<(), gst::StateChangeError> {
        let rate = rate_of(lock(&self.settings).rate).map_err(|error| {
            gst::element_imp_error!(self, gst::LibraryError::Settings, ["{error}"]);
            gst::StateChangeError
        })?;
        self.frames_in.store(0, Ordering::Relaxed);
        self.frames_sampled.store(0, Ordering::Relaxed);
        *lock(&self.stream) = Some(Stream::new(rate));
        Ok(())
    }
}

#[glib::object_subclass]
impl ObjectSubclass for FootageSample {
    const NAME: &'static str = "GstFootageSample";
    type Type = super::FootageSample;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| klass.pad_template(name).expect("both templates are declared below");
        // The pads speak for each other: only time is decided here.
        let flags = gst::PadFlags::PROXY_CAPS
            | gst::PadFlags::PROXY_ALLOCATION
            | gst::PadFlags::PROXY_SCHEDULING;
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_pad, parent, frame| {
                let failed = || Err(gst::FlowError::Error);
                Self::catch_panic_pad_function(parent, failed, |imp| imp.chain(frame))
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.sink_event(pad, event))
            })
            .flags(flags)
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src")).flags(flags).build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            stream: Mutex::default(),
            frames_in: AtomicU64::default(),
            frames_sampled: AtomicU64::default(),
        }
    }
}

impl ObjectImpl for FootageSample {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            vec![
                rate_property(),
                glib::ParamSpecUInt64::builder("frames-in")
                    .nick("Frames in")
                    .blurb("Frames that came in since the element was started")
                    .read_only()
                    .build(),
                glib::ParamSpecUInt64::builder("frames-sampled")
                    .nick("Frames sampled")
                    .blurb("Frames that passed since the element was started")
                    .read_only()
                    .build(),
            ]
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        match pspec.name() {
            "rate" => lock(&self.settings).rate = value.get().expect("type checked by GObject"),
            other => unreachable!("no writable property `{other}` was declared"),
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "rate" => lock(&self.settings).rate.to_value(),
            "frames-in" => self.frames_in.load(Ordering::Relaxed).to_value(),
            "frames-sampled" => self.frames_sampled.load(Ordering::Relaxed).to_value(),
            other => unreachable!("no property `{other}` was declared"),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            element.add_pad(pad).expect("a new element has no pad of this name");
        }
    }
}

impl GstObjectImpl for FootageSample {}

impl ElementImpl for FootageSample {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Footage sampler",
                "Filter/Video",
                "Passes the first frame of each slot of a sampling grid",
                "The Footage contributors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = |name, direction| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &any_raw_video())
                    .expect("a pad template of valid caps")
            };
            vec![template("sink", gst::PadDirection::Sink), template("src", gst::PadDirection::Src)]
        });
        &TEMPLATES
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::ReadyToPaused {
            self.start()?;
        }
        let done = self.parent_change_state(transition)?;
        if transition == gst::StateChange::PausedToReady {
            *lock(&self.stream) = None;
        }
        Ok(done)
    }
}
