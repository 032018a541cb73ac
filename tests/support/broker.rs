//! A broker of Kafka's protocol for tests: `tansu`, which keeps what it is given in SQLite. It is not
//! Apache Kafka: docs/cluster.md says what that leaves untried.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A broker of its own, which ends with this value.
#[derive(Debug)]
pub struct Broker {
    program: PathBuf,
    folder: tempfile::TempDir,
    address: SocketAddr,
    process: Child,
}

impl Broker {
    /// Starts a broker with nothing in it; none, with a word why, where there is none to start.
    ///
    /// # Panics
    /// When it is there and does not start.
    pub fn start() -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        // The broker cannot choose a free port itself: one that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.unwrap_or_else(|error| panic!("no port: {error}"));
        let process = launched(&program, folder.path(), address);
        Some(Self { program, folder, address, process })
    }

    /// Where clients find it.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // One that has ended by itself is what is wanted.
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// Starts it again, with what it has on disk.
    pub fn restart(&mut self) {
        self.process = launched(&self.program, self.folder.path(), self.address);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launched(program: &Path, folder: &Path, address: SocketAddr) -> Child {
    let listener = format!("tcp://{address}");
    let mut process = Command::new(program)
        .args(["broker", "--silent", "--listener-url", &listener])
        .args(["--advertised-listener-url", &listener])
        .args(["--storage-engine", "sqlite://tansu.db"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        let ended = process.try_wait();
        assert!(matches!(ended, Ok(None)), "the broker ended: {ended:?}");
        assert!(began.elapsed() < Duration::from_secs(30), "the broker does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    process
}

/// The broker's program, as `.ci/broker` finds it; in CI it is built where there is none.
fn program() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/broker");
    let output = Command::new("bash").arg(script).arg("--find").output();
    let output = output.unwrap_or_else(|error| panic!("bash: {error}"));
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !path.is_empty() {
        return Some(path.into());
    }
    assert!(std::env::var_os("CI").is_none(), "no broker to test with: ./test builds it in CI");
    eprintln!(
        "skipped: no broker to test with; `.ci/broker` builds it once, in a quarter of an hour"
    );
    None
}
