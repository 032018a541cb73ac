//! The forms in which a model lies on disk: our folder, a folder of the hub, a single file.

mod relatives;

use std::path::{Path, PathBuf};

use footage_clip::WindowSpec;
use serde::Deserialize;

use self::relatives::{OPEN_CLIP_CONFIG, OPEN_CLIP_WEIGHTS};
use crate::ModelError;
use crate::checkpoint::Checkpoint;
use crate::config::{
    Architecture, EndOfText, Fit, ModelConfig, PreprocessConfig, Resize, TextConfig, TokenizerKind,
    VisionConfig,
};
use crate::family::Family;
use crate::model::{CONFIG_FILE, TOKENIZER_FILE};
use crate::weights::WeightsFile;

/// Name of the configuration in a folder of the hub.
const HUB_CONFIG: &str = "config.json";
/// Tokens of `OpenAI`'s vocabulary, which is built in.
const CLIP_VOCABULARY: usize = 49408;
/// Name of the preprocessing in a folder of the hub.
const HUB_PREPROCESSOR: &str = "preprocessor_config.json";
/// Weights in a folder of the hub, the better form first.
const HUB_WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];

/// A model as it lies on disk: what it is, and its tensors, which are still in their files.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) config: ModelConfig,
    pub(crate) checkpoint: Checkpoint,
    pub(crate) tokenizer: Option<Vec<u8>>,
}

impl Layout {
    /// Reads a folder with `model.json`, a folder of the hub with `config.json`, or a file of
    /// weights, whose sizes are read off its tensors.
    pub(crate) fn read(path: &Path) -> Result<Self, ModelError> {
        if path.is_file() {
            return Self::of_file(path);
        }
        let own = path.join(CONFIG_FILE);
        let hub = path.join(HUB_CONFIG);
        let open_clip = path.join(OPEN_CLIP_CONFIG);
        if own.is_file() {
            Self::of_folder(path, &own)
        } else if open_clip.is_file() {
            Self::of_open_clip(path, &open_clip)
        } else if hub.is_file() {
            Self::of_hub(path, &hub)
        } else {
            Self::of_folder(path, &own)
        }
    }

    fn of_folder(dir: &Path, config: &Path) -> Result<Self, ModelError> {
        let config = ModelConfig::from_json(&fs_err::read(config)?)?;
        let tokenizer = match config.tokenizer {
            TokenizerKind::Clip => None,
            TokenizerKind::File => Some(fs_err::read(dir.join(TOKENIZER_FILE))?),
        };
        let files = config.weights.iter().map(|file| WeightsFile::open(&dir.join(file)));
        let files = files.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { config, checkpoint: Checkpoint::from_files(&files)?, tokenizer })
    }

    fn of_hub(dir: &Path, config: &Path) -> Result<Self, ModelError> {
        let architecture = hub_architecture(&fs_err::read(config)?)?;
        let preprocessor = dir.join(HUB_PREPROCESSOR);
        let preprocessor =
            preprocessor.is_file().then(|| fs_err::read(&preprocessor)).transpose()?;
        let preprocess = match (architecture.family, preprocessor.as_deref()) {
            (Family::Siglip, json) => {
                relatives::siglip_preprocess(json, architecture.vision.image)?
            }
            (_, Some(json)) => hub_preprocess(json)?,
            (_, None) => hub_default_preprocess(),
        };
        Self::of_published(dir, &HUB_WEIGHTS, architecture, preprocess)
    }

    fn of_open_clip(dir: &Path, config: &Path) -> Result<Self, ModelError> {
        let (architecture, preprocess) = relatives::mobile_clip(&fs_err::read(config)?)?;
        Self::of_published(dir, &OPEN_CLIP_WEIGHTS, architecture, preprocess)
    }

    /// With the first of these weights that is there.
    fn of_published(
        dir: &Path,
        weights: &[&str],
        architecture: Architecture,
        preprocess: PreprocessConfig,
    ) -> Result<Self, ModelError> {
        let found = weights.iter().map(|name| dir.join(name)).find(|path| path.is_file());
        let weights = found.unwrap_or_else(|| dir.join(weights[0]));
        let checkpoint = Checkpoint::from_files(&[WeightsFile::open(&weights)?])?;
        let mut config = published(name_of(dir), architecture, preprocess)?;
        let is_built_in = match config.architecture.family {
            Family::Clip | Family::EvaClip => true,
            Family::Siglip => false,
            Family::MobileClip => config.architecture.text.vocab == CLIP_VOCABULARY,
        };
        if is_built_in {
            return Ok(Self { config, checkpoint, tokenizer: None });
        }
        config.tokenizer = TokenizerKind::File;
        let tokenizer = Some(fs_err::read(dir.join(TOKENIZER_FILE))?);
        Ok(Self { config, checkpoint, tokenizer })
    }

    fn of_file(path: &Path) -> Result<Self, ModelError> {
        let checkpoint = Checkpoint::from_files(&[WeightsFile::open(path)?])?;
        let architecture = crate::infer::architecture(&checkpoint)?;
        // Only BT-Adapter's authors publish a branch.
        let preprocess = if architecture.branch.is_some() {
            reference_preprocess()
        } else {
            hub_default_preprocess()
        };
        let config = published(name_of(path), architecture, preprocess)?;
        Ok(Self { config, checkpoint, tokenizer: None })
    }
}

fn name_of(path: &Path) -> String {
    let whole = fs_err::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
    whole.file_stem().map_or_else(|| "model".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

/// The configuration of a model that says nothing about clips: eight frames, two a second, as the
/// reference samples short videos.
fn published(
    name: String,
    architecture: Architecture,
    preprocess: PreprocessConfig,
) -> Result<ModelConfig, ModelError> {
    let rate = footage_clip::Rate::try_new(2, 1);
    let window = rate.and_then(|rate| WindowSpec::try_new(8, 4, rate));
    let window = window.map_err(|error| ModelError::Config(error.to_string()))?;
    let config = ModelConfig {
        name,
        description: String::new(),
        licence: String::new(),
        architecture,
        preprocess,
        tokenizer: TokenizerKind::Clip,
        weights: crate::config::own_weights(),
        window,
        calibration: None,
    };
    config.check()?;
    Ok(config)
}

/// What the reference does to a frame (BT-ADAPTER.md 6).
pub fn reference_preprocess() -> PreprocessConfig {
    PreprocessConfig {
        fit: Fit::Crop,
        short_side: None,
        resize: Resize::Bilinear,
        mean: [122.771, 116.746, 104.093],
        std: [68.500, 66.632, 70.323],
    }
}

/// What the hub's processor does where nothing else is said.
fn hub_default_preprocess() -> PreprocessConfig {
    PreprocessConfig {
        fit: Fit::Crop,
        short_side: None,
        resize: Resize::Bicubic,
        mean: [0.481_454_66, 0.457_827_5, 0.408_210_73].map(|mean| mean * 255.0),
        std: [0.268_629_54, 0.261_302_6, 0.275_777_1].map(|std| std * 255.0),
    }
}

/// `config.json` of a `CLIPModel`. What is left out is as in ViT-B/32.
#[derive(Debug, Deserialize)]
struct HubConfig {
    model_type: String,
    projection_dim: Option<usize>,
    #[serde(default)]
    vision_config: HubTower,
    #[serde(default)]
    text_config: HubTower,
}

#[derive(Debug, Default, Deserialize)]
struct HubTower {
    hidden_size: Option<usize>,
    intermediate_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    image_size: Option<usize>,
    patch_size: Option<usize>,
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    hidden_act: Option<String>,
}

fn hub_architecture(json: &[u8]) -> Result<Architecture, ModelError> {
    let refused = |why: String| ModelError::Config(format!("{HUB_CONFIG}: {why}"));
    let config: HubConfig =
        serde_json::from_slice(json).map_err(|error| refused(error.to_string()))?;
    match config.model_type.as_str() {
        "clip" => {}
        "siglip" => return relatives::siglip(json),
        other => {
            return Err(refused(format!(
                "model_type is `{other}`: the architectures of clip and siglip are computed here"
            )));
        }
    }
    for tower in [&config.vision_config, &config.text_config] {
        if let Some(other) = tower.hidden_act.as_deref().filter(|act| *act != "quick_gelu") {
            return Err(refused(format!("hidden_act is `{other}`: only quick_gelu is computed")));
        }
    }
    let (vision, text) = (config.vision_config, config.text_config);
    let architecture = Architecture {
        family: Family::Clip,
        vision: VisionConfig {
            image: vision.image_size.unwrap_or(224),
            patch: vision.patch_size.unwrap_or(32),
            width: vision.hidden_size.unwrap_or(768),
            heads: vision.num_attention_heads.unwrap_or(12),
            layers: vision.num_hidden_layers.unwrap_or(12),
            mlp: vision.intermediate_size.unwrap_or(3072),
            stages: None,
        },
        text: TextConfig {
            vocab: text.vocab_size.unwrap_or(49408),
            width: text.hidden_size.unwrap_or(512),
            heads: text.num_attention_heads.unwrap_or(8),
            layers: text.num_hidden_layers.unwrap_or(12),
            mlp: text.intermediate_size.unwrap_or(2048),
            context: text.max_position_embeddings.unwrap_or(77),
            eot: EndOfText::Argmax,
            causal: true,
            pad: 0,
        },
        projection: config.projection_dim.unwrap_or(512),
        branch: None,
    };
    architecture.check()?;
    Ok(architecture)
}

/// `preprocessor_config.json` of a `CLIPImageProcessor`, in its older and its newer spelling.
#[derive(Debug, Deserialize)]
struct HubPreprocessor {
    image_mean: Option<[f32; 3]>,
    image_std: Option<[f32; 3]>,
    size: Option<HubSize>,
    /// Pillow's number of the filter.
    resample: Option<u32>,
    do_center_crop: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum HubSize {
    Side(usize),
    Named { shortest_edge: usize },
}

/// Pillow's filter of that number.
fn of_pillow(number: u32) -> Result<Resize, String> {
    match number {
        3 => Ok(Resize::Bicubic),
        other => Err(format!(
            "resample is {other}: only 3, bicubic, which every published model has, is known"
        )),
    }
}

/// From units of 0 to 1 to those of bytes.
fn in_bytes(values: [f32; 3]) -> [f32; 3] {
    values.map(|value| value * 255.0)
}

fn hub_preprocess(json: &[u8]) -> Result<PreprocessConfig, ModelError> {
    let refused = |why: String| ModelError::Config(format!("{HUB_PREPROCESSOR}: {why}"));
    let read: HubPreprocessor =
        serde_json::from_slice(json).map_err(|error| refused(error.to_string()))?;
    let defaults = hub_default_preprocess();
    let resize = of_pillow(read.resample.unwrap_or(3)).map_err(refused)?;
    if read.do_center_crop == Some(false) {
        return Err(refused("do_center_crop is false: no published CLIP does without".into()));
    }
    let short_side = read.size.map(|size| match size {
        HubSize::Side(side) | HubSize::Named { shortest_edge: side } => side,
    });
    Ok(PreprocessConfig {
        fit: Fit::Crop,
        short_side,
        resize,
        mean: read.image_mean.map_or(defaults.mean, in_bytes),
        std: read.image_std.map_or(defaults.std, in_bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hub_s_configuration_of_l14_at_336_is_understood() {
        let json = br#"{"model_type": "clip", "projection_dim": 768, "logit_scale_init_value": 2.6592,
            "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12},
            "vision_config": {"hidden_size": 1024, "image_size": 336, "intermediate_size": 4096,
            "num_attention_heads": 16, "num_hidden_layers": 24, "patch_size": 14,
            "hidden_act": "quick_gelu"}}"#;
        let Architecture { vision, text, projection, branch, .. } = hub_architecture(json).unwrap();
        assert_eq!((vision.image, vision.patch, vision.width, vision.layers), (336, 14, 1024, 24));
        assert_eq!((text.vocab, text.width, text.heads, text.context), (49408, 768, 12, 77));
        assert_eq!((projection, branch), (768, None));
    }

    #[test]
    fn models_that_would_be_computed_wrongly_are_refused() {
        for (json, part) in [
            (&br#"{"model_type": "blip"}"#[..], "blip"),
            (br#"{"model_type": "clip", "vision_config": {"hidden_act": "gelu"}}"#, "gelu"),
            (br#"{"model_type": "clip", "vision_config": {"patch_size": 0}}"#, "patch"),
            (b"no json", "config.json"),
        ] {
            let error = hub_architecture(json).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn both_spellings_of_the_hub_s_preprocessing_are_understood() {
        for json in [
            &br#"{"crop_size": 224, "do_center_crop": true, "resample": 3, "size": 336,
                "image_mean": [0.5, 0.5, 0.5], "image_std": [0.25, 0.25, 0.25]}"#[..],
            br#"{"size": {"shortest_edge": 336}, "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.25, 0.25, 0.25]}"#,
        ] {
            let read = hub_preprocess(json).unwrap();
            assert_eq!((read.short_side, read.resize), (Some(336), Resize::Bicubic));
            assert_eq!((read.mean, read.std), ([127.5; 3], [63.75; 3]));
        }
        hub_preprocess(br#"{"resample": 2}"#).unwrap_err();
    }
}
