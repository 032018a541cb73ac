//! From a file's bytes to its first video stream, decoded.
//!
//! One chain, in one thread: demuxer, parser, decoder. That is what `decodebin` would build for the
//! video of most files, without its queues (which wait for streams that never come) and with three
//! rules of ours: only elements of [`format`](super::format) are used, only one video stream is
//! decoded, and a picture's size is checked before there is a decoder to allocate it. What else a
//! container holds goes into sinks that throw it away.

mod live;

use std::sync::{Arc, Mutex, MutexGuard};

use gst::prelude::*;

use super::elements::{factory_of, link, make, on_end_of_stream, start};
use super::format::{self, Kind, Step};
use super::watch::Watch;
use super::{DecodeError, failure};
use crate::lock;

pub(crate) use live::SourceStreams;
use live::repeat_parameters;

/// Called with a decoder's sink pad before anything flows through it.
type OnDecoder = dyn Fn(&gst::Pad) + Send + Sync;

/// Called with the pad from which compressed pictures go to the decoder, before any does.
type OnCoded = dyn Fn(&gst::Pad) + Send + Sync;

/// Builds the chain as the file turns out to need it.
pub(crate) struct Autoplug {
    /// Weak: the graph's signals hold us.
    graph: gst::glib::WeakRef<gst::Pipeline>,
    plan: Plan,
    stopping: Stopping,
    /// The pad that was told of last.
    coded: Mutex<gst::glib::WeakRef<gst::Pad>>,
}

/// What the chain is for.
pub(crate) struct Plan {
    /// Where decoded pictures go.
    pub(crate) out: gst::Pad,
    pub(crate) watch: Arc<Watch>,
    pub(crate) max_pixels: u64,
    pub(crate) on_decoder: Box<OnDecoder>,
    pub(crate) on_coded: Option<Box<OnCoded>>,
}

/// Held while the chain grows; true once it must not grow any more. A graph that is taken down while
/// an element is being started in it locks up.
pub(crate) type Stopping = Arc<Mutex<bool>>;

/// A container's streams.
#[derive(Default)]
struct Container {
    streams: Mutex<Streams>,
}

#[derive(Default)]
struct Streams {
    /// The video that is decoded, and the elements plugged for it.
    video: Option<(gst::Pad, Vec<gst::Element>)>,
    /// Counts how often all streams were announced: a transport stream may do so again, with others.
    announced: u32,
    /// The announcement that the video belongs to.
    video_of: u32,
}

/// A stream on its way through the chain.
#[derive(Clone)]
struct Stream {
    pad: gst::Pad,
    /// Still the whole file: not inside any container.
    is_file: bool,
    /// A parser's output needs no parser.
    is_parsed: bool,
    container: Arc<Container>,
}

impl Container {
    fn streams(&self) -> MutexGuard<'_, Streams> {
        lock(&self.streams)
    }
}

impl Autoplug {
    /// Plugs from `source`, a file's bytes, in `graph`, to which it and the plan's `out` belong.
    pub(super) fn start(
        graph: &gst::Pipeline,
        source: &gst::Element,
        plan: Plan,
    ) -> Result<Stopping, DecodeError> {
        let plug = Self::new(graph, plan);
        let stopping = plug.stopping.clone();
        plug.find_type(graph, source)?;
        Ok(stopping)
    }

    /// A plug that has nothing to do yet.
    pub(crate) fn new(graph: &gst::Pipeline, plan: Plan) -> Arc<Self> {
        Arc::new(Self {
            graph: graph.downgrade(),
            plan,
            stopping: Stopping::default(),
            coded: Mutex::default(),
        })
    }

    /// Looks at the first bytes; a container's own tags before it (ID3, APE) hide its type, so what
    /// such a demuxer gives is looked at again.
    fn find_type(
        self: Arc<Self>,
        graph: &gst::Pipeline,
        source: &gst::Element,
    ) -> Result<(), DecodeError> {
        let typefind = make("typefind")?;
        graph
            .add(&typefind)
            .and_then(|()| source.link(&typefind))
            .map_err(|error| DecodeError::Broken(error.to_string()))?;
        typefind.connect("have-type", false, move |values| {
            let typefind = values[0].get::<gst::Element>().ok()?;
            let caps = values[2].get::<gst::Caps>().ok()?;
            let pad = typefind.static_pad("src")?;
            let container = Arc::default();
            self.plug(&Stream { pad, is_file: true, is_parsed: false, container }, &caps);
            None
        });
        Ok(())
    }

    /// Takes a stream of known caps a step further.
    fn plug(self: &Arc<Self>, stream: &Stream, caps: &gst::Caps) {
        let stopping = lock(&self.stopping);
        if *stopping {
            return;
        }
        let kind =
            if stream.is_file { format::kind_of_file(caps) } else { format::kind_of_stream(caps) };
        let done = match kind {
            Kind::Refused(error) => Err(error),
            Kind::Other(what) => {
                self.plan.watch.course().others.insert(what);
                if stream.is_file {
                    self.no_video();
                }
                self.discard(stream)
            }
            Kind::Raw => format::check_size(caps, self.plan.max_pixels)
                .and_then(|()| link(&stream.pad, &self.plan.out)),
            Kind::Coded => self.decode_further(stream, caps),
        };
        if let Err(error) = done {
            self.plan.watch.fail(error);
        }
    }

    fn decode_further(
        self: &Arc<Self>,
        stream: &Stream,
        caps: &gst::Caps,
    ) -> Result<(), DecodeError> {
        format::check_size(caps, self.plan.max_pixels)?;
        let mut elements = format::elements_for(caps);
        if stream.is_parsed {
            elements.retain(|(step, _)| *step != Step::Parse);
        }
        for (step, factory) in &elements {
            let tried = match step {
                Step::Demux => self.demux(stream, factory),
                Step::Parse => self.parse(stream, factory, format::wanted_of_parser(caps)),
                Step::Decode => self.decode(stream, factory, caps),
            };
            match tried {
                Ok(()) => return Ok(()),
                // One element that does not start, a hardware decoder without hardware, say, is no
                // reason to give up.
                Err(error) => tracing::debug!(element = %factory.name(), %error, "next element"),
            }
        }
        Err(failure::no_element_for(caps))
    }

    fn demux(
        self: &Arc<Self>,
        stream: &Stream,
        factory: &gst::ElementFactory,
    ) -> Result<(), DecodeError> {
        let demuxer = self.add(factory)?;
        // What stands before the type of a file, not in place of it.
        let is_file = factory.metadata("klass").is_some_and(|klass| klass.contains("Metadata"));
        let container = Arc::<Container>::default();
        let inner = |pad| Stream { pad, is_file, is_parsed: false, container: container.clone() };

        let (plug, of) = (Arc::downgrade(self), inner(stream.pad.clone()));
        demuxer.connect_pad_added(move |_, pad| {
            if let Some(plug) = plug.upgrade() {
                plug.stream_appeared(&Stream { pad: pad.clone(), ..of.clone() });
            }
        });
        let (plug, announced) = (Arc::downgrade(self), container.clone());
        demuxer.connect_no_more_pads(move |_| {
            let mut streams = announced.streams();
            streams.announced += 1;
            let has_video = streams.video.is_some() || is_file;
            drop(streams);
            if let Some(plug) = plug.upgrade().filter(|_| !has_video) {
                plug.no_video();
            }
        });
        if let Some(pad) = demuxer.static_pad("src") {
            self.when_caps_are_known(&inner(pad));
        }
        self.attach(stream, &demuxer)
    }

    fn no_video(&self) {
        let others = self.plan.watch.course().others.iter().copied().collect();
        self.plan.watch.fail(DecodeError::NoVideo(others));
    }

    /// A container's stream: the first video is decoded.
    fn stream_appeared(self: &Arc<Self>, stream: &Stream) {
        self.plan.watch.course().has_streams = true;
        let caps = stream.pad.current_caps().unwrap_or_else(|| stream.pad.query_caps(None));
        let is_video =
            !stream.is_file && matches!(format::kind_of_stream(&caps), Kind::Coded | Kind::Raw);
        if is_video && !self.choose(stream) {
            self.pass_over(stream);
        } else if caps.is_fixed() {
            self.plug(stream, &caps);
        } else {
            self.when_caps_are_known(stream);
        }
    }

    fn pass_over(self: &Arc<Self>, stream: &Stream) {
        let stopping = lock(&self.stopping);
        if !*stopping && let Err(error) = self.discard(stream) {
            self.plan.watch.fail(error);
        }
    }

    /// Whether this video is the one to decode: the first, or the first of a container that replaces
    /// all its streams. Then the chain of the one before is drained and taken down.
    fn choose(&self, stream: &Stream) -> bool {
        let mut streams = stream.container.streams();
        if streams.video.is_some() && streams.announced == streams.video_of {
            return false;
        }
        streams.video_of = streams.announced;
        let before = streams.video.replace((stream.pad.clone(), Vec::new()));
        drop(streams);
        if let Some((pad, chain)) = before {
            self.take_down(&pad, &chain);
        }
        true
    }

    fn take_down(&self, pad: &gst::Pad, chain: &[gst::Element]) {
        let Some(entry) = pad.peer() else { return };
        // The old stream goes nowhere from here on, and its end is not the file's.
        let unlinked = pad.unlink(&entry);
        let held =
            self.plan.out.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
                match info.event().map(|event| event.type_()) {
                    Some(gst::EventType::Eos) => gst::PadProbeReturn::Drop,
                    _ => gst::PadProbeReturn::Ok,
                }
            });
        let drained = entry.send_event(gst::event::Eos::new());
        tracing::debug!(drained, unlinked = unlinked.is_ok(), "streams replaced");
        if let Some(held) = held {
            self.plan.out.remove_probe(held);
        }
        if let Some(last) = self.plan.out.peer() {
            drop(last.unlink(&self.plan.out));
        }
        for element in chain {
            self.remove(element);
        }
    }

    fn parse(
        self: &Arc<Self>,
        stream: &Stream,
        factory: &gst::ElementFactory,
        wanted: gst::Caps,
    ) -> Result<(), DecodeError> {
        let parser = self.add(factory)?;
        if self.plan.on_coded.is_some() {
            repeat_parameters(&parser);
        }
        // A parser chooses its output by what stands behind it, and that is not there yet.
        let filter = self.add(&factory_of("capsfilter")?)?;
        filter.set_property("caps", wanted);
        let broken = |error: gst::glib::BoolError| DecodeError::Broken(error.to_string());
        parser.link(&filter).map_err(broken)?;
        start(&filter)?;
        let pad = filter.static_pad("src").ok_or_else(|| failure::missing_element("capsfilter"))?;
        self.when_caps_are_known(&Stream { pad, is_parsed: true, ..stream.clone() });
        let attached = self.attach(stream, &parser);
        match attached {
            Ok(()) => stream.remember(&[&parser, &filter]),
            Err(_) => self.remove(&filter),
        }
        attached
    }

    fn decode(
        self: &Arc<Self>,
        stream: &Stream,
        factory: &gst::ElementFactory,
        caps: &gst::Caps,
    ) -> Result<(), DecodeError> {
        let decoder = self.add(factory)?;
        limit_threads(&decoder);
        let pads = decoder.static_pad("sink").zip(decoder.static_pad("src"));
        let Some((sink, src)) = pads else {
            self.remove(&decoder);
            return Err(DecodeError::Broken(format!("`{}` has odd pads", factory.name())));
        };
        // Only an element that is awake can tell what its hardware takes.
        let is_awake = decoder.set_state(gst::State::Ready).is_ok() && sink.query_accept_caps(caps);
        let linked =
            if is_awake { link(&src, &self.plan.out) } else { Err(failure::no_element_for(caps)) };
        if let Err(error) = linked {
            self.remove(&decoder);
            return Err(error);
        }
        (self.plan.on_decoder)(&sink);
        tracing::debug!(decoder = %factory.name(), %caps, "decoding");
        self.tell_of(&stream.pad);
        self.attach(stream, &decoder)?;
        stream.remember(&[&decoder]);
        Ok(())
    }

    /// Links an element behind a stream and starts it; removes it where that fails.
    fn attach(&self, stream: &Stream, element: &gst::Element) -> Result<(), DecodeError> {
        let done = element
            .static_pad("sink")
            .ok_or_else(|| DecodeError::Broken(format!("`{}` has no input", element.name())))
            .and_then(|sink| link(&stream.pad, &sink))
            .and_then(|()| start(element));
        if done.is_err() {
            self.remove(element);
        }
        done
    }

    /// Plugs on once the stream has caps. They become known before they are sent on, so that what is
    /// linked meanwhile still gets everything from the beginning.
    fn when_caps_are_known(self: &Arc<Self>, stream: &Stream) {
        let (plug, of) = (Arc::downgrade(self), stream.container.clone());
        let (is_file, is_parsed) = (stream.is_file, stream.is_parsed);
        stream.pad.connect_caps_notify(move |pad| {
            let Some((plug, caps)) = plug.upgrade().zip(pad.current_caps()) else { return };
            if !pad.is_linked() {
                let (pad, container) = (pad.clone(), of.clone());
                plug.plug(&Stream { pad, is_file, is_parsed, container }, &caps);
            }
        });
        let watch = self.plan.watch.clone();
        on_end_of_stream(&stream.pad, move |pad| {
            if !pad.is_linked() {
                watch.fail(DecodeError::NoPicture);
            }
        });
    }

    /// Throws a stream away. It is linked all the same: demuxers take a stream that nobody wants for
    /// an error once it is the last.
    fn discard(self: &Arc<Self>, stream: &Stream) -> Result<(), DecodeError> {
        let sink = self.add(&factory_of("fakesink")?)?;
        sink.set_property("sync", false);
        sink.set_property("async", false);
        sink.set_property("enable-last-sample", false);
        let (plug, container) = (Arc::downgrade(self), stream.container.clone());
        on_end_of_stream(&stream.pad, move |_| {
            let has_video = container.streams().video.is_some();
            if let Some(plug) = plug.upgrade().filter(|_| !has_video) {
                plug.no_video();
            }
        });
        self.attach(stream, &sink)
    }

    /// Makes an element and adds it to the graph, asleep.
    fn add(&self, factory: &gst::ElementFactory) -> Result<gst::Element, DecodeError> {
        let broken = |error: gst::glib::BoolError| DecodeError::Broken(error.to_string());
        let element = factory.create().build().map_err(broken)?;
        // Nobody but us starts it: see `start`.
        element.set_locked_state(true);
        let graph = self.graph.upgrade().ok_or_else(|| DecodeError::Broken("stopped".into()))?;
        graph.add(&element).map_err(broken)?;
        Ok(element)
    }

    fn remove(&self, element: &gst::Element) {
        if element.set_state(gst::State::Null).is_err() {
            tracing::debug!(element = %element.name(), "does not stop");
        }
        if let Some(graph) = self.graph.upgrade() {
            drop(graph.remove(element));
        }
    }
}

/// As many threads as there are processors for us. Some decoders count those of the machine instead,
/// and wait for each other by spinning: on fewer they take a hundred times as long.
fn limit_threads(decoder: &gst::Element) {
    let is_number = |pspec: &gst::glib::ParamSpec| pspec.value_type() == u32::static_type();
    if decoder.find_property("threads").is_some_and(|pspec| is_number(&pspec)) {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        decoder.set_property("threads", u32::try_from(processors.min(16)).unwrap_or(1));
    }
}

impl Stream {
    /// Notes elements to be taken down with the stream.
    fn remember(&self, elements: &[&gst::Element]) {
        if let Some((_, chain)) = self.container.streams().video.as_mut() {
            chain.extend(elements.iter().map(|element| (*element).clone()));
        }
    }
}
