//! The graph of one connection to a camera.
//!
//! ```text
//! rtspsrc ! depayloader ! [parser ! tee ! decoder] ! [tail]
//! urisourcebin, filesrc ! [demuxer ! parser ! tee ! decoder] ! clocksync ! [tail]
//! ```
//!
//! No queue of ours: a picture is decoded, scaled and cut in the thread that brought it. The clips'
//! sink never makes that thread wait: where clips are not taken in time, the oldest give way.

use std::sync::Arc;

use footage_clip::PartialClip;
use gst::prelude::*;

use super::entrance::{Guard, normalise};
use super::kept::Kept;
use super::mask::Mask;
use super::shared::Shared;
use super::source::{Carrier, Source, is_paced};
use super::{Camera, LiveError, LiveSettings, ns};
use crate::decode::autoplug::{Autoplug, Plan, Stopping};
use crate::decode::elements::make;
use crate::decode::lifetime;
use crate::decode::tail::Tail;

/// Clips that wait to be taken. Each holds frames that its neighbours hold too.
const CLIPS_QUEUED: u32 = 16;

/// A graph that is ready to run.
pub(super) struct Graph {
    pub(super) pipeline: gst::Pipeline,
    pub(super) clips: gst_app::AppSink,
    pub(super) entry: gst::Pad,
    pub(super) kept: Arc<Kept>,
    plug: Arc<Autoplug>,
    is_stopped: bool,
}

impl Graph {
    pub(super) fn build(
        camera: &Camera,
        carrier: Carrier,
        settings: &LiveSettings,
        shared: &Arc<Shared>,
    ) -> Result<Self, LiveError> {
        let pipeline = gst::Pipeline::new();
        // What breaks a run is decided at the entry: the cutter only cuts.
        let longest_ns = ns(gstfootage::footageclip::LONGEST_GAP);
        let later_ns = settings.max_gap_ns(camera.decode).saturating_mul(2).min(longest_ns);
        let tail = Tail::build(&pipeline, &settings.window, later_ns, PartialClip::Pad)?;
        tail.clips.set_max_buffers(CLIPS_QUEUED);
        tail.clips.set_drop(true);
        normalise(&tail, shared, settings.max_pixels, settings.picture_size);
        let out = if is_paced(camera) { paced(&pipeline, &tail)? } else { tail.entry.clone() };
        let kept = Arc::new(Kept::new(camera));
        let (guarded, decode) = (shared.clone(), camera.decode);
        let (max_pixels, max_gap_ns) = (settings.max_pixels, settings.max_silence_ns());
        let (recorded, decoded) = (kept.clone(), kept.clone());
        let plan = Plan {
            out,
            watch: shared.course.clone(),
            max_pixels,
            on_decoder: Box::new(move |sink| decoded.decode_elastically(sink)),
            on_coded: Some(Box::new(move |coded| {
                // What is recorded is all that comes, also what is not decoded.
                recorded.record(coded, &guarded);
                Guard { shared: guarded.clone(), decode, max_pixels, max_gap_ns }.stand_at(coded);
            })),
        };
        let plug = Autoplug::new(&pipeline, plan);
        Source { camera, carrier, shared: shared.clone() }.open(&pipeline, &plug)?;
        listen(&pipeline, &tail.clips, shared, camera);
        Ok(Self { pipeline, clips: tail.clips, entry: tail.entry, kept, plug, is_stopped: false })
    }

    /// Says that it is being stopped, to whoever still starts it.
    pub(super) fn stopping(&self) -> Stopping {
        self.plug.stopping()
    }

    /// Stops the graph, and drops `held` once it has stopped. Waits for that, but not for ever;
    /// returns whether it stopped.
    pub(super) fn stop(mut self, held: impl Send + 'static) -> bool {
        self.is_stopped = true;
        let has_stopped = lifetime::stop_holding(self.pipeline.clone(), self.plug.stopping(), held);
        self.kept.finish();
        has_stopped
    }
}

impl Drop for Graph {
    /// A graph that is dropped as it plays, with the task that held it, locks up.
    fn drop(&mut self) {
        if self.is_stopped {
            return;
        }
        let (pipeline, stopping) = (self.pipeline.clone(), self.plug.stopping());
        let stopper = std::thread::Builder::new().name("footage-close".into());
        if stopper.spawn(move || lifetime::stop(pipeline, stopping)).is_err() {
            tracing::warn!("no thread to stop a graph in");
        }
    }
}

/// Slows pictures down to when they are to be shown. Returns where they enter.
fn paced(pipeline: &gst::Pipeline, tail: &Tail) -> Result<gst::Pad, LiveError> {
    let broken = |error: gst::glib::BoolError| LiveError::Broken(error.to_string());
    let pace = make("clocksync")?;
    pipeline.add(&pace).map_err(broken)?;
    let pads = pace.static_pad("sink").zip(pace.static_pad("src"));
    let Some((sink, src)) = pads else { return Err(LiveError::Broken("no pace".into())) };
    src.link(&tail.entry).map_err(|error| LiveError::Broken(error.to_string()))?;
    Ok(sink)
}

/// Hears what the graph says: its first error ends the connection, and so does its end.
fn listen(
    pipeline: &gst::Pipeline,
    clips: &gst_app::AppSink,
    shared: &Arc<Shared>,
    camera: &Camera,
) {
    let mask = Mask::new(&camera.location, camera.credentials.as_ref());
    let has_credentials = camera.credentials.is_some();
    let (source_id, heard) = (camera.source_id.clone(), shared.clone());
    if let Some(bus) = pipeline.bus() {
        bus.set_sync_handler(move |_, message| {
            match message.view() {
                gst::MessageView::Error(error) => {
                    let (said, debug) = (error.error(), error.debug());
                    let debug = debug.as_deref();
                    let words = mask.hide(&format!("{said} {}", debug.unwrap_or_default()));
                    tracing::debug!(%source_id, error = words, "graph failed");
                    let failure = LiveError::of_message(&said, debug, &mask, has_credentials);
                    heard.fail(failure);
                }
                gst::MessageView::Warning(warning) => {
                    let words = mask.hide(&warning.error().to_string());
                    tracing::debug!(%source_id, warning = words, "graph warns");
                }
                _ => {}
            }
            // Nobody reads the bus: unheard messages would pile up.
            gst::BusSyncReply::Drop
        });
    }
    let (arrived, ended) = (shared.clone(), shared.clone());
    clips.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |_| {
                arrived.changed.notify_one();
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| ended.fail(LiveError::Closed))
            .build(),
    );
}
