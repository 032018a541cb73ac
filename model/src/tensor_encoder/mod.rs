//! The encoders on candle's tensors: the reference's formulas, on any device.

mod batches;
mod pixels;

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use footage_clip::{Embedding, RgbFrame};

pub use self::batches::Batches;
pub(crate) use self::pixels::DevicePixels;
use crate::ModelError;
use crate::bt_adapter::{BranchOptions, VideoTower};
use crate::clip_text::TextTower;
use crate::encoder::{FrameFeatures, States, TextEncoder, VideoEncoder, frames_of_each};
use crate::preprocess::Preprocess;
use crate::tokenizer::Tokenizer;

/// Most frames that a device looks at at once: beyond, matrices are large enough.
const FRAMES_AT_ONCE: usize = 128;
/// Most clips that a device embeds at once.
const CLIPS_AT_ONCE: usize = 32;

/// BT-Adapter, gated or additive, or plain CLIP with its frames averaged, or another system, as the tower
/// is built.
///
/// A frame's states stay on the device. The host queues work there and waits once, for the embeddings
/// at the end of [`VideoEncoder::embed_clips`].
#[derive(Debug)]
pub struct TensorVideoEncoder {
    tower: VideoTower,
    pixels: DevicePixels,
    frames: Batches,
    clips: Batches,
}

impl TensorVideoEncoder {
    /// An encoder on the device that holds the tower's parameters, in their type. Batches are taken as
    /// they come on the processor, and in parts of fixed sizes elsewhere.
    pub fn new(tower: VideoTower, preprocess: Preprocess) -> Result<Self, ModelError> {
        let table = tower.vision.position_embedding();
        let pixels = DevicePixels::new(preprocess, table.device(), table.dtype())?;
        let batches = |most| {
            if table.device().is_cpu() { Batches::Whole } else { Batches::Buckets(most) }
        };
        let (frames, clips) = (batches(FRAMES_AT_ONCE), batches(CLIPS_AT_ONCE));
        Ok(Self { tower, pixels, frames, clips })
    }

    /// The same with batches of frames and of clips taken in this way.
    #[must_use]
    pub fn with_batches(self, frames: Batches, clips: Batches) -> Self {
        Self { frames, clips, ..self }
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
        let mut features = Vec::with_capacity(frames.len());
        for part in self.frames.parts(frames.len()) {
            let pixels = self.pixels.of(&frames[part.first..][..part.count], part.size)?;
            let states = Tensor::stack(&self.tower.states(&pixels)?, 1)?; // M states 1+N D
            // In plain CLIP the class token is all that is looked at.
            let tokens = if self.tower.is_plain() { 1 } else { states.dim(2)? };
            let states = states.narrow(2, 0, tokens)?;
            for frame in 0..part.count {
                // Copied, so that one kept frame does not keep the whole batch.
                let states = states.narrow(0, frame, 1)?.copy()?;
                features.push(FrameFeatures(Arc::new(States::Tensor(states))));
            }
        }
        Ok(features)
    }

    fn embed_clips(&self, clips: &[Vec<FrameFeatures>]) -> Result<Vec<Embedding>, ModelError> {
        if clips.is_empty() {
            return Ok(Vec::new());
        }
        let frames = frames_of_each(clips, self.max_frames())?;
        let needed = self.tower.states_needed();
        let features = clips
            .iter()
            .map(|clip| clip.iter().map(|features| features.tensor(needed)).collect())
            .collect::<Result<Vec<Vec<&Tensor>>, _>>()?;
        let mut embeddings = Vec::new();
        for part in self.clips.parts(clips.len()) {
            let last = part.count - 1;
            let clips = (0..part.size).map(|at| &features[part.first + at.min(last)]);
            let of_clips: Vec<&Tensor> = clips.flatten().copied().collect();
            let all = Tensor::cat(&of_clips, 0)?; // (B T) states 1+N D
            let states: Vec<Tensor> = (0..needed)
                .map(|state| all.narrow(1, state, 1)?.squeeze(1)?.contiguous())
                .collect::<candle_core::Result<_>>()?;
            let output = self.tower.embed(&states, frames, BranchOptions::default())?;
            embeddings.push(output.video_embed.narrow(0, 0, part.count)?);
        }
        normalised(&Tensor::cat(&embeddings, 0)?)
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

/// Rows `[B, P]` as embeddings; here the host waits for the device.
fn normalised(rows: &Tensor) -> Result<Vec<Embedding>, ModelError> {
    let rows = rows.to_dtype(DType::F32)?.to_vec2::<f32>()?;
    rows.into_iter().map(|row| Ok(Embedding::normalise(row)?)).collect()
}
