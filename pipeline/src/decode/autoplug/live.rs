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

    /// Links a decoder behind the stream, or behind a tee behind the stream, and starts it.
    pub(super) fn attach_decoder(
        &self,
        stream: &Stream,
        decoder: &gst::Element,
        caps: &gst::CapsRef,
    ) -> Result<(), DecodeError> {
        let Some(on_fork) = &self.plan.on_fork else { return self.attach(stream, decoder) };
        let factory = factory_of("tee")?;
        let tee = self.add(&factory)?;
        // A branch that is taken away while the camera plays is no reason to stop.
        tee.set_property("allow-not-linked", true);
        let branch = tee.request_pad_simple("src_%u").ok_or_else(|| no_pad(&factory))?;
        let done = self
            .attach(&Stream { pad: branch, ..stream.clone() }, decoder)
            .inspect(|()| on_fork(&tee, caps))
            .and_then(|()| self.attach(stream, &tee));
        match done {
            Ok(()) => stream.remember(&[&tee]),
            Err(_) => self.remove(&tee),
        }
        done
    }
}

fn no_pad(factory: &gst::ElementFactory) -> DecodeError {
    failure::missing_element(&factory.name())
}
