//! Two ways to the same moments, as one ranking.

use footage_clip::SourceId;

use crate::Moment;

/// How soon a lower rank counts less: the constant of Cormack, Clarke and Büttcher, "Reciprocal Rank
/// Fusion outperforms Condorcet and individual Rank Learning Methods", SIGIR 2009.
const K: f64 = 60.0;

/// A moment that one way leads to. Moments of one way come best first.
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    pub moment: Moment,
    /// Whether that way says that it matches.
    pub is_match: bool,
}

/// A moment that one way or both lead to.
#[derive(Clone, Debug)]
pub(crate) struct Fused {
    /// Of both, the whole stretch; of a match and what is none, the match.
    pub moment: Moment,
    /// Whether the moment's score is that of its pictures; otherwise it is that of its words.
    pub is_scored: bool,
    /// What its pictures say: whether it matches. None where they did not lead to it.
    pub video: Option<bool>,
    /// The same of what its captions say.
    pub caption: Option<bool>,
    /// BM25 of its best caption.
    pub words: Option<f32>,
    /// Sum of the reciprocal ranks.
    pub worth: f64,
}

impl Fused {
    /// Whether either way says that it matches.
    pub(crate) fn is_match(&self) -> bool {
        self.video == Some(true) || self.caption == Some(true)
    }

    fn seen(rank: usize, Ranked { moment, is_match }: Ranked) -> Self {
        let video = Some(is_match);
        Self { moment, is_scored: true, video, caption: None, words: None, worth: worth(rank) }
    }

    fn told(rank: usize, Ranked { moment, is_match }: Ranked) -> Self {
        let (caption, words) = (Some(is_match), Some(moment.score));
        Self { moment, is_scored: false, video: None, caption, words, worth: worth(rank) }
    }

    /// Takes in another one that lies here too. What is no match makes a match no longer.
    fn unite(&mut self, mut other: Self) {
        let (is_match, other_is) = (self.is_match(), other.is_match());
        // The one whose best clip stays: of a match and another one the match, else what was seen.
        if (other_is, other.is_scored) > (is_match, self.is_scored) {
            std::mem::swap(self, &mut other);
        }
        let Self { moment, video, caption, words, worth, .. } = other;
        let tells_better = words > self.words;
        if tells_better && moment.caption.is_some() {
            self.moment.caption.clone_from(&moment.caption);
        }
        if is_match == other_is {
            self.moment.unite(moment);
        }
        // Several moments of one way became one: the best of them says how good it is.
        let is_other_way = !(self.video.is_some() && video.is_some()
            || self.caption.is_some() && caption.is_some());
        self.worth = if is_other_way { self.worth + worth } else { self.worth.max(worth) };
        self.video = either(self.video, video);
        self.caption = either(self.caption, caption);
        self.words = if tells_better { words } else { self.words };
    }
}

fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    a.into_iter().chain(b).reduce(|a, b| a || b)
}

fn worth(rank: usize) -> f64 {
    1.0 / (K + rank as f64 + 1.0)
}

/// Fuses what pictures and what captions lead to by reciprocal rank. Moments of one source that lie at
/// most `gap_ns(source)` apart are one. Best first; of two that are worth the same, the one that was
/// seen.
pub(crate) fn fuse(
    video: Vec<Ranked>,
    caption: Vec<Ranked>,
    gap_ns: impl Fn(&SourceId) -> u64,
) -> Vec<Fused> {
    let seen = video.into_iter().enumerate().map(|(rank, ranked)| Fused::seen(rank, ranked));
    let mut fused: Vec<Fused> = seen.collect();
    for (rank, ranked) in caption.into_iter().enumerate() {
        let mut told = Fused::told(rank, ranked);
        let gap = gap_ns(&told.moment.source_id);
        let (here, apart): (Vec<_>, Vec<_>) =
            fused.into_iter().partition(|other| other.moment.is_near(&told.moment, gap));
        fused = apart;
        for other in here {
            told.unite(other);
        }
        fused.push(told);
    }
    fused.sort_by(|a, b| {
        let is_told_only = |fused: &Fused| fused.video.is_none();
        b.worth
            .total_cmp(&a.worth)
            .then(is_told_only(a).cmp(&is_told_only(b)))
            .then(a.moment.best.cmp(&b.moment.best))
    });
    fused
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::merge;
    use crate::testing::hit;

    const S: u64 = 1_000_000_000;

    fn ranked(source: &str, from: u64, to: u64, score: f32, is_match: bool) -> Ranked {
        let hits = [hit(source, from, to, score)];
        let moment = merge(&hits, |_| 0, |hit| hit.span.end_ns).remove(0);
        Ranked { moment, is_match }
    }

    fn told(source: &str, from: u64, to: u64, score: f32) -> Ranked {
        let mut told = ranked(source, from, to, score, true);
        told.moment.caption = Some(format!("{source} {from}"));
        told
    }

    fn places(fused: &[Fused]) -> Vec<(&str, u64, u64)> {
        let place = |fused: &Fused| (fused.moment.span.start_ns / S, fused.moment.span.end_ns / S);
        fused.iter().map(|f| (f.moment.source_id.as_str(), place(f).0, place(f).1)).collect()
    }

    #[test]
    fn what_both_ways_lead_to_comes_before_what_one_does() {
        let video = vec![ranked("a", 0, 4, 0.9, true), ranked("b", 10, 14, 0.8, true)];
        let caption = vec![told("c", 0, 4, 9.0), told("b", 12, 20, 3.0)];

        let fused = fuse(video, caption, |_| 0);

        assert_eq!(places(&fused), [("b", 10, 20), ("a", 0, 4), ("c", 0, 4)]);
        let both = &fused[0];
        assert_eq!((both.video, both.caption, both.words), (Some(true), Some(true), Some(3.0)));
        assert!((both.worth - 2.0 / 62.0).abs() < 1e-9);
        assert_eq!(both.moment.best_span.start_ns, 10 * S, "the clip that was seen");
        assert!((both.moment.score - 0.8).abs() < 1e-6);
        assert_eq!(both.moment.caption.as_deref(), Some("b 12"));
        assert_eq!(both.moment.clips.len(), 2);
    }

    #[test]
    fn a_caption_that_spans_two_moments_makes_them_one_that_ranks_as_the_better() {
        let video = vec![ranked("a", 0, 4, 0.9, true), ranked("a", 10, 14, 0.8, true)];
        let fused = fuse(video, vec![told("a", 3, 11, 2.0)], |_| 0);

        assert_eq!(places(&fused), [("a", 0, 14)]);
        assert!((fused[0].worth - 2.0 / 61.0).abs() < 1e-9, "{}", fused[0].worth);
        assert!((fused[0].moment.score - 0.9).abs() < 1e-6);
        assert_eq!(fused[0].moment.clips.len(), 3);
    }

    #[test]
    fn what_is_no_match_ranks_a_match_and_makes_it_no_longer() {
        let mut some = told("a", 0, 40, 2.0);
        some.is_match = false;
        let fused = fuse(vec![ranked("a", 10, 14, 0.9, true)], vec![some], |_| 0);
        assert_eq!(places(&fused), [("a", 10, 14)]);
        assert_eq!((fused[0].video, fused[0].caption), (Some(true), Some(false)));
        assert_eq!(fused[0].moment.caption.as_deref(), Some("a 0"));

        let fused = fuse(vec![ranked("a", 0, 40, 0.3, false)], vec![told("a", 10, 14, 2.0)], |_| 0);
        assert_eq!(places(&fused), [("a", 10, 14)]);
        assert!(!fused[0].is_scored, "its pictures are to be scored: {:?}", fused[0]);
        assert!((fused[0].worth - 2.0 / 61.0).abs() < 1e-9);
    }

    #[test]
    fn without_captions_the_order_is_that_of_the_pictures() {
        let video: Vec<_> = (0..9)
            .map(|at| ranked("a", at * 10, at * 10 + 4, 1.0 - at as f32 / 10.0, true))
            .collect();
        let order: Vec<_> = video.iter().map(|ranked| ranked.moment.best).collect();
        let fused = fuse(video, Vec::new(), |_| 0);
        assert_eq!(fused.iter().map(|fused| fused.moment.best).collect::<Vec<_>>(), order);
    }

    prop_compose! {
        fn some_moments()(
            hits in prop::collection::vec((0u8..2, 0u64..60, 1u64..8, 1i32..=100), 0..20),
        ) -> Vec<Ranked> {
            let hits: Vec<_> = hits.into_iter().map(|(source, start, length, score)| {
                let source = ["a", "b"][usize::from(source)];
                hit(source, start, start + length, score as f32 / 100.0)
            }).collect();
            let moments = merge(&hits, |_| S, |hit| hit.span.end_ns);
            moments.into_iter().map(|moment| Ranked { moment, is_match: true }).collect()
        }
    }

    proptest! {
        #[test]
        fn no_clip_is_lost_and_no_two_moments_are_near(
            video in some_moments(), caption in some_moments(),
        ) {
            let clips = |of: &[Ranked]| {
                of.iter().flat_map(|ranked| ranked.moment.clips.clone()).collect::<Vec<_>>()
            };
            let mut expected = [clips(&video), clips(&caption)].concat();
            expected.sort_unstable();
            expected.dedup();

            let fused = fuse(video, caption, |_| S);

            let mut kept: Vec<_> =
                fused.iter().flat_map(|fused| fused.moment.clips.clone()).collect();
            kept.sort_unstable();
            prop_assert_eq!(kept, expected);
            for (at, a) in fused.iter().enumerate() {
                for b in &fused[at + 1..] {
                    prop_assert!(!a.moment.is_near(&b.moment, S));
                    prop_assert!(a.worth >= b.worth);
                }
            }
        }
    }
}
