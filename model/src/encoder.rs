//! The seam: what every model offers to the rest of the house.

use std::borrow::Cow;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use footage_clip::{Embedding, RgbFrame};

use crate::ModelError;

/// What a frame gives to every clip that contains it: the states of the image tower that the
/// branch reads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct FrameFeatures(pub(crate) Arc<States>);

/// The states of one frame, where the encoder that made them wants them.
#[derive(Debug)]
pub(crate) enum States {
    /// All states, `[1, states, 1+N, D]`, on the encoder's device; of plain CLIP, the class token
    /// alone.
    Tensor(Tensor),
    /// All states end to end, `[states, 1+N, D]`.
    Floats(Box<[f32]>),
    /// Those of each of a picture's tiles.
    Tiles(Vec<FrameFeatures>),
}

impl FrameFeatures {
    /// The states of a frame as plain floats, `len` of them.
    pub(crate) fn floats(&self, len: usize) -> Result<&[f32], ModelError> {
        match &*self.0 {
            States::Floats(floats) if floats.len() == len => Ok(floats),
            _ => Err(ModelError::ForeignFeatures),
        }
    }

    /// The states of a frame as plain floats, `len` of them, wherever they lie.
    pub(crate) fn as_floats(&self, len: usize) -> Result<Cow<'_, [f32]>, ModelError> {
        match &*self.0 {
            States::Tensor(states) if states.elem_count() == len => {
                Ok(Cow::Owned(states.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?))
            }
            _ => self.floats(len).map(Cow::Borrowed),
        }
    }

    /// The states of a frame as a tensor, `count` of them.
    pub(crate) fn tensor(&self, count: usize) -> Result<&Tensor, ModelError> {
        match &*self.0 {
            States::Tensor(states) if states.dims().get(1) == Some(&count) => Ok(states),
            _ => Err(ModelError::ForeignFeatures),
        }
    }

    /// The memory that they take, in bytes, wherever they lie.
    pub fn bytes(&self) -> usize {
        match &*self.0 {
            States::Tensor(states) => states.elem_count() * states.dtype().size_in_bytes(),
            States::Floats(floats) => size_of_val::<[f32]>(floats),
            States::Tiles(tiles) => tiles.iter().map(Self::bytes).sum(),
        }
    }
}

/// Most frames of a clip where no temporal table sets a limit.
pub(crate) const MAX_FRAMES_WITHOUT_BRANCH: usize = 1024;

/// Pixels to embeddings, in two steps, so that the frames that neighbouring clips share are looked
/// at once.
///
/// The two steps together are a pure function: features computed for one clip may be used in any
/// other, and give the same embedding as computing that clip alone.
pub trait VideoEncoder: Send + Sync {
    /// Dimension of the embeddings, P.
    fn dim(&self) -> usize;

    /// Most frames a clip may have.
    fn max_frames(&self) -> usize;

    /// Prepares the pixels and runs the image tower, once for each distinct frame. The order of the
    /// result is that of `frames`.
    fn frame_features(&self, frames: &[RgbFrame]) -> Result<Vec<FrameFeatures>, ModelError>;

    /// The embeddings of clips, each given by the features of its frames in order of time. All clips
    /// of one call have the same number of frames.
    fn embed_clips(&self, clips: &[Vec<FrameFeatures>]) -> Result<Vec<Embedding>, ModelError>;
}

/// Words to embeddings in the space of the video encoder beside it.
pub trait TextEncoder: Send + Sync {
    /// One embedding for each text, in order.
    fn embed_texts(&self, texts: &[&str]) -> Result<Vec<Embedding>, ModelError>;

    /// Whether the whole of a text is read: one that is longer than the context loses its end.
    fn fits(&self, text: &str) -> Result<bool, ModelError>;
}

/// The number of frames of every clip, once it is known that they agree and fit the model.
pub(crate) fn frames_of_each(
    clips: &[Vec<FrameFeatures>],
    max_frames: usize,
) -> Result<usize, ModelError> {
    let first = clips.first().map_or(0, Vec::len);
    if let Some(other) = clips.iter().map(Vec::len).find(|frames| *frames != first) {
        return Err(ModelError::UnevenClips { first, other });
    }
    if first == 0 || first > max_frames {
        return Err(ModelError::ClipLength { frames: first, max_frames });
    }
    Ok(first)
}
