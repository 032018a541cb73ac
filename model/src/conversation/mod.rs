//! Questions about a clip: BT-Adapter's tokens, a projector, and a language model that reads both.
//!
//! The released conversation code (BT-ADAPTER.md 4) in the form of a folder with `answerer.json`
//! ([`AnswererConfig`]), which names the parts.

mod language;
mod llama;
mod prompt;
mod sampling;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use candle_core::{Device, Tensor};
use footage_clip::RgbFrame;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;

pub use self::llama::{Llama, LlamaConfig, Memory};
pub use self::prompt::{END, PATCH, START, STOP, Template, Turn};
pub use self::sampling::Sampling;
use self::sampling::{Outlet, Sampler};
use crate::bt_adapter::{FrameGroups, VideoTower};
use crate::checkpoint::Checkpoint;
use crate::config::ModelConfig;
use crate::model::{CONFIG_FILE, WEIGHTS_FILE};
use crate::ops::Ops;
use crate::preprocess::Preprocess;
use crate::weights::{WeightsFile, known_name};
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
    tokenizer: tokenizers::Tokenizer,
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

impl Answerer {
    /// Opens a folder with `answerer.json`.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, ConversationError> {
        let path = dir.join(ANSWERER_FILE);
        let config: AnswererConfig =
            serde_json::from_slice(&fs_err::read(&path)?).map_err(|error| {
                ConversationError::Config { path: path.clone(), why: error.to_string() }
            })?;
        let (tower, preprocess) = open_tower(dir, &config, device)?;
        let llama = Llama::open(&dir.join(&config.language), device)?;
        let width = tower.vision.config().width;
        let projector =
            open_projector(&dir.join(&config.projector), width, llama.config().width, device)?;
        let tokenizer = open_tokenizer(&dir.join(&config.tokenizer), llama.config().vocab)?;
        let most = tower.branch.as_ref().map_or(128, |branch| 2 * branch.config().max_frames);
        if config.frames == 0 || config.frames > most {
            let why = format!("`frames` is {}: choose 1 to {most}", config.frames);
            return Err(ConversationError::Config { path, why });
        }
        Ok(Self { config, tower, preprocess, projector, llama, tokenizer, device: device.clone() })
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
        let ends = [STOP, "<|endoftext|>"].map(|end| self.tokenizer.token_to_id(end));
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
            let so_far = self.decoded(&ids)?;
            let (new, has_ended) = outlet.take(so_far.trim_start(), false);
            text.push_str(new);
            is_wanted = (new.is_empty() || on_text(new)) && !has_ended;
            if is_wanted && ids.len() < most {
                scores = self.llama.read(&self.llama.embed(&[next])?, &mut memory)?;
            }
        }
        let so_far = self.decoded(&ids)?;
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
        // In what people and models say, the end of an answer is a word like all others.
        let plain = |text: &String| text.replace(STOP, "</ s>");
        let turns: Vec<Turn> = turns
            .iter()
            .map(|Turn { question, answer }| Turn {
                question: plain(question),
                answer: answer.as_ref().map(plain),
            })
            .collect();
        let (before, after) = self.config.template.around_clip(&turns);
        let before = self.llama.embed(&self.encoded(&before, true)?)?;
        let after = self.llama.embed(&self.encoded(&after, false)?)?;
        let (start, end) = (self.marker(START)?, self.marker(END)?);
        Ok(Tensor::cat(&[&before, &start, &sight.0, &end, &after], 0)?)
    }

    /// The row of a marker that was added to the words, where the model has it. The published tuned
    /// weights do not: their rows were never published (BT-ADAPTER.md 4.1).
    fn marker(&self, marker: &str) -> Result<Tensor, ConversationError> {
        let id = self.tokenizer.token_to_id(marker);
        match id.filter(|id| (*id as usize) < self.llama.config().vocab) {
            Some(id) => Ok(self.llama.embed(&[id])?),
            None => Ok(self.llama.mean_word()?),
        }
    }

    /// Ids of a part of the prompt, in which only the end of an answer is a marker.
    fn encoded(&self, text: &str, is_first: bool) -> Result<Vec<u32>, ConversationError> {
        let mut ids = Vec::new();
        for (at, part) in text.split(STOP).enumerate() {
            if at > 0 {
                ids.extend(self.tokenizer.token_to_id(STOP));
            }
            let encoding = self.tokenizer.encode_fast(part, is_first && at == 0);
            let encoding = encoding
                .map_err(|error| ConversationError::Tokenizer(format!("cannot encode: {error}")))?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(ids)
    }

    fn decoded(&self, ids: &[u32]) -> Result<String, ConversationError> {
        self.tokenizer
            .decode(ids, true)
            .map_err(|error| ConversationError::Tokenizer(format!("cannot decode: {error}")))
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

fn open_tower(
    dir: &Path,
    config: &AnswererConfig,
    device: &Device,
) -> Result<(VideoTower, Preprocess), ConversationError> {
    let folder = dir.join(&config.vision);
    let in_folder = |source: ModelError| match source {
        ModelError::Io(_) => source,
        source => ModelError::Folder { dir: folder.clone(), source: Box::new(source) },
    };
    let model = fs_err::read(folder.join(CONFIG_FILE))?;
    let model = ModelConfig::from_json(&model).map_err(in_folder)?;
    let mut files = vec![WeightsFile::open(&folder.join(WEIGHTS_FILE)).map_err(in_folder)?];
    if let Some(adapter) = &config.adapter {
        let path = dir.join(adapter);
        let tuned = WeightsFile::open(&path)?;
        let mut names = tuned.shapes().map(|(name, _)| known_name(name));
        if !names.any(|name| name.starts_with(IMAGE_SIDE)) {
            let why = "there is nothing of a branch in it".to_owned();
            return Err(ConversationError::Weights { path, why });
        }
        drop(names);
        files.push(tuned);
        if config.gates == Gates::Half {
            files.push(half_gates(model.architecture.vision.width)?);
        }
    }
    let checkpoint = Checkpoint::from_files(&files).map_err(in_folder)?;
    let vb = checkpoint.var_builder(device);
    let tower = VideoTower::new(&model.architecture, Ops::Fused, &vb.pp(IMAGE_SIDE))?;
    checkpoint.finish_part(IMAGE_SIDE).map_err(|error| in_folder(error.into()))?;
    let preprocess = Preprocess::new(model.preprocess.clone(), model.architecture.vision.image);
    Ok((tower, preprocess))
}

/// What the tensors of the image side are called.
const IMAGE_SIDE: &str = "backbone";

/// Gates that are open half, in place of those of a file: zeros, before the sigmoid.
fn half_gates(width: usize) -> Result<WeightsFile, ConversationError> {
    let zeros = vec![0; width * size_of::<f32>()];
    let view = || TensorView::new(Dtype::F32, vec![width], &zeros);
    let made = view().and_then(|first| {
        safetensors::serialize([("backbone.balance1", first), ("backbone.balance2", view()?)], None)
    });
    let made = made.map_err(|error| ModelError::from(candle_core::Error::wrap(error)))?;
    Ok(WeightsFile::of_bytes(&made).map_err(ModelError::from)?)
}

fn open_projector(
    path: &Path,
    from: usize,
    to: usize,
    device: &Device,
) -> Result<layers::Linear, ConversationError> {
    let file = WeightsFile::open(path)?;
    let take = |name: &str, shape: &[usize]| {
        let refused = |why: String| ConversationError::Weights { path: path.to_owned(), why };
        let tensor = Checkpoint::tensor_of(&file, &format!("mm_projector.{name}"), device)
            .map_err(|error| refused(error.to_string()))?
            .ok_or_else(|| refused(format!("there is no `mm_projector.{name}` in it")))?;
        if tensor.dims() == shape {
            return Ok(tensor);
        }
        Err(refused(format!(
            "`mm_projector.{name}` has shape {:?}; this image model and this language model need \
             {shape:?}",
            tensor.dims()
        )))
    };
    Ok(layers::Linear::of(take("weight", &[to, from])?, take("bias", &[to])?))
}

fn open_tokenizer(path: &Path, vocab: usize) -> Result<tokenizers::Tokenizer, ConversationError> {
    let refused = |why: String| ConversationError::Tokenizer(format!("{}: {why}", path.display()));
    let mut tokenizer = tokenizers::Tokenizer::from_bytes(fs_err::read(path)?)
        .map_err(|error| refused(error.to_string()))?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(|error| refused(error.to_string()))?;
    // Markers in a person's question, or in an answer, are words.
    tokenizer.set_encode_special_tokens(true);
    let most = tokenizer.get_vocab(false).values().max().copied().unwrap_or_default() as usize;
    if most >= vocab {
        let why = format!("it has words up to {most}, but the language model's table {vocab} rows");
        return Err(refused(why));
    }
    Ok(tokenizer)
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
