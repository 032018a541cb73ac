//! Tuning an answerer that is there: projector and branch learn, all else stays as it is.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use footage_clip::RgbFrame;
use half::f16;
use half::slice::HalfFloatSliceExt as _;
use rand::seq::SliceRandom as _;

use super::batch::Frame;
use super::looks::Look;
use super::pupil::{Open, PROJECTOR, Pupil};
use crate::bt_adapter::VideoTower;
use crate::checkpoint::Checkpoint;
use crate::config::BranchMode;
use crate::conversation::{
    ANSWERER_FILE, AnswererConfig, AnswererFiles, ConversationError, Gates, LlamaConfig, Turn,
    config_of, half_gates, hf_config, safetensors_in,
};
use crate::cpu::{CpuVideoEncoder, Precision};
use crate::encoder::VideoEncoder as _;
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::train::data::generator;
use crate::train::{Network, TrainError, Weights};
use crate::weights::WeightsFile;
use crate::{CONFIG_FILE, ModelConfig, ModelError, System, WEIGHTS_FILE};

/// A conversation about a clip: each question with its answer.
pub type Lesson = Vec<(String, String)>;

/// An answerer ready to be tuned.
pub struct Tuning {
    /// What learns. Projector and branch are open.
    pub pupil: Pupil,
    video: CpuVideoEncoder,
    sheet: AnswererConfig,
    image: u32,
    frozen_hash: blake3::Hash,
    start_hash: blake3::Hash,
}

impl std::fmt::Debug for Tuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tuning({})", self.sheet.name)
    }
}

impl From<ConversationError> for TrainError {
    fn from(error: ConversationError) -> Self {
        Self::Conversation(Box::new(error))
    }
}

impl From<ModelError> for TrainError {
    fn from(error: ModelError) -> Self {
        ConversationError::from(error).into()
    }
}

/// Which of `count` clips a step learns from, at most `batch`. An epoch takes each once, in an order of
/// its own that follows from the seed.
pub fn drawn(seed: u64, count: usize, batch: usize, step: usize) -> Vec<usize> {
    let per_epoch = count.div_ceil(batch.max(1)).max(1);
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut generator(seed, step / per_epoch, ORDER));
    order.into_iter().skip(step % per_epoch * batch).take(batch).collect()
}

/// The random stream of an epoch's order.
const ORDER: usize = 1;

/// The language model's parts.
type Language = (LlamaConfig, HashMap<String, Tensor>);

impl Tuning {
    /// An answerer in a folder with `answerer.json`. Its language model is a folder of Hugging Face;
    /// all of it is held in memory, four bytes for each value.
    ///
    /// # Errors
    /// Where it makes no answerer, or none that can be tuned.
    pub fn open(dir: &Path) -> Result<Self, TrainError> {
        let path = dir.join(ANSWERER_FILE);
        let sheet = config_of(&fs_err::read(&path)?, &path)?;
        let folder = dir.join(&sheet.vision);
        let json = fs_err::read(folder.join(CONFIG_FILE))?;
        let mut image = vec![WeightsFile::open(&folder.join(WEIGHTS_FILE))?];
        if let Some(adapter) = &sheet.adapter {
            image.push(WeightsFile::open(&dir.join(adapter))?);
        }
        let words = dir.join(&sheet.language);
        if !words.is_dir() {
            let why = "its language model is quantised (GGUF): a folder of Hugging Face is needed";
            return Err(TrainError::Answerer(why.to_owned()));
        }
        let config = hf_config(&words, &fs_err::read(words.join("config.json"))?)?;
        let mut tensors = HashMap::new();
        for file in safetensors_in(&words)? {
            tensors.extend(candle_core::safetensors::load(file, &Device::Cpu)?);
        }
        let projector = WeightsFile::open(&dir.join(&sheet.projector))?;
        let tokenizer = fs_err::read_to_string(dir.join(&sheet.tokenizer))?;
        Self::of(sheet, &json, image, (config, tensors), &projector, &tokenizer)
    }

    /// One that lies in memory.
    ///
    /// # Errors
    /// Where it makes no answerer, or none that can be tuned.
    pub fn from_bytes(files: AnswererFiles<'_>) -> Result<Self, TrainError> {
        let sheet = config_of(files.config, Path::new(ANSWERER_FILE))?;
        let held = |bytes: &[u8]| WeightsFile::of_bytes(bytes).map_err(ModelError::from);
        let [json, weights] = files.vision;
        let mut image = vec![held(weights)?];
        image.extend(files.adapter.map(held).transpose()?);
        let [config, weights] = files.language;
        let config = hf_config(&sheet.language, config)?;
        let tensors = candle_core::safetensors::load_buffer(weights, &Device::Cpu)?;
        let tokenizer = std::str::from_utf8(files.tokenizer)
            .map_err(|error| TrainError::Tokenizer(error.to_string()))?;
        Self::of(sheet, json, image, (config, tensors), &held(files.projector)?, tokenizer)
    }

    fn of(
        sheet: AnswererConfig,
        json: &[u8],
        mut image: Vec<WeightsFile>,
        (language, words): Language,
        projector: &WeightsFile,
        tokenizer: &str,
    ) -> Result<Self, TrainError> {
        let refused = |why: &str| Err(TrainError::Answerer(why.to_owned()));
        if sheet.released_halving {
            return refused("it halves time as the released code does, which training does not");
        }
        let config = ModelConfig::from_json(json)?;
        let architecture = config.architecture.clone();
        let system = architecture.system();
        if system != System::BtAdapter {
            let why =
                format!("its image model is of the system `{}`, not bt-adapter", system.name());
            return refused(&why);
        }
        match architecture.branch {
            Some(branch) if branch.mode == BranchMode::Gated && branch.layers >= 2 => {}
            _ => return refused("its image model has no BT-Adapter with gates and two layers"),
        }
        if sheet.adapter.is_some() && sheet.gates == Gates::Half {
            image.push(half_gates(architecture.vision.width)?);
        }
        let checkpoint = Checkpoint::from_files(&image)?;
        let vb = checkpoint.var_builder(&Device::Cpu);
        let tower = VideoTower::new(&architecture, Ops::Fused, &vb.pp("backbone"))
            .map_err(ModelError::from)?;
        let side = architecture.vision.image;
        let preprocess = Preprocess::new(config.preprocess.clone(), side);
        let video = CpuVideoEncoder::new(&tower, preprocess, Precision::default())?;

        let mut weights = Weights::default();
        let mut hasher = blake3::Hasher::new();
        let layers = architecture.branch.map_or(0, |branch| branch.layers);
        hasher.update(format!("{:?} {layers}\n", config.preprocess).as_bytes());
        for (name, tensor) in &checkpoint.tensors(&Device::Cpu)? {
            if !name.starts_with("backbone.") {
                continue;
            }
            weights.set(name.clone(), tensor)?;
            if !name.contains("btadapter_") && !name.contains("balance") {
                hasher.update(format!("{name} {:?}\n", tensor.dims()).as_bytes());
                for value in tensor.flatten_all()?.to_vec1::<f32>()? {
                    hasher.update(&value.to_le_bytes());
                }
            }
        }
        for (name, tensor) in &words {
            weights.set(name.clone(), tensor)?;
        }
        for part in ["weight", "bias"] {
            let name = format!("{PROJECTOR}.{part}");
            if let Some(tensor) = Checkpoint::tensor_of(projector, &name, &Device::Cpu)? {
                weights.set(name, &tensor)?;
            }
        }
        let network = Network { architecture, weights };
        let mut pupil = Pupil::of(network, language, tokenizer, sheet.template)?;
        pupil.open(Open { branch: true, language: false });
        let frozen_hash = hasher.finalize();
        for (name, var) in pupil.network.weights.iter() {
            hasher.update(name.as_bytes());
            for value in var.flatten_all()?.to_vec1::<f32>()? {
                hasher.update(&value.to_le_bytes());
            }
        }
        let start_hash = hasher.finalize();
        Ok(Self { pupil, video, sheet, image: side as u32, frozen_hash, start_hash })
    }

    /// Most frames of a clip that it looks at.
    pub fn most_frames(&self) -> usize {
        self.sheet.frames
    }

    /// Side of the image tower's input, in pixels.
    pub fn image_size(&self) -> u32 {
        self.image
    }

    /// Hash over all that [`Self::features`] depends on.
    pub fn frozen_hash(&self) -> &blake3::Hash {
        &self.frozen_hash
    }

    /// Hash over all weights before the first step.
    pub fn start_hash(&self) -> &blake3::Hash {
        &self.start_hash
    }

    /// Values of one frame's features: K - 1 states of `[1+N, D]`.
    pub fn frame_len(&self) -> usize {
        let architecture = &self.pupil.network.architecture;
        let states = architecture.branch.map_or(0, |branch| branch.layers) - 1;
        states * (1 + architecture.vision.patches()) * architecture.vision.width
    }

    /// What the frozen tower makes of a clip's frames: the outputs of its layers L-K to L-2, each
    /// `[T, 1+N, D]`.
    ///
    /// # Errors
    /// Where there is no memory for it.
    pub fn features(&self, frames: &[RgbFrame]) -> Result<Vec<f16>, TrainError> {
        let architecture = &self.pupil.network.architecture;
        let one = (1 + architecture.vision.patches()) * architecture.vision.width;
        let states = self.frame_len() / one;
        let mut all = vec![f16::ZERO; frames.len() * self.frame_len()];
        for (at, frame) in self.video.frame_features(frames)?.iter().enumerate() {
            let floats = frame.floats((states + 1) * one)?;
            for state in 0..states {
                let to = &mut all[(state * frames.len() + at) * one..][..one];
                to.convert_from_f32_slice(&floats[state * one..][..one]);
            }
        }
        Ok(all)
    }

    /// A clip of `frames` frames whose features are `states`, with what is said about it. Each answer
    /// is learned behind the questions and answers before it, where the template tells of them.
    ///
    /// # Errors
    /// Where a lesson cannot be written down, or the features have another length.
    pub fn look(
        &self,
        frames: usize,
        states: Vec<f16>,
        lessons: &[Lesson],
    ) -> Result<Look, TrainError> {
        if states.len() != frames * self.frame_len() {
            return Err(TrainError::Answerer("kept features have another length".to_owned()));
        }
        let mut asked = Vec::new();
        for lesson in lessons {
            let mut turns: Vec<Turn> = Vec::new();
            for (question, answer) in lesson {
                turns.push(Turn { question: question.clone(), answer: None });
                asked.push(Frame::said(&self.pupil.script, &turns, answer)?);
                if let Some(last) = turns.last_mut() {
                    last.answer = Some(answer.clone());
                }
            }
        }
        Ok(Look::of(frames, states, asked))
    }

    /// Whether the language model can read a lesson whole, with the clip.
    ///
    /// # Errors
    /// Where it cannot be written down.
    pub fn fits(&self, lesson: &Lesson) -> Result<bool, TrainError> {
        let mut turns: Vec<Turn> = Vec::new();
        let clip = self.pupil.network.architecture.vision.patches() + 3;
        for (question, answer) in lesson {
            turns.push(Turn { question: question.clone(), answer: None });
            let asked = Frame::said(&self.pupil.script, &turns, answer)?;
            if asked.before.len() + clip + asked.ids.len() > self.pupil.language.context {
                return Ok(false);
            }
            if let Some(last) = turns.last_mut() {
                last.answer = Some(answer.clone());
            }
        }
        Ok(true)
    }

    /// The first word of a lesson that the language model does not know, if there is one: it would read,
    /// or learn to say, that something is unknown.
    ///
    /// # Errors
    /// Where it cannot be written down.
    pub fn unknown<'a>(&self, lesson: &'a Lesson) -> Result<Option<&'a str>, TrainError> {
        for text in lesson.iter().flat_map(|(question, answer)| [question, answer]) {
            if let Some(unknown) = self.pupil.script.unknown(text)? {
                return Ok(Some(unknown));
            }
        }
        Ok(None)
    }

    /// Writes the tuned answerer into a folder. The image model lies at `vision` as seen from there,
    /// and so does the language model with its tokenizer, where `language` names them; without it, both
    /// are written too.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn export(
        &self,
        name: &str,
        vision: &Path,
        language: Option<(PathBuf, PathBuf)>,
        folder: &Path,
    ) -> Result<(), TrainError> {
        let sheet = super::AnswererSheet {
            name,
            vision: vision
                .to_str()
                .ok_or_else(|| TrainError::Export(format!("{} is not UTF-8", vision.display())))?,
            frames: self.sheet.frames,
            has_adapter: true,
        };
        match language {
            None => self.pupil.export(sheet, folder),
            Some((language, tokenizer)) => {
                self.pupil.export_beside(sheet, &language, &tokenizer, folder)
            }
        }
    }
}
