//! From a pupil to a folder that [`crate::conversation::Answerer`] opens.

use std::path::Path;

use candle_core::{DType, Tensor};
use half::f16;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

use super::pupil::{PROJECTOR, Pupil};
use crate::conversation::{ANSWERER_FILE, LlamaConfig};
use crate::train::TrainError;

/// What is written about an answerer beside its weights.
#[derive(Debug, Clone, Copy)]
pub struct AnswererSheet<'a> {
    /// What it calls itself.
    pub name: &'a str,
    /// Where the image model is, as seen from the answerer's folder.
    pub vision: &'a str,
    /// Most frames it looks at.
    pub frames: usize,
    /// Whether the branch was tuned, and is not the image model's any more.
    pub has_adapter: bool,
}

const ADAPTER_FILE: &str = "adapter.safetensors";
const PROJECTOR_FILE: &str = "projector.safetensors";
const LANGUAGE: &str = "language";

impl Pupil {
    /// Writes an answerer's folder, weights in f16. `answerer.json` comes last, so that a folder with
    /// one is whole.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn export(&self, sheet: AnswererSheet<'_>, folder: &Path) -> Result<(), TrainError> {
        let language = folder.join(LANGUAGE);
        fs_err::create_dir_all(&language)?;
        self.write(&language.join("model.safetensors"), |name| name.starts_with("model."))?;
        self.export_seeing(sheet, folder)?;
        fs_err::write(folder.join("tokenizer.json"), &self.tokenizer)?;
        let LlamaConfig { width, layers, heads, kv_heads, mlp, vocab, context, .. } = self.language;
        let config = json!({
            "model_type": "llama", "hidden_size": width, "intermediate_size": mlp,
            "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "vocab_size": vocab,
            "rms_norm_eps": self.language.norm_eps, "rope_theta": self.language.rope_theta,
            "max_position_embeddings": context, "tie_word_embeddings": true,
        });
        fs_err::write(language.join("config.json"), format!("{config:#}\n"))?;
        self.export_sheet(sheet, LANGUAGE, "tokenizer.json", folder)
    }

    /// The same where the language model and its tokenizer lie somewhere else, and stay there.
    pub(super) fn export_beside(
        &self,
        sheet: AnswererSheet<'_>,
        language: &Path,
        tokenizer: &Path,
        folder: &Path,
    ) -> Result<(), TrainError> {
        let text = |path: &Path| {
            let text = path.to_str().map(str::to_owned);
            text.ok_or_else(|| TrainError::Export(format!("{} is not UTF-8", path.display())))
        };
        fs_err::create_dir_all(folder)?;
        self.export_seeing(sheet, folder)?;
        self.export_sheet(sheet, &text(language)?, &text(tokenizer)?, folder)
    }

    /// Projector and, where it was tuned, branch.
    fn export_seeing(&self, sheet: AnswererSheet<'_>, folder: &Path) -> Result<(), TrainError> {
        self.write(&folder.join(PROJECTOR_FILE), |name| name.starts_with(PROJECTOR))?;
        if sheet.has_adapter {
            let last = self.network.architecture.branch.map_or(0, |branch| branch.layers) - 1;
            let unread = [format!("_T_layers.{last}."), format!("_S_layers.{last}.")];
            self.write(&folder.join(ADAPTER_FILE), |name| {
                let is_branch =
                    name.starts_with("backbone.btadapter_") || name == "backbone.balance2";
                is_branch && !unread.iter().any(|part| name.contains(part.as_str()))
            })?;
        }
        Ok(())
    }

    fn export_sheet(
        &self,
        sheet: AnswererSheet<'_>,
        language: &str,
        tokenizer: &str,
        folder: &Path,
    ) -> Result<(), TrainError> {
        let mut answerer = json!({
            "name": sheet.name, "vision": sheet.vision, "projector": PROJECTOR_FILE,
            "language": language, "tokenizer": tokenizer, "template": self.template,
            "frames": sheet.frames,
        });
        if sheet.has_adapter {
            answerer["adapter"] = json!(ADAPTER_FILE);
        }
        Ok(fs_err::write(folder.join(ANSWERER_FILE), format!("{answerer:#}\n"))?)
    }

    fn write(&self, path: &Path, is_wanted: impl Fn(&str) -> bool) -> Result<(), TrainError> {
        let refused = |error: &dyn std::fmt::Display| TrainError::Export(error.to_string());
        let bytes = |tensor: &Tensor| -> candle_core::Result<Vec<u8>> {
            let values = tensor.flatten_all()?.to_dtype(DType::F16)?.to_vec1::<f16>()?;
            Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
        };
        let mut parts = Vec::new();
        for (name, var) in self.network.weights.iter().filter(|(name, _)| is_wanted(name)) {
            parts.push((name.to_owned(), var.dims().to_vec(), bytes(var.as_tensor())?));
        }
        let views = parts
            .iter()
            .map(|(name, dims, bytes)| {
                let view = TensorView::new(Dtype::F16, dims.clone(), bytes);
                view.map(|view| (name, view)).map_err(|error| refused(&error))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let file = safetensors::serialize(views, None).map_err(|error| refused(&error))?;
        Ok(fs_err::write(path, file)?)
    }
}
