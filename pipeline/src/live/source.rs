//! The element that opens a camera, and how its video finds the way into the graph.

use std::path::Path;
use std::sync::Arc;

use gio::prelude::*;
use gst::prelude::*;

use super::entrance::watch_packets;
use super::location::Kind;
use super::mask::escaped;
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
        source.set_property("uri", with_credentials(uri, self.camera.credentials.as_ref()));
        // Looked at here, so that a bad file is told at once.
        let tls_ca = self.trusted()?.and(self.camera.tls_ca.clone());
        pipeline.connect_deep_element_added(move |_, _, element| {
            if element.factory().is_some_and(|factory| factory.name() == "souphttpsrc") {
                set_up_client(element, tls_ca.as_deref());
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

/// Gives an HTTP client what each of them needs.
fn set_up_client(client: &gst::Element, tls_ca: Option<&Path>) {
    client.set_property("timeout", HTTP_TIMEOUT_S);
    if let Some(Ok(trusted)) = tls_ca.map(gio::TlsFileDatabase::new) {
        client.set_property("tls-database", &trusted);
    }
}

/// An address with user and password in it. What a playlist names beside itself is then asked for with
/// them, too, and what it names elsewhere is not; the elements that fetch playlists have no other way
/// to be told of them.
fn with_credentials(uri: &str, credentials: Option<&Credentials>) -> String {
    match uri.split_once("://").zip(credentials) {
        Some(((scheme, rest), Credentials { user, password })) => {
            format!("{scheme}://{}:{}@{rest}", escaped(user), escaped(password))
        }
        None => uri.to_owned(),
    }
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
    fn credentials_in_an_address_are_escaped() {
        let credentials = Credentials { user: "a@b".into(), password: "p/w".into() };
        let uri = with_credentials("http://h:80/a.m3u8?x=y", Some(&credentials));
        assert_eq!(uri, "http://a%40b:p%2Fw@h:80/a.m3u8?x=y");
        assert_eq!(with_credentials("http://h/", None), "http://h/");
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
