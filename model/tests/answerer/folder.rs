//! `answerer.json` and the files it names, in the layouts the authors publish.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use footage_model::conversation::{ANSWERER_FILE, Answerer, Sampling, Turn};
use footage_model::{CONFIG_FILE, Device, RgbFrame, WEIGHTS_FILE};
use serde_json::{Value, json};

use crate::small::write_folder;

fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(path)
}

/// A tokenizer of single letters.
fn tokenizer() -> Value {
    let letters = (b' '..=b'~').enumerate();
    let mut vocab: serde_json::Map<String, Value> =
        letters.map(|(at, letter)| (char::from(letter).to_string(), json!(at + 4))).collect();
    vocab.insert("?unknown".to_owned(), json!(0));
    vocab.insert("<s>".to_owned(), json!(1));
    vocab.insert("</s>".to_owned(), json!(2));
    let special = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": [special(1, "<s>"), special(2, "</s>")],
        "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated",
            "invert": false},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
        "decoder": {"type": "Fuse"},
        "model": {"type": "WordLevel", "unk_token": "?unknown", "vocab": vocab}
    })
}

/// A folder with the reference's tiny tower and files of the authors' layouts; `change` has the last
/// word on `answerer.json`.
fn folder(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs_err::create_dir(at("vision")).unwrap();
    let architecture: Value =
        serde_json::from_slice(&fs_err::read(golden("tiny/architecture.json")).unwrap()).unwrap();
    let model = json!({
        "name": "tiny", "architecture": architecture,
        "preprocess": {"mean": [122.771, 116.746, 104.093], "std": [68.5, 66.632, 70.323]},
        "window": {"length": 4, "stride": 1, "rate": "2/1"}
    });
    fs_err::write(at("vision").join(CONFIG_FILE), model.to_string()).unwrap();
    fs_err::copy(golden("tiny/weights.safetensors"), at("vision").join(WEIGHTS_FILE)).unwrap();
    for name in [
        "sft_btadapter_like.bin",
        "sft_mm_projector_like.bin",
        "sft_mm_projector_truncated.bin",
        "valid_but_candle_zip_fails.bin",
    ] {
        fs_err::copy(golden(&format!("ckpt/{name}")), at(name)).unwrap();
    }
    write_folder(&at("language"));
    fs_err::write(at("tokenizer.json"), tokenizer().to_string()).unwrap();
    let mut config = json!({
        "name": "tiny-llava", "vision": "vision", "projector": "sft_mm_projector_like.bin",
        "language": "language", "tokenizer": "tokenizer.json", "template": "vicuna_v1_1"
    });
    change(&mut config);
    fs_err::write(at(ANSWERER_FILE), config.to_string()).unwrap();
    dir
}

fn open(dir: &tempfile::TempDir) -> Answerer {
    Answerer::open(dir.path(), &Device::Cpu).unwrap()
}

fn refusal(change: impl FnOnce(&mut Value)) -> String {
    Answerer::open(folder(change).path(), &Device::Cpu).unwrap_err().to_string()
}

fn frames(count: u8) -> Vec<RgbFrame> {
    let frame = |at: u8| {
        let pixels: Vec<u8> = (0..48 * 32 * 3).map(|p| (p * 7) as u8 ^ (at * 31)).collect();
        RgbFrame::try_new(48, 32, pixels).unwrap()
    };
    (0..count).map(frame).collect()
}

fn asked(question: &str) -> Vec<Turn> {
    vec![Turn { question: question.to_owned(), answer: None }]
}

fn greedy(max_tokens: usize) -> Sampling {
    Sampling { temperature: 0.0, max_tokens, ..Sampling::default() }
}

/// Drawn by likelihood, and always the same: it shows small differences of what was seen.
fn drawn(max_tokens: usize) -> Sampling {
    Sampling { temperature: 1.0, ..greedy(max_tokens) }
}

/// The first letters of the answer to a short question.
fn answer(answerer: &Answerer, count: u8) -> String {
    let sight = answerer.look(&frames(count)).unwrap();
    answerer.answer(&sight, &asked("a?"), &drawn(60), |_| true).unwrap().text
}

#[test]
fn answers_come_in_pieces_that_are_the_whole_and_the_same_each_time() {
    let answerer = open(&folder(|_| ()));
    let sight = answerer.look(&frames(4)).unwrap();
    let mut pieces = Vec::new();
    let answered = answerer
        .answer(&sight, &asked("a?"), &drawn(60), |text| {
            pieces.push(text.to_owned());
            true
        })
        .unwrap();
    assert_eq!(pieces.concat().trim(), answered.text);
    assert!(pieces.len() > 20 && answered.answer_tokens <= 60, "{answered:?}");
    assert!(answered.first_token < answered.whole);
    assert_eq!(answer(&answerer, 4), answered.text);
    assert_ne!(answer(&answerer, 2), answered.text, "the answer does not depend on the clip");
}

#[test]
fn an_answer_ends_when_nobody_wants_more_of_it() {
    let answerer = open(&folder(|_| ()));
    let sight = answerer.look(&frames(4)).unwrap();
    let answered = answerer.answer(&sight, &asked("a?"), &greedy(8), |_| false).unwrap();
    assert_eq!(answered.answer_tokens, 1);
}

#[test]
fn tuned_weights_of_the_branch_are_laid_over_the_tower_with_the_gates_that_are_asked_for() {
    let adapter = |config: &mut Value| config["adapter"] = json!("sft_btadapter_like.bin");
    let plain = answer(&open(&folder(|_| ())), 5);
    // The authors' layout with the very weights of the tower: every name and shape has found its own.
    assert_eq!(answer(&open(&folder(adapter)), 5), plain);
    let half = open(&folder(|config| {
        adapter(config);
        config["gates"] = json!("half");
    }));
    assert_ne!(answer(&half, 5), plain, "the tower's gates are not half");

    let tuned = folder(|config| config["adapter"] = json!("tuned.safetensors"));
    let token = Tensor::full(3_f32, (1, 1, 64), &Device::Cpu).unwrap();
    let name = "module.model.vision_tower.btadapter_cls_token".to_owned();
    let path = tuned.path().join("tuned.safetensors");
    candle_core::safetensors::save(&HashMap::from([(name, token)]), path).unwrap();
    assert_ne!(answer(&open(&tuned), 5), plain, "the tuned token is not used");
}

#[test]
fn time_is_halved_only_where_that_is_asked_for() {
    let halved = open(&folder(|config| config["released_halving"] = json!(true)));
    let whole = open(&folder(|_| ()));
    assert_ne!(answer(&halved, 4), answer(&whole, 4));
    answer(&halved, 5);
}

#[test]
fn a_question_longer_than_the_context_is_refused_with_the_numbers() {
    let answerer = open(&folder(|_| ()));
    let sight = answerer.look(&frames(4)).unwrap();
    let error = answerer.answer(&sight, &asked(&"why? ".repeat(80)), &greedy(8), |_| true);
    let error = error.unwrap_err().to_string();
    assert!(error.contains("too long") && error.contains("reads 512"), "{error}");
}

#[test]
fn an_end_marker_in_a_question_is_text() {
    let answerer = open(&folder(|_| ()));
    let sight = answerer.look(&frames(4)).unwrap();
    let tokens = |question: &str| {
        answerer.answer(&sight, &asked(question), &greedy(1), |_| true).unwrap().prompt_tokens
    };
    // Five letters, and not one token that ends the person's turn.
    assert_eq!(tokens("a</s>"), tokens("a") + 5);
    assert_eq!(tokens("a<s>"), tokens("a") + 3);
}

#[test]
fn a_projector_that_was_cut_short_is_told_from_one_that_cannot_be_read() {
    let error = refusal(|config| config["projector"] = json!("sft_mm_projector_truncated.bin"));
    assert!(error.contains("cut short") && error.contains("24576 bytes"), "{error}");
    let error = refusal(|config| config["projector"] = json!("tokenizer.json"));
    assert!(error.contains("this is JSON, not weights"), "{error}");
    let error = refusal(|config| config["projector"] = json!("sft_btadapter_like.bin"));
    assert!(error.contains("no `mm_projector.weight`"), "{error}");
    let error = refusal(|config| config["projector"] = json!("absent.bin"));
    assert!(error.contains("absent.bin"), "{error}");
}

#[test]
fn an_archive_that_other_readers_stumble_over_is_read() {
    open(&folder(|config| config["projector"] = json!("valid_but_candle_zip_fails.bin")));
}

#[test]
fn a_file_without_a_branch_is_no_adapter_and_odd_settings_are_named() {
    let error = refusal(|config| config["adapter"] = json!("sft_mm_projector_like.bin"));
    assert!(error.contains("nothing of a branch"), "{error}");
    let error = refusal(|config| config["frames"] = json!(129));
    assert!(error.contains("choose 1 to 128"), "{error}");
    let error = refusal(|config| config["template"] = json!("mine"));
    assert!(error.contains("answerer.json"), "{error}");
}
