//! The stage's queue: live sources and archives, and what gives way when the stage is behind.
//!
//! Archives bring clips only where there is room for them, which whoever brings them sees to. Live
//! sources bring clips whenever they come; while more wait than there is room for, the newest clip of
//! the most over-served live source gives way ([`Turns`]). Room is what the settings allow, and never
//! more than can be embedded in half of the longest wait at the pace of late, so that what is embedded
//! is embedded in time. A clip that waits longer all the same, because the stage stood still, is given
//! up: what follows would otherwise be late for as long as the load lasts, and its source's later
//! clips, which are published after it, with it.
//!
//! No clocks and no threads: whoever calls says what time it is.

use std::time::{Duration, Instant};

use super::EmbedSettings;
use super::turns::{SourceKey, Turns};

/// How much one batch says about the pace, against all before it.
const NEWEST_PACE: f64 = 0.2;

/// Clips of all sources, waiting.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    live: Turns<T>,
    archive: Turns<T>,
    settings: EmbedSettings,
    /// Seconds that the stage takes for one live clip, of late.
    pace_s: Option<f64>,
    /// Live clips taken since an archive's, while archives wait.
    live_in_a_row: usize,
}

impl<T> FairQueue<T> {
    pub(super) fn new(settings: EmbedSettings) -> Self {
        Self { live: Turns::new(), archive: Turns::new(), settings, pace_s: None, live_in_a_row: 0 }
    }

    /// Live clips that wait.
    pub(super) fn live_clips(&self) -> usize {
        self.live.len()
    }

    /// Archives' clips that wait.
    pub(super) fn archive_clips(&self) -> usize {
        self.archive.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.live.len() + self.archive.len() == 0
    }

    /// A clip of an archive, which has seen to it that there is room.
    pub(super) fn submit(&mut self, source: SourceKey, clip: T, now: Instant) {
        self.archive.push(source, clip, now);
    }

    /// A clip of a live source. Returns what has waited too long or gives way, which may be this one.
    pub(super) fn offer(&mut self, source: SourceKey, clip: T, now: Instant) -> Vec<T> {
        let mut given_up = Vec::new();
        self.give_up(now, &mut given_up);
        self.live.push(source, clip, now);
        let room = self.live_room();
        while self.live.len() > room {
            given_up.extend(self.live.give_way());
        }
        given_up
    }

    /// Moves the next clips to `batch`, as many as the model is given at once. Returns live ones that
    /// have waited too long.
    pub(super) fn take(&mut self, now: Instant, batch: &mut Vec<T>) -> Vec<T> {
        let mut given_up = Vec::new();
        self.give_up(now, &mut given_up);
        while batch.len() < self.settings.max_clips.get() {
            let Some(clip) = self.next() else { break };
            batch.push(clip);
        }
        given_up
    }

    /// Live clips first; while they keep coming, an archive's now and then.
    fn next(&mut self) -> Option<T> {
        let is_archives_turn = self.live_in_a_row + 1 >= self.settings.archive_one_in.get().max(2);
        if is_archives_turn && self.archive.len() > 0 || self.live.len() == 0 {
            self.live_in_a_row = 0;
            return self.archive.take();
        }
        self.live_in_a_row = if self.archive.len() > 0 { self.live_in_a_row + 1 } else { 0 };
        self.live.take()
    }

    /// Tells how long a batch took that had so many live clips in it.
    pub(super) fn learn_pace(&mut self, live_clips: usize, took: Duration) {
        if live_clips > 0 {
            let this = took.as_secs_f64() / live_clips as f64;
            let so_far = self.pace_s.unwrap_or(this);
            self.pace_s = Some(so_far + NEWEST_PACE * (this - so_far));
        }
    }

    /// Live clips that may wait: at least a batch, so that a slow stage is given whole ones.
    pub(super) fn live_room(&self) -> usize {
        let in_time = self.pace_s.map_or(f64::INFINITY, |pace_s| {
            self.settings.max_wait.as_secs_f64() / 2.0 / pace_s.max(f64::MIN_POSITIVE)
        });
        let batch = self.settings.max_clips.get();
        self.settings.live_queue_clips.get().min(batch.max(in_time as usize))
    }

    /// A live source leaves, and takes what waits with it.
    pub(super) fn withdraw(&mut self, source: SourceKey) -> impl Iterator<Item = T> + use<T> {
        self.live.withdraw(source)
    }

    /// An archive brings nothing more; what waits is still embedded.
    pub(super) fn finish(&mut self, source: SourceKey) {
        self.archive.finish(source);
    }

    /// All that waits, in no order.
    pub(super) fn into_clips(self) -> impl Iterator<Item = T> {
        self.live.into_clips().chain(self.archive.into_clips())
    }

    fn give_up(&mut self, now: Instant, given_up: &mut Vec<T>) {
        // An instant before the machine started has nothing waiting before it.
        if let Some(until) = now.checked_sub(self.settings.max_wait) {
            self.live.give_up(until, given_up);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::num::NonZeroUsize;

    use proptest::prelude::*;

    use super::*;

    fn settings(max_clips: usize, live_queue_clips: usize) -> EmbedSettings {
        let some = |number| NonZeroUsize::new(number).unwrap();
        EmbedSettings {
            max_clips: some(max_clips),
            live_queue_clips: some(live_queue_clips),
            max_wait: Duration::from_secs(10),
            archive_one_in: some(4),
            ..EmbedSettings::default()
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Offer(u64),
        Submit(u64),
        Take,
        Pass(u64),
        Withdraw(u64),
        Finish(u64),
        Pace(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0u64..5).prop_map(Step::Offer),
            3 => (5u64..8).prop_map(Step::Submit),
            4 => Just(Step::Take),
            2 => (0u64..4_000).prop_map(Step::Pass),
            1 => (0u64..5).prop_map(Step::Withdraw),
            1 => (5u64..8).prop_map(Step::Finish),
            1 => (1u64..3_000).prop_map(Step::Pace),
        ];
        proptest::collection::vec(step, 0..200)
    }

    /// A clip as the tests see it: whose, the source's how many-th, and when it came.
    type Clip = (u64, u64, Instant);

    /// What is known to wait, by a plain book beside the queue.
    #[derive(Default)]
    struct Book {
        waiting: BTreeMap<u64, BTreeSet<(u64, Instant)>>,
        came: u64,
    }

    impl Book {
        fn enter(&mut self, source: u64, now: Instant) -> Clip {
            self.came += 1;
            self.waiting.entry(source).or_default().insert((self.came, now));
            (source, self.came, now)
        }

        /// Leaves the book once: a clip that comes out twice, or was never put in, fails here.
        fn strike(&mut self, (source, nth, since): Clip) {
            assert!(
                self.waiting.entry(source).or_default().remove(&(nth, since)),
                "{source} {nth}"
            );
        }

        fn len(&self, of: impl Fn(u64) -> bool) -> usize {
            self.waiting.iter().filter(|(source, _)| of(**source)).map(|(_, all)| all.len()).sum()
        }
    }

    fn is_live(source: u64) -> bool {
        source < 5
    }

    proptest! {
        #[test]
        fn every_clip_comes_out_once_in_order_in_time_and_no_more_wait_than_may(
            steps in steps(), batch in 1usize..6, most in 1usize..12,
        ) {
            let settings = settings(batch, most);
            let mut queue = FairQueue::new(settings);
            let (mut book, mut now) = (Book::default(), Instant::now() + settings.max_wait);
            let is_late = |clip: &Clip, now| clip.2 + settings.max_wait < now;
            for step in steps {
                match step {
                    Step::Offer(source) => {
                        let clip = book.enter(source, now);
                        for given_up in queue.offer(SourceKey(source), clip, now) {
                            let newest = *book.waiting[&given_up.0].last().unwrap();
                            prop_assert!(
                                is_late(&given_up, now) || newest == (given_up.1, given_up.2),
                                "what gives way is the newest of its source"
                            );
                            book.strike(given_up);
                        }
                        prop_assert!(queue.live_clips() <= queue.live_room());
                    }
                    Step::Submit(source) => {
                        let clip = book.enter(source, now);
                        queue.submit(SourceKey(source), clip, now);
                    }
                    Step::Take => {
                        let mut taken = Vec::new();
                        for late in queue.take(now, &mut taken) {
                            prop_assert!(is_late(&late, now));
                            book.strike(late);
                        }
                        let expected = batch.min(book.len(|_| true));
                        prop_assert_eq!(taken.len(), expected, "batches are filled");
                        for clip in taken {
                            let oldest = *book.waiting[&clip.0].first().unwrap();
                            prop_assert_eq!(oldest, (clip.1, clip.2), "in order");
                            prop_assert!(!is_live(clip.0) || !is_late(&clip, now));
                            book.strike(clip);
                        }
                    }
                    Step::Pass(ms) => now += Duration::from_millis(ms),
                    Step::Withdraw(source) => {
                        queue.withdraw(SourceKey(source)).for_each(|clip| book.strike(clip));
                        prop_assert_eq!(book.len(|other| other == source), 0);
                    }
                    Step::Finish(source) => queue.finish(SourceKey(source)),
                    Step::Pace(ms) => queue.learn_pace(1, Duration::from_millis(ms)),
                }
                prop_assert_eq!(queue.live_clips(), book.len(is_live));
                prop_assert_eq!(queue.archive_clips(), book.len(|source| !is_live(source)));
            }
        }
    }

    /// What each may have when so much is there in all: nobody more than it asked for, and nobody who
    /// asked for more less than any other (max-min fairness).
    fn fair_shares(asked: &[f64], total: f64) -> Vec<f64> {
        let (mut least, mut most) = (0.0, total);
        for _ in 0..100 {
            let level = f64::midpoint(least, most);
            let given: f64 = asked.iter().map(|asked| asked.min(level)).sum();
            if given < total { least = level } else { most = level }
        }
        asked.iter().map(|asked| asked.min(most)).collect()
    }

    /// Runs sources, each offering a clip every `periods_ms[source]`, against a stage that takes 10 ms
    /// a clip, for `clips` times that. Source `s` begins at `phase(s)` of its period. Returns what was
    /// offered and what was embedded, by source.
    fn simulate(
        queue: &mut FairQueue<usize>,
        periods_ms: &[f64],
        phase: fn(usize) -> f64,
        clips: usize,
    ) -> (Vec<f64>, Vec<f64>) {
        const CLIP: Duration = Duration::from_millis(10);
        let begin = Instant::now() + Duration::from_secs(60);
        let mut offers: Vec<(Duration, usize)> = Vec::new();
        for (source, period_ms) in periods_ms.iter().enumerate() {
            let phase = phase(source);
            let count = (clips as f64 * 10.0 / period_ms - phase) as usize;
            let at = |nth| Duration::from_secs_f64((nth as f64 + phase) * period_ms / 1e3);
            offers.extend((0..count).map(|nth| (at(nth), source)));
        }
        offers.sort_unstable();
        let (mut offered, mut embedded) =
            (vec![0.0; periods_ms.len()], vec![0.0; periods_ms.len()]);
        let mut now = Duration::ZERO;
        let mut coming = offers.into_iter().peekable();
        loop {
            while let Some((at, source)) = coming.next_if(|(at, _)| *at <= now) {
                offered[source] += 1.0;
                queue.offer(SourceKey(source as u64), source, begin + at);
            }
            let mut batch = Vec::new();
            queue.take(begin + now, &mut batch);
            for source in &batch {
                embedded[*source] += 1.0;
            }
            now += CLIP * batch.len() as u32;
            if batch.is_empty() {
                let Some((at, _)) = coming.peek() else { break };
                now = *at;
            }
        }
        (offered, embedded)
    }

    /// By the golden ratio: spread, and the same in every run.
    fn spread(source: usize) -> f64 {
        (source as f64 * 0.618_033_988_749).fract()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn every_source_gets_its_fair_share_within_a_tenth(
            demands in proptest::collection::vec(1u32..=4, 2..40),
            load in 1.1f64..3.0,
            batch in 1usize..9,
        ) {
            let sources = demands.len();
            let mut queue = FairQueue::new(settings(batch, sources.max(batch) * 2));
            let asked: u32 = demands.iter().sum();
            let periods: Vec<f64> = demands
                .iter()
                .map(|demand| 10.0 * f64::from(asked) / f64::from(*demand) / load)
                .collect();
            let (offered, embedded) = simulate(&mut queue, &periods, spread, sources * 100);
            let fair = fair_shares(&offered, embedded.iter().sum());
            for (source, (embedded, fair)) in embedded.iter().zip(&fair).enumerate() {
                prop_assert!(
                    (embedded - fair).abs() <= fair * 0.1 + 1.0,
                    "source {source} of demand {} got {embedded}, its share is {fair}: {demands:?}",
                    demands[source]
                );
            }
        }
    }

    #[test]
    fn a_source_that_was_alone_is_not_shut_out_when_others_come() {
        let mut queue = FairQueue::new(settings(4, 64));
        let mut periods = vec![5.0];
        simulate(&mut queue, &periods, spread, 5_000);
        // Now 32 sources want twice of what there is.
        periods = vec![160.0; 32];
        let (_, embedded) = simulate(&mut queue, &periods, spread, 320);
        assert!(embedded[0] >= 5.0, "of ten in a fair share: {}", embedded[0]);
    }

    #[test]
    fn equals_get_the_same_where_all_offer_at_once_and_most_find_no_room() {
        let is_eager = |source: usize| source.is_multiple_of(4);
        let mut queue = FairQueue::new(settings(8, 16));
        let periods: Vec<f64> =
            (0..64).map(|source| if is_eager(source) { 140.0 } else { 560.0 }).collect();
        let (_, embedded) = simulate(&mut queue, &periods, |_| 0.0, 12_000);
        for eager in [true, false] {
            let of_kind = || (0..64).filter(|at| is_eager(*at) == eager).map(|at| embedded[at]);
            let (least, most) =
                (of_kind().fold(f64::INFINITY, f64::min), of_kind().fold(0.0, f64::max));
            assert!(most - least <= 2.0, "{least} to {most}");
        }
    }

    #[test]
    fn archives_get_one_clip_in_four_while_live_clips_wait_and_all_when_none_do() {
        let now = Instant::now();
        let mut queue = FairQueue::new(settings(100, 64));
        for _ in 0..20 {
            queue.submit(SourceKey(9), "archive", now);
        }
        for source in 0..12 {
            queue.offer(SourceKey(source), "live", now);
        }
        let mut batch = Vec::new();
        queue.take(now, &mut batch);
        let mixed = ["live", "live", "live", "archive"].repeat(4);
        assert_eq!(batch[..16], mixed);
        assert!(batch[16..].iter().all(|clip| *clip == "archive"));
        assert_eq!(batch.len(), 32);
    }

    #[test]
    fn a_slow_stage_has_room_for_what_it_can_do_in_time_and_for_a_batch_at_least() {
        let mut queue: FairQueue<()> = FairQueue::new(settings(4, 64));
        assert_eq!(queue.live_room(), 64);
        queue.learn_pace(4, Duration::from_secs(1));
        assert_eq!(queue.live_room(), 20, "a quarter of a second each, five seconds in all");
        for _ in 0..100 {
            queue.learn_pace(1, Duration::from_secs(60));
        }
        assert_eq!(queue.live_room(), 4);
    }
}
