//! The real binary, in a folder of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![allow(dead_code, reason = "every test file uses a part of this")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;

/// A data directory, and room for videos.
pub(crate) struct Bench {
    pub(crate) folder: tempfile::TempDir,
}

/// What a run of the binary gave.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// Copies the sample video here under a name.
    pub(crate) fn with_video(self, name: &str) -> Self {
        fs_err::copy(sample(), self.path(name)).unwrap();
        self
    }

    /// The binary on this bench, untouched by the environment of whoever runs the tests.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_footage"));
        command.args(args).current_dir(self.folder.path()).env("FOOTAGE__DATA__DIR", self.data());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("FOOTAGE_") && name != "FOOTAGE__DATA__DIR" {
                command.env_remove(name);
            }
        }
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap())
    }

    /// Runs, and expects it to go well.
    pub(crate) fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// Runs a verb that prints one JSON value.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.ok(args).out).unwrap()
    }

    pub(crate) fn sources(&self) -> Vec<Value> {
        self.json(&["source", "list", "--json"])["sources"].as_array().unwrap().clone()
    }
}

impl Ran {
    pub(crate) fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// A few seconds of the small world, rendered once for all tests of a file.
pub(crate) fn sample() -> &'static Path {
    static SAMPLE: OnceLock<PathBuf> = OnceLock::new();
    SAMPLE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sample-footage");
        let run = Command::new(env!("CARGO_BIN_EXE_footage"))
            .args(["synth", "--videos", "1", "--seconds", "12", "--seed", "3", "--out"])
            .arg(&folder)
            .output()
            .unwrap();
        assert!(run.status.success(), "{run:?}");
        let mut videos: Vec<_> = fs_err::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e != "json"))
            .collect();
        videos.sort();
        videos.remove(0)
    })
}
