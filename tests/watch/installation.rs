//! A data directory with a `footage watch` on it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use footage_tests::{Said, footage, run};
use serde_json::Value;

/// What a busy machine may need for anything here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Settings that make a test short: patience is short, and nothing is gated, so that every clip is
/// one that can be counted.
const QUICK: [(&str, &str); 3] = [
    ("FOOTAGE__LIVE__STALLED_AFTER_S", "3"),
    ("FOOTAGE__LIVE__GATE", "false"),
    ("FOOTAGE__LIVE__DECODE", "all"),
];

/// A data directory, and the process that watches there.
pub(crate) struct Installation {
    folder: tempfile::TempDir,
    settings: Vec<(String, String)>,
    watch: Option<Child>,
}

/// A small disk, in memory. Unmounted at the end.
pub(crate) struct Disk(tempfile::TempDir);

impl Disk {
    /// Says so and gives none where mounting is not permitted.
    pub(crate) fn of_mib(mib: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(dir));
        }
        eprintln!("skipped: mounting a disk is not permitted here");
        None
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.path()).status().unwrap();
        assert!(unmounted.success());
    }
}

/// A stretch of a source's timeline, in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stretch {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) from_s: f64,
    pub(crate) to_s: f64,
}

impl Installation {
    pub(crate) fn new() -> Self {
        Self::in_folder(&std::env::temp_dir())
    }

    /// In a folder of its own within `parent`.
    pub(crate) fn in_folder(parent: &Path) -> Self {
        let settings = QUICK.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let folder = tempfile::tempdir_in(parent).unwrap();
        Self { folder, settings: settings.to_vec(), watch: None }
    }

    /// With one more setting.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Where the watching process writes what it says.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.path().join("watch.log")
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = footage();
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("FOOTAGE_") {
                command.env_remove(name);
            }
        }
        command.args(args).current_dir(self.folder()).env("FOOTAGE__DATA__DIR", self.data());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        run(&mut self.command(args))
    }

    /// Runs, and expects it to go well.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let said = self.run(args);
        assert_eq!(said.code, Some(0), "{args:?}: {said:?}\n{}", self.told());
        said.out
    }

    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args)).unwrap()
    }

    /// Starts to watch, and waits until requests are answered.
    pub(crate) fn watch(&mut self) {
        assert!(self.watch.is_none(), "watched already");
        let log = fs_err::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let mut command = self.command(&["watch", "-v"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.into_file());
        self.watch = Some(command.spawn().unwrap());
        let socket = self.data().join("footage.sock");
        until("the socket", || {
            self.assert_running();
            std::os::unix::net::UnixStream::connect(&socket).is_ok().then_some(())
        });
    }

    pub(crate) fn assert_running(&mut self) {
        let ended = self.watch.as_mut().map(|child| child.try_wait().unwrap());
        assert!(matches!(ended, Some(None)), "the watch ended: {ended:?}\n{}", self.told());
    }

    /// Ends it as Ctrl-C does, and expects it to end well.
    pub(crate) fn stop(&mut self) {
        let mut child = self.watch.take().unwrap();
        let asked = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(asked.success());
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(begun.elapsed() < PATIENCE, "it does not end\n{}", self.told()),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        assert_eq!(status.code(), Some(0), "{}", self.told());
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(&mut self) {
        let mut child = self.watch.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// What the watching process said.
    pub(crate) fn told(&self) -> String {
        let mut told = String::new();
        if let Ok(mut log) = fs_err::File::open(self.log()) {
            log.read_to_string(&mut told).unwrap();
        }
        told
    }

    pub(crate) fn sources(&self) -> Vec<Value> {
        self.json(&["source", "list", "--json"])["sources"].as_array().unwrap().clone()
    }

    pub(crate) fn source(&self, id: &str) -> Option<Value> {
        self.sources().into_iter().find(|source| source["source_id"] == id)
    }

    /// `connecting`, `live`, `stalled`, `failed`; empty for a source that is not watched.
    pub(crate) fn state(&self, id: &str) -> String {
        let source = self.source(id);
        let state = source.as_ref().and_then(|source| source["live"]["state"].as_str());
        state.unwrap_or_default().to_owned()
    }

    pub(crate) fn until_state(&self, id: &str, state: &str) {
        until(&format!("{id} to be {state}\n{}", self.told()), || {
            (self.state(id) == state).then_some(())
        });
    }

    pub(crate) fn clips(&self, id: &str) -> u64 {
        self.source(id).map_or(0, |source| source["indexed_clips"].as_u64().unwrap())
    }

    /// Waits until more clips than now can be found.
    pub(crate) fn until_more_clips(&self, id: &str) {
        let before = self.clips(id);
        until(&format!("more than {before} clips of {id}\n{}", self.told()), || {
            (self.clips(id) > before).then_some(())
        });
    }

    /// The timeline of a source, and what is wrong with it: it has no holes, and nothing overlaps.
    pub(crate) fn timeline(&self, id: &str) -> Vec<Stretch> {
        let coverage = self.json(&["coverage", id, "--json"]);
        let stretches: Vec<Stretch> = coverage["stretches"]
            .as_array()
            .unwrap()
            .iter()
            .map(|stretch| Stretch {
                state: stretch["state"].as_str().unwrap().to_owned(),
                reason: stretch["reason"].as_str().map(str::to_owned),
                from_s: stretch["from_s"].as_f64().unwrap(),
                to_s: stretch["to_s"].as_f64().unwrap(),
            })
            .collect();
        for pair in stretches.windows(2) {
            let apart = pair[1].from_s - pair[0].to_s;
            assert!(apart.abs() < 1e-3, "{apart} s between {pair:?}\n{}", self.told());
        }
        stretches
    }

    /// Reasons for which time was lost.
    pub(crate) fn lost(&self, id: &str) -> Vec<String> {
        self.timeline(id).into_iter().filter_map(|stretch| stretch.reason).collect()
    }

    /// How the runs of a source began.
    pub(crate) fn run_causes(&self, id: &str) -> Vec<String> {
        let coverage = self.json(&["coverage", id, "--json"]);
        let runs = coverage["runs"].as_array().unwrap();
        runs.iter().map(|run| run["cause"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if let Some(mut child) = self.watch.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Waits for something that is to come true.
pub(crate) fn until<T>(what: &str, mut is_so: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = is_so() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
