//! The element that opens a camera, and how its video finds the way into the graph.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gio::prelude::*;
use gst::prelude::*;

use super::entrance::watch_packets;
use super::location::Kind;
use super::shared::Shared;
use super::{Camera, Credentials, LiveError};
use crate::DecodeError;
use crate::decode::autoplug::{Autoplug, SourceStreams};
use crate::decode::elements::make;

/// How long packets are kept to put them in order, in milliseconds.
const JITTER_MS: u32 = 500;

/// An answer that takes longer is none, in microseconds.
const ANSWER_US: u64 = 10_000_000;

/// UDP packets that take longer do not come, in microseconds.
const FIRST_PACKET_US: u64 = 5_000_000;

/// An HTTP server that is silent for longer is away, in seconds.
const HTTP_TIMEOUT_S: u32 = 15;

/// What the way of a picture from a camera to this machine may take, in milliseconds.
const CAMERA_WAY_MS: u32 = 500;

/// The same through a playlist: a few segments.
const PLAYLIST_WAY_MS: u32 = 30_000;

/// What carries RTSP's video in one attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Carrier {
    #[default]
    Tcp,
    Udp,
}

/// Opens cameras.
pub(super) struct Source<'a> {
    pub(super) camera: &'a Camera,
    pub(super) carrier: Carrier,
    pub(super) shared: Arc<Shared>,
}

/// Whether the source itself gives its pictures when they happen, or has to be slowed down.
pub(super) fn is_paced(camera: &Camera) -> bool {
    matches!(camera.location.kind(), Kind::Http { .. } | Kind::File { .. })
}

/// What the way of a picture may take.
pub(super) fn way_ms(camera: &Camera) -> u32 {
    match camera.location.kind() {
        Kind::Rtsp { .. } => CAMERA_WAY_MS,
        Kind::Http { .. } => PLAYLIST_WAY_MS,
        Kind::Device { .. } | Kind::File { .. } => CAMERA_WAY_MS / 5,
    }
}

impl Source<'_> {
    /// Adds what opens the camera to the graph, and leads its video to `plug`.
    pub(super) fn open(
        &self,
        pipeline: &gst::Pipeline,
        plug: &Arc<Autoplug>,
    ) -> Result<(), LiveError> {
        let source = match self.camera.location.kind() {
            Kind::Rtsp { uri, is_tls } => self.rtsp(&uri, is_tls, plug)?,
            Kind::Http { uri } => self.http(&uri, pipeline, plug)?,
            Kind::Device { path } => device(&path)?,
            Kind::File { path, .. } => file(&path)?,
        };
        pipeline.add(&source).map_err(|error| LiveError::Broken(error.to_string()))?;
        let Some(pad) = source.static_pad("src") else { return Ok(()) };
        match self.camera.location.kind() {
            Kind::File { .. } => plug.take_bytes(&pad, &SourceStreams::default())?,
            _ => plug.take_stream(&pad),
        }
        Ok(())
    }

    fn rtsp(
        &self,
        uri: &str,
        is_tls: bool,
        plug: &Arc<Autoplug>,
    ) -> Result<gst::Element, LiveError> {
        let source = make("rtspsrc")?;
        source.set_property("location", uri);
        if let Some(credentials) = &self.camera.credentials {
            source.set_property("user-id", &credentials.user);
            source.set_property("user-pw", &credentials.password);
        }
        let carrier = match self.carrier {
            Carrier::Udp if !is_tls => "udp",
            Carrier::Udp | Carrier::Tcp => "tcp",
        };
        source.set_property_from_str("protocols", carrier);
        source.set_property("latency", JITTER_MS);
        source.set_property("tcp-timeout", ANSWER_US);
        source.set_property("timeout", FIRST_PACKET_US);
        source.set_property("add-reference-timestamp-meta", true);
        if is_tls {
            if let Some(database) = self.trusted()? {
                source.set_property("tls-database", &database);
            }
            self.explain_certificates(&source);
        }
        select_video(&source);
        let (plug, shared) = (Arc::downgrade(plug), self.shared.clone());
        source.connect_pad_added(move |_, pad| {
            let Some(plug) = plug.upgrade() else { return };
            if let Err(error) = unpack(pad, &plug, &shared) {
                shared.fail(LiveError::Stream(error));
            }
        });
        Ok(source)
    }

    /// The certificates that the camera's settings name; none for those of the system.
    fn trusted(&self) -> Result<Option<gio::TlsDatabase>, LiveError> {
        let Some(path) = &self.camera.tls_ca else { return Ok(None) };
        match gio::TlsFileDatabase::new(path) {
            Ok(database) => Ok(Some(database.upcast())),
            Err(error) => {
                let why = format!("`{}` cannot be read: {error}", path.display());
                Err(LiveError::Certificate(why))
            }
        }
    }

    /// The connection fails without a word about the certificate; this is asked before.
    fn explain_certificates(&self, source: &gst::Element) {
        let shared = self.shared.clone();
        source.connect("accept-certificate", false, move |values| {
            let flags =
                values.get(3).and_then(|value| value.get::<gio::TlsCertificateFlags>().ok());
            shared.hint(LiveError::Certificate(wrongs(
                flags.unwrap_or(gio::TlsCertificateFlags::empty()),
            )));
            Some(false.to_value())
        });
    }

    fn http(
        &self,
        uri: &str,
        pipeline: &gst::Pipeline,
        plug: &Arc<Autoplug>,
    ) -> Result<gst::Element, LiveError> {
        let source = make("urisourcebin")?;
        source.set_property("uri", uri);
        let client = HttpClient {
            origin: origin_of(uri).to_owned(),
            credentials: self.camera.credentials.clone(),
            // Looked at here, so that a bad file is told at once.
            tls_ca: self.trusted()?.and(self.camera.tls_ca.clone()),
        };
        pipeline.connect_deep_element_added(move |_, _, element| {
            if element.factory().is_some_and(|factory| factory.name() == "souphttpsrc") {
                client.set_up(element);
            }
        });
        let (plug, shared) = (Arc::downgrade(plug), self.shared.clone());
        let streams = SourceStreams::default();
        source.connect_pad_added(move |_, pad| {
            let Some(plug) = plug.upgrade() else { return };
            if let Err(error) = plug.take_bytes(pad, &streams) {
                shared.fail(LiveError::Stream(error));
            }
        });
        Ok(source)
    }
}

/// What every HTTP client in a graph is given.
struct HttpClient {
    origin: String,
    credentials: Option<Credentials>,
    tls_ca: Option<PathBuf>,
}

impl HttpClient {
    fn set_up(&self, client: &gst::Element) {
        client.set_property("timeout", HTTP_TIMEOUT_S);
        if let Some(Ok(trusted)) = self.tls_ca.as_ref().map(gio::TlsFileDatabase::new) {
            client.set_property("tls-database", &trusted);
        }
        let Some(credentials) = self.credentials.clone() else { return };
        // Only requests to the camera itself carry its credentials: a playlist may name other hosts.
        let origin = self.origin.clone();
        let give = move |client: &gst::Element| {
            let location = client.property::<Option<String>>("location").unwrap_or_default();
            let is_own = origin_of(&location) == origin;
            client.set_property("user-id", is_own.then_some(&credentials.user));
            client.set_property("user-pw", is_own.then_some(&credentials.password));
        };
        give(client);
        client.connect_notify(Some("location"), move |client, _| give(client));
    }
}

/// Scheme, host and port of an address.
fn origin_of(uri: &str) -> &str {
    let host = uri.find("://").map_or(0, |at| at + 3);
    let end = uri[host..].find(['/', '?', '#']).map_or(uri.len(), |at| host + at);
    &uri[..end]
}

/// Asks for the first video of a camera and for nothing else.
fn select_video(source: &gst::Element) {
    let chosen = std::sync::Mutex::new(None::<u32>);
    source.connect("select-stream", false, move |values| {
        let number = values.get(1)?.get::<u32>().ok()?;
        let caps = values.get(2)?.get::<gst::Caps>().ok()?;
        let is_video = caps.structure(0)?.get::<&str>("media").is_ok_and(|media| media == "video");
        let mut chosen = crate::lock(&chosen);
        let is_chosen = is_video && *chosen.get_or_insert(number) == number;
        Some(is_chosen.to_value())
    });
}

/// Takes the video out of its packets.
fn unpack(pad: &gst::Pad, plug: &Arc<Autoplug>, shared: &Arc<Shared>) -> Result<(), DecodeError> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let fields = caps.structure(0);
    let clock_rate =
        fields.and_then(|fields| fields.get::<i32>("clock-rate").ok()).unwrap_or(90_000);
    watch_packets(pad, shared, clock_rate.unsigned_abs());
    let depayloader = plug.put_behind(pad, &depayloader_for(&caps)?)?;
    if let Some(src) = depayloader.static_pad("src") {
        plug.take_stream(&src);
    }
    Ok(())
}

fn depayloader_for(caps: &gst::Caps) -> Result<gst::ElementFactory, DecodeError> {
    let kind = gst::ElementFactoryType::DEPAYLOADER;
    let mut factories: Vec<_> = gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL)
        .into_iter()
        .filter(|factory| factory.can_sink_all_caps(caps))
        .collect();
    // Names decide between equals, so that every connection chooses alike.
    factories.sort_by_cached_key(|factory| {
        (std::cmp::Reverse(i32::from(factory.rank())), factory.name())
    });
    factories.into_iter().next().ok_or_else(|| {
        let encoding =
            caps.structure(0).and_then(|fields| fields.get::<String>("encoding-name").ok());
        DecodeError::NoElement {
            what: format!("RTP of a kind (`{}`)", encoding.unwrap_or_else(|| "nameless".into())),
            remedy: "set the camera to H.264 or H.265".into(),
        }
    })
}

fn device(path: &Path) -> Result<gst::Element, LiveError> {
    let source = make("v4l2src")?;
    source.set_property("device", path.to_string_lossy().as_ref());
    Ok(source)
}

fn file(path: &Path) -> Result<gst::Element, LiveError> {
    let source = make("filesrc")?;
    source.set_property("location", path);
    Ok(source)
}

/// What is wrong with a certificate, in words.
fn wrongs(flags: gio::TlsCertificateFlags) -> String {
    use gio::TlsCertificateFlags as Flags;
    let known = [
        (Flags::UNKNOWN_CA, "nobody known here signed it"),
        (Flags::BAD_IDENTITY, "it is another host's"),
        (Flags::NOT_ACTIVATED, "it is not valid yet"),
        (Flags::EXPIRED, "it has expired"),
        (Flags::REVOKED, "it was revoked"),
        (Flags::INSECURE, "its algorithm is insecure"),
    ];
    let wrongs: Vec<_> =
        known.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, words)| *words).collect();
    if wrongs.is_empty() { "it is not valid".into() } else { wrongs.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_ends_where_the_path_begins() {
        for uri in ["http://h:80/a/b.m3u8?x=y", "http://h:80?x", "http://h:80"] {
            assert_eq!(origin_of(uri), "http://h:80");
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_said_in_words() {
        let flags = gio::TlsCertificateFlags::UNKNOWN_CA | gio::TlsCertificateFlags::EXPIRED;
        assert_eq!(wrongs(flags), "nobody known here signed it, it has expired");
    }

    #[test]
    fn common_codecs_have_their_depayloaders() {
        gst::init().unwrap();
        for (encoding, name) in [("H264", "rtph264depay"), ("H265", "rtph265depay")] {
            let caps = gst::Caps::builder("application/x-rtp")
                .field("media", "video")
                .field("clock-rate", 90_000)
                .field("encoding-name", encoding)
                .build();
            assert_eq!(depayloader_for(&caps).unwrap().name(), name);
        }
    }
}
