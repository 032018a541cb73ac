//! A file, read as clips.
//!
//! [`Decoder`] reads forward from the first picture, never seeks (some streams decode to garbage
//! after a seek), and gives the same clips every time. It runs in the thread that pulls and in
//! `GStreamer`'s own; nothing of it is read ahead but a few clips.

pub(crate) mod autoplug;
pub(crate) mod container;
mod disposable;
pub(crate) mod elements;
mod entrance;
pub(crate) mod failure;
pub(crate) mod format;
mod graph;
mod keyframes;
mod lead;
pub(crate) mod lifetime;
mod media_clock;
mod picture_size;
pub(crate) mod pixels;
mod settings;
pub(crate) mod tail;
pub(crate) mod watch;

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use footage_clip::{Cut, RgbFrame, Span, TimedFrame, WindowSpec};
use gst::prelude::*;
use gstfootage::FootageClipMeta;

use crate::lock;
use crate::{Cancel, Fragment};
use entrance::Part;
use graph::Graph;
use pixels::pixels;
use watch::Progress;

pub use failure::DecodeError;
pub use keyframes::{DecodeMode, UnknownDecodeMode};
pub use picture_size::PictureSize;
pub use settings::DecodeSettings;

/// The next of a file's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A clip, exactly as long as the window says.
    Clip(Cut<RgbFrame>),
    /// The file holds, or announces, footage here that could not be decoded.
    Lost(Span),
}

/// What a file says of itself. Known from the first piece on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MediaFacts {
    /// How long it says it is. Some do not say, some are wrong.
    pub announced_ns: Option<u64>,
    /// The end of the last picture seen, in media time.
    pub seen_ns: u64,
    /// When it was recorded, by a date in it, in nanoseconds since the Unix epoch.
    pub dated_unix_ns: Option<i64>,
    /// What was decoded of it so far.
    pub decoded: DecodeMode,
}

/// How long to wait for the graph before looking around.
const TICK: Duration = Duration::from_millis(20);

/// How long to wait for it to start before looking again.
const STARTING: Duration = Duration::from_millis(1);

/// A graph that failed gives up what it holds within this time, or not at all.
const DRAIN: Duration = Duration::from_secs(2);

/// Footage missing at a file's end is worth a word from this length on.
const MIN_MISSING_NS: u64 = footage_clip::NANOS_PER_SECOND;

/// Reads one file.
pub struct Decoder {
    path: PathBuf,
    graph: Graph,
    settings: DecodeSettings,
    cancel: Cancel,
    facts: MediaFacts,
    /// Frames of the last clip: the next one has most of them too.
    frames: Vec<TimedFrame<RgbFrame>>,
    /// End of the last clip.
    clips_end_ns: u64,
    /// A clip that waits behind a lost stretch.
    waiting: Option<Cut<RgbFrame>>,
    /// Until the graph has started.
    starting: Option<thread::JoinHandle<()>>,
    phase: Phase,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder")
            .field("path", &self.path)
            .field("facts", &self.facts)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug)]
enum Phase {
    Running,
    /// Something failed; what came before it is still to be had, for a while. Later on we asked for
    /// it.
    Draining {
        since: Instant,
        asked: bool,
    },
    Ended,
}

impl Decoder {
    /// Opens a file and starts to read it.
    ///
    /// `cancel` ends the reading as if the file had ended.
    pub fn open(
        path: &Path,
        window: &WindowSpec,
        settings: &DecodeSettings,
        cancel: &Cancel,
    ) -> Result<Self, DecodeError> {
        Self::start(path, None, window, settings, cancel)
    }

    /// Opens a fragment of a camera's footage. Its clips lie in the camera's media time. Pictures
    /// shown before `from_ns` are decoded only where others refer to them, and some of them may come
    /// nevertheless.
    pub fn open_fragment(
        fragment: &Fragment,
        from_ns: u64,
        window: &WindowSpec,
        settings: &DecodeSettings,
        cancel: &Cancel,
    ) -> Result<Self, DecodeError> {
        let part = Part { begins_ns: fragment.begins_ns, from_ns };
        Self::start(&fragment.path, Some(part), window, settings, cancel)
    }

    fn start(
        path: &Path,
        part: Option<Part>,
        window: &WindowSpec,
        settings: &DecodeSettings,
        cancel: &Cancel,
    ) -> Result<Self, DecodeError> {
        lifetime::quieten();
        gstfootage::register_static().map_err(|error| DecodeError::Broken(error.to_string()))?;
        failure::check_readable(path)?;
        let graph = Graph::build(path, part, window, settings)?;
        // Whatever else is said in there, nobody listens; unheard messages would pile up.
        if let Some(bus) = graph.pipeline.bus() {
            bus.set_sync_handler(|_, message| match message.type_() {
                gst::MessageType::Error => gst::BusSyncReply::Pass,
                _ => gst::BusSyncReply::Drop,
            });
        }
        let starting = lifetime::start(graph.pipeline.clone(), graph.stopping.clone())?;
        Ok(Self {
            starting: Some(starting),
            path: path.to_owned(),
            graph,
            settings: settings.clone(),
            cancel: cancel.clone(),
            facts: MediaFacts::default(),
            frames: Vec::new(),
            clips_end_ns: part.map_or(0, |part| part.begins_ns),
            waiting: None,
            phase: Phase::Running,
        })
    }

    /// What the file says of itself.
    pub fn facts(&self) -> MediaFacts {
        self.facts
    }

    /// The next piece, in order of time; `None` once the file has ended. Waits for it.
    ///
    /// A file that breaks off gives what came before, then the error, then nothing more.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, DecodeError> {
        if let Some(clip) = self.waiting.take() {
            return Ok(Some(Piece::Clip(clip)));
        }
        let mut progress = Progress::new(&self.graph.watch);
        loop {
            if self.cancel.is_cancelled() || matches!(self.phase, Phase::Ended) {
                return Ok(None);
            }
            // A sink that has not started calls that an end.
            let has_started = self.has_started();
            if has_started {
                let tick = gst::ClockTime::from_mseconds(TICK.as_millis() as u64);
                if let Some(sample) = self.graph.clips.try_pull_sample(tick) {
                    self.learn();
                    return self.piece(&sample).map(Some);
                }
            } else {
                thread::sleep(STARTING);
            }
            if has_started && self.graph.clips.is_eos() || self.is_given_up(&mut progress) {
                return self.end();
            }
        }
    }

    fn has_started(&mut self) -> bool {
        if self.starting.as_ref().is_some_and(thread::JoinHandle::is_finished) {
            self.starting = None;
        }
        self.starting.is_none()
    }

    /// Brings the facts up to date.
    fn learn(&mut self) {
        if self.facts.announced_ns.is_none() {
            let duration = self.graph.pipeline.query_duration::<gst::ClockTime>();
            self.facts.announced_ns = duration.map(gst::ClockTime::nseconds).filter(|ns| *ns > 0);
        }
        let course = self.graph.watch.course();
        self.facts.dated_unix_ns = course.dated_unix_ns;
        self.facts.seen_ns = course.end_ns();
        drop(course);
        self.facts.decoded = lock(&self.graph.gate).used();
    }

    /// The clip, or the lost stretch before it.
    fn piece(&mut self, sample: &gst::Sample) -> Result<Piece, DecodeError> {
        let meta = sample
            .buffer()
            .and_then(FootageClipMeta::of)
            .ok_or_else(|| DecodeError::Broken("a buffer that is no clip".into()))?;
        let clip = self.clip(&meta)?;
        let before = Span::new(self.clips_end_ns, clip.span.start_ns);
        self.clips_end_ns = self.clips_end_ns.max(clip.span.end_ns);
        if meta.begins_run()
            && before.duration_ns() > 0
            && self.graph.watch.course().misses_within(before)
        {
            self.waiting = Some(clip);
            return Ok(Piece::Lost(before));
        }
        Ok(Piece::Clip(clip))
    }

    fn clip(&mut self, meta: &FootageClipMeta) -> Result<Cut<RgbFrame>, DecodeError> {
        let broken = |error: &dyn std::fmt::Display| DecodeError::Broken(error.to_string());
        let info = meta.video_info().map_err(|error| broken(&error))?;
        let mut frames: Vec<TimedFrame<RgbFrame>> = Vec::with_capacity(meta.frames().len());
        for frame in meta.frames() {
            let known = frames
                .iter()
                .rev()
                .chain(&self.frames)
                .find(|known| known.time_ns == frame.time_ns);
            let pixels = match known {
                Some(known) => known.frame.clone(),
                None => pixels(&frame.buffer, &info).map_err(|error| broken(&error))?,
            };
            frames.push(TimedFrame { slot: frame.slot, time_ns: frame.time_ns, frame: pixels });
        }
        self.frames.clone_from(&frames);
        Ok(Cut { frames, span: meta.span(), padded: meta.padded() })
    }

    /// While nothing comes: has something failed, is anything still moving? True once there is no
    /// more to be had.
    fn is_given_up(&mut self, progress: &mut Progress) -> bool {
        let now = Instant::now();
        match self.phase {
            Phase::Running => {
                let failed = self.failure().is_some();
                let patience = self.settings.stalled_after;
                let is_stalled = progress.stands_still(&self.graph.watch) > patience;
                if is_stalled {
                    self.graph.watch.fail(DecodeError::Stalled(patience));
                }
                if failed || is_stalled {
                    self.phase = Phase::Draining { since: now, asked: false };
                }
                false
            }
            // Demuxers mostly end the stream themselves after an error; if not, we do. Where no picture
            // was sent to a decoder by then, there is nothing to wait for.
            Phase::Draining { since, asked: false } => {
                let is_empty = self.graph.watch.steps() == 0;
                if !is_empty && now > since + DRAIN / 4 {
                    self.phase = Phase::Draining { since: now, asked: true };
                    self.ask_to_end();
                }
                let has_streams = self.graph.watch.course().has_streams;
                is_empty && (!has_streams || now > since + DRAIN / 10)
            }
            Phase::Draining { since, asked: true } => now > since + DRAIN,
            Phase::Ended => true,
        }
    }

    fn ask_to_end(&self) {
        let decoder = self.graph.watch.course().decoder.upgrade();
        let entry = decoder.unwrap_or_else(|| self.graph.entry.clone());
        // A thread of its own: a decoder that is stuck holds the lock that this waits for.
        let spawned = thread::Builder::new()
            .name("footage-drain".into())
            .spawn(move || entry.send_event(gst::event::Eos::new()));
        drop(spawned);
    }

    /// What went wrong, if anything did: the first reason is the true one.
    fn failure(&self) -> Option<DecodeError> {
        let watch = &self.graph.watch;
        let message =
            self.graph.pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
        if let Some(gst::MessageView::Error(error)) = message.as_ref().map(|m| m.view()) {
            tracing::debug!(path = %self.path.display(), error = %error.error(), debug = ?error.debug(), "graph failed");
            watch.fail(failure::of_message(&error.error()));
        }
        watch.failure()
    }

    /// The file has ended, or is given up: what is missing of it, then why, then nothing.
    fn end(&mut self) -> Result<Option<Piece>, DecodeError> {
        self.learn();
        let failure = self.failure();
        let outside = container::outside_of(&self.path).unwrap_or_default();
        if self.facts.seen_ns == 0 {
            self.phase = Phase::Ended;
            return Err(failure::refined(failure.unwrap_or(DecodeError::NoPicture), outside));
        }
        let is_expected = failure.is_some() || outside.is_cut_short || self.ends_early(outside);
        let missing = self
            .facts
            .announced_ns
            .filter(|_| is_expected)
            .map(|announced_ns| Span::new(self.clips_end_ns, announced_ns))
            .filter(|missing| missing.duration_ns() >= MIN_MISSING_NS);
        if let Some(missing) = missing {
            self.clips_end_ns = missing.end_ns;
            self.graph.watch.fail(DecodeError::CutShort(missing.duration_ns()));
            return Ok(Some(Piece::Lost(missing)));
        }
        self.phase = Phase::Ended;
        failure.map_or(Ok(None), Err)
    }

    /// Whether the video ended well before the duration that the file tells, with no sound to explain
    /// a longer one: what follows could not be read.
    fn ends_early(&self, outside: container::Outside) -> bool {
        let has_others = !self.graph.watch.course().others.is_empty();
        let announced_ns = self.facts.announced_ns.unwrap_or(0);
        let missing_ns = announced_ns.saturating_sub(self.facts.seen_ns);
        outside.tells_duration && !has_others && missing_ns > MIN_MISSING_NS.max(announced_ns / 10)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let (pipeline, stopping) = (self.graph.pipeline.clone(), self.graph.stopping.clone());
        if !lifetime::stop(pipeline, stopping) {
            tracing::warn!(path = %self.path.display(), "its graph does not stop and is left behind");
        }
    }
}
