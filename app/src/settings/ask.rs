//! Who answers questions, and how it is asked.

use std::path::PathBuf;

use anyhow::Result;
use footage_ask::{EndpointSettings, Key};
use footage_model::conversation::Sampling;

use super::Layers;

/// Names the answerer that comes with Footage.
const BUNDLED: &str = "mini";

/// The settings under `[ask]`.
#[derive(Clone, Debug)]
pub(crate) struct AskSettings {
    pub answerer: AnswererChoice,
    pub frames: usize,
    pub picture_pixels: u32,
    max_tokens: usize,
    temperature: f32,
    top_p: f32,
}

/// Who answers.
#[derive(Clone, Debug)]
pub(crate) enum AnswererChoice {
    /// Nobody was named.
    None,
    /// The small one that comes with Footage.
    Bundled,
    /// Somebody on the network.
    Endpoint(EndpointSettings),
    /// A LLaVA in a folder.
    Folder(PathBuf),
}

impl AskSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self> {
        let answerer = layers.get::<String>("ask.answerer")?;
        let key = Some(layers.get::<String>("ask.key")?).filter(|key| !key.is_empty());
        let endpoint = EndpointSettings {
            address: answerer.clone(),
            model: layers.get("ask.model")?,
            key: key.map(Key::new),
            timeout: layers.seconds("ask.timeout_s", 0.1)?,
            retries: layers.within("ask.retries", 0, 10)?,
            max_tokens: layers.within("ask.max_tokens", 1, 100_000)?,
            temperature: layers.within("ask.temperature", 0.0, 2.0)?,
            top_p: layers.within("ask.top_p", 0.01, 1.0)?,
        };
        let EndpointSettings { max_tokens, temperature, top_p, .. } = endpoint;
        Ok(Self {
            frames: layers.count("ask.frames", 128)?.get(),
            picture_pixels: layers.within("ask.picture_px", 32, 4096)?,
            max_tokens,
            temperature,
            top_p,
            answerer: if answerer.trim().is_empty() {
                AnswererChoice::None
            } else if answerer == BUNDLED {
                AnswererChoice::Bundled
            } else if answerer.contains("://") {
                AnswererChoice::Endpoint(endpoint)
            } else {
                AnswererChoice::Folder(PathBuf::from(answerer))
            },
        })
    }

    /// How words are drawn on this machine.
    pub(crate) fn sampling(&self) -> Sampling {
        let Self { max_tokens, temperature, top_p, .. } = *self;
        Sampling { max_tokens, temperature, top_p, ..Sampling::default() }
    }
}
