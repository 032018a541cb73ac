//! Reads the sizes of a model off the shapes of its weights.

use std::collections::BTreeSet;

use crate::ModelError;
use crate::checkpoint::Checkpoint;
use crate::config::{Architecture, BranchConfig, BranchMode, EndOfText, TextConfig, VisionConfig};
use crate::family::Family;
use crate::system::System;

/// Channels of a head in every CLIP that was published with this architecture.
const HEAD_WIDTH: usize = 64;

/// Channels and heads of EVA01-CLIP-g, the only EVA-CLIP that a branch was trained for.
const EVA_G_WIDTH: usize = 1408;
const EVA_G_HEADS: usize = 16;

/// The architecture whose tensors these are; gated where gates are among them.
pub(crate) fn architecture(checkpoint: &Checkpoint) -> Result<Architecture, ModelError> {
    let [width, _, patch, _] = sides(checkpoint, "backbone.patch_embedding.weight")?;
    let [positions, _] = sides(checkpoint, "backbone.position_embedding.weight")?;
    let [mlp, _] = sides(checkpoint, "backbone.layers.0.mlp.fc1.weight")?;
    // The only published architecture whose patches have a bias and frames have states.
    let is_eva = checkpoint.shape("backbone.patch_embedding.bias").is_some();
    let family = if is_eva { Family::EvaClip } else { Family::Clip };
    let heads = match width {
        EVA_G_WIDTH if is_eva => EVA_G_HEADS,
        _ => (width / HEAD_WIDTH).max(1),
    };
    let vision = VisionConfig {
        image: positions.saturating_sub(1).isqrt().saturating_mul(patch),
        patch,
        width,
        heads,
        layers: count(checkpoint, "backbone.layers."),
        mlp,
        stages: None,
    };
    let branch_layers = count(checkpoint, "backbone.btadapter_S_layers.");
    let branch = if branch_layers == 0 {
        None
    } else {
        let gated = checkpoint.shape("backbone.balance1").is_some();
        let [max_frames, _] = sides(checkpoint, "backbone.btadapter_time_embed.weight")?;
        Some(BranchConfig {
            // The tensors of a branch without interaction are named like an additive one's; such a
            // model is opened by its folder.
            system: System::BtAdapter,
            layers: branch_layers,
            mode: if gated { BranchMode::Gated } else { BranchMode::Additive },
            out_norm: 1e4,
            middle_norm: 1e2,
            max_frames,
        })
    };
    let [projection, _] = sides(checkpoint, "backbone.visual_projection.weight")?;
    Ok(Architecture { family, vision, text: text(checkpoint)?, projection, branch })
}

fn text(checkpoint: &Checkpoint) -> Result<TextConfig, ModelError> {
    let tower = "text_backbone.text_model";
    let words = format!("{tower}.embeddings.token_embedding.weight");
    let (vocab, width, context, mlp) = if checkpoint.shape(&words).is_some() {
        let [vocab, width] = sides(checkpoint, &words)?;
        let [context, _] =
            sides(checkpoint, &format!("{tower}.embeddings.position_embedding.weight"))?;
        let [mlp, _] = sides(checkpoint, &format!("{tower}.encoder.layers.0.mlp.fc1.weight"))?;
        (vocab, width, context, mlp)
    } else {
        // Weights of the image side alone.
        (1, HEAD_WIDTH, 77, 1)
    };
    Ok(TextConfig {
        vocab,
        width,
        heads: (width / HEAD_WIDTH).max(1),
        layers: count(checkpoint, &format!("{tower}.encoder.layers.")).max(1),
        mlp,
        context,
        eot: EndOfText::Argmax,
        causal: true,
        pad: 0,
    })
}

/// The shape of a tensor that must be there and have `N` sides.
fn sides<const N: usize>(checkpoint: &Checkpoint, name: &str) -> Result<[usize; N], ModelError> {
    let refused =
        |why: String| ModelError::Config(format!("sizes cannot be read off the weights: {why}"));
    let dims = checkpoint.shape(name);
    let dims = dims.ok_or_else(|| refused(format!("no tensor `{name}`")))?;
    dims.try_into()
        .map_err(|_| refused(format!("tensor `{name}` has shape {dims:?}, not {N} sides")))
}

/// How many numbered layers stand below `prefix`.
fn count(checkpoint: &Checkpoint, prefix: &str) -> usize {
    let numbers: BTreeSet<usize> = checkpoint
        .names()
        .filter_map(|name| name.strip_prefix(prefix)?.split('.').next()?.parse().ok())
        .collect();
    numbers.len()
}

#[cfg(test)]
mod tests {
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;

    use super::*;

    const SHAPES: [(&str, &[usize]); 9] = [
        ("backbone.patch_embedding.weight", &[64, 3, 8, 8]),
        ("backbone.position_embedding.weight", &[17, 64]),
        ("backbone.layers.0.mlp.fc1.weight", &[256, 64]),
        ("backbone.btadapter_S_layers.0.norm1.weight", &[64]),
        ("backbone.btadapter_time_embed.weight", &[64, 64]),
        ("backbone.visual_projection.weight", &[32, 64]),
        ("text_backbone.text_model.embeddings.token_embedding.weight", &[100, 64]),
        ("text_backbone.text_model.embeddings.position_embedding.weight", &[77, 64]),
        ("text_backbone.text_model.encoder.layers.0.mlp.fc1.weight", &[128, 64]),
    ];

    fn read_off(shapes: &[(&str, &[usize])]) -> Result<Architecture, ModelError> {
        let zeros = vec![0; 4 * 256 * 64];
        let views = shapes.iter().map(|(name, shape)| {
            let bytes = 4 * shape.iter().product::<usize>();
            (*name, TensorView::new(Dtype::F32, shape.to_vec(), &zeros[..bytes]).unwrap())
        });
        let file = safetensors::serialize(views, None).unwrap();
        architecture(&Checkpoint::from_bytes(&file)?)
    }

    #[test]
    fn sizes_are_read_off_the_shapes() {
        let Architecture { vision, text, projection, branch, .. } = read_off(&SHAPES).unwrap();
        assert_eq!((vision.image, vision.patch, vision.width, vision.mlp), (32, 8, 64, 256));
        assert_eq!((text.vocab, text.width, text.context, text.mlp), (100, 64, 77, 128));
        assert_eq!((projection, branch.unwrap().max_frames), (32, 64));
    }

    #[test]
    fn patches_with_a_bias_are_eva_clip_s() {
        let mut shapes = SHAPES.to_vec();
        assert_eq!(read_off(&shapes).unwrap().family, Family::Clip);
        shapes.push(("patch_embed.proj.bias", &[64]));
        let Architecture { family, vision, branch, .. } = read_off(&shapes).unwrap();
        assert_eq!((family, vision.heads), (Family::EvaClip, 1));
        assert_eq!(branch.unwrap().mode, BranchMode::Additive);
        // EVA01-CLIP-g has heads of 88 channels.
        shapes[0].1 = &[1408, 3, 1, 1];
        assert_eq!(read_off(&shapes).unwrap().vision.heads, 16);
    }

    #[test]
    fn a_tensor_of_odd_rank_is_named() {
        // The branch's norm is only counted.
        for odd in (0..SHAPES.len()).filter(|odd| *odd != 3) {
            for shape in [&[][..], &[5], &[1, 2, 3, 4, 5]] {
                let mut shapes = SHAPES;
                shapes[odd].1 = shape;
                let error = read_off(&shapes).unwrap_err().to_string();
                assert!(error.contains(shapes[odd].0), "{error}");
                assert!(error.contains(&format!("{shape:?}")), "{error}");
            }
        }
    }

    #[test]
    fn a_tensor_that_is_missing_is_named() {
        for missing in (0..SHAPES.len()).filter(|at| ![3, 6].contains(at)) {
            let mut shapes = SHAPES.to_vec();
            let (name, _) = shapes.remove(missing);
            let error = read_off(&shapes).unwrap_err().to_string();
            assert!(error.contains(&format!("no tensor `{name}`")), "{error}");
        }
    }
}
