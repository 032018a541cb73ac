//! The second stage: the branch, and the words for what it sees, on clips.
//!
//! CLIP's vision tower is closed. First the branch learns how things move and nothing else, over
//! stepping stones ([`super::stones`]). Then come captions, by contrast, in batches where half of the
//! clips have a twin that differs in nothing but the direction of motion or the order of two things.
//! Pictures cannot teach what "left" or "then" mean, so the text tower learns on; a share of the loss
//! keeps it in tune with plain CLIP.

use candle_core::{Result as Candle, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::data;
use super::data::Classes;
use super::error::TrainError;
use super::kept::{Batch, Pool};
use super::names::Names;
use super::network::{Network, unit};
use super::objective::{contrast, same_texts};
use super::ops;
use super::optimiser::{Optimiser, Schedule};
use super::query::Query;
use super::stones::Stones;
use super::words::Words;

/// The parameter that holds one direction of the joint space for each motion; not part of the model.
///
/// Neither side can learn what "left" is from the other while both know nothing of it: texts of two
/// directions begin as neighbours, and so do clips. Both learn to meet at these instead.
pub const MOTIONS: &str = "training.motions";
/// The logarithm of what cosines are multiplied with, and what is then added, where pairs of clips
/// and queries are judged; not part of the model.
const JUDGE: &str = "training.judge";
/// What cosines with the motions' directions are multiplied with.
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
    /// Clips and queries, each pair judged for itself.
    pub judged: f32,
    /// Plain CLIP against captions.
    pub plain: f32,
    /// Length of the gradient.
    pub gradient: f32,
}

/// A step under way.
struct Lesson<'a> {
    network: &'a Network,
    words: &'a Words,
    classes: &'a Classes,
    batch: &'a Batch,
    /// Unit rows of the branch [clips, P].
    videos: Tensor,
    /// Unit columns [P, motions]: [`MOTIONS`].
    meeting: Tensor,
    stones: Stones,
    /// The tokens that the stones lie on, after the last layer that has patches [tokens, D].
    tokens: Tensor,
}

impl Network {
    /// Adds what only the second stage needs: [`MOTIONS`], in random directions, and the heads of
    /// the stepping stones.
    pub fn add_motions(&mut self, count: usize, rng: &mut ChaCha8Rng) -> Candle<()> {
        let p = self.architecture.projection;
        self.weights.normal(MOTIONS, &[count, p], 1.0, rng)?;
        let judge = Tensor::new(&[20.0_f32.ln(), -10.0], &candle_core::Device::Cpu)?;
        self.weights.set(JUDGE, &judge)?;
        self.add_stones(count, rng)
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
        let mut loss = Tensor::zeros((), candle_core::DType::F32, &candle_core::Device::Cpu)?;
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
        let meeting = unit(&network.weights.get(MOTIONS)?)?.t()?;
        let videos = unit(&watched.videos)?;
        let lesson =
            Lesson { network, words, classes, batch: &batch, videos, meeting, stones, tokens };
        let captions_too = step >= self.motions_first;
        loss = (loss + lesson.motions(captions_too, &mut losses, &mut rng)?)?;
        if captions_too {
            loss = (loss + lesson.captions(&mut losses, &mut rng)?)?;
        }
        losses.gradient =
            optimiser.step(&network.weights, &loss.backward()?, self.schedule.rate(step))?;
        Ok(losses)
    }
}

impl Lesson<'_> {
    /// Clips of one thing, and names of motions, against the motions' directions and each other.
    fn motions(
        &self,
        is_named: bool,
        losses: &mut ClipLosses,
        rng: &mut ChaCha8Rng,
    ) -> Result<Tensor, TrainError> {
        let motions = &self.classes.motions;
        let said: Vec<String> =
            motions.iter().map(|ways| ways[rng.random_range(0..ways.len())].clone()).collect();
        let rows = self.network.read_texts(self.words, &said)?;
        let targets: Vec<Option<u32>> = self
            .batch
            .examples
            .iter()
            .map(|e| match &e.things[..] {
                [thing] => Some(thing.motion),
                _ => None,
            })
            .collect();
        let met = ops::cross_entropy(&self.met(&self.videos)?, targets.clone())?;
        let named = ops::cross_entropy(&self.against(&rows)?, targets)?;
        let each = (0..motions.len() as u32).map(Some).collect();
        let told = ops::cross_entropy(&self.met(&rows)?, each)?;
        let tokens = unit(&self.network.project(&self.tokens)?)?;
        let dense = ops::cross_entropy(&self.met(&tokens)?, self.stones.motions.clone())?;
        losses.motions = met.to_scalar()?;
        losses.motion_names = named.to_scalar()?;
        let loss = (met + (told + dense)? * 0.5)?;
        Ok(if is_named { (loss + named)? } else { loss })
    }

    /// Clips against captions and names; captions between twins.
    fn captions(
        &self,
        losses: &mut ClipLosses,
        rng: &mut ChaCha8Rng,
    ) -> Result<Tensor, TrainError> {
        let examples = &self.batch.examples;
        let b = examples.len();
        let frames = examples[0].frames.len();
        let asked = Names::choose(examples, self.classes, rng);
        let rich: Vec<String> = examples.iter().map(|e| e.captions[0].clone()).collect();
        let (short, pairs) = self.short_captions(rng);
        let rich_rows = self.network.read_texts(self.words, &rich)?;
        let short_and_names = [&short[..], &asked.phrases[..]].concat();
        let others = self.network.read_texts(self.words, &short_and_names)?;
        let short_rows = others.narrow(0, 0, b)?;
        let names = others.narrow(0, b, asked.phrases.len())?;

        let short_similarity = self.against(&short_rows)?;
        let contrasted = (contrast(&(self.against(&rich_rows)? + same_texts(&rich)?)?)?
            + contrast(&(&short_similarity + same_texts(&short)?)?)?)?;
        let twins = between_twins(&short_similarity, &pairs)?;
        let plain = unit(&self.network.mean_pooled(&self.batch.layers, frames)?.detach())?;
        let plain = plain.matmul(&rich_rows.t()?)?.broadcast_mul(&self.network.scale()?)?;
        let plain = contrast(&(plain + same_texts(&rich)?)?)?;

        let logits = self.against(&names)?;
        let places = self.classes.places.len();
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
        let tokens = unit(&self.network.project(&self.tokens)?)?;
        let logits = tokens.matmul(&names.t()?)?.broadcast_mul(&self.network.scale()?)?;
        let classes = self.stones.classes.iter().map(|class| class.and_then(|c| asked.thing(c)));
        let dense = ops::cross_entropy(&logits, classes.collect())?;
        let named = (named + dense)?;
        let judged = self.judged(rng)?;
        losses.judged = judged.to_scalar()?;
        losses.contrast = contrasted.to_scalar()?;
        losses.twins = twins.to_scalar()?;
        losses.names = named.to_scalar()?;
        losses.plain = plain.to_scalar()?;
        let loss = (((contrasted * 0.5)? + (named * 0.3)?)? + (twins + (plain * 0.2)?)?)?;
        Ok((loss + (judged * 0.5)?)?)
    }

    /// Clips against queries, each pair judged for itself: is the clip an answer or not? Contrasts
    /// only say which of several clips fits best; this sets what a cosine means, whatever the query.
    fn judged(&self, rng: &mut ChaCha8Rng) -> Result<Tensor, TrainError> {
        let examples = &self.batch.examples;
        let queries: Vec<Query> =
            examples.iter().flat_map(|e| Query::any_about(e, self.classes, rng)).collect();
        let texts: Vec<String> = queries.iter().map(|query| query.text(self.classes)).collect();
        let rows = self.network.read_texts(self.words, &texts)?;
        let judge = |k: usize| self.network.weights.get(JUDGE)?.narrow(0, k, 1);
        let sure = self
            .videos
            .matmul(&rows.t()?)?
            .broadcast_mul(&judge(0)?.exp()?)?
            .broadcast_add(&judge(1)?)?;
        // +1 for answers, -1 for others; what matters is how far a pair is on the right side.
        let truth = examples.iter().flat_map(|e| {
            queries.iter().map(|query| if query.is_answered_by(e) { 1.0_f32 } else { -1.0 })
        });
        let truth = Tensor::from_iter(truth, sure.device())?.reshape(sure.shape())?;
        let wrong = (sure * truth)?.neg()?;
        let loss = (wrong.relu()? + wrong.abs()?.neg()?.exp()?.affine(1.0, 1.0)?.log()?)?;
        Ok((loss.sum_all()? / queries.len().max(1) as f64)?)
    }

    /// For each clip one of its captions: of twins one that tells them apart, where there is one.
    /// Besides, the first index of each pair of twins that is told apart.
    fn short_captions(&self, rng: &mut ChaCha8Rng) -> (Vec<String>, Vec<usize>) {
        let examples = &self.batch.examples;
        let mut short: Vec<String> = examples
            .iter()
            .map(|e| e.captions[rng.random_range(0..e.captions.len())].clone())
            .collect();
        let mut told = Vec::new();
        for &i in self.batch.turned.iter().chain(&self.batch.exchanged) {
            let both = examples[i].captions.iter().zip(&examples[i + 1].captions);
            let telling: Vec<_> = both.filter(|(a, b)| a != b).collect();
            if !telling.is_empty() {
                let (a, b) = telling[rng.random_range(0..telling.len())];
                (short[i], short[i + 1]) = (a.clone(), b.clone());
                told.push(i);
            }
        }
        (short, told)
    }

    /// Scaled cosines of clips and texts [clips, texts].
    fn against(&self, texts: &Tensor) -> Candle<Tensor> {
        self.videos.matmul(&texts.t()?)?.broadcast_mul(&self.network.scale()?)
    }

    /// Scaled cosines of unit rows and the motions' directions [rows, motions].
    fn met(&self, rows: &Tensor) -> Candle<Tensor> {
        rows.matmul(&self.meeting)?.affine(SHARPNESS, 0.0)
    }
}

/// Choices between twins, from scaled similarities [clips, captions]: each caption between two
/// clips, and each clip between two captions. `pairs` are the first indices of neighbours.
fn between_twins(similarity: &Tensor, pairs: &[usize]) -> Candle<Tensor> {
    if pairs.is_empty() {
        return Tensor::zeros((), candle_core::DType::F32, &candle_core::Device::Cpu);
    }
    let b = similarity.dim(0)?;
    let cell = |row: usize, column: usize| (row * b + column) as u32;
    let cells: Vec<u32> = pairs
        .iter()
        .flat_map(|&i| {
            let j = i + 1;
            let of = |i, j| [cell(i, i), cell(i, j), cell(i, i), cell(j, i)];
            [of(i, j), of(j, i)].concat()
        })
        .collect();
    let count = cells.len();
    let cells = Tensor::from_vec(cells, count, &candle_core::Device::Cpu)?;
    let chosen = ops::rows(&similarity.reshape((b * b, 1))?, &cells)?.reshape((count / 2, 2))?;
    ops::cross_entropy(&chosen, vec![Some(0); count / 2])
}
