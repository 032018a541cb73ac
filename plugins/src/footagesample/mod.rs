//! `footagesample` lets the first frame of each slot of the sampling grid pass and drops the others.
//!
//! Put it right behind the decoder: what it drops is neither scaled nor converted.
//!
//! ```sh
//! gst-launch-1.0 filesrc location=street.mkv ! decodebin ! footagesample rate=2/1 \
//!   ! videoconvertscale ! video/x-raw,format=RGB,width=224,height=224 ! fakesink silent=false -v
//! ```
//!
//! # Which frames pass
//!
//! Slot k of the grid begins at k / `rate` seconds of media time. The first frame in a slot passes,
//! with the timestamps it came with; so a stream slower than `rate` passes whole. After a flush, a new
//! stream or a change of caps the next frame passes, whatever its slot. Frames outside the segment,
//! which a sink would not show, are dropped.
//!
//! Frames are never held back or copied. Caps pass unchanged, also their framerate: it says how long
//! a picture is meant to be shown, not how often one comes out.

use gst::glib;
use gst::prelude::*;

mod imp;

glib::wrapper! {
    /// See the [module documentation](self).
    pub struct FootageSample(ObjectSubclass<imp::FootageSample>)
        @extends gst::Element, gst::Object;
}

/// Makes the element known to `plugin`.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    let rank = gst::Rank::NONE;
    gst::Element::register(Some(plugin), "footagesample", rank, FootageSample::static_type())
}
