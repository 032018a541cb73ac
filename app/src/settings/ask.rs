//! Who answers questions, and how it is asked.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use footage_ask::{Answering, Endpoint, EndpointSettings, Key};
use footage_model::Device;
use footage_model::conversation::{ANSWERER_FILE, Answerer, Sampling};

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
    /// What answers follow from, besides what is asked about: enough to tell that kept ones are
    /// another's.
    pub(crate) fn identity(&self) -> Result<String> {
        let Self { frames, picture_pixels, max_tokens, temperature, top_p, .. } = self;
        let drawing = format!("{max_tokens} {temperature} {top_p}");
        Ok(match &self.answerer {
            AnswererChoice::None => String::new(),
            AnswererChoice::Bundled => {
                let files = bundled::answerer_files();
                let mut hash = blake3::Hasher::new();
                for part in [Some(files.projector), files.adapter, Some(files.language[1])] {
                    hash.update(part.unwrap_or_default());
                }
                format!("mini {} {drawing}", hash.finalize().to_hex())
            }
            AnswererChoice::Endpoint(EndpointSettings { address, model, .. }) => {
                format!("{address} {model} {frames} {picture_pixels} {drawing}")
            }
            AnswererChoice::Folder(dir) => format!("{} {drawing}", stamps(dir)?),
        })
    }

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

/// Names, sizes and times of the files of a LLaVA's folder and of the folder it sees with.
fn stamps(dir: &Path) -> Result<String> {
    let sheet = fs_err::read(dir.join(ANSWERER_FILE))?;
    let sheet: serde_json::Value = serde_json::from_slice(&sheet).unwrap_or_default();
    let vision = sheet["vision"].as_str().map(|vision| dir.join(vision));
    let mut stamps = sheet.to_string();
    for folder in [Some(dir.to_owned()), vision].into_iter().flatten() {
        let walk = walkdir::WalkDir::new(folder).max_depth(3).sort_by_file_name();
        for entry in walk.into_iter().filter_map(Result::ok).filter(|e| e.file_type().is_file()) {
            let about = entry.metadata().map(|about| (about.len(), about.modified().ok()));
            write!(stamps, " {} {:?}", entry.file_name().display(), about.ok())?;
        }
    }
    Ok(stamps)
}

/// A text on one line. What it holds is not repeated: it may be a key.
pub(super) fn plain(layers: &Layers, key: &str) -> Result<String> {
    let text: String = layers.get(key)?;
    ensure!(!text.chars().any(char::is_control), "setting `{key}` holds a control character");
    Ok(text)
}
