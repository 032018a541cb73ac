//! Files to read, and reading them within a bound of time.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod house;
pub(crate) mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use footage_clip::{Cut, Rate, RgbFrame, Span, WindowSpec};
use footage_pipeline::{Cancel, DecodeError, DecodeSettings, Decoder, MediaFacts, Piece};

/// Nothing may take longer, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// A folder of real footage; says so and gives nothing where there is none.
pub(crate) fn real_footage(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("FOOTAGE_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"), PathBuf::from);
    let folder = shared.join("footage").join(folder);
    if !folder.is_dir() {
        eprintln!("skipped: no real footage at {}", folder.display());
        return None;
    }
    Some(folder)
}

pub(crate) fn window(length: usize, stride: usize, per_second: u32) -> WindowSpec {
    WindowSpec::try_new(length, stride, Rate::try_new(per_second, 1).unwrap()).unwrap()
}

/// All that a file gave.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) clips: Vec<Cut<RgbFrame>>,
    pub(crate) lost: Vec<Span>,
    pub(crate) facts: MediaFacts,
    pub(crate) failure: Option<DecodeError>,
}

impl Given {
    pub(crate) fn seen_s(&self) -> f64 {
        self.facts.seen_ns as f64 / 1e9
    }

    pub(crate) fn spans_s(&self) -> Vec<(f64, f64)> {
        self.clips.iter().map(|clip| (clip.span.start_s(), clip.span.end_s())).collect()
    }
}

/// Reads a file to its end; fails if that takes too long.
pub(crate) fn read(path: &Path, window: WindowSpec, settings: &DecodeSettings) -> Given {
    let (done, waiting) = mpsc::sync_channel(1);
    let (file, settings) = (path.to_owned(), settings.clone());
    thread::spawn(move || drop(done.send(read_to_end(&file, &window, &settings))));
    waiting.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{} hangs or panics", path.display()))
}

fn read_to_end(path: &Path, window: &WindowSpec, settings: &DecodeSettings) -> Given {
    let mut given =
        Given { clips: Vec::new(), lost: Vec::new(), facts: MediaFacts::default(), failure: None };
    let mut decoder = match Decoder::open(path, window, settings, &Cancel::default()) {
        Ok(decoder) => decoder,
        Err(error) => return Given { failure: Some(error), ..given },
    };
    loop {
        match decoder.next_piece() {
            Ok(Some(Piece::Clip(clip))) => given.clips.push(clip),
            Ok(Some(Piece::Lost(span))) => given.lost.push(span),
            Ok(None) => break,
            Err(error) => given.failure = Some(error),
        }
    }
    Given { facts: decoder.facts(), ..given }
}

/// Makes a file with a `gst-launch-1.0` line, in which `OUT` stands for its name.
pub(crate) fn launch(line: &str, out: &Path) {
    let words = line.split_whitespace().map(|word| word.replace("OUT", &out.to_string_lossy()));
    let made = Command::new("gst-launch-1.0").arg("-q").args(words).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
