//! Plays a reel into a media's pipeline, at its own pace, until the media ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use gst::ClockTime;
use gst::glib::WeakRef;
use gst::prelude::*;

use crate::camera::Camera;
use crate::mount::Codec;
use crate::reel::Reel;

/// The longest nap: how soon a command is noticed.
const NAP: Duration = Duration::from_millis(10);

/// One media's feed. A new one starts whenever clients come to a camera that had none.
pub(crate) struct Playout {
    pub(crate) camera: Arc<Camera>,
    /// What the media was made for.
    pub(crate) codec: Codec,
    pub(crate) source: WeakRef<gst_app::AppSrc>,
    pub(crate) ended: Arc<AtomicBool>,
}

/// Where in the reel a feed is, and what is to be added to its times to make them running times;
/// negative where the feed began in the middle of the reel.
struct Place {
    reel: Arc<Reel>,
    next: usize,
    shift_ns: i64,
}

impl Place {
    /// A camera plays on while nobody looks: a new client sees what would be shown now, from the
    /// last key frame on.
    fn now(camera: &Camera, running: ClockTime) -> Self {
        let reel = camera.reel();
        let next = reel.key_frame_before(camera.age());
        let shift_ns = nanoseconds(running) - nanoseconds(reel.units()[next].sent);
        Self { reel, next, shift_ns }
    }

    fn is_of(&self, camera: &Camera) -> bool {
        Arc::ptr_eq(&self.reel, &camera.reel())
    }

    fn running_time(&self, in_reel: ClockTime) -> ClockTime {
        let ns = self.shift_ns + nanoseconds(in_reel);
        ClockTime::from_nseconds(u64::try_from(ns).unwrap_or_default())
    }

    fn due(&self) -> ClockTime {
        self.running_time(self.reel.units()[self.next].sent)
    }

    /// The next access unit with its times in the pipeline.
    fn take(&mut self) -> gst::Buffer {
        let unit = &self.reel.units()[self.next];
        let mut buffer = unit.bytes.copy();
        if let Some(buffer) = buffer.get_mut() {
            buffer.set_dts(self.running_time(unit.sent));
            buffer.set_pts(self.running_time(unit.shown));
        }
        self.next += 1;
        if self.next == self.reel.units().len() {
            self.next = 0;
            self.shift_ns += nanoseconds(self.reel.length());
        }
        buffer
    }
}

/// Running times stay far below the 292 years of an `i64`.
fn nanoseconds(time: ClockTime) -> i64 {
    i64::try_from(time.nseconds()).unwrap_or(i64::MAX)
}

impl Playout {
    /// Runs until the media ends, or until the camera shows another codec: then the stream ends, and
    /// clients must ask for it anew.
    pub(crate) fn run(self) {
        let mut place: Option<Place> = None;
        while let Some(source) = self.source() {
            let playing = running_time(&source).filter(|_| !self.camera.faults().is_stalled());
            let Some(running) = playing else {
                drop(source);
                sleep(NAP);
                // Whatever held it up, it goes on with what is shown then.
                place = None;
                continue;
            };
            if self.camera.reel().codec() != self.codec {
                end(&source);
                return;
            }
            let place = match &mut place {
                Some(place) if place.is_of(&self.camera) => place,
                place => place.insert(Place::now(&self.camera, running)),
            };
            let due = place.due() + self.camera.faults().delay_now();
            if let Some(left) = due.checked_sub(running).filter(|left| !left.is_zero()) {
                drop(source);
                sleep(NAP.min(left.into()));
            } else if source.push_buffer(place.take()).is_err() {
                return;
            }
        }
    }

    fn source(&self) -> Option<gst_app::AppSrc> {
        if self.ended.load(Ordering::Relaxed) { None } else { self.source.upgrade() }
    }
}

/// None before the source plays: an element has its clock a moment before it has its base time, and
/// would give the age of the machine in between.
fn running_time(source: &gst_app::AppSrc) -> Option<ClockTime> {
    let plays = source.current_state() == gst::State::Playing;
    plays.then(|| source.current_running_time()).flatten()
}

/// Where the media is gone already, there is nobody to tell.
fn end(source: &gst_app::AppSrc) {
    source.end_of_stream().ok();
}
