//! How a recording goes: written by the stream's thread and by the writer, read by who asks.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use footage_clip::{FragmentName, MediaRef, Span};

use super::{Fragment, Fragments, RecordingError};
use crate::lock;

/// Fragments remembered with their ends. A clip asks for its own a few seconds after it ended.
const REMEMBERED: usize = 64;

/// What was kept so far, and what was not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordingUse {
    /// Fragments begun.
    pub fragments: u64,
    /// Compressed pictures written.
    pub pictures: u64,
    /// Compressed pictures that are in no fragment: before the first keyframe, or while the disk was
    /// full or slow.
    pub left_out: u64,
    /// Compressed bytes written, without the containers'.
    pub bytes: u64,
}

/// Shared by the stream's thread, the writer and the [`Recorder`](super::Recorder).
#[derive(Debug)]
pub(super) struct Course {
    dir: PathBuf,
    fragment_ns: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) used: RecordingUse,
    /// The writer gave up a fragment: the next keyframe is to begin another.
    pub(super) is_broken: bool,
    failure: Option<RecordingError>,
    /// When a failure was last told, so that a disk that is now full and now not fills no log.
    told: Option<Instant>,
    /// This one was.
    is_told: bool,
    /// Fragments of this recording, oldest first.
    kept: Vec<Kept>,
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    name: FragmentName,
    ends_ns: u64,
}

/// A failure that comes back within this time is not told again.
const QUIET: Duration = Duration::from_secs(60);

impl Course {
    /// Of a recording into `dir`, in fragments of `fragment_ns`.
    pub(super) fn new(dir: PathBuf, fragment_ns: u64) -> Self {
        Self { dir, fragment_ns, state: Mutex::default() }
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    pub(super) fn failure(&self) -> Option<RecordingError> {
        self.state().failure.clone()
    }

    /// Footage is not kept any more, for this reason.
    pub(super) fn fail(&self, error: RecordingError) {
        let mut state = self.state();
        state.is_broken = true;
        if state.failure.is_none() && state.told.is_none_or(|told| told.elapsed() > QUIET) {
            state.told = Some(Instant::now());
            state.is_told = true;
            tracing::warn!(dir = %self.dir.display(), %error, "footage is not kept");
        }
        state.failure = Some(error);
    }

    /// A fragment has begun.
    pub(super) fn begin(&self, name: FragmentName) {
        let mut state = self.state();
        state.kept.push(Kept { name, ends_ns: name.begins_ns });
        let excess = state.kept.len().saturating_sub(REMEMBERED);
        state.kept.drain(..excess);
    }

    /// The fragment begun last reaches so far.
    pub(super) fn reach(&self, ends_ns: u64) {
        if let Some(last) = self.state().kept.last_mut() {
            last.ends_ns = last.ends_ns.max(ends_ns);
        }
    }

    /// A fragment was given up, and reaches no further than this.
    pub(super) fn cut(&self, name: FragmentName, ends_ns: u64) {
        if let Some(kept) = self.state().kept.iter_mut().find(|kept| kept.name == name) {
            kept.ends_ns = kept.ends_ns.min(ends_ns);
        }
    }

    /// Nothing came of a fragment.
    pub(super) fn forget(&self, name: FragmentName) {
        self.state().kept.retain(|kept| kept.name != name);
    }

    /// A picture was written; with the first of a fragment, all is well again.
    pub(super) fn wrote(&self, bytes: usize, is_first: bool) {
        let mut state = self.state();
        state.used.pictures += 1;
        state.used.bytes += bytes as u64;
        state.used.fragments += u64::from(is_first);
        if is_first && state.failure.take().is_some() && std::mem::take(&mut state.is_told) {
            let left_out = state.used.left_out;
            tracing::info!(dir = %self.dir.display(), left_out, "footage is kept again");
        }
    }

    /// Where the footage of a clip begins: in the fragment that holds the begin of its span or, where
    /// that was not recorded, the first that begins within it.
    pub(super) fn media_of(&self, span: &Span) -> Option<MediaRef> {
        let state = self.state();
        let is_ours = state.kept.first().is_some_and(|first| first.name.begins_ns <= span.start_ns);
        let found = state
            .kept
            .iter()
            .find(|kept| kept.ends_ns > span.start_ns && kept.name.begins_ns < span.end_ns)
            .map(|kept| self.fragment(kept.name));
        drop(state);
        found.or_else(|| if is_ours { None } else { self.media_on_disk(span) })
    }

    /// The same of an earlier recording, whose ends nobody remembers: what begins much earlier than a
    /// fragment lasts ended before.
    fn media_on_disk(&self, span: &Span) -> Option<MediaRef> {
        let earliest_ns = span.start_ns.saturating_sub(self.fragment_ns.saturating_mul(2));
        let fragments = Fragments::open(&self.dir).within(*span).ok()?;
        fragments.iter().find(|each| each.begins_ns >= earliest_ns).map(Fragment::media)
    }

    fn fragment(&self, name: FragmentName) -> MediaRef {
        let path = self.dir.join(name.to_string()).to_string_lossy().into_owned();
        MediaRef { path, begins_ns: name.begins_ns }
    }
}
