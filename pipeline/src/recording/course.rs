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

impl RecordingUse {
    /// What was added since it was `before`; all of it where another recording has begun since.
    pub(crate) fn since(self, before: Self) -> Self {
        let has_begun_anew = self.pictures < before.pictures
            || self.left_out < before.left_out
            || self.fragments < before.fragments;
        let before = if has_begun_anew { Self::default() } else { before };
        Self {
            fragments: self.fragments - before.fragments,
            pictures: self.pictures - before.pictures,
            left_out: self.left_out - before.left_out,
            bytes: self.bytes.saturating_sub(before.bytes),
        }
    }

    /// Adds what another recording kept.
    pub(crate) fn add(&mut self, more: Self) {
        self.fragments += more.fragments;
        self.pictures += more.pictures;
        self.left_out += more.left_out;
        self.bytes += more.bytes;
    }
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

impl Kept {
    fn holds(&self, ns: u64) -> bool {
        self.name.begins_ns <= ns && ns < self.ends_ns
    }

    fn begins_within(&self, span: &Span) -> bool {
        span.start_ns < self.name.begins_ns && self.name.begins_ns < span.end_ns
    }
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

    /// A fragment reaches so far, if it was not given up meanwhile.
    pub(super) fn reach(&self, name: FragmentName, ends_ns: u64) {
        if let Some(kept) = self.state().kept.iter_mut().rfind(|kept| kept.name == name) {
            kept.ends_ns = kept.ends_ns.max(ends_ns);
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
        let of_begin = state.kept.iter().rfind(|kept| kept.holds(span.start_ns));
        let found = of_begin
            .or_else(|| state.kept.iter().find(|kept| kept.begins_within(span)))
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

#[cfg(test)]
mod tests {
    use footage_clip::Container;

    use super::*;

    fn name(begins_ns: u64) -> FragmentName {
        FragmentName { begins_ns, container: Container::Mp4 }
    }

    /// Fragments of 100 ns, of which the second is whole, the third lacks its end, and the fourth is
    /// not there.
    fn course(dir: &Path) -> Course {
        let course = Course::new(dir.to_owned(), 100);
        for begins_ns in [1000, 1100, 1200, 1300] {
            course.begin(name(begins_ns));
            course.reach(name(begins_ns), begins_ns + 100);
        }
        course.cut(name(1200), 1250);
        course.forget(name(1300));
        course.reach(name(1300), 1390);
        course
    }

    #[test]
    fn a_clip_finds_the_fragment_of_its_begin_or_the_first_within_it() {
        let dir = tempfile::tempdir().unwrap();
        let course = course(dir.path());
        let of = |from, to| course.media_of(&Span::new(from, to)).map(|media| media.begins_ns);
        assert_eq!(of(1050, 1150), Some(1000));
        assert_eq!(of(1100, 1150), Some(1100), "it begins where one ends and the next begins");
        assert_eq!(of(1249, 1400), Some(1200));
        assert_eq!(of(1260, 1400), None, "given up");
        assert_eq!(of(990, 1010), Some(1000), "a slot begins before its picture");
        assert_eq!(of(900, 1000), None);
    }

    #[test]
    fn a_clip_of_an_earlier_recording_is_looked_for_on_disk() {
        let dir = tempfile::tempdir().unwrap();
        fs_err::write(dir.path().join("800.mp4"), "x").unwrap();
        let course = course(dir.path());
        let of = |from, to| course.media_of(&Span::new(from, to)).map(|media| media.begins_ns);
        assert_eq!(of(850, 950), Some(800));
        assert_eq!(of(999, 1000), Some(800), "it may have lasted so long");
        let later = Course::new(dir.path().to_owned(), 100);
        assert_eq!(later.media_of(&Span::new(1001, 1002)), None, "that is too long ago");
    }

    #[test]
    fn what_was_kept_adds_up_over_recordings() {
        let used = |pictures, left_out| RecordingUse {
            fragments: 1,
            pictures,
            left_out,
            bytes: pictures * 100,
        };
        let mut total = RecordingUse::default();
        let mut before = RecordingUse::default();
        // The third is another recording's first.
        for now in [used(10, 1), used(15, 3), used(4, 0), used(6, 0)] {
            total.add(now.since(before));
            before = now;
        }
        assert_eq!(total, RecordingUse { fragments: 2, ..used(21, 3) });
    }

    #[test]
    fn a_failure_lasts_until_a_fragment_has_its_first_picture() {
        let course = Course::new(PathBuf::new(), 100);
        course.fail(RecordingError::Full(PathBuf::new()));
        course.wrote(10, false);
        assert!(course.failure().is_some());
        course.wrote(10, true);
        assert_eq!(course.failure(), None);
        let used = course.state().used;
        assert_eq!((used.pictures, used.bytes, used.fragments), (2, 20, 1));
    }
}
