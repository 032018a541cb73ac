//! The language model beside its formulas, written out number by number.

use candle_core::quantized::GgmlDType;
use candle_core::{Device, Tensor};
use footage_model::conversation::{Llama, Memory};

use crate::small::{EPS, HEADS, KV_HEADS, LAYERS, WIDTH, weights, write_folder, write_gguf};

type Rows = Vec<Vec<f64>>;

fn rows_of(values: &[f32], columns: usize) -> Rows {
    values.chunks(columns).map(|row| row.iter().map(|v| f64::from(*v)).collect()).collect()
}

fn times(matrix: &Rows, x: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| row.iter().zip(x).map(|(a, b)| a * b).sum()).collect()
}

fn rms_norm(x: &[f64], weight: &[f64]) -> Vec<f64> {
    let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
    let scale = 1.0 / (mean + f64::from(EPS)).sqrt();
    x.iter().zip(weight).map(|(v, w)| v * scale * w).collect()
}

/// Turns the channels of one head, `half` apart, by the angles of a position.
fn turned(head: &[f64], position: usize) -> Vec<f64> {
    let half = head.len() / 2;
    let mut out = head.to_vec();
    for at in 0..half {
        let angle = position as f64 * 10_000_f64.powf(-(at as f64) / half as f64);
        let (sin, cos) = angle.sin_cos();
        out[at] = head[at] * cos - head[at + half] * sin;
        out[at + half] = head[at + half] * cos + head[at] * sin;
    }
    out
}

/// Scores of the word after `ids`, in double precision and without any shortcut.
fn scores(ids: &[usize]) -> Vec<f64> {
    let weights = weights();
    let matrix = |name: &str| {
        let (shape, values) = &weights[&format!("{name}.weight")];
        rows_of(values, *shape.last().unwrap())
    };
    let side = WIDTH / HEADS;
    let words = matrix("model.embed_tokens");
    let mut xs: Rows = ids.iter().map(|id| words[*id].clone()).collect();
    for layer in 0..LAYERS {
        let part = |name: &str| matrix(&format!("model.layers.{layer}.{name}"));
        let (norm1, norm2) = (part("input_layernorm"), part("post_attention_layernorm"));
        let normed: Rows = xs.iter().map(|x| rms_norm(x, &norm1[0])).collect();
        let mapped = |name: &str| -> Rows {
            let map = part(name);
            normed.iter().map(|x| times(&map, x)).collect()
        };
        let (q, k, v) =
            (mapped("self_attn.q_proj"), mapped("self_attn.k_proj"), mapped("self_attn.v_proj"));
        let out = part("self_attn.o_proj");
        for (at, x) in xs.iter_mut().enumerate() {
            let mut mixed = Vec::new();
            for head in 0..HEADS {
                let shared = head / (HEADS / KV_HEADS) * side;
                let query = turned(&q[at][head * side..][..side], at);
                let weight = |seen: usize| {
                    let key = turned(&k[seen][shared..][..side], seen);
                    let dot: f64 = query.iter().zip(&key).map(|(a, b)| a * b).sum();
                    (dot / (side as f64).sqrt()).exp()
                };
                let weights: Vec<f64> = (0..=at).map(weight).collect();
                let total: f64 = weights.iter().sum();
                for channel in 0..side {
                    let sum: f64 =
                        (0..=at).map(|seen| weights[seen] * v[seen][shared + channel]).sum();
                    mixed.push(sum / total);
                }
            }
            for (x, added) in x.iter_mut().zip(times(&out, &mixed)) {
                *x += added;
            }
        }
        let (gate, up, down) = (part("mlp.gate_proj"), part("mlp.up_proj"), part("mlp.down_proj"));
        for x in &mut xs {
            let normed = rms_norm(x, &norm2[0]);
            let hidden: Vec<f64> = times(&gate, &normed)
                .iter()
                .zip(times(&up, &normed))
                .map(|(g, u)| g / (1.0 + (-g).exp()) * u)
                .collect();
            for (x, added) in x.iter_mut().zip(times(&down, &hidden)) {
                *x += added;
            }
        }
    }
    let norm = matrix("model.norm");
    times(&matrix("lm_head"), &rms_norm(xs.last().unwrap(), &norm[0]))
}

const IDS: [u32; 7] = [3, 99, 14, 15, 92, 65, 35];

fn expected() -> Vec<f64> {
    scores(&IDS.map(|id| id as usize))
}

/// The largest difference, as a share of the largest score.
fn off(ours: &Tensor) -> f64 {
    let (ours, expected) = (ours.to_vec1::<f32>().unwrap(), expected());
    assert_eq!(ours.len(), expected.len());
    let largest = expected.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
    let differences = ours.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).abs());
    differences.fold(0.0, f64::max) / largest
}

fn read(llama: &Llama, parts: &[&[u32]]) -> Tensor {
    let mut memory = Memory::default();
    let mut scores = None;
    for part in parts {
        scores = Some(llama.read(&llama.embed(part).unwrap(), &mut memory).unwrap());
    }
    assert_eq!(memory.tokens(), IDS.len());
    scores.unwrap()
}

#[test]
fn whole_weights_give_the_scores_of_the_formulas_however_the_words_arrive() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    let llama = Llama::open(folder.path(), &Device::Cpu).unwrap();
    for parts in [&[&IDS[..]][..], &[&IDS[..3], &IDS[3..4], &IDS[4..]], &[&IDS[..6], &IDS[6..]]] {
        let off = off(&read(&llama, parts));
        assert!(off < 1e-5, "off by {off:e} in {} parts", parts.len());
    }
}

/// How alike two lists of scores are; 1 is the same but for their scale.
fn cosine(ours: &Tensor) -> f64 {
    let (ours, expected) = (ours.to_vec1::<f32>().unwrap(), expected());
    let ours: Vec<f64> = ours.into_iter().map(f64::from).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(&ours, &expected) / (dot(&ours, &ours) * dot(&expected, &expected)).sqrt()
}

#[test]
fn a_gguf_gives_the_same_scores_and_quantised_ones_nearly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("small.gguf");
    let scores = |dtype: GgmlDType| {
        write_gguf(&path, "llama", dtype);
        let llama = Llama::open(&path, &Device::Cpu).unwrap();
        read(&llama, &[&IDS[..4], &IDS[4..]])
    };
    let off = off(&scores(GgmlDType::F32));
    assert!(off < 1e-5, "off by {off:e}");
    for (dtype, least) in [(GgmlDType::Q8_0, 0.995), (GgmlDType::Q4_0, 0.9)] {
        let cosine = cosine(&scores(dtype));
        assert!(cosine > least, "{dtype:?}: {cosine}");
    }
}

#[test]
fn a_gguf_that_holds_something_else_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.gguf");
    write_gguf(&path, "qwen2", GgmlDType::F32);
    let error = Llama::open(&path, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("`qwen2`") && error.contains("only LLaMA"), "{error}");
    fs_err::write(&path, "no GGUF at all").unwrap();
    let error = Llama::open(&path, &Device::Cpu).unwrap_err().to_string();
    assert!(error.contains("no GGUF file"), "{error}");
}

#[test]
fn more_than_the_context_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_folder(folder.path());
    let llama = Llama::open(folder.path(), &Device::Cpu).unwrap();
    let error = llama.read(&llama.embed(&[1; 513]).unwrap(), &mut Memory::default());
    assert!(error.unwrap_err().to_string().contains("context of 512"));
}
