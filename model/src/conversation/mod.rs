//! Questions about a clip: BT-Adapter's tokens, a projector, and a language model that reads both.
//!
//! The released conversation code (BT-ADAPTER.md 4) in the form of a folder with `answerer.json`
//! ([`AnswererConfig`]), which names the parts.

mod language;
mod llama;
mod parts;
mod prompt;
mod sampling;
mod script;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use footage_clip::RgbFrame;
use serde::Deserialize;

pub(crate) use self::language::{hf_config, safetensors_in};
pub use self::llama::{Llama, LlamaConfig, Memory};
pub(crate) use self::parts::{config_of, half_gates};
use self::parts::{in_folder, projector_of, tower_of};
pub use self::prompt::{END, PATCH, START, STOP, Template, Turn};
pub use self::sampling::Sampling;
use self::sampling::{Outlet, Sampler};
pub(crate) use self::script::Script;
use crate::bt_adapter::{FrameGroups, VideoTower};
use crate::model::{CONFIG_FILE, WEIGHTS_FILE};
use crate::preprocess::Preprocess;
use crate::weights::WeightsFile;
use crate::{ModelError, layers};

/// Name of the configuration in an answerer's folder.
pub const ANSWERER_FILE: &str = "answerer.json";

/// Why a question got no answer.
#[derive(Debug, thiserror::Error)]
pub enum ConversationError {
    /// A file could not be read; the error names it.
    #[error("cannot read the answerer: {0}")]
    Io(#[from] std::io::Error),
    /// `answerer.json` describes no answerer.
    #[error("{}: {why}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        why: String,
    },
    /// The image side.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The language model was refused.
    #[error("language model {}: {why}", .path.display())]
    Language {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A file of weights was refused.
    #[error("weights {}: {why}", .path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The tokenizer cannot be used, or failed on a text.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// The conversation leaves no room for an answer.
    #[error(
        "the question is too long: with the clip and what was said before it makes {tokens} tokens, \
         and the language model reads {context}"
    )]
    TooLong {
        /// Tokens of the whole prompt.
        tokens: usize,
        /// Tokens that the language model reads, with room for a short answer left.
        context: usize,
    },
    /// A tensor operation failed.
    #[error("tensor operation: {0}")]
    Tensor(#[from] candle_core::Error),
}

/// Which gates the branch has where its weights come from a file of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Gates {
    /// Those of the image model: the overlay on pre-trained weights.
    #[default]
    Kept,
    /// Half and half, as the reference has them once only its tuned file is loaded.
    Half,
}

/// `answerer.json`. Paths are relative to its folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnswererConfig {
    /// Short name, for people and logs.
    pub name: String,
    /// A model's folder, as for searching: CLIP with its branch.
    pub vision: PathBuf,
    /// Tuned weights of the branch, laid over those of `vision`.
    #[serde(default)]
    pub adapter: Option<PathBuf>,
    /// Which gates hold with `adapter`.
    #[serde(default)]
    pub gates: Gates,
    /// The projector: `mm_projector.weight [words, D]` and `.bias`.
    pub projector: PathBuf,
    /// A LLaMA: a folder of Hugging Face, or a GGUF file.
    pub language: PathBuf,
    /// Its `tokenizer.json`.
    pub tokenizer: PathBuf,
    /// How the conversation is written down.
    #[serde(default)]
    pub template: Template,
    /// Whether time is halved as the released code does it: only for weights that were tuned so.
    #[serde(default)]
    pub released_halving: bool,
    /// Most frames of a clip or moment that are looked at.
    #[serde(default = "default_frames")]
    pub frames: usize,
}

fn default_frames() -> usize {
    8
}

/// An image model, a projector and a language model, loaded.
pub struct Answerer {
    config: AnswererConfig,
    tower: VideoTower,
    preprocess: Preprocess,
    projector: layers::Linear,
    llama: Llama,
    script: Script,
    device: Device,
}

impl std::fmt::Debug for Answerer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Answerer({})", self.config.name)
    }
}

/// What a clip looks like to the language model, `[N+1, words]`.
#[derive(Clone, Debug)]
pub struct Sight(Tensor);

/// What became of a question.
#[derive(Clone, Debug, PartialEq)]
pub struct Answered {
    /// The answer, whole.
    pub text: String,
    /// Tokens of the prompt, the clip's included.
    pub prompt_tokens: usize,
    /// Tokens of the answer.
    pub answer_tokens: usize,
    /// Until the first token.
    pub first_token: Duration,
    /// In all.
    pub whole: Duration,
}

/// Tokens of an answer for which there must be room.
const LEAST_ROOM: usize = 16;

/// An answerer whose files lie in memory.
#[derive(Clone, Copy, Debug)]
pub struct AnswererFiles<'a> {
    /// `answerer.json`; the paths in it are not followed.
    pub config: &'a [u8],
    /// `model.json` and the weights of the image model.
    pub vision: [&'a [u8]; 2],
    /// Tuned weights of the branch.
    pub adapter: Option<&'a [u8]>,
    /// The projector.
    pub projector: &'a [u8],
    /// `config.json` and the weights of a LLaMA of Hugging Face, as safetensors.
    pub language: [&'a [u8]; 2],
    /// Its `tokenizer.json`.
    pub tokenizer: &'a [u8],
}

impl Answerer {
    /// Opens a folder with `answerer.json`.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, ConversationError> {
        let path = dir.join(ANSWERER_FILE);
        let config = config_of(&fs_err::read(&path)?, &path)?;
        let folder = dir.join(&config.vision);
        let json = fs_err::read(folder.join(CONFIG_FILE))?;
        let weights = WeightsFile::open(&folder.join(WEIGHTS_FILE));
        let weights = weights.map_err(|source| in_folder(&folder, source))?;
        let adapter = config.adapter.as_ref().map(|adapter| WeightsFile::open(&dir.join(adapter)));
        let adapter = adapter.transpose()?;
        let vision = tower_of(&folder, &json, weights, adapter, config.gates, device)?;
        let llama = Llama::open(&dir.join(&config.language), device)?;
        let projector = WeightsFile::open(&dir.join(&config.projector))?;
        let tokenizer = dir.join(&config.tokenizer);
        let words = fs_err::read(&tokenizer)?;
        Self::of(config, &path, vision, llama, &projector, (&tokenizer, &words), device)
    }

    /// Loads one that lies in memory.
    pub fn from_bytes(
        files: AnswererFiles<'_>,
        device: &Device,
    ) -> Result<Self, ConversationError> {
        let path = Path::new(ANSWERER_FILE);
        let config = config_of(files.config, path)?;
        let held = |bytes: &[u8]| WeightsFile::of_bytes(bytes).map_err(ModelError::from);
        let [json, weights] = files.vision;
        let adapter = files.adapter.map(held).transpose()?;
        let folder = &config.vision;
        let vision = tower_of(folder, json, held(weights)?, adapter, config.gates, device)?;
        let [language, weights] = files.language;
        let llama = Llama::from_bytes(&config.language, language, weights, device)?;
        let projector = held(files.projector)?;
        let tokenizer = (config.tokenizer.clone(), files.tokenizer);
        Self::of(config, path, vision, llama, &projector, (&tokenizer.0, tokenizer.1), device)
    }

    /// Puts the parts together, once they fit.
    fn of(
        config: AnswererConfig,
        path: &Path,
        (tower, preprocess): (VideoTower, Preprocess),
        llama: Llama,
        projector: &WeightsFile,
        (tokenizer, words): (&Path, &[u8]),
        device: &Device,
    ) -> Result<Self, ConversationError> {
        let width = tower.vision.config().width;
        let LlamaConfig { width: to, vocab, .. } = *llama.config();
        let projector = projector_of(projector, width, to, device)?;
        let script = Script::new(words, config.template, vocab).map_err(|why| {
            ConversationError::Tokenizer(format!("{}: {why}", tokenizer.display()))
        })?;
        let most = tower.branch.as_ref().map_or(128, |branch| 2 * branch.config().max_frames);
        if config.frames == 0 || config.frames > most {
            let why = format!("`frames` is {}: choose 1 to {most}", config.frames);
            return Err(ConversationError::Config { path: path.to_owned(), why });
        }
        Ok(Self { config, tower, preprocess, projector, llama, script, device: device.clone() })
    }

    /// Short name, for people and logs.
    pub fn name(&self) -> &str {
        &self.config.name
    }

    /// Side of the image tower's input, in pixels: larger frames only cost time.
    pub fn image_size(&self) -> u32 {
        self.preprocess.side() as u32
    }

    /// Most frames that are looked at; of more, [`chosen_frames`] says which.
    pub fn most_frames(&self) -> usize {
        self.config.frames
    }

    /// Looks at frames in order of time.
    pub fn look(&self, frames: &[RgbFrame]) -> Result<Sight, ConversationError> {
        let halves = self.config.released_halving;
        // An odd frame out cannot be halved: the last one stands still.
        let odd = (halves && !frames.len().is_multiple_of(2)).then(|| frames.last()).flatten();
        let (side, len) = (self.preprocess.side(), self.preprocess.len());
        let mut pixels = Vec::new();
        for frame in frames.iter().chain(odd) {
            let from = pixels.len();
            pixels.resize(from + len, 0.0);
            self.preprocess.apply(frame, &mut pixels[from..]);
        }
        let count = pixels.len() / len;
        let pixels = Tensor::from_vec(pixels, (count, 3, side, side), &self.device)?;
        let groups = if halves { FrameGroups::ReleasedHalving } else { FrameGroups::Whole };
        let tokens = self.tower.conversation_tokens(&pixels, groups)?;
        Ok(Sight(self.projector.forward(&tokens)?))
    }

    /// Answers the last of `turns` about a clip. `on_text` hears of the answer as it grows, and says
    /// whether it wants more.
    pub fn answer(
        &self,
        sight: &Sight,
        turns: &[Turn],
        sampling: &Sampling,
        mut on_text: impl FnMut(&str) -> bool,
    ) -> Result<Answered, ConversationError> {
        let began = Instant::now();
        let prompt = self.prompt(sight, turns)?;
        let prompt_tokens = prompt.dim(0)?;
        let context = self.llama.config().context;
        if prompt_tokens + LEAST_ROOM > context {
            return Err(ConversationError::TooLong { tokens: prompt_tokens, context });
        }
        let most = sampling.max_tokens.min(context - prompt_tokens);
        let ends = [STOP, "<|endoftext|>"].map(|end| self.script.marker(end));
        let mut memory = Memory::default();
        let mut sampler = Sampler::new(sampling);
        let mut outlet = Outlet::new(&sampling.stop);
        let (mut ids, mut text): (Vec<u32>, String) = (Vec::new(), String::new());
        let mut scores = self.llama.read(&prompt, &mut memory)?;
        let mut first_token = None;
        let mut is_wanted = true;
        while ids.len() < most && is_wanted {
            let next = sampler.next(&scores)?;
            first_token.get_or_insert_with(|| began.elapsed());
            if ends.contains(&Some(next)) {
                break;
            }
            ids.push(next);
            let so_far = self.script.decoded(&ids)?;
            let (new, has_ended) = outlet.take(so_far.trim_start(), false);
            text.push_str(new);
            is_wanted = (new.is_empty() || on_text(new)) && !has_ended;
            if is_wanted && ids.len() < most {
                scores = self.llama.read(&self.llama.embed(&[next])?, &mut memory)?;
            }
        }
        let so_far = self.script.decoded(&ids)?;
        let (rest, _) = outlet.take(so_far.trim_start(), true);
        if is_wanted && !rest.is_empty() {
            on_text(rest);
            text.push_str(rest);
        }
        let whole = began.elapsed();
        Ok(Answered {
            text: text.trim().to_owned(),
            prompt_tokens,
            answer_tokens: ids.len(),
            first_token: first_token.unwrap_or(whole),
            whole,
        })
    }

    /// The prompt as embeddings, `[S, words]`.
    fn prompt(&self, sight: &Sight, turns: &[Turn]) -> Result<Tensor, ConversationError> {
        let (before, after) = self.script.around_clip(turns)?;
        let (before, after) = (self.llama.embed(&before)?, self.llama.embed(&after)?);
        let (start, end) = (self.marker(START)?, self.marker(END)?);
        Ok(Tensor::cat(&[&before, &start, &sight.0, &end, &after], 0)?)
    }

    /// The row of a marker that was added to the words, where the model has it. The published tuned
    /// weights do not: their rows were never published (BT-ADAPTER.md 4.1).
    fn marker(&self, marker: &str) -> Result<Tensor, ConversationError> {
        let id = self.script.marker(marker);
        match id.filter(|id| (*id as usize) < self.llama.config().vocab) {
            Some(id) => Ok(self.llama.embed(&[id])?),
            None => Ok(self.llama.mean_word()?),
        }
    }
}

/// Which of `count` frames are looked at where at most `most` can be: the reference's choice for
/// conversations, the middle of each of `most` equal stretches.
pub fn chosen_frames(count: usize, most: usize) -> Vec<usize> {
    let kept = count.min(most);
    if kept == 0 {
        return Vec::new();
    }
    let stretch = (count - 1) as f64 / kept as f64;
    let edge = |at: usize| (stretch * at as f64).round_ties_even() as usize;
    (0..kept).map(|at| usize::midpoint(edge(at), edge(at + 1))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Choice {
        total: usize,
        num_frm: usize,
        idx: Vec<usize>,
    }

    #[test]
    fn frames_are_chosen_as_the_reference_does() {
        let choices: Vec<Choice> =
            serde_json::from_str(include_str!("../../../tests/golden/preproc/chat_frames.json"))
                .unwrap();
        assert!(choices.len() > 5);
        for Choice { total, num_frm, idx } in choices {
            assert_eq!(chosen_frames(total, num_frm), idx, "{total} frames, {num_frm} of them");
        }
        assert_eq!(chosen_frames(0, 4), [0; 0]);
    }
}
