//! Which clips get captions, and which wait for one.
//!
//! Clips overlap, and neighbours show nearly the same. So captions have a unit of their own: of a
//! source, a clip gets one where it begins at the end of the last that has one, or later. That is one
//! clip per length of the window, whatever the stride. Who makes captions while footage comes in takes
//! fewer of these, and leaves the rest to whoever makes up for it later.

use std::collections::{BTreeMap, VecDeque};

use footage_clip::{SourceId, Span};

/// What a clip's turn comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It is to get a caption.
    Due,
    /// It would get one, were they made more often.
    Spared,
    /// A caption stands for it, or is about to: its own, or one of a clip that it overlaps.
    Covered,
}

/// Goes through the clips of one source in order of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_field_names, reason = "the unit belongs to each name")]
pub struct Pace {
    /// No two captions begin closer to each other, in nanoseconds of media time.
    every_ns: u64,
    /// End of the last unit.
    covered_ns: u64,
    /// Where the last clip began that got a caption.
    last_ns: Option<u64>,
}

impl Pace {
    /// At most one caption in so many nanoseconds; 0 for every unit.
    pub fn new(every_ns: u64) -> Self {
        Self { every_ns, ..Self::default() }
    }

    /// The turn of the next clip. Where a camera's clock was set back, the count begins anew.
    pub fn turn(&mut self, span: &Span, has_caption: bool) -> Turn {
        if self.last_ns.is_some_and(|last| span.end_ns <= last) {
            *self = Self::new(self.every_ns);
        }
        if has_caption {
            self.covered_ns = self.covered_ns.max(span.end_ns);
            self.last_ns = Some(span.start_ns);
            return Turn::Covered;
        }
        if span.start_ns < self.covered_ns {
            return Turn::Covered;
        }
        self.covered_ns = span.end_ns;
        if self.last_ns.is_some_and(|last| span.start_ns - last.min(span.start_ns) < self.every_ns)
        {
            return Turn::Spared;
        }
        self.last_ns = Some(span.start_ns);
        Turn::Due
    }
}

/// A clip, as far as its turn depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described<C> {
    /// The clip.
    pub clip: C,
    /// Where it lies.
    pub span: Span,
    /// Whether it has a caption.
    pub has_caption: bool,
}

/// What of a source is to get captions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing<C> {
    /// The clips, in order of time.
    pub due: Vec<C>,
    /// Clips that would get one, were they made more often.
    pub spared: usize,
    /// Clips that have one.
    pub captioned: usize,
}

/// Goes through all clips of one source, in whatever order they come. A clip half of which, or more,
/// a later caption stands for gets none.
pub fn missing<C>(mut clips: Vec<Described<C>>, every_ns: u64) -> Missing<C> {
    clips.sort_by_key(|clip| (clip.span.start_ns, clip.span.end_ns));
    let mut next_captioned = vec![u64::MAX; clips.len()];
    let mut next = u64::MAX;
    for (at, clip) in clips.iter().enumerate().rev() {
        next = if clip.has_caption { clip.span.start_ns } else { next };
        next_captioned[at] = next;
    }
    let mut pace = Pace::new(every_ns);
    let mut found = Missing { due: Vec::new(), spared: 0, captioned: 0 };
    for (Described { clip, span, has_caption }, next_ns) in clips.into_iter().zip(next_captioned) {
        found.captioned += usize::from(has_caption);
        let shared_ns = span.end_ns.saturating_sub(next_ns.max(span.start_ns));
        if !has_caption && shared_ns > 0 && 2 * shared_ns >= span.duration_ns() {
            continue;
        }
        match pace.turn(&span, has_caption) {
            Turn::Due => found.due.push(clip),
            Turn::Spared => found.spared += 1,
            Turn::Covered => {}
        }
    }
    found
}

/// What waits for its caption, of many sources, in a bounded queue. Sources take turns.
#[derive(Clone, Debug)]
pub struct Waiting<C> {
    sources: BTreeMap<SourceId, VecDeque<C>>,
    /// Whose turn it is, first to last.
    turns: VecDeque<SourceId>,
    room: usize,
}

impl<C> Waiting<C> {
    /// Nothing waits, and at most `room` ever will.
    pub fn new(room: usize) -> Self {
        Self { sources: BTreeMap::new(), turns: VecDeque::new(), room }
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.sources.values().map(VecDeque::len).sum()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Adds what came last of a source. Where there is no room, the oldest of the source that has most
    /// gives way, and is returned: what was seen just now is worth more than what is late already.
    pub fn push(&mut self, source: &SourceId, clip: C) -> Option<C> {
        let mut waiting = self.sources.entry(source.clone()).or_default();
        if waiting.is_empty() {
            self.turns.push_back(source.clone());
        }
        waiting.push_back(clip);
        if self.len() <= self.room {
            return None;
        }
        let longest = self.sources.iter().max_by_key(|(_, waiting)| waiting.len());
        let longest = longest.map(|(source, _)| source.clone())?;
        waiting = self.sources.get_mut(&longest)?;
        let gone = waiting.pop_front();
        if waiting.is_empty() {
            self.sources.remove(&longest);
            self.turns.retain(|source| *source != longest);
        }
        gone
    }

    /// The oldest of the source whose turn it is.
    pub fn pop(&mut self) -> Option<(SourceId, C)> {
        let source = self.turns.pop_front()?;
        let waiting = self.sources.get_mut(&source)?;
        let clip = waiting.pop_front()?;
        if waiting.is_empty() {
            self.sources.remove(&source);
        } else {
            self.turns.push_back(source.clone());
        }
        Some((source, clip))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn clip(from: u64, to: u64) -> Described<u64> {
        Described { clip: from, span: Span::new(from * S, to * S), has_caption: false }
    }

    /// Four seconds long, one each second.
    fn strided(from: u64, to: u64) -> Vec<Described<u64>> {
        (from..to).map(|at| clip(at, at + 4)).collect()
    }

    fn source(id: &str) -> SourceId {
        SourceId::try_new(id).unwrap()
    }

    #[test]
    fn one_clip_per_length_of_the_window_is_due_whatever_the_stride() {
        assert_eq!(missing(strided(0, 13), 0).due, [0, 4, 8, 12]);
        let mut turned = strided(0, 13);
        turned.reverse();
        assert_eq!(missing(turned, 0).due, [0, 4, 8, 12]);
        // After a break, the first clip there is.
        let broken = [strided(0, 3), strided(101, 106)].concat();
        assert_eq!(missing(broken, 0).due, [0, 101, 105]);
        assert!(missing(Vec::<Described<u64>>::new(), 0).due.is_empty());
    }

    #[test]
    fn what_has_captions_is_left_and_going_through_again_finds_nothing() {
        let mut clips = strided(0, 30);
        for (at, has) in [(6, true), (8, true), (22, true)] {
            clips[at].has_caption = has;
        }
        let first = missing(clips.clone(), 0);
        assert_eq!(first.captioned, 3);
        assert_eq!(first.due, [0, 12, 16, 26], "neither 4, half of which 6 stands for, nor 20");
        for due in first.due {
            clips[due as usize].has_caption = true;
        }
        assert!(missing(clips, 0).due.is_empty());
    }

    #[test]
    fn a_slower_pace_spares_units_and_says_how_many() {
        let found = missing(strided(0, 40), 10 * S);
        assert_eq!((found.due, found.spared), (vec![0, 12, 24, 36], 6));
        let mut pace = Pace::new(10 * S);
        let turns: Vec<_> =
            [0, 1, 4, 12].map(|at| pace.turn(&Span::new(at * S, (at + 4) * S), false)).into();
        assert_eq!(turns, [Turn::Due, Turn::Covered, Turn::Spared, Turn::Due]);
        let turn = pace.turn(&Span::new(2 * S, 6 * S), false);
        assert_eq!(turn, Turn::Due, "a clock that was set back keeps nothing from being described");
    }

    #[test]
    fn sources_take_turns_and_the_oldest_of_the_one_with_most_gives_way() {
        let mut waiting = Waiting::new(4);
        let (gate, yard) = (source("gate"), source("yard"));
        for at in 0..3 {
            assert_eq!(waiting.push(&gate, at), None);
        }
        assert_eq!(waiting.push(&yard, 10), None);
        assert_eq!(waiting.push(&yard, 11), Some(0));
        assert_eq!(waiting.len(), 4);
        let order: Vec<_> = std::iter::from_fn(|| waiting.pop()).map(|(_, clip)| clip).collect();
        assert_eq!(order, [1, 10, 2, 11]);
        assert!(waiting.is_empty());
        let mut none = Waiting::new(0);
        assert_eq!(none.push(&gate, 7), Some(7));
        assert!(none.pop().is_none());
    }

    proptest! {
        #[test]
        fn captions_never_lie_on_each_other_and_leave_no_gap_in_which_a_clip_would_fit(
            starts in prop::collection::btree_set(0u64..200, 0..60), length in 1u64..9,
        ) {
            let clips: Vec<_> = starts.iter().map(|at| clip(*at, at + length)).collect();
            let due = missing(clips.clone(), 0).due;
            for pair in due.windows(2) {
                prop_assert!(pair[0] + length <= pair[1]);
            }
            for at in &starts {
                let is_covered = due.iter().any(|due| *due < at + length && *at < due + length);
                prop_assert!(is_covered, "nothing stands for the clip at {}", at);
            }
        }

        #[test]
        fn nothing_that_waits_is_lost_without_a_word(
            pushes in prop::collection::vec(0usize..3, 0..40), room in 0usize..6,
        ) {
            let names = ["a", "b", "c"].map(source);
            let mut waiting = Waiting::new(room);
            let mut seen = Vec::new();
            for (clip, name) in pushes.iter().enumerate() {
                seen.extend(waiting.push(&names[*name], clip));
                prop_assert!(waiting.len() <= room);
            }
            seen.extend(std::iter::from_fn(|| waiting.pop()).map(|(_, clip)| clip));
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..pushes.len()).collect::<Vec<_>>());
        }
    }
}
