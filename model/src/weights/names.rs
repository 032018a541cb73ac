//! Names of tensors: as files have them, and as the model knows them.

/// Tensors that published checkpoints carry and embedding has no use for.
///
/// `position_ids` is a buffer that Hugging Face writes: the numbers 0, 1, 2, ... `extra_proj` is the
/// head of a pre-training loss (BT-ADAPTER.md 3.2). `logit_scale` is CLIP's temperature, `logit_bias`
/// `SigLIP`'s threshold. Batch norms count the batches that they saw. `OpenCLIP` writes the mask of
/// attention.
pub(crate) fn is_ignorable(name: &str) -> bool {
    let name = plain(name);
    name.ends_with("position_ids")
        || name.ends_with(".num_batches_tracked")
        || name.starts_with("extra_proj.")
        || ["logit_scale", "logit_bias", "attn_mask", "text.attn_mask"].contains(&name)
}

/// Beginnings of names, and what they are here: Hugging Face's `CLIPModel`, and the fine-tuned files
/// of BT-Adapter's authors (BT-ADAPTER.md 5.1).
const PREFIXES: [(&str, &str); 11] = [
    ("vision_model.embeddings.", "backbone."),
    ("vision_model.encoder.layers.", "backbone.layers."),
    ("vision_model.pre_layrnorm.", "backbone.pre_layrnorm."),
    ("vision_model.post_layernorm.", "backbone.post_layernorm."),
    ("vision_model.head.", "backbone.head."),
    ("visual_projection.", "backbone.visual_projection."),
    ("text_model.head.", "text_backbone.text_projection."),
    ("text_model.", "text_backbone.text_model."),
    ("text_projection.", "text_backbone.text_projection."),
    ("model.vision_tower.", "backbone."),
    ("model.mm_projector.", "mm_projector."),
];

/// The name under which the model knows a tensor. The authors' internal files call the branch
/// `timesFPN`, their released code `btadapter`.
pub(crate) fn known_name(name: &str) -> String {
    let name = plain(name);
    let renamed = PREFIXES
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{ours}{}", name.strip_prefix(theirs)?)));
    let renamed = renamed.or_else(|| super::relatives::known_name(name));
    renamed.unwrap_or_else(|| name.to_owned()).replace("timesFPN_", "btadapter_")
}

/// Without what `PyTorch`'s parallel training puts before every name.
fn plain(name: &str) -> &str {
    name.strip_prefix("module.").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_all_layouts_become_the_reference_s() {
        for (theirs, ours) in [
            ("vision_model.embeddings.class_embedding", "backbone.class_embedding"),
            ("vision_model.encoder.layers.3.mlp.fc1.bias", "backbone.layers.3.mlp.fc1.bias"),
            ("visual_projection.weight", "backbone.visual_projection.weight"),
            (
                "text_model.final_layer_norm.weight",
                "text_backbone.text_model.final_layer_norm.weight",
            ),
            ("text_projection.weight", "text_backbone.text_projection.weight"),
            ("backbone.timesFPN_S_layers.0.x", "backbone.btadapter_S_layers.0.x"),
            ("model.vision_tower.btadapter_cls_token", "backbone.btadapter_cls_token"),
            ("module.backbone.balance1", "backbone.balance1"),
            ("text_backbone.text_model.x", "text_backbone.text_model.x"),
            ("model.mm_projector.weight", "mm_projector.weight"),
            ("vision_model.head.probe", "backbone.head.probe"),
            ("text_model.head.weight", "text_backbone.text_projection.weight"),
            ("blocks.0.mlp.fc1.bias", "backbone.layers.0.mlp.fc1.bias"),
        ] {
            assert_eq!(known_name(theirs), ours);
        }
    }

    #[test]
    fn what_embedding_has_no_use_for_is_known() {
        for name in ["text_model.embeddings.position_ids", "extra_proj.0.bias", "logit_scale"] {
            assert!(is_ignorable(name), "{name}");
        }
        assert!(!is_ignorable("visual_projection.weight"));
    }
}
