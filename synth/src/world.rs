//! The world itself: labelled pictures and clips for training, deterministic and without files.

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::camera::{Placed, Shot};
use crate::captions::{Medium, captions};
use crate::error::SynthError;
use crate::motion::{Motion, Pose};
use crate::noise::Noise;
use crate::plan::{Actor, Cast, Cupboard, Plan, Relation, Side, pick};
use crate::scene::Scene;
use crate::split::Split;
use crate::sprites::Sprites;
use crate::view::{Bounds, View};
use crate::vocabulary::{Look, ThingId, Tint, Vocabulary};

/// Captions of a clip, at most.
const CAPTIONS: usize = 4;
/// A clip shows each thing it tells of in at least this share of its frames.
const LEAST_SEEN: f32 = 0.25;

/// The things, their pictures and what places are painted with. Made once, shared by all threads.
#[derive(Debug)]
pub struct World {
    vocabulary: Vocabulary,
    sprites: Sprites,
    noise: Noise,
}

/// A thing that a picture or a clip's caption tells of.
#[derive(Debug, Clone, PartialEq)]
pub struct PlacedObject {
    /// Its name in the [`Vocabulary`].
    pub name: String,
    /// Its category, such as "animal".
    pub category: String,
    /// The colour it was drawn in, for a shape.
    pub colour: Option<&'static str>,
    /// What it does; [`Motion::Still`] in a picture.
    pub motion: Motion,
    /// Where it is in each frame as rendered, clipped; none while it is not to be seen. One entry
    /// per frame of a clip, one for a picture.
    pub boxes: Vec<Option<Bounds>>,
}

/// A picture with what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledImage {
    /// Rows of RGB, 3 x width x height bytes.
    pub rgb: Vec<u8>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// One caption.
    pub caption: String,
    /// Where it is.
    pub scene: Scene,
    /// How its objects belong together.
    pub relation: Relation,
    /// The objects it tells of, in the order of the caption.
    pub objects: Vec<PlacedObject>,
}

/// A clip with what happens in it.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledClip {
    /// Rows of RGB, 3 x width x height bytes each.
    pub frames: Vec<Vec<u8>>,
    /// Pixels.
    pub width: usize,
    /// Pixels.
    pub height: usize,
    /// One to four different captions, from rich to short.
    pub captions: Vec<String>,
    /// Where it is.
    pub scene: Scene,
    /// How its objects belong together.
    pub relation: Relation,
    /// The objects it tells of, in the order of the captions.
    pub objects: Vec<PlacedObject>,
    /// Seconds of the event, counted from the clip's first frame; the first is negative where
    /// the event began before the clip.
    pub event_span: (f32, f32),
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
        let plan = self.cupboard().plan(relation, &[Motion::Still], split, &mut rng);
        let told =
            captions(&plan, Medium::Picture, split, 1, &self.vocabulary, &mut rng).swap_remove(0);
        let shot = self.shot(&plan, view, rng.next_u64());
        let middle = plan.seconds / 2.0;
        let (rgb, objects) = self.frames(&plan, &shot, view, &[middle]);
        LabelledImage {
            rgb: rgb.into_iter().next().unwrap_or_default(),
            width: view.width,
            height: view.height,
            caption: told,
            scene: plan.scene,
            relation: plan.relation,
            objects,
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
        let plan = self.cupboard().plan(relation, &Motion::ALL, split, &mut rng);
        let start = window(&plan, frames, fps, &mut rng);
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
        let start = window(&plan, frames, fps, &mut rng);
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
                    let plan = self.cupboard().plan(Relation::Alone, &directed, split, rng);
                    let other = plan.turned_round();
                    (plan, other)
                }
                Counterpart::Order => {
                    let relation = match rng.random::<f32>() {
                        u if u < 0.6 => Relation::Then,
                        u if u < 0.85 => Relation::Beside(any_side(rng)),
                        _ => Relation::Follows,
                    };
                    let plan = self.cupboard().plan(relation, &Motion::ALL, split, rng);
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
            event_span: (-start, plan.seconds - start),
        }
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
                let plan = self.cupboard().plan(relation, &Motion::ALL, Split::Train, &mut rng);
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

/// When a clip of this length begins, in seconds after the event's start, so that each thing it
/// tells of is seen long enough and most of the clip, or of the event, is used.
fn window(plan: &Plan, frames: usize, fps: f32, rng: &mut ChaCha8Rng) -> f32 {
    let length = frames as f32 / fps;
    let slack = 0.3 * length.min(plan.seconds);
    // A clip longer than the event begins before it; a shorter one inside.
    let (low, high) = (-slack, plan.seconds - length + slack);
    let (low, high) = if low < high { (low, high) } else { (high, low) };
    let enough = ((LEAST_SEEN * frames as f32).ceil() as usize).max(1);
    for _ in 0..64 {
        let start = low + (high - low) * rng.random::<f32>();
        let is_good = plan.actors.iter().all(|actor| seen(actor, start, frames, fps) >= enough);
        if is_good {
            return start;
        }
    }
    (plan.seconds - length) / 2.0
}

/// In how many frames an actor's middle is in the part of the frame that every view shows.
fn seen(actor: &Actor, start: f32, frames: usize, fps: f32) -> usize {
    (0..frames)
        .filter(|&k| {
            actor.at(start + k as f32 / fps).is_some_and(|(pose, opacity)| {
                (0.125..0.875).contains(&pose.x) && (0.0..1.0).contains(&pose.y) && opacity > 0.5
            })
        })
        .count()
}
