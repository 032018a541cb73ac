//! An element under test: push frames and events, read what came out as a story.

use std::sync::{Arc, Mutex};

use gst::prelude::*;
use gst_check::Harness;
use gstfootage::FootageClipMeta;

pub(crate) const SMALL: &str = "video/x-raw,format=RGB,width=4,height=2,framerate=10/1";
pub(crate) const LARGE: &str = "video/x-raw,format=RGB,width=8,height=2,framerate=10/1";

type Item = Result<gst::Buffer, gst::Event>;

pub(crate) struct Rig {
    pub(crate) harness: Harness,
    pub(crate) element: gst::Element,
    came_out: Arc<Mutex<Vec<Item>>>,
    bus: gst::Bus,
}

/// Counts how many of its frames are still held.
pub(crate) type Held = Arc<()>;

struct Pixels {
    bytes: [u8; 24],
    _held: Held,
}

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Rig {
    /// The element or elements of a line such as `footageclip length=4`, started, that has had its caps and a
    /// segment from 0.
    pub(crate) fn new(line: &str) -> Self {
        let mut rig = Self::without_caps(line);
        rig.harness.set_src_caps_str(SMALL);
        rig
    }

    pub(crate) fn without_caps(line: &str) -> Self {
        gstfootage::register_static().unwrap();
        let element = if line.contains('!') {
            gst::parse::bin_from_description(line, true).unwrap().upcast()
        } else {
            gst::parse::launch(line).unwrap()
        };
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let came_out = Arc::<Mutex<Vec<Item>>>::default();
        let mut harness = Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_drop_buffers(true);
        let seen = came_out.clone();
        let kinds = gst::PadProbeType::BUFFER
            | gst::PadProbeType::EVENT_DOWNSTREAM
            | gst::PadProbeType::EVENT_FLUSH;
        element.static_pad("src").unwrap().add_probe(kinds, move |_pad, info| {
            let item = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => Ok(buffer.clone()),
                Some(gst::PadProbeData::Event(event)) => Err(event.clone()),
                _ => return gst::PadProbeReturn::Ok,
            };
            seen.lock().unwrap().push(item);
            gst::PadProbeReturn::Ok
        });
        harness.play();
        Self { harness, element, came_out, bus }
    }

    /// Pushes a frame of 0.1 s that is shown from `second` on.
    pub(crate) fn frame(&mut self, second: f64) {
        self.push(frame(Some(second))).unwrap();
    }

    pub(crate) fn frames(&mut self, seconds: impl IntoIterator<Item = u32>) {
        for second in seconds {
            self.frame(f64::from(second));
        }
    }

    pub(crate) fn push(&mut self, frame: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.harness.push(frame)
    }

    pub(crate) fn event(&mut self, event: gst::Event) {
        assert!(self.harness.push_event(event));
    }

    pub(crate) fn segment(&mut self, start: f64, stop: Option<f64>, time: Option<f64>) {
        self.event(gst::event::Segment::new(&segment(start, stop, time)));
    }

    pub(crate) fn eos(&mut self) {
        self.event(gst::event::Eos::new());
    }

    pub(crate) fn buffers(&self) -> Vec<gst::Buffer> {
        self.came_out.lock().unwrap().iter().filter_map(|item| item.clone().ok()).collect()
    }

    pub(crate) fn clips(&self) -> Vec<FootageClipMeta> {
        self.buffers().iter().map(|clip| FootageClipMeta::of(clip).unwrap()).collect()
    }

    /// The seconds at which the frames that came out are shown.
    pub(crate) fn seconds(&self) -> Vec<f64> {
        self.buffers().iter().map(|frame| seconds_of(frame.pts().unwrap().nseconds())).collect()
    }

    /// What came out, in order. A clip is told by the seconds of its frames; `run` instead of `clip`
    /// says that it begins one, `+n` that n frames more are padding.
    pub(crate) fn story(&self) -> Vec<String> {
        self.came_out.lock().unwrap().iter().map(tell).collect()
    }

    /// Of the story, the clips.
    pub(crate) fn clip_story(&self) -> Vec<String> {
        let is_clip = |line: &String| line.starts_with("clip") || line.starts_with("run");
        self.story().into_iter().filter(is_clip).collect()
    }

    /// The error that the element posted.
    pub(crate) fn error(&self) -> Option<String> {
        let message = self.bus.pop_filtered(&[gst::MessageType::Error])?;
        let gst::MessageView::Error(error) = message.view() else { return None };
        Some(error.debug().map_or_else(|| error.error().to_string(), |debug| debug.to_string()))
    }

    pub(crate) fn restart(&mut self) {
        self.element.set_state(gst::State::Ready).unwrap();
        self.element.set_state(gst::State::Playing).unwrap();
    }
}

pub(crate) fn frame(second: Option<f64>) -> gst::Buffer {
    held_frame(second, &Held::default())
}

pub(crate) fn held_frame(second: Option<f64>, held: &Held) -> gst::Buffer {
    let mut frame = gst::Buffer::from_slice(Pixels { bytes: [0; 24], _held: held.clone() });
    let fields = frame.make_mut();
    fields.set_pts(second.map(clock_time));
    fields.set_duration(gst::ClockTime::from_mseconds(100));
    frame
}

pub(crate) fn clock_time(second: f64) -> gst::ClockTime {
    gst::ClockTime::from_nseconds((second * 1e9).round() as u64)
}

pub(crate) fn seconds_of(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

pub(crate) fn segment(
    start: f64,
    stop: Option<f64>,
    time: Option<f64>,
) -> gst::FormattedSegment<gst::ClockTime> {
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(clock_time(start));
    segment.set_stop(stop.map(clock_time));
    segment.set_time(time.map(clock_time));
    segment
}

fn tell(item: &Item) -> String {
    match item {
        Ok(buffer) => match FootageClipMeta::of(buffer) {
            Some(clip) => tell_clip(&clip),
            None => format!("frame {}", seconds_of(buffer.pts().unwrap().nseconds())),
        },
        Err(event) => match event.view() {
            gst::EventView::Caps(caps) => {
                let width: i32 = caps.caps().structure(0).unwrap().get("width").unwrap();
                format!("caps of width {width}")
            }
            _ => event.type_().to_string(),
        },
    }
}

fn tell_clip(clip: &FootageClipMeta) -> String {
    let mut told = vec![String::from(if clip.begins_run() { "run" } else { "clip" })];
    let seen = clip.frames().take(clip.frames().len() - clip.padded());
    told.extend(seen.map(|frame| seconds_of(frame.time_ns).to_string()));
    if clip.padded() > 0 {
        told.push(format!("+{}", clip.padded()));
    }
    told.join(" ")
}
