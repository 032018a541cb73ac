//! The camera for tests, as a process of its own.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A `footage-rtsp-server`. Dropping it pulls its plug.
pub(crate) struct Server {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) port: u16,
    /// The certificate to trust, where it speaks TLS.
    pub(crate) ca: Option<PathBuf>,
}

impl Server {
    /// Starts one with these arguments; says so and gives none where it was not built.
    pub(crate) fn start(args: &[&str]) -> Option<Self> {
        let exe = std::env::current_exe().unwrap();
        let server = exe.parent()?.parent()?.join("footage-rtsp-server");
        if !server.exists() {
            eprintln!("skipped: no {}: build the workspace", server.display());
            return None;
        }
        let mut child = Command::new(server)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let commands = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let ready: serde_json::Value = serde_json::from_str(&line(&mut answers)).unwrap();
        let port = ready["ready"]["port"].as_u64().unwrap() as u16;
        let ca = ready["ready"]["ca"].as_str().map(PathBuf::from);
        Some(Self { child, commands, answers, port, ca })
    }

    /// Tells it to do something, and waits until it has.
    pub(crate) fn tell(&mut self, command: &str) {
        writeln!(self.commands, "{command}").unwrap();
        let answer = line(&mut self.answers);
        assert!(answer.contains("done"), "{command}: {answer}");
    }
}

fn line(answers: &mut BufReader<ChildStdout>) -> String {
    let mut line = String::new();
    answers.read_line(&mut line).unwrap();
    line
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
