//! A second RTSP server, which shares no code with `GStreamer`: VLC. It serves RTP over UDP only and
//! answers a wish for TCP with `461 Unsupported Transport`, as some cameras do.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long VLC may take to serve.
const PATIENCE: Duration = Duration::from_secs(20);
/// VLC refuses to run as root; this is nobody.
const NOBODY: u32 = 65534;

/// VLC, serving one file again and again; stopped when dropped.
#[derive(Debug)]
pub struct VlcServer {
    child: Child,
    port: u16,
    _home: tempfile::TempDir,
}

impl VlcServer {
    /// Serves a copy of `file`; none where VLC is not installed, which is then said.
    ///
    /// # Panics
    /// When VLC is there and does not serve.
    pub fn start(file: &Path) -> Option<Self> {
        let home = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let copy = home.path().join("film");
        fs_err::copy(file, copy).unwrap_or_else(|error| panic!("{error}"));
        open_to_all(home.path());
        let port = free_port();
        let Ok(child) = command(home.path(), port).spawn() else {
            eprintln!("skipped: vlc is not installed");
            return None;
        };
        let mut server = Self { child, port, _home: home };
        server.wait();
        Some(server)
    }

    /// Where the film is found.
    pub fn url(&self) -> String {
        format!("rtsp://127.0.0.1:{}/film", self.port)
    }

    fn wait(&mut self) {
        let start = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            let ended = self.child.try_wait();
            assert!(matches!(ended, Ok(None)), "vlc does not serve: {ended:?}");
            assert!(start.elapsed() < PATIENCE, "vlc does not serve");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for VlcServer {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn command(home: &Path, port: u16) -> Command {
    let mut vlc = Command::new("vlc");
    vlc.current_dir(home)
        .env("HOME", home)
        .args(["--intf", "dummy", "--no-audio", "--loop", "--sout-keep", "--quiet"])
        .args(["--rtsp-host", "127.0.0.1", "--rtsp-port", &port.to_string()])
        .args(["--sout", &format!("#rtp{{sdp=rtsp://127.0.0.1:{port}/film}}"), "film"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if is_root(home) {
        vlc.uid(NOBODY).gid(NOBODY);
    }
    vlc
}

/// Whether what we make is root's.
fn is_root(home: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    fs_err::metadata(home).is_ok_and(|metadata| metadata.uid() == 0)
}

/// Lets nobody read and write in a folder of ours.
fn open_to_all(home: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for path in [home.to_owned(), home.join("film")] {
        fs_err::set_permissions(path, PermissionsExt::from_mode(0o777))
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// VLC cannot choose one itself.
fn free_port() -> u16 {
    let address =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    address.unwrap_or_else(|error| panic!("{error}")).port()
}
