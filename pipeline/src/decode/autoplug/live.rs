//! Streams that come from a live source, and the tee before their decoder.

use std::sync::Arc;

use gst::prelude::*;

use super::super::elements::{factory_of, link, start};
use super::super::{DecodeError, failure};
use super::{Autoplug, Container, Stopping, Stream};
use crate::lock;

/// Streams of one source: only its first video is decoded.
#[derive(Clone, Default)]
pub(crate) struct SourceStreams(Arc<Container>);

impl Autoplug {
    /// To be set before the graph is taken down.
    pub(crate) fn stopping(&self) -> Stopping {
        self.stopping.clone()
    }

    /// Takes on a stream whose caps will tell what it is: compressed pictures, as a depayloader or a
    /// camera gives them.
    pub(crate) fn take_stream(self: &Arc<Self>, pad: &gst::Pad) {
        let (pad, container) = (pad.clone(), Arc::default());
        let stream = Stream { pad, is_file: false, is_parsed: false, container };
        match stream.pad.current_caps() {
            Some(caps) => self.plug(&stream, &caps),
            None => self.when_caps_are_known(&stream),
        }
    }

    /// Takes on a stream of bytes, whose type is looked at.
    pub(crate) fn take_bytes(
        self: &Arc<Self>,
        pad: &gst::Pad,
        streams: &SourceStreams,
    ) -> Result<(), DecodeError> {
        let typefind = self.add(&factory_of("typefind")?)?;
        let (plug, container) = (Arc::downgrade(self), streams.0.clone());
        typefind.connect("have-type", false, move |values| {
            let plug = plug.upgrade()?;
            let typefind = values[0].get::<gst::Element>().ok()?;
            let caps = values[2].get::<gst::Caps>().ok()?;
            let (pad, container) = (typefind.static_pad("src")?, container.clone());
            plug.plug(&Stream { pad, is_file: false, is_parsed: false, container }, &caps);
            None
        });
        let (pad, container) = (pad.clone(), streams.0.clone());
        self.attach(&Stream { pad, is_file: false, is_parsed: false, container }, &typefind)
    }

    /// Makes an element part of the graph, behind `pad`, and starts it.
    pub(crate) fn put_behind(
        &self,
        pad: &gst::Pad,
        factory: &gst::ElementFactory,
    ) -> Result<gst::Element, DecodeError> {
        let stopping = lock(&self.stopping);
        if *stopping {
            return Err(DecodeError::Broken("stopped".into()));
        }
        let element = self.add(factory)?;
        let sink = element.static_pad("sink").ok_or_else(|| no_pad(factory))?;
        match link(pad, &sink).and_then(|()| start(&element)) {
            Ok(()) => Ok(element),
            Err(error) => {
                self.remove(&element);
                Err(error)
            }
        }
    }

    /// Says where compressed pictures go to the decoder, once: another decoder may be tried behind
    /// the same pad.
    pub(super) fn tell_of(&self, coded: &gst::Pad) {
        let Some(on_coded) = &self.plan.on_coded else { return };
        let mut told = lock(&self.coded);
        if told.upgrade().as_ref() != Some(coded) {
            *told = coded.downgrade();
            on_coded(coded);
        }
    }
}

/// Has a parser repeat parameter sets before each keyframe: what is kept from the middle of a stream
/// has to be read without its beginning.
pub(super) fn repeat_parameters(parser: &gst::Element) {
    let property = "config-interval";
    if parser.find_property(property).is_some_and(|pspec| pspec.value_type() == i32::static_type())
    {
        parser.set_property(property, -1i32);
    }
}

fn no_pad(factory: &gst::ElementFactory) -> DecodeError {
    failure::missing_element(&factory.name())
}
