//! Drawing events: who takes part, where they are and how they move.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::actor::{Actor, Cast, Size};
use crate::motion::{Motion, Path, Pose, Room};
use crate::plan::{Plan, Relation, Side};
use crate::scene::Scene;
use crate::split::Split;
use crate::sprites::Sprites;
use crate::view::ASPECT;
use crate::vocabulary::{Look, Shape, ThingId, Tint, Vocabulary};

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
        things.len() - 1 - rng.random_range(0..Shape::ALL.len())
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

    /// An event of this kind, in this place if one is given, drawn until it belongs to `split`.
    pub(crate) fn plan(
        &self,
        relation: Relation,
        motions: &[Motion],
        scene: Option<Scene>,
        split: Split,
        rng: &mut ChaCha8Rng,
    ) -> Plan {
        loop {
            let anywhere = Scene::ALL[rng.random_range(0..Scene::ALL.len())];
            let plan = self.any_plan(relation, motions, scene.unwrap_or(anywhere), rng);
            if plan.split(self.vocabulary) == split || relation == Relation::Empty {
                return plan;
            }
        }
    }

    fn any_plan(
        &self,
        relation: Relation,
        motions: &[Motion],
        scene: Scene,
        rng: &mut ChaCha8Rng,
    ) -> Plan {
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
        let gap = f32::midpoint(widths[0], widths[1]) + 0.04;
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
