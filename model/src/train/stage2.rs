//! The second stage: the branch, and the words for what it sees, on clips.
//!
//! CLIP's vision tower is closed. First the branch learns how things move and nothing else, over
//! stepping stones. Then come captions, by contrast, in batches where half of the clips have a twin
//! that differs in nothing but the direction of motion or the order of two things. Pictures cannot
//! teach what "left" or "then" mean, so the text tower learns on; a share of the loss keeps it in
//! tune with plain CLIP.

use candle_core::{DType, Device, Result as Candle, Tensor};

use super::data::{self, Classes};
use super::error::TrainError;
use super::kept::Pool;
use super::lesson::Lesson;
use super::network::{Network, unit};
use super::optimiser::{Optimiser, Schedule};
use super::stones::Stones;
use super::words::Words;

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
    /// Clips of a step, at least.
    pub batch: usize,
    /// Steps, at the beginning, that teach motions alone.
    pub motions_first: usize,
    /// The learning rate's course.
    pub schedule: Schedule,
    /// Everything random follows from it.
    pub seed: u64,
}

impl ClipLosses {
    /// Adds a share of another step's.
    pub fn add(&mut self, other: &Self, share: f32) {
        self.places += share * other.places;
        self.ways += share * other.ways;
        self.own += share * other.own;
        self.class_ways += share * other.class_ways;
        self.patch_motions += share * other.patch_motions;
        self.motions += share * other.motions;
        self.motion_names += share * other.motion_names;
        self.contrast += share * other.contrast;
        self.twins += share * other.twins;
        self.names += share * other.names;
        self.order += share * other.order;
        self.judged += share * other.judged;
        self.plain += share * other.plain;
        self.gradient += share * other.gradient;
    }
}

/// Losses of a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClipLosses {
    /// Patches: where their thing is, mean squared error, after the first layer.
    pub places: f32,
    /// Patches: which way it goes and when it is seen, after the last layer.
    pub ways: f32,
    /// Patches: what they know of themselves.
    pub own: f32,
    /// Class tokens: which way their thing goes and when it is seen.
    pub class_ways: f32,
    /// Patches against motions, after the last layer.
    pub patch_motions: f32,
    /// Clips with one thing against motions' directions.
    pub motions: f32,
    /// The same against names of motions.
    pub motion_names: f32,
    /// Clips against rich captions and against short ones.
    pub contrast: f32,
    /// Captions between twins, in direction and in order.
    pub twins: f32,
    /// Clips, and patches on things, against names of things and places.
    pub names: f32,
    /// Clips and captions against the names of what comes first and second.
    pub order: f32,
    /// Clips and queries, each pair judged for itself.
    pub judged: f32,
    /// Plain CLIP against captions.
    pub plain: f32,
    /// Length of the gradient.
    pub gradient: f32,
}

impl Network {
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
    pub fn step(
        &self,
        network: &Network,
        optimiser: &mut Optimiser,
        words: &Words,
        classes: &Classes,
        pool: &Pool,
        step: usize,
    ) -> Result<ClipLosses, TrainError> {
        let mut rng = data::generator(self.seed, step, usize::MAX >> 44);
        let batch = pool.draw(network, classes, self.batch, step)?;
        let frames = batch.examples[0].frames.len();
        let watched = network.watch(&batch.layers, frames)?;
        let stones = Stones::patches(network, &batch.examples, frames, &mut rng)?;
        let classes_asked = Stones::classes(network, &batch.examples, frames)?;
        let mut losses = ClipLosses::default();
        let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        let mut tokens = Vec::new();
        for (i, layer) in watched.tokens.iter().enumerate() {
            tokens.push(stones.tokens(layer)?);
            let [places, ways, own, motions] = stones.losses(network, i, &tokens[i])?;
            losses.own = own.to_scalar()?;
            losses.places = places.to_scalar()?;
            losses.ways = ways.to_scalar()?;
            losses.patch_motions = motions.to_scalar()?;
            loss = (loss + (((places + ways)? + own)? + (motions * 0.5)?)?)?;
            let class = classes_asked.tokens(layer)?;
            let [places, ways, _, motions] = classes_asked.losses(network, i, &class)?;
            losses.class_ways = ways.to_scalar()?;
            loss = (loss + ((places + ways)? + (motions * 0.5)?)?)?;
        }
        let Some(tokens) = tokens.pop() else {
            let why = "a branch that learns motions has two layers or more";
            return Err(candle_core::Error::Msg(why.to_owned()).into());
        };
        let meeting = unit(&network.weights.get(super::MOTIONS)?)?.t()?;
        let videos = unit(&watched.videos)?;
        let lesson =
            Lesson { network, words, classes, batch: &batch, videos, meeting, stones, tokens };
        // Once there are captions, what they say comes first.
        let captions_too = step >= self.motions_first;
        loss = (loss * if captions_too { 0.5 } else { 1.0 })?;
        loss = (loss + lesson.motions(captions_too, &mut losses, &mut rng)?)?;
        if captions_too {
            loss = (loss + lesson.captions(&mut losses, &mut rng)?)?;
        }
        losses.gradient =
            optimiser.step(&network.weights, &loss.backward()?, self.schedule.rate(step))?;
        Ok(losses)
    }
}
