//! A camera that does what a test tells it: `footage-rtsp-server`, started and stopped here.
//!
//! The file stands alone, so that the tests of a room may include it as a module of their own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Encoding what is shown takes its time where the machine is busy.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of the program.
const PROGRAM: &str = "footage-rtsp-server";

/// How a camera is set up. See `footage-rtsp-server --help` for what a mount may be; `cam` alone is
/// a moving ball, 320x240, 10 frames a second.
#[derive(Debug, Clone)]
pub struct RtspSetup {
    mounts: Vec<String>,
    options: Vec<String>,
    port: u16,
}

impl RtspSetup {
    /// Asks for credentials, by digest.
    #[must_use]
    pub fn credentials(self, user: &str, password: &str) -> Self {
        self.option(&["--user", user, "--password", password])
    }

    /// Asks for the credentials in plain text.
    #[must_use]
    pub fn basic(self) -> Self {
        self.option(&["--basic"])
    }

    /// Speaks TLS with a certificate that is kept in `folder`: clients may trust `ca.pem` there.
    #[must_use]
    pub fn tls(self, folder: &Path) -> Self {
        self.option(&["--tls", &folder.display().to_string()])
    }

    /// Makes a certificate that no client should accept: `expired` or `other-host`.
    #[must_use]
    pub fn flaw(self, flaw: &str) -> Self {
        self.option(&["--flaw", flaw])
    }

    /// Listens on this port instead of a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    fn option(mut self, words: &[&str]) -> Self {
        self.options.extend(words.iter().map(|&word| word.to_owned()));
        self
    }

    /// Starts the camera and waits until it serves.
    ///
    /// # Panics
    /// When it does not.
    pub fn start(self) -> RtspServer {
        let mut process = Process::spawn(&self);
        let ready = process.answer();
        let ready = ready.get("ready").unwrap_or_else(|| panic!("{ready}"));
        let port = ready["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        RtspServer {
            port: port.unwrap_or_else(|| panic!("{ready}")),
            scheme: ready["scheme"].as_str().unwrap_or_default().to_owned(),
            ca: ready["ca"].as_str().map(PathBuf::from),
            process,
            setup: self,
        }
    }
}

/// A running camera; its end is ours.
#[derive(Debug)]
pub struct RtspServer {
    setup: RtspSetup,
    process: Process,
    port: u16,
    scheme: String,
    ca: Option<PathBuf>,
}

impl RtspServer {
    /// A camera with these mounts, not yet started.
    pub fn of(mounts: &[&str]) -> RtspSetup {
        let mounts = mounts.iter().map(|&mount| mount.to_owned()).collect();
        RtspSetup { mounts, options: Vec::new(), port: 0 }
    }

    /// A camera with these mounts, open to everyone.
    pub fn start(mounts: &[&str]) -> Self {
        Self::of(mounts).start()
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where a mount is found; without credentials.
    pub fn url(&self, mount: &str) -> String {
        format!("{}://127.0.0.1:{}/{mount}", self.scheme, self.port)
    }

    /// The authority that signed the camera's certificate, in PEM; none without TLS.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// Sends no pictures and keeps the connection; RTCP goes on.
    pub fn stall(&mut self, mount: &str) {
        self.tell(&json!({"do": "stall", "mount": mount}));
    }

    /// Ends a stall.
    pub fn resume(&mut self, mount: &str) {
        self.tell(&json!({"do": "resume", "mount": mount}));
    }

    /// Shows the same in another size, without ending the stream.
    pub fn resize(&mut self, mount: &str, width: u32, height: u32) {
        self.tell(&json!({"do": "resize", "mount": mount, "width": width, "height": height}));
    }

    /// Shows the same at another frame rate, without ending the stream.
    pub fn fps(&mut self, mount: &str, fps: u32) {
        self.tell(&json!({"do": "fps", "mount": mount, "fps": fps}));
    }

    /// Shows the same in `h264` or `h265`: the stream ends, and who asks anew gets the new codec.
    pub fn codec(&mut self, mount: &str, codec: &str) {
        self.tell(&json!({"do": "codec", "mount": mount, "codec": codec}));
    }

    /// Steps the clock of the RTCP sender reports; RTP timestamps go on as they were.
    pub fn clock_jump(&mut self, mount: &str, seconds: f64) {
        self.tell(&json!({"do": "clock-jump", "mount": mount, "seconds": seconds}));
    }

    /// Corrupts the payload of every RTP packet for so long.
    pub fn garbage(&mut self, mount: &str, seconds: f64) {
        self.tell(&json!({"do": "garbage", "mount": mount, "seconds": seconds}));
    }

    /// Sends every packet so much later than its timestamp says; 0 ends it.
    pub fn delay(&mut self, mount: &str, ms: u64) {
        self.tell(&json!({"do": "delay", "mount": mount, "ms": ms}));
    }

    /// Leaves out this share of RTP packets; 0 ends it. For UDP: TCP does not lose packets.
    pub fn loss(&mut self, mount: &str, percent: u8) {
        self.tell(&json!({"do": "loss", "mount": mount, "percent": percent}));
    }

    /// Refuses new connections, or accepts them again; open ones stay.
    pub fn refuse(&mut self, on: bool) {
        self.tell(&json!({"do": "refuse", "on": on}));
    }

    /// Resets all connections with a TCP RST in the middle of a message, within 300 ms.
    pub fn reset(&mut self) {
        self.tell(&json!({"do": "reset"}));
    }

    /// Carries nothing over TCP any more and closes nothing.
    pub fn freeze(&mut self) {
        self.tell(&json!({"do": "freeze"}));
    }

    /// Serves new connections after a freeze; the old ones stay silent for ever.
    pub fn thaw(&mut self) {
        self.tell(&json!({"do": "thaw"}));
    }

    /// Changes the password; who is connected stays.
    pub fn password(&mut self, new: &str) {
        self.tell(&json!({"do": "password", "new": new}));
    }

    /// How many connections are open now.
    pub fn connections(&mut self) -> u64 {
        self.tell(&json!({"do": "connections"}))["connections"].as_u64().unwrap_or_default()
    }

    /// Ends the process at once, as a camera whose plug is pulled. [`Self::start_again`] undoes it.
    pub fn die(&mut self) {
        self.process.send(&json!({"do": "die"}));
        self.process.wait();
    }

    /// Starts a camera that died: same mounts, same credentials, same certificate, same port. What it
    /// was told since its start is forgotten.
    pub fn start_again(&mut self) {
        self.process.wait();
        let server = self.setup.clone().port(self.port).start();
        *self = server;
    }

    /// Sends a command and waits until it is carried out.
    ///
    /// # Panics
    /// When it is not.
    pub fn tell(&mut self, command: &Value) -> Value {
        self.process.send(command);
        let answer = self.process.answer();
        assert_eq!(answer["done"], true, "{command}: {answer}");
        answer
    }
}

/// The program with its two ends.
#[derive(Debug)]
struct Process {
    child: Child,
    commands: Option<ChildStdin>,
    answers: Receiver<String>,
}

impl Process {
    fn spawn(setup: &RtspSetup) -> Self {
        let mut child = Command::new(program())
            .args(["--port", &setup.port.to_string()])
            .args(&setup.options)
            .args(&setup.mounts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{PROGRAM}: {error}"));
        let commands = child.stdin.take();
        let output = child.stdout.take();
        let (sender, answers) = sync_channel(16);
        std::thread::spawn(move || {
            for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
                if line.is_err() || line.is_ok_and(|line| sender.send(line).is_err()) {
                    return;
                }
            }
        });
        Self { child, commands, answers }
    }

    fn send(&mut self, command: &Value) {
        let commands = self.commands.as_mut().unwrap_or_else(|| panic!("no standard input"));
        writeln!(commands, "{command}").unwrap_or_else(|error| panic!("{command}: {error}"));
    }

    fn answer(&mut self) -> Value {
        let line = self.answers.recv_timeout(PATIENCE);
        let line = line.unwrap_or_else(|error| panic!("{PROGRAM} says nothing: {error}"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Waits until the program has ended.
    fn wait(&mut self) {
        let start = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) {
            assert!(start.elapsed() < PATIENCE, "{PROGRAM} does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The program that was built with these tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    tests
        .ancestors()
        .map(|folder| folder.join(PROGRAM))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("no {PROGRAM} beside {}: build it first", tests.display()))
}
