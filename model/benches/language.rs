//! Words per second of the language model on the CPU, with random weights in 4 bits.
//!
//! `cargo bench -p footage-model --bench language [-- 1b|7b [PROMPT [ANSWER]]]`, with
//! `RAYON_NUM_THREADS` threads: a LLaMA of that size is written to a GGUF file, opened, given PROMPT
//! tokens and then ANSWER more, one by one. A 7b takes 4 GiB of disk and 5 of memory.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot run should say where")]

use std::path::Path;
use std::time::Instant;

use candle_core::quantized::gguf_file::{self, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use footage_model::conversation::{Llama, Memory};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Width, blocks, heads, heads of keys, hidden channels.
type Sizes = (usize, usize, usize, usize, usize);

const VOCAB: usize = 32_000;

fn random(rows: usize, columns: usize) -> QTensor {
    let spread = (columns as f32).sqrt().recip();
    let weight = Tensor::randn(0_f32, spread, (rows, columns), &Device::Cpu).unwrap();
    QTensor::quantize(&weight, GgmlDType::Q4_0).unwrap()
}

/// Every block has the same weights: what they hold changes no time.
fn write(path: &Path, (width, layers, heads, kv_heads, mlp): Sizes) {
    let narrow = width / heads * kv_heads;
    let ones = Tensor::ones(width, candle_core::DType::F32, &Device::Cpu).unwrap();
    let ones = QTensor::quantize(&ones, GgmlDType::F32).unwrap();
    let (square, narrow) = (random(width, width), random(narrow, width));
    let (wide, back, words) = (random(mlp, width), random(width, mlp), random(VOCAB, width));
    let mut names = vec![
        ("token_embd.weight".to_owned(), &words),
        ("output.weight".to_owned(), &words),
        ("output_norm.weight".to_owned(), &ones),
    ];
    for at in 0..layers {
        for (name, tensor) in [
            ("attn_norm", &ones),
            ("attn_q", &square),
            ("attn_k", &narrow),
            ("attn_v", &narrow),
            ("attn_output", &square),
            ("ffn_norm", &ones),
            ("ffn_gate", &wide),
            ("ffn_up", &wide),
            ("ffn_down", &back),
        ] {
            names.push((format!("blk.{at}.{name}.weight"), tensor));
        }
    }
    let number = |n: usize| Value::U32(n as u32);
    let metadata = [
        ("general.architecture", Value::String("llama".to_owned())),
        ("llama.embedding_length", number(width)),
        ("llama.block_count", number(layers)),
        ("llama.feed_forward_length", number(mlp)),
        ("llama.attention.head_count", number(heads)),
        ("llama.attention.head_count_kv", number(kv_heads)),
        ("llama.context_length", number(2048)),
    ];
    let metadata: Vec<_> = metadata.iter().map(|(name, value)| (*name, value)).collect();
    let tensors: Vec<_> = names.iter().map(|(name, tensor)| (name.as_str(), *tensor)).collect();
    gguf_file::write(&mut fs_err::File::create(path).unwrap(), &metadata, &tensors).unwrap();
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let number = |at: usize, other: usize| {
        args.get(at).map_or(other, |text| text.parse().expect("a number of tokens"))
    };
    let sizes: Sizes = match args.first().map_or("1b", String::as_str) {
        "1b" => (2048, 22, 32, 4, 5632),
        "7b" => (4096, 32, 32, 32, 11_008),
        other => panic!("no size `{other}`: choose 1b or 7b"),
    };
    let (prompt, answer) = (number(1, 320), number(2, 32));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("random.gguf");
    write(&path, sizes);
    let began = Instant::now();
    let llama = Llama::open(&path, &Device::Cpu).unwrap();
    println!("opened in {:.1} s", began.elapsed().as_secs_f32());
    let ids: Vec<u32> = (0..prompt as u32).map(|at| at * 97 % VOCAB as u32).collect();
    let mut memory = Memory::default();
    let began = Instant::now();
    let mut scores = llama.read(&llama.embed(&ids).unwrap(), &mut memory).unwrap();
    let seconds = began.elapsed().as_secs_f32();
    println!("prompt: {prompt} tokens in {seconds:.2} s, {:.1} tokens/s", prompt as f32 / seconds);
    let began = Instant::now();
    for _ in 0..answer {
        let next = scores.argmax(0).unwrap().to_scalar::<u32>().unwrap();
        scores = llama.read(&llama.embed(&[next]).unwrap(), &mut memory).unwrap();
    }
    let seconds = began.elapsed().as_secs_f32();
    println!("answer: {answer} tokens in {seconds:.2} s, {:.1} tokens/s", answer as f32 / seconds);
}
