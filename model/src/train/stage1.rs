//! The first stage: CLIP's two towers on pictures.
//!
//! Besides the contrast of pictures with captions, each patch is asked what it shows, against the
//! embedded names of everything there is. A transformer that must find its things by contrast of
//! whole pictures alone needs far more of them.

use candle_core::{Device, Result as Candle, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::data::{self, Example, Shows, Side, World};
use super::error::TrainError;
use super::names::{Names, best, recall};
use super::network::{Network, unit};
use super::objective::{contrast, same_texts};
use super::ops;
use super::optimiser::{Optimiser, Schedule};
use super::words::Words;

/// The parameter that holds the logarithm of the contrast's scale; not part of the model.
pub const SCALE: &str = "training.log_scale";
/// Background patches of a picture that are asked what they show.
const BACKGROUND: usize = 6;

/// What the first stage is told.
#[derive(Debug, Clone, Copy)]
pub struct Stage1 {
    /// Pictures of a step.
    pub batch: usize,
    /// The learning rate's course.
    pub schedule: Schedule,
    /// Everything random follows from it.
    pub seed: u64,
}

/// Losses of a step.
#[derive(Debug, Clone, Copy, Default)]
pub struct Losses {
    /// Pictures against captions.
    pub contrast: f32,
    /// Whole pictures against names.
    pub names: f32,
    /// Patches against names.
    pub patches: f32,
    /// Length of the gradient.
    pub gradient: f32,
}

/// How well a network does on pictures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Score {
    /// Share of patches on things whose best name is the thing's.
    pub patches: f32,
    /// Share of pictures with one thing whose best name is the thing's.
    pub names: f32,
    /// Share of pictures whose best place is theirs.
    pub places: f32,
    /// Share of captions whose best picture, of all that were scored, is theirs.
    pub recall_1: f32,
    /// Share of captions that have their picture among the best five.
    pub recall_5: f32,
}

impl Network {
    /// Texts to unit rows.
    pub fn read_texts(&self, words: &Words, texts: &[String]) -> Result<Tensor, TrainError> {
        let rows = words.rows(texts)?;
        Ok(unit(&self.read(&rows.ids, rows.length, &rows.ends)?)?)
    }

    /// What cosines are multiplied with in the losses.
    pub(super) fn scale(&self) -> Candle<Tensor> {
        self.weights.get(SCALE)?.clamp(0.0, 100.0_f32.ln())?.exp()
    }
}

impl Stage1 {
    /// One step of learning.
    pub fn step(
        &self,
        network: &Network,
        optimiser: &mut Optimiser,
        words: &Words,
        world: &dyn World,
        step: usize,
    ) -> Result<Losses, TrainError> {
        let vision = &network.architecture.vision;
        let examples =
            data::examples(self.batch, self.seed, step, |rng| world.picture(rng, Side::Train));
        let pixels = data::batch(&examples, vision, true, self.seed, step)?;
        let mut rng = data::generator(self.seed, step, usize::MAX >> 44);
        let captions: Vec<String> = examples.iter().map(|e| e.captions[0].clone()).collect();
        let texts = network.read_texts(words, &captions)?;
        let asked = Names::choose(&examples, world.classes(), &mut rng);
        let names = network.read_texts(words, &asked.phrases)?;
        let scale = network.scale()?;

        let seen = network.see(&pixels)?;
        let last = &seen.layers[seen.layers.len() - 1];
        let d = vision.width;
        let (tokens, shown) = questions(&examples, &asked, vision.patches(), &mut rng, |e| {
            data::shown(e, 0, vision)
        })?;
        // The class tokens and the patches that are asked are projected together.
        let tokens = ops::rows(&last.reshape(((), d))?, &tokens)?;
        let projected = unit(&network.project(&tokens)?)?;
        let pictures = projected.narrow(0, 0, self.batch)?;
        let similarity = pictures.matmul(&texts.t()?)?.broadcast_mul(&scale)?;
        let contrasted = contrast(&(similarity + same_texts(&captions)?)?)?;
        let logits = projected.matmul(&names.t()?)?.broadcast_mul(&scale)?;
        let asked_patches = logits.dim(0)? - self.batch;
        let patches = ops::cross_entropy(&logits.narrow(0, self.batch, asked_patches)?, shown)?;
        let whole = logits.narrow(0, 0, self.batch)?;
        let places = world.classes().places.len();
        let thing_targets = examples
            .iter()
            .map(|e| {
                let any = rng.random_range(0..e.things.len().max(1));
                e.things.get(any).and_then(|thing| asked.thing(thing.class))
            })
            .collect();
        let place_targets = examples.iter().map(|e| Some(e.place)).collect();
        let named = (ops::cross_entropy(&whole.narrow(1, 0, asked.things)?, thing_targets)?
            + ops::cross_entropy(&whole.narrow(1, asked.things, places)?, place_targets)? * 0.3)?;
        let loss = ((&contrasted * 0.5)? + (&named * 0.5)? + &patches)?;
        let gradient =
            optimiser.step(&network.weights, &loss.backward()?, self.schedule.rate(step))?;
        Ok(Losses {
            contrast: contrasted.to_scalar()?,
            names: named.to_scalar()?,
            patches: patches.to_scalar()?,
            gradient,
        })
    }
}

/// Which tokens are asked: first all class tokens, then patches; and what those patches show.
fn questions(
    examples: &[Example],
    names: &Names,
    n: usize,
    rng: &mut ChaCha8Rng,
    shown: impl Fn(&Example) -> Vec<Shows>,
) -> Candle<(Tensor, Vec<Option<u32>>)> {
    let mut tokens: Vec<u32> = (0..examples.len()).map(|i| (i * (n + 1)) as u32).collect();
    let mut targets = Vec::new();
    for (i, example) in examples.iter().enumerate() {
        for (patch, shows) in shown(example).into_iter().enumerate() {
            let target = match shows {
                Shows::Thing(index) => names.thing(example.things[index].class),
                Shows::Place if rng.random::<f32>() < BACKGROUND as f32 / n as f32 => {
                    Some(names.place(example.place))
                }
                _ => continue,
            };
            tokens.push((i * (n + 1) + 1 + patch) as u32);
            targets.push(target);
        }
    }
    let count = tokens.len();
    Ok((Tensor::from_vec(tokens, count, &Device::Cpu)?, targets))
}

/// Scores a network on `count` held-back pictures.
pub fn score(
    network: &Network,
    words: &Words,
    world: &dyn World,
    count: usize,
    seed: u64,
) -> Result<Score, TrainError> {
    let vision = &network.architecture.vision;
    let classes = world.classes();
    let names: Vec<String> =
        classes.things.iter().chain(&classes.places).map(|ways| ways[0].clone()).collect();
    let names = network.read_texts(words, &names)?.detach();
    let things = classes.things.len();
    let (mut score, mut asked, mut alone) = (Score::default(), 0, 0);
    let (mut pictures, mut texts) = (Vec::new(), Vec::new());
    for from in (0..count).step_by(128) {
        let examples =
            data::examples(128.min(count - from), seed, from, |rng| world.picture(rng, Side::Held));
        let seen = network.see(&data::batch(&examples, vision, true, seed, from)?)?;
        let tokens = unit(&network.project(&seen.layers[seen.layers.len() - 1])?)?.detach();
        let (b, n1, p) = tokens.dims3()?;
        let logits = tokens.reshape((b * n1, p))?.matmul(&names.t()?)?.to_vec2::<f32>()?;
        for (i, example) in examples.iter().enumerate() {
            let whole = &logits[i * n1];
            score.places += f32::from(best(&whole[things..]) == example.place as usize);
            if let [thing] = &example.things[..] {
                alone += 1;
                score.names += f32::from(best(&whole[..things]) == thing.class as usize);
            }
            for (patch, shows) in data::shown(example, 0, vision).into_iter().enumerate() {
                let Shows::Thing(index) = shows else { continue };
                asked += 1;
                let found = best(&logits[i * n1 + 1 + patch]);
                score.patches += f32::from(found == example.things[index].class as usize);
            }
        }
        pictures.push(tokens.narrow(1, 0, 1)?.squeeze(1)?);
        let captions: Vec<String> = examples.iter().map(|e| e.captions[0].clone()).collect();
        texts.push(network.read_texts(words, &captions)?.detach());
    }
    score.patches /= asked.max(1) as f32;
    score.names /= alone.max(1) as f32;
    score.places /= count as f32;
    let similarity = Tensor::cat(&texts, 0)?.matmul(&Tensor::cat(&pictures, 0)?.t()?)?;
    (score.recall_1, score.recall_5) = recall(&similarity.to_vec2()?);
    Ok(score)
}
