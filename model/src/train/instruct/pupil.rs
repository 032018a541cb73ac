//! The model that learns to answer.

use std::collections::HashMap;

use candle_core::{D, Device, Result as Candle, Tensor};
use rand_chacha::ChaCha8Rng;

use super::batch::{Asked, Batch, Frame};
use super::looks::{Look, Pooling};
use crate::conversation::{LlamaConfig, Script, Template};
use crate::train::ops::{self, Passage};
use crate::train::{CLOSED, Network, Optimiser, TrainError};

/// What learns, besides the projector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Open {
    /// The branch. The paper's tuning opens it.
    pub branch: bool,
    /// The language model. The paper's is frozen; one that is made from nothing cannot be.
    pub language: bool,
}

/// A frozen tower, a branch, a projector and a language model.
pub struct Pupil {
    /// The tower and the branch; its weights are those of all parts.
    pub network: Network,
    pub(super) language: LlamaConfig,
    pub(super) script: Script,
    pub(super) template: Template,
    pub(super) tokenizer: String,
    frame: Frame,
    /// Whether words are told by a head of its own, and not by the table of words.
    has_head: bool,
}

impl std::fmt::Debug for Pupil {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pupil({:?})", self.language)
    }
}

/// Where a parameter of the language model is, as Hugging Face names it.
fn layer(at: usize, part: &str) -> String {
    format!("model.layers.{at}.{part}.weight")
}

const WORDS: &str = "model.embed_tokens.weight";
const NORM: &str = "model.norm.weight";
const HEAD: &str = "lm_head.weight";
pub(super) const PROJECTOR: &str = "mm_projector";

impl Pupil {
    /// A new projector and a new language model, of these sizes and as many words as `tokenizer` has,
    /// beside a tower with its branch.
    ///
    /// # Errors
    /// Where the tokenizer cannot be used.
    pub fn new(
        mut network: Network,
        language: &LlamaConfig,
        tokenizer: &str,
        template: Template,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self, TrainError> {
        let rows = Script::rows(tokenizer.as_bytes()).map_err(TrainError::Tokenizer)?;
        let language = LlamaConfig { vocab: rows, turns_neighbours: false, ..language.clone() };
        let script =
            Script::new(tokenizer.as_bytes(), template, rows).map_err(TrainError::Tokenizer)?;
        let frame = Frame::of(&script)?;
        let LlamaConfig { width: d, mlp, layers, heads, kv_heads, .. } = language;
        if kv_heads != heads {
            let why = "a language model is trained with as many heads of keys as of queries";
            return Err(candle_core::Error::Msg(why.to_owned()).into());
        }
        let w = &mut network.weights;
        let spread = (d as f32).sqrt().recip();
        // What a block adds to its input starts small.
        let share = (2.0 * layers as f32).sqrt().recip();
        w.normal(WORDS, &[rows, d], spread, rng)?;
        for at in 0..layers {
            for part in ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"] {
                w.normal(layer(at, part), &[d, d], spread, rng)?;
            }
            w.normal(layer(at, "self_attn.o_proj"), &[d, d], spread * share, rng)?;
            w.normal(layer(at, "mlp.gate_proj"), &[mlp, d], spread, rng)?;
            w.normal(layer(at, "mlp.up_proj"), &[mlp, d], spread, rng)?;
            let narrow = (mlp as f32).sqrt().recip() * share;
            w.normal(layer(at, "mlp.down_proj"), &[d, mlp], narrow, rng)?;
            w.fill(layer(at, "input_layernorm"), &[d], 1.0)?;
            w.fill(layer(at, "post_attention_layernorm"), &[d], 1.0)?;
        }
        w.fill(NORM, &[d], 1.0)?;
        let seen = network.architecture.vision.width;
        let spread = (seen as f32).sqrt().recip() * spread;
        w.normal(format!("{PROJECTOR}.weight"), &[d, seen], spread, rng)?;
        w.fill(format!("{PROJECTOR}.bias"), &[d], 0.0)?;
        let tokenizer = tokenizer.to_owned();
        Ok(Self { network, language, script, template, tokenizer, frame, has_head: false })
    }

    /// A tower with its branch beside a projector and a language model that are there: all of their
    /// parameters are among the network's, under the names of Hugging Face.
    ///
    /// # Errors
    /// Where one is missing or has another shape, or the tokenizer cannot be used.
    pub(super) fn of(
        network: Network,
        language: LlamaConfig,
        tokenizer: &str,
        template: Template,
    ) -> Result<Self, TrainError> {
        let LlamaConfig { width: d, mlp, layers, heads, kv_heads, vocab, .. } = language;
        if kv_heads != heads {
            let why = "only language models with as many heads of keys as of queries can be tuned";
            return Err(TrainError::Answerer(why.to_owned()));
        }
        let script =
            Script::new(tokenizer.as_bytes(), template, vocab).map_err(TrainError::Tokenizer)?;
        let frame = Frame::of(&script)?;
        let shapes: HashMap<&str, &[usize]> =
            network.weights.iter().map(|(name, var)| (name, var.dims())).collect();
        let seen = network.architecture.vision.width;
        let mut needed = vec![
            (WORDS.to_owned(), vec![vocab, d]),
            (NORM.to_owned(), vec![d]),
            (format!("{PROJECTOR}.weight"), vec![d, seen]),
            (format!("{PROJECTOR}.bias"), vec![d]),
        ];
        for at in 0..layers {
            for part in ["q_proj", "k_proj", "v_proj", "o_proj"] {
                needed.push((layer(at, &format!("self_attn.{part}")), vec![d, d]));
            }
            needed.push((layer(at, "mlp.gate_proj"), vec![mlp, d]));
            needed.push((layer(at, "mlp.up_proj"), vec![mlp, d]));
            needed.push((layer(at, "mlp.down_proj"), vec![d, mlp]));
            needed.push((layer(at, "input_layernorm"), vec![d]));
            needed.push((layer(at, "post_attention_layernorm"), vec![d]));
        }
        let has_head = shapes.contains_key(HEAD);
        if has_head {
            needed.push((HEAD.to_owned(), vec![vocab, d]));
        }
        for (name, shape) in needed {
            if shapes.get(name.as_str()) != Some(&shape.as_slice()) {
                let found = shapes.get(name.as_str());
                let why = format!("`{name}` is {found:?} where {shape:?} is needed");
                return Err(TrainError::Answerer(why));
            }
        }
        drop(shapes);
        let tokenizer = tokenizer.to_owned();
        Ok(Self { network, language, script, template, tokenizer, frame, has_head })
    }

    /// Says what learns; the tower never does.
    pub fn open(&mut self, open: Open) {
        let mut closed = vec!["text_backbone"];
        if open.branch {
            closed.extend(CLOSED);
            // What the language model never reads: the last layer, and what mixes its output.
            closed.push("backbone.balance1");
        } else {
            closed.push("backbone");
        }
        if !open.language {
            closed.extend(["model.", HEAD]);
        }
        self.network.weights.close(&closed);
    }

    /// Rows of embeddings [rows, D] through the language model, up to its last norm.
    fn read(&self, mut x: Tensor, batch: &Batch) -> Candle<Tensor> {
        let LlamaConfig { width: d, layers, heads, norm_eps, rope_theta, mlp, .. } = self.language;
        let w = &self.network.weights;
        let trains = w.is_open(WORDS);
        let none = |len: usize| Tensor::zeros(len, candle_core::DType::F32, &Device::Cpu);
        let (zero_d, zero_3d, zero_mlp) = (none(d)?, none(3 * d)?, none(2 * mlp)?);
        for at in 0..layers {
            let part = |name: &str| w.get(&layer(at, name));
            let normed = ops::rms_norm(&x, &part("input_layernorm")?, norm_eps)?;
            let qkv =
                [part("self_attn.q_proj")?, part("self_attn.k_proj")?, part("self_attn.v_proj")?];
            let qkv = ops::linear(&normed, &Tensor::cat(&qkv, 0)?, &zero_3d, trains)?;
            let mixed = ops::read_passages(&qkv, heads, rope_theta, &batch.passages)?;
            x = (&x + ops::linear(&mixed, &part("self_attn.o_proj")?, &zero_d, trains)?)?;
            let normed = ops::rms_norm(&x, &part("post_attention_layernorm")?, norm_eps)?;
            let both = Tensor::cat(&[part("mlp.gate_proj")?, part("mlp.up_proj")?], 0)?;
            let hidden = ops::gated(&ops::linear(&normed, &both, &zero_mlp, trains)?)?;
            x = (&x + ops::linear(&hidden, &part("mlp.down_proj")?, &zero_d, trains)?)?;
        }
        Ok(x)
    }

    /// Scores of the words that come next, where answers are to come: [answer words, vocabulary].
    pub(super) fn scores(&self, tokens: &Tensor, batch: &Batch) -> Candle<Tensor> {
        let w = &self.network.weights;
        let (clips, count, seen) = tokens.dims3()?;
        let tokens = tokens.reshape((clips * count, seen))?;
        let bias = w.get(&format!("{PROJECTOR}.bias"))?;
        let trains = w.is_open(PROJECTOR);
        let tokens = ops::linear(&tokens, &w.get(&format!("{PROJECTOR}.weight"))?, &bias, trains)?;
        let words = w.get(WORDS)?;
        let index = |rows: Vec<u32>| {
            let len = rows.len();
            Tensor::from_vec(rows, len, &Device::Cpu)
        };
        let table = Tensor::cat(&[&words, &tokens], 0)?;
        let x = self.read(ops::rows(&table, &index(batch.rows.clone())?)?, batch)?;
        let asked = batch.answers.iter().map(|(row, _)| *row).collect();
        let x = ops::rows(&x, &index(asked)?)?;
        let x = ops::rms_norm(&x, &w.get(NORM)?, self.language.norm_eps)?;
        let none = Tensor::zeros(self.language.vocab, candle_core::DType::F32, &Device::Cpu)?;
        let head = if self.has_head { w.get(HEAD)? } else { words };
        ops::linear(&x, &head, &none, w.is_open(WORDS))
    }

    pub(super) fn batch(&self, tokens: usize, clips: &[Vec<&Asked>]) -> Result<Batch, TrainError> {
        let batch = Batch::new(self.frame, self.language.vocab, tokens, clips);
        let longest = batch
            .passages
            .iter()
            .flat_map(|Passage { shared, own }| own.iter().map(move |own| shared + own));
        let context = self.language.context;
        match longest.max() {
            Some(longest) if longest > context => {
                let why = format!("a question takes {longest} tokens, the model reads {context}");
                Err(TrainError::Tokenizer(why))
            }
            _ => Ok(batch),
        }
    }

    /// One step of learning from clips, each with some of its questions by number; the mean loss of a
    /// word.
    ///
    /// # Errors
    /// Where the loss or the gradient is no number; nothing has changed then.
    pub fn step(
        &self,
        optimiser: &mut Optimiser,
        clips: &[(&Look, Vec<usize>)],
        pooling: Pooling,
        rate: f32,
    ) -> Result<f32, TrainError> {
        let looks: Vec<&Look> = clips.iter().map(|(look, _)| *look).collect();
        let asked: Vec<Vec<&Asked>> = clips
            .iter()
            .map(|(look, which)| which.iter().filter_map(|at| look.asked.get(*at)).collect())
            .collect();
        let tokens = self.read_clips(&looks, pooling)?;
        let batch = self.batch(tokens.dim(1)?, &asked)?;
        let targets = batch.answers.iter().map(|(_, word)| Some(*word)).collect();
        let loss = ops::cross_entropy(&self.scores(&tokens, &batch)?, targets)?;
        let value = loss.to_scalar::<f32>()?;
        if !value.is_finite() {
            return Err(TrainError::NotFinite("loss"));
        }
        let grads = loss.backward()?;
        for (_, var) in self.network.weights.open() {
            if let Some(grad) = grads.get(var)
                && !grad.sqr()?.sum_all()?.to_scalar::<f32>()?.is_finite()
            {
                return Err(TrainError::NotFinite("gradient"));
            }
        }
        optimiser.step(&self.network.weights, &grads, rate)?;
        Ok(value)
    }

    /// Which questions about clips of equally many frames are answered word by word as they should
    /// be, taking the likeliest word each time: for each clip, for each of its questions.
    ///
    /// # Errors
    /// Where sizes do not fit.
    pub fn examine(&self, looks: &[&Look], pooling: Pooling) -> Result<Vec<Vec<bool>>, TrainError> {
        let tokens = self.read_clips(looks, pooling)?.detach();
        let asked: Vec<Vec<&Asked>> =
            looks.iter().map(|look| look.asked.iter().collect()).collect();
        let batch = self.batch(tokens.dim(1)?, &asked)?;
        let said = self.scores(&tokens, &batch)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
        let mut words = said.iter().zip(&batch.answers).map(|(said, (_, word))| said == word);
        let mut lengths = batch.lengths.iter();
        let answers = asked.iter().map(|asked| {
            let own = lengths.by_ref().take(asked.len());
            // All words are looked at, so that the next answer begins where this one ends.
            own.map(|&len| words.by_ref().take(len).filter(|is_right| *is_right).count() == len)
                .collect()
        });
        Ok(answers.collect())
    }
}
