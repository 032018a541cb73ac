//! What a step of the second stage teaches: the losses on a batch of clips.

use candle_core::{DType, Device, Result as Candle, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::data::{Classes, Example};
use super::error::TrainError;
use super::kept::Batch;
use super::names::Names;
use super::network::{Network, unit};
use super::objective::{contrast, same_texts};
use super::ops;
use super::query::Query;
use super::stage2::ClipLosses;
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
/// The parameters that turn a clip, or a caption, of one thing after another into the name of the
/// first and of the second; not part of the model. Clips and captions meet there as at [`MOTIONS`].
const ORDER: [&str; 2] = ["training.first", "training.second"];
/// What cosines with the motions' directions are multiplied with.
const SHARPNESS: f64 = 20.0;

/// A step under way.
pub(super) struct Lesson<'a> {
    pub(super) network: &'a Network,
    pub(super) words: &'a Words,
    pub(super) classes: &'a Classes,
    pub(super) batch: &'a Batch,
    /// Unit rows of the branch [clips, P].
    pub(super) videos: Tensor,
    /// Unit columns [P, motions]: [`MOTIONS`].
    pub(super) meeting: Tensor,
    pub(super) stones: Stones,
    /// The tokens that the stones lie on, after the last layer that has patches [tokens, D].
    pub(super) tokens: Tensor,
}

impl Network {
    /// Adds what only the second stage needs: [`MOTIONS`], in random directions, and the heads of
    /// the stepping stones.
    pub fn add_motions(&mut self, count: usize, rng: &mut ChaCha8Rng) -> Candle<()> {
        let p = self.architecture.projection;
        self.weights.normal(MOTIONS, &[count, p], 1.0, rng)?;
        let judge = Tensor::new(&[20.0_f32.ln(), -10.0], &candle_core::Device::Cpu)?;
        self.weights.set(JUDGE, &judge)?;
        for name in ORDER {
            self.weights.set(name, &Tensor::eye(p, DType::F32, &Device::Cpu)?)?;
        }
        self.add_stones(count, rng)
    }
}

impl Lesson<'_> {
    /// Clips of one thing, and names of motions, against the motions' directions and each other.
    pub(super) fn motions(
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
    pub(super) fn captions(
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
        let things = names.narrow(0, 0, asked.things)?;
        let ordered = self.ordered(&short_rows, &things, &asked)?;
        losses.order = ordered.to_scalar()?;
        losses.judged = judged.to_scalar()?;
        losses.contrast = contrasted.to_scalar()?;
        losses.twins = twins.to_scalar()?;
        losses.names = named.to_scalar()?;
        losses.plain = plain.to_scalar()?;
        let loss = (((contrasted * 0.5)? + (named * 0.7)?)? + (twins + (plain * 0.2)?)?)?;
        Ok(((loss + (judged * 0.5)?)? + (ordered * 2.0)?)?)
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

    /// Clips and captions of one thing after another: what comes first, and what second, by name.
    /// `texts` are the captions' rows [clips, P], `names` those of things [things, P].
    fn ordered(&self, texts: &Tensor, names: &Tensor, asked: &Names) -> Candle<Tensor> {
        let pairs = |k: usize| -> Vec<Option<u32>> {
            let examples = self.batch.examples.iter();
            let target = |e: &Example| match &e.things[..] {
                [first, second] if second.comes_after(first) => asked.thing(e.things[k].class),
                _ => None,
            };
            examples.map(target).collect()
        };
        let mut loss = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        for (k, name) in ORDER.into_iter().enumerate() {
            let turn = self.network.weights.get(name)?.t()?;
            for rows in [&self.videos, texts] {
                let logits = unit(&rows.matmul(&turn)?)?.matmul(&names.t()?)?;
                let logits = logits.broadcast_mul(&self.network.scale()?)?;
                loss = (loss + ops::cross_entropy(&logits, pairs(k))?)?;
            }
        }
        loss * 0.25
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
        return Tensor::zeros((), DType::F32, &Device::Cpu);
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
    let cells = Tensor::from_vec(cells, count, &Device::Cpu)?;
    let chosen = ops::rows(&similarity.reshape((b * b, 1))?, &cells)?.reshape((count / 2, 2))?;
    ops::cross_entropy(&chosen, vec![Some(0); count / 2])
}
