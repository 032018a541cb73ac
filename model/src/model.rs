//! A loaded model: both towers, what it is, how to prepare pixels.

use std::path::Path;

use candle_core::{DType, Device};
use footage_clip::{Embedding, Fingerprint, RgbFrame, WindowSpec};

use crate::ModelError;
use crate::bt_adapter::VideoTower;
use crate::checkpoint::{Checkpoint, CheckpointError, Coverage, FileReport};
use crate::clip_text::TextTower;
use crate::config::{Architecture, Calibration, Fit, ModelConfig, TokenizerKind};
use crate::cpu::{CpuTextEncoder, CpuVideoEncoder, Precision};
use crate::encoder::{TextEncoder, VideoEncoder};
use crate::layout::Layout;
use crate::ops::Ops;
use crate::pooled::{PooledTower, PooledVideoEncoder};
use crate::preprocess::Preprocess;
use crate::tensor_encoder::{TensorTextEncoder, TensorVideoEncoder};
use crate::tiles::TiledVideoEncoder;
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
    files: Vec<FileReport>,
    coverage: Coverage,
    video: Box<dyn VideoEncoder>,
    text: Box<dyn TextEncoder>,
}

impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Model({}, {})", self.config.name, self.fingerprint)
    }
}

impl Model {
    /// Opens a model: a folder with `model.json` and what it names, a folder as the hub has them
    /// (`config.json` and `model.safetensors` or `pytorch_model.bin`), or a file of weights whose
    /// sizes can be read off its tensors.
    pub fn open(path: &Path, device: &Device) -> Result<Self, ModelError> {
        Self::open_with(path, device, ModelOptions::default())
    }

    /// As [`Self::open`], used as `options` say.
    pub fn open_with(
        path: &Path,
        device: &Device,
        options: ModelOptions,
    ) -> Result<Self, ModelError> {
        Layout::read(path).and_then(|layout| Self::load(layout, device, options)).map_err(
            |source| match source {
                // Its message names the file already.
                ModelError::Io(_) => source,
                source => ModelError::Folder { dir: path.to_owned(), source: Box::new(source) },
            },
        )
    }

    /// Loads a model from the bytes of its files.
    pub fn from_bytes(
        config: &[u8],
        weights: &[u8],
        tokenizer: Option<&[u8]>,
        device: &Device,
    ) -> Result<Self, ModelError> {
        Self::from_bytes_with(config, weights, tokenizer, device, ModelOptions::default())
    }

    /// As [`Self::from_bytes`], used as `options` say.
    pub fn from_bytes_with(
        config: &[u8],
        weights: &[u8],
        tokenizer: Option<&[u8]>,
        device: &Device,
        options: ModelOptions,
    ) -> Result<Self, ModelError> {
        let layout = Layout {
            config: ModelConfig::from_json(config)?,
            checkpoint: Checkpoint::from_bytes(weights)?,
            tokenizer: tokenizer.map(<[u8]>::to_vec),
        };
        Self::load(layout, device, options)
    }

    /// What a model's files are, and how much of it they cover, without computing anything with
    /// them; and why it cannot be used, where it cannot.
    pub fn inspect(path: &Path) -> Result<Inspection, ModelError> {
        let Layout { config, checkpoint, .. } = Layout::read(path)?;
        let fault = plan(&config.architecture, &checkpoint)?.err();
        Ok(Inspection {
            files: checkpoint.files().to_vec(),
            coverage: checkpoint.coverage(),
            config,
            fault: fault.map(|fault| fault.to_string()),
        })
    }

    fn load(layout: Layout, device: &Device, options: ModelOptions) -> Result<Self, ModelError> {
        let Layout { mut config, checkpoint, tokenizer } = layout;
        let precision = options.precision;
        if let Some(fit) = options.fit {
            config.preprocess.fit = fit;
            // Only a crop leaves something over.
            config.preprocess.short_side.take_if(|_| fit != Fit::Crop);
        }
        let tokenizer = tokenizer.as_deref();
        let architecture = &config.architecture;
        plan(architecture, &checkpoint)??;
        let vb = checkpoint.var_builder(device);
        // One tower after the other, each packed before the next is read, so that there are never
        // two copies of everything.
        let text_backbone = vb.pp("text_backbone");
        let text = TextTower::new(architecture, Ops::Fused, &text_backbone)?;
        let fingerprint = fingerprint(&config, &checkpoint, tokenizer, precision)?;
        let words = Tokenizer::new(&config, tokenizer)?;
        let preprocess = Preprocess::new(config.preprocess.clone(), architecture.vision.image);
        let is_cpu = device.is_cpu();
        let family = architecture.family;
        if is_cpu && !family.is_clip() && precision != Precision::F32 {
            return Err(ModelError::Family {
                family: family.name(),
                what: "is computed in f32 on the processor: set model.precision to \"f32\"",
            });
        }
        let text: Box<dyn TextEncoder> = if is_cpu && family.is_clip() {
            Box::new(CpuTextEncoder::of(text, words)?)
        } else {
            Box::new(TensorTextEncoder::new(text, words))
        };
        let backbone = vb.pp("backbone");
        let video: Box<dyn VideoEncoder> = if !family.has_states() {
            let dtype = precision.dtype();
            let tower = PooledTower::new(architecture, dtype, Ops::Fused, &backbone)?;
            let dim = architecture.projection;
            Box::new(PooledVideoEncoder::new(tower, dim, preprocess, device, dtype)?)
        } else if is_cpu && family.is_clip() {
            Box::new(CpuVideoEncoder::read(architecture, &backbone, preprocess, precision)?)
        } else {
            let tower = VideoTower::new(architecture, Ops::Fused, &backbone)?;
            let tower = tower.folded(precision.dtype())?;
            Box::new(TensorVideoEncoder::new(tower, preprocess)?)
        };
        let video: Box<dyn VideoEncoder> = if config.preprocess.fit == Fit::Tile {
            Box::new(TiledVideoEncoder::new(video))
        } else {
            video
        };
        let (files, coverage) = (checkpoint.files().to_vec(), checkpoint.coverage());
        Ok(Self { config, fingerprint, files, coverage, video, text })
    }

    /// The files that the weights came from.
    pub fn files(&self) -> &[FileReport] {
        &self.files
    }

    /// How many values of the model its files have: all, or it would not have been loaded.
    pub fn coverage(&self) -> Coverage {
        self.coverage
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

/// How a model is used, other than it says itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelOptions {
    /// How exactly videos are computed.
    pub precision: Precision,
    /// How a picture becomes a square; as the model says where none.
    pub fit: Option<Fit>,
}

/// What the files of a model are, whether or not it can be used.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What the model is taken to be.
    pub config: ModelConfig,
    /// What each file is.
    pub files: Vec<FileReport>,
    /// How much of the model they cover.
    pub coverage: Coverage,
    /// Why it cannot be used.
    pub fault: Option<String>,
}

/// Asks for every tensor of the model without reading one, so that what is missing or left over is
/// known before anything costs time or memory.
fn plan(
    architecture: &Architecture,
    checkpoint: &Checkpoint,
) -> Result<Result<(), CheckpointError>, ModelError> {
    let vb = checkpoint.planner();
    let backbone = vb.pp("backbone");
    if architecture.family.has_states() {
        VideoTower::new(architecture, Ops::Fused, &backbone)?;
    } else {
        PooledTower::new(architecture, DType::F32, Ops::Fused, &backbone)?;
    }
    TextTower::new(architecture, Ops::Fused, &vb.pp("text_backbone"))?;
    Ok(checkpoint.finish())
}

fn fingerprint(
    config: &ModelConfig,
    checkpoint: &Checkpoint,
    tokenizer: Option<&[u8]>,
    precision: Precision,
) -> Result<Fingerprint, ModelError> {
    let mut hasher = blake3::Hasher::new();
    // Each part is hashed by itself, so that none can run into the next.
    hasher.update(blake3::hash(&config.canonical()?).as_bytes());
    hasher.update(checkpoint.hash().as_bytes());
    if config.tokenizer == TokenizerKind::File {
        hasher.update(blake3::hash(tokenizer.unwrap_or_default()).as_bytes());
    }
    // Rounded or not follows from the setting, not from the processor: where it has no way to round,
    // its clips are a little closer to those of one that has, never further away.
    if precision == Precision::Bf16 {
        hasher.update(blake3::hash(b"bf16").as_bytes());
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
