//! The model inside the binary.

use anyhow::{Context as _, Result};
use candle_core::Device;
use footage_model::{Model, ModelOptions};

const CONFIG: &[u8] = include_bytes!("../../models/mini/model.json");
const WEIGHTS: &[u8] = include_bytes!("../../models/mini/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../models/mini/tokenizer.json");

/// Loads the bundled model.
pub(crate) fn model(options: ModelOptions) -> Result<Model> {
    Model::from_bytes_with(CONFIG, WEIGHTS, Some(TOKENIZER), &Device::Cpu, options)
        .context("cannot load the bundled model")
}

/// Its files: `model.json`, `model.safetensors` and `tokenizer.json`.
pub(crate) fn files() -> (&'static [u8], &'static [u8], &'static [u8]) {
    (CONFIG, WEIGHTS, TOKENIZER)
}
