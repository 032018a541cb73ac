//! Image towers that give one embedding a frame, and clips that are the mean of theirs.
//!
//! `SigLIP` and `MobileCLIP` have no states beside which a branch could stand. Their vectors are averaged
//! as plain CLIP's are: as the tower gives them, before they are brought to unit length.

mod depthwise;
mod fastvit;
mod siglip;

use std::sync::Arc;

use candle_core::{DType, Device, Result as Candle, Tensor};
use candle_nn::VarBuilder;
use footage_clip::{Embedding, RgbFrame};

pub use self::depthwise::Depthwise;
pub use self::fastvit::FastVit;
pub use self::siglip::SiglipVision;
use crate::ModelError;
use crate::config::Architecture;
use crate::encoder::{
    FrameFeatures, MAX_FRAMES_WITHOUT_BRANCH, States, VideoEncoder, frames_of_each,
};
use crate::family::Family;
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::tensor_encoder::{Batches, DevicePixels};

/// Most frames that are looked at at once: convolutions keep large maps, and nothing is gained on the
/// processor.
const FRAMES_ON_CPU: usize = 8;
/// Most frames that another device looks at at once.
const FRAMES_ON_DEVICE: usize = 64;

/// An image tower that ends in the embedding of a frame.
#[derive(Clone, Debug)]
pub enum PooledTower {
    /// `SigLIP`'s.
    Siglip(SiglipVision),
    /// `MobileCLIP`'s.
    FastVit(FastVit),
}

impl PooledTower {
    /// Takes the parameters below `vb` (`backbone` in a checkpoint), and keeps them in `dtype`.
    ///
    /// # Errors
    /// Where a tensor is missing, or the family's tower has states ([`Family::has_states`]).
    pub fn new(
        architecture: &Architecture,
        dtype: DType,
        ops: Ops,
        vb: &VarBuilder,
    ) -> Candle<Self> {
        let &Architecture { family, vision, projection, .. } = architecture;
        match family {
            Family::Siglip => {
                Ok(Self::Siglip(SiglipVision::new(vision, projection, ops, &vb.to_dtype(dtype))?))
            }
            Family::MobileClip => {
                Ok(Self::FastVit(FastVit::new(vision, projection, dtype, ops, vb)?))
            }
            Family::Clip | Family::EvaClip => {
                candle_core::bail!("an image tower of `{}` does not end so", family.name())
            }
        }
    }

    /// `M 3 image image -> M P`, not normalised.
    pub fn forward(&self, pixels: &Tensor) -> Candle<Tensor> {
        match self {
            Self::Siglip(tower) => tower.forward(pixels),
            Self::FastVit(tower) => tower.forward(pixels),
        }
    }
}

/// Embeds frames one by one, and clips as their mean.
#[derive(Debug)]
pub struct PooledVideoEncoder {
    tower: PooledTower,
    pixels: DevicePixels,
    frames: Batches,
    dim: usize,
}

impl PooledVideoEncoder {
    /// An encoder on the device that holds the tower's parameters, which have `dtype`.
    pub fn new(
        tower: PooledTower,
        dim: usize,
        preprocess: Preprocess,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, ModelError> {
        let frames =
            Batches::Buckets(if device.is_cpu() { FRAMES_ON_CPU } else { FRAMES_ON_DEVICE });
        Ok(Self { tower, pixels: DevicePixels::new(preprocess, device, dtype)?, frames, dim })
    }
}

impl VideoEncoder for PooledVideoEncoder {
    fn dim(&self) -> usize {
        self.dim
    }

    fn max_frames(&self) -> usize {
        MAX_FRAMES_WITHOUT_BRANCH
    }

    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<FrameFeatures>, ModelError> {
        let mut features = Vec::with_capacity(frames.len());
        let is_cpu = self.pixels.device().is_cpu();
        for part in self.frames.parts(frames.len()) {
            // Only a device gains by shapes that repeat.
            let size = if is_cpu { part.count } else { part.size };
            let pixels = self.pixels.of(&frames[part.first..][..part.count], size)?;
            let rows = self.tower.forward(&pixels)?.narrow(0, 0, part.count)?;
            let rows = rows.to_dtype(DType::F32)?.to_vec2::<f32>()?;
            features.extend(
                rows.into_iter()
                    .map(|row| FrameFeatures(Arc::new(States::Floats(row.into_boxed_slice())))),
            );
        }
        Ok(features)
    }

    fn embed_clips(&self, clips: &[Vec<FrameFeatures>]) -> Result<Vec<Embedding>, ModelError> {
        if clips.is_empty() {
            return Ok(Vec::new());
        }
        let frames = frames_of_each(clips, self.max_frames())?;
        let embed = |clip: &Vec<FrameFeatures>| {
            let mut sum = vec![0.0; self.dim];
            for frame in clip {
                let row = frame.floats(self.dim)?;
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            for value in &mut sum {
                *value /= frames as f32;
            }
            Ok(Embedding::normalise(sum)?)
        };
        clips.iter().map(embed).collect()
    }
}
