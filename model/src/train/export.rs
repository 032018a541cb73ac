//! From a network in training to a folder that [`crate::Model`] opens.

use std::path::Path;

use candle_core::DType;
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
    let mut parts = Vec::new();
    for (name, var) in network.weights.iter() {
        if !name.starts_with("training.") {
            let values = var.to_dtype(DType::F16)?.flatten_all()?.to_vec1::<f16>()?;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            parts.push((name.to_owned(), var.dims().to_vec(), bytes));
        }
    }
    let views = parts
        .iter()
        .map(|(name, dims, bytes)| Ok((name, TensorView::new(Dtype::F16, dims.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let weights = views.and_then(|views| safetensors::serialize(views, None));
    let weights = weights.map_err(|error| TrainError::Export(error.to_string()))?;
    let json = serde_json::to_string_pretty(config)
        .map_err(|error| TrainError::Export(error.to_string()))?;
    fs_err::create_dir_all(folder)?;
    fs_err::write(folder.join(WEIGHTS_FILE), weights)?;
    fs_err::write(folder.join(TOKENIZER_FILE), tokenizer)?;
    Ok(fs_err::write(folder.join(CONFIG_FILE), json + "\n")?)
}
