//! Clips as the frozen tower sees them, kept with what is asked about them.

use candle_core::{Device, Tensor};
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rayon::prelude::*;

use super::batch::{Asked, Frame};
use super::pupil::Pupil;
use crate::train::TrainError;
use crate::train::data::{self, Example};
use crate::train::network::mean_tokens;

/// Clips that are seen together.
const TOGETHER: usize = 16;

/// A clip, or a picture, with questions and answers about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Shown {
    /// Frames of square RGB rows, as large as the tower's input.
    pub frames: Vec<Vec<u8>>,
    /// Questions, each with its answer.
    pub questions: Vec<(String, String)>,
}

/// What of a clip a language model reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// BT-Adapter's tokens.
    Adapter,
    /// CLIP's own, averaged over time.
    Mean,
    /// CLIP's own, averaged over time and, behind them, averaged over space, as Video-ChatGPT does.
    SpaceAndTime,
}

/// A clip as the frozen tower sees it.
#[derive(Debug, Clone)]
pub struct Look {
    pub(super) frames: usize,
    /// The outputs of CLIP's layers L-K to L-2, each [T, 1 + N, D].
    pub(super) states: Vec<f16>,
    /// What a language model reads of it, [tokens, D], while the branch is closed.
    tokens: Vec<f16>,
    pub(super) asked: Vec<Asked>,
}

impl Look {
    pub(super) fn of(frames: usize, states: Vec<f16>, asked: Vec<Asked>) -> Self {
        Self { frames, states, tokens: Vec::new(), asked }
    }

    /// How many questions there are about it.
    pub fn questions(&self) -> usize {
        self.asked.len()
    }

    /// From here on the language model reads what the branch makes of the clip now.
    pub fn unsettle(&mut self) {
        self.tokens = Vec::new();
    }
}

impl Pupil {
    /// Sends clips of equally many frames through the tower; with a seed, as cameras that differ
    /// would have filmed them.
    ///
    /// # Errors
    /// Where a question cannot be written down, or sizes do not fit.
    pub fn look(
        &self,
        shown: &[Shown],
        worn: Option<(u64, usize)>,
    ) -> Result<Vec<Look>, TrainError> {
        let mut looks = Vec::with_capacity(shown.len());
        for (part, some) in shown.chunks(TOGETHER).enumerate() {
            let examples: Vec<Example> = some
                .iter()
                .map(|shown| Example {
                    frames: shown.frames.clone(),
                    captions: Vec::new(),
                    place: 0,
                    things: Vec::new(),
                })
                .collect();
            let (seed, step) = worn.unwrap_or_default();
            let vision = &self.network.architecture.vision;
            let pixels = data::batch(&examples, vision, worn.is_some(), seed, step << 8 | part)?;
            let mut layers = self.network.frozen_layers(&pixels)?;
            layers.pop();
            let layers: Vec<Vec<f32>> = layers
                .iter()
                .map(|layer| layer.flatten_all()?.to_vec1())
                .collect::<candle_core::Result<_>>()?;
            for (i, shown) in some.iter().enumerate() {
                let len = layers.first().map_or(0, Vec::len) / some.len();
                let mut states = vec![f16::ZERO; len * layers.len()];
                for (to, layer) in states.chunks_exact_mut(len).zip(&layers) {
                    to.convert_from_f32_slice(&layer[i * len..][..len]);
                }
                let asked = shown.questions.iter();
                let asked =
                    asked.map(|(question, answer)| Frame::asked(&self.script, question, answer));
                looks.push(Look {
                    frames: shown.frames.len(),
                    states,
                    tokens: Vec::new(),
                    asked: asked.collect::<Result<_, _>>()?,
                });
            }
        }
        Ok(looks)
    }

    /// Keeps what the language model reads of these clips: for a training in which the branch stays as
    /// it is. [`Look::unsettle`] forgets it.
    ///
    /// # Errors
    /// Where sizes do not fit.
    pub fn settle(&self, looks: &mut [Look], pooling: Pooling) -> Result<(), TrainError> {
        for some in looks.chunks_mut(TOGETHER) {
            some.iter_mut().for_each(Look::unsettle);
            let all: Vec<&Look> = some.iter().collect();
            let tokens = self.read_clips(&all, pooling)?.flatten_all()?.to_vec1::<f32>()?;
            let len = tokens.len() / some.len();
            for (look, own) in some.iter_mut().zip(tokens.chunks_exact(len)) {
                look.tokens = vec![f16::ZERO; len];
                look.tokens.convert_from_f32_slice(own);
            }
        }
        Ok(())
    }

    /// What the language model reads of clips of equally many frames, [clips, tokens, D].
    pub(super) fn read_clips(
        &self,
        looks: &[&Look],
        pooling: Pooling,
    ) -> Result<Tensor, TrainError> {
        if looks.iter().all(|look| !look.tokens.is_empty()) {
            let tokens: Vec<f32> =
                looks.iter().flat_map(|look| &look.tokens).map(|value| value.to_f32()).collect();
            let width = self.network.architecture.vision.width;
            return Ok(Tensor::from_vec(tokens, (looks.len(), (), width), &Device::Cpu)?);
        }
        let vision = &self.network.architecture.vision;
        let frames = looks.first().map_or(0, |look| look.frames);
        let (n1, d) = (vision.patches() + 1, vision.width);
        let len = frames * n1 * d;
        let count = looks.first().map_or(0, |look| look.states.len() / len.max(1));
        if count == 0 || looks.iter().any(|look| look.states.len() != count * len) {
            let why = "clips of a batch have equally many frames".to_owned();
            return Err(candle_core::Error::Msg(why).into());
        }
        let layers = (0..count)
            .map(|k| {
                let mut all = vec![0.0_f32; looks.len() * len];
                all.par_chunks_mut(len)
                    .zip(looks)
                    .for_each(|(to, look)| look.states[k * len..][..len].convert_to_f32_slice(to));
                Tensor::from_vec(all, (looks.len() * frames, n1, d), &Device::Cpu)
            })
            .collect::<candle_core::Result<Vec<_>>>()?;
        let last = &layers[count - 1];
        Ok(match pooling {
            Pooling::Adapter => self.network.conversation_tokens(&layers, frames)?,
            Pooling::Mean => mean_tokens(last, frames)?,
            Pooling::SpaceAndTime => {
                let over_time = mean_tokens(last, frames)?;
                let over_space = last.mean(1)?.reshape((looks.len(), frames, d))?;
                Tensor::cat(&[&over_time, &over_space], 1)?
            }
        })
    }
}
