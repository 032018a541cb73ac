//! The folder of a tuned answerer, which `footage ask` takes.

use std::path::Path;

use anyhow::{Context as _, Result};
use footage_model::conversation::{ANSWERER_FILE, AnswererConfig};
use footage_model::train::instruct::Tuning;
use footage_model::{CONFIG_FILE, TOKENIZER_FILE, WEIGHTS_FILE};

use crate::bundled;
use crate::settings::AnswererChoice;

/// Where the bundled image model lies in the folder.
const VISION: &str = "vision";

/// Writes the folder. What the bundled answerer has is written with it; of a LLaVA, what stays as it is
/// stays where it is.
pub(super) fn write(tuning: &Tuning, tuned: &AnswererChoice, name: &str, out: &Path) -> Result<()> {
    let AnswererChoice::Folder(dir) = tuned else {
        let (config, weights, tokenizer) = bundled::files();
        let vision = out.join(VISION);
        fs_err::create_dir_all(&vision)?;
        let files = [(WEIGHTS_FILE, weights), (TOKENIZER_FILE, tokenizer), (CONFIG_FILE, config)];
        for (name, bytes) in files {
            fs_err::write(vision.join(name), bytes)?;
        }
        return Ok(tuning.export(name, Path::new(VISION), None, out)?);
    };
    let path = dir.join(ANSWERER_FILE);
    let sheet: AnswererConfig = serde_json::from_slice(&fs_err::read(&path)?)
        .with_context(|| format!("{} is damaged", path.display()))?;
    let at = |part: &Path| fs_err::canonicalize(dir.join(part));
    let language = (at(&sheet.language)?, at(&sheet.tokenizer)?);
    Ok(tuning.export(name, &at(&sheet.vision)?, Some(language), out)?)
}
