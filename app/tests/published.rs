//! A published model is pulled, used by its name, verified and removed, through the real binary.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

#[path = "../../hub/tests/support/mod.rs"]
mod hub;

use hub::Server;
use serde_json::{Value, json};
use support::{Bench, Ran};

const REPO: &str = "/openai/clip-vit-large-patch14/resolve/main";

/// A CLIP of one block of 64 channels in the hub's layout: its configuration and its weights.
fn small_clip() -> (String, Vec<u8>) {
    let (width, mlp, patch, vocab) = (64usize, 128, 8, 49408);
    let tower = json!({
        "hidden_size": width, "intermediate_size": mlp, "num_hidden_layers": 1,
        "num_attention_heads": 1, "image_size": 16, "patch_size": patch,
    });
    let config = json!({
        "model_type": "clip", "projection_dim": 32, "vision_config": tower, "text_config": tower,
    });
    let mut shapes: Vec<(String, Vec<usize>)> = vec![
        ("vision_model.embeddings.class_embedding".into(), vec![width]),
        ("vision_model.embeddings.patch_embedding.weight".into(), vec![width, 3, patch, patch]),
        ("vision_model.embeddings.position_embedding.weight".into(), vec![5, width]),
        ("visual_projection.weight".into(), vec![32, width]),
        ("text_projection.weight".into(), vec![32, width]),
        ("text_model.embeddings.token_embedding.weight".into(), vec![vocab, width]),
        ("text_model.embeddings.position_embedding.weight".into(), vec![77, width]),
        ("logit_scale".into(), vec![]),
    ];
    let mut both = |name: &str, weight: Vec<usize>| {
        shapes.push((format!("{name}.bias"), weight[..1].to_vec()));
        shapes.push((format!("{name}.weight"), weight));
    };
    for norm in
        ["vision_model.pre_layrnorm", "vision_model.post_layernorm", "text_model.final_layer_norm"]
    {
        both(norm, vec![width]);
    }
    for model in ["vision_model", "text_model"] {
        let layer = format!("{model}.encoder.layers.0");
        for part in ["k", "v", "q", "out"] {
            both(&format!("{layer}.self_attn.{part}_proj"), vec![width, width]);
        }
        both(&format!("{layer}.layer_norm1"), vec![width]);
        both(&format!("{layer}.layer_norm2"), vec![width]);
        both(&format!("{layer}.mlp.fc1"), vec![mlp, width]);
        both(&format!("{layer}.mlp.fc2"), vec![width, mlp]);
    }
    // The layout of safetensors: a length, a header of JSON, the values.
    let (mut header, mut values) = (serde_json::Map::new(), Vec::new());
    let mut state = 1u64;
    for (name, shape) in shapes {
        let begin = values.len();
        for _ in 0..shape.iter().product::<usize>() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let value = (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5;
            values.extend_from_slice(&value.to_le_bytes());
        }
        let described =
            json!({ "dtype": "F32", "shape": shape, "data_offsets": [begin, values.len()] });
        header.insert(name, described);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&values);
    (config.to_string(), file)
}

fn server() -> (Server, Vec<u8>) {
    let (config, weights) = small_clip();
    let server = Server::new()
        .small(&format!("{REPO}/config.json"), config.as_bytes())
        .small(&format!("{REPO}/preprocessor_config.json"), b"{\"size\": 16, \"resample\": 3}")
        .small(&format!("{REPO}/model.safetensors"), &weights);
    (server, weights)
}

fn run(bench: &Bench, server: Option<&Server>, args: &[&str]) -> Ran {
    let mut command = bench.command(args);
    command.env("FOOTAGE__HUB__DIR", bench.path("models"));
    if let Some(server) = server {
        command.env("FOOTAGE__HUB__ENDPOINT", server.endpoint());
    }
    Ran::of(command.output().unwrap())
}

#[test]
fn a_published_model_is_pulled_used_by_its_name_verified_and_removed() {
    let bench = Bench::new();
    let (server, mut weights) = server();
    let before = run(&bench, None, &["--model", "clip-l14", "embed", "text", "a dog"]);
    assert_eq!(before.code, Some(2));
    assert!(before.err.contains("footage model pull clip-l14"), "{before:?}");

    let pulled = run(&bench, Some(&server), &["model", "pull", "clip-l14"]);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    assert!(pulled.out.contains("model.safetensors"), "{pulled:?}");

    let embedded = run(&bench, None, &["--model", "clip-l14", "embed", "text", "a dog"]);
    assert_eq!(embedded.code, Some(0), "{embedded:?}");
    let line: Value = serde_json::from_str(&embedded.out).unwrap();
    assert_eq!(line["embedding"].as_array().unwrap().len(), 32);
    assert_eq!(line["model"]["name"], "clip-l14");

    let listed = run(&bench, None, &["model", "list", "--json"]);
    let listed: Value = serde_json::from_str(&listed.out).unwrap();
    let of_name = |name: &str| {
        let published = listed["published"].as_array().unwrap().iter();
        published.clone().find(|entry| entry["model"]["name"] == name).unwrap()["place"].clone()
    };
    assert!(of_name("clip-l14").is_string() && of_name("clip-b32").is_null());

    let verified = run(&bench, None, &["model", "verify", "clip-l14"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.out.contains("100.00 %") && verified.out.contains("logit_scale"));
    let last = weights.len() - 1;
    weights[last] ^= 1;
    fs_err::write(bench.path("models/clip-l14/model.safetensors"), &weights).unwrap();
    let changed = run(&bench, None, &["model", "verify", "clip-l14"]);
    assert_eq!(changed.code, Some(1), "{changed:?}");
    assert!(changed.out.contains("CHANGED"), "{changed:?}");

    let removed = run(&bench, None, &["model", "remove", "clip-l14"]);
    assert_eq!(removed.code, Some(0), "{removed:?}");
    assert!(!bench.path("models/clip-l14").exists());
}

#[test]
fn a_bench_of_a_pulled_model_tells_rate_latency_and_memory() {
    let bench = Bench::new();
    let (server, _) = server();
    let pulled = run(&bench, Some(&server), &["model", "pull", "clip-l14"]);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    let args = ["model", "bench", "--model", "clip-l14", "--batch", "1,2", "--seconds", "0.1"];
    let ran = run(&bench, None, &[&args[..], &["--json"]].concat());
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(told["measured"].as_array().unwrap().len(), 4, "two batches, two precisions");
    for line in told["measured"].as_array().unwrap() {
        assert!(line["clips_per_s"].as_f64().unwrap() > 0.0, "{line}");
        assert!(line["median_ms"].as_f64() <= line["slowest_ms"].as_f64(), "{line}");
        assert!(line["peak_mib"].as_u64().unwrap() >= line["resident_mib"].as_u64().unwrap());
    }
}

#[test]
fn offline_nothing_is_asked_of_the_hub_and_a_folder_will_do() {
    let bench = Bench::new();
    let (server, weights) = server();
    let offline = ["--set", "hub.offline=true"];
    let refused =
        run(&bench, Some(&server), &[&["model", "pull", "clip-l14"][..], &offline].concat());
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("--from"), "{refused:?}");
    assert!(server.seen().is_empty());

    let folder = bench.path("stick");
    fs_err::create_dir(&folder).unwrap();
    let (config, _) = small_clip();
    fs_err::write(folder.join("config.json"), config).unwrap();
    fs_err::write(folder.join("preprocessor_config.json"), "{\"size\": 16}").unwrap();
    fs_err::write(folder.join("model.safetensors"), &weights[..weights.len() - 4]).unwrap();
    let args = [&["model", "pull", "clip-l14", "--from", "stick"][..], &offline].concat();
    let short = run(&bench, None, &args);
    assert_eq!(short.code, Some(2), "{short:?}");
    assert!(short.err.contains("cannot be used"), "{short:?}");
    run(&bench, None, &["model", "remove", "clip-l14"]);
    fs_err::write(folder.join("model.safetensors"), &weights).unwrap();
    let whole = run(&bench, None, &args);
    assert_eq!(whole.code, Some(0), "{whole:?}");
}

#[test]
fn a_token_is_neither_shown_nor_told() {
    let bench = Bench::new();
    let server = server().0.needing("hf_right");
    for secret in ["hf_wrong_secret", "hf_right"] {
        let mut told = String::new();
        for args in [&["model", "pull", "clip-l14", "-vv"][..], &["config"], &["config", "--json"]]
        {
            let mut command = bench.command(args);
            command.env("FOOTAGE__HUB__DIR", bench.path("models"));
            command.env("FOOTAGE__HUB__ENDPOINT", server.endpoint());
            command.env("FOOTAGE__HUB__TOKEN", secret);
            let ran = Ran::of(command.output().unwrap());
            told += &(ran.out + &ran.err);
        }
        assert!(told.contains("***") && !told.contains(secret), "{told}");
    }
    assert!(bench.path("models/clip-l14/pulled.json").exists(), "the right one lets in");
}

fn golden(name: &str) -> String {
    format!("{}/../tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Indexes a video with a model of another family and searches it: the same clips each time.
fn indexes_and_searches(bench: &Bench, model: &str, family: &str, dim: usize) {
    let verified = run(bench, None, &["model", "verify", model]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(verified.out.contains(&format!("taken as: {family}")), "{verified:?}");
    assert!(verified.out.contains("100.00 %"), "{verified:?}");
    let indexed = run(bench, None, &["--model", model, "index", "a.mkv"]);
    assert_eq!(indexed.code, Some(0), "{indexed:?}");
    let found = run(bench, None, &["--model", model, "search", "--json", "a red car"]);
    let found: Value = serde_json::from_str(&found.out).unwrap();
    assert!(!found["moments"].as_array().unwrap().is_empty(), "{found}");
    let embedded = run(bench, None, &["--model", model, "embed", "text", "a red car"]);
    let embedded: Value = serde_json::from_str(&embedded.out).unwrap();
    assert_eq!(embedded["embedding"].as_array().unwrap().len(), dim);

    let measured =
        run(bench, None, &["model", "bench", "--model", model, "--seconds", "0.1", "--json"]);
    let measured: Value = serde_json::from_str(&measured.out).unwrap();
    assert_eq!(measured["measured"].as_array().unwrap().len(), 2, "two batches, in f32 alone");
    let rounded = bench
        .command(&["--model", model, "embed", "text", "a red car"])
        .env("FOOTAGE__HUB__DIR", bench.path("models"))
        .env("FOOTAGE__MODEL__PRECISION", "bf16")
        .output()
        .unwrap();
    let rounded = Ran::of(rounded);
    assert_eq!(rounded.code, Some(2), "{rounded:?}");
    assert!(rounded.err.contains("set model.precision to"), "{rounded:?}");
}

#[test]
fn a_siglip_is_pulled_and_indexes_and_searches_like_any_model() {
    let bench = Bench::new().with_video("a.mkv");
    let from = golden("siglip_tiny");
    let pulled = run(&bench, None, &["model", "pull", "siglip-b16", "--from", &from]);
    assert_eq!(pulled.code, Some(0), "{pulled:?}");
    indexes_and_searches(&bench, "siglip-b16", "siglip", 32);
}

#[test]
fn a_folder_of_a_mobileclip_indexes_and_searches_like_any_model() {
    let bench = Bench::new().with_video("a.mkv");
    indexes_and_searches(&bench, &golden("mobileclip_tiny"), "mobile-clip", 48);
}
