//! A fragment while it is written.
//!
//! ```text
//! appsrc ! parser ! capsfilter ! [timestamper] ! mp4mux | matroskamux ! fdsink
//! ```
//!
//! A graph of its own for each fragment: what goes wrong in it reaches neither the camera's graph nor
//! the next fragment. The file is opened here, never over another one, and locked while it is written.

use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use footage_clip::{Container, FragmentName};
use fs_err as fs;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use gst::prelude::*;

use super::RecordingError;
use super::format::Format;
use super::plan::Timed;
use crate::decode::container;

/// A crash loses no more than this of what was given to the muxer.
const FLUSHED_EVERY: Duration = Duration::from_secs(1);

/// Units of an MP4 file's time in a second. Finer than 90 kHz, since a camera's media time is in
/// nanoseconds; and 32 bits still hold over an hour between two pictures.
const TIMESCALE: u32 = 1_000_000;

/// Matroska counts 16 bits of these within a cluster: 3 s of tenths of a millisecond.
const MATROSKA_UNIT_NS: i64 = 100_000;

/// Where the time of an MP4 file begins, for the muxer: pictures may have to be decoded before it.
const ORIGIN: gst::ClockTime = gst::ClockTime::from_seconds(3600);

/// Bytes that may wait inside the graph.
const INSIDE: u64 = 1 << 20;

/// A disk that takes nothing for so long is given up for this fragment.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long to wait before looking again.
const TICK: Duration = Duration::from_millis(5);

/// A fragment that is being written.
pub(super) struct FragmentFile {
    pub(super) name: FragmentName,
    path: PathBuf,
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    pictures: u64,
    /// Media time at which what was written ends.
    reaches_ns: u64,
    /// Its lock tells that it is being written; its descriptor is the sink's.
    _file: fs::File,
}

impl FragmentFile {
    /// Makes the file in `dir`. Where the stream does not tell when pictures are to be decoded
    /// (`is_untimed`), that is worked out.
    pub(super) fn create(
        dir: &Path,
        name: FragmentName,
        format: &Format,
        is_untimed: bool,
    ) -> Result<Self, RecordingError> {
        let path = dir.join(name.to_string());
        let unwritable = |error: io::Error| of_io(&error, dir);
        fs::create_dir_all(dir).map_err(unwritable)?;
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o640)
            .open(&path)
            .map_err(unwritable)?;
        if let Err(error) = file.file().lock() {
            tracing::debug!(%error, path = %path.display(), "no locks on this disk");
        }
        let made = graph(format, is_untimed, file.as_raw_fd());
        let started = made.and_then(|(pipeline, source)| {
            let awake = pipeline.set_state(gst::State::Playing);
            awake.map_err(|error| RecordingError::Unmuxable(error.to_string()))?;
            Ok((pipeline, source))
        });
        match started {
            Ok((pipeline, source)) => Ok(Self {
                name,
                path,
                pipeline,
                source,
                pictures: 0,
                reaches_ns: name.begins_ns,
                _file: file,
            }),
            Err(error) => {
                discard(&path);
                Err(error)
            }
        }
    }

    /// Writes the next picture; its time is the camera's.
    pub(super) fn push(&mut self, picture: Timed<gst::Buffer>) -> Result<(), RecordingError> {
        // Matroska tells only when pictures are shown, and how long its file is by this time.
        let origin = match self.name.container {
            Container::Mp4 => ORIGIN,
            Container::Matroska => gst::ClockTime::ZERO,
        };
        let shown = origin
            + gst::ClockTime::from_nseconds(picture.time_ns.saturating_sub(self.name.begins_ns));
        let shown = shown.saturating_sub(gst::ClockTime::from_nseconds(
            self.name.begins_ns.saturating_sub(picture.time_ns),
        ));
        let decoded =
            picture.lead_ns.map(|lead| shown.saturating_sub(gst::ClockTime::from_nseconds(lead)));
        let ends_ns = picture.end_ns();
        let mut buffer = picture.payload;
        let fields = buffer.make_mut();
        fields.set_pts(shown);
        fields.set_dts(decoded);
        self.wait_for_room()?;
        match self.source.push_buffer(buffer) {
            Ok(_) => {
                self.pictures += 1;
                self.reaches_ns = self.reaches_ns.max(ends_ns);
                self.check()
            }
            Err(flow) => Err(self.failure().unwrap_or_else(|| {
                RecordingError::Unmuxable(format!("the muxer takes no more ({flow:?})"))
            })),
        }
    }

    /// Pictures written.
    pub(super) fn pictures(&self) -> u64 {
        self.pictures
    }

    /// Media time at which they end.
    pub(super) fn reaches_ns(&self) -> u64 {
        self.reaches_ns
    }

    fn wait_for_room(&self) -> Result<(), RecordingError> {
        let until = Instant::now() + PATIENCE;
        while self.source.current_level_bytes() > INSIDE {
            self.check()?;
            if Instant::now() > until {
                return Err(RecordingError::Slow(self.path.clone()));
            }
            thread::sleep(TICK);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), RecordingError> {
        self.failure().map_or(Ok(()), Err)
    }

    /// What went wrong in the graph, if anything did.
    fn failure(&self) -> Option<RecordingError> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        Some(self.of_message(&message))
    }

    fn of_message(&self, message: &gst::Message) -> RecordingError {
        let gst::MessageView::Error(error) = message.view() else {
            return RecordingError::Unmuxable("unknown".into());
        };
        let (error, detail) = (error.error(), error.debug());
        tracing::debug!(path = %self.path.display(), %error, ?detail, "fragment failed");
        match error.kind::<gst::ResourceError>() {
            Some(gst::ResourceError::NoSpaceLeft) => RecordingError::Full(self.path.clone()),
            Some(_) => RecordingError::Unwritable(format!("{}: {error}", self.path.display())),
            None => RecordingError::Unmuxable(error.to_string()),
        }
    }

    /// Writes what is left.
    pub(super) fn finish(&self) -> Result<(), RecordingError> {
        let ended = self.source.end_of_stream();
        let message = self.pipeline.bus().filter(|_| ended.is_ok()).and_then(|bus| {
            let patience = gst::ClockTime::from_mseconds(PATIENCE.as_millis() as u64);
            let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
            bus.timed_pop_filtered(patience, &kinds)
        });
        match message {
            Some(message) if message.type_() == gst::MessageType::Eos => Ok(()),
            Some(message) => Err(self.of_message(&message)),
            None => Err(RecordingError::Slow(self.path.clone())),
        }
    }

    /// Whether a player finds pictures in the file as it is.
    pub(super) fn holds_footage(&self) -> bool {
        match (self.name.container, container::outside_of(&self.path)) {
            (Container::Mp4, Ok(outside)) => outside.mp4.is_some_and(|mp4| mp4.has_content),
            (Container::Matroska, Ok(_)) => self.pictures > 0,
            (_, Err(_)) => false,
        }
    }

    /// Removes the file: nothing came of it.
    pub(super) fn discard(self) {
        discard(&self.path);
    }
}

impl Drop for FragmentFile {
    fn drop(&mut self) {
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::debug!(path = %self.path.display(), "its graph does not stop");
        }
    }
}

fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::debug!(%error, "an empty fragment stays");
    }
}

fn of_io(error: &io::Error, dir: &Path) -> RecordingError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            RecordingError::Full(dir.to_owned())
        }
        _ => RecordingError::Unwritable(error.to_string()),
    }
}

fn graph(
    format: &Format,
    is_untimed: bool,
    descriptor: i32,
) -> Result<(gst::Pipeline, gst_app::AppSrc), RecordingError> {
    let source = gst_app::AppSrc::builder()
        .caps(&format.caps)
        .format(gst::Format::Time)
        .block(false)
        .max_bytes(INSIDE)
        .build();
    let sink = make("fdsink")?;
    sink.set_property("fd", descriptor);
    // Written when it comes: nothing here waits for a clock.
    sink.set_property("sync", false);
    let adapters = &format.adapters;
    let parsed = make("capsfilter")?;
    parsed.set_property_from_str("caps", adapters.parsed);
    let mut chain = vec![source.clone().upcast(), make(adapters.parser)?, parsed];
    if let Some(timestamper) = adapters.timestamper.filter(|_| is_untimed) {
        chain.push(make(timestamper)?);
    }
    chain.extend([muxer(format.container)?, sink]);
    let pipeline = gst::Pipeline::new();
    let linked = pipeline.add_many(&chain).and_then(|()| gst::Element::link_many(&chain));
    linked.map_err(|error| RecordingError::Unmuxable(error.to_string()))?;
    Ok((pipeline, source))
}

fn muxer(container: Container) -> Result<gst::Element, RecordingError> {
    match container {
        Container::Mp4 => {
            let muxer = make("mp4mux")?;
            muxer.set_property("fragment-duration", FLUSHED_EVERY.as_millis() as u32);
            muxer.set_property("trak-timescale", TIMESCALE);
            Ok(muxer)
        }
        Container::Matroska => {
            let muxer = make("matroskamux")?;
            let flushed_ns = FLUSHED_EVERY.as_nanos() as i64;
            muxer.set_property("timecodescale", MATROSKA_UNIT_NS);
            muxer.set_property("min-cluster-duration", flushed_ns);
            muxer.set_property("max-cluster-duration", flushed_ns);
            Ok(muxer)
        }
    }
}

fn make(name: &'static str) -> Result<gst::Element, RecordingError> {
    gst::ElementFactory::make(name).build().map_err(|_| RecordingError::MissingElement {
        element: name,
        package: match name {
            "mp4mux" | "matroskamux" => "gstreamer1.0-plugins-good",
            "fdsink" | "identity" | "capsfilter" => "libgstreamer1.0-0",
            _ => "gstreamer1.0-plugins-bad",
        },
    })
}
