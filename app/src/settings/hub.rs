//! Where published models come from, and where they are kept.

use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::secret::Secret;
use super::{Layers, shared_data};

/// Where published models come from, and where they are kept.
#[derive(Clone, Debug)]
pub(crate) struct HubSettings {
    pub endpoint: String,
    pub token: Option<Secret>,
    pub offline: bool,
    pub dir: PathBuf,
}

impl HubSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self> {
        Ok(Self {
            endpoint: endpoint(layers.get("hub.endpoint")?)?,
            token: token(&layers.get::<String>("hub.token")?)?,
            offline: layers.get("hub.offline")?,
            dir: hub_dir(&layers.get::<String>("hub.dir")?)?,
        })
    }
}

fn endpoint(stated: String) -> Result<String> {
    let is_address = ["https://", "http://"].iter().any(|scheme| stated.starts_with(scheme));
    let is_plain = !stated.contains(|c: char| c.is_control() || c.is_whitespace() || c == '@');
    ensure!(
        is_address && is_plain,
        "setting `hub.endpoint`: write it as https://huggingface.co, without a user"
    );
    Ok(stated)
}

fn token(stated: &str) -> Result<Option<Secret>> {
    let is_plain = stated.chars().all(|c| c.is_ascii_graphic());
    ensure!(is_plain, "setting `hub.token` holds characters that no token has");
    Ok((!stated.is_empty()).then(|| Secret::new(stated)))
}

/// The folder of pulled models: they are large, and data folders share them. Where there is no home,
/// it lies in the working folder.
fn hub_dir(stated: &str) -> Result<PathBuf> {
    if !stated.is_empty() {
        return std::path::absolute(stated).context("setting `hub.dir` names no folder");
    }
    Ok(shared_data().unwrap_or_default().join("footage-models"))
}
