//! Files of tensors as the authors publish them: torch's archives, or safetensors.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::pickle::PthTensors;
use candle_core::{DType, Device, Tensor};

use super::ConversationError;

/// Reads all tensors of a `.safetensors`, `.bin` or `.pth` file, as `f32`, by the names that a
/// model's folder uses: without the prefixes of the trainer, and with the branch called `btadapter`.
pub(super) fn read(
    path: &Path,
    device: &Device,
) -> Result<BTreeMap<String, Tensor>, ConversationError> {
    let is_safetensors = path.extension().is_some_and(|extension| extension == "safetensors");
    let named = if is_safetensors { safetensors(path, device)? } else { torch(path, device)? };
    let mut tensors = BTreeMap::new();
    for (name, tensor) in named {
        let tensor = tensor.to_device(device)?.to_dtype(DType::F32)?;
        let known = known_name(&name);
        if tensors.insert(known.clone(), tensor).is_some() {
            return Err(refused(path, format!("tensor `{known}` is there twice")));
        }
    }
    Ok(tensors)
}

fn refused(path: &Path, why: impl Into<String>) -> ConversationError {
    ConversationError::Weights { path: path.to_owned(), why: why.into() }
}

fn safetensors(path: &Path, device: &Device) -> Result<Vec<(String, Tensor)>, ConversationError> {
    let bytes = fs_err::read(path)?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, device).map_err(|error| {
        refused(path, format!("it is no safetensors file, or cut short ({error}): copy it again"))
    })?;
    Ok(tensors.into_iter().collect())
}

fn torch(path: &Path, device: &Device) -> Result<Vec<(String, Tensor)>, ConversationError> {
    let bytes = fs_err::metadata(path)?.len();
    // mmengine wraps the weights in a dictionary; the trainer does not.
    let wrapped = PthTensors::new(path, Some("state_dict"));
    let file = match wrapped {
        Ok(file) if !file.tensor_infos().is_empty() => file,
        _ => PthTensors::new(path, None)
            .map_err(|error| refused(path, why_unreadable(path, bytes, &error.to_string())))?,
    };
    let mut tensors = Vec::new();
    for name in file.tensor_infos().keys() {
        let tensor = file.get(name).map_err(|error| {
            refused(path, format!("tensor `{name}` cannot be read ({error}): copy the file again"))
        })?;
        if let Some(tensor) = tensor {
            tensors.push((name.clone(), tensor.to_device(device)?));
        }
    }
    if tensors.is_empty() {
        return Err(refused(path, "there are no tensors in it"));
    }
    Ok(tensors)
}

/// The end of a zip archive's directory: a file without it was cut short.
const DIRECTORY_END: &[u8] = b"PK\x05\x06";

fn why_unreadable(path: &Path, bytes: u64, error: &str) -> String {
    let error = error.lines().next().unwrap_or_default();
    let Ok(content) = fs_err::read(path) else { return format!("it cannot be read: {error}") };
    if !content.starts_with(b"PK\x03\x04") {
        return format!("it is no archive of torch ({bytes} bytes; {error})");
    }
    let tail = &content[content.len().saturating_sub(66_000)..];
    if !tail.windows(DIRECTORY_END.len()).any(|window| window == DIRECTORY_END) {
        let at_16_mib = if bytes == 1 << 24 {
            ", exactly 16 MiB, as the published sft_mm_projector.bin is"
        } else {
            ""
        };
        return format!(
            "it was cut short: its directory, which stands at the end, is missing ({bytes} \
             bytes{at_16_mib}). Get it again; where it was published like that, use the projector \
             of the LLaVA it was tuned from"
        );
    }
    format!(
        "it is a whole archive of torch, but its directory is written in a way that this release \
         cannot read ({error}); files that were saved under a name of 21 letters are. Save it again \
         under another name: python3 -c \"import torch; \
         torch.save(torch.load('old.bin', map_location='cpu'), 'weights.bin')\""
    )
}

/// The trainer writes `model.vision_tower.`, pre-training `backbone.` and `timesFPN`, and parallel
/// training `module.` before all (BT-ADAPTER.md 5.1).
fn known_name(name: &str) -> String {
    let name = name.strip_prefix("module.").unwrap_or(name);
    let name = name.strip_prefix("model.").unwrap_or(name);
    let name = name.strip_prefix("vision_tower.").unwrap_or(name);
    let name = name.replace("timesFPN_", "btadapter_");
    if name.starts_with("btadapter_") || name.starts_with("balance") {
        return format!("backbone.{name}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_publisher_become_those_of_a_model_s_folder() {
        for (theirs, ours) in [
            ("model.vision_tower.btadapter_cls_token", "backbone.btadapter_cls_token"),
            ("module.model.vision_tower.btadapter_cls_token", "backbone.btadapter_cls_token"),
            ("backbone.timesFPN_cls_token", "backbone.btadapter_cls_token"),
            ("model.mm_projector.weight", "mm_projector.weight"),
            ("text_backbone.text_projection.weight", "text_backbone.text_projection.weight"),
        ] {
            assert_eq!(known_name(theirs), ours);
        }
    }
}
