//! A vector server for tests: `footage-qdrant-server`, Qdrant's engine behind its gRPC interface. It is
//! no Qdrant server: docs/cluster.md says what that leaves untried.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server of its own, which ends with this value.
#[derive(Debug)]
pub struct VectorServer {
    folder: tempfile::TempDir,
    process: Child,
    url: String,
}

impl VectorServer {
    /// Starts a server with nothing in it. `arguments` are its own, such as `--api-key`.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("no folder: {error}"));
        let (process, url) = launched(folder.path(), "127.0.0.1:0", arguments);
        Self { folder, process, url }
    }

    /// Where clients find it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it at once, as a crash would.
    pub fn kill(&mut self) {
        // One that has ended by itself is what is wanted.
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// Starts it again, with what it has on disk, at the same address.
    pub fn restart(&mut self, arguments: &[&str]) {
        let address = self.url.trim_start_matches("http://").to_owned();
        (self.process, self.url) = launched(self.folder.path(), &address, arguments);
    }
}

impl Drop for VectorServer {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launched(folder: &Path, listen: &str, arguments: &[&str]) -> (Child, String) {
    let program = program();
    let mut process = Command::new(&program)
        .args(["--listen", listen, "--dir"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
    let mut line = String::new();
    if let Some(out) = process.stdout.take() {
        // What cannot be read is seen in the line that is missing.
        drop(BufReader::new(out).read_line(&mut line));
    }
    let url = line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned();
    assert!(!url.is_empty(), "the server did not start: {line:?}");
    (process, url)
}

fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap_or_default();
    let mut built = tests.ancestors().map(|folder| folder.join("footage-qdrant-server"));
    built.find(|path| path.is_file()).unwrap_or_else(|| {
        panic!("no `footage-qdrant-server` beside {}: build it first", tests.display())
    })
}
