//! The second stage: the branch, and the words for what it sees, on clips.
//!
//! CLIP's vision tower is closed. The branch learns by contrast of clips with captions, in batches
//! where half of the clips have a twin that differs in nothing but the direction of motion or the
//! order of two things. Pictures cannot teach what "left" or "then" mean, so the text tower learns
//! on; a share of the loss keeps it in tune with plain CLIP.

use candle_core::{Result as Candle, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::data::{self, Example, Shows, Side, World};
use super::error::TrainError;
use super::names::Names;
use super::network::{Network, Watched, unit};
use super::objective::{contrast, same_texts};
use super::ops;
use super::optimiser::{Optimiser, Schedule};
use super::words::Words;

/// Patches on things, at most, that a clip is asked about.
const PATCHES: usize = 40;
/// The parameter that holds one direction of the joint space for each motion; not part of the model.
///
/// Neither side can learn what "left" is from the other while both know nothing of it: texts of two
/// directions begin as neighbours, and so do clips. Both learn to meet at these instead.
pub const MOTIONS: &str = "training.motions";
/// What cosines with these are multiplied with.
const SHARPNESS: f64 = 20.0;
/// What stays closed: all of CLIP's vision tower, none of the branch.
pub const CLOSED: [&str; 7] = [
    "backbone.class_embedding",
    "backbone.patch_embedding",
    "backbone.position_embedding",
    "backbone.pre_layrnorm",
    "backbone.layers",
    "backbone.post_layernorm",
    "backbone.visual_projection",
];

/// What the second stage is told.
#[derive(Debug, Clone, Copy)]
pub struct Stage2 {
    /// Clips of a step: a third are pairs of twins in direction, a third in order.
    pub batch: usize,
    /// The learning rate's course.
    pub schedule: Schedule,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Losses of a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClipLosses {
    /// Clips against rich captions and against short ones.
    pub contrast: f32,
    /// Clips against names of things and places.
    pub names: f32,
    /// Clips with one thing against names of motions, and against their directions.
    pub motions: f32,
    /// The branch's patches against names of motions, and against names of things.
    pub patches: f32,
    /// The part of that which motions have.
    pub patch_motions: f32,
    /// Plain CLIP against captions.
    pub plain: f32,
    /// Length of the gradient.
    pub gradient: f32,
}

/// Patch tokens [n, D], and how the things they lie on move and what they are.
struct OnThings {
    tokens: Tensor,
    motions: Vec<Option<u32>>,
    classes: Vec<u32>,
}

/// Clips, twins side by side.
pub(super) fn clips(
    count: usize,
    seed: u64,
    step: usize,
    side: Side,
    world: &dyn World,
) -> Vec<Example> {
    use rayon::prelude::*;
    let pairs = count / 6;
    let parts: Vec<Vec<Example>> = (0..count - 2 * pairs)
        .into_par_iter()
        .map(|part| {
            let mut rng = data::generator(seed, step, part);
            match part {
                _ if part < pairs => world.turned(&mut rng, side).into(),
                _ if part < 2 * pairs => world.exchanged(&mut rng, side).into(),
                _ => vec![world.clip(&mut rng, side)],
            }
        })
        .collect();
    parts.into_iter().flatten().collect()
}

impl Network {
    /// Adds [`MOTIONS`], in random directions.
    pub fn add_motions(&mut self, count: usize, rng: &mut ChaCha8Rng) -> Candle<()> {
        let p = self.architecture.projection;
        self.weights.normal(MOTIONS, &[count, p], 1.0, rng)
    }

    /// Clips as normalised patches [clips x T, N, ..] to the frozen tower's layers.
    pub(super) fn frozen_layers(&self, pixels: &Tensor) -> Candle<Vec<Tensor>> {
        Ok(self.see(pixels)?.layers.iter().map(Tensor::detach).collect())
    }

    /// Plain CLIP's embeddings of clips: the mean of their frames' [clips, P].
    pub(super) fn mean_pooled(&self, layers: &[Tensor], frames: usize) -> Candle<Tensor> {
        let last = &layers[layers.len() - 1];
        let (bt, _, d) = last.dims3()?;
        let class = self.project(&last.narrow(1, 0, 1)?.reshape((bt, d))?)?;
        class.reshape((bt / frames, frames, ()))?.mean(1)
    }
}

impl Stage2 {
    /// One step of learning.
    #[allow(clippy::too_many_lines, reason = "one list of losses, in the order they are computed")]
    pub fn step(
        &self,
        network: &Network,
        optimiser: &mut Optimiser,
        words: &Words,
        world: &dyn World,
        step: usize,
    ) -> Result<ClipLosses, TrainError> {
        let examples = clips(self.batch, self.seed, step, Side::Train, world);
        let frames = examples[0].frames.len();
        let pixels = data::batch(&examples, &network.architecture.vision, true, self.seed, step)?;
        let mut rng = data::generator(self.seed, step, usize::MAX >> 44);
        let layers = network.frozen_layers(&pixels)?;
        let scale = network.scale()?;
        let asked = Names::choose(&examples, world.classes(), &mut rng);
        let motions = &world.classes().motions;
        let said: Vec<String> =
            motions.iter().map(|ways| ways[rng.random_range(0..ways.len())].clone()).collect();
        // Rich captions, then short ones, then names, then motions: one pass through the tower.
        let rich: Vec<String> = examples.iter().map(|e| e.captions[0].clone()).collect();
        let short: Vec<String> = examples
            .iter()
            .map(|e| e.captions[rng.random_range(0..e.captions.len())].clone())
            .collect();
        let rich_rows = network.read_texts(words, &rich)?;
        let others = [&short[..], &asked.phrases[..], &said[..]].concat();
        let others = network.read_texts(words, &others)?;
        let b = examples.len();
        let short_rows = others.narrow(0, 0, b)?;
        let names = others.narrow(0, b, asked.phrases.len())?;
        let motion_rows = others.narrow(0, b + asked.phrases.len(), said.len())?;

        let Watched { videos, patches } = network.watch(&layers, frames)?;
        let videos = unit(&videos)?;
        let against = |rows: &Tensor| videos.matmul(&rows.t()?)?.broadcast_mul(&scale);
        let contrasted = (contrast(&(against(&rich_rows)? + same_texts(&rich)?)?)?
            + contrast(&(against(&short_rows)? + same_texts(&short)?)?)?)?;
        let plain = unit(&network.mean_pooled(&layers, frames)?.detach())?;
        let plain = plain.matmul(&rich_rows.t()?)?.broadcast_mul(&scale)?;
        let plain = contrast(&(plain + same_texts(&rich)?)?)?;

        let logits = against(&names)?;
        let places = world.classes().places.len();
        let thing_targets = examples
            .iter()
            .map(|e| {
                let any = rng.random_range(0..e.things.len().max(1));
                e.things.get(any).and_then(|thing| asked.thing(thing.class))
            })
            .collect();
        let place_targets = examples.iter().map(|e| Some(e.place)).collect();
        let things = logits.narrow(1, 0, asked.things)?;
        let named = (ops::cross_entropy(&things, thing_targets)?
            + ops::cross_entropy(&logits.narrow(1, asked.things, places)?, place_targets)? * 0.3)?;
        let meeting = unit(&network.weights.get(MOTIONS)?)?.t()?;
        let motion_targets: Vec<Option<u32>> = examples
            .iter()
            .map(|e| match &e.things[..] {
                [thing] => Some(thing.motion),
                _ => None,
            })
            .collect();
        let directions = videos.matmul(&meeting)?.affine(SHARPNESS, 0.0)?;
        let moved = (ops::cross_entropy(&directions, motion_targets.clone())?
            + ops::cross_entropy(&against(&motion_rows)?, motion_targets)?)?;
        let each = (0..motions.len() as u32).map(Some).collect();
        let told =
            ops::cross_entropy(&motion_rows.matmul(&meeting)?.affine(SHARPNESS, 0.0)?, each)?;
        let on_things = self.patches_on_things(network, &examples, &patches, step)?;
        let tokens = unit(&network.project(&on_things.tokens)?)?;
        let directions = tokens.matmul(&meeting)?.affine(SHARPNESS, 0.0)?;
        let dense = ops::cross_entropy(&directions, on_things.motions)?;
        let patch_motions = dense.to_scalar()?;
        let logits = tokens.matmul(&names.t()?)?.broadcast_mul(&scale)?;
        let classes = on_things.classes.into_iter().map(|class| asked.thing(class)).collect();
        let dense = (dense + ops::cross_entropy(&logits, classes)?)?;

        let loss = ((&contrasted * 0.5)? + (&named * 0.3)? + (&moved * 0.5)? + (&dense * 0.5)?)?;
        let loss = ((loss + (&plain * 0.2)?)? + (&told * 0.5)?)?;
        let gradient =
            optimiser.step(&network.weights, &loss.backward()?, self.schedule.rate(step))?;
        Ok(ClipLosses {
            contrast: contrasted.to_scalar()?,
            names: named.to_scalar()?,
            motions: moved.to_scalar()?,
            patches: dense.to_scalar()?,
            patch_motions,
            plain: plain.to_scalar()?,
            gradient,
        })
    }

    /// Some of the branch's patch tokens that lie on things.
    fn patches_on_things(
        &self,
        network: &Network,
        examples: &[Example],
        patches: &Tensor,
        step: usize,
    ) -> Candle<OnThings> {
        let (_, n, t, d) = patches.dims4()?;
        let (mut rows, mut motions, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for (i, example) in examples.iter().enumerate() {
            let mut on_things = Vec::new();
            for frame in 0..t {
                let shown = data::shown(example, frame, &network.architecture.vision);
                for (patch, shows) in shown.into_iter().enumerate() {
                    if let Shows::Thing(index) = shows {
                        on_things.push((patch, frame, index));
                    }
                }
            }
            let mut rng = data::generator(self.seed ^ 1, step, i);
            for _ in 0..PATCHES.min(on_things.len()) {
                let any = rng.random_range(0..on_things.len());
                let (patch, frame, index) = on_things.swap_remove(any);
                rows.push((((i * n) + patch) * t + frame) as u32);
                motions.push(Some(example.things[index].motion));
                classes.push(example.things[index].class);
            }
        }
        let count = rows.len();
        let rows = Tensor::from_vec(rows, count, &candle_core::Device::Cpu)?;
        let tokens = ops::rows(&patches.reshape(((), d))?, &rows)?;
        Ok(OnThings { tokens, motions, classes })
    }
}
