//! A loaded model: both towers, what it is, how to prepare pixels.

use std::path::Path;

use candle_core::Device;
use footage_clip::{Embedding, Fingerprint, RgbFrame, WindowSpec};

use crate::ModelError;
use crate::bt_adapter::VideoTower;
use crate::checkpoint::Checkpoint;
use crate::clip_text::TextTower;
use crate::config::{Calibration, ModelConfig, TokenizerKind};
use crate::cpu::{CpuTextEncoder, CpuVideoEncoder, Precision};
use crate::encoder::{TextEncoder, VideoEncoder};
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::tensor_encoder::{TensorTextEncoder, TensorVideoEncoder};
use crate::tokenizer::Tokenizer;

/// Name of the configuration in a model's folder.
pub const CONFIG_FILE: &str = "model.json";
/// Name of the weights in a model's folder.
pub const WEIGHTS_FILE: &str = "model.safetensors";
/// Name of the tokenizer in a model's folder, where it has its own.
pub const TOKENIZER_FILE: &str = "tokenizer.json";

/// A loaded model.
pub struct Model {
    config: ModelConfig,
    fingerprint: Fingerprint,
    video: Box<dyn VideoEncoder>,
    text: Box<dyn TextEncoder>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({}, {})", self.config.name, self.fingerprint)
    }
}

impl Model {
    /// Opens a folder with `model.json`, `model.safetensors` and, where the configuration names it,
    /// `tokenizer.json`.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::open_with(dir, device, Precision::default())
    }

    /// As [`Self::open`], with matrices on the CPU multiplied as exactly as `precision` says.
    pub fn open_with(
        dir: &Path,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let load = || {
            let config = ModelConfig::from_json(&fs_err::read(dir.join(CONFIG_FILE))?)?;
            let tokenizer = match config.tokenizer {
                TokenizerKind::Clip => None,
                TokenizerKind::File => Some(fs_err::read(dir.join(TOKENIZER_FILE))?),
            };
            let weights = map_file(&dir.join(WEIGHTS_FILE))?;
            Self::from_parts(config, &weights, tokenizer.as_deref(), device, precision)
        };
        load().map_err(|source| match source {
            // Its message names the file already.
            ModelError::Io(_) => source,
            source => ModelError::Folder { dir: dir.to_owned(), source: Box::new(source) },
        })
    }

    /// Loads a model from the bytes of its files.
    pub fn from_bytes(
        config: &[u8],
        weights: &[u8],
        tokenizer: Option<&[u8]>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::from_bytes_with(config, weights, tokenizer, device, Precision::default())
    }

    /// As [`Self::from_bytes`], with matrices on the CPU multiplied as exactly as `precision` says.
    pub fn from_bytes_with(
        config: &[u8],
        weights: &[u8],
        tokenizer: Option<&[u8]>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        Self::from_parts(ModelConfig::from_json(config)?, weights, tokenizer, device, precision)
    }

    fn from_parts(
        config: ModelConfig,
        weights: &[u8],
        tokenizer: Option<&[u8]>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, ModelError> {
        let architecture = &config.architecture;
        let checkpoint = Checkpoint::from_safetensors(weights, device)?;
        let vb = checkpoint.var_builder(device);
        let tower = VideoTower::new(architecture, Ops::Fused, &vb.pp("backbone"))?;
        let text_backbone = vb.pp("text_backbone");
        let text =
            TextTower::new(architecture.text, architecture.projection, Ops::Fused, &text_backbone)?;
        checkpoint.finish()?;

        let fingerprint = fingerprint(&config, &checkpoint, tokenizer)?;
        let words = Tokenizer::new(&config, tokenizer)?;
        let preprocess = Preprocess::new(config.preprocess.clone(), architecture.vision.image);
        let (video, text): (Box<dyn VideoEncoder>, Box<dyn TextEncoder>) = if device.is_cpu() {
            (
                Box::new(CpuVideoEncoder::new(&tower, preprocess, precision)?),
                Box::new(CpuTextEncoder::new(&text, words)?),
            )
        } else {
            (
                Box::new(TensorVideoEncoder::new(tower, preprocess)),
                Box::new(TensorTextEncoder::new(text, words)),
            )
        };
        Ok(Self { config, fingerprint, video, text })
    }

    /// Short name, for people and logs.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// What the model is.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Hash over everything that changes an embedding.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Dimension of the embeddings, P.
    pub fn dim(&self) -> usize {
        self.config.architecture.projection
    }

    /// Pixels to embeddings.
    pub fn video(&self) -> &dyn VideoEncoder {
        &*self.video
    }

    /// Words to embeddings.
    pub fn text(&self) -> &dyn TextEncoder {
        &*self.text
    }

    /// The embedding of one picture: a clip of one frame.
    pub fn embed_image(&self, frame: &RgbFrame) -> Result<Embedding, ModelError> {
        let features = self.video.frame_features(std::slice::from_ref(frame))?;
        let mut embeddings = self.video.embed_clips(&[features])?;
        embeddings.pop().ok_or(ModelError::ForeignFeatures)
    }

    /// Side of the tower's input, in pixels: larger frames only cost time.
    pub fn image_size(&self) -> u32 {
        self.config.architecture.vision.image as u32
    }

    /// How clips were cut when the model was trained.
    pub fn window(&self) -> WindowSpec {
        self.config.window
    }

    /// From a cosine to the probability that a hit is a match, where it was measured.
    pub fn calibration(&self) -> Option<Calibration> {
        self.config.calibration
    }
}

fn fingerprint(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    tokenizer: Option<&[u8]>,
) -> Result<Fingerprint, ModelError> {
    let mut hasher = blake3::Hasher::new();
    // Each part is hashed by itself, so that none can run into the next.
    hasher.update(blake3::hash(&config.canonical()?).as_bytes());
    hasher.update(checkpoint.hash().as_bytes());
    if config.tokenizer == TokenizerKind::File {
        hasher.update(blake3::hash(tokenizer.unwrap_or_default()).as_bytes());
    }
    Ok(Fingerprint::of_hash(&hasher.finalize()))
}

/// The bytes of a file of weights, without a second copy in memory.
pub(crate) fn map_file(path: &Path) -> Result<memmap2::Mmap, ModelError> {
    let file = fs_err::File::open(path)?;
    #[expect(unsafe_code, reason = "a copy of the largest models would not fit beside the model")]
    // SAFETY: the map is only read, while loading; like every reader of weights, we rely on nobody
    // writing into the file meanwhile.
    let map = unsafe { memmap2::Mmap::map(file.file()) }?;
    Ok(map)
}
