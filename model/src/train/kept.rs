//! Clips that were rendered and seen once, and are learned from many times.
//!
//! The vision tower is closed while the branch learns, so what it makes of a clip never changes.
//! Keeping that saves rendering and the tower: two fifths of a step's work.

use std::collections::VecDeque;

use candle_core::{Device, Result as Candle, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rand::Rng;
use rayon::prelude::*;

use super::data::{self, Classes, Example, Side, World};
use super::network::Network;

/// Clips that are seen together.
const TOGETHER: usize = 16;

/// A clip as the closed tower sees it.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    /// Its labels; its frames' pixels are gone.
    pub(super) example: Example,
    /// The outputs of the tower's last K layers [K, T, 1 + N, D].
    layers: Vec<f16>,
}

/// Sends clips of equally many frames through the tower, with a camera's wear that follows from
/// `seed` and `step`.
pub(super) fn keep(
    network: &Network,
    examples: &[Example],
    seed: u64,
    step: usize,
) -> Candle<Vec<Kept>> {
    let mut kept = Vec::with_capacity(examples.len());
    for (part, some) in examples.chunks(TOGETHER).enumerate() {
        let vision = &network.architecture.vision;
        let pixels = data::batch(some, vision, true, seed, step << 8 | part)?;
        let layers = network.frozen_layers(&pixels)?;
        let layers = layers
            .iter()
            .map(|layer| layer.flatten_all()?.to_vec1::<f32>())
            .collect::<Candle<Vec<_>>>()?;
        for (i, example) in some.iter().enumerate() {
            let len = layers[0].len() / some.len();
            let mut own = vec![f16::ZERO; len * layers.len()];
            for (to, layer) in own.chunks_exact_mut(len).zip(&layers) {
                to.convert_from_f32_slice(&layer[i * len..][..len]);
            }
            let frames = vec![Vec::new(); example.frames.len()];
            let example = Example { frames, ..example.clone() };
            kept.push(Kept { example, layers: own });
        }
    }
    Ok(kept)
}

/// What the branch learns from in one step.
#[derive(Debug)]
pub(super) struct Batch {
    /// The clips' labels.
    pub(super) examples: Vec<Example>,
    /// For each of the tower's last K layers its outputs [clips x T, 1 + N, D].
    pub(super) layers: Vec<Tensor>,
    /// Neighbours that are each other's twins in direction, by the index of the first.
    pub(super) turned: Vec<usize>,
    /// The same for twins in order or arrangement.
    pub(super) exchanged: Vec<usize>,
}

/// Kept clips side by side, as [`Batch::layers`]. Those with `true` run backwards.
pub(super) fn layers(network: &Network, clips: &[(&Kept, bool)]) -> Candle<Vec<Tensor>> {
    let (n1, d) = (network.architecture.vision.patches() + 1, network.architecture.vision.width);
    let frames = clips.first().map_or(0, |(kept, _)| kept.example.frames.len());
    let len = frames * n1 * d;
    let count = clips.first().map_or(0, |(kept, _)| kept.layers.len() / len.max(1));
    (0..count)
        .map(|k| {
            let mut all = vec![0.0_f32; clips.len() * len];
            all.par_chunks_mut(len).zip(clips).for_each(|(to, (kept, is_backwards))| {
                let from = &kept.layers[k * len..][..len];
                for (t, to) in to.chunks_exact_mut(n1 * d).enumerate() {
                    let t = if *is_backwards { frames - 1 - t } else { t };
                    from[t * n1 * d..][..n1 * d].convert_to_f32_slice(to);
                }
            });
            Tensor::from_vec(all, (clips.len() * frames, n1, d), &Device::Cpu)
        })
        .collect()
}

/// Clips that come as one: a single clip or two twins.
#[derive(Debug)]
struct Group {
    kind: Kind,
    clips: Vec<Kept>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any clip.
    Single,
    /// Two that move in opposite directions.
    Turned,
    /// Two in opposite order or arrangement.
    Exchanged,
}

/// The clips at hand. New ones come in all the time; the oldest go when there is no more room.
#[derive(Debug)]
pub struct Pool {
    seed: u64,
    room: usize,
    /// Groups that came in so far, those that went included.
    count: usize,
    groups: VecDeque<Group>,
}

impl Pool {
    /// An empty pool with room for `room` groups of one or two clips. Everything random follows
    /// from `seed`.
    pub fn new(room: usize, seed: u64) -> Self {
        Self { seed, room, count: 0, groups: VecDeque::new() }
    }

    /// Lets groups come in until `count` have, ever. A pool that starts late skips those that
    /// would have gone by then: it holds what one that was there from the beginning holds.
    pub fn fill(&mut self, network: &Network, world: &dyn World, count: usize) -> Candle<()> {
        self.count = self.count.max(count.saturating_sub(self.room));
        while self.count < count {
            // In bundles with fixed borders, so that wear does not depend on the calls.
            let upto = count.min((self.count / TOGETHER + 1) * TOGETHER);
            let groups: Vec<(Kind, Vec<Example>)> = (self.count..upto)
                .into_par_iter()
                .map(|number| group(self.seed, number, world))
                .collect();
            for (number, (kind, examples)) in (self.count..).zip(groups) {
                let clips = keep(network, &examples, self.seed, number)?;
                self.groups.push_back(Group { kind, clips });
            }
            self.count = upto;
        }
        while self.groups.len() > self.room {
            self.groups.pop_front();
        }
        Ok(())
    }

    /// Clips for a step, at least `count`, twins side by side. Some twins run backwards: then
    /// each has the other's captions.
    pub(super) fn draw(
        &self,
        network: &Network,
        classes: &Classes,
        count: usize,
        step: usize,
    ) -> Candle<Batch> {
        let mut rng = data::generator(self.seed, step, usize::MAX >> 44);
        let (mut clips, mut examples) = (Vec::new(), Vec::new());
        let (mut turned, mut exchanged) = (Vec::new(), Vec::new());
        if self.groups.is_empty() {
            candle_core::bail!("the pool of clips is empty")
        }
        while clips.len() < count {
            let group = &self.groups[rng.random_range(0..self.groups.len())];
            match group.kind {
                Kind::Turned => turned.push(clips.len()),
                Kind::Exchanged => exchanged.push(clips.len()),
                Kind::Single => {}
            }
            let labels = group.clips.iter().map(|kept| &kept.example);
            let backwards = match &group.clips[..] {
                [a, b] if group.kind == Kind::Turned && rng.random() => {
                    backwards(&a.example, &b.example, classes)
                }
                _ => None,
            };
            clips.extend(group.clips.iter().map(|kept| (kept, backwards.is_some())));
            match backwards {
                Some(both) => examples.extend(both),
                None => examples.extend(labels.cloned()),
            }
        }
        Ok(Batch { layers: layers(network, &clips)?, examples, turned, exchanged })
    }
}

fn group(seed: u64, number: usize, world: &dyn World) -> (Kind, Vec<Example>) {
    let mut rng = data::generator(seed, number, 0);
    let (turned, exchanged) = SHARES;
    match rng.random::<f32>() {
        u if u < turned => (Kind::Turned, world.turned(&mut rng, Side::Train).into()),
        u if u < turned + exchanged => {
            (Kind::Exchanged, world.exchanged(&mut rng, Side::Train).into())
        }
        _ => (Kind::Single, vec![world.clip(&mut rng, Side::Train)]),
    }
}

/// Twins in direction as they are with their frames in reverse, each told by the other's captions.
/// None where one backwards does not move as the other does: entering left, backwards, is leaving
/// left, but its twin enters right.
pub(super) fn backwards(a: &Example, b: &Example, classes: &Classes) -> Option<[Example; 2]> {
    let moves_as = |a: &Example, b: &Example| {
        a.things
            .iter()
            .zip(&b.things)
            .all(|(from, to)| classes.backwards.get(from.motion as usize) == Some(&to.motion))
    };
    (moves_as(a, b) && moves_as(b, a)).then(|| [(a, b), (b, a)].map(|(a, b)| reversed(a, b)))
}

fn reversed(example: &Example, twin: &Example) -> Example {
    let mut reversed = example.clone();
    reversed.captions.clone_from(&twin.captions);
    reversed.frames.reverse();
    for (thing, other) in reversed.things.iter_mut().zip(&twin.things) {
        thing.motion = other.motion;
        thing.bounds.reverse();
    }
    reversed
}

/// Of a hundred groups, how many are twins in direction, and in order.
const SHARES: (f32, f32) = (0.3, 0.25);
