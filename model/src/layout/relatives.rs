//! How `SigLIP` and `MobileCLIP` lie on the hub.

use serde::Deserialize;

use super::{HUB_CONFIG, HUB_PREPROCESSOR, in_bytes, of_pillow};
use crate::ModelError;
use crate::config::{
    Architecture, EndOfText, Fit, PreprocessConfig, Resize, TextConfig, VisionConfig,
};
use crate::family::Family;

/// Name of the configuration in a folder of `OpenCLIP`.
pub(super) const OPEN_CLIP_CONFIG: &str = "open_clip_config.json";
/// Weights in a folder of `OpenCLIP`, the better form first.
pub(super) const OPEN_CLIP_WEIGHTS: [&str; 3] =
    ["open_clip_model.safetensors", "model.safetensors", "open_clip_pytorch_model.bin"];

/// `config.json` of a `SiglipModel`. What is left out is as in the base model at 224 pixels.
#[derive(Debug, Deserialize)]
struct SiglipConfig {
    #[serde(default)]
    vision_config: SiglipTower,
    #[serde(default)]
    text_config: SiglipTower,
}

#[derive(Debug, Default, Deserialize)]
struct SiglipTower {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    projection_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    hidden_act: Option<String>,
    vision_use_head: Option<bool>,
}

pub(super) fn siglip(json: &[u8]) -> Result<Architecture, ModelError> {
    let refused = |why: String| ModelError::Config(format!("{HUB_CONFIG}: {why}"));
    let config: SiglipConfig =
        serde_json::from_slice(json).map_err(|error| refused(error.to_string()))?;
    let (vision, text) = (config.vision_config, config.text_config);
    for tower in [&vision, &text] {
        let act = tower.hidden_act.as_deref();
        if let Some(other) = act.filter(|act| *act != "gelu_pytorch_tanh") {
            return Err(refused(format!(
                "hidden_act is `{other}`: SigLIP is computed with gelu_pytorch_tanh"
            )));
        }
        if let Some(other) = tower.layer_norm_eps.filter(|eps| (eps - 1e-6).abs() > 1e-9) {
            return Err(refused(format!(
                "layer_norm_eps is {other}: SigLIP is computed with 1e-6"
            )));
        }
    }
    if vision.vision_use_head == Some(false) {
        return Err(refused("vision_use_head is false: there is no embedding of a frame".into()));
    }
    let width = text.hidden_size.unwrap_or(768);
    let architecture = Architecture {
        family: Family::Siglip,
        vision: VisionConfig {
            image: vision.image_size.unwrap_or(224),
            patch: vision.patch_size.unwrap_or(16),
            width: vision.hidden_size.unwrap_or(768),
            heads: vision.num_attention_heads.unwrap_or(12),
            layers: vision.num_hidden_layers.unwrap_or(12),
            mlp: vision.intermediate_size.unwrap_or(3072),
            stages: None,
        },
        text: TextConfig {
            vocab: text.vocab_size.unwrap_or(32000),
            width,
            heads: text.num_attention_heads.unwrap_or(12),
            layers: text.num_hidden_layers.unwrap_or(12),
            mlp: text.intermediate_size.unwrap_or(3072),
            context: text.max_position_embeddings.unwrap_or(64),
            eot: EndOfText::Padded,
            causal: false,
            // `</s>`, which the tokenizer is asked for.
            pad: 1,
        },
        projection: text.projection_size.unwrap_or(width),
        branch: None,
    };
    if architecture.projection != architecture.vision.width {
        return Err(refused(format!(
            "texts get {} values and frames {}: they share no space",
            architecture.projection, architecture.vision.width
        )));
    }
    architecture.check()?;
    Ok(architecture)
}

/// `preprocessor_config.json` of a `SiglipImageProcessor`.
#[derive(Debug, Deserialize)]
struct SiglipPreprocessor {
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    size: Option<Sides>,
    /// Pillow's number of the filter.
    resample: Option<u32>,
}

#[derive(Debug, Deserialize)]
struct Sides {
    height: usize,
    width: usize,
}

/// Without a file: what the processor does where nothing else is said.
pub(super) fn siglip_preprocess(
    json: Option<&[u8]>,
    image: usize,
) -> Result<PreprocessConfig, ModelError> {
    let refused = |why: String| ModelError::Config(format!("{HUB_PREPROCESSOR}: {why}"));
    let read: SiglipPreprocessor = serde_json::from_slice(json.unwrap_or(b"{}"))
        .map_err(|error| refused(error.to_string()))?;
    if let Some(Sides { height, width }) = read.size
        && (height, width) != (image, image)
    {
        return Err(refused(format!(
            "size is {width}x{height}, but the image tower takes {image}x{image}"
        )));
    }
    Ok(PreprocessConfig {
        // Both sides to the square: what SigLIP was trained with.
        fit: Fit::Stretch,
        short_side: None,
        resize: of_pillow(read.resample.unwrap_or(3)).map_err(refused)?,
        mean: in_bytes(read.image_mean.unwrap_or([0.5; 3])),
        std: in_bytes(read.image_std.unwrap_or([0.5; 3])),
    })
}

/// `open_clip_config.json`.
#[derive(Debug, Deserialize)]
struct OpenClipConfig {
    model_cfg: OpenClipModel,
    #[serde(default)]
    preprocess_cfg: OpenClipPreprocess,
}

#[derive(Debug, Deserialize)]
struct OpenClipModel {
    embed_dim: usize,
    vision_cfg: OpenClipVision,
    text_cfg: OpenClipText,
}

#[derive(Debug, Deserialize)]
struct OpenClipVision {
    timm_model_name: Option<String>,
    image_size: Option<usize>,
    /// Blocks of each stage and channels of the first, where the tower is none of the published ones.
    timm_model_kwargs: Option<FastVitSizes>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct FastVitSizes {
    layers: [usize; 4],
    embed_dims: [usize; 4],
}

#[derive(Debug, Deserialize)]
struct OpenClipText {
    context_length: Option<usize>,
    vocab_size: Option<usize>,
    width: Option<usize>,
    heads: Option<usize>,
    layers: Option<usize>,
    #[serde(default)]
    no_causal_mask: bool,
    hf_model_name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct OpenClipPreprocess {
    mean: Option<[f32; 3]>,
    std: Option<[f32; 3]>,
    interpolation: Option<String>,
    resize_mode: Option<String>,
}

/// The towers and the preprocessing of a `MobileCLIP`.
pub(super) fn mobile_clip(json: &[u8]) -> Result<(Architecture, PreprocessConfig), ModelError> {
    let refused = |why: String| ModelError::Config(format!("{OPEN_CLIP_CONFIG}: {why}"));
    let OpenClipConfig { model_cfg, preprocess_cfg } =
        serde_json::from_slice(json).map_err(|error| refused(error.to_string()))?;
    let OpenClipModel { embed_dim, vision_cfg, text_cfg } = model_cfg;
    let name = vision_cfg.timm_model_name.unwrap_or_default();
    let sizes = match (name.as_str(), vision_cfg.timm_model_kwargs) {
        ("fastvit_mci1" | "fastvit_mci2", Some(sizes)) => sizes,
        ("fastvit_mci1", None) => {
            FastVitSizes { layers: [4, 12, 20, 4], embed_dims: [64, 128, 256, 512] }
        }
        ("fastvit_mci2", None) => {
            FastVitSizes { layers: [4, 12, 24, 4], embed_dims: [80, 160, 320, 640] }
        }
        _ => {
            return Err(refused(format!(
                "vision_cfg.timm_model_name is `{name}`: of OpenCLIP's models only MobileCLIP-S1 and -S2 \
                 (fastvit_mci1, fastvit_mci2) are computed here"
            )));
        }
    };
    if let Some(other) = text_cfg.hf_model_name {
        return Err(refused(format!(
            "text_cfg.hf_model_name is `{other}`: OpenCLIP's own is computed"
        )));
    }
    let [first, .., last] = sizes.embed_dims;
    if (0..4).any(|at| sizes.embed_dims[at] != first << at) {
        return Err(refused(format!(
            "embed_dims are {:?}: each is twice the last",
            sizes.embed_dims
        )));
    }
    let width = text_cfg.width.unwrap_or(512);
    let architecture = Architecture {
        family: Family::MobileClip,
        vision: VisionConfig {
            image: vision_cfg.image_size.unwrap_or(256),
            patch: 32,
            width: 2 * last,
            heads: last / 32,
            layers: sizes.layers.iter().sum(),
            mlp: 3 * last,
            stages: Some(sizes.layers),
        },
        text: TextConfig {
            vocab: text_cfg.vocab_size.unwrap_or(49408),
            width,
            heads: text_cfg.heads.unwrap_or(8),
            layers: text_cfg.layers.unwrap_or(12),
            mlp: 4 * width,
            context: text_cfg.context_length.unwrap_or(77),
            eot: EndOfText::Argmax,
            causal: !text_cfg.no_causal_mask,
            pad: 0,
        },
        projection: embed_dim,
        branch: None,
    };
    architecture.check()?;
    let OpenClipPreprocess { mean, std, interpolation, resize_mode } = preprocess_cfg;
    let resize = match interpolation.as_deref() {
        Some("bilinear") => Resize::PillowBilinear,
        None | Some("bicubic") => Resize::Bicubic,
        Some(other) => {
            return Err(refused(format!(
                "preprocess_cfg.interpolation is `{other}`: bilinear and bicubic are known"
            )));
        }
    };
    let fit = match resize_mode.as_deref() {
        None | Some("shortest") => Fit::Crop,
        Some("squash") => Fit::Stretch,
        Some(other) => {
            return Err(refused(format!(
                "preprocess_cfg.resize_mode is `{other}`: shortest and squash are known"
            )));
        }
    };
    // Apple's models take pixels of 0 to 1 as they are.
    let (mean, std) = (mean.unwrap_or([0.0; 3]), std.unwrap_or([1.0; 3]));
    let (mean, std) = (in_bytes(mean), in_bytes(std));
    Ok((architecture, PreprocessConfig { fit, short_side: None, resize, mean, std }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn siglip_s_configuration_is_understood_with_its_defaults() {
        let json = br#"{"model_type": "siglip", "text_config": {"model_type": "siglip_text_model"},
            "vision_config": {"model_type": "siglip_vision_model", "image_size": 384}}"#;
        let Architecture { family, vision, text, projection, .. } = siglip(json).unwrap();
        assert_eq!(
            (family, vision.image, vision.patch, vision.layers),
            (Family::Siglip, 384, 16, 12)
        );
        assert_eq!((text.vocab, text.context, text.causal, text.pad), (32000, 64, false, 1));
        assert_eq!((text.eot, projection), (EndOfText::Padded, 768));
        // 384 pixels are 27 patches of 14 and a rest.
        let large = br#"{"text_config": {"hidden_size": 1152, "num_attention_heads": 16},
            "vision_config": {"hidden_size": 1152, "image_size": 384, "patch_size": 14,
            "num_attention_heads": 16}}"#;
        assert_eq!(siglip(large).unwrap().vision.patches(), 27 * 27);
        let processed = siglip_preprocess(None, 384).unwrap();
        assert_eq!(
            (processed.fit, processed.mean, processed.std),
            (Fit::Stretch, [127.5; 3], [127.5; 3])
        );
    }

    #[test]
    fn mobileclip_s_configuration_is_understood() {
        let json = br#"{"model_cfg": {"embed_dim": 512,
            "vision_cfg": {"timm_model_name": "fastvit_mci2", "timm_pool": "avg", "image_size": 256},
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8,
            "layers": 12, "no_causal_mask": true}},
            "preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1], "interpolation": "bilinear",
            "resize_mode": "shortest"}}"#;
        let (Architecture { vision, text, projection, .. }, preprocess) =
            mobile_clip(json).unwrap();
        assert_eq!((vision.width, vision.heads, vision.mlp), (1280, 20, 1920));
        assert_eq!((vision.stages, vision.layers), (Some([4, 12, 24, 4]), 44));
        assert_eq!((text.mlp, text.causal, projection), (2048, false, 512));
        assert_eq!((preprocess.mean, preprocess.std), ([0.0; 3], [255.0; 3]));
        assert_eq!((preprocess.fit, preprocess.resize), (Fit::Crop, Resize::PillowBilinear));
    }

    #[test]
    fn what_would_be_computed_wrongly_is_refused() {
        for (json, part) in [
            (&br#"{"vision_config": {"hidden_act": "gelu"}}"#[..], "hidden_act"),
            (br#"{"text_config": {"layer_norm_eps": 1e-5}}"#, "layer_norm_eps"),
            (br#"{"vision_config": {"vision_use_head": false}}"#, "vision_use_head"),
            (br#"{"vision_config": {"hidden_size": 1152, "num_attention_heads": 16}}"#, "1152"),
        ] {
            let error = siglip(json).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        for (vision, part) in [
            (r#"{"timm_model_name": "vit_base_mci_224"}"#, "vit_base_mci_224"),
            (r#"{"layers": 12, "width": 768, "patch_size": 32}"#, "timm_model_name"),
        ] {
            let json = format!(
                r#"{{"model_cfg": {{"embed_dim": 8, "vision_cfg": {vision}, "text_cfg": {{}}}}}}"#
            );
            let error = mobile_clip(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let sides = br#"{"size": {"height": 256, "width": 256}}"#;
        assert!(siglip_preprocess(Some(sides), 224).unwrap_err().to_string().contains("256x256"));
    }
}
