//! What happens in an event: who takes part, how they are related, where, and for how long.

use serde::{Deserialize, Serialize};

use crate::actor::{Actor, Cast};
use crate::casting::Cupboard;
use crate::scene::Scene;
use crate::split::{Split, is_held};
use crate::vocabulary::{ThingId, Vocabulary};

/// A clip shows each thing it tells of in at least this share of its frames.
const LEAST_SEEN: f32 = 0.25;

/// On which side of the second thing the first one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the four sides")]
pub enum Side {
    Left,
    Right,
    Above,
    Below,
}

/// How the things of an event belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Nothing is there.
    Empty,
    /// One thing.
    Alone,
    /// Several of one kind.
    Count,
    /// Two at once.
    And,
    /// Two at once, the first on this side of the second.
    Beside(Side),
    /// Two, one after the other.
    Then,
    /// The first goes after the second, both in sight.
    Follows,
}

impl Relation {
    fn word(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Alone => "alone",
            Self::Count => "count",
            Self::And => "and",
            Self::Beside(Side::Left | Side::Right) => "beside",
            Self::Beside(Side::Above | Side::Below) => "above",
            Self::Then => "then",
            Self::Follows => "follows",
        }
    }
}

/// An event, before it is filmed.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) relation: Relation,
    pub(crate) scene: Scene,
    /// In the order in which a caption names them.
    pub(crate) actors: Vec<Actor>,
    pub(crate) seconds: f32,
}

impl Plan {
    /// Every combination that the event shows, each as one stable line of text: thing, place and
    /// motion; things and how they are related; thing and count.
    pub(crate) fn combinations(&self, vocabulary: &Vocabulary) -> Vec<String> {
        let name = |actor: &Actor| {
            let noun = &vocabulary.thing(actor.cast.thing).name;
            actor.cast.tint.map_or_else(|| noun.clone(), |tint| format!("{} {noun}", tint.name()))
        };
        let mut lines: Vec<String> = self
            .actors
            .iter()
            .map(|a| format!("{}|{}|{}", name(a), self.scene.name(), a.motion.name()))
            .collect();
        match (self.relation, &self.actors[..]) {
            (Relation::Count, all @ [first, ..]) => {
                lines.push(format!("{}|x{}", name(first), all.len()));
            }
            (relation, [first, second]) => {
                let (mut a, mut b) = (name(first), name(second));
                let is_same_arrangement_reversed = match relation {
                    Relation::And => a > b,
                    Relation::Beside(side) => matches!(side, Side::Right | Side::Below),
                    _ => false,
                };
                if is_same_arrangement_reversed {
                    std::mem::swap(&mut a, &mut b);
                }
                lines.push(format!("{a}|{}|{b}", relation.word()));
            }
            _ => {}
        }
        lines.sort();
        lines.dedup();
        lines
    }

    /// Held as soon as one combination is.
    pub(crate) fn split(&self, vocabulary: &Vocabulary) -> Split {
        let any_held = self.combinations(vocabulary).iter().any(|line| is_held(line));
        if any_held { Split::Held } else { Split::Train }
    }

    /// Whether a clip of `frames` frames from `start` seconds after the event's begin shows what a
    /// caption tells: each thing long enough, and most of what it does.
    pub(crate) fn is_told_by(&self, start: f32, frames: usize, fps: f32) -> bool {
        let enough = ((LEAST_SEEN * frames as f32).ceil() as usize).max(1);
        let end = start + frames.saturating_sub(1) as f32 / fps;
        self.actors.iter().all(|actor| {
            let seen = (0..frames).filter(|&k| actor.is_seen(start + k as f32 / fps)).count();
            seen >= enough && actor.shows_motion(start, end)
        })
    }

    /// The kinds of things that take part.
    pub(crate) fn things(&self) -> Vec<ThingId> {
        self.actors.iter().map(|actor| actor.cast.thing).collect()
    }

    /// The same event with its motion turned round: mirrored for left and right, in reverse for
    /// the others. None when nothing in it has a direction.
    pub(crate) fn turned_round(&self) -> Option<Self> {
        let mut turned = self.clone();
        let mut any = false;
        for actor in &mut turned.actors {
            let Some(opposite) = actor.motion.opposite() else { continue };
            actor.path = match actor.motion.direction() {
                Some("left" | "right") => actor.path.mirrored(),
                _ => actor.path.reversed(),
            };
            actor.motion = opposite;
            any = true;
        }
        any.then_some(turned)
    }

    /// The same event with its two things exchanged, each at the other's place and time. None
    /// unless there are two.
    pub(crate) fn exchanged(&self, cupboard: Cupboard<'_>) -> Option<Self> {
        let [first, second] = &self.actors[..] else { return None };
        let mut exchanged = self.clone();
        for (actor, other) in exchanged.actors.iter_mut().zip([second, first]) {
            let breadth = |cast: Cast| cupboard.aspect(cast).max(1.0).sqrt();
            let growth = breadth(actor.cast) / breadth(other.cast);
            let (was, is) = (cupboard.aspect(actor.cast), cupboard.aspect(other.cast));
            actor.path = actor.path.refitted(growth, was, is);
            actor.cast = other.cast;
        }
        Some(exchanged)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashSet};

    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::motion::Motion;
    use crate::world::{World, any_relation};

    fn world() -> &'static World {
        static WORLD: std::sync::OnceLock<World> = std::sync::OnceLock::new();
        WORLD.get_or_init(|| World::load().unwrap())
    }

    fn plan(split: Split, seed: u64) -> Plan {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let relation = any_relation(&mut rng);
        world().cupboard().plan(relation, &Motion::ALL, None, split, &mut rng)
    }

    proptest! {
        #[test]
        fn training_shows_no_held_combination_and_held_events_always_one(seed: u64) {
            let train = plan(Split::Train, seed).combinations(world().vocabulary());
            prop_assert!(train.iter().all(|line| !is_held(line)), "{train:?}");
            let held = plan(Split::Held, seed);
            if held.relation != Relation::Empty {
                let lines = held.combinations(world().vocabulary());
                prop_assert!(lines.iter().any(|line| is_held(line)), "{lines:?}");
            }
        }

        #[test]
        fn an_arrangement_is_one_combination_whichever_thing_is_named_first(seed: u64) {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            for (side, other) in [(Side::Left, Side::Right), (Side::Above, Side::Below)] {
                let cupboard = world().cupboard();
                let plan =
                    cupboard.plan(Relation::Beside(side), &[Motion::Still], None, Split::Train, &mut rng);
                let mut renamed = plan.clone();
                renamed.relation = Relation::Beside(other);
                renamed.actors.reverse();
                let vocabulary = world().vocabulary();
                prop_assert_eq!(plan.combinations(vocabulary), renamed.combinations(vocabulary));
            }
        }

        #[test]
        fn things_that_take_part_are_large_enough_to_be_made_out(seed: u64) {
            for actor in plan(Split::Train, seed).actors {
                let (from, to) = actor.stay;
                for k in 0..20 {
                    let (pose, _) = actor.at(from + (to - from) * k as f32 / 20.0).unwrap();
                    prop_assert!((0.2799..=0.6001).contains(&pose.height), "{}", pose.height);
                }
            }
        }
    }

    #[test]
    fn training_meets_every_thing_place_and_motion() {
        let (mut things, mut scenes, mut motions) =
            (HashSet::new(), BTreeSet::new(), BTreeSet::new());
        for seed in 0..6000 {
            let plan = plan(Split::Train, seed);
            things.extend(plan.things());
            scenes.insert(plan.scene);
            motions.extend(plan.actors.iter().map(|actor| actor.motion));
        }
        assert_eq!(things.len(), world().vocabulary().things().len());
        assert_eq!(scenes.len(), Scene::ALL.len());
        assert_eq!(motions.len(), Motion::ALL.len());
    }

    #[test]
    fn every_thing_is_left_some_training_and_some_held_combinations() {
        for thing in world().vocabulary().things() {
            let held = Scene::ALL
                .iter()
                .flat_map(|scene| Motion::ALL.map(|motion| (scene, motion)))
                .filter(|(s, m)| is_held(&format!("{}|{}|{}", thing.name, s.name(), m.name())))
                .count();
            assert!((10..60).contains(&held), "{}: {held} of 156", thing.name);
        }
    }
}
