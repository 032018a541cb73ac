//! The `GStreamer` plugin: raw video in, clips out.
//!
//! - [`footagesample`] lets the first frame of each slot of the sampling grid pass, before anything
//!   costly is done to it.
//! - [`footageclip`] cuts what it is given into overlapping clips, one buffer a clip, whose frames
//!   are in its [`FootageClipMeta`].
//!
//! `gst-launch-1.0` finds both in the shared library; a program that links this crate calls
//! [`register_static`] instead.
//!
//! All times are **media time**: the segment's stream time, that is the position in the file as a
//! player shows it, whatever timestamps the container used. A segment that defines none (some live
//! sources) gives its running time instead.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod caps;
pub mod footageclip;
pub mod footagesample;
mod meta;
mod plugin;
mod rate;
mod timeline;

pub use caps::CLIP_MEDIA_TYPE;
pub use meta::{ClipFrame, FootageClipMeta};
pub use plugin::register_static;

/// Should a thread have panicked holding one of these locks, the value inside is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
