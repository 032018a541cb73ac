//! What the tests beside this file share: where the house stands, the real binary, real footage.

use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "support/broker.rs"]
pub mod broker;
#[path = "support/cable.rs"]
pub mod cable;
#[path = "support/qdrant.rs"]
pub mod qdrant;
#[path = "support/rtsp.rs"]
pub mod rtsp;
#[path = "support/vlc.rs"]
pub mod vlc;

/// The workspace's root folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."))
}

/// The `footage` binary that was built with these tests.
///
/// # Panics
/// When it was not built; `./test` builds it first.
pub fn footage() -> Command {
    let tests = std::env::current_exe().unwrap_or_default();
    let binary = tests
        .ancestors()
        .map(|folder| folder.join("footage"))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| panic!("no `footage` beside {}: build it first", tests.display()));
    Command::new(binary)
}

/// A folder of the optional collection of real footage, from `FOOTAGE_SHARED` or `../shared`. Says
/// that the test is skipped where there is none.
pub fn real_footage(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("FOOTAGE_SHARED")
        .map_or_else(|| root().join("../shared"), PathBuf::from)
        .join("footage")
        .join(folder);
    if shared.is_dir() {
        return Some(shared);
    }
    eprintln!("skipped: no real footage at {}", shared.display());
    None
}

/// What a finished command said.
#[derive(Debug)]
pub struct Said {
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// Runs a command to its end.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command) -> Said {
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command that must succeed.
///
/// # Panics
/// When it does not.
pub fn run_well(command: &mut Command) -> String {
    let said = run(command);
    assert_eq!(said.code, Some(0), "{command:?}\n{}\n{}", said.out, said.err);
    said.out
}

/// Renders sample footage into `folder`: `videos` files of `seconds` each.
///
/// # Panics
/// When that fails.
pub fn render(folder: &Path, seed: u64, videos: usize, seconds: u32) {
    run_well(
        footage()
            .arg("synth")
            .arg("--out")
            .arg(folder)
            .args(["--seed", &seed.to_string()])
            .args(["--videos", &videos.to_string()])
            .args(["--seconds", &seconds.to_string()]),
    );
}

/// Writes a model that is another than the bundled one by its fingerprint alone, and sees what that sees.
/// Gives its folder.
///
/// # Panics
/// When it cannot be written.
pub fn twin_model(folder: &Path) -> String {
    let bundled = root().join("models/mini");
    fs_err::create_dir(folder).expect("the folder is new");
    for name in ["model.safetensors", "tokenizer.json"] {
        fs_err::copy(bundled.join(name), folder.join(name)).expect("it is bundled");
    }
    let config = fs_err::read(bundled.join("model.json")).expect("it is bundled");
    let mut config: serde_json::Value = serde_json::from_slice(&config).expect("it is JSON");
    config["name"] = "twin".into();
    config["preprocess"]["mean"] = serde_json::json!([118.001, 118.0, 118.0]);
    fs_err::write(folder.join("model.json"), config.to_string()).expect("there is room");
    folder.to_str().expect("a name of letters").to_owned()
}
