//! Tensors of CLIP's relatives, brought into the form in which Hugging Face stores CLIP's.
//!
//! `OpenCLIP`, EVA-CLIP and `timm` spell blocks otherwise, and keep query, key and value as one matrix.
//! Rows lie one after the other in a file, so that the three parts of it are parts of its bytes.

use std::ops::Range;
use std::sync::Arc;

use super::{Bytes, Stored};

/// What the parts of a fused projection are called.
const QUERY_KEY_VALUE: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// The name of a tensor of EVA-CLIP, of its branch, or of a text tower or image tower of `OpenCLIP`;
/// none where it is none of theirs.
pub(super) fn known_name(name: &str) -> Option<String> {
    if let Some(rest) = name.strip_prefix("visual.trunk.") {
        return Some(format!("backbone.{rest}"));
    }
    let after = |prefixes: [&str; 2]| {
        prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
    };
    if let Some(rest) = text_name(after(["text_backbone.", "text."])) {
        return Some(format!("text_backbone.{rest}"));
    }
    image_name(after(["backbone.", "visual."])).map(|rest| format!("backbone.{rest}"))
}

/// `OpenCLIP`'s text tower.
fn text_name(name: &str) -> Option<String> {
    let whole = match name {
        "token_embedding.weight" => "embeddings.token_embedding.weight",
        "positional_embedding" => "embeddings.position_embedding.weight",
        "text_projection" => return Some("text_projection.weight".to_owned()),
        _ => {
            let rest = if let Some(rest) = name.strip_prefix("transformer.resblocks.") {
                format!("encoder.layers.{}", of_block(rest))
            } else {
                format!("final_layer_norm.{}", name.strip_prefix("ln_final.")?)
            };
            return Some(format!("text_model.{rest}"));
        }
    };
    Some(format!("text_model.{whole}"))
}

/// EVA-CLIP's image tower, and BT-Adapter's branch beside it (BT-ADAPTER.md 4.3).
fn image_name(name: &str) -> Option<String> {
    let whole = match name {
        "cls_token" => "class_embedding",
        "pos_embed" => "position_embedding.weight",
        "patch_embed.proj.weight" => "patch_embedding.weight",
        "patch_embed.proj.bias" => "patch_embedding.bias",
        "norm.weight" => "post_layernorm.weight",
        "norm.bias" => "post_layernorm.bias",
        "head.weight" => "visual_projection.weight",
        "head.bias" => "visual_projection.bias",
        "btadapter_cls" => "btadapter_cls_token",
        "btadapter_position.weight" => "btadapter_time_embed.weight",
        _ => {
            let stacks = [
                ("blocks.", "layers."),
                ("btadapter_S.", "btadapter_S_layers."),
                ("btadapter_T.", "btadapter_T_layers."),
            ];
            return stacks
                .iter()
                .find_map(|(theirs, ours)| Some((name.strip_prefix(theirs)?, ours)))
                .map(|(rest, ours)| format!("{ours}{}", of_block(rest)));
        }
    };
    Some(whole.to_owned())
}

/// What follows the number of a block, and the number.
fn of_block(name: &str) -> String {
    let Some((number, rest)) = name.split_once('.') else { return name.to_owned() };
    let parts = [
        ("norm1.", "layer_norm1."),
        ("norm2.", "layer_norm2."),
        ("ln_1.", "layer_norm1."),
        ("ln_2.", "layer_norm2."),
        ("attn.q_bias", "self_attn.q_proj.bias"),
        ("attn.v_bias", "self_attn.v_proj.bias"),
        ("attn.qkv.weight", "self_attn.in_proj_weight"),
        ("attn.proj.", "self_attn.out_proj."),
        ("attn.", "self_attn."),
        ("mlp.c_fc.", "mlp.fc1."),
        ("mlp.c_proj.", "mlp.fc2."),
    ];
    let known = parts
        .iter()
        .find_map(|(theirs, ours)| Some(format!("{ours}{}", rest.strip_prefix(theirs)?)));
    format!("{number}.{}", known.unwrap_or_else(|| rest.to_owned()))
}

/// A tensor in the form in which the model takes it: one in most cases, three where queries, keys and
/// values are one matrix, and turned where a file has a projection the other way round. `theirs` is the
/// file's name of it, `ours` that under which the model knows it.
pub(crate) fn in_our_form(
    theirs: &str,
    ours: &str,
    bytes: &Bytes,
    stored: &Stored,
) -> Vec<(String, Bytes, Stored)> {
    for (fused, part) in [(".in_proj_weight", "weight"), (".in_proj_bias", "bias")] {
        if let Some(owner) = ours.strip_suffix(fused)
            && let Some(ranges) = thirds(stored)
        {
            let mut shape = stored.shape.clone();
            shape[0] /= 3;
            let of = |(name, range): (&str, Range<usize>)| {
                let third = Stored { dtype: stored.dtype.clone(), shape: shape.clone(), range };
                (format!("{owner}.{name}.{part}"), bytes.clone(), third)
            };
            return QUERY_KEY_VALUE.into_iter().zip(ranges).map(of).collect();
        }
    }
    if theirs.ends_with("text_projection")
        && let Some((turned, shape)) = turned(bytes, stored)
    {
        let range = 0..turned.len();
        let stored = Stored { dtype: stored.dtype.clone(), shape, range };
        return vec![(ours.to_owned(), Bytes::Held(Arc::from(turned)), stored)];
    }
    let mut stored = stored.clone();
    // EVA-CLIP keeps sides of 1 for the batch.
    let sides = match ours {
        "backbone.class_embedding" => 1,
        "backbone.position_embedding.weight" => 2,
        _ => usize::MAX,
    };
    // Only of a file that spells them so: what is misshapen otherwise is told of as it is.
    let is_theirs = theirs.ends_with("cls_token") || theirs.ends_with("pos_embed");
    while is_theirs && stored.shape.len() > sides && stored.shape.first() == Some(&1) {
        stored.shape.remove(0);
    }
    vec![(ours.to_owned(), bytes.clone(), stored)]
}

/// The bytes of the first, second and last third of the rows.
fn thirds(stored: &Stored) -> Option<[Range<usize>; 3]> {
    let rows = *stored.shape.first()?;
    if rows == 0 || !rows.is_multiple_of(3) {
        return None;
    }
    let (from, third) = (stored.range.start, stored.range.len() / 3);
    Some([0, 1, 2].map(|at| from + at * third..from + (at + 1) * third))
}

/// A matrix with its sides exchanged.
fn turned(bytes: &Bytes, stored: &Stored) -> Option<(Vec<u8>, Vec<usize>)> {
    let &[rows, columns] = stored.shape.as_slice() else { return None };
    let values = bytes.as_slice().get(stored.range.clone())?;
    let size = values.len().checked_div(rows.checked_mul(columns)?)?;
    let mut turned = Vec::with_capacity(values.len());
    for column in 0..columns {
        for row in 0..rows {
            turned.extend_from_slice(&values[(row * columns + column) * size..][..size]);
        }
    }
    Some((turned, vec![columns, rows]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[u8]) -> Bytes {
        Bytes::Held(Arc::from(values))
    }

    fn stored(shape: &[usize], range: Range<usize>) -> Stored {
        Stored { dtype: "U8".into(), shape: shape.to_vec(), range }
    }

    #[test]
    fn names_of_relatives_become_the_hub_s() {
        for (theirs, ours) in [
            ("visual.blocks.3.attn.qkv.weight", "backbone.layers.3.self_attn.in_proj_weight"),
            ("backbone.blocks.3.attn.proj.bias", "backbone.layers.3.self_attn.out_proj.bias"),
            ("blocks.0.norm1.weight", "backbone.layers.0.layer_norm1.weight"),
            ("btadapter_S.1.attn.q_bias", "backbone.btadapter_S_layers.1.self_attn.q_proj.bias"),
            ("btadapter_T.1.temporal_fc.bias", "backbone.btadapter_T_layers.1.temporal_fc.bias"),
            ("btadapter_position.weight", "backbone.btadapter_time_embed.weight"),
            ("head.bias", "backbone.visual_projection.bias"),
            ("visual.trunk.head.fc.bias", "backbone.head.fc.bias"),
            (
                "visual.trunk.stages.0.blocks.1.mlp.fc1.bias",
                "backbone.stages.0.blocks.1.mlp.fc1.bias",
            ),
            (
                "text.transformer.resblocks.2.attn.in_proj_bias",
                "text_backbone.text_model.encoder.layers.2.self_attn.in_proj_bias",
            ),
            (
                "text_backbone.transformer.resblocks.2.mlp.c_proj.bias",
                "text_backbone.text_model.encoder.layers.2.mlp.fc2.bias",
            ),
            ("ln_final.bias", "text_backbone.text_model.final_layer_norm.bias"),
            ("text.text_projection", "text_backbone.text_projection.weight"),
        ] {
            assert_eq!(known_name(theirs).as_deref(), Some(ours), "{theirs}");
        }
        for ours in ["backbone.layers.0.mlp.fc1.bias", "backbone.btadapter_cls_token", "balance1"] {
            assert_eq!(known_name(ours), None);
        }
    }

    #[test]
    fn one_matrix_of_queries_keys_and_values_is_three_parts_of_its_bytes() {
        let file = bytes(&[9, 1, 2, 3, 4, 5, 6]);
        let parts = in_our_form("x", "a.in_proj_weight", &file, &stored(&[3, 2], 1..7));
        let names: Vec<&str> = parts.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a.q_proj.weight", "a.k_proj.weight", "a.v_proj.weight"]);
        assert_eq!(parts[1].2, stored(&[1, 2], 3..5));
        // What cannot be divided is left as it is, and refused by its name.
        let odd = in_our_form("x", "a.in_proj_weight", &file, &stored(&[2, 2], 1..5));
        assert_eq!(odd[0].0, "a.in_proj_weight");
    }

    #[test]
    fn a_projection_is_turned_and_sides_of_one_are_dropped() {
        let file = bytes(&[1, 2, 3, 4, 5, 6]);
        let [(_, held, shape)] =
            &in_our_form("text.text_projection", "t", &file, &stored(&[2, 3], 0..6))[..]
        else {
            panic!("one tensor")
        };
        assert_eq!((held.as_slice(), &shape.shape[..]), (&[1, 4, 2, 5, 3, 6][..], &[3, 2][..]));
        let class =
            in_our_form("cls_token", "backbone.class_embedding", &file, &stored(&[1, 1, 6], 0..6));
        assert_eq!(class[0].2.shape, [6]);
    }
}
