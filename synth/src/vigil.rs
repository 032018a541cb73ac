//! Footage of a fixed camera where little happens: one place for minutes, and now and then a small
//! or slow thing.

use std::ops::Range;

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::actor::Size;
use crate::camera::Shot;
use crate::motion::Motion;
use crate::plan::{Plan, Relation};
use crate::reel::{Reel, Take, rounded};
use crate::scene::Scene;
use crate::split::Split;
use crate::truth::{Scenery, Truth};
use crate::view::View;
use crate::world::World;

/// What a fixed camera sees.
#[derive(Debug, Clone, PartialEq)]
pub struct Vigil {
    /// Length.
    pub seconds: f64,
    /// How high things are, of the frame's height, before those that come closer do.
    pub heights: Range<f32>,
    /// How long a thing is there, in seconds.
    pub stays: Range<f64>,
    /// How long nothing happens in between, in seconds.
    pub pauses: Range<f64>,
    /// What the light loses from begin to end, 0 to 1.
    pub dusk: f32,
}

impl<'a> Reel<'a> {
    /// Draws the footage of one vigil. Everything follows from the seed.
    pub fn keep_vigil(
        world: &'a World,
        seed: u64,
        split: Split,
        view: View,
        fps: u32,
        vigil: &Vigil,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let seconds = rounded(vigil.seconds);
        let scene = Scene::ALL[rng.random_range(0..Scene::ALL.len())];
        let mut events = Vec::new();
        let mut at = rounded(rng.random_range(vigil.pauses.clone()));
        loop {
            let plan = draw_event(world, split, scene, vigil, &mut rng);
            let end = at + f64::from(plan.seconds);
            if end >= seconds {
                break;
            }
            events.push((at, plan));
            at = rounded(end + rng.random_range(vigil.pauses.clone()));
        }
        let mut things: Vec<_> = events.iter().flat_map(|(_, plan)| plan.things()).collect();
        things.sort_unstable();
        let shot_seed = rng.next_u64();
        let shot = Shot::set_up(scene, &things, view, world.cupboard(), world.noise(), shot_seed)
            .at_dusk(vigil.dusk / seconds as f32);
        let truth = Truth {
            version: 1,
            seed,
            split,
            width: view.width,
            height: view.height,
            fps,
            seconds,
            scenery: Vec::new(),
            events: Vec::new(),
        };
        let mut reel = Self { world, view, takes: Vec::new(), truth };
        let onlookers = shot.props.iter().map(|prop| reel.onlooker(prop)).collect();
        let name = scene.name().to_owned();
        reel.truth.scenery.push(Scenery { from: 0.0, to: seconds, scene: name, onlookers });
        for (at, plan) in &events {
            let event = reel.tell(*at, plan, &mut rng);
            reel.truth.events.push(event);
        }
        reel.takes.push(Take { from: 0.0, shot, events });
        reel
    }
}

/// One thing that comes, moves or stands, and goes.
fn draw_event(
    world: &World,
    split: Split,
    scene: Scene,
    vigil: &Vigil,
    rng: &mut ChaCha8Rng,
) -> Plan {
    let mut plan = world.cupboard().plan(Relation::Alone, &Motion::ALL, Some(scene), split, rng);
    let slower = rng.random_range(vigil.stays.clone()) as f32 / plan.seconds;
    plan.seconds *= slower;
    for actor in &mut plan.actors {
        let height = rng.random_range(vigil.heights.clone());
        actor.path = actor.path.resized(height, world.cupboard().aspect(actor.cast));
        actor.stay = (actor.stay.0 * slower, actor.stay.1 * slower);
        actor.size = Size::Small;
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Fit;

    #[test]
    fn things_of_a_vigil_are_as_small_and_stay_as_long_as_asked() {
        let world = World::load().unwrap();
        let view = View::square(64, Fit::Stretch);
        let vigil = Vigil {
            seconds: 300.0,
            heights: 0.05..0.1,
            stays: 5.0..40.0,
            pauses: 5.0..20.0,
            dusk: 0.0,
        };
        for seed in 0..20 {
            let reel = Reel::keep_vigil(&world, seed, Split::Held, view, 4, &vigil);
            let events = &reel.truth().events;
            assert!(events.len() >= 4, "only {} events", events.len());
            for event in events {
                assert!((4.9..40.1).contains(&(event.to - event.from)), "{event:?}");
                let track = &event.objects[0].track;
                assert!(!track.is_empty(), "{event:?}");
                // Twice as high for what comes closer, and as wide as a wide thing is.
                assert!(track.iter().all(|p| p.bounds.y1 - p.bounds.y0 < 0.25), "{event:?}");
                assert!(track.iter().all(|p| p.bounds.x1 - p.bounds.x0 < 0.4), "{event:?}");
            }
        }
    }

    #[test]
    fn light_fades_at_dusk_and_nothing_else_does() {
        let world = World::load().unwrap();
        let mean = |dusk: f32, index: usize| {
            let vigil = Vigil {
                seconds: 60.0,
                heights: 0.1..0.2,
                stays: 100.0..101.0,
                pauses: 1.0..2.0,
                dusk,
            };
            let view = View::square(32, Fit::Stretch);
            let reel = Reel::keep_vigil(&world, 3, Split::Held, view, 1, &vigil);
            let frame = reel.frame(index);
            frame.iter().map(|value| f32::from(*value)).sum::<f32>() / frame.len() as f32
        };
        assert!((mean(0.6, 0) - mean(0.0, 0)).abs() < 0.5);
        assert!(mean(0.6, 59) < 0.75 * mean(0.0, 59), "{} {}", mean(0.6, 59), mean(0.0, 59));
    }
}
