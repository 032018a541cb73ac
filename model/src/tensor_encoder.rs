//! The encoders on candle's tensors: the reference's formulas as written, on any device.

use std::sync::Arc;

use candle_core::{Device, Tensor};
use footage_clip::{Embedding, RgbFrame};

use crate::ModelError;
use crate::bt_adapter::{BranchOptions, VideoTower};
use crate::clip_text::TextTower;
use crate::encoder::{FrameFeatures, States, TextEncoder, VideoEncoder, frames_of_each};
use crate::preprocess::Preprocess;
use crate::tokenizer::Tokenizer;

/// BT-Adapter, gated or additive, plain CLIP with its frames averaged, or another system, as the tower is
/// built.
#[derive(Debug)]
pub struct TensorVideoEncoder {
    tower: VideoTower,
    preprocess: Preprocess,
    device: Device,
}

impl TensorVideoEncoder {
    /// An encoder on the device that holds the tower's parameters.
    pub fn new(tower: VideoTower, preprocess: Preprocess) -> Self {
        let device = tower.vision.position_embedding().device().clone();
        Self { tower, preprocess, device }
    }

    /// The input of the tower for `frames`, `[M, 3, image, image]`.
    fn pixels(&self, frames: &[RgbFrame]) -> Result<Tensor, ModelError> {
        let side = self.preprocess.side();
        let mut pixels = vec![0.0; frames.len() * self.preprocess.len()];
        for (frame, out) in frames.iter().zip(pixels.chunks_exact_mut(self.preprocess.len())) {
            self.preprocess.apply(frame, out);
        }
        Ok(Tensor::from_vec(pixels, (frames.len(), 3, side, side), &self.device)?)
    }
}

impl VideoEncoder for TensorVideoEncoder {
    fn dim(&self) -> usize {
        self.tower.vision.visual_projection().weight().dims()[0]
    }

    fn max_frames(&self) -> usize {
        self.tower.max_frames()
    }

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<FrameFeatures>, ModelError> {
        if frames.is_empty() {
            return Ok(Vec::new());
        }
        let states = self.tower.states(&self.pixels(frames)?)?;
        (0..frames.len())
            .map(|frame| {
                // Copied, so that one kept frame does not keep the whole batch.
                let states: candle_core::Result<_> =
                    states.iter().map(|state| state.narrow(0, frame, 1)?.copy()).collect();
                Ok(FrameFeatures(Arc::new(States::Tensors(states?))))
            })
            .collect()
    }

    fn embed_clips(&self, clips: &[Vec<FrameFeatures>]) -> Result<Vec<Embedding>, ModelError> {
        if clips.is_empty() {
            return Ok(Vec::new());
        }
        let frames = frames_of_each(clips, self.max_frames())?;
        let needed = self.tower.states_needed();
        let features = clips
            .iter()
            .flatten()
            .map(|features| features.tensors(needed))
            .collect::<Result<Vec<_>, _>>()?;
        let states: Vec<Tensor> = (0..needed)
            .map(|state| {
                let frames: Vec<&Tensor> = features.iter().map(|states| &states[state]).collect();
                Tensor::cat(&frames, 0)
            })
            .collect::<candle_core::Result<_>>()?;
        let output = self.tower.embed(&states, frames, BranchOptions::default())?;
        normalised(&output.video_embed)
    }
}

/// CLIP's text tower behind a tokenizer.
#[derive(Debug)]
pub struct TensorTextEncoder {
    tower: TextTower,
    tokenizer: Tokenizer,
    device: Device,
}

impl TensorTextEncoder {
    /// An encoder on the device that holds the tower's parameters.
    pub fn new(tower: TextTower, tokenizer: Tokenizer) -> Self {
        let device = tower.token_embedding.device().clone();
        Self { tower, tokenizer, device }
    }
}

impl TextEncoder for TensorTextEncoder {
    fn embed_texts(&self, texts: &[&str]) -> Result<Vec<Embedding>, ModelError> {
        if texts.is_empty() {
            return Ok(Vec::new());
        }
        let (ids, length) = self.tokenizer.encode_batch(texts)?;
        let ids = Tensor::from_vec(ids, (texts.len(), length), &self.device)?;
        normalised(&self.tower.forward(&ids)?)
    }

    fn fits(&self, text: &str) -> Result<bool, ModelError> {
        self.tokenizer.fits(text)
    }
}

fn normalised(rows: &Tensor) -> Result<Vec<Embedding>, ModelError> {
    let rows = rows.to_vec2::<f32>()?;
    rows.into_iter().map(|row| Ok(Embedding::normalise(row)?)).collect()
}
