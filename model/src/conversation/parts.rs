//! The parts of an answerer, from files or from memory.

use std::path::Path;

use candle_core::Device;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use super::{AnswererConfig, ConversationError, Gates};
use crate::bt_adapter::VideoTower;
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::weights::{WeightsFile, known_name};
use crate::{ModelError, layers};

pub(crate) fn config_of(json: &[u8], path: &Path) -> Result<AnswererConfig, ConversationError> {
    serde_json::from_slice(json).map_err(|error| ConversationError::Config {
        path: path.to_owned(),
        why: error.to_string(),
    })
}

pub(super) fn in_folder(folder: &Path, source: ModelError) -> ModelError {
    match source {
        ModelError::Io(_) => source,
        source => ModelError::Folder { dir: folder.to_owned(), source: Box::new(source) },
    }
}

/// The image side of a model, with tuned weights of the branch laid over its own.
pub(super) fn tower_of(
    folder: &Path,
    json: &[u8],
    weights: WeightsFile,
    adapter: Option<WeightsFile>,
    gates: Gates,
    device: &Device,
) -> Result<(VideoTower, Preprocess), ConversationError> {
    let in_folder = |source: ModelError| in_folder(folder, source);
    let model = ModelConfig::from_json(json).map_err(in_folder)?;
    let mut files = vec![weights];
    if let Some(tuned) = adapter {
        let mut names = tuned.shapes().map(|(name, _)| known_name(name));
        if !names.any(|name| name.starts_with(IMAGE_SIDE)) {
            let why = "there is nothing of a branch in it".to_owned();
            return Err(ConversationError::Weights { path: tuned.path().to_owned(), why });
        }
        drop(names);
        files.push(tuned);
        if gates == Gates::Half {
            files.push(half_gates(model.architecture.vision.width)?);
        }
    }
    let checkpoint = Checkpoint::from_files(&files).map_err(in_folder)?;
    let vb = checkpoint.var_builder(device);
    let tower = VideoTower::new(&model.architecture, Ops::Fused, &vb.pp(IMAGE_SIDE))?;
    checkpoint.finish_part(IMAGE_SIDE).map_err(|error| in_folder(error.into()))?;
    let preprocess = Preprocess::new(model.preprocess.clone(), model.architecture.vision.image);
    Ok((tower, preprocess))
}

/// What the tensors of the image side are called.
const IMAGE_SIDE: &str = "backbone";

/// Gates that are open half, in place of those of a file: zeros, before the sigmoid.
pub(crate) fn half_gates(width: usize) -> Result<WeightsFile, ConversationError> {
    let zeros = vec![0; width * size_of::<f32>()];
    let view = || TensorView::new(Dtype::F32, vec![width], &zeros);
    let made = view().and_then(|first| {
        safetensors::serialize([("backbone.balance1", first), ("backbone.balance2", view()?)], None)
    });
    let made = made.map_err(|error| ModelError::from(candle_core::Error::wrap(error)))?;
    Ok(WeightsFile::of_bytes(&made).map_err(ModelError::from)?)
}

pub(super) fn projector_of(
    file: &WeightsFile,
    from: usize,
    to: usize,
    device: &Device,
) -> Result<layers::Linear, ConversationError> {
    let path = file.path();
    let take = |name: &str, shape: &[usize]| {
        let refused = |why: String| ConversationError::Weights { path: path.to_owned(), why };
        let tensor = Checkpoint::tensor_of(file, &format!("mm_projector.{name}"), device)
            .map_err(|error| refused(error.to_string()))?
            .ok_or_else(|| refused(format!("there is no `mm_projector.{name}` in it")))?;
        if tensor.dims() == shape {
            return Ok(tensor);
        }
        Err(refused(format!(
            "`mm_projector.{name}` has shape {:?}; this image model and this language model need \
             {shape:?}",
            tensor.dims()
        )))
    };
    Ok(layers::Linear::of(take("weight", &[to, from])?, take("bias", &[to])?))
}
