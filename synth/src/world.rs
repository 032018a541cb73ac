//! The world itself: labelled pictures and clips for training, deterministic and without files.

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::actor::{Actor, Cast};
use crate::camera::{Placed, Shot};
use crate::captions::{Medium, captions};
use crate::casting::{Cupboard, pick};
use crate::error::SynthError;
use crate::interview::Interview;
use crate::labels::{LabelledClip, LabelledImage, PlacedObject};
use crate::motion::{Motion, Pose};
use crate::noise::Noise;
use crate::plan::{Plan, Relation, Side};
use crate::questions::Question;
use crate::scene::Scene;
use crate::split::Split;
use crate::sprites::Sprites;
use crate::view::View;
use crate::vocabulary::{Look, ThingId, Tint, Vocabulary};

/// Captions of a clip, at most.
const CAPTIONS: usize = 4;

/// The things, their pictures and what places are painted with. Made once, shared by all threads.
#[derive(Debug)]
pub struct World {
    vocabulary: Vocabulary,
    sprites: Sprites,
    noise: Noise,
}

/// In what two clips of a pair differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Counterpart {
    /// The same thing moves the other way.
    Direction,
    /// The same two things in the other order: which comes first, which is on which side, or
    /// which follows which.
    Order,
}

impl World {
    /// Reads the vocabulary and its pictures. Takes some tens of milliseconds.
    ///
    /// # Errors
    /// [`SynthError::FontMissing`] where the emoji font is not installed, and its kin where the
    /// font lacks a picture.
    pub fn load() -> Result<Self, SynthError> {
        let vocabulary = Vocabulary::load()?;
        let sprites = Sprites::load(&vocabulary)?;
        Ok(Self { vocabulary, sprites, noise: Noise::new() })
    }

    /// The things and their words.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    pub(crate) fn cupboard(&self) -> Cupboard<'_> {
        Cupboard { vocabulary: &self.vocabulary, sprites: &self.sprites }
    }

    pub(crate) fn noise(&self) -> &Noise {
        &self.noise
    }

    /// A picture of one to five objects in a place, with a caption. Takes one number from `rng`;
    /// the same number gives the same picture, at whatever size.
    pub fn sample_image(&self, rng: &mut impl RngCore, split: Split, view: View) -> LabelledImage {
        let mut rng = ChaCha8Rng::seed_from_u64(rng.next_u64());
        let relation = match rng.random::<f32>() {
            u if u < 0.02 => Relation::Empty,
            u if u < 0.66 => Relation::Alone,
            u if u < 0.78 => Relation::Count,
            u if u < 0.90 => Relation::And,
            _ => Relation::Beside(any_side(&mut rng)),
        };
        let plan = self.cupboard().plan(relation, &[Motion::Still], None, split, &mut rng);
        let told =
            captions(&plan, Medium::Picture, split, 1, &self.vocabulary, &mut rng).swap_remove(0);
        let shot = self.shot(&plan, view, rng.next_u64());
        let middle = plan.seconds / 2.0;
        let (rgb, objects) = self.frames(&plan, &shot, view, &[middle]);
        let questions = self.questions(&plan, &shot, split, true, &mut rng);
        LabelledImage {
            rgb: rgb.into_iter().next().unwrap_or_default(),
            width: view.width,
            height: view.height,
            caption: told,
            scene: plan.scene,
            relation: plan.relation,
            objects,
            questions,
        }
    }

    /// A clip of `frames` frames at `fps` frames per second that sees most of an event, and often
    /// some of the time before or after it. Takes one number from `rng`.
    pub fn sample_clip(
        &self,
        rng: &mut impl RngCore,
        split: Split,
        view: View,
        frames: usize,
        fps: f32,
    ) -> LabelledClip {
        let mut rng = ChaCha8Rng::seed_from_u64(rng.next_u64());
        let relation = any_relation(&mut rng);
        let plan = self.cupboard().plan(relation, &Motion::ALL, None, split, &mut rng);
        let start = window(&[&plan], frames, fps, &mut rng);
        self.clip(&plan, split, view, start, frames, fps, rng.next_u64())
    }

    /// Two clips that differ only in `counterpart`: the same place, camera and things, each with
    /// captions that differ in nothing else. Takes one number from `rng`. Both clips belong to
    /// `split`.
    pub fn sample_clip_pair(
        &self,
        rng: &mut impl RngCore,
        split: Split,
        counterpart: Counterpart,
        view: View,
        frames: usize,
        fps: f32,
    ) -> (LabelledClip, LabelledClip) {
        let mut rng = ChaCha8Rng::seed_from_u64(rng.next_u64());
        let (plan, other) = self.pair(split, counterpart, &mut rng);
        let start = window(&[&plan, &other], frames, fps, &mut rng);
        let seed = rng.next_u64();
        let [one, two] =
            [&plan, &other].map(|plan| self.clip(plan, split, view, start, frames, fps, seed));
        (one, two)
    }

    fn pair(&self, split: Split, counterpart: Counterpart, rng: &mut ChaCha8Rng) -> (Plan, Plan) {
        let directed: Vec<Motion> =
            Motion::ALL.into_iter().filter(|m| m.opposite().is_some()).collect();
        loop {
            let (plan, other) = match counterpart {
                Counterpart::Direction => {
                    let plan = self.cupboard().plan(Relation::Alone, &directed, None, split, rng);
                    let other = plan.turned_round();
                    (plan, other)
                }
                Counterpart::Order => {
                    let relation = match rng.random::<f32>() {
                        u if u < 0.6 => Relation::Then,
                        u if u < 0.85 => Relation::Beside(any_side(rng)),
                        _ => Relation::Follows,
                    };
                    let plan = self.cupboard().plan(relation, &Motion::ALL, None, split, rng);
                    let other = plan.exchanged(self.cupboard());
                    (plan, other)
                }
            };
            if let Some(other) = other
                && other.split(&self.vocabulary) == split
            {
                return (plan, other);
            }
        }
    }

    /// Films `plan` from `start` seconds after its begin. The same seed gives the same camera and
    /// the same choice of words.
    #[expect(clippy::too_many_arguments, reason = "one call for both kinds of clips")]
    fn clip(
        &self,
        plan: &Plan,
        split: Split,
        view: View,
        start: f32,
        frames: usize,
        fps: f32,
        seed: u64,
    ) -> LabelledClip {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let shot = self.shot(plan, view, rng.next_u64());
        let captions = captions(plan, Medium::Video, split, CAPTIONS, &self.vocabulary, &mut rng);
        let times: Vec<f32> = (0..frames).map(|k| start + k as f32 / fps).collect();
        let (rgb, objects) = self.frames(plan, &shot, view, &times);
        LabelledClip {
            frames: rgb,
            width: view.width,
            height: view.height,
            captions,
            scene: plan.scene,
            relation: plan.relation,
            objects,
            questions: self.questions(plan, &shot, split, false, &mut rng),
            event_span: (-start, plan.seconds - start),
        }
    }

    fn questions(
        &self,
        plan: &Plan,
        shot: &Shot,
        split: Split,
        is_picture: bool,
        rng: &mut ChaCha8Rng,
    ) -> Vec<Question> {
        let props = shot.props.iter().map(|prop| prop.cast.thing).collect();
        Interview { plan, cupboard: self.cupboard(), props, split, is_picture }.questions(rng)
    }

    fn shot(&self, plan: &Plan, view: View, seed: u64) -> Shot {
        let mut things = plan.things();
        // Counterparts have the same things in another order, and must have the same props.
        things.sort_unstable();
        Shot::set_up(plan.scene, &things, view, self.cupboard(), &self.noise, seed)
    }

    /// The frames at these seconds after the event's start, and where its actors are in them.
    fn frames(
        &self,
        plan: &Plan,
        shot: &Shot,
        view: View,
        times: &[f32],
    ) -> (Vec<Vec<u8>>, Vec<PlacedObject>) {
        let mut objects: Vec<PlacedObject> =
            plan.actors.iter().map(|actor| self.object(actor, times.len())).collect();
        let frames = times
            .iter()
            .map(|&time| {
                let mut placed = Vec::with_capacity(plan.actors.len());
                for (actor, object) in plan.actors.iter().zip(&mut objects) {
                    let there = actor.at(time).map(|(pose, opacity)| Placed {
                        cast: actor.cast,
                        pose,
                        opacity,
                    });
                    placed.extend(there);
                    object.boxes.push(
                        there
                            .map(|placed| placed.bounds_in(view, self.cupboard()))
                            .filter(|bounds| bounds.area() > 0.0),
                    );
                }
                // Time runs on in the camera whatever the event's: never negative.
                shot.film(time + 60.0, &placed, self.cupboard(), &self.noise)
            })
            .collect();
        (frames, objects)
    }

    fn object(&self, actor: &Actor, frames: usize) -> PlacedObject {
        let thing = self.vocabulary.thing(actor.cast.thing);
        PlacedObject {
            name: thing.name.clone(),
            category: thing.category.clone(),
            colour: actor.cast.tint.map(crate::vocabulary::Tint::name),
            motion: actor.motion,
            boxes: Vec::with_capacity(frames),
        }
    }

    /// One thing alone on a wooden floor: (width, height, RGB rows). For people to look at.
    pub fn portrait(&self, thing: ThingId, view: View) -> (usize, usize, Vec<u8>) {
        let tint = matches!(self.vocabulary.thing(thing).look, Look::Shape(_)).then_some(Tint::Red);
        let cast = Cast { thing, tint, is_flipped: false };
        let height = 0.8 / self.cupboard().aspect(cast).max(1.0);
        let pose = Pose { x: 0.5, y: 0.5, height };
        let shot = Shot::set_up(Scene::WoodFloor, &[thing], view, self.cupboard(), &self.noise, 14);
        let placed = Placed { cast, pose, opacity: 1.0 };
        (view.width, view.height, shot.film(0.0, &[placed], self.cupboard(), &self.noise))
    }

    /// A place without anything in it but props: (width, height, RGB rows). For people to look at.
    pub fn landscape(
        &self,
        scene: Scene,
        view: View,
        rng: &mut impl RngCore,
    ) -> (usize, usize, Vec<u8>) {
        let shot = Shot::set_up(scene, &[], view, self.cupboard(), &self.noise, rng.next_u64());
        (view.width, view.height, shot.film(0.0, &[], self.cupboard(), &self.noise))
    }

    /// `count` captions such as training sees, of pictures and clips in turn: what a tokenizer is
    /// built from. All words of the held templates occur in them too, given enough of them.
    pub fn captions_corpus(&self, seed: u64, count: usize) -> Vec<String> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        (0..count)
            .filter_map(|k| {
                let relation = any_relation(&mut rng);
                let plan =
                    self.cupboard().plan(relation, &Motion::ALL, None, Split::Train, &mut rng);
                let medium = if k % 2 == 0 { Medium::Picture } else { Medium::Video };
                captions(&plan, medium, Split::Train, 1, &self.vocabulary, &mut rng).pop()
            })
            .collect()
    }
}

pub(crate) fn any_side(rng: &mut ChaCha8Rng) -> Side {
    pick(rng, &[Side::Left, Side::Right, Side::Above, Side::Below])
}

pub(crate) fn any_relation(rng: &mut ChaCha8Rng) -> Relation {
    match rng.random::<f32>() {
        u if u < 0.03 => Relation::Empty,
        u if u < 0.56 => Relation::Alone,
        u if u < 0.72 => Relation::Then,
        u if u < 0.80 => Relation::And,
        u if u < 0.88 => Relation::Beside(any_side(rng)),
        u if u < 0.95 => Relation::Count,
        _ => Relation::Follows,
    }
}

/// When a clip of this length begins, in seconds after the begin of the events it is to show, so
/// that most of the clip, or of the event, is used and each event can be told from it.
fn window(plans: &[&Plan], frames: usize, fps: f32, rng: &mut ChaCha8Rng) -> f32 {
    const TRIES: usize = 200;
    let length = frames as f32 / fps;
    let seconds = plans.first().map_or(length, |plan| plan.seconds);
    let slack = 0.3 * length.min(seconds);
    // A clip longer than the event begins before it; a shorter one inside.
    let (low, high) = (-slack, seconds - length + slack);
    let (low, high) = (low.min(high), low.max(high));
    (0..TRIES)
        .map(|_| low + (high - low) * rng.random::<f32>())
        .find(|&start| plans.iter().all(|plan| plan.is_told_by(start, frames, fps)))
        .unwrap_or((seconds - length) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{Bounds, Fit};

    const SMALL: View = View::square(64, Fit::Crop);

    fn rng(seed: u64) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(seed)
    }

    #[test]
    fn the_same_seed_gives_the_same_picture_and_clip() {
        let (world, again) = (World::load().unwrap(), World::load().unwrap());
        for seed in 0..10 {
            let image = world.sample_image(&mut rng(seed), Split::Train, SMALL);
            assert_eq!(image, again.sample_image(&mut rng(seed), Split::Train, SMALL));
            assert_eq!(image.rgb.len(), 64 * 64 * 3);
            let clip = world.sample_clip(&mut rng(seed), Split::Held, SMALL, 8, 2.0);
            assert_eq!(clip, again.sample_clip(&mut rng(seed), Split::Held, SMALL, 8, 2.0));
            assert_eq!(clip.frames.len(), 8);
        }
    }

    #[test]
    fn a_sample_takes_one_number_and_is_the_same_event_at_every_size() {
        let world = World::load().unwrap();
        let (mut one, mut other) = (rng(3), rng(3));
        let small = world.sample_clip(&mut one, Split::Train, SMALL, 4, 1.0);
        let large = world.sample_clip(&mut other, Split::Train, View::CAMERA, 4, 1.0);
        assert_eq!(small.captions, large.captions);
        assert_eq!(small.event_span, large.event_span);
        assert_eq!(one.next_u64(), other.next_u64());
    }

    #[test]
    fn a_clip_shows_everything_its_captions_tell_of() {
        let world = World::load().unwrap();
        let (mut empty, mut begun_before, mut ended_after) = (0, 0, 0);
        for seed in 0..600 {
            let view = View::new(16, 12);
            let clip = world.sample_clip(&mut rng(seed), Split::Train, view, 8, 2.0);
            assert!((1..=4).contains(&clip.captions.len()), "{:?}", clip.captions);
            empty += usize::from(clip.objects.is_empty());
            begun_before += usize::from(clip.event_span.0 < 0.0);
            ended_after += usize::from(clip.event_span.1 > 4.0);
            for object in &clip.objects {
                let seen = object.boxes.iter().flatten().count();
                assert!(seen >= 2, "seed {seed}: {object:?} is in {seen} frames");
            }
        }
        assert!(empty > 2 && begun_before > 100 && ended_after > 100);
    }

    /// Where the difference between two frames lies, weighted: (x, y) of the middle, and its
    /// spread.
    fn centroid(view: View, with: &[u8], without: &[u8]) -> Option<(f32, f32, f32)> {
        let (mut sum, mut x, mut y) = (0.0_f32, 0.0, 0.0);
        let weight = |a: &[u8], b: &[u8]| {
            a.iter().zip(b).map(|(p, q)| f32::from(p.abs_diff(*q))).sum::<f32>()
        };
        let mut area = 0.0;
        for (index, (a, b)) in with.chunks_exact(3).zip(without.chunks_exact(3)).enumerate() {
            let weight = weight(a, b);
            sum += weight;
            x += weight * (index % view.width) as f32;
            y += weight * (index / view.width) as f32;
            area += f32::from(u8::from(weight > 20.0));
        }
        (area > 12.0).then(|| (x / sum, y / sum, area.sqrt()))
    }

    #[test]
    fn what_moves_in_the_pixels_is_what_the_truth_says() {
        let world = World::load().unwrap();
        let view = View::new(96, 72);
        let mut judged = std::collections::BTreeMap::new();
        for seed in 0..220 {
            let mut rng = rng(seed);
            let cupboard = world.cupboard();
            let plan = cupboard.plan(Relation::Alone, &Motion::ALL, None, Split::Train, &mut rng);
            let motion = plan.actors[0].motion;
            let shot = world.shot(&plan, view, seed);
            let times: Vec<f32> = (1..12).map(|k| plan.seconds * k as f32 / 12.0).collect();
            let (frames, objects) = world.frames(&plan, &shot, view, &times);
            let mut nobody = plan.clone();
            nobody.actors.clear();
            let (empty, _) = world.frames(&nobody, &shot, view, &times);
            let seen: Vec<_> = frames
                .iter()
                .zip(&empty)
                .zip(&objects[0].boxes)
                // A thing cut by the frame's edge has its middle elsewhere.
                .filter(|(_, b)| {
                    b.is_some_and(|b: Bounds| b.x0 > 0.0 && b.x1 < 1.0 && b.y0 > 0.0 && b.y1 < 1.0)
                })
                .filter_map(|((with, without), _)| centroid(view, with, without))
                .collect();
            let (Some(first), Some(last)) = (seen.first(), seen.last()) else { continue };
            if seen.len() < 4 {
                continue;
            }
            let (dx, dy, growth) = (last.0 - first.0, last.1 - first.1, last.2 / first.2);
            *judged.entry(motion).or_insert(0) += 1;
            let agrees = match motion.direction() {
                Some("right") => dx > 4.0 && dx > dy.abs(),
                Some("left") => dx < -4.0 && -dx > dy.abs(),
                Some("up") => dy < -4.0 && -dy > dx.abs(),
                Some("down") => dy > 4.0 && dy > dx.abs(),
                Some("towards the camera") => growth > 1.2,
                Some(_) => growth < 0.84,
                None if motion == Motion::Still => dx.abs() < 3.0 && dy.abs() < 3.0,
                None => true,
            };
            assert!(agrees, "seed {seed}: {motion:?} but dx {dx} dy {dy} growth {growth}");
        }
        assert!(judged.len() >= 12, "{judged:?}");
    }

    #[test]
    fn counterparts_differ_in_direction_or_order_and_in_nothing_else() {
        let world = World::load().unwrap();
        let view = View::new(32, 24);
        for seed in 0..60 {
            for counterpart in [Counterpart::Direction, Counterpart::Order] {
                for split in [Split::Train, Split::Held] {
                    let (one, two) =
                        world.sample_clip_pair(&mut rng(seed), split, counterpart, view, 8, 2.0);
                    assert_eq!((one.scene, one.event_span), (two.scene, two.event_span));
                    assert_ne!(one.frames, two.frames, "seed {seed}");
                    let names = |clip: &LabelledClip| -> Vec<String> {
                        clip.objects.iter().map(|object| object.name.clone()).collect()
                    };
                    let mut swapped = names(&two);
                    if counterpart == Counterpart::Order {
                        swapped.reverse();
                        assert_ne!(one.captions[0], two.captions[0]);
                    } else {
                        let motion = one.objects[0].motion;
                        assert_eq!(motion.opposite(), Some(two.objects[0].motion));
                    }
                    assert_eq!(names(&one), swapped);
                }
            }
        }
    }

    #[test]
    fn threads_share_the_world() {
        fn shared<T: Send + Sync>(_: &T) {}
        shared(&World::load().unwrap());
    }
}
