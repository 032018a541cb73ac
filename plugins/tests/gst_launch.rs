//! The shared library, in the tools that everybody has; every line that the documentation shows.
//!
//! Cargo builds the library for these tests, as it builds all of a package's library kinds at once,
//! and leaves it beside the test's own program.
#![expect(
    clippy::unwrap_used,
    reason = "`allow-unwrap-in-tests` does not reach the helpers of integration tests"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

use gst::prelude::*;
use gstfootage::FootageClipMeta;
use tempfile::TempDir;

/// A folder with nothing but the plugin, a registry and a video file.
static FOLDER: LazyLock<TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let library = library();
    let plugins = folder.path().join("plugins");
    fs_err::create_dir(&plugins).unwrap();
    fs_err::copy(&library, plugins.join(library.file_name().unwrap())).unwrap();
    folder
});

fn library() -> PathBuf {
    let name = format!("libgstfootage{}", std::env::consts::DLL_SUFFIX);
    std::env::current_exe().unwrap().with_file_name(name)
}

fn run(program: &str, line: &str) -> Output {
    Command::new(program)
        .args(["-c", line])
        .current_dir(FOLDER.path())
        .env("GST_PLUGIN_PATH", FOLDER.path().join("plugins"))
        .env("GST_REGISTRY", FOLDER.path().join("registry.bin"))
        .output()
        .unwrap()
}

fn printed(line: &str) -> String {
    let output = run("sh", line);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}\n{printed}\n{complaints}");
    printed
}

/// The `gst-launch-1.0` lines of a page or a source file, whole.
fn documented_lines(path: &str) -> Vec<String> {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = fs_err::read_to_string(path).unwrap();
    let text = text.replace("//! ", "").replace("\\\n", " ");
    text.lines().filter(|line| line.starts_with("gst-launch-1.0")).map(str::to_owned).collect()
}

fn clips_in(printed: &str) -> usize {
    printed
        .lines()
        .filter(|line| line.contains("chain") && line.contains("FootageClipMeta"))
        .count()
}

#[test]
fn the_documented_lines_run() {
    let video = "gst-launch-1.0 videotestsrc num-buffers=150 ! video/x-raw,width=64,height=48 \
                 ! jpegenc ! matroskamux ! filesink location=street.mkv";
    printed(video);

    let guide = documented_lines("../docs/plugin.md");
    assert_eq!(guide.len(), 2);
    assert_eq!(clips_in(&printed(&guide[0])), 4);
    assert_eq!(clips_in(&printed(&guide[1])), 1, "five seconds, ten frames, one whole clip");

    let clip = documented_lines("src/footageclip/mod.rs");
    assert_eq!(clips_in(&printed(&clip[0])), 4);
    let sample = documented_lines("src/footagesample/mod.rs");
    let frames = printed(&sample[0]).lines().filter(|line| line.contains("chain")).count();
    assert_eq!(frames, 10);
}

#[test]
fn gst_inspect_shows_every_property() {
    let shown = printed("gst-inspect-1.0 footageclip");
    for property in ["rate", "length", "stride", "max-gap", "partial", "frames-in", "clips-out"] {
        let title = format!("\n  {property} ");
        assert!(shown.contains(&title), "{property} is missing from\n{shown}");
    }
    assert!(shown.contains("Filter/Video") && shown.contains("video/x-footage-clip"));
    assert!(printed("gst-inspect-1.0 footagesample").contains("\n  rate "));
}

#[test]
fn a_program_that_links_the_crate_reads_clips_of_the_shared_library() {
    gst::init().unwrap();
    gst::Plugin::load_file(library()).unwrap();
    gstfootage::register_static().unwrap();

    let line = "videotestsrc num-buffers=8 ! footageclip length=2 rate=30/1 stride=2 \
                ! appsink name=sink sync=false";
    let pipeline = gst::parse::launch(line).unwrap().downcast::<gst::Pipeline>().unwrap();
    let sink = pipeline.by_name("sink").unwrap().downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let clip = sink.try_pull_sample(gst::ClockTime::from_seconds(10)).unwrap();

    let clip = FootageClipMeta::of(clip.buffer().unwrap()).unwrap();
    assert_eq!(clip.frames().map(|frame| frame.slot).collect::<Vec<_>>(), [0, 1]);
    pipeline.set_state(gst::State::Null).unwrap();
}
