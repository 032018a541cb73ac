//! How `GStreamer` comes to know the elements.

use std::sync::OnceLock;

use gst::glib;

use crate::{FootageClipMeta, footageclip, footagesample};

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    FootageClipMeta::register();
    footagesample::register(plugin)?;
    footageclip::register(plugin)
}

gst::plugin_define!(
    footage,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "Apache 2.0",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    "Unknown package origin",
    env!("BUILD_REL_DATE")
);

/// Makes the elements known to this process, without a plugin path. Initialises `GStreamer` if that
/// has not happened yet; calling it again does nothing.
///
/// Fails where `GStreamer` cannot be initialised.
pub fn register_static() -> Result<(), glib::BoolError> {
    static DONE: OnceLock<Result<(), glib::BoolError>> = OnceLock::new();
    DONE.get_or_init(|| {
        gst::init().map_err(|error| glib::bool_error!("GStreamer does not start: {error}"))?;
        // A type name exists once in a process. If the shared library was loaded before us, its
        // elements are the same ones.
        let loaded = glib::Type::from_name("GstFootageClip").is_some();
        if loaded { Ok(()) } else { plugin_register_static() }
    })
    .clone()
}
