//! One mount: what it shows, what is wrong with it, and how a client gets it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use gst::prelude::*;
use gst_rtsp_server::prelude::*;

use crate::faults::{self, Faults};
use crate::mount::{Carrier, Codec, MountSpec};
use crate::playout::Playout;
use crate::reel::Reel;
use crate::{ServerError, lock};

/// Who may watch: everyone who gets past the password, if there is one.
pub(crate) const ROLE: &str = "viewer";
/// RTCP packets come this often; RFC 3550 would start at 5 seconds.
const RTCP_INTERVAL: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// UDP ports to serve from, on loopback. One that is taken is skipped.
const UDP_PORTS: (u16, u16) = (20_000, 60_000);

/// A mount of the server.
#[derive(Debug)]
pub struct Camera {
    showing: Mutex<Showing>,
    faults: Arc<Faults>,
    born: Instant,
}

#[derive(Debug)]
struct Showing {
    spec: MountSpec,
    reel: Arc<Reel>,
}

impl Camera {
    /// Loads what `spec` describes.
    pub fn new(spec: MountSpec) -> Result<Self, ServerError> {
        let reel = Arc::new(Reel::load(&spec)?);
        let showing = Mutex::new(Showing { spec, reel });
        Ok(Self { showing, faults: Arc::default(), born: Instant::now() })
    }

    /// What is wrong with the stream.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What is shown.
    pub fn reel(&self) -> Arc<Reel> {
        lock(&self.showing).reel.clone()
    }

    /// Since when the camera plays.
    pub fn age(&self) -> gst::ClockTime {
        self.born.elapsed().try_into().unwrap_or(gst::ClockTime::ZERO)
    }

    /// Shows the same in another form: another size, frame rate or codec. Takes as long as the
    /// encoder does; what was shown goes on until then.
    pub fn reshape(&self, change: impl FnOnce(&mut MountSpec)) -> Result<(), ServerError> {
        let mut spec = lock(&self.showing).spec.clone();
        change(&mut spec);
        let reel = Arc::new(Reel::load(&spec)?);
        *lock(&self.showing) = Showing { spec, reel };
        Ok(())
    }

    /// What makes this camera's media when a client asks. It is good for the codec that is shown
    /// now: another codec needs another factory.
    pub(crate) fn factory(
        self: &Arc<Self>,
    ) -> Result<gst_rtsp_server::RTSPMediaFactory, ServerError> {
        let factory = gst_rtsp_server::RTSPMediaFactory::new();
        let codec = self.reel().codec();
        factory.set_launch(&launch(codec));
        factory.set_shared(true);
        factory.set_suspend_mode(gst_rtsp_server::RTSPSuspendMode::None);
        factory.set_protocols(match lock(&self.showing).spec.carrier {
            None => gst_rtsp::RTSPLowerTrans::UDP | gst_rtsp::RTSPLowerTrans::TCP,
            Some(Carrier::Tcp) => gst_rtsp::RTSPLowerTrans::TCP,
            Some(Carrier::Udp) => gst_rtsp::RTSPLowerTrans::UDP,
        });
        let ports = gst_rtsp_server::RTSPAddressPool::new();
        ports.add_range("127.0.0.1", "127.0.0.1", UDP_PORTS.0, UDP_PORTS.1, 0)?;
        factory.set_address_pool(Some(&ports));
        let rights = gst::Structure::builder(ROLE)
            .field(gst_rtsp_server::RTSP_PERM_MEDIA_FACTORY_ACCESS, true)
            .field(gst_rtsp_server::RTSP_PERM_MEDIA_FACTORY_CONSTRUCT, true)
            .build();
        factory.add_role_from_structure(&rights);
        let camera = self.clone();
        factory.connect_media_configure(move |_, media| camera.attend(media, codec));
        Ok(factory)
    }

    /// Feeds a new media and puts the faults in its way.
    fn attend(self: &Arc<Self>, media: &gst_rtsp_server::RTSPMedia, codec: Codec) {
        let Ok(bin) = media.element().downcast::<gst::Bin>() else { return };
        let Some(source) = bin.by_name("source").and_downcast::<gst_app::AppSrc>() else { return };
        if let Some(pad) = bin.by_name("pay0").and_then(|pay| pay.static_pad("src")) {
            faults::on_rtp(&pad, &self.faults);
        }
        if let Some(pipeline) = bin.parent().and_downcast::<gst::Bin>() {
            let faults = self.faults.clone();
            pipeline.connect_element_added(move |_, element| watch_session(element, &faults));
        }
        media.connect_prepared(|media| {
            if let Some(session) = media.stream(0).and_then(|stream| stream.rtpsession()) {
                session.set_property("rtcp-min-interval", RTCP_INTERVAL.nseconds());
            }
        });
        let ended = Arc::new(AtomicBool::new(false));
        let over = ended.clone();
        media.connect_unprepared(move |_| over.store(true, Ordering::Relaxed));
        let playout = Playout { camera: self.clone(), codec, source: source.downgrade(), ended };
        std::thread::spawn(move || playout.run());
    }
}

/// The stream comes from an appsrc that drops the oldest where a client does not keep up.
fn launch(codec: Codec) -> String {
    format!(
        "( appsrc name=source is-live=true format=time max-buffers=64 max-bytes=0 max-time=0 \
         leaky-type=downstream caps={},stream-format=byte-stream,alignment=au ! \
         rtp{}pay name=pay0 pt=96 config-interval=-1 )",
        codec.media_type(),
        codec.stem()
    )
}

/// Puts the camera's clock into the sender reports of the session manager, once it has made their
/// pad.
fn watch_session(element: &gst::Element, faults: &Arc<Faults>) {
    if element.factory().is_none_or(|factory| factory.name() != "rtpbin") {
        return;
    }
    let faults = faults.clone();
    element.connect_pad_added(move |_, pad| {
        if pad.name().starts_with("send_rtcp_src") {
            faults::on_rtcp(pad, &faults);
        }
    });
}
