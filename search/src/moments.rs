//! Hits of one source that touch, merged into what a person sees as one result.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use footage_clip::{ClipId, MediaRef, SourceId, Span, UtcStart};
use footage_index::Hit;

/// A stretch of one source that answers a query.
#[derive(Clone, Debug, PartialEq)]
pub struct Moment {
    /// The camera or file.
    pub source_id: SourceId,
    /// From the first merged clip's start to the end of the last one, and of the still time after it,
    /// in media time; in wall-clock time where the first clip tells one.
    pub span: Span,
    /// Cosine of the best clip.
    pub score: f32,
    /// The best clip.
    pub best: ClipId,
    /// Where the best clip lies.
    pub best_span: Span,
    /// The clips merged, each once: where it starts in media time, and its id; in order of time.
    pub clips: Vec<(u64, ClipId)>,
    /// Where the footage is kept.
    pub media: Option<MediaRef>,
    /// What the best clip's caption says, or where it has none, that of another clip merged.
    pub caption: Option<String>,
}

impl Moment {
    /// Wall-clock time of the moment's end, where that of its start is known.
    pub fn utc_end(&self) -> Option<UtcStart> {
        self.span.utc.map(|start| start.plus_ns(self.span.duration_ns()))
    }

    /// Whether a hit overlaps this moment or lies within `gap_ns` of it.
    pub fn touches(&self, hit: &Hit, gap_ns: u64) -> bool {
        self.source_id == hit.source_id
            && hit.span.start_ns <= self.span.end_ns.saturating_add(gap_ns)
            && self.span.start_ns <= hit.span.end_ns.saturating_add(gap_ns)
    }

    /// Whether another moment overlaps this one or lies within `gap_ns` of it.
    pub(crate) fn is_near(&self, other: &Self, gap_ns: u64) -> bool {
        self.source_id == other.source_id
            && other.span.start_ns <= self.span.end_ns.saturating_add(gap_ns)
            && self.span.start_ns <= other.span.end_ns.saturating_add(gap_ns)
    }

    /// Takes in another moment of the source. What is best here stays so.
    pub(crate) fn unite(&mut self, other: Self) {
        let end_ns = self.span.end_ns.max(other.span.end_ns);
        let first = if other.span.start_ns < self.span.start_ns { other.span } else { self.span };
        self.span = Span { end_ns, ..first };
        let mut clips = std::mem::take(&mut self.clips);
        clips.extend(other.clips);
        clips.sort_unstable();
        clips.dedup();
        self.clips = clips;
        self.caption = self.caption.take().or(other.caption);
    }

    fn begin(hit: &Hit, end_ns: u64) -> Self {
        Self {
            source_id: hit.source_id.clone(),
            span: Span { end_ns: end_ns.max(hit.span.end_ns), ..hit.span },
            score: hit.score,
            best: hit.clip_id,
            best_span: hit.span,
            clips: vec![(hit.span.start_ns, hit.clip_id)],
            media: hit.media.clone(),
            caption: hit.caption.clone(),
        }
    }

    fn extend(&mut self, hit: &Hit, end_ns: u64) {
        self.span.end_ns = self.span.end_ns.max(hit.span.end_ns).max(end_ns);
        let clip = (hit.span.start_ns, hit.clip_id);
        if self.clips.last() != Some(&clip) {
            self.clips.push(clip);
        }
        if by_rank((hit.score, hit.clip_id), (self.score, self.best)).is_lt() {
            self.score = hit.score;
            self.best = hit.clip_id;
            self.best_span = hit.span;
            if hit.caption.is_some() {
                self.caption.clone_from(&hit.caption);
            }
        }
        if self.caption.is_none() {
            self.caption.clone_from(&hit.caption);
        }
    }
}

/// Best score first, at equal scores the smaller id.
fn by_rank(a: (f32, ClipId), b: (f32, ClipId)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Merges hits of one source that overlap, touch, or lie at most `gap_ns(source)` apart. A hit lasts
/// to `end_ns(hit)` where that is later than its end: to the end of the time after it in which there
/// was nothing new to see.
///
/// Every hit is in exactly one moment, moments of one source are more than the gap apart, and the
/// best moment comes first.
pub fn merge<'a>(
    hits: impl IntoIterator<Item = &'a Hit>,
    gap_ns: impl Fn(&SourceId) -> u64,
    end_ns: impl Fn(&Hit) -> u64,
) -> Vec<Moment> {
    let mut by_source: BTreeMap<&SourceId, Vec<&Hit>> = BTreeMap::new();
    for hit in hits {
        by_source.entry(&hit.source_id).or_default().push(hit);
    }
    let mut moments: Vec<Moment> = Vec::new();
    for (source, mut hits) in by_source {
        let gap = gap_ns(source);
        // The same clip given twice lies side by side afterwards.
        hits.sort_by_key(|hit| (hit.span.start_ns, hit.span.end_ns, hit.clip_id));
        let first = moments.len();
        for hit in hits {
            match moments[first..].last_mut() {
                Some(moment) if moment.touches(hit, gap) => moment.extend(hit, end_ns(hit)),
                _ => moments.push(Moment::begin(hit, end_ns(hit))),
            }
        }
    }
    moments.sort_by(|a, b| by_rank((a.score, a.best), (b.score, b.best)));
    moments
}

/// Moments of the nearest clips, where nothing says which clips match.
///
/// Merging every hit would melt each source into one long moment, so only as many of the best hits
/// are merged as give `limit` moments, or the most that there can be below that. `hits` come best
/// first.
pub fn nearest(
    hits: &[Hit],
    limit: usize,
    gap_ns: impl Fn(&SourceId) -> u64,
    end_ns: impl Fn(&Hit) -> u64,
) -> Vec<Moment> {
    let mut best = Vec::new();
    // Fewer hits than `limit` cannot give `limit` moments; beyond that the number wanders, slowly.
    for taken in 1..=hits.len() {
        let moments = merge(&hits[..taken], &gap_ns, &end_ns);
        if moments.len() > best.len() {
            best = moments;
        }
        if best.len() >= limit {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::testing::hit;

    const S: u64 = 1_000_000_000;

    /// Nothing is still after any hit.
    fn its_end(hit: &Hit) -> u64 {
        hit.span.end_ns
    }

    fn spans(moments: &[Moment]) -> Vec<(u64, u64)> {
        moments.iter().map(|m| (m.span.start_ns / S, m.span.end_ns / S)).collect()
    }

    #[test]
    fn overlapping_hits_become_one_moment_with_the_best_score() {
        let hits = [hit("a", 0, 4, 0.2), hit("a", 2, 6, 0.9), hit("a", 4, 8, 0.3)];

        let moments = merge(&hits, |_| 0, its_end);

        assert_eq!(spans(&moments), [(0, 8)]);
        assert!((moments[0].score - 0.9).abs() < 1e-6);
        assert_eq!(moments[0].best, hits[1].clip_id);
        let ids = hits.each_ref().map(|hit| (hit.span.start_ns, hit.clip_id));
        assert_eq!(moments[0].clips, ids);
    }

    #[test]
    fn a_missed_clip_within_the_gap_does_not_split_a_moment_and_one_beyond_it_does() {
        let hits = [hit("a", 0, 4, 0.5), hit("a", 6, 10, 0.4)];

        assert_eq!(spans(&merge(&hits, |_| 2 * S, its_end)), [(0, 10)]);
        assert_eq!(spans(&merge(&hits, |_| 2 * S - 1, its_end)), [(0, 4), (6, 10)]);
    }

    #[test]
    fn sources_are_never_merged() {
        let hits = [hit("a", 0, 4, 0.5), hit("b", 0, 4, 0.4)];
        assert_eq!(merge(&hits, |_| S, its_end).len(), 2);
    }

    #[test]
    fn the_nearest_clips_of_a_source_that_was_hit_everywhere_stay_apart() {
        // Every clip of a minute is a hit; the two best lie at 10 and at 40 seconds.
        let mut hits: Vec<Hit> = (0..58)
            .map(|at| {
                let score = match at {
                    10 => 0.9,
                    40 => 0.8,
                    _ => 0.1,
                };
                hit("a", at, at + 2, score)
            })
            .collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score));

        let moments = nearest(&hits, 2, |_| 0, its_end);

        assert_eq!(spans(&moments), [(10, 12), (40, 42)]);
    }

    #[test]
    fn a_still_scene_after_a_hit_belongs_to_its_moment_and_joins_what_follows() {
        let hits = [hit("a", 0, 4, 0.5), hit("a", 60, 64, 0.9), hit("a", 100, 104, 0.4)];
        let still_until = |hit: &Hit| if hit.span.start_ns == 0 { 60 * S } else { hit.span.end_ns };

        let moments = merge(&hits, |_| 0, still_until);

        assert_eq!(spans(&moments), [(0, 64), (100, 104)]);
        assert_eq!(moments[0].best_span, hits[1].span, "the best clip stays as long as it is");
    }

    #[test]
    fn nothing_found_is_no_moment() {
        assert!(merge(&[], |_| 0, its_end).is_empty());
        assert!(nearest(&[], 3, |_| 0, its_end).is_empty());
    }

    prop_compose! {
        fn some_hits()(
            hits in prop::collection::vec((0u8..3, 0u64..60, 1u64..8, -100i32..=100), 0..40),
        ) -> Vec<Hit> {
            hits.into_iter().map(|(source, start, length, score)| {
                let source = ["a", "b", "c"][usize::from(source)];
                hit(source, start, start + length, score as f32 / 100.0)
            }).collect()
        }
    }

    fn as_hit(moment: &Moment) -> Hit {
        Hit {
            clip_id: moment.best,
            source_id: moment.source_id.clone(),
            span: moment.span,
            score: moment.score,
            ..hit("a", 0, 1, 0.0)
        }
    }

    proptest! {
        #[test]
        fn moments_of_one_source_lie_more_than_the_gap_apart(
            hits in some_hits(), gap in 0u64..5,
        ) {
            let moments = merge(&hits, |_| gap * S, its_end);
            for (at, a) in moments.iter().enumerate() {
                for b in &moments[at + 1..] {
                    prop_assert!(
                        a.source_id != b.source_id
                            || a.span.end_ns + gap * S < b.span.start_ns
                            || b.span.end_ns + gap * S < a.span.start_ns
                    );
                }
            }
        }

        #[test]
        fn every_hit_is_in_exactly_one_moment_and_inside_its_span(
            hits in some_hits(), gap in 0u64..5,
        ) {
            let moments = merge(&hits, |_| gap * S, its_end);
            for hit in &hits {
                let holding: Vec<_> =
                    moments.iter().filter(|m| m.clips.iter().any(|(_, id)| *id == hit.clip_id)).collect();
                prop_assert_eq!(holding.len(), 1);
                prop_assert!(holding[0].span.start_ns <= hit.span.start_ns);
                prop_assert!(hit.span.end_ns <= holding[0].span.end_ns);
                prop_assert!(hit.score <= holding[0].score);
            }
            let known: BTreeSet<_> = hits.iter().map(|hit| hit.clip_id).collect();
            prop_assert!(moments.iter().flat_map(|m| &m.clips).all(|(_, id)| known.contains(id)));
        }

        #[test]
        fn the_best_moment_comes_first(hits in some_hits(), gap in 0u64..5) {
            let moments = merge(&hits, |_| gap * S, its_end);
            prop_assert!(moments.is_sorted_by(|a, b| a.score >= b.score));
        }

        #[test]
        fn merging_moments_again_changes_nothing(hits in some_hits(), gap in 0u64..5) {
            let once = merge(&hits, |_| gap * S, its_end);
            let again: Vec<Hit> = once.iter().map(as_hit).collect();
            let twice = merge(&again, |_| gap * S, its_end);
            prop_assert_eq!(
                once.iter().map(|m| (m.best, m.span)).collect::<Vec<_>>(),
                twice.iter().map(|m| (m.best, m.span)).collect::<Vec<_>>()
            );
        }

        #[test]
        fn the_order_in_which_hits_come_does_not_matter(hits in some_hits(), gap in 0u64..5) {
            let mut turned = hits.clone();
            turned.reverse();
            prop_assert_eq!(merge(&hits, |_| gap * S, its_end), merge(&turned, |_| gap * S, its_end));
        }

        #[test]
        fn the_nearest_moments_reach_the_limit_where_that_many_can_be(
            hits in some_hits(), limit in 1usize..6,
        ) {
            let mut hits = hits;
            hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.clip_id.cmp(&b.clip_id)));
            let most = (0..=hits.len()).map(|n| merge(&hits[..n], |_| 0, its_end).len()).max().unwrap_or(0);
            prop_assert_eq!(nearest(&hits, limit, |_| 0, its_end).len(), most.min(limit));
        }
    }
}
