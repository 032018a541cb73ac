//! Reads a language model: a folder as Hugging Face has it, or a GGUF file.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use candle_core::quantized::{QMatMul, QTensor, gguf_file};
use candle_core::{DType, Device, Tensor};
use serde::Deserialize;

use super::ConversationError;
use super::llama::{Layer, Llama, LlamaConfig, Map, turns};

type Result<T> = std::result::Result<T, ConversationError>;

/// Most tokens for which positions are prepared, whatever a model claims.
const LONGEST_CONTEXT: usize = 32_768;

/// `config.json` of a LLaMA of Hugging Face.
#[derive(Debug, Deserialize)]
struct HfConfig {
    model_type: String,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    vocab_size: usize,
    rms_norm_eps: f32,
    rope_theta: Option<f32>,
    rope_scaling: Option<serde_json::Value>,
    max_position_embeddings: Option<usize>,
}

impl LlamaConfig {
    fn check(self, path: &Path) -> Result<Self> {
        let Self { width, layers, heads, kv_heads, mlp, vocab, context, .. } = self;
        let is_sound = [width, layers, heads, kv_heads, mlp, vocab, context].iter().all(|n| *n > 0)
            && width.is_multiple_of(2 * heads)
            && heads.is_multiple_of(kv_heads)
            && context <= LONGEST_CONTEXT;
        if is_sound {
            return Ok(self);
        }
        Err(refused(path, format!("these sizes make no LLaMA: {self:?}")))
    }
}

/// Sizes from the `config.json` of a LLaMA of Hugging Face; `dir` is for messages.
pub(crate) fn hf_config(dir: &Path, text: &[u8]) -> Result<LlamaConfig> {
    let config: HfConfig = serde_json::from_slice(text)
        .map_err(|error| refused(dir, format!("config.json is no LLaMA's: {error}")))?;
    if !matches!(config.model_type.as_str(), "llama" | "llava") {
        let why = format!("it is a `{}`; only LLaMA is understood", config.model_type);
        return Err(refused(dir, why));
    }
    if config.rope_scaling.is_some_and(|scaling| !scaling.is_null()) {
        return Err(refused(
            dir,
            "its positions are scaled (rope_scaling), which is not understood",
        ));
    }
    let heads = config.num_attention_heads;
    LlamaConfig {
        width: config.hidden_size,
        layers: config.num_hidden_layers,
        heads,
        kv_heads: config.num_key_value_heads.unwrap_or(heads),
        mlp: config.intermediate_size,
        vocab: config.vocab_size,
        context: config.max_position_embeddings.unwrap_or(2048).min(LONGEST_CONTEXT),
        rope_theta: config.rope_theta.unwrap_or(10_000.0),
        norm_eps: config.rms_norm_eps,
        turns_neighbours: false,
    }
    .check(dir)
}

fn refused(path: &Path, why: impl Into<String>) -> ConversationError {
    ConversationError::Language { path: path.to_owned(), why: why.into() }
}

impl Llama {
    /// Opens a folder with `config.json` and safetensors files, or a GGUF file.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        if path.is_dir() { Self::open_folder(path, device) } else { Self::open_gguf(path, device) }
    }

    fn open_folder(dir: &Path, device: &Device) -> Result<Self> {
        let text = fs_err::read(dir.join("config.json"))?;
        let mut tensors = HashMap::new();
        for file in safetensors_in(dir)? {
            let read = candle_core::safetensors::load(&file, device);
            tensors.extend(read.map_err(|error| refused(&file, error.to_string()))?);
        }
        Self::of_parts(dir, &text, tensors, device)
    }

    /// From `config.json` and one file of safetensors, in memory; `dir` is for messages.
    pub(super) fn from_bytes(
        dir: &Path,
        config: &[u8],
        weights: &[u8],
        device: &Device,
    ) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(weights, device)
            .map_err(|error| refused(dir, error.to_string()))?;
        Self::of_parts(dir, config, tensors, device)
    }

    fn of_parts(
        dir: &Path,
        text: &[u8],
        mut tensors: HashMap<String, Tensor>,
        device: &Device,
    ) -> Result<Self> {
        let config = hf_config(dir, text)?;
        let has_head = tensors.contains_key(&Place::Head.hf());
        let mut take = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let Some(tensor) = tensors.remove(name) else {
                return Err(refused(dir, format!("tensor `{name}` is missing")));
            };
            fits(dir, name, tensor.dims(), shape)?;
            Ok(tensor.to_dtype(DType::F32)?)
        };
        let words = take("model.embed_tokens.weight", &[config.vocab, config.width])?;
        let mut part = |place: Place, shape: &[usize]| -> Result<Part> {
            // Without a head of its own, the table of words is used both ways.
            if place == Place::Head && !has_head {
                return Ok(Part::Whole(words.clone()));
            }
            Ok(Part::Whole(take(&place.hf(), shape)?))
        };
        let (layers, norm, head) = parts(&config, &mut part)?;
        Ok(Self { turns: turns(&config, device)?, words, layers, norm, head, config })
    }

    fn open_gguf(path: &Path, device: &Device) -> Result<Self> {
        let mut file = BufReader::new(fs_err::File::open(path)?);
        let content = gguf_file::Content::read(&mut file)
            .map_err(|error| refused(path, format!("it is no GGUF file, or damaged: {error}")))?;
        let config = gguf_config(&content, path)?;
        let mut take = |name: &str, shape: &[usize]| -> Result<QTensor> {
            let tensor = content.tensor(&mut file, name, device);
            let tensor =
                tensor.map_err(|error| refused(path, format!("tensor `{name}`: {error}")))?;
            fits(path, name, tensor.shape().dims(), shape)?;
            Ok(tensor)
        };
        let words = take("token_embd.weight", &[config.vocab, config.width])?.dequantize(device)?;
        let mut part = |place: Place, shape: &[usize]| -> Result<Part> {
            let name = place.gguf();
            if place == Place::Head && !content.tensor_infos.contains_key(&name) {
                return Ok(Part::Whole(words.clone()));
            }
            Ok(Part::Quantised(take(&name, shape)?))
        };
        let (layers, norm, head) = parts(&config, &mut part)?;
        Ok(Self { turns: turns(&config, device)?, words, layers, norm, head, config })
    }
}

fn gguf_config(content: &gguf_file::Content, path: &Path) -> Result<LlamaConfig> {
    let value = |key: &str| content.metadata.get(key);
    let architecture = value("general.architecture").and_then(|value| value.to_string().ok());
    match architecture.map(String::as_str) {
        Some("llama") => {}
        Some(other) => {
            let why = format!("this GGUF holds a `{other}`; only LLaMA is understood");
            return Err(refused(path, why));
        }
        None => return Err(refused(path, "this GGUF does not say what it holds")),
    }
    let number = |key: &str| -> Option<usize> {
        let value = value(key)?;
        let number = value.to_u32().map(u64::from).or_else(|_| value.to_u64()).ok()?;
        usize::try_from(number).ok()
    };
    let needed = |key: &str| {
        number(key).ok_or_else(|| refused(path, format!("this GGUF lacks the value `{key}`")))
    };
    let real = |key: &str| value(key).and_then(|value| value.to_f32().ok());
    if let Some(scaled) = value("llama.rope.scaling.type").and_then(|kind| kind.to_string().ok())
        && scaled != "none"
    {
        let why = format!("its positions are scaled (`{scaled}`), which is not understood");
        return Err(refused(path, why));
    }
    let heads = needed("llama.attention.head_count")?;
    let words = content.tensor_infos.get("token_embd.weight");
    let vocab = words.and_then(|info| info.shape.dims().first().copied());
    LlamaConfig {
        width: needed("llama.embedding_length")?,
        layers: needed("llama.block_count")?,
        heads,
        kv_heads: number("llama.attention.head_count_kv").unwrap_or(heads),
        mlp: needed("llama.feed_forward_length")?,
        vocab: vocab.ok_or_else(|| refused(path, "this GGUF has no table of words"))?,
        context: number("llama.context_length").unwrap_or(2048).min(LONGEST_CONTEXT),
        rope_theta: real("llama.rope.freq_base").unwrap_or(10_000.0),
        norm_eps: real("llama.attention.layer_norm_rms_epsilon").unwrap_or(1e-5),
        turns_neighbours: true,
    }
    .check(path)
}

/// Which parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Norm1(usize),
    Q(usize),
    K(usize),
    V(usize),
    Out(usize),
    Norm2(usize),
    Gate(usize),
    Up(usize),
    Down(usize),
    Norm,
    Head,
}

impl Place {
    fn names(self) -> (Option<usize>, &'static str, &'static str) {
        match self {
            Self::Norm1(at) => (Some(at), "input_layernorm", "attn_norm"),
            Self::Q(at) => (Some(at), "self_attn.q_proj", "attn_q"),
            Self::K(at) => (Some(at), "self_attn.k_proj", "attn_k"),
            Self::V(at) => (Some(at), "self_attn.v_proj", "attn_v"),
            Self::Out(at) => (Some(at), "self_attn.o_proj", "attn_output"),
            Self::Norm2(at) => (Some(at), "post_attention_layernorm", "ffn_norm"),
            Self::Gate(at) => (Some(at), "mlp.gate_proj", "ffn_gate"),
            Self::Up(at) => (Some(at), "mlp.up_proj", "ffn_up"),
            Self::Down(at) => (Some(at), "mlp.down_proj", "ffn_down"),
            Self::Norm => (None, "model.norm", "output_norm"),
            Self::Head => (None, "lm_head", "output"),
        }
    }

    fn hf(self) -> String {
        match self.names() {
            (Some(at), name, _) => format!("model.layers.{at}.{name}.weight"),
            (None, name, _) => format!("{name}.weight"),
        }
    }

    fn gguf(self) -> String {
        match self.names() {
            (Some(at), _, name) => format!("blk.{at}.{name}.weight"),
            (None, _, name) => format!("{name}.weight"),
        }
    }
}

enum Part {
    Whole(Tensor),
    Quantised(QTensor),
}

impl Part {
    fn map(self) -> Result<Map> {
        Ok(Map(match self {
            Self::Whole(tensor) => QMatMul::Tensor(tensor),
            Self::Quantised(tensor) => QMatMul::from_qtensor(tensor)?,
        }))
    }

    fn whole(self) -> Result<Tensor> {
        Ok(match self {
            Self::Whole(tensor) => tensor,
            Self::Quantised(tensor) => tensor.dequantize(&tensor.device())?,
        })
    }
}

/// All blocks, the last norm and the head.
fn parts(
    config: &LlamaConfig,
    part: &mut dyn FnMut(Place, &[usize]) -> Result<Part>,
) -> Result<(Vec<Layer>, Tensor, Map)> {
    let LlamaConfig { width: d, mlp, heads, kv_heads, .. } = *config;
    let narrow = d / heads * kv_heads;
    let layers = (0..config.layers)
        .map(|at| {
            Ok(Layer {
                norm1: part(Place::Norm1(at), &[d])?.whole()?,
                q: part(Place::Q(at), &[d, d])?.map()?,
                k: part(Place::K(at), &[narrow, d])?.map()?,
                v: part(Place::V(at), &[narrow, d])?.map()?,
                out: part(Place::Out(at), &[d, d])?.map()?,
                norm2: part(Place::Norm2(at), &[d])?.whole()?,
                gate: part(Place::Gate(at), &[mlp, d])?.map()?,
                up: part(Place::Up(at), &[mlp, d])?.map()?,
                down: part(Place::Down(at), &[d, mlp])?.map()?,
            })
        })
        .collect::<Result<_>>()?;
    let norm = part(Place::Norm, &[d])?.whole()?;
    Ok((layers, norm, part(Place::Head, &[config.vocab, d])?.map()?))
}

fn fits(path: &Path, name: &str, found: &[usize], needed: &[usize]) -> Result<()> {
    if found == needed {
        return Ok(());
    }
    Err(refused(path, format!("tensor `{name}` has shape {found:?}, where {needed:?} is needed")))
}

pub(crate) fn safetensors_in(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(refused(dir, "there is no .safetensors file in it"));
    }
    files.sort();
    Ok(files)
}
