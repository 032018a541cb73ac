//! Questions about clips whose answers are known.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::data::{Classes, Example, Thing};

/// A question with a known answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// "a dog".
    Thing(u32),
    /// "a dog moving left".
    Moving(u32, u32),
    /// "a dog on the beach".
    Placed(u32, u32),
    /// "a dog, then a bicycle".
    Then(u32, u32),
}

impl Query {
    /// Its words.
    pub fn text(self, classes: &Classes) -> String {
        let noun = |class: u32| {
            let name = &classes.things[class as usize][0];
            let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
            format!("{} {name}", if vowel { "an" } else { "a" })
        };
        match self {
            Self::Thing(class) => noun(class),
            Self::Moving(class, motion) => {
                format!("{} {}", noun(class), classes.motions[motion as usize][0])
            }
            Self::Placed(class, place) => {
                format!("{} {}", noun(class), classes.places[place as usize][0])
            }
            Self::Then(first, second) => format!("{}, then {}", noun(first), noun(second)),
        }
    }

    /// Whether a clip is an answer.
    pub fn is_answered_by(self, clip: &Example) -> bool {
        clip.things.iter().any(|thing| match self {
            Self::Thing(class) => thing.class == class,
            Self::Moving(class, motion) => thing.class == class && thing.motion == motion,
            Self::Placed(class, place) => thing.class == class && clip.place == place,
            Self::Then(first, second) => {
                let come_after = |other: &Thing| other.class == second && other.comes_after(thing);
                thing.class == first && clip.things.iter().any(come_after)
            }
        })
    }

    /// A question that the clip answers, if it shows anything, and one that is close to it.
    pub(super) fn any_about(clip: &Example, classes: &Classes, rng: &mut ChaCha8Rng) -> Vec<Self> {
        if clip.things.is_empty() {
            return Vec::new();
        }
        let thing = &clip.things[rng.random_range(0..clip.things.len())];
        let other = rng.random_range(0..classes.things.len() as u32);
        let (class, motion) = (thing.class, thing.motion);
        let later = clip.things.iter().find(|other| other.comes_after(thing));
        if let Some(later) = later {
            return vec![Self::Then(class, later.class), Self::Then(later.class, class)];
        }
        match rng.random_range(0..5) {
            0 => vec![Self::Thing(class), Self::Thing(other)],
            1 => {
                let elsewhere = rng.random_range(0..classes.places.len() as u32);
                vec![Self::Placed(class, clip.place), Self::Placed(class, elsewhere)]
            }
            2 => vec![Self::Moving(class, motion), Self::Moving(other, motion)],
            _ => {
                let turned = classes.backwards[motion as usize];
                let turned = if turned == motion {
                    rng.random_range(0..classes.motions.len() as u32)
                } else {
                    turned
                };
                vec![Self::Moving(class, motion), Self::Moving(class, turned)]
            }
        }
    }
}
