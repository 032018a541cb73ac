//! A broker of Kafka's protocol for tests: `tansu`, which keeps what it is given in `SQLite`. It is not
//! Apache Kafka: docs/cluster.md says what that leaves untried.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a command until its own input ends, which it does with the process of the tests, however that
/// ends: a value in a static is never dropped.
const HELD: &str = r#""$@" </dev/null >/dev/null & echo $!; read -r _; kill -9 $!; wait"#;

/// A broker of its own, which ends with this value.
#[derive(Debug)]
pub struct Broker {
    program: PathBuf,
    folder: tempfile::TempDir,
    address: SocketAddr,
    /// Where it says that it is.
    told: SocketAddr,
    /// What holds it, and its process.
    held: (Child, u32),
    /// What it is started with besides.
    with: &'static [&'static str],
}

impl Broker {
    /// Starts a broker with nothing in it; none, with a word why, where there is none to start.
    ///
    /// # Panics
    /// When it is there and does not start.
    pub fn start() -> Option<Self> {
        Self::start_told(|address| address)
    }

    /// The same, where clients are told to find it elsewhere than it listens.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_told(told: impl FnOnce(SocketAddr) -> SocketAddr) -> Option<Self> {
        let program = program()?;
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        // The broker cannot choose a free port itself: one that was free a moment ago.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = free.unwrap_or_else(|error| panic!("no port: {error}"));
        let told = told(address);
        let held = launched(&program, folder.path(), address, told, &[]);
        Some(Self { program, folder, address, told, held, with: &[] })
    }

    /// The same, and it lets in only who gives this name and password.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with_user(
        name: &str,
        password: &str,
        told: impl FnOnce(SocketAddr) -> SocketAddr,
    ) -> Option<Self> {
        let mut broker = Self::start_told(told)?;
        let url = format!("tcp://{}", broker.address);
        let made = Command::new(&broker.program)
            .args(["user", "create", "--broker", &url, name, password])
            .output()
            .unwrap_or_else(|error| panic!("{error}"));
        assert!(made.status.success(), "{made:?}");
        broker.kill();
        broker.with = &["--authentication"];
        broker.restart();
        Some(broker)
    }

    /// Where it listens.
    pub fn listens(&self) -> SocketAddr {
        self.address
    }

    /// Where clients find it.
    pub fn address(&self) -> String {
        self.told.to_string()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.held.1
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        drop(self.held.0.stdin.take());
        // One that has ended by itself is what is wanted.
        drop(self.held.0.wait());
    }

    /// Starts it again, with what it has on disk.
    pub fn restart(&mut self) {
        self.held = launched(&self.program, self.folder.path(), self.address, self.told, self.with);
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launched(
    program: &Path,
    folder: &Path,
    address: SocketAddr,
    told: SocketAddr,
    with: &[&str],
) -> (Child, u32) {
    let (listener, told) = (format!("tcp://{address}"), format!("tcp://{told}"));
    let mut holder = Command::new("bash")
        .args(["-c", HELD, "bash"])
        .arg(program)
        .args(["broker", "--silent", "--listener-url", &listener])
        .args(["--advertised-listener-url", &told])
        .args(["--storage-engine", "sqlite://tansu.db"])
        .args(with)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("bash: {error}"));
    let mut line = String::new();
    if let Some(out) = holder.stdout.take() {
        // What cannot be read is seen in the number that is missing.
        drop(BufReader::new(out).read_line(&mut line));
    }
    let process = line.trim().parse().unwrap_or_else(|error| panic!("{line:?}: {error}"));
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(30), "the broker does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    (holder, process)
}

/// The broker's program, as `.ci/broker` finds it. `.ci/run` builds it first.
fn program() -> Option<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/broker");
    let output = Command::new("bash").arg(script).arg("--find").output();
    let output = output.unwrap_or_else(|error| panic!("bash: {error}"));
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() && !path.is_empty() {
        return Some(path.into());
    }
    let is_needed = std::env::var_os("FOOTAGE_TEST_BROKER_NEEDED").is_some();
    assert!(!is_needed, "no broker to test with: {}", String::from_utf8_lossy(&output.stderr));
    eprintln!(
        "skipped: no broker to test with; `.ci/broker` builds it once, in a quarter of an hour"
    );
    None
}
