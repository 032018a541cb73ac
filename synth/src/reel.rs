//! A video before it is encoded: shots one after the other, each with events and pauses.

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::actor::Actor;
use crate::camera::{Placed, Shot};
use crate::captions::{Medium, captions};
use crate::motion::Motion;
use crate::plan::{Plan, Relation};
use crate::questions::questions;
use crate::scene::Scene;
use crate::split::Split;
use crate::truth::{Event, Onlooker, Scenery, TrackPoint, Truth, TruthObject};
use crate::view::{Bounds, View};
use crate::world::{World, any_side};

/// Captions of an event, at most.
const CAPTIONS: usize = 6;
/// Seconds between the points of a track.
const TRACK_STEP: f64 = 0.25;
/// Events of one shot, at most.
const EVENTS_A_SHOT: usize = 3;
/// Seconds of nothing before an event, and at the end of a video.
const PAUSE: std::ops::Range<f64> = 1.0..2.5;

/// What a video shows, frame by frame. Everything follows from the seed.
#[derive(Debug)]
pub struct Reel<'a> {
    pub(crate) world: &'a World,
    pub(crate) view: View,
    pub(crate) takes: Vec<Take>,
    pub(crate) truth: Truth,
}

/// One place, from one cut to the next.
#[derive(Debug)]
pub(crate) struct Take {
    pub(crate) from: f64,
    pub(crate) shot: Shot,
    pub(crate) events: Vec<(f64, Plan)>,
}

/// Milliseconds are fine enough for truth, and print alike everywhere.
pub(crate) fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

impl<'a> Reel<'a> {
    /// Draws a video of `seconds`, with as many events as fit.
    pub fn draw(
        world: &'a World,
        seed: u64,
        split: Split,
        seconds: f64,
        view: View,
        fps: u32,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut reel = Self {
            world,
            view,
            takes: Vec::new(),
            truth: Truth {
                version: 1,
                seed,
                split,
                width: view.width,
                height: view.height,
                fps,
                seconds: rounded(seconds),
                scenery: Vec::new(),
                events: Vec::new(),
            },
        };
        let mut from = 0.0;
        while let Some(end) = reel.draw_take(from, &mut rng) {
            from = end;
        }
        reel
    }

    /// Draws the next shot and its events; gives its end, or none when the video is full.
    fn draw_take(&mut self, from: f64, rng: &mut ChaCha8Rng) -> Option<f64> {
        let (scene, events) = self.draw_events(from, rng);
        let seconds = self.truth.seconds;
        let is_last = events.is_empty();
        if is_last && !self.takes.is_empty() {
            // No event fits any more: the last place stays until the end.
            if let Some(last) = self.truth.scenery.last_mut() {
                last.to = seconds;
            }
            return None;
        }
        let last_end = events.last().map_or(seconds, |(at, plan)| at + f64::from(plan.seconds));
        let to = rounded((last_end + rng.random_range(PAUSE) / 2.0).min(seconds));
        let mut things: Vec<_> = events.iter().flat_map(|(_, plan)| plan.things()).collect();
        things.sort_unstable();
        let (world, seed) = (self.world, rng.next_u64());
        let shot = Shot::set_up(scene, &things, self.view, world.cupboard(), world.noise(), seed);
        let onlookers = shot.props.iter().map(|prop| self.onlooker(prop)).collect();
        self.truth.scenery.push(Scenery { from, to, scene: scene.name().to_owned(), onlookers });
        for (at, plan) in &events {
            let event = self.tell(*at, plan, rng);
            self.truth.events.push(event);
        }
        self.takes.push(Take { from, shot, events });
        (!is_last).then_some(to)
    }

    /// The events of one shot, with when they begin: none when none fits.
    fn draw_events(&self, from: f64, rng: &mut ChaCha8Rng) -> (Scene, Vec<(f64, Plan)>) {
        let mut scene = None;
        let mut events = Vec::new();
        let mut at = from;
        for _ in 0..rng.random_range(1..=EVENTS_A_SHOT) {
            let plan = self.draw_event(scene, rng);
            at = rounded(at + rng.random_range(PAUSE));
            scene = Some(plan.scene);
            if at + f64::from(plan.seconds) + PAUSE.start / 2.0 > self.truth.seconds {
                break;
            }
            let end = at + f64::from(plan.seconds);
            events.push((at, plan));
            at = end;
        }
        (scene.unwrap_or(Scene::Grass), events)
    }

    fn draw_event(&self, scene: Option<Scene>, rng: &mut ChaCha8Rng) -> Plan {
        // More of what needs time or two things than training has: this is what is measured.
        let relation = match rng.random::<f32>() {
            u if u < 0.42 => Relation::Alone,
            u if u < 0.64 => Relation::Then,
            u if u < 0.74 => Relation::And,
            u if u < 0.83 => Relation::Beside(any_side(rng)),
            u if u < 0.92 => Relation::Count,
            _ => Relation::Follows,
        };
        self.world.cupboard().plan(relation, &Motion::ALL, scene, self.truth.split, rng)
    }

    pub(crate) fn onlooker(&self, prop: &Placed) -> Onlooker {
        let name = self.world.vocabulary().thing(prop.cast.thing).name.clone();
        Onlooker { name, bounds: prop.bounds(self.world.cupboard()).clipped() }
    }

    pub(crate) fn tell(&self, at: f64, plan: &Plan, rng: &mut ChaCha8Rng) -> Event {
        let vocabulary = self.world.vocabulary();
        Event {
            from: at,
            to: rounded(at + f64::from(plan.seconds)),
            relation: plan.relation,
            scene: plan.scene.name().to_owned(),
            captions: captions(plan, Medium::Video, self.truth.split, CAPTIONS, vocabulary, rng),
            objects: plan.actors.iter().map(|actor| self.track(at, actor)).collect(),
            combinations: plan.combinations(vocabulary),
            questions: questions(plan, self.world.cupboard(), rng),
        }
    }

    fn track(&self, event: f64, actor: &Actor) -> TruthObject {
        let thing = self.world.vocabulary().thing(actor.cast.thing);
        let (from, to) = (f64::from(actor.stay.0), f64::from(actor.stay.1));
        let steps = ((to - from) / TRACK_STEP).ceil() as usize;
        let track = (0..steps)
            .map(|k| from + TRACK_STEP * k as f64)
            .filter_map(|time| {
                let bounds = self.seen(actor, time)?;
                Some(TrackPoint { at: rounded(event + time), bounds })
            })
            .collect();
        let tint = actor.cast.tint.map(|tint| tint.name().to_owned());
        TruthObject {
            name: thing.name.clone(),
            category: thing.category.clone(),
            size: actor.size,
            colour: tint.or_else(|| thing.colour.clone()),
            motion: actor.motion,
            direction: actor.motion.direction().map(str::to_owned),
            from: rounded(event + from),
            to: rounded(event + to),
            track,
        }
    }

    /// The part of an actor that is in the frame, `time` seconds after its event's start.
    fn seen(&self, actor: &Actor, time: f64) -> Option<Bounds> {
        let (pose, opacity) = actor.at(time as f32)?;
        let placed = Placed { cast: actor.cast, pose, opacity };
        let bounds = placed.bounds(self.world.cupboard()).clipped();
        (bounds.area() > 0.0).then_some(bounds)
    }

    /// What is known of the video.
    pub fn truth(&self) -> &Truth {
        &self.truth
    }

    /// The raster of its frames.
    pub fn view(&self) -> View {
        self.view
    }

    /// How many frames it has.
    pub fn frame_count(&self) -> usize {
        (self.truth.seconds * f64::from(self.truth.fps)).round() as usize
    }

    /// The frame with this index: RGB rows.
    pub fn frame(&self, index: usize) -> Vec<u8> {
        let time = index as f64 / f64::from(self.truth.fps);
        let take = self.takes.iter().rev().find(|take| take.from <= time);
        let Some(take) = take else { return vec![0; self.view.rgb_len()] };
        let placed: Vec<Placed> = take
            .events
            .iter()
            .flat_map(|(at, plan)| plan.actors.iter().map(move |actor| (at, actor)))
            .filter_map(|(at, actor)| {
                let (pose, opacity) = actor.at((time - at) as f32)?;
                Some(Placed { cast: actor.cast, pose, opacity })
            })
            .collect();
        let since_cut = (time - take.from) as f32;
        take.shot.film(since_cut, &placed, self.world.cupboard(), self.world.noise())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Fit;

    fn reel(world: &World, seed: u64, split: Split) -> Reel<'_> {
        Reel::draw(world, seed, split, 60.0, View::square(64, Fit::Stretch), 15)
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_of_truth() {
        let world = World::load().unwrap();
        let again = World::load().unwrap();
        let json = reel(&world, 5, Split::Held).truth().to_json().unwrap();
        assert_eq!(json, reel(&again, 5, Split::Held).truth().to_json().unwrap());
        assert_ne!(json, reel(&world, 6, Split::Held).truth().to_json().unwrap());
        let read: Truth = serde_json::from_str(&json).unwrap();
        assert_eq!(read.to_json().unwrap(), json);
    }

    #[test]
    fn scenery_covers_the_video_and_events_lie_in_it_without_touching() {
        let world = World::load().unwrap();
        for seed in 0..20 {
            let reel = reel(&world, seed, Split::Held);
            let truth = reel.truth();
            let mut at = 0.0;
            for place in &truth.scenery {
                assert!((place.from - at).abs() < 1e-9, "{place:?}");
                at = place.to;
            }
            assert!((at - 60.0).abs() < 1e-9, "the scenery ends at {at}");
            assert!(truth.events.len() >= 4, "only {} events", truth.events.len());
            let mut free_from = 0.0;
            for event in &truth.events {
                assert!(event.from >= free_from + 0.9, "{event:?}");
                free_from = event.to;
                let place = truth.scenery.iter().find(|s| s.from <= event.from && event.to <= s.to);
                assert_eq!(place.unwrap().scene, event.scene);
                assert!(!event.captions.is_empty() && event.questions.len() >= 3);
            }
        }
    }

    #[test]
    fn frames_show_events_where_and_when_their_tracks_say() {
        let world = World::load().unwrap();
        for seed in 0..6 {
            let reel = reel(&world, seed, Split::Train);
            for event in &reel.truth().events {
                let frame = |time: f64| reel.frame((time * 15.0).round() as usize);
                let empty = frame(event.from - 0.5);
                let object = &event.objects[0];
                let point = object.track[object.track.len() / 2];
                let (there, elsewhere) = change(&empty, &frame(point.at), point.bounds);
                // Everything else changes by noise, light and other objects only.
                let others = event.objects.len() > 1;
                assert!(
                    there > 14.0 && (others || there > 1.5 * elsewhere),
                    "{} at {point:?}: {there} there, {elsewhere} elsewhere",
                    object.name
                );
            }
        }
    }

    /// Mean change of a pixel inside and outside of a box of the 64x64 frame.
    fn change(a: &[u8], b: &[u8], bounds: Bounds) -> (f64, f64) {
        let (mut sums, mut counts) = ([0.0; 2], [0.0; 2]);
        for (index, (p, q)) in a.chunks_exact(3).zip(b.chunks_exact(3)).enumerate() {
            let (x, y) = ((index % 64) as f32 / 64.0, (index / 64) as f32 / 64.0);
            let is_there =
                (bounds.x0..bounds.x1).contains(&x) && (bounds.y0..bounds.y1).contains(&y);
            let change: u32 = p.iter().zip(q).map(|(u, v)| u32::from(u.abs_diff(*v))).sum();
            sums[usize::from(!is_there)] += f64::from(change);
            counts[usize::from(!is_there)] += 1.0;
        }
        (sums[0] / counts[0], sums[1] / counts[1])
    }
}
