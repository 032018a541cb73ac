//! One connection to a camera, from its first to its last picture.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use footage_clip::{MediaRef, RgbFrame, RunCause, Span, TimedFrame};
use gstfootage::FootageClipMeta;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::clock::LiveClock;
use super::entrance::end_clips;
use super::graph::Graph;
use super::kept::Kept;
use super::shared::{Begun, Clocks, Shared};
use super::source::Carrier;
use super::watchdog::Vitals;
use super::{Camera, LiveError, LiveSettings};
use crate::decode::lifetime;
use crate::decode::pixels::pixels;
use crate::lock;

/// What was begun when a camera fell silent is cut within this time, or not at all.
const CUT: Duration = Duration::from_secs(2);

/// What a connection gives, in order of time.
#[derive(Debug)]
pub(super) enum Seen {
    Run(Begun),
    Clip(LiveClip),
}

/// A clip with its place on the axis and its wall-clock time.
#[derive(Debug)]
pub(super) struct LiveClip {
    pub(super) span: Span,
    pub(super) frames: Vec<TimedFrame<RgbFrame>>,
    /// Frames at its end that only repeat the last one.
    pub(super) padded: usize,
    /// Where its footage is kept.
    pub(super) media: Option<MediaRef>,
}

/// How a connection is to be made.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) camera: Camera,
    pub(super) carrier: Carrier,
    pub(super) settings: LiveSettings,
    pub(super) clocks: Arc<dyn Clocks>,
    /// End of what is covered on the axis.
    pub(super) floor_ns: u64,
    /// Why the first run begins.
    pub(super) cause: RunCause,
}

pub(super) struct Session {
    graph: Graph,
    shared: Arc<Shared>,
    /// Frames of the last clip: the next one has most of them too.
    frames: Vec<TimedFrame<RgbFrame>>,
    /// A clip that waits behind the run that begins with it.
    waiting: Option<LiveClip>,
}

impl Session {
    /// Builds the graph and starts it. What it meets on the way is told by [`Self::failure`].
    pub(super) async fn open(opening: Opening) -> Result<Self, LiveError> {
        let built = spawn_blocking(move || {
            lifetime::quieten();
            gstfootage::register_static().map_err(|error| LiveError::Broken(error.to_string()))?;
            let Opening { camera, carrier, settings, clocks, floor_ns, cause } = opening;
            let clock = LiveClock::new(settings.clock(&camera), floor_ns, cause);
            let shared = Arc::new(Shared::new(clock, clocks));
            let graph = Graph::build(&camera, carrier, &settings, &shared)?;
            lifetime::start(graph.pipeline.clone(), graph.stopping())?;
            Ok(Self { graph, shared, frames: Vec::new(), waiting: None })
        });
        built.await.map_err(|error| LiveError::Broken(error.to_string()))?
    }

    /// Resolves when there may be something to take, or to worry about.
    pub(super) async fn changed(&self) {
        self.shared.changed.notified().await;
    }

    pub(super) fn vitals(&self) -> Vitals {
        let Vitals { received, pictures } = self.shared.vitals();
        // What is left out on purpose is no sign of a decoder that hangs.
        let left_out = self.graph.kept.decoded().map_or(0, |used| used.left_out);
        Vitals { received, pictures: pictures + left_out }
    }

    /// Pictures that came out of the decoder.
    pub(super) fn pictures(&self) -> u64 {
        self.shared.vitals().pictures
    }

    /// What accompanies it.
    pub(super) fn kept(&self) -> &Kept {
        &self.graph.kept
    }

    pub(super) fn failure(&self) -> Option<LiveError> {
        self.shared.failure()
    }

    /// What is there to be taken, without waiting.
    pub(super) fn take(&mut self) -> Option<Seen> {
        // Whatever was cut before this run began is in the sink by now.
        let begun = self.shared.next_begun();
        if self.waiting.is_none() {
            self.waiting = self.next_clip();
        }
        let is_due = |begun: &Begun| {
            self.waiting.as_ref().is_none_or(|clip| begun.run.start_ns <= clip.span.start_ns)
        };
        if let Some(begun) = begun.filter(is_due) {
            self.shared.take_begun();
            return Some(Seen::Run(begun));
        }
        self.waiting.take().map(Seen::Clip)
    }

    fn next_clip(&mut self) -> Option<LiveClip> {
        loop {
            let sample = self.graph.clips.try_pull_sample(gst::ClockTime::ZERO)?;
            match self.clip(&sample) {
                Ok(clip) => return Some(clip),
                Err(error) => self.shared.fail(LiveError::Broken(error)),
            }
        }
    }

    fn clip(&mut self, sample: &gst::Sample) -> Result<LiveClip, String> {
        let meta = sample
            .buffer()
            .and_then(FootageClipMeta::of)
            .ok_or_else(|| "a buffer that is no clip".to_owned())?;
        let info = meta.video_info().map_err(|error| error.to_string())?;
        let mut frames: Vec<TimedFrame<RgbFrame>> = Vec::with_capacity(meta.frames().len());
        for frame in meta.frames() {
            let known = frames
                .iter()
                .rev()
                .chain(&self.frames)
                .find(|known| known.time_ns == frame.time_ns);
            let pixels = match known {
                Some(known) => known.frame.clone(),
                None => pixels(&frame.buffer, &info).map_err(|error| error.to_string())?,
            };
            frames.push(TimedFrame { slot: frame.slot, time_ns: frame.time_ns, frame: pixels });
        }
        self.frames.clone_from(&frames);
        let utc = Some(lock(&self.shared.clock).utc_of(meta.span().start_ns));
        let media = self.graph.kept.media_of(&meta.span());
        Ok(LiveClip { span: Span { utc, ..meta.span() }, frames, padded: meta.padded(), media })
    }

    /// The camera fell silent: what was begun is cut, and the next picture begins a run.
    pub(super) async fn interrupt(&self) {
        lock(&self.shared.clock).end_run(RunCause::Resumed);
        self.cut().await;
    }

    /// The camera is left: what was begun is cut, and nothing comes after it.
    pub(super) async fn end(&self) {
        lock(&self.shared.clock).close();
        self.cut().await;
    }

    async fn cut(&self) {
        let entry = self.graph.entry.clone();
        let (cut, waiting) = tokio::sync::oneshot::channel();
        // A thread of its own: an element that hangs holds the lock that this waits for.
        let spawned = thread::Builder::new().name("footage-cut".into()).spawn(move || {
            end_clips(&entry);
            // Who waited may have given up.
            cut.send(()).unwrap_or_default();
        });
        if spawned.is_err() || timeout(CUT, waiting).await.is_err() {
            tracing::debug!("a graph does not give up what it holds");
        }
    }

    /// Ends the connection, and drops `held` once it has ended. Returns whether it did so in time.
    pub(super) async fn close(self, held: impl Send + 'static) -> bool {
        let graph = self.graph;
        let (stopped, waiting) = tokio::sync::oneshot::channel();
        // Nobody has to wait for this thread: not the runtime either, when the program ends.
        let spawned = thread::Builder::new()
            .name("footage-close".into())
            .spawn(move || stopped.send(graph.stop(held)).ok());
        spawned.is_ok() && waiting.await.unwrap_or(false)
    }
}
