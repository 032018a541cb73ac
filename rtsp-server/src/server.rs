//! The whole: mounts, credentials and TLS behind a front.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst_rtsp_server::prelude::*;

use crate::camera::{Camera, ROLE};
use crate::certificate::Certificate;
use crate::command::Command;
use crate::front::Front;
use crate::mount::MountSpec;
use crate::{ServerError, lock};

/// How often it is looked for sessions that timed out.
const CLEANUP: Duration = Duration::from_secs(2);

/// Who may come in, and how.
#[derive(Debug, Default)]
pub struct Access {
    /// User and password; everyone where there is none.
    pub credentials: Option<(String, String)>,
    /// Ask for the password in plain text instead of a digest.
    pub basic: bool,
    /// Speak TLS with this certificate.
    pub certificate: Option<Certificate>,
}

/// A running server. It serves as long as the default main context is iterated.
#[derive(Debug)]
pub struct Server {
    front: Front,
    mounts: gst_rtsp_server::RTSPMountPoints,
    cameras: BTreeMap<String, Arc<Camera>>,
    doorman: Option<Doorman>,
}

impl Server {
    /// Serves `specs` on `port` of 127.0.0.1, or on a free one where it is 0.
    pub fn start(port: u16, access: &Access, specs: Vec<MountSpec>) -> Result<Self, ServerError> {
        let server = gst_rtsp_server::RTSPServer::new();
        server.set_address("127.0.0.1");
        server.set_service("0");
        if let Some(threads) = server.thread_pool() {
            // One a client: a camera that sends nothing must not hold up the others' clients.
            threads.set_max_threads(-1);
        }
        let mounts = server.mount_points().unwrap_or_default();
        server.set_mount_points(Some(&mounts));
        let mut cameras = BTreeMap::new();
        for spec in specs {
            let name = spec.name.clone();
            let camera = Arc::new(Camera::new(spec)?);
            mounts.add_factory(&format!("/{name}"), camera.factory()?);
            cameras.insert(name, camera);
        }
        let doorman = Doorman::new(access)?;
        if let Some(doorman) = &doorman {
            server.set_auth(Some(&doorman.auth));
        }
        // The sources are never removed: the server lives as long as the process.
        server.attach(None)?;
        forget_lost_clients(&server);
        let bound = u16::try_from(server.bound_port()).unwrap_or_default();
        let front = Front::open(port, SocketAddr::from((Ipv4Addr::LOCALHOST, bound)))?;
        Ok(Self { front, mounts, cameras, doorman })
    }

    /// The port that clients connect to.
    pub fn port(&self) -> u16 {
        self.front.port()
    }

    /// The names of the mounts.
    pub fn mounts(&self) -> impl Iterator<Item = &str> {
        self.cameras.keys().map(String::as_str)
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.front.connections()
    }

    fn camera(&self, name: &str) -> Result<&Arc<Camera>, ServerError> {
        let known = self.cameras.get(name.trim_matches('/'));
        known.ok_or_else(|| ServerError::UnknownMount(name.to_owned()))
    }

    /// Does what it is told; a change of form returns once the new form is encoded. [`Command::Die`]
    /// ends the process.
    pub fn obey(&self, command: Command) -> Result<(), ServerError> {
        match command {
            Command::Die => std::process::exit(1),
            Command::Stall { mount } => self.camera(&mount)?.faults().stall(true),
            Command::Resume { mount } => self.camera(&mount)?.faults().stall(false),
            Command::Resize { mount, width, height } => {
                self.camera(&mount)?.reshape(|spec| spec.size = Some((width, height)))?;
            }
            Command::Fps { mount, fps } => {
                self.camera(&mount)?.reshape(|spec| spec.fps = Some(fps))?;
            }
            Command::Codec { mount, codec } => {
                let camera = self.camera(&mount)?;
                camera.reshape(|spec| spec.codec = Some(codec))?;
                self.mounts
                    .add_factory(&format!("/{}", mount.trim_matches('/')), camera.factory()?);
            }
            Command::ClockJump { mount, seconds } => {
                self.camera(&mount)?.faults().step_clock((seconds * 1000.0) as i64);
            }
            Command::Garbage { mount, seconds } => {
                self.camera(&mount)?.faults().garble(Duration::from_secs_f64(seconds.max(0.0)));
            }
            Command::Delay { mount, ms } => {
                self.camera(&mount)?.faults().delay(Duration::from_millis(ms));
            }
            Command::Loss { mount, percent } => self.camera(&mount)?.faults().lose(percent),
            Command::Refuse { on } => self.front.refuse(on)?,
            Command::Reset => self.front.reset(),
            Command::Freeze => self.front.freeze(),
            Command::Thaw => self.front.thaw(),
            Command::Password { new } => {
                self.doorman.as_ref().ok_or(ServerError::NoCredentials)?.change_password(new)?;
            }
            Command::Connections => {}
        }
        Ok(())
    }
}

/// A client that vanished without a word, as one over UDP may, is forgotten when its session times
/// out; somebody has to look.
fn forget_lost_clients(server: &gst_rtsp_server::RTSPServer) {
    if let Some(sessions) = server.session_pool() {
        gst::glib::timeout_add(CLEANUP, move || {
            sessions.cleanup();
            gst::glib::ControlFlow::Continue
        });
    }
}

/// Asks for credentials and speaks TLS.
#[derive(Debug)]
struct Doorman {
    auth: gst_rtsp_server::RTSPAuth,
    basic: bool,
    credentials: Mutex<Option<(String, String)>>,
}

impl Doorman {
    /// None where nothing is asked for.
    fn new(access: &Access) -> Result<Option<Self>, ServerError> {
        if access.credentials.is_none() && access.certificate.is_none() {
            return Ok(None);
        }
        let auth = gst_rtsp_server::RTSPAuth::new();
        if let Some(certificate) = &access.certificate {
            auth.set_tls_certificate(Some(&certificate.for_gio()?));
        }
        let credentials = Mutex::new(access.credentials.clone());
        let doorman = Self { auth, basic: access.basic, credentials };
        match &access.credentials {
            Some((user, password)) => doorman.admit(user, password),
            None => doorman.auth.set_default_token(Some(&mut token())),
        }
        Ok(Some(doorman))
    }

    fn admit(&self, user: &str, password: &str) {
        if self.basic {
            self.auth.set_supported_methods(gst_rtsp::RTSPAuthMethod::Basic);
            let basic = gst_rtsp_server::RTSPAuth::make_basic(user, password);
            self.auth.add_basic(&basic, &token());
        } else {
            self.auth.set_supported_methods(gst_rtsp::RTSPAuthMethod::Digest);
            self.auth.add_digest(user, password, &token());
        }
    }

    fn change_password(&self, new: String) -> Result<(), ServerError> {
        let mut credentials = lock(&self.credentials);
        let (user, password) = credentials.as_mut().ok_or(ServerError::NoCredentials)?;
        if self.basic {
            self.auth.remove_basic(&gst_rtsp_server::RTSPAuth::make_basic(user, password));
        } else {
            self.auth.remove_digest(user);
        }
        self.admit(user, &new);
        *password = new;
        Ok(())
    }
}

/// What lets its bearer watch.
fn token() -> gst_rtsp_server::RTSPToken {
    gst_rtsp_server::RTSPToken::builder()
        .field(gst_rtsp_server::RTSP_TOKEN_MEDIA_FACTORY_ROLE, ROLE)
        .build()
}
