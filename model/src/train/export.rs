//! From a network in training to a folder that [`crate::Model`] opens.

use std::path::Path;

use candle_core::{DType, Tensor};
use half::f16;
use safetensors::tensor::{Dtype, TensorView};

use super::error::TrainError;
use super::network::Network;
use crate::config::ModelConfig;
use crate::model::{CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE};

/// Writes `model.json`, `model.safetensors` (in f16) and `tokenizer.json`. What only training
/// needs stays behind.
pub fn export(
    network: &Network,
    config: &ModelConfig,
    tokenizer: &str,
    folder: &Path,
) -> Result<(), TrainError> {
    let kept = network.weights.iter().filter(|(name, _)| !name.starts_with("training."));
    let tensors = kept.map(|(name, var)| (name, var.as_tensor()));
    write_model(tensors, Dtype::F16, config, Some(tokenizer.as_bytes()), folder)
}

/// Writes a model's folder, its weights in f16 or f32. The weights are renamed into place last but
/// one and the configuration last, so that a folder with one is whole.
pub(super) fn write_model<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    dtype: Dtype,
    config: &ModelConfig,
    tokenizer: Option<&[u8]>,
    folder: &Path,
) -> Result<(), TrainError> {
    let mut parts = Vec::new();
    for (name, tensor) in tensors {
        let flat = tensor.flatten_all()?;
        let bytes: Vec<u8> = match dtype {
            Dtype::F16 => {
                let values = flat.to_dtype(DType::F16)?.to_vec1::<f16>()?;
                values.iter().flat_map(|value| value.to_le_bytes()).collect()
            }
            _ => flat.to_vec1::<f32>()?.iter().flat_map(|value| value.to_le_bytes()).collect(),
        };
        parts.push((name.to_owned(), tensor.dims().to_vec(), bytes));
    }
    let dtype = if dtype == Dtype::F16 { Dtype::F16 } else { Dtype::F32 };
    let views = parts
        .iter()
        .map(|(name, dims, bytes)| Ok((name, TensorView::new(dtype, dims.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let weights = views.and_then(|views| safetensors::serialize(views, None));
    let weights = weights.map_err(|error| TrainError::Export(error.to_string()))?;
    let json = serde_json::to_string_pretty(config)
        .map_err(|error| TrainError::Export(error.to_string()))?;
    fs_err::create_dir_all(folder)?;
    let put = |name: &str, bytes: &[u8]| -> std::io::Result<()> {
        let partial = folder.join(format!("{name}.partial"));
        fs_err::write(&partial, bytes)?;
        fs_err::rename(&partial, folder.join(name))
    };
    if let Some(tokenizer) = tokenizer {
        put(TOKENIZER_FILE, tokenizer)?;
    }
    put(WEIGHTS_FILE, &weights)?;
    Ok(put(CONFIG_FILE, (json + "\n").as_bytes())?)
}
