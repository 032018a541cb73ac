//! Who answers questions, and how it is asked.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use footage_ask::{Answering, Endpoint, EndpointSettings, Key};
use footage_model::Device;
use footage_model::conversation::{Answerer, Sampling};

use super::Layers;
use crate::bundled;

/// Names the answerer that comes with Footage.
const BUNDLED: &str = "mini";

/// The settings under `[ask]`.
#[derive(Clone, Debug)]
pub(crate) struct AskSettings {
    pub answerer: AnswererChoice,
    pub frames: usize,
    pub picture_pixels: u32,
    /// Longer stretches are asked about moment by moment.
    pub whole_ns: u64,
    pub moments: usize,
    /// How an endpoint is asked.
    pub(super) endpoint: EndpointSettings,
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

impl AnswererChoice {
    /// Who is named: an endpoint by its address, a model on this machine by its folder, and the one that
    /// comes with Footage by its name.
    pub(super) fn of(named: &str, endpoint: EndpointSettings) -> Self {
        if named.trim().is_empty() {
            Self::None
        } else if named == BUNDLED {
            Self::Bundled
        } else if named.contains("://") {
            Self::Endpoint(endpoint)
        } else {
            Self::Folder(PathBuf::from(named))
        }
    }

    /// Makes it ready to answer; none where nobody was named. Nothing is sent.
    pub(crate) fn open(&self, sampling: Sampling) -> Result<Option<Answering>> {
        Ok(match self {
            Self::None => None,
            Self::Bundled => Some(Answering::Here(Arc::new(bundled::answerer()?), sampling)),
            Self::Endpoint(endpoint) => Some(Answering::Endpoint(Endpoint::new(endpoint.clone())?)),
            Self::Folder(dir) => {
                let answerer = Answerer::open(dir, &Device::Cpu)
                    .with_context(|| format!("cannot load the answerer in {}", dir.display()))?;
                Some(Answering::Here(Arc::new(answerer), sampling))
            }
        })
    }
}

impl AskSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self> {
        let answerer = plain(layers, "ask.answerer")?;
        let key = Some(plain(layers, "ask.key")?).filter(|key| !key.is_empty());
        let endpoint = EndpointSettings {
            section: "ask",
            address: answerer.clone(),
            model: plain(layers, "ask.model")?,
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
            whole_ns: layers.seconds("ask.whole_s", 1.0)?.as_nanos() as u64,
            moments: layers.count("ask.moments", 100)?.get(),
            max_tokens,
            temperature,
            top_p,
            answerer: AnswererChoice::of(&answerer, endpoint.clone()),
            endpoint,
        })
    }

    /// How words are drawn on this machine.
    pub(crate) fn sampling(&self) -> Sampling {
        let Self { max_tokens, temperature, top_p, .. } = *self;
        Sampling { max_tokens, temperature, top_p, ..Sampling::default() }
    }
}

/// A text on one line. What it holds is not repeated: it may be a key.
pub(super) fn plain(layers: &Layers, key: &str) -> Result<String> {
    let text: String = layers.get(key)?;
    ensure!(!text.chars().any(char::is_control), "setting `{key}` holds a control character");
    Ok(text)
}
