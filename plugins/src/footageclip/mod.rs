//! `footageclip` cuts raw video into overlapping clips, one buffer a clip.
//!
//! ```sh
//! gst-launch-1.0 videotestsrc num-buffers=300 ! footagesample rate=2/1 ! videoconvertscale \
//!   ! video/x-raw,format=RGB,width=64,height=64 \
//!   ! footageclip length=8 stride=4 rate=2/1 ! fakesink silent=false -v
//! ```
//!
//! # What comes out
//!
//! Caps are `video/x-footage-clip` with `length`, `stride`, `rate` and the frames' format and size.
//! A buffer has no memory, only a [`FootageClipMeta`](crate::FootageClipMeta) that refers to the
//! clip's frames. PTS and duration are the clip's span; DISCONT marks the first clip of a run. As
//! such a buffer counts no bytes, bound a queue behind the element by `max-size-buffers`.
//!
//! Frames are sampled as by `footagesample`, so putting that before a scaler changes the cost and not
//! the clips. A slot without a frame repeats the picture that is still shown. The element keeps the
//! last `length` frames it was given: scale before it, or it holds a decoder's buffers (the
//! ALLOCATION query tells upstream how many).
//!
//! # What ends a run
//!
//! No clip spans an interruption. The clip that had begun is completed with its last frame or left
//! out, as `partial` says, and comes before whatever ended the run. That is
//!
//! - more than `max-gap` of media time, or two slots if that is more, between two sampled frames, or
//!   in a GAP event; or time that runs back to an earlier slot;
//! - a change of the frames' caps other than their framerate; a new stream; the end of one;
//! - a new segment that leaves out more than a slot of media time. One that continues where the last
//!   frame ended, or repeats the segment in force, changes nothing.
//!
//! A DISCONT flag alone ends nothing: demuxers, decoders and every element that drops frames set it,
//! also where no picture that we would have sampled is missing. If many are, the time tells.
//!
//! A flush (a seek) forgets the clip that had begun.
//!
//! # Time
//!
//! A frame without a timestamp follows the one before by its duration or the caps' framerate; where
//! neither is known the element posts an error. Frames outside the segment, which a sink would not
//! show, are dropped. Playing backwards is refused.
//!
//! # Latency
//!
//! A clip leaves with its last frame, so the element adds `length / rate` seconds. `QoS` events from
//! downstream end here: a clip that came late does not mean that a decoder should skip frames.

use gst::glib;
use gst::prelude::*;

mod imp;
mod settings;
mod stream;

pub use settings::{LONGEST_GAP, Partial};

glib::wrapper! {
    /// See the [module documentation](self).
    pub struct FootageClip(ObjectSubclass<imp::FootageClip>)
        @extends gst::Element, gst::Object;
}

/// Makes the element known to `plugin`.
pub(crate) fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    let rank = gst::Rank::NONE;
    gst::Element::register(Some(plugin), "footageclip", rank, FootageClip::static_type())
}
