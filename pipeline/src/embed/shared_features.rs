//! What neighbouring clips share: a frame's features, kept while a clip may still need them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use super::queue::SourceToken;
use super::turns::SourceKey;

/// Features of frames, by source and media time: of each source at most as many as one clip has
/// frames, between two batches, and of all together no more than there is memory for.
pub(super) struct SharedFeatures<F> {
    sources: HashMap<SourceKey, OfSource<F>>,
    /// Counts the sources that were forgotten for want of memory.
    forgotten: u64,
}

struct OfSource<F> {
    source: Weak<SourceToken>,
    /// By media time.
    frames: VecDeque<(u64, F)>,
    /// What a frame's take; of one model, all take the same.
    bytes_of_each: usize,
}

impl<F: Clone> SharedFeatures<F> {
    pub(super) fn new() -> Self {
        Self { sources: HashMap::new(), forgotten: 0 }
    }

    pub(super) fn find(&self, source: &SourceToken, time_ns: u64) -> Option<&F> {
        let frames = &self.sources.get(&source.key)?.frames;
        let at = frames.binary_search_by_key(&time_ns, |(time_ns, _)| *time_ns).ok()?;
        Some(&frames[at].1)
    }

    /// Keeps features of so many bytes.
    pub(super) fn keep(
        &mut self,
        source: &Arc<SourceToken>,
        time_ns: u64,
        features: F,
        bytes: usize,
    ) {
        let of_source = self.sources.entry(source.key).or_insert_with(|| OfSource {
            source: Arc::downgrade(source),
            frames: VecDeque::new(),
            bytes_of_each: 0,
        });
        // Pictures in tiles take as much as they have tiles.
        of_source.bytes_of_each = of_source.bytes_of_each.max(bytes);
        let frames = &mut of_source.frames;
        // Nearly always the last.
        let at = frames.partition_point(|(known_ns, _)| *known_ns < time_ns);
        match frames.get_mut(at) {
            Some((known_ns, known)) if *known_ns == time_ns => *known = features,
            _ => frames.insert(at, (time_ns, features)),
        }
    }

    /// A clip with frames at these times is done: what lies before the next clip's start is not
    /// needed any more. Where the next one begins after it, it may still begin with this one's last
    /// frame, which is shown until another comes. Clips that are left out after it change nothing:
    /// whatever comes next begins there or later.
    pub(super) fn forget_before_next(
        &mut self,
        source: &SourceToken,
        mut times_ns: impl DoubleEndedIterator<Item = u64> + Clone,
    ) {
        let next = times_ns.clone().nth(source.stride).or_else(|| times_ns.next_back());
        let (Some(next), Some(of_source)) = (next, self.sources.get_mut(&source.key)) else {
            return;
        };
        let forgotten = of_source.frames.partition_point(|(time_ns, _)| *time_ns < next);
        of_source.frames.drain(..forgotten);
    }

    /// Sources that have ended need nothing.
    pub(super) fn forget_ended(&mut self) {
        self.sources.retain(|_, of_source| of_source.source.strong_count() > 0);
    }

    /// Forgets whole sources until all that is kept takes at most so many bytes. Which, is left to
    /// chance: cameras come in turn, so whoever waited longest is needed next, and whoever was served
    /// last may never leave.
    pub(super) fn forget_beyond(&mut self, most: u64) {
        while self.bytes() > most {
            self.forgotten += 1;
            let chance = self.forgotten.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let at = chance % self.sources.len().max(1) as u64;
            let Some(key) = self.sources.keys().nth(at as usize).copied() else { return };
            self.sources.remove(&key);
        }
    }

    fn bytes(&self) -> u64 {
        let of_source = |one: &OfSource<F>| one.frames.len() as u64 * one.bytes_of_each as u64;
        self.sources.values().map(of_source).sum()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sources.values().map(|of_source| of_source.frames.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_next_clip_are_kept_and_the_others_forgotten() {
        let mut shared = SharedFeatures::new();
        let source = SourceToken::alone(1, 2);
        for time in 0..4 {
            shared.keep(&source, time, time, 1);
        }
        shared.forget_before_next(&source, 0..4);
        assert_eq!(shared.find(&source, 1), None);
        assert_eq!(shared.find(&source, 2), Some(&2));
        assert_eq!(shared.len(), 2);
    }

    #[test]
    fn clips_that_do_not_overlap_leave_only_the_frame_that_may_still_be_shown() {
        let mut shared = SharedFeatures::new();
        let source = SourceToken::alone(1, 2);
        for time in 0..4 {
            shared.keep(&source, time, time, 1);
        }
        shared.forget_before_next(&source, 0..2);
        assert_eq!(shared.find(&source, 0), None);
        assert_eq!(shared.find(&source, 1), Some(&1));
        assert_eq!(shared.find(&source, 3), Some(&3), "the next clip of the same batch");
    }

    #[test]
    fn what_there_is_no_memory_for_is_forgotten_by_sources() {
        let mut shared = SharedFeatures::new();
        let sources: Vec<_> = (0..10).map(|number| SourceToken::alone(number, 2)).collect();
        for source in &sources {
            for time in 0..4 {
                shared.keep(source, time, time, 100);
            }
        }
        shared.forget_beyond(4000);
        assert_eq!(shared.len(), 40);
        shared.forget_beyond(1700);
        assert_eq!(shared.len(), 16, "four whole sources");
        let held = |source: &Arc<SourceToken>| {
            (0..4).filter(|time| shared.find(source, *time).is_some()).count()
        };
        assert!(sources.iter().all(|source| [0, 4].contains(&held(source))));
        shared.forget_beyond(0);
        assert_eq!(shared.len(), 0);
    }

    #[test]
    fn two_sources_never_share_and_an_ended_one_leaves_nothing() {
        let mut shared = SharedFeatures::new();
        let (one, two) = (SourceToken::alone(1, 1), SourceToken::alone(2, 1));
        shared.keep(&one, 7, 'a', 1);
        assert_eq!(shared.find(&two, 7), None);
        shared.keep(&two, 7, 'b', 1);
        drop(one);
        shared.forget_ended();
        assert_eq!((shared.len(), shared.find(&two, 7)), (1, Some(&'b')));
    }

    #[test]
    fn frames_that_come_late_or_twice_find_their_place() {
        let mut shared = SharedFeatures::new();
        let source = SourceToken::alone(1, 1);
        for (time, features) in [(5, 'e'), (9, 'i'), (7, 'x'), (7, 'g')] {
            shared.keep(&source, time, features, 1);
        }
        assert_eq!(
            [5, 7, 9].map(|time| shared.find(&source, time).copied()),
            ['e', 'g', 'i'].map(Some)
        );
        assert_eq!(shared.len(), 3);
    }
}
