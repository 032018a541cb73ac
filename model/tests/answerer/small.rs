//! A small language model with fixed pseudo-random weights, in both of its files' forms.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use serde_json::json;

pub(crate) const WIDTH: usize = 96;
pub(crate) const HEADS: usize = 6;
pub(crate) const KV_HEADS: usize = 2;
pub(crate) const MLP: usize = 128;
pub(crate) const LAYERS: usize = 2;
pub(crate) const VOCAB: usize = 128;
pub(crate) const EPS: f32 = 1e-6;

/// Every parameter, `[rows, columns]` in order, by Hugging Face's name.
pub(crate) fn weights() -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let narrow = WIDTH / HEADS * KV_HEADS;
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![VOCAB, WIDTH]),
        ("model.norm.weight".to_owned(), vec![WIDTH]),
        ("lm_head.weight".to_owned(), vec![VOCAB, WIDTH]),
    ];
    for at in 0..LAYERS {
        for (name, shape) in [
            ("input_layernorm", vec![WIDTH]),
            ("self_attn.q_proj", vec![WIDTH, WIDTH]),
            ("self_attn.k_proj", vec![narrow, WIDTH]),
            ("self_attn.v_proj", vec![narrow, WIDTH]),
            ("self_attn.o_proj", vec![WIDTH, WIDTH]),
            ("post_attention_layernorm", vec![WIDTH]),
            ("mlp.gate_proj", vec![MLP, WIDTH]),
            ("mlp.up_proj", vec![MLP, WIDTH]),
            ("mlp.down_proj", vec![WIDTH, MLP]),
        ] {
            shapes.push((format!("model.layers.{at}.{name}.weight"), shape));
        }
    }
    let mut state = 7_u64;
    let mut uniform = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let values = |(name, shape): (String, Vec<usize>)| {
        let (count, is_norm) = (shape.iter().product(), shape.len() == 1);
        let spread = if is_norm { 0.2 } else { 2.0 / (shape[shape.len() - 1] as f32).sqrt() };
        let offset = if is_norm { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..count).map(|_| offset + spread * uniform()).collect();
        (name, (shape, values))
    };
    shapes.into_iter().map(values).collect()
}

fn tensor((shape, values): (Vec<usize>, Vec<f32>)) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Writes it as Hugging Face does.
pub(crate) fn write_folder(dir: &Path) {
    fs_err::create_dir_all(dir).unwrap();
    let config = json!({
        "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": MLP,
        "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "vocab_size": VOCAB, "rms_norm_eps": EPS, "max_position_embeddings": 512
    });
    fs_err::write(dir.join("config.json"), config.to_string()).unwrap();
    let tensors: HashMap<String, Tensor> =
        weights().into_iter().map(|(name, weight)| (name, tensor(weight))).collect();
    candle_core::safetensors::save(&tensors, dir.join("model.safetensors")).unwrap();
}

/// Writes it as llama.cpp does: other names, and the channels that turn together made neighbours.
pub(crate) fn write_gguf(path: &Path, architecture: &str, dtype: GgmlDType) {
    let mut tensors = Vec::new();
    for (name, (shape, values)) in weights() {
        let name = name
            .replace("model.embed_tokens", "token_embd")
            .replace("model.layers.", "blk.")
            .replace("model.norm", "output_norm")
            .replace("lm_head", "output")
            .replace("input_layernorm", "attn_norm")
            .replace("post_attention_layernorm", "ffn_norm")
            .replace("self_attn.q_proj", "attn_q")
            .replace("self_attn.k_proj", "attn_k")
            .replace("self_attn.v_proj", "attn_v")
            .replace("self_attn.o_proj", "attn_output")
            .replace("mlp.gate_proj", "ffn_gate")
            .replace("mlp.up_proj", "ffn_up")
            .replace("mlp.down_proj", "ffn_down");
        let mut weight = tensor((shape, values));
        let side = WIDTH / HEADS;
        if name.contains("attn_q.") || name.contains("attn_k.") {
            let (rows, columns) = weight.dims2().unwrap();
            weight = weight
                .reshape((rows / side, 2, side / 2, columns))
                .unwrap()
                .transpose(1, 2)
                .unwrap()
                .reshape((rows, columns))
                .unwrap();
        }
        let is_matrix = weight.rank() == 2;
        let dtype = if is_matrix { dtype } else { GgmlDType::F32 };
        tensors.push((name, QTensor::quantize(&weight, dtype).unwrap()));
    }
    let number = |n: usize| gguf_file::Value::U32(n as u32);
    let metadata = [
        ("general.architecture", gguf_file::Value::String(architecture.to_owned())),
        ("llama.embedding_length", number(WIDTH)),
        ("llama.block_count", number(LAYERS)),
        ("llama.feed_forward_length", number(MLP)),
        ("llama.attention.head_count", number(HEADS)),
        ("llama.attention.head_count_kv", number(KV_HEADS)),
        ("llama.context_length", number(512)),
        ("llama.attention.layer_norm_rms_epsilon", gguf_file::Value::F32(EPS)),
    ];
    let metadata: Vec<_> = metadata.iter().map(|(name, value)| (*name, value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
    let mut file = fs_err::File::create(path).unwrap();
    gguf_file::write(&mut file, &metadata, &tensors).unwrap();
}
