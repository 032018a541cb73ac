//! Reads the sizes of a model off the shapes of its weights.

use std::collections::BTreeSet;

use crate::ModelError;
use crate::checkpoint::Checkpoint;
use crate::config::{Architecture, BranchConfig, BranchMode, EndOfText, TextConfig, VisionConfig};

/// Channels of a head in every CLIP that was published with this architecture.
const HEAD_WIDTH: usize = 64;

/// The architecture whose tensors these are; gated where gates are among them.
pub(crate) fn architecture(checkpoint: &Checkpoint) -> Result<Architecture, ModelError> {
    let shape = |name: &str| {
        checkpoint.tensors().get(name).map(|tensor| tensor.dims().to_vec()).ok_or_else(|| {
            ModelError::Config(format!("sizes cannot be read off the weights: no tensor `{name}`"))
        })
    };
    let patch = shape("backbone.patch_embedding.weight")?;
    let positions = shape("backbone.position_embedding.weight")?;
    let [width, _, patch, _] = patch[..] else {
        return Err(ModelError::Config(format!(
            "patch embedding has shape {patch:?}, not four sides"
        )));
    };
    let grid = (positions[0].saturating_sub(1)).isqrt();
    let vision = VisionConfig {
        image: grid * patch,
        patch,
        width,
        heads: (width / HEAD_WIDTH).max(1),
        layers: count(checkpoint, "backbone.layers."),
        mlp: shape("backbone.layers.0.mlp.fc1.weight")?[0],
    };
    let branch_layers = count(checkpoint, "backbone.btadapter_S_layers.");
    let branch = if branch_layers == 0 {
        None
    } else {
        let gated = checkpoint.tensors().contains_key("backbone.balance1");
        Some(BranchConfig {
            layers: branch_layers,
            mode: if gated { BranchMode::Gated } else { BranchMode::Additive },
            out_norm: 1e4,
            middle_norm: 1e2,
            max_frames: shape("backbone.btadapter_time_embed.weight")?[0],
        })
    };
    let text = "text_backbone.text_model";
    let (vocab, context, text_width, text_mlp) =
        match shape(&format!("{text}.embeddings.token_embedding.weight")) {
            Ok(table) => (
                table[0],
                shape(&format!("{text}.embeddings.position_embedding.weight"))?[0],
                table.last().copied().unwrap_or(0),
                shape(&format!("{text}.encoder.layers.0.mlp.fc1.weight"))?[0],
            ),
            // Weights of the image side alone.
            Err(_) => (1, 77, HEAD_WIDTH, 1),
        };
    Ok(Architecture {
        vision,
        text: TextConfig {
            vocab,
            width: text_width,
            heads: (text_width / HEAD_WIDTH).max(1),
            layers: count(checkpoint, &format!("{text}.encoder.layers.")).max(1),
            mlp: text_mlp,
            context,
            eot: EndOfText::Argmax,
        },
        projection: shape("backbone.visual_projection.weight")?[0],
        branch,
    })
}

/// How many numbered layers stand below `prefix`.
fn count(checkpoint: &Checkpoint, prefix: &str) -> usize {
    let numbers: BTreeSet<usize> = checkpoint
        .tensors()
        .keys()
        .filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse().ok())
        .collect();
    numbers.len()
}
