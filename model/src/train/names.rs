//! Names to choose between, and how often the right one is chosen.

use rand::Rng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::data::{Classes, Example};

/// Names of things that a step asks about, unless its pictures show more.
const ASKED: usize = 112;

/// The names that a step asks about.
pub(super) struct Names {
    /// One phrase for each thing that was chosen, then one for each place.
    pub(super) phrases: Vec<String>,
    /// For each thing of the vocabulary its row among the phrases, if it was chosen.
    rows: Vec<Option<u32>>,
    /// How many of the phrases are things.
    pub(super) things: usize,
}

impl Names {
    /// Everything that the examples show, and others at random up to [`ASKED`].
    pub(super) fn choose(examples: &[Example], classes: &Classes, rng: &mut ChaCha8Rng) -> Self {
        let mut rows = vec![None; classes.things.len()];
        let mut order: Vec<usize> = examples
            .iter()
            .flat_map(|e| e.things.iter().map(|thing| thing.class as usize))
            .collect();
        let mut others: Vec<usize> = (0..rows.len()).collect();
        others.shuffle(rng);
        order.extend(others.into_iter().take(ASKED));
        let mut phrases = Vec::new();
        let mut say = |ways: &[String]| phrases.push(ways[rng.random_range(0..ways.len())].clone());
        let mut things = 0;
        for class in order {
            if rows[class].is_none() && (things < ASKED as u32 || is_shown(examples, class)) {
                rows[class] = Some(things);
                things += 1;
                say(&classes.things[class]);
            }
        }
        classes.places.iter().for_each(|ways| say(ways));
        Self { phrases, rows, things: things as usize }
    }

    /// The row of a thing's phrase, if it was chosen.
    pub(super) fn thing(&self, class: u32) -> Option<u32> {
        self.rows[class as usize]
    }

    /// The row of a place's phrase.
    pub(super) fn place(&self, place: u32) -> u32 {
        self.things as u32 + place
    }
}

fn is_shown(examples: &[Example], class: usize) -> bool {
    examples.iter().any(|e| e.things.iter().any(|thing| thing.class as usize == class))
}

/// Which index of a row holds its largest value.
pub(super) fn best(row: &[f32]) -> usize {
    let top = row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    top.map_or(0, |(index, _)| index)
}

/// Recall at 1 and at 5 where row i should find column i.
pub(super) fn recall(similarity: &[Vec<f32>]) -> (f32, f32) {
    let rank = |(i, row): (usize, &Vec<f32>)| row.iter().filter(|&&value| value > row[i]).count();
    let ranks: Vec<usize> = similarity.iter().enumerate().map(rank).collect();
    let within =
        |k: usize| ranks.iter().filter(|&&rank| rank < k).count() as f32 / ranks.len() as f32;
    (within(1), within(5))
}
