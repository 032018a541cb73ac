//! A plain `GStreamer` client of an RTSP camera, none of whose code is ours.

use std::path::Path;
use std::time::{Duration, Instant};

use gst::prelude::*;

/// Where to look, and how.
#[derive(Debug, Clone, Default)]
pub(crate) struct Look<'a> {
    pub(crate) url: String,
    /// `tcp` or `udp`.
    pub(crate) transport: &'a str,
    pub(crate) credentials: Option<(&'a str, &'a str)>,
    /// The authority to trust, in PEM.
    pub(crate) ca: Option<&'a Path>,
}

/// How a stream ended.
#[derive(Debug)]
pub(crate) enum End {
    Eos,
    /// What `GStreamer` said, with its debug information.
    Error(String),
}

/// What a decoded picture is judged by.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) size: (i32, i32),
    pub(crate) luma: Vec<u8>,
}

pub(crate) struct Viewer {
    pipeline: gst::Pipeline,
    sink: gst_app::AppSink,
}

impl Viewer {
    /// Decodes what the camera shows.
    pub(crate) fn pictures(look: &Look) -> Self {
        Self::start(look, "decodebin name=first ! videoconvert ! video/x-raw,format=I420")
    }

    /// Takes RTP packets as they leave the jitter buffer, with the camera's own time where a sender
    /// report has told it.
    pub(crate) fn packets(look: &Look) -> Self {
        Self::start(look, "identity name=first")
    }

    fn start(look: &Look, chain: &str) -> Self {
        gst::init().unwrap();
        let description = format!(
            "rtspsrc name=camera latency=200 add-reference-timestamp-meta=true \
             {chain} ! appsink name=sink sync=false wait-on-eos=false"
        );
        let pipeline = gst::parse::launch(&description).unwrap();
        let pipeline: gst::Pipeline = pipeline.downcast().unwrap();
        let camera = pipeline.by_name("camera").unwrap();
        camera.set_property("location", &look.url);
        camera.set_property_from_str("protocols", look.transport);
        if let Some((user, password)) = look.credentials {
            camera.set_property("user-id", user);
            camera.set_property("user-pw", password);
        }
        if let Some(ca) = look.ca {
            camera.set_property("tls-database", gio::TlsFileDatabase::new(ca).unwrap());
        }
        let first = pipeline.by_name("first").unwrap();
        camera.connect_pad_added(move |_, pad| {
            pad.link(&first.static_pad("sink").unwrap()).unwrap();
        });
        let sink = pipeline.by_name("sink").and_downcast().unwrap();
        // A failure to start is told by the bus.
        pipeline.set_state(gst::State::Playing).ok();
        Self { pipeline, sink }
    }

    /// The next buffer, if one comes in time.
    pub(crate) fn next(&self, patience: Duration) -> Option<gst::Sample> {
        self.sink.try_pull_sample(gst::ClockTime::try_from(patience).unwrap())
    }

    /// The next decoded picture.
    pub(crate) fn picture(&self, patience: Duration) -> Option<Picture> {
        let sample = self.next(patience)?;
        let caps = sample.caps()?.structure(0)?.to_owned();
        let (width, height): (i32, i32) = (caps.get("width").ok()?, caps.get("height").ok()?);
        let bytes = sample.buffer()?.map_readable().ok()?;
        let luma = bytes.get(..(width * height) as usize)?.to_vec();
        Some(Picture { size: (width, height), luma })
    }

    /// Everything that comes within a time.
    pub(crate) fn during(&self, time: Duration) -> Vec<gst::Sample> {
        let start = Instant::now();
        let mut samples = Vec::new();
        while let Some(left) = time.checked_sub(start.elapsed()) {
            samples.extend(self.next(left));
        }
        samples
    }

    /// How the stream ends, if it does in time.
    pub(crate) fn end(&self, patience: Duration) -> Option<End> {
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let bus = self.pipeline.bus().unwrap();
        let message =
            bus.timed_pop_filtered(gst::ClockTime::try_from(patience).unwrap(), &kinds)?;
        Some(match message.view() {
            gst::MessageView::Error(error) => {
                End::Error(format!("{} {}", error.error(), error.debug().unwrap_or_default()))
            }
            _ => End::Eos,
        })
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).ok();
    }
}
