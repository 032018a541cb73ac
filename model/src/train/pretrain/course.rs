//! A course of pre-training: steps over a set of clips, deterministic, resumable.

use candle_core::{Device, Result as Candle, Tensor};
use half::f16;
use rand::seq::SliceRandom as _;

use super::{Mask, PretrainLosses, Pretraining, RATES, UNBRANCHED_RATES};
use crate::train::data::generator;
use crate::train::{Optimiser, Schedule, TrainError};

/// The clips of a course.
pub trait Features {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the frozen tower made of a clip, [`Pretraining::features`].
    ///
    /// # Errors
    /// Where it cannot be read back.
    fn clip(&self, index: usize) -> std::io::Result<Vec<f16>>;

    /// The embedding of its caption.
    fn text(&self, index: usize) -> &[f32];
}

/// Why a course ended early.
#[derive(Debug, thiserror::Error)]
pub enum PretrainError {
    /// A loss or a gradient was no number. Nothing was changed by the step.
    #[error("step {step} gave no finite {what}, on clips {}", list(.clips))]
    NotFinite {
        /// The step, from 0.
        step: usize,
        /// `loss` or `gradient`.
        what: &'static str,
        /// Which clips it was computed from.
        clips: Vec<usize>,
    },
    /// Features could not be read back.
    #[error("features of clip {clip} cannot be read: {source}")]
    Features {
        /// Which clip.
        clip: usize,
        /// Why.
        source: std::io::Error,
    },
    /// A step failed.
    #[error(transparent)]
    Train(#[from] TrainError),
}

impl From<candle_core::Error> for PretrainError {
    fn from(error: candle_core::Error) -> Self {
        Self::Train(error.into())
    }
}

fn list(clips: &[usize]) -> String {
    clips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// How a course runs. All that is random in a step follows from `seed` and the step's number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Course {
    /// What everything random follows from.
    pub seed: u64,
    /// Frames of each clip, T.
    pub frames: usize,
    /// Clips that are contrasted with each other, at least 2.
    pub batch: usize,
    /// Batches whose gradients are averaged for one step.
    pub accumulate: usize,
    /// The learning rate.
    pub schedule: Schedule,
}

/// A step's losses as numbers, averaged over its batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepLosses {
    /// The weighted sum.
    pub total: f32,
    /// Video and text.
    pub vtc: f32,
    /// The branch's tokens and CLIP's.
    pub mbta: f32,
    /// The branch's tokens and text.
    pub mbca: f32,
    /// Length of the gradient before clipping.
    pub gradient: f32,
}

/// Random streams of a step.
const ORDER: usize = 1;
const MASKS: usize = 2;
const PATHS: usize = 3;

impl Course {
    /// An optimiser that has seen nothing yet.
    pub fn optimiser(&self, training: &Pretraining) -> Optimiser {
        let has_branch = training.config().architecture.system().has_branch();
        let shares: &[_] = if has_branch { &RATES } else { &UNBRANCHED_RATES };
        Optimiser::with_shares(training.recipe().optimiser(), shares)
    }

    /// The clips of the batch with this number, counted over the whole course. An epoch takes each
    /// clip once, in an order of its own, and leaves over what fills no batch.
    fn batch(&self, count: usize, number: usize) -> Vec<usize> {
        let batch = self.batch.min(count);
        let per_epoch = (count / batch.max(1)).max(1);
        let mut order: Vec<usize> = (0..count).collect();
        order.shuffle(&mut generator(self.seed, number / per_epoch, ORDER));
        order.into_iter().skip(number % per_epoch * batch).take(batch).collect()
    }

    /// Forward pass over one batch.
    fn forward(
        &self,
        training: &Pretraining,
        clips: &dyn Features,
        number: usize,
        which: &[usize],
    ) -> Result<PretrainLosses, PretrainError> {
        let len = self.frames * training.frame_len();
        let read = |&clip: &usize| {
            let short = || std::io::Error::other("it has another length");
            let features =
                clips.clip(clip).and_then(|f| if f.len() == len { Ok(f) } else { Err(short()) });
            features.map_err(|source| PretrainError::Features { clip, source })
        };
        let features = which.iter().map(read).collect::<Result<Vec<_>, _>>()?;
        let texts: Vec<f32> =
            which.iter().flat_map(|clip| clips.text(*clip).iter().copied()).collect();
        let texts = Tensor::from_vec(texts, (which.len(), ()), &Device::Cpu)?;
        let recipe = training.recipe();
        let patches = training.config().architecture.vision.patches();
        let sizes = (which.len(), self.frames, patches);
        let mut rng = generator(self.seed, number, MASKS);
        let mask = Mask::draw(recipe.mask, recipe.masked, sizes, &mut rng)?;
        let states = training.states(&features, self.frames)?;
        let drop = generator(self.seed, number, PATHS);
        Ok(training.losses(&states, self.frames, &texts, &mask, Some(drop))?)
    }

    /// One step of learning.
    ///
    /// # Errors
    /// Where a loss or a gradient is no number; weights and optimiser are then as before.
    pub fn step(
        &self,
        training: &Pretraining,
        optimiser: &mut Optimiser,
        clips: &dyn Features,
        step: usize,
    ) -> Result<StepLosses, PretrainError> {
        let parts = self.accumulate.max(1);
        let share = 1.0 / parts as f64;
        let mut seen = Vec::new();
        let mut losses = StepLosses::default();
        let mut sum: Option<candle_core::backprop::GradStore> = None;
        for part in 0..parts {
            let number = step * parts + part;
            let which = self.batch(clips.len(), number);
            let found = self.forward(training, clips, number, &which)?;
            let value =
                |loss: &Tensor| -> Candle<f32> { Ok(loss.to_scalar::<f32>()? * share as f32) };
            seen.extend_from_slice(&which);
            losses.total += value(&found.total)?;
            losses.vtc += value(&found.vtc)?;
            losses.mbta += value(&found.mbta)?;
            losses.mbca += value(&found.mbca)?;
            if !losses.total.is_finite() {
                return Err(PretrainError::NotFinite { step, what: "loss", clips: which });
            }
            let grads = (found.total * share)?.backward()?;
            sum = Some(match sum.take() {
                None => grads,
                Some(mut sum) => {
                    for (_, var) in training.weights.open() {
                        if let Some(grad) = grads.get(var) {
                            let total = match sum.get(var) {
                                Some(before) => (before + grad)?,
                                None => grad.clone(),
                            };
                            sum.insert(var, total);
                        }
                    }
                    sum
                }
            });
        }
        let Some(grads) = sum else { return Ok(losses) };
        for (_, var) in training.weights.open() {
            if let Some(grad) = grads.get(var)
                && !grad.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite()
            {
                return Err(PretrainError::NotFinite { step, what: "gradient", clips: seen });
            }
        }
        losses.gradient = optimiser.step(&training.weights, &grads, self.schedule.rate(step))?;
        Ok(losses)
    }
}
