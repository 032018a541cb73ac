//! The model inside the binary.

use anyhow::{Context as _, Result};
use candle_core::Device;
use footage_model::conversation::{Answerer, AnswererFiles};
use footage_model::{Model, ModelOptions};

const CONFIG: &[u8] = include_bytes!("../../models/mini/model.json");
const WEIGHTS: &[u8] = include_bytes!("../../models/mini/model.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../models/mini/tokenizer.json");

/// Loads the bundled model.
pub(crate) fn model(device: &Device, options: ModelOptions) -> Result<Model> {
    Model::from_bytes_with(CONFIG, WEIGHTS, Some(TOKENIZER), device, options)
        .context("cannot load the bundled model")
}

/// Loads the bundled answerer, which sees with the bundled model.
pub(crate) fn answerer() -> Result<Answerer> {
    Answerer::from_bytes(answerer_files(), &Device::Cpu).context("cannot load the bundled answerer")
}

/// The bundled answerer's files.
pub(crate) fn answerer_files() -> AnswererFiles<'static> {
    AnswererFiles {
        config: include_bytes!("../../models/mini/answerer/answerer.json"),
        vision: [CONFIG, WEIGHTS],
        adapter: Some(include_bytes!("../../models/mini/answerer/adapter.safetensors")),
        projector: include_bytes!("../../models/mini/answerer/projector.safetensors"),
        language: [
            include_bytes!("../../models/mini/answerer/language/config.json"),
            include_bytes!("../../models/mini/answerer/language/model.safetensors"),
        ],
        tokenizer: include_bytes!("../../models/mini/answerer/tokenizer.json"),
    }
}

/// The bundled model's files: `model.json`, `model.safetensors` and `tokenizer.json`.
pub(crate) fn files() -> (&'static [u8], &'static [u8], &'static [u8]) {
    (CONFIG, WEIGHTS, TOKENIZER)
}
