//! What happens in an event: who takes part, how they are related, where, and for how long.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::motion::{Motion, Path, Pose, Room};
use crate::scene::Scene;
use crate::split::{Split, is_held};
use crate::sprites::Sprites;
use crate::view::ASPECT;
use crate::vocabulary::{Look, ThingId, Tint, Vocabulary};

/// Seconds in which a thing comes into view, or goes, in the middle of the frame.
const FADE: f32 = 0.25;

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

/// How large a thing is for its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the three sizes")]
pub enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    fn extent(self, u: f32) -> f32 {
        match self {
            Self::Small => 0.28 + 0.05 * u,
            Self::Medium => 0.36 + 0.09 * u,
            Self::Large => 0.50 + 0.10 * u,
        }
    }
}

/// A thing and how it looks this time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cast {
    pub(crate) thing: ThingId,
    pub(crate) tint: Option<Tint>,
    pub(crate) is_flipped: bool,
}

/// A thing that takes part in an event.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) cast: Cast,
    pub(crate) size: Size,
    pub(crate) motion: Motion,
    pub(crate) path: Path,
    /// Seconds after the event's start between which it is there.
    pub(crate) stay: (f32, f32),
}

impl Actor {
    /// Pose and opacity at a time of the event, while the actor is there.
    pub(crate) fn at(&self, seconds: f32) -> Option<(Pose, f32)> {
        let (from, to) = self.stay;
        if seconds < from || seconds >= to {
            return None;
        }
        let opacity = ((seconds - from) / FADE).min((to - seconds) / FADE).min(1.0);
        Some((self.path.pose((seconds - from) / (to - from)), opacity))
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

/// What plans are made from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cupboard<'a> {
    pub(crate) vocabulary: &'a Vocabulary,
    pub(crate) sprites: &'a Sprites,
}

impl Cupboard<'_> {
    fn cast(&self, rng: &mut ChaCha8Rng) -> Cast {
        let thing = rng.random_range(0..self.vocabulary.things().len());
        // A figure is drawn as often as eight emoji: it comes in as many colours.
        let thing = if rng.random::<f32>() < 0.12 { self.shape(rng) } else { thing };
        let tint = matches!(self.vocabulary.thing(thing).look, Look::Shape(_))
            .then(|| Tint::ALL[rng.random_range(0..Tint::ALL.len())]);
        Cast { thing, tint, is_flipped: rng.random() }
    }

    fn shape(&self, rng: &mut ChaCha8Rng) -> ThingId {
        let things = self.vocabulary.things();
        things.len() - 1 - rng.random_range(0..crate::vocabulary::Shape::ALL.len())
    }

    /// A cast whose thing none of `others` is.
    pub(crate) fn cast_unlike(&self, others: &[ThingId], rng: &mut ChaCha8Rng) -> Cast {
        loop {
            let cast = self.cast(rng);
            if !others.contains(&cast.thing) {
                return cast;
            }
        }
    }

    pub(crate) fn aspect(&self, cast: Cast) -> f32 {
        self.sprites.get(cast.thing, cast.tint).aspect()
    }

    /// The height at which a thing of this size is shown; wide things are lower.
    fn height(&self, cast: Cast, extent: f32) -> f32 {
        (extent / self.aspect(cast).max(1.0).sqrt()).clamp(0.28, 0.6)
    }

    fn actor(
        &self,
        cast: Cast,
        size: Size,
        motion: Motion,
        room: Room,
        rng: &mut ChaCha8Rng,
    ) -> Actor {
        let height = self.height(cast, size.extent(rng.random()));
        let path = Path::sample(motion, height, self.aspect(cast), room, rng);
        let size =
            if matches!(motion, Motion::Closer | Motion::Away) { Size::Medium } else { size };
        Actor { cast, size, motion, path, stay: (0.0, 0.0) }
    }

    /// An event of this kind, drawn until it belongs to `split`.
    pub(crate) fn plan(
        &self,
        relation: Relation,
        motions: &[Motion],
        split: Split,
        rng: &mut ChaCha8Rng,
    ) -> Plan {
        loop {
            let plan = self.any_plan(relation, motions, rng);
            if plan.split(self.vocabulary) == split || relation == Relation::Empty {
                return plan;
            }
        }
    }

    fn any_plan(&self, relation: Relation, motions: &[Motion], rng: &mut ChaCha8Rng) -> Plan {
        let scene = Scene::ALL[rng.random_range(0..Scene::ALL.len())];
        let seconds = match relation {
            Relation::Alone => rng.random_range(4.0..8.0),
            Relation::Then => rng.random_range(5.0..7.0),
            _ => rng.random_range(4.0..6.5),
        };
        let mut actors = match relation {
            Relation::Empty => Vec::new(),
            Relation::Alone => vec![self.alone(motions, rng)],
            Relation::Count => self.several(rng),
            Relation::And => self.both(motions, rng),
            Relation::Beside(side) => self.beside(side, rng),
            Relation::Then => self.one_then_other(motions, rng),
            Relation::Follows => self.one_behind_other(rng),
        };
        let half = seconds * rng.random_range(0.46..0.54);
        for (index, actor) in actors.iter_mut().enumerate() {
            actor.stay = match (relation, index) {
                (Relation::Then, 0) => (0.0, half),
                (Relation::Then, _) => (half, seconds),
                _ => (0.0, seconds),
            };
        }
        Plan { relation, scene, actors, seconds }
    }

    fn alone(&self, motions: &[Motion], rng: &mut ChaCha8Rng) -> Actor {
        let size = pick(rng, &[Size::Small, Size::Medium, Size::Large]);
        let motion = pick(rng, motions);
        self.actor(self.cast(rng), size, motion, Room::ALL, rng)
    }

    fn one_then_other(&self, motions: &[Motion], rng: &mut ChaCha8Rng) -> Vec<Actor> {
        let first = self.alone(motions, rng);
        let cast = self.cast_unlike(&[first.cast.thing], rng);
        let size = pick(rng, &[Size::Small, Size::Medium, Size::Large]);
        let motion = pick(rng, motions);
        let second = self.actor(cast, size, motion, Room::ALL, rng);
        vec![first, second]
    }

    /// Two things with a half of the frame each.
    fn both(&self, motions: &[Motion], rng: &mut ChaCha8Rng) -> Vec<Actor> {
        let first = self.cast(rng);
        let second = self.cast_unlike(&[first.thing], rng);
        let calm = [Motion::Still, Motion::Right, Motion::Left, Motion::Up, Motion::Down];
        let allowed: Vec<Motion> = calm.into_iter().filter(|m| motions.contains(m)).collect();
        let together = pick(rng, &allowed);
        let other = if rng.random::<f32>() < 0.6 { together } else { pick(rng, &allowed) };
        let is_sideways =
            [together, other].iter().any(|m| matches!(m, Motion::Left | Motion::Right));
        let (near, far) = if is_sideways {
            (Room { y: (0.0, 0.5), ..Room::ALL }, Room { y: (0.5, 1.0), ..Room::ALL })
        } else {
            (Room { x: (0.0, 0.5), ..Room::ALL }, Room { x: (0.5, 1.0), ..Room::ALL })
        };
        let (near, far) = if rng.random() { (near, far) } else { (far, near) };
        let size = pick(rng, &[Size::Small, Size::Medium]);
        let near = self.actor(first, size, together, near, rng);
        vec![near, self.actor(second, Size::Small, other, far, rng)]
    }

    fn beside(&self, side: Side, rng: &mut ChaCha8Rng) -> Vec<Actor> {
        let first = self.cast(rng);
        let second = self.cast_unlike(&[first.thing], rng);
        let (low, high) = ((0.0, 0.5), (0.5, 1.0));
        let (here, there) = match side {
            Side::Left => (Room { x: low, y: (0.2, 0.8) }, Room { x: high, y: (0.2, 0.8) }),
            Side::Right => (Room { x: high, y: (0.2, 0.8) }, Room { x: low, y: (0.2, 0.8) }),
            Side::Above => (Room { x: (0.3, 0.7), y: low }, Room { x: (0.3, 0.7), y: high }),
            Side::Below => (Room { x: (0.3, 0.7), y: high }, Room { x: (0.3, 0.7), y: low }),
        };
        let size = pick(rng, &[Size::Small, Size::Medium]);
        let here = self.actor(first, size, Motion::Still, here, rng);
        vec![here, self.actor(second, Size::Small, Motion::Still, there, rng)]
    }

    /// Two to five of a kind on a loose grid.
    fn several(&self, rng: &mut ChaCha8Rng) -> Vec<Actor> {
        let cast = loop {
            let cast = self.cast(rng);
            if self.aspect(cast) < 1.45 {
                break cast;
            }
        };
        let count = rng.random_range(2..=5);
        let mut places: Vec<(usize, usize)> = (0..6).map(|k| (k % 3, k / 3)).collect();
        (0..count)
            .map(|_| {
                let (column, row) = places.swap_remove(rng.random_range(0..places.len()));
                let x = 0.12 + 0.76 * column as f32 / 3.0;
                let room = Room {
                    x: (x, x + 0.76 / 3.0),
                    y: (0.06 + 0.45 * row as f32, 0.49 + 0.45 * row as f32),
                };
                self.actor(cast, Size::Small, Motion::Still, room, rng)
            })
            .collect()
    }

    fn one_behind_other(&self, rng: &mut ChaCha8Rng) -> Vec<Actor> {
        let motion = pick(rng, &[Motion::Right, Motion::Left]);
        let first = self.cast(rng);
        let second = self.cast_unlike(&[first.thing], rng);
        let way: f32 = if motion == Motion::Right { 1.0 } else { -1.0 };
        let mut pair =
            [first, second].map(|cast| self.actor(cast, Size::Small, motion, Room::ALL, rng));
        let widths = pair
            .each_ref()
            .map(|actor| actor.path.pose(0.0).height * self.aspect(actor.cast) / ASPECT);
        let gap = (widths[0] + widths[1]) / 2.0 + 0.04;
        let y = pair[0].path.pose(0.0).y;
        for (actor, ahead) in pair.iter_mut().zip([-gap / 2.0, gap / 2.0]) {
            let height = actor.path.pose(0.0).height;
            let at = |along: f32| Pose { x: 0.5 + way * (along + ahead), y, height };
            actor.path = Path::Line { from: at(-0.26), to: at(0.26), span: (0.0, 1.0) };
        }
        pair.into()
    }
}

/// One of `choices`; always one draw, so that plans with different choices stay in step.
pub(crate) fn pick<T: Copy>(rng: &mut ChaCha8Rng, choices: &[T]) -> T {
    choices[((rng.random::<f32>() * choices.len() as f32) as usize).min(choices.len() - 1)]
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
                lines.push(format!("{}|x{}", name(first), all.len()))
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
