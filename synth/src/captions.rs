//! Caption templates and how they are filled.
//!
//! A template is a line with slots in braces (see [`Words::slot`]). Each kind of event has one
//! list for training and one that is held back, and no template is in both. Lists run from rich
//! to short.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::motion::Motion;
use crate::phrases::Words;
use crate::plan::{Plan, Relation};
use crate::split::Split;
use crate::vocabulary::Vocabulary;

/// Templates of one kind of event: for training, and held back.
struct Family {
    train: &'static [&'static str],
    held: &'static [&'static str],
}

const EMPTY: Family = Family {
    train: &[
        "nothing moves {where}",
        "there is nothing {where}",
        "{scene} with nothing on it",
        "an empty scene, {scene}",
        "only {scene}",
        "{scene}",
    ],
    held: &["we see only {scene}", "nothing {where}", "{scene} and nothing on it"],
};

/// One thing that moves.
const MOVING: Family = Family {
    train: &[
        "{a} {does} {where}",
        "{a} {doing} {where}",
        "{where}, {a} {does}",
        "a video of {a} {doing} {where}",
        "we see {scene} where {a} {does}",
        "{scene} with {a} {doing}",
        "{class} {doing} {where}",
        "something {doing} {where}",
        "{a} {does}",
        "{a} {doing}",
        "{a} is {doing}",
        "the camera shows {a} {doing}",
        "{bare} {doing}",
        "something {does}",
        "{class} {doing}",
        "{a} {where}",
        "there is {a} {where}",
        "in this video there is {a}",
        "{bare} {where}",
        "{a}",
        "{bare}",
    ],
    held: &[
        "{a} is {doing} {where}",
        "in this video {a} {does} {where}",
        "{scene} where {a} {does}",
        "a view of {a} {doing}",
        "we see {a} {doing}",
        "there is {a} {doing}",
        "{where} {class} {does}",
        "the camera shows {a} {where}",
        "a video of {a}",
    ],
};

/// One thing in a picture, or standing still.
const SHOWN: Family = Family {
    train: &[
        "a view of {a} {where}",
        "{where}, {a}",
        "{a} {where}",
        "{scene} with {a}",
        "there is {a} {where}",
        "{class} {where}",
        "something {where}",
        "{bare} {where}",
        "the camera shows {a}",
        "there is {a}",
        "in this video there is {a}",
        "{a}",
        "{a}",
        "{bare}",
    ],
    held: &[
        "we see {scene} and {a}",
        "the camera shows {a} {where}",
        "{where} there is {a}",
        "a view of {a}",
        "we see {a}",
    ],
};

const COUNTED: Family = Family {
    train: &[
        "there are {group} {where}",
        "{group} {where}",
        "{scene} with {group}",
        "we see {group}",
        "there are {group}",
        "{many} {where}",
        "{group}",
        "{group}",
        "{many}",
    ],
    held: &[
        "the camera shows {group} {where}",
        "{where} there are {group}",
        "a view of {group}",
        "we see {many}",
    ],
};

const PAIRED: Family = Family {
    train: &[
        "there are {a} and {b} {where}",
        "{a} and {b} {where}",
        "{scene} with {a} and {b}",
        "{a} with {b}",
        "we see {a} and {b}",
        "{a} and {b}",
        "{b} and {a}",
        "{bare} and {bare_b}",
    ],
    held: &[
        "the camera shows {a} and {b} {where}",
        "{where} there are {b} and {a}",
        "a view of {a} and {b}",
        "there are {a} and {b}",
    ],
};

/// Two things that move, each its own way.
const PAIR_MOVING: Family = Family {
    train: &[
        "{a} {does} and {b} {does_b} {where}",
        "{a} {does} while {b} {does_b}",
        "{a} {doing} and {b} {doing_b}",
        "{a} and {b} {where}",
        "{a} and {b}",
        "{b} and {a}",
    ],
    held: &[
        "{where}, {a} {does} while {b} {does_b}",
        "we see {a} {doing} while {b} {does_b}",
        "a view of {a} and {b}",
        "there are {a} and {b}",
    ],
};

/// Two things that move the same way.
const PAIR_TOGETHER: Family = Family {
    train: &[
        "{a} and {b} {do} {where}",
        "{a} and {b} {doing} {where}",
        "{a} and {b} {do}",
        "{a} and {b} {doing}",
        "{a} and {b} {where}",
        "{a} and {b}",
        "{b} and {a}",
    ],
    held: &[
        "{where}, {a} and {b} {do}",
        "we see {a} and {b} {doing}",
        "a view of {a} and {b}",
        "there are {a} and {b} {doing}",
    ],
};

const BESIDE: Family = Family {
    train: &[
        "{a} is {side} {b} {where}",
        "{a} {side} {b} {where}",
        "there is {a} {side} {b}",
        "{a} is {side} {b}",
        "{b} is {reverse} {a}",
        "{a} {side} {b}",
        "{b} {reverse} {a}",
        "{a} and {b} {where}",
        "{a} and {b}",
    ],
    held: &[
        "{where}, {a} is {side} {b}",
        "we see {a} {side} {b}",
        "a view of {a} {side} {b}",
        "there is {b} {reverse} {a}",
    ],
};

const ORDERED: Family = Family {
    train: &[
        "{a} {does}, then {b} {does_b}",
        "{a} appears, then {b} appears {where}",
        "{a} and then {b} {where}",
        "first {a}, then {b} {where}",
        "first {a} {does}, later {b}",
        "first {a}, then {b}",
        "{a}, then {b}",
        "{a}, then {b}",
        "{a} and then {b}",
        "{a} followed by {b}",
        "{a} comes before {b}",
        "{a} before {b}",
        "{b} after {a}",
        "{bare} then {bare_b}",
        "{a}, and later {b}",
    ],
    held: &[
        "{where}, first {a} and then {b}",
        "we see {a}, then {b}",
        "{a} first, {b} later",
        "{b} comes after {a}",
        "{a} appears before {b}",
        "first {a} appears and later {b}",
    ],
};

const FOLLOWING: Family = Family {
    train: &[
        "{a} follows {b} {where}",
        "{a} follows {b} and both {do}",
        "{a} is following {b}",
        "{a} follows {b}",
        "{a} chases {b}",
        "{a} moves behind {b}",
        "{a} {doing} behind {b}",
        "{a} and {b} {doing}",
        "{a} and {b}",
    ],
    held: &["we see {a} following {b}", "{a} is moving behind {b}", "{where}, {a} chases {b}"],
};

/// What a caption may tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Medium {
    /// A single picture: no motion, no order.
    Picture,
    /// Several frames.
    Video,
}

fn family(plan: &Plan, medium: Medium) -> &'static Family {
    let motion = |k: usize| plan.actors.get(k).map_or(Motion::Still, |actor| actor.motion);
    match (plan.relation, medium) {
        (Relation::Empty, _) => &EMPTY,
        (Relation::Alone, Medium::Video) => &MOVING,
        (Relation::Alone, Medium::Picture) => &SHOWN,
        (Relation::Count, _) => &COUNTED,
        (Relation::Beside(_), _) => &BESIDE,
        (Relation::And, Medium::Picture) => &PAIRED,
        (Relation::And, Medium::Video) => match (motion(0), motion(1)) {
            (Motion::Still, Motion::Still) => &PAIRED,
            (first, second) if first == second => &PAIR_TOGETHER,
            _ => &PAIR_MOVING,
        },
        (Relation::Then, _) => &ORDERED,
        (Relation::Follows, _) => &FOLLOWING,
    }
}

fn fill(template: &str, words: &Words) -> String {
    let mut caption = String::with_capacity(64);
    for (index, part) in template.split(['{', '}']).enumerate() {
        caption.push_str(if index % 2 == 0 { part } else { words.slot(part) });
    }
    caption
}

/// Up to `count` different captions of the event, from rich to short.
pub(crate) fn captions(
    plan: &Plan,
    medium: Medium,
    split: Split,
    count: usize,
    vocabulary: &Vocabulary,
    rng: &mut ChaCha8Rng,
) -> Vec<String> {
    let family = family(plan, medium);
    let templates = match split {
        Split::Train => family.train,
        Split::Held => family.held,
    };
    let mut chosen: Vec<usize> = (0..templates.len()).collect();
    chosen.shuffle(rng);
    chosen.truncate(count);
    chosen.sort_unstable();
    let mut captions = Vec::with_capacity(count);
    for index in chosen {
        let caption = fill(templates[index], &Words::draw(plan, vocabulary, rng));
        if !captions.contains(&caption) {
            captions.push(caption);
        }
    }
    captions
}

/// Every template of one side of the split, with repetitions.
#[cfg(test)]
fn templates(split: Split) -> impl Iterator<Item = &'static str> {
    let families = [
        &EMPTY,
        &MOVING,
        &SHOWN,
        &COUNTED,
        &PAIRED,
        &PAIR_MOVING,
        &PAIR_TOGETHER,
        &BESIDE,
        &ORDERED,
        &FOLLOWING,
    ];
    families
        .into_iter()
        .flat_map(move |family| match split {
            Split::Train => family.train,
            Split::Held => family.held,
        })
        .copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;

    use super::*;
    use crate::world::{World, any_relation};

    #[test]
    fn no_template_is_on_both_sides() {
        let train: HashSet<_> = templates(Split::Train).collect();
        let held: HashSet<_> = templates(Split::Held).collect();
        assert!(train.len() > 60 && held.len() > 30, "{} and {}", train.len(), held.len());
        let both: Vec<_> = train.intersection(&held).collect();
        assert!(both.is_empty(), "{both:?}");
    }

    /// What all captions of one side say, of the same events, with the given seeds.
    fn told(world: &World, split: Split, seeds: std::ops::Range<u64>) -> HashSet<String> {
        seeds
            .flat_map(|seed| {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let relation = any_relation(&mut rng);
                let cupboard = world.cupboard();
                let plan = cupboard.plan(relation, &Motion::ALL, None, Split::Train, &mut rng);
                let medium = if seed % 3 == 0 { Medium::Picture } else { Medium::Video };
                captions(&plan, medium, split, 100, world.vocabulary(), &mut rng)
            })
            .collect()
    }

    #[test]
    fn no_held_caption_is_ever_a_training_caption() {
        let world = World::load().unwrap();
        let train = told(&world, Split::Train, 0..4000);
        let held = told(&world, Split::Held, 0..4000);
        let both: Vec<_> = train.intersection(&held).collect();
        assert!(both.is_empty(), "{both:?}");
    }

    #[test]
    fn held_captions_use_only_words_of_training_captions() {
        let world = World::load().unwrap();
        let words = |captions: Vec<String>| -> HashSet<String> {
            let split = |c: &String| {
                c.split([' ', ',']).filter(|w| !w.is_empty()).map(str::to_owned).collect::<Vec<_>>()
            };
            captions.iter().flat_map(split).collect()
        };
        let corpus = words(world.captions_corpus(1, 30_000));
        let held = words(told(&world, Split::Held, 0..3000).into_iter().collect());
        let unknown: Vec<_> = held.difference(&corpus).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }

    #[test]
    fn every_slot_of_every_template_is_filled() {
        let world = World::load().unwrap();
        for split in [Split::Train, Split::Held] {
            for caption in told(&world, split, 0..2000) {
                let is_whole = !caption.contains(['{', '}'])
                    && !caption.contains("  ")
                    && caption.trim() == caption
                    && !caption.contains(" ,");
                assert!(is_whole, "'{caption}'");
            }
        }
    }
}
