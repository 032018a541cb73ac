//! `GStreamer` glue. What a clip is, is decided by the stream and nowhere here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::settings::Settings;
use super::stream::{Stream, StreamError};
use crate::caps::{any_clips, any_raw_video, clip_caps, frame_caps};
use crate::{FootageClipMeta, lock};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    let colour = gst::DebugColorFlags::empty();
    gst::DebugCategory::new("footageclip", colour, Some("Cuts raw video into clips"))
});

#[derive(Debug)]
pub struct FootageClip {
    sinkpad: gst::Pad,
    srcpad: gst::Pad,
    settings: Mutex<Settings>,
    /// Present between READY and PAUSED. Never locked together with the settings, nor while pushing.
    stream: Mutex<Option<Stream>>,
    frames_in: AtomicU64,
    frames_sampled: AtomicU64,
    clips_out: AtomicU64,
}

impl FootageClip {
    fn chain(&self, frame: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.frames_in.fetch_add(1, Ordering::Relaxed);
        let taken = {
            let mut stream = lock(&self.stream);
            stream.as_mut().ok_or(gst::FlowError::Flushing)?.take(frame)
        };
        let taken = taken.map_err(|error| {
            self.post(&error);
            error.into_flow()
        })?;
        if taken.is_sampled {
            self.frames_sampled.fetch_add(1, Ordering::Relaxed);
        }
        taken.clips.into_iter().try_fold(gst::FlowSuccess::Ok, |_, clip| self.push(clip))
    }

    fn push(&self, clip: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, imp = self, "pushing {clip:?}");
        self.clips_out.fetch_add(1, Ordering::Relaxed);
        self.srcpad.push(clip)
    }

    /// Tells the application why the stream cannot go on.
    fn post(&self, error: &StreamError) {
        match error {
            StreamError::NoCaps => {
                gst::element_imp_error!(self, gst::CoreError::Negotiation, ["{error}"]);
            }
            StreamError::Backwards | StreamError::Time(_) => {
                gst::element_imp_error!(self, gst::StreamError::Format, ["{error}"]);
            }
            StreamError::Meta(_) => {
                gst::element_imp_error!(self, gst::LibraryError::Failed, ["{error}"]);
            }
        }
    }

    /// Does to the stream what an event means, and pushes the clip that this broke off. False if
    /// the event makes no sense.
    fn apply(
        &self,
        change: impl FnOnce(&mut Stream) -> Result<Option<gst::Buffer>, StreamError>,
    ) -> bool {
        let broken_off = match lock(&self.stream).as_mut() {
            Some(stream) => change(stream),
            None => Ok(None),
        };
        match broken_off {
            Ok(Some(clip)) => {
                if let Err(error) = self.push(clip) {
                    // Whoever refused it has said why; the event goes its way.
                    gst::debug!(CAT, imp = self, "the last clip of a run was not taken: {error}");
                }
                true
            }
            Ok(None) => true,
            Err(error) => {
                self.post(&error);
                false
            }
        }
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
        gst::trace!(CAT, obj = pad, "{event:?}");
        let makes_sense = match event.view() {
            EventView::Caps(caps) => return self.change_caps(caps),
            EventView::Segment(segment) => self.apply(|stream| stream.enter(segment.segment())),
            EventView::Gap(gap) => {
                let (start, duration) = gap.get();
                let end = start.saturating_add(duration.unwrap_or_default());
                self.apply(|stream| stream.skip_to(end))
            }
            EventView::StreamStart(_) | EventView::SegmentDone(_) | EventView::Eos(_) => {
                self.apply(Stream::finish)
            }
            EventView::FlushStop(_) => self.apply(|stream| {
                stream.flush();
                Ok(None)
            }),
            _ => true,
        };
        makes_sense && gst::Pad::event_default(pad, Some(&*self.obj()), event)
    }

    fn change_caps(&self, event: &gst::event::Caps) -> bool {
        let frames = event.caps_owned();
        let is_finished =
            self.apply(|stream| if stream.ends_with(&frames) { stream.finish() } else { Ok(None) });
        let clips = lock(&self.stream).as_mut().and_then(|stream| stream.change_caps(frames));
        let Some(clips) = clips else { return is_finished };
        gst::debug!(CAT, imp = self, "clips are {clips}");
        let event = gst::event::Caps::builder(&clips).seqnum(event.seqnum()).build();
        is_finished && self.srcpad.push_event(event)
    }

    fn src_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        match event.view() {
            gst::EventView::Qos(_) => true,
            gst::EventView::Seek(seek) if seek.get().0 < 0.0 => {
                gst::debug!(CAT, imp = self, "refusing to play backwards");
                false
            }
            _ => gst::Pad::event_default(pad, Some(&*self.obj()), event),
        }
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) => {
                let Ok(spec) = lock(&self.settings).window() else { return false };
                let clips = self.srcpad.peer_query_caps(None);
                let frames =
                    if clips.is_any() { any_raw_video() } else { frame_caps(&clips, &spec) };
                answer(caps, frames);
                true
            }
            gst::QueryViewMut::Allocation(allocation) => self.propose_allocation(allocation),
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    /// Says how many frames are held at once, so that no pool upstream runs dry.
    fn propose_allocation(&self, allocation: &mut gst::query::Allocation) -> bool {
        let Ok(spec) = lock(&self.settings).window() else { return false };
        let info = allocation.caps().map(gst_video::VideoInfo::from_caps);
        let Some(Ok(info)) = info else { return false };
        let held = spec.length() as u32 + 1;
        allocation.add_allocation_pool(None::<&gst::BufferPool>, info.size() as u32, held, 0);
        allocation.add_allocation_meta::<gst_video::VideoMeta>(None);
        true
    }

    fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) => {
                let Ok(spec) = lock(&self.settings).window() else { return false };
                let frames = self.sinkpad.peer_query_caps(Some(&any_raw_video()));
                answer(caps, clip_caps(&frames, &spec));
                true
            }
            gst::QueryViewMut::Latency(latency) => {
                let Ok(spec) = lock(&self.settings).window() else { return false };
                let mut upstream = gst::query::Latency::new();
                if !self.sinkpad.peer_query(&mut upstream) {
                    return false;
                }
                let ours = gst::ClockTime::from_nseconds(spec.duration_ns());
                let (is_live, min, max) = upstream.result();
                latency.set(
                    is_live,
                    min.saturating_add(ours),
                    max.map(|max| max.saturating_add(ours)),
                );
                true
            }
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }

    fn start(&self) -> Result<(), gst::StateChangeError> {
        FootageClipMeta::register();
        let settings = *lock(&self.settings);
        let stream = Stream::new(&settings).map_err(|error| {
            gst::element_imp_error!(self, gst::LibraryError::Settings, ["{error}"]);
            gst::StateChangeError
        })?;
        for count in [&self.frames_in, &self.frames_sampled, &self.clips_out] {
            count.store(0, Ordering::Relaxed);
        }
        *lock(&self.stream) = Some(stream);
        Ok(())
    }
}

fn answer(query: &mut gst::query::Caps, caps: gst::Caps) {
    let caps = match query.filter() {
        Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
        None => caps,
    };
    query.set_result(&caps);
}

#[glib::object_subclass]
impl ObjectSubclass for FootageClip {
    const NAME: &'static str = "GstFootageClip";
    type Type = super::FootageClip;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| klass.pad_template(name).expect("both templates are declared below");
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_pad, parent, frame| {
                let failed = || Err(gst::FlowError::Error);
                Self::catch_panic_pad_function(parent, failed, |imp| imp.chain(frame))
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.sink_query(pad, query))
            })
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.src_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |imp| imp.src_query(pad, query))
            })
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            stream: Mutex::default(),
            frames_in: AtomicU64::default(),
            frames_sampled: AtomicU64::default(),
            clips_out: AtomicU64::default(),
        }
    }
}

impl ObjectImpl for FootageClip {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let count = |name, nick, blurb| {
                glib::ParamSpecUInt64::builder(name).nick(nick).blurb(blurb).read_only().build()
            };
            let mut all = Settings::properties();
            all.extend([
                count(
                    "frames-in",
                    "Frames in",
                    "Frames that came in since the element was started",
                ),
                count("frames-sampled", "Frames sampled", "Frames taken into clips since then"),
                count("clips-out", "Clips out", "Clips pushed since the element was started"),
            ]);
            all
        });
        &PROPERTIES
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        lock(&self.settings).set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "frames-in" => self.frames_in.load(Ordering::Relaxed).to_value(),
            "frames-sampled" => self.frames_sampled.load(Ordering::Relaxed).to_value(),
            "clips-out" => self.clips_out.load(Ordering::Relaxed).to_value(),
            setting => lock(&self.settings).get(setting).expect("a property declared above"),
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

impl GstObjectImpl for FootageClip {}

impl ElementImpl for FootageClip {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Footage clips",
                "Filter/Video",
                "Cuts raw video into overlapping clips that share their frames",
                "The Footage contributors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let template = |name, direction, caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                    .expect("a pad template of valid caps")
            };
            vec![
                template("sink", gst::PadDirection::Sink, any_raw_video()),
                template("src", gst::PadDirection::Src, any_clips()),
            ]
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
