//! How well the texts and videos of a labelled data set find each other: the figures of published
//! evaluations, with ties handled without bias.
//!
//! Items that are equally near could come in any order. Every figure here is its mean over all those
//! orders: a model that gives everything the same embedding scores as chance, and no more.

use std::cmp::Ordering;

use footage_clip::Embedding;
use serde::Serialize;

/// Where the first right item of one query stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Wrong items that are nearer.
    better: usize,
    /// Wrong items that are as near.
    equal: usize,
    /// Right items that are as near as the nearest right one, with it.
    right: usize,
}

impl Place {
    /// None where nothing is right.
    fn of(scores: &[f32], is_right: impl Fn(usize) -> bool) -> Option<Self> {
        let right = scores.iter().enumerate().filter(|(at, _)| is_right(*at));
        let best = right.map(|(_, score)| *score).max_by(f32::total_cmp)?;
        let mut place = Self { better: 0, equal: 0, right: 0 };
        for (at, score) in scores.iter().enumerate() {
            match (is_right(at), score.partial_cmp(&best)) {
                (true, Some(Ordering::Equal)) => place.right += 1,
                (false, Some(Ordering::Greater)) => place.better += 1,
                (false, Some(Ordering::Equal)) => place.equal += 1,
                _ => {}
            }
        }
        Some(place)
    }

    /// Chance that a right item is among the first `k`.
    fn recall_at(self, k: usize) -> f64 {
        let Some(seen) = k.checked_sub(self.better) else { return 0.0 };
        let all = self.equal + self.right;
        // That none of the right ones is among those of the equally near that are seen.
        let missed: f64 = (0..self.right)
            .map(|i| all.saturating_sub(seen + i) as f64 / (all - i).max(1) as f64)
            .product();
        1.0 - missed
    }

    /// Mean rank of the first right item, from 1.
    fn rank(self) -> f64 {
        self.better as f64 + self.equal as f64 / (self.right as f64 + 1.0) + 1.0
    }
}

/// How well queries find what belongs to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Retrieval {
    /// Queries that something in the gallery belongs to.
    pub queries: usize,
    /// Items that were searched.
    pub gallery: usize,
    /// Share with a right item first, 0 to 1.
    pub recall_at_1: f64,
    /// Share with a right item among the first five.
    pub recall_at_5: f64,
    /// Share with a right item among the first ten.
    pub recall_at_10: f64,
    /// Median of the ranks of the first right items, from 1.
    pub median_rank: f64,
    /// Mean of those ranks.
    pub mean_rank: f64,
}

impl Retrieval {
    /// Ranks the gallery for each query by cosine; `is_right(query, item)` says what belongs together.
    ///
    /// Embeddings have unit length, as every [`Embedding`]. Takes queries x gallery products of their
    /// dimension.
    pub fn measure(
        queries: &[Embedding],
        gallery: &[Embedding],
        is_right: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let places = queries.iter().enumerate().filter_map(|(at, query)| {
            Place::of(&cosines(query, gallery), |item| is_right(at, item))
        });
        Self::of(&places.collect::<Vec<_>>(), gallery.len())
    }

    fn of(places: &[Place], gallery: usize) -> Self {
        let mut ranks: Vec<f64> = places.iter().map(|place| place.rank()).collect();
        ranks.sort_by(f64::total_cmp);
        let mean = |values: &mut dyn Iterator<Item = f64>| {
            values.sum::<f64>() / (places.len() as f64).max(1.0)
        };
        let recall_at = |k| mean(&mut places.iter().map(|place| place.recall_at(k)));
        let middle = |at: usize| ranks.get(at).copied().unwrap_or_default();
        Self {
            queries: places.len(),
            gallery,
            recall_at_1: recall_at(1),
            recall_at_5: recall_at(5),
            recall_at_10: recall_at(10),
            median_rank: f64::midpoint(
                middle(ranks.len().saturating_sub(1) / 2),
                middle(ranks.len() / 2),
            ),
            mean_rank: mean(&mut ranks.iter().copied()),
        }
    }
}

/// How well videos are told apart by the names of classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Recognition {
    /// Videos looked at.
    pub videos: usize,
    /// Classes to choose from.
    pub classes: usize,
    /// Share whose nearest name is that of their class, 0 to 1.
    pub top_1: f64,
    /// Share whose class is among the nearest five.
    pub top_5: f64,
}

impl Recognition {
    /// Names each video by cosine; `labels` gives each its class.
    pub fn measure(videos: &[Embedding], classes: &[Embedding], labels: &[usize]) -> Self {
        let places: Vec<Place> = videos
            .iter()
            .zip(labels)
            .filter_map(|(video, label)| {
                Place::of(&cosines(video, classes), |class| class == *label)
            })
            .collect();
        let Retrieval { queries, recall_at_1, recall_at_5, .. } =
            Retrieval::of(&places, classes.len());
        Self { videos: queries, classes: classes.len(), top_1: recall_at_1, top_5: recall_at_5 }
    }
}

fn cosines(query: &Embedding, gallery: &[Embedding]) -> Vec<f32> {
    gallery.iter().map(|item| query.cosine(item)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unit(values: &[f32]) -> Embedding {
        Embedding::normalise(values.to_vec()).unwrap()
    }

    #[test]
    fn what_is_nearest_comes_first() {
        let gallery = [unit(&[1.0, 0.0]), unit(&[1.0, 1.0]), unit(&[0.0, 1.0])];
        let queries = [unit(&[1.0, 0.1]), unit(&[0.1, 1.0]), unit(&[1.0, 0.4])];
        let found = Retrieval::measure(&queries, &gallery, |query, item| query == item);
        // The second finds the third item first; the third one's comes last.
        assert_eq!((found.queries, found.gallery), (3, 3));
        assert!((found.recall_at_1 - 1.0 / 3.0).abs() < 1e-9, "{found:?}");
        assert_eq!((found.recall_at_5, found.median_rank, found.mean_rank), (1.0, 2.0, 2.0));
    }

    #[test]
    fn a_model_that_gives_everything_the_same_embedding_scores_as_chance() {
        let same = vec![unit(&[1.0, 2.0]); 20];
        let found = Retrieval::measure(&same, &same, |query, item| query == item);
        assert!((found.recall_at_1 - 0.05).abs() < 1e-9, "{found:?}");
        assert!((found.recall_at_10 - 0.5).abs() < 1e-9);
        assert!((found.mean_rank - 10.5).abs() < 1e-9);
        let named = Recognition::measure(&same, &same[..4], &[1; 20]);
        assert!((named.top_1 - 0.25).abs() < 1e-9 && (named.top_5 - 1.0).abs() < 1e-9);
    }

    /// Figures that the authors' code gives for these embeddings: `tests/golden/preproc/metric.json`.
    #[test]
    fn figures_are_the_reference_s() {
        let golden =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/preproc");
        let bytes = fs_err::read(golden.join("metric.safetensors")).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let rows = |name: &str| -> Vec<Embedding> {
            let tensor = tensors.tensor(name).unwrap();
            let values = tensor.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b));
            values.collect::<Vec<_>>().chunks(tensor.shape()[1]).map(unit).collect()
        };
        let (text, video) = (rows("text"), rows("video"));
        let expected: serde_json::Value =
            serde_json::from_slice(&fs_err::read(golden.join("metric.json")).unwrap()).unwrap();
        let found = Retrieval::measure(&text, &video, |text, video| text == video);
        for (ours, name) in [
            (found.recall_at_1 * 100.0, "R1"),
            (found.recall_at_5 * 100.0, "R5"),
            (found.recall_at_10 * 100.0, "R10"),
            (found.median_rank, "MdR"),
            (found.mean_rank, "MnR"),
        ] {
            let theirs = expected["text_to_video"][name].as_f64().unwrap();
            assert!((ours - theirs).abs() < 1e-6, "{name}: {ours}, and {theirs} there");
        }
        let labels: Vec<usize> =
            serde_json::from_value(expected["zero_shot_labels"].clone()).unwrap();
        let classes = labels.iter().max().unwrap() + 1;
        let named = Recognition::measure(&video, &text[..classes], &labels);
        let theirs = |name: &str| expected["zero_shot"][name].as_f64().unwrap();
        assert!((named.top_1 - theirs("overall_acc1")).abs() < 1e-6, "{named:?}");
        assert!((named.top_5 - theirs("overall_acc5")).abs() < 1e-6, "{named:?}");
    }

    #[test]
    fn queries_that_nothing_belongs_to_are_not_counted() {
        let items = [unit(&[1.0, 0.0]), unit(&[0.0, 1.0])];
        let found = Retrieval::measure(&items, &items, |query, item| query == 0 && item == 0);
        assert_eq!((found.queries, found.recall_at_1), (1, 1.0));
        assert_eq!(
            Retrieval::measure(&[], &items, |_, _| true),
            Retrieval { gallery: 2, ..Retrieval::default() }
        );
    }

    proptest! {
        /// The figures are the means over all orders of what is equally near: counted out.
        #[test]
        fn ties_are_broken_in_every_way_at_once(
            better in 0_usize..3, equal in 0_usize..4, right in 1_usize..3, k in 1_usize..8,
        ) {
            let place = Place { better, equal, right };
            let mut orders = Vec::new();
            arrange(&mut Vec::new(), equal, right, &mut orders);
            let first = |order: &Vec<bool>| better + order.iter().position(|right| *right).unwrap() + 1;
            let count = orders.len() as f64;
            let recall = orders.iter().filter(|order| first(order) <= k).count() as f64 / count;
            let rank = orders.iter().map(|order| first(order) as f64).sum::<f64>() / count;
            prop_assert!((place.recall_at(k) - recall).abs() < 1e-9, "{place:?} {k}: {recall}");
            prop_assert!((place.rank() - rank).abs() < 1e-9, "{place:?}: {rank}");
        }
    }

    /// All orders of so many wrong and right items.
    fn arrange(so_far: &mut Vec<bool>, wrong: usize, right: usize, orders: &mut Vec<Vec<bool>>) {
        if wrong + right == 0 {
            orders.push(so_far.clone());
        }
        for (is_right, left) in [(false, wrong), (true, right)] {
            if left > 0 {
                so_far.push(is_right);
                let (wrong, right) = if is_right { (wrong, right - 1) } else { (wrong - 1, right) };
                arrange(so_far, wrong, right, orders);
                so_far.pop();
            }
        }
    }
}
