//! `model.json`: what a model is, how it sees pixels and reads words, what it was trained with.

use footage_clip::WindowSpec;
use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::family::Family;
use crate::system::System;

/// Everything about a model that is not a weight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Short name, for people and logs.
    pub name: String,
    /// One or two sentences on what it is good for.
    #[serde(default)]
    pub description: String,
    /// Licence of the weights, as an SPDX expression where there is one.
    #[serde(default)]
    pub licence: String,
    /// Sizes of the two towers and of the branch.
    pub architecture: Architecture,
    /// From a frame's pixels to the tower's input.
    pub preprocess: PreprocessConfig,
    /// From words to token ids.
    #[serde(default)]
    pub tokenizer: TokenizerKind,
    /// Files of weights beside `model.json`; tensors of a later one replace those of earlier ones.
    #[serde(default = "own_weights", skip_serializing_if = "is_own_weights")]
    pub weights: Vec<String>,
    /// How clips were cut when the model was trained.
    pub window: WindowSpec,
    /// From a cosine to a probability, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Calibration>,
}

/// The one file of weights of a model that names none.
pub(crate) fn own_weights() -> Vec<String> {
    vec![crate::model::WEIGHTS_FILE.to_owned()]
}

fn is_own_weights(weights: &[String]) -> bool {
    weights == own_weights()
}

/// Sizes of the two towers, of the space they share and of the branch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// Which published architecture both towers have.
    #[serde(default, skip_serializing_if = "Family::is_clip")]
    pub family: Family,
    /// The image tower.
    pub vision: VisionConfig,
    /// The text tower.
    pub text: TextConfig,
    /// Dimension P of the shared space.
    pub projection: usize,
    /// The BT-Adapter branch, or what the paper sets against it; `null` is plain CLIP, frames averaged.
    pub branch: Option<BranchConfig>,
}

/// Sizes of the image tower.
///
/// That of `MobileCLIP` is convolutional, and is described as what its last stage is: `patch` pixels
/// become one position of the last map, `width` are the channels that are averaged there, half as many
/// those of the last stage, `heads` and `mlp` its attention's, and `layers` all blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisionConfig {
    /// Side of the square input, in pixels.
    pub image: usize,
    /// Side of a patch, in pixels; divides `image`.
    pub patch: usize,
    /// Channels of a token, D.
    pub width: usize,
    /// Attention heads, H; divides `width`.
    pub heads: usize,
    /// Transformer blocks, L.
    pub layers: usize,
    /// Hidden channels of a block's MLP.
    pub mlp: usize,
    /// Blocks of each of the four stages of `MobileCLIP`'s tower.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stages: Option<[usize; 4]>,
}

impl VisionConfig {
    /// Patches along one side of the picture.
    pub fn grid(&self) -> usize {
        self.image / self.patch
    }

    /// Patches of one frame, N.
    pub fn patches(&self) -> usize {
        self.grid() * self.grid()
    }

    /// Values of one patch: three colours of `patch * patch` pixels.
    pub fn patch_values(&self) -> usize {
        3 * self.patch * self.patch
    }
}

/// Sizes of the text tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// Rows of the token table.
    pub vocab: usize,
    /// Channels of a token.
    pub width: usize,
    /// Attention heads; divides `width`.
    pub heads: usize,
    /// Transformer blocks.
    pub layers: usize,
    /// Hidden channels of a block's MLP.
    pub mlp: usize,
    /// Longest text in tokens, the start and end tokens included.
    pub context: usize,
    /// Which token's output stands for the text.
    #[serde(default)]
    pub eot: EndOfText,
    /// Whether a token sees only those before it. Where not, texts are padded to the whole context.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub causal: bool,
    /// The token that pads.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub pad: u32,
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

/// Which token's output stands for the text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndOfText {
    /// The one with the largest id, as in CLIP, whose end token has the largest id of all.
    #[default]
    Argmax,
    /// The last one before the padding; ids of 0 at the end are padding.
    Last,
    /// The last one of the context, which may be padding.
    Padded,
}

/// Sizes of the BT-Adapter branch, or of another system in its place.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BranchConfig {
    /// Which system it is.
    #[serde(default, skip_serializing_if = "System::is_default")]
    pub system: System,
    /// Layers, K: one beside each of CLIP's last K blocks, or in its place; 0 where tokens are pooled.
    pub layers: usize,
    /// How BT-Adapter takes in CLIP's tokens; of no meaning to other systems, nor are its two factors.
    #[serde(default)]
    pub mode: BranchMode,
    /// Factor inside the sigmoid of the output gate.
    #[serde(default = "out_norm")]
    pub out_norm: f64,
    /// Factor inside the sigmoid of the gate between layers.
    #[serde(default = "middle_norm")]
    pub middle_norm: f64,
    /// Rows of the temporal table: the most frames a clip may have.
    #[serde(default = "max_frames")]
    pub max_frames: usize,
}

fn out_norm() -> f64 {
    1e4
}

fn middle_norm() -> f64 {
    1e2
}

fn max_frames() -> usize {
    64
}

/// How the branch takes in CLIP's tokens (BT-ADAPTER.md 2.2 and 2.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BranchMode {
    /// Learned gates weigh CLIP against the branch: the configuration of pre-training.
    #[default]
    Gated,
    /// CLIP and branch are summed: the published zero-shot configurations.
    Additive,
}

/// From a frame's pixels to the tower's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreprocessConfig {
    /// How a picture of any shape becomes a square.
    #[serde(default)]
    pub fit: Fit,
    /// Length of the short side before the centre crop, in pixels; the input's side unless given.
    /// Only for `fit = "crop"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub short_side: Option<usize>,
    /// How pixels in between are found.
    #[serde(default)]
    pub resize: Resize,
    /// Mean of red, green and blue, 0 to 255.
    pub mean: [f32; 3],
    /// Standard deviation of red, green and blue, 0 to 255.
    pub std: [f32; 3],
}

/// How a picture of any shape becomes a square.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Scale the short side, cut the middle: what CLIP was trained with.
    #[default]
    Crop,
    /// Scale both sides to the square: nothing is cut, shapes are distorted.
    Stretch,
    /// Scale the long side, fill the rest with the mean colour: nothing is cut or distorted.
    Letterbox,
    /// As many squares side by side as show all of the picture, overlapping where they must; each is
    /// looked at by itself, and the clip's embedding is the mean of theirs.
    Tile,
}

/// How pixels in between are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// The two nearest in each direction, in 11-bit fixed point, as `OpenCV`'s `INTER_LINEAR` does on
    /// 8-bit pictures: what the reference was trained with. Without anti-aliasing.
    #[default]
    Bilinear,
    /// The mean over the area of each output pixel when shrinking, otherwise bilinear: no aliasing.
    Area,
    /// Bicubic with a filter that grows as the picture shrinks, in 22-bit fixed point, as Pillow
    /// does on 8-bit pictures, and the long side rounded down: what the hub's processor does, and
    /// `OpenAI`'s CLIP was trained with.
    Bicubic,
    /// The same with a triangle in place of the cubic filter: what `MobileCLIP` was trained with. The
    /// middle is cut as torchvision does.
    PillowBilinear,
}

/// From words to token ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenizerKind {
    /// `OpenAI`'s vocabulary of 49,408 tokens, built in.
    #[default]
    #[serde(rename = "clip")]
    Clip,
    /// The file `tokenizer.json` beside the weights.
    #[serde(rename = "tokenizer.json")]
    File,
}

/// From a cosine to the probability that a hit is a match: `sigmoid(scale * cosine + offset)`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Steepness.
    pub scale: f32,
    /// The log-odds at a cosine of 0.
    pub offset: f32,
}

impl Calibration {
    /// Probability, 0 to 1, that a hit of this cosine is a match.
    pub fn probability(&self, cosine: f32) -> f32 {
        1.0 / (1.0 + (-(self.scale * cosine + self.offset)).exp())
    }
}

impl ModelConfig {
    /// Reads and checks `model.json`.
    pub fn from_json(json: &[u8]) -> Result<Self, ModelError> {
        let config: Self =
            serde_json::from_slice(json).map_err(|error| ModelError::Config(format!("{error}")))?;
        config.check()?;
        Ok(config)
    }

    /// The fields that change an embedding, in one fixed spelling, for the fingerprint.
    pub(crate) fn canonical(&self) -> Result<Vec<u8>, ModelError> {
        serde_json::to_vec(&(&self.architecture, &self.preprocess, &self.tokenizer))
            .map_err(|error| ModelError::Config(error.to_string()))
    }

    pub(crate) fn check(&self) -> Result<(), ModelError> {
        self.architecture.check()?;
        refuse_unless(
            !self.weights.is_empty() && self.weights.iter().all(|w| !w.is_empty()),
            || "weights must name at least one file".into(),
        )?;
        let preprocess = &self.preprocess;
        let all_finite =
            preprocess.mean.iter().chain(&preprocess.std).all(|value| value.is_finite());
        refuse_unless(all_finite && preprocess.std.iter().all(|std| *std > 0.0), || {
            "preprocess.mean and preprocess.std must be finite, and std above 0".into()
        })?;
        let image = self.architecture.vision.image;
        if let Some(short_side) = preprocess.short_side {
            refuse_unless(
                preprocess.fit == Fit::Crop && (image..=4096).contains(&short_side),
                || {
                    format!(
                        "preprocess.short_side is {short_side}: it needs fit \"crop\" and {image} to 4096"
                    )
                },
            )?;
        }
        if let Some(branch) = &self.architecture.branch {
            let length = self.window.length();
            refuse_unless(length <= branch.max_frames, || {
                format!(
                    "window.length is {length}, but the branch knows at most {} frames",
                    branch.max_frames
                )
            })?;
        }
        if let Some(calibration) = &self.calibration {
            refuse_unless(calibration.scale.is_finite() && calibration.offset.is_finite(), || {
                "calibration must be finite".into()
            })?;
        }
        Ok(())
    }
}

/// The largest size that any field may name: a typing error should not allocate the memory.
const LARGEST: usize = 1 << 20;

impl Architecture {
    /// What the model does about time.
    pub fn system(&self) -> System {
        self.branch.map_or(System::MeanPooled, |branch| branch.system)
    }

    /// Refuses sizes that fit no tower, or not each other.
    pub fn check(&self) -> Result<(), ModelError> {
        let Self { family, vision, text, projection, branch } = self;
        for (name, size) in [
            ("vision.image", vision.image),
            ("vision.patch", vision.patch),
            ("vision.width", vision.width),
            ("vision.heads", vision.heads),
            ("vision.layers", vision.layers),
            ("vision.mlp", vision.mlp),
            ("text.vocab", text.vocab),
            ("text.width", text.width),
            ("text.heads", text.heads),
            ("text.layers", text.layers),
            ("text.mlp", text.mlp),
            ("projection", *projection),
        ] {
            refuse_unless((1..=LARGEST).contains(&size), || {
                format!("architecture.{name} is {size}: choose 1 to {LARGEST}")
            })?;
        }
        refuse_unless(vision.patch <= vision.image, || {
            let (image, patch) = (vision.image, vision.patch);
            format!("architecture.vision.patch is {patch}: choose 1 to vision.image ({image})")
        })?;
        // SigLIP leaves the rest of a picture out that is no whole patch, and was trained so.
        let patch = if *family == Family::Siglip { 1 } else { vision.patch };
        for (whole, part, size, divisor) in [
            ("vision.image", "vision.patch", vision.image, patch),
            ("vision.width", "vision.heads", vision.width, vision.heads),
            ("text.width", "text.heads", text.width, text.heads),
        ] {
            refuse_unless(size % divisor == 0, || {
                format!("architecture.{whole} ({size}) must be a multiple of {part} ({divisor})")
            })?;
        }
        refuse_unless((3..=LARGEST).contains(&text.context), || {
            format!("architecture.text.context is {}: choose 3 to {LARGEST}", text.context)
        })?;
        self.check_family()?;
        let Some(branch) = branch else { return Ok(()) };
        refuse_unless(branch.system != System::MeanPooled, || {
            "architecture.branch.system is `mean-pooled`: write `\"branch\": null` for it".into()
        })?;
        let least = usize::from(branch.system.learns());
        let most = least * vision.layers;
        refuse_unless((least..=most).contains(&branch.layers), || {
            let vision = if least == 0 { "" } else { "vision.layers " };
            format!(
                "architecture.branch.layers is {}: `{}` takes {least} to {vision}({most})",
                branch.layers,
                branch.system.name()
            )
        })?;
        refuse_unless((1..=LARGEST).contains(&branch.max_frames), || {
            format!(
                "architecture.branch.max_frames is {}: choose 1 to {LARGEST}",
                branch.max_frames
            )
        })?;
        refuse_unless(branch.out_norm.is_finite() && branch.middle_norm.is_finite(), || {
            "architecture.branch.out_norm and middle_norm must be finite".into()
        })
    }
}

pub(crate) fn refuse_unless(holds: bool, why: impl FnOnce() -> String) -> Result<(), ModelError> {
    if holds { Ok(()) } else { Err(ModelError::Config(why())) }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn example() -> Value {
        json!({
            "name": "example",
            "architecture": {
                "vision": {"image": 32, "patch": 8, "width": 64, "heads": 4, "layers": 4, "mlp": 256},
                "text": {"vocab": 512, "width": 48, "heads": 4, "layers": 2, "mlp": 192, "context": 77},
                "projection": 32,
                "branch": {"layers": 3}
            },
            "preprocess": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
            "window": {"length": 8, "stride": 2, "rate": "2/1"}
        })
    }

    fn read(value: &Value) -> Result<ModelConfig, ModelError> {
        ModelConfig::from_json(value.to_string().as_bytes())
    }

    #[test]
    fn what_is_left_out_takes_the_values_of_pre_training() {
        let branch = read(&example()).unwrap().architecture.branch.unwrap();
        assert_eq!((branch.system, branch.mode), (System::BtAdapter, BranchMode::Gated));
        assert_eq!((branch.out_norm, branch.middle_norm, branch.max_frames), (1e4, 1e2, 64));
    }

    #[test]
    fn a_config_survives_being_written_and_read() {
        let config = read(&example()).unwrap();
        let json = serde_json::to_vec(&config).unwrap();
        assert_eq!(ModelConfig::from_json(&json).unwrap(), config);
    }

    #[test]
    fn sizes_that_fit_no_tower_are_refused_by_name() {
        for (pointer, value, part) in [
            ("/architecture/vision/patch", json!(7), "vision.image"),
            ("/architecture/vision/patch", json!(0), "vision.patch"),
            ("/architecture/vision/heads", json!(5), "vision.width"),
            ("/architecture/text/context", json!(2), "context"),
            ("/architecture/text/vocab", json!(1u64 << 40), "text.vocab"),
            ("/architecture/branch/layers", json!(5), "branch.layers"),
            ("/architecture/branch/max_frames", json!(4), "window.length"),
            ("/preprocess/std", json!([1.0, 0.0, 1.0]), "std"),
        ] {
            let mut config = example();
            *config.pointer_mut(pointer).unwrap_or(&mut Value::Null) = value.clone();
            if config.pointer(pointer).is_none() {
                config["architecture"]["branch"]["max_frames"] = value;
            }
            let error = read(&config).unwrap_err().to_string();
            assert!(error.contains(part), "{pointer}: {error}");
        }
    }

    #[test]
    fn an_unknown_field_is_refused_by_name() {
        let mut config = example();
        config["architecture"]["vision"]["depth"] = json!(3);
        assert!(read(&config).unwrap_err().to_string().contains("depth"));
    }

    #[test]
    fn probability_is_even_where_scale_and_offset_cancel() {
        let calibration = Calibration { scale: 20.0, offset: -5.0 };
        assert!((calibration.probability(0.25) - 0.5).abs() < 1e-6);
        assert!(calibration.probability(0.9) > 0.99 && calibration.probability(-0.9) < 0.01);
    }
}
