//! A camera for tests: serves short clips over RTSP, in a loop, and fails on command.
//!
//! - [`MountSpec`] says what a mount shows; a [`Reel`] is that, encoded once and kept in memory.
//! - A [`Camera`] plays a reel at its own pace to whoever is connected, and owns the [`Faults`] of
//!   its stream: silence, delay, lost and corrupted packets, a clock that is off.
//! - The [`Front`] stands before the server as a network would, and owns the faults of connections:
//!   refused, reset in the middle of a message, silent without being closed.
//! - [`Server`] puts them together, with credentials and TLS.
//!
//! Everything listens on 127.0.0.1 and nowhere else.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod camera;
mod certificate;
mod command;
mod encode;
mod faults;
mod front;
mod mount;
mod playout;
mod reel;
mod server;

pub use camera::Camera;
pub use certificate::{Certificate, Flaw};
pub use command::Command;
pub use faults::Faults;
pub use front::Front;
pub use mount::{Carrier, Codec, Content, MountSpec, Picture};
pub use reel::{AccessUnit, Reel};
pub use server::{Access, Server};

/// Why the server did not start, or did not do what it was told.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// A mount was not described in the form that [`MountSpec`] reads.
    #[error("mount `{text}`: {reason}")]
    Mount {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no mount of that name.
    #[error("no mount `{0}`")]
    UnknownMount(String),
    /// What a mount shows could not be read or encoded.
    #[error("{what}: {reason}")]
    Reel {
        /// The file or the picture.
        what: String,
        /// What `GStreamer` said.
        reason: String,
    },
    /// The certificate could not be made or loaded.
    #[error("certificate: {0}")]
    Certificate(String),
    /// The RTSP server could not be set up.
    #[error("rtsp server: {0}")]
    Rtsp(#[from] gst::glib::BoolError),
    /// A socket or a file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The server asks for no password, so there is none to change.
    #[error("the server was started without credentials")]
    NoCredentials,
}

/// Should a thread have panicked holding one of these locks, the value inside is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
