//! Sources with equal claims: whose turn it is, and who gives way.
//!
//! Each source has an account: the clips it was given a turn for. Of the sources with clips waiting,
//! the one with the lowest account is next. The most over-served is the one whose account would be
//! highest if all that it has waiting were taken too; where something has to give way, its newest
//! clip does. Among equals, whose last turn lies furthest back is next, and whose is latest gives way.
//!
//! Accounts speak of the recent past alone. There is a level, the highest account at which a turn was
//! given, and whoever comes back after a pause is at most [`CREDIT`] turns below it. So a pause earns
//! little; and turns that nobody else wanted cost nothing, for the level rises with them. A count that
//! decays by time would do the first but not the second: a camera that was alone for a while would
//! then get nothing until the others had caught up, for several half-lives. Here the others are ahead
//! by `CREDIT` turns each, and no more.
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng, 1996) with a little credit for the idle, and
//! a buffer that takes from the longest.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

/// Turns that a source may be behind the level. Enough that a source to which others were preferred
/// by chance is preferred the next time; few, because it is taken from the others in one go.
const CREDIT: u64 = 4;

/// Who a source is within the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SourceKey(pub(super) u64);

/// Clips waiting for their turn.
#[derive(Debug)]
pub(super) struct Turns<T> {
    sources: BTreeMap<SourceKey, Source<T>>,
    level: u64,
    /// Turns given.
    given: u64,
    /// Clips that came.
    arrivals: u64,
    /// Clips that wait.
    waiting: usize,
}

#[derive(Debug)]
struct Source<T> {
    account: u64,
    /// Number of the last turn given to it; 0 before the first.
    last_turn: u64,
    waiting: VecDeque<Waiting<T>>,
    /// Nothing more will come.
    is_last: bool,
}

#[derive(Debug)]
struct Waiting<T> {
    arrival: u64,
    since: Instant,
    item: T,
}

impl<T> Source<T> {
    /// Orders by how over-served a source is: its account if all its clips were taken, then its last
    /// turn, then the arrival of the clip that would give way.
    fn excess(&self) -> Option<(u64, u64, u64)> {
        let newest = self.waiting.back()?;
        Some((self.account + self.waiting.len() as u64, self.last_turn, newest.arrival))
    }

    /// Orders by whose turn it is: the lowest is next.
    fn claim(&self) -> Option<(u64, u64, u64)> {
        let oldest = self.waiting.front()?;
        Some((self.account, self.last_turn, oldest.arrival))
    }
}

impl<T> Turns<T> {
    pub(super) fn new() -> Self {
        Self { sources: BTreeMap::new(), level: 0, given: 0, arrivals: 0, waiting: 0 }
    }

    /// Clips that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// A source's next clip, which comes at `now`. The first one makes the source known.
    pub(super) fn push(&mut self, key: SourceKey, item: T, now: Instant) {
        self.arrivals += 1;
        self.waiting += 1;
        let arrival = self.arrivals;
        let source = self.sources.entry(key).or_insert_with(|| Source {
            account: self.level,
            last_turn: 0,
            waiting: VecDeque::new(),
            is_last: false,
        });
        if source.waiting.is_empty() {
            source.account = source.account.max(self.level.saturating_sub(CREDIT));
        }
        source.waiting.push_back(Waiting { arrival, since: now, item });
    }

    /// The oldest clip of the source whose turn it is.
    pub(super) fn take(&mut self) -> Option<T> {
        let claims = self.sources.iter().filter_map(|(key, source)| Some((source.claim()?, *key)));
        let (_, key) = claims.min()?;
        let source = self.sources.get_mut(&key)?;
        let taken = source.waiting.pop_front()?;
        self.waiting -= 1;
        self.given += 1;
        self.level = self.level.max(source.account);
        source.account += 1;
        source.last_turn = self.given;
        if source.is_last && source.waiting.is_empty() {
            self.sources.remove(&key);
        }
        Some(taken.item)
    }

    /// The newest clip of the most over-served source.
    pub(super) fn give_way(&mut self) -> Option<T> {
        let most = self.sources.values_mut().max_by_key(|source| source.excess())?;
        let newest = most.waiting.pop_back()?;
        self.waiting -= 1;
        Some(newest.item)
    }

    /// Moves clips that came before `until` to `overdue`.
    pub(super) fn give_up(&mut self, until: Instant, overdue: &mut Vec<T>) {
        for source in self.sources.values_mut() {
            while source.waiting.front().is_some_and(|oldest| oldest.since < until) {
                overdue.extend(source.waiting.pop_front().map(|oldest| oldest.item));
                self.waiting -= 1;
            }
        }
    }

    /// The source leaves, and takes what waits with it.
    pub(super) fn withdraw(&mut self, key: SourceKey) -> impl Iterator<Item = T> + use<T> {
        let left = self.sources.remove(&key).map(|source| source.waiting).unwrap_or_default();
        self.waiting -= left.len();
        left.into_iter().map(|waiting| waiting.item)
    }

    /// Nothing more comes from the source; what waits still gets its turn.
    pub(super) fn finish(&mut self, key: SourceKey) {
        match self.sources.get_mut(&key) {
            Some(source) if !source.waiting.is_empty() => source.is_last = true,
            Some(_) => drop(self.sources.remove(&key)),
            None => {}
        }
    }

    /// All that waits, in no order.
    pub(super) fn into_clips(self) -> impl Iterator<Item = T> {
        self.sources.into_values().flat_map(|source| source.waiting).map(|waiting| waiting.item)
    }

    /// Sources that are known.
    #[cfg(test)]
    pub(super) fn sources(&self) -> usize {
        self.sources.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turns(waiting: &[(u64, u32)]) -> Turns<(u64, u32)> {
        let mut turns = Turns::new();
        for clip in waiting {
            turns.push(SourceKey(clip.0), *clip, Instant::now());
        }
        turns
    }

    fn taken(turns: &mut Turns<(u64, u32)>) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| turns.take()).collect()
    }

    #[test]
    fn sources_take_turns_and_each_keeps_its_order() {
        let mut turns = turns(&[(1, 0), (1, 1), (1, 2), (2, 0), (3, 0), (2, 1)]);
        assert_eq!(taken(&mut turns), [(1, 0), (2, 0), (3, 0), (1, 1), (2, 1), (1, 2)]);
        assert_eq!(turns.len(), 0);
    }

    #[test]
    fn the_newest_clip_of_whom_most_is_waiting_gives_way() {
        let mut turns = turns(&[(1, 0), (2, 0), (2, 1), (3, 0)]);
        assert_eq!(turns.give_way(), Some((2, 1)));
    }

    #[test]
    fn with_equally_many_waiting_whoever_was_served_gives_way() {
        let mut turns = turns(&[(1, 0), (2, 0)]);
        assert_eq!(turns.take(), Some((1, 0)));
        turns.push(SourceKey(1), (1, 1), Instant::now());
        turns.push(SourceKey(3), (3, 0), Instant::now());
        assert_eq!(turns.give_way(), Some((1, 1)));
        assert_eq!(turns.give_way(), Some((3, 0)), "among equals, the newest");
    }

    #[test]
    fn turns_that_nobody_else_wanted_cost_nothing() {
        let mut turns = Turns::new();
        for clip in 0..1000 {
            turns.push(SourceKey(1), (1, clip), Instant::now());
            turns.take();
        }
        for clip in 0..3 {
            turns.push(SourceKey(1), (1, 1000 + clip), Instant::now());
            turns.push(SourceKey(2), (2, clip), Instant::now());
        }
        let order: Vec<u64> = taken(&mut turns).into_iter().map(|(source, _)| source).collect();
        assert_eq!(order, [2, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn a_pause_earns_a_few_turns_and_no_more() {
        let mut turns = turns(&[(2, 0)]);
        turns.take();
        for clip in 0..1000 {
            turns.push(SourceKey(1), (1, clip), Instant::now());
            turns.take();
        }
        for clip in 0..20 {
            turns.push(SourceKey(1), (1, 1000 + clip), Instant::now());
            turns.push(SourceKey(2), (2, 1 + clip), Instant::now());
        }
        let order = taken(&mut turns);
        let ahead = order.iter().take_while(|(source, _)| *source == 2).count();
        assert!((1..=CREDIT as usize + 2).contains(&ahead), "{ahead} turns ahead");
    }

    #[test]
    fn whoever_leaves_takes_its_clips_and_whoever_finishes_leaves_them() {
        let mut turns = turns(&[(1, 0), (2, 0), (1, 1), (2, 1)]);
        assert_eq!(turns.withdraw(SourceKey(1)).collect::<Vec<_>>(), [(1, 0), (1, 1)]);
        turns.finish(SourceKey(2));
        assert_eq!((turns.len(), turns.sources()), (2, 1));
        assert_eq!(taken(&mut turns), [(2, 0), (2, 1)]);
        assert_eq!(turns.sources(), 0);
    }
}
