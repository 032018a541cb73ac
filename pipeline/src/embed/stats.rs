//! What the stage counts: clips by what became of them, batches, and how long answers took.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::EmbedError;

/// Upper bounds of the latency's buckets, in seconds; the last bucket has none.
pub const LATENCY_BOUNDS_S: [f64; 10] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0];

/// What became of clips, since the stage or the source began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbedTally {
    /// Brought to the stage.
    pub offered: u64,
    /// Answered with an embedding.
    pub embedded: u64,
    /// Gave way: [`EmbedError::Overload`].
    pub overloaded: u64,
    /// The model fails on them: [`EmbedError::Clip`].
    pub failed: u64,
    /// Left with their source, or nobody waited for the answer any more.
    pub withdrawn: u64,
}

/// How long live clips took from offer to embedding.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct EmbedLatency {
    /// Clips by how long they took: the first bucket reaches to the first of [`LATENCY_BOUNDS_S`],
    /// each next from there to the next bound, the last without end.
    pub buckets: [u64; LATENCY_BOUNDS_S.len() + 1],
    /// All of them together, in seconds.
    pub sum_s: f64,
}

/// The stage at a glance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EmbedStats {
    /// Clips of live sources.
    pub live: EmbedTally,
    /// Clips of archives.
    pub archive: EmbedTally,
    /// Live clips in the queue.
    pub live_waiting: usize,
    /// Live clips for which the queue has room, by the settings and the pace of late.
    pub live_room: usize,
    /// Archives' clips in the queue.
    pub archive_waiting: usize,
    /// Batches that the model was given.
    pub batches: u64,
    /// Clips in all of them.
    pub batched_clips: u64,
    /// How full they were on average, 0 to 1; 0 before the first.
    pub batch_fill: f64,
    /// Live clips, from offer to embedding.
    pub live_latency: EmbedLatency,
}

impl EmbedTally {
    /// Clips without an answer: those that wait and those that the model has.
    pub fn open(&self) -> u64 {
        let answered = self.embedded + self.overloaded + self.failed + self.withdrawn;
        self.offered.saturating_sub(answered)
    }
}

/// A tally that many threads add to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    offered: AtomicU64,
    embedded: AtomicU64,
    overloaded: AtomicU64,
    failed: AtomicU64,
    withdrawn: AtomicU64,
}

impl Tally {
    pub(super) fn count_offered(&self) {
        self.offered.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_answer<T>(&self, answer: &Result<T, EmbedError>) {
        let of_answer = match answer {
            Ok(_) => &self.embedded,
            Err(EmbedError::Overload) => &self.overloaded,
            Err(EmbedError::Clip(_)) => &self.failed,
            Err(EmbedError::Stopped) => &self.withdrawn,
        };
        of_answer.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> EmbedTally {
        let [embedded, overloaded, failed, withdrawn, offered] =
            [&self.embedded, &self.overloaded, &self.failed, &self.withdrawn, &self.offered]
                .map(|count| count.load(Ordering::Relaxed));
        EmbedTally { offered, embedded, overloaded, failed, withdrawn }
    }
}

/// What is counted for the stage as a whole.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) live: Tally,
    pub(super) archive: Tally,
    batches: AtomicU64,
    batched_clips: AtomicU64,
    buckets: [AtomicU64; LATENCY_BOUNDS_S.len() + 1],
    latency_ns: AtomicU64,
}

impl Counters {
    pub(super) fn count_batch(&self, clips: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.batched_clips.fetch_add(clips as u64, Ordering::Relaxed);
    }

    pub(super) fn count_latency(&self, latency: Duration) {
        let bucket = LATENCY_BOUNDS_S.partition_point(|bound| *bound < latency.as_secs_f64());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.latency_ns.fetch_add(latency.as_nanos() as u64, Ordering::Relaxed);
    }

    /// Batches, and the clips in them.
    pub(super) fn batches(&self) -> (u64, u64) {
        (self.batches.load(Ordering::Relaxed), self.batched_clips.load(Ordering::Relaxed))
    }

    pub(super) fn latency(&self) -> EmbedLatency {
        EmbedLatency {
            buckets: std::array::from_fn(|at| self.buckets[at].load(Ordering::Relaxed)),
            sum_s: Duration::from_nanos(self.latency_ns.load(Ordering::Relaxed)).as_secs_f64(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_falls_into_the_bucket_that_ends_at_or_after_it() {
        let counters = Counters::default();
        for ms in [0, 50, 51, 10_000, 31_000] {
            counters.count_latency(Duration::from_millis(ms));
        }
        let latency = counters.latency();
        assert_eq!(latency.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 1, 0, 1]);
        assert!((latency.sum_s - 41.101).abs() < 1e-9);
    }

    #[test]
    fn every_answer_is_counted_once_and_the_rest_is_open() {
        let tally = Tally::default();
        for _ in 0..6 {
            tally.count_offered();
        }
        let answers = [
            Ok(()),
            Err(EmbedError::Overload),
            Err(EmbedError::Clip(String::new())),
            Err(EmbedError::Stopped),
        ];
        for answer in &answers {
            tally.count_answer(answer);
        }
        let read = tally.read();
        let counts = (read.embedded, read.overloaded, read.failed, read.withdrawn);
        assert_eq!((counts, read.open()), ((1, 1, 1, 1), 2));
    }
}
