//! A camera's footage, kept as it arrives.
//!
//! ```text
//! parser's pad -> Tap: place on the axis, cut -> Queue, bounded -> writer -> <begins_ns>.mp4
//! ```
//!
//! A [`Recorder`] only looks at the compressed pictures that pass a pad. It adds no element, answers
//! no query, and never waits, so that nothing that goes wrong with recording can hold up or end what
//! the pictures are on their way to. A disk that is slow or full costs whole groups of pictures, up to
//! a keyframe, from which a new fragment begins.
//!
//! A fragment is a file of its own, fragmented inside once more, every second: killed at any moment,
//! it can be played up to there. Its name is the media time of its first picture, and the time within
//! it is media time less that: [`Fragments`] finds footage by names alone.

mod course;
mod error;
mod file;
mod format;
mod fragments;
mod plan;
mod queue;
mod read;
mod settings;
mod tap;
mod writer;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use footage_clip::{MediaRef, Span};
use gst::prelude::*;

use crate::lock;
use course::Course;
use queue::Queue;
use tap::Tap;

pub use course::RecordingUse;
pub use error::RecordingError;
pub use fragments::{Fragment, Fragments};
pub use read::SpanReader;
pub use settings::{RecordingSettings, RecordingSpec, footage_dir};

/// Media time of a running time of the camera's graph, in nanoseconds; none while it is not known yet
/// to which run the picture belongs.
///
/// Pictures wait two seconds for an answer. One is also wanted for pictures of which no clip is made,
/// such as those before the covered end: others refer to them.
pub type Axis = Arc<dyn Fn(gst::ClockTime) -> Option<u64> + Send + Sync>;

/// Records the compressed pictures that pass a pad, until it is dropped.
pub struct Recorder {
    pad: gst::Pad,
    probe: Option<gst::PadProbeId>,
    tap: Arc<Mutex<Tap>>,
    queue: Arc<Queue>,
    course: Arc<Course>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder")
            .field("dir", &self.course.dir())
            .field("used", &self.used())
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Records what passes `pad`: whole compressed pictures, as a parser or a demuxer gives them
    /// (H.264, H.265, motion JPEG, VP8, VP9). H.264 and H.265 need their parameter
    /// sets in the caps (`stream-format=avc`, `hvc1`) or before each keyframe (`config-interval=-1`).
    ///
    /// The pad's graph is not changed, and need not be stopped for this.
    pub fn attach(pad: &gst::Pad, spec: RecordingSpec, axis: Axis) -> Result<Self, RecordingError> {
        let RecordingSpec { dir, settings } = spec;
        // What cannot be read cannot be written either, by now; then the writer will tell.
        let newest_ns = Fragments::open(&dir).newest_ns().ok().flatten();
        let course = Arc::new(Course::new(dir, settings.fragment_ns()));
        let queue = Arc::new(Queue::new(settings.queue_bytes));
        let started = writer::start(queue.clone(), course.clone(), settings.min_free_bytes);
        started.map_err(|error| RecordingError::Unwritable(error.to_string()))?;
        let tap = Tap::new(&settings, newest_ns, axis, course.clone(), queue.clone());
        let tap = Arc::new(Mutex::new(tap));
        let probe = tap::watch(pad, &tap);
        Ok(Self { pad: pad.clone(), probe, tap, queue, course })
    }

    /// Where the footage of a clip begins, which may be the fragment that is being written: the one
    /// that holds the begin of its span or, where that was not recorded, the first that begins within
    /// it. None where nothing of it was kept.
    pub fn media_of(&self, span: &Span) -> Option<MediaRef> {
        self.course.media_of(span)
    }

    /// Why footage is not being kept; none while it is.
    pub fn failure(&self) -> Option<RecordingError> {
        self.course.failure()
    }

    /// What was kept so far.
    pub fn used(&self) -> RecordingUse {
        self.course.state().used
    }

    /// Stops recording and waits for the last fragment to be closed; false if that takes longer than
    /// `patience`, and goes on without us.
    pub fn finish(mut self, patience: Duration) -> bool {
        self.stop();
        self.queue.wait_until_left(patience)
    }

    fn stop(&mut self) {
        if let Some(probe) = self.probe.take() {
            self.pad.remove_probe(probe);
            lock(&self.tap).finish();
            self.queue.close();
        }
    }
}

impl Drop for Recorder {
    /// Stops recording. The last fragment is closed in the background.
    fn drop(&mut self) {
        self.stop();
        self.queue.close();
    }
}
