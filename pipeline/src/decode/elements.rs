//! Making, linking and starting `GStreamer`'s elements.

use gst::glib;
use gst::prelude::*;

use super::{DecodeError, failure};

/// An element that every installation has.
pub(crate) fn make(name: &str) -> Result<gst::Element, DecodeError> {
    gst::ElementFactory::make(name).build().map_err(|_| failure::missing_element(name))
}

/// What makes it.
pub(crate) fn factory_of(name: &str) -> Result<gst::ElementFactory, DecodeError> {
    gst::ElementFactory::find(name).ok_or_else(|| failure::missing_element(name))
}

/// Links two pads, whose caps must have something in common.
pub(crate) fn link(from: &gst::Pad, to: &gst::Pad) -> Result<(), DecodeError> {
    from.link(to).map(drop).map_err(|error| {
        DecodeError::Broken(format!("{} cannot be linked to {}: {error}", from.name(), to.name()))
    })
}

/// Starts an element that was added to a running graph.
///
/// It wakes while the graph leaves it alone. Should the graph's own thread do it at the same time, it
/// would hold the element and wait for the stream, while we hold the stream and wait for the element.
///
/// A graph that is still being made starts it with all the others: awake before the graph is, it would
/// stream already, and be put to sleep again in the middle of it.
pub(crate) fn start(element: &gst::Element) -> Result<(), DecodeError> {
    let is_running = |graph: gst::Element| {
        graph.current_state().max(graph.pending_state()) >= gst::State::Paused
    };
    if !element.parent().and_downcast::<gst::Element>().is_some_and(is_running) {
        element.set_locked_state(false);
        return Ok(());
    }
    let awake = element.set_state(gst::State::Paused);
    element.set_locked_state(false);
    awake.map_err(|error| DecodeError::Broken(format!("`{}`: {error}", element.name())))?;
    element.sync_state_with_parent().map_err(|error| DecodeError::Broken(error.to_string()))
}

/// Calls `run` whenever a stream ends at this pad, before whoever is linked to it hears of it.
pub(super) fn on_end_of_stream(pad: &gst::Pad, run: impl Fn(&gst::Pad) + Send + Sync + 'static) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
        if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
            run(pad);
        }
        gst::PadProbeReturn::Ok
    });
}

/// Sets an enumeration by its nick. Versions of an element that lack it keep their default.
pub(crate) fn set(element: &gst::Element, property: &str, nick: &str) {
    if element.find_property(property).is_some_and(|pspec| {
        glib::EnumClass::with_type(pspec.value_type())
            .is_some_and(|class| class.value_by_nick(nick).is_some())
    }) {
        element.set_property_from_str(property, nick);
    }
}
