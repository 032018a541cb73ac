//! What neighbouring clips share: a frame's features, kept while a clip may still need them.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use super::SourceToken;

/// Features of frames, by source and media time.
pub(super) struct SharedFeatures<F> {
    sources: Vec<(Weak<SourceToken>, BTreeMap<u64, F>)>,
}

impl<F: Clone> SharedFeatures<F> {
    pub(super) fn new() -> Self {
        Self { sources: Vec::new() }
    }

    pub(super) fn find(&self, source: &Arc<SourceToken>, time_ns: u64) -> Option<&F> {
        let of = |(token, _): &&(Weak<SourceToken>, _)| {
            std::ptr::eq(token.as_ptr(), &raw const **source)
        };
        self.sources.iter().find(of)?.1.get(&time_ns)
    }

    pub(super) fn keep(&mut self, source: &Arc<SourceToken>, time_ns: u64, features: F) {
        self.of(source).insert(time_ns, features);
    }

    /// A clip with frames at these times is done: what lies before the next clip's start is not
    /// needed any more. Where the next one begins after it, it may still begin with this one's last
    /// frame, which is shown until another comes.
    pub(super) fn forget_before_next(&mut self, source: &Arc<SourceToken>, times_ns: &[u64]) {
        let stride = source.stride;
        let Some(next) = times_ns.get(stride).or(times_ns.last()) else { return };
        let frames = self.of(source);
        *frames = frames.split_off(next);
    }

    /// Sources that have ended need nothing.
    pub(super) fn forget_ended(&mut self) {
        self.sources.retain(|(source, _)| source.strong_count() > 0);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.sources.iter().map(|(_, frames)| frames.len()).sum()
    }

    fn of(&mut self, source: &Arc<SourceToken>) -> &mut BTreeMap<u64, F> {
        let known = self
            .sources
            .iter()
            .position(|(token, _)| std::ptr::eq(token.as_ptr(), &raw const **source));
        let at = known.unwrap_or_else(|| {
            self.sources.push((Arc::downgrade(source), BTreeMap::new()));
            self.sources.len() - 1
        });
        &mut self.sources[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(stride: usize) -> Arc<SourceToken> {
        Arc::new(SourceToken { stride })
    }

    #[test]
    fn frames_of_the_next_clip_are_kept_and_the_others_forgotten() {
        let mut shared = SharedFeatures::new();
        let source = source(2);
        for time in 0..4 {
            shared.keep(&source, time, time);
        }
        shared.forget_before_next(&source, &[0, 1, 2, 3]);
        assert_eq!(shared.find(&source, 1), None);
        assert_eq!(shared.find(&source, 2), Some(&2));
        assert_eq!(shared.len(), 2);
    }

    #[test]
    fn clips_that_do_not_overlap_leave_only_the_frame_that_may_still_be_shown() {
        let mut shared = SharedFeatures::new();
        let source = source(2);
        for time in 0..4 {
            shared.keep(&source, time, time);
        }
        shared.forget_before_next(&source, &[0, 1]);
        assert_eq!(shared.find(&source, 0), None);
        assert_eq!(shared.find(&source, 1), Some(&1));
        assert_eq!(shared.find(&source, 3), Some(&3), "the next clip of the same batch");
    }

    #[test]
    fn two_sources_never_share_and_an_ended_one_leaves_nothing() {
        let mut shared = SharedFeatures::new();
        let (one, two) = (source(1), source(1));
        shared.keep(&one, 7, 'a');
        assert_eq!(shared.find(&two, 7), None);
        shared.keep(&two, 7, 'b');
        drop(one);
        shared.forget_ended();
        assert_eq!((shared.len(), shared.find(&two, 7)), (1, Some(&'b')));
    }
}
