//! A file, read as clips.
//!
//! [`Decoder`] reads forward from the first picture, never seeks (some streams decode to garbage
//! after a seek), and gives the same clips every time. It runs in the thread that pulls and in
//! GStreamer's own; nothing of it is read ahead but a few clips.

mod autoplug;
mod container;
mod failure;
mod format;
mod graph;
mod keyframes;
mod media_clock;
mod picture_size;
mod teardown;
mod watch;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use footage_clip::{Cut, PartialClip, RgbFrame, Span, TimedFrame, WindowSpec};
use fs_err as fs;
use gst::prelude::*;
use gst_video::prelude::*;
use gstfootage::FootageClipMeta;

use crate::Cancel;
use graph::Graph;

pub use failure::DecodeError;
pub use keyframes::{DecodeMode, UnknownDecodeMode};
pub use picture_size::PictureSize;

/// How files are decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodeSettings {
    /// What of a file is decoded.
    pub mode: DecodeMode,
    /// Pictures with more pixels are refused, before memory for one is taken.
    pub max_pixels: u64,
    /// A file that gives nothing new for this long is given up.
    pub stalled_after: Duration,
    /// Longer without a picture, and the footage counts as interrupted: no clip spans it. Where only
    /// keyframes are decoded, at least half a minute.
    pub max_gap: Duration,
    /// What becomes of the frames left over at the end.
    pub partial: PartialClip,
    /// Size of the frames.
    pub picture_size: PictureSize,
}

/// Keyframes of files made for streaming lie up to ten seconds apart, rarely more.
const MIN_KEYFRAME_GAP: Duration = Duration::from_secs(30);

impl Default for DecodeSettings {
    fn default() -> Self {
        Self {
            mode: DecodeMode::default(),
            max_pixels: 8192 * 4320,
            stalled_after: Duration::from_secs(30),
            max_gap: Duration::from_secs(5),
            partial: PartialClip::default(),
            picture_size: PictureSize::Covering {
                short_side: const { NonZeroU32::new(224).unwrap() },
                long_side: const { NonZeroU32::new(320).unwrap() },
            },
        }
    }
}

impl DecodeSettings {
    /// In nanoseconds, as the elements want it.
    fn max_gap_ns(&self) -> u64 {
        let gap = match self.mode {
            DecodeMode::Keyframes => self.max_gap.max(MIN_KEYFRAME_GAP),
            DecodeMode::Auto | DecodeMode::All => self.max_gap,
        };
        u64::try_from(gap.as_nanos()).unwrap_or(u64::MAX)
    }
}

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
const TICK: Duration = Duration::from_millis(100);

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
    /// Something failed; what came before it is still to be had, until the given time.
    Draining {
        until: Instant,
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
        quieten();
        gstfootage::register_static().map_err(|error| DecodeError::Broken(error.to_string()))?;
        let unreadable = |error: std::io::Error| DecodeError::Unreadable(error.to_string());
        let length =
            fs::File::open(path).and_then(|file| file.metadata()).map_err(unreadable)?.len();
        if length == 0 {
            return Err(DecodeError::Empty);
        }
        let graph = Graph::build(path, window, settings)?;
        // Whatever else is said in there, nobody listens; unheard messages would pile up.
        if let Some(bus) = graph.pipeline.bus() {
            bus.set_sync_handler(|_, message| match message.type_() {
                gst::MessageType::Error => gst::BusSyncReply::Pass,
                _ => gst::BusSyncReply::Drop,
            });
        }
        // A failure to start is told by the bus, with its reason.
        if graph.pipeline.set_state(gst::State::Playing).is_err() {
            tracing::debug!(path = %path.display(), "graph did not start");
        }
        Ok(Self {
            path: path.to_owned(),
            graph,
            settings: settings.clone(),
            cancel: cancel.clone(),
            facts: MediaFacts::default(),
            frames: Vec::new(),
            clips_end_ns: 0,
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
        let mut progress = Progress::new(&self.graph);
        loop {
            if self.cancel.is_cancelled() || matches!(self.phase, Phase::Ended) {
                return Ok(None);
            }
            let asked = Instant::now();
            let tick = gst::ClockTime::from_mseconds(TICK.as_millis() as u64);
            if let Some(sample) = self.graph.clips.try_pull_sample(tick) {
                self.learn();
                return self.piece(&sample).map(Some);
            }
            if self.graph.clips.is_eos() || self.is_given_up(&mut progress) {
                return self.end();
            }
            // A sink that was shut down answers at once.
            thread::sleep(Duration::from_millis(5).saturating_sub(asked.elapsed()));
        }
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
        self.facts.decoded = self.graph.gate.lock().unwrap_or_else(PoisonError::into_inner).used();
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
                let is_stalled = progress.stands_still(&self.graph) > self.settings.stalled_after;
                if is_stalled {
                    self.graph.watch.fail(DecodeError::Stalled(self.settings.stalled_after));
                }
                if failed || is_stalled {
                    self.phase = Phase::Draining { until: now + DRAIN / 4, asked: false };
                }
                false
            }
            // Demuxers mostly end the stream themselves after an error; if not, we do.
            Phase::Draining { until, asked: false } => {
                if now > until {
                    self.phase = Phase::Draining { until: now + DRAIN, asked: true };
                    self.ask_to_end();
                }
                // Where no picture was even sent to a decoder there is nothing to wait for.
                self.graph.watch.steps() == 0
            }
            Phase::Draining { until, asked: true } => now > until,
            Phase::Ended => true,
        }
    }

    fn ask_to_end(&self) {
        let entry = self.graph.entry.clone();
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
            return Err(refined(failure.unwrap_or(DecodeError::NoPicture), outside));
        }
        let missing = self
            .facts
            .announced_ns
            .filter(|_| outside.is_cut_short || failure.is_some())
            .map(|announced_ns| Span::new(self.clips_end_ns, announced_ns))
            .filter(|missing| missing.duration_ns() >= MIN_MISSING_NS);
        if let Some(missing) = missing {
            self.clips_end_ns = missing.end_ns;
            return Ok(Some(Piece::Lost(missing)));
        }
        self.phase = Phase::Ended;
        failure.map_or(Ok(None), Err)
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        if !teardown::stop(self.graph.pipeline.clone()) {
            tracing::warn!(path = %self.path.display(), "its graph does not stop and is left behind");
        }
    }
}

/// Says in plain words what the outside of the file explains.
fn refined(error: DecodeError, outside: container::Outside) -> DecodeError {
    use DecodeError::{Damaged, NoPicture, NoVideo, UnknownFormat};
    let is_vague = matches!(error, Damaged(_) | NoPicture | UnknownFormat)
        || matches!(&error, NoVideo(others) if others.is_empty());
    match outside.mp4 {
        Some(mp4) if is_vague && mp4.is_encrypted => DecodeError::Encrypted,
        Some(mp4) if is_vague && mp4.is_still => DecodeError::Picture("AVIF or HEIC".into()),
        Some(mp4) if is_vague && !mp4.has_table_of_contents => DecodeError::NoTableOfContents,
        Some(mp4) if is_vague && !mp4.has_content => DecodeError::HeaderOnly,
        _ if is_vague && outside.is_cut_short => DecodeError::CutOff,
        _ => error,
    }
}

/// GStreamer's own elements complain on the standard error stream about some malformed files, as if
/// the program were at fault. Those words go to our log.
fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for domain in ["GStreamer", "GLib-GObject"] {
            gst::glib::log_set_handler(
                Some(domain),
                gst::glib::LogLevels::LEVEL_CRITICAL | gst::glib::LogLevels::LEVEL_WARNING,
                false,
                false,
                |domain, _, words| tracing::debug!(domain, "{words}"),
            );
        }
    });
}

/// Copies a frame out of its buffer, without the padding of its rows.
fn pixels(buffer: &gst::BufferRef, info: &gst_video::VideoInfo) -> Result<RgbFrame, PixelsError> {
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, info)
        .map_err(|_| PixelsError::Unmapped)?;
    let stride = frame.plane_stride()[0] as usize;
    let row = frame.width() as usize * 3;
    let data = frame.plane_data(0).map_err(|_| PixelsError::Unmapped)?;
    let packed: Vec<u8> = data
        .chunks(stride)
        .take(frame.height() as usize)
        .flat_map(|line| &line[..row.min(line.len())])
        .copied()
        .collect();
    Ok(RgbFrame::try_new(frame.width(), frame.height(), packed)?)
}

#[derive(Debug, thiserror::Error)]
enum PixelsError {
    #[error("a frame is not in plain memory")]
    Unmapped,
    #[error(transparent)]
    Size(#[from] footage_clip::FrameSizeError),
}

/// Whether a graph moves.
struct Progress {
    steps: u64,
    since: Instant,
}

impl Progress {
    fn new(graph: &Graph) -> Self {
        Self { steps: graph.watch.steps(), since: Instant::now() }
    }

    fn stands_still(&mut self, graph: &Graph) -> Duration {
        let steps = graph.watch.steps();
        if steps != self.steps {
            *self = Self { steps, since: Instant::now() };
        }
        self.since.elapsed()
    }
}
