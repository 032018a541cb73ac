//! What learns here answers there.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use footage_clip::RgbFrame;
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;

use super::batch::Asked;
use super::*;
use crate::Ops;
use crate::bt_adapter::{FrameGroups, VideoTower};
use crate::conversation::{Answerer, Llama, LlamaConfig, Memory, Sampling, Template, Turn};
use crate::train::{AdamW, Network, Optimiser, Weights, talk_pieces};

const SMALL: LlamaConfig = LlamaConfig {
    width: 32,
    layers: 2,
    heads: 2,
    kv_heads: 2,
    mlp: 48,
    vocab: 0,
    context: 128,
    rope_theta: 1000.0,
    norm_eps: 1e-5,
    turns_neighbours: false,
};

fn mini() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/mini")
}

/// A small language model beside the bundled model.
fn pupil() -> Pupil {
    let config = crate::ModelConfig::from_json(&fs_err::read(mini().join("model.json")).unwrap());
    let mut weights = Weights::default();
    let tensors = candle_core::safetensors::load(mini().join("model.safetensors"), &Device::Cpu);
    for (name, tensor) in tensors.unwrap() {
        weights.set(name, &tensor).unwrap();
    }
    let network = Network { architecture: config.unwrap().architecture, weights };
    let words = "which way does it go? to the left right it does not move ASSISTANT:";
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    Pupil::new(network, &SMALL, &talk_pieces([words], 1), Template::Alone, &mut rng).unwrap()
}

/// A bright square on a dark, uneven ground that moves by so many pixels from frame to frame.
fn film(step: i32) -> Vec<Vec<u8>> {
    let begin = if step < 0 { 48 } else { 8 };
    let pixel = |frame: i32, x: i32, y: i32, c: i32| {
        let is_in = (x - begin - step * frame).abs() < 8 && (y - 32).abs() < 8;
        if is_in { [230, 60, 20][c as usize] } else { (x + 2 * y + 7 * c) as u8 / 2 }
    };
    let places = (0..64 * 64 * 3).map(|k: i32| (k / 3 % 64, k / 3 / 64, k % 3));
    (0..8).map(|f| places.clone().map(|(x, y, c)| pixel(f, x, y, c)).collect()).collect()
}

const LESSONS: [(i32, &str); 3] =
    [(5, "to the right"), (-5, "to the left"), (0, "it does not move")];

fn looks(pupil: &Pupil) -> Vec<Look> {
    let shown = LESSONS.map(|(step, answer)| {
        let questions = ["which way does it go?", "does it move?"];
        let questions = questions.map(|question| (question.to_owned(), answer.to_owned())).into();
        Shown { frames: film(step), questions }
    });
    pupil.look(&shown, None).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

#[test]
fn training_reads_a_clip_as_who_answers_does() {
    let pupil = pupil();
    let network = &pupil.network;
    let frames = film(5);
    let pixels = |frame: &Vec<u8>| -> Vec<f32> {
        let plane = |c: usize| frame.iter().skip(c).step_by(3);
        (0..3).flat_map(|c| plane(c).map(|v| (f32::from(*v) - 118.0) / 64.0)).collect()
    };
    let all: Vec<f32> = frames.iter().flat_map(pixels).collect();
    let pixels = Tensor::from_vec(all, (8, 3, 64, 64), &Device::Cpu).unwrap();
    let tensors: HashMap<String, Tensor> =
        network.weights.iter().map(|(name, var)| (name.to_owned(), var.copy().unwrap())).collect();
    let vb = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let architecture = &network.architecture;
    let tower = VideoTower::new(architecture, Ops::Composed, &vb.pp("backbone")).unwrap();
    let answers = tower.conversation_tokens(&pixels, FrameGroups::Whole).unwrap();

    let example =
        crate::train::Example { frames, captions: Vec::new(), place: 0, things: Vec::new() };
    let rows = crate::train::data::batch(&[example], &architecture.vision, false, 0, 0).unwrap();
    let mut layers = network.frozen_layers(&rows).unwrap();
    layers.pop();
    let ours = network.conversation_tokens(&layers, 8).unwrap().squeeze(0).unwrap();
    assert!(largest_difference(&ours, &answers) < 1e-4);
}

#[test]
fn training_scores_words_as_who_answers_does_whatever_else_is_asked() {
    let mut pupil = pupil();
    let rounded: Vec<(String, Tensor)> = pupil
        .network
        .weights
        .iter()
        .map(|(name, var)| (name.to_owned(), var.to_dtype(DType::F16).unwrap()))
        .collect();
    for (name, value) in rounded {
        pupil.network.weights.set(name, &value).unwrap();
    }
    let looks = looks(&pupil);
    let look = &looks[0];
    let tokens = pupil.read_clips(&[look], Pooling::Adapter).unwrap();
    let asked: Vec<&Asked> = look.asked.iter().collect();
    let batch = pupil.batch(tokens.dim(1).unwrap(), &[asked]).unwrap();
    let ours = pupil.scores(&tokens, &batch).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let sheet = AnswererSheet { name: "small", vision: "..", frames: 8, has_adapter: false };
    pupil.export(sheet, folder.path()).unwrap();
    let llama = Llama::open(&folder.path().join("language"), &Device::Cpu).unwrap();
    let weight =
        |part: &str| pupil.network.weights.get(&format!("mm_projector.{part}")).unwrap().detach();
    let tokens = tokens.squeeze(0).unwrap().detach();
    let sight = tokens.matmul(&weight("weight").t().unwrap()).unwrap();
    let sight = sight.broadcast_add(&weight("bias")).unwrap();
    let mut row = 0;
    for asked in &look.asked {
        let marker = |marker: &str| llama.embed(&[pupil.script.marker(marker).unwrap()]).unwrap();
        let question = llama.embed(&asked.ids[..asked.answer]).unwrap();
        let parts = [marker("[BOS]"), marker("<vid_start>"), sight.clone(), marker("<vid_end>")];
        let prompt = Tensor::cat(&[parts.as_slice(), &[question]].concat(), 0).unwrap();
        let mut memory = Memory::default();
        let mut scores = llama.read(&prompt, &mut memory).unwrap();
        for word in &asked.ids[asked.answer..] {
            assert!(largest_difference(&ours.get(row).unwrap(), &scores) < 1e-4, "row {row}");
            scores = llama.read(&llama.embed(&[*word]).unwrap(), &mut memory).unwrap();
            row += 1;
        }
    }
    assert_eq!(ours.dim(0).unwrap(), row);
}

#[test]
fn what_was_learned_with_the_branch_open_is_what_the_written_folder_answers() {
    let mut pupil = pupil();
    pupil.open(Open { branch: true, language: true });
    let frozen = "backbone.layers.2.mlp.fc1.weight";
    let unread = "backbone.btadapter_S_layers.2.mlp.fc1.weight";
    let value =
        |pupil: &Pupil, name: &str| pupil.network.weights.get(name).unwrap().copy().unwrap();
    let opened = "backbone.btadapter_S_layers.1.mlp.fc1.weight";
    let names = [frozen, unread, opened];
    let before = names.map(|name| value(&pupil, name));

    let looks = looks(&pupil);
    let mut optimiser = Optimiser::new(AdamW { decay: 0.0, ..AdamW::default() });
    let clips: Vec<(&Look, Vec<usize>)> = looks.iter().map(|look| (look, vec![0, 1])).collect();
    let mut losses = Vec::new();
    for _ in 0..40 {
        losses.push(pupil.step(&mut optimiser, &clips, Pooling::Adapter, 4e-3).unwrap());
    }
    let right = pupil.examine(&looks.iter().collect::<Vec<_>>(), Pooling::Adapter).unwrap();
    assert!(right.iter().flatten().all(|is_right| *is_right), "{right:?} {losses:?}");
    let changed = names
        .iter()
        .zip(&before)
        .map(|(name, before)| largest_difference(&value(&pupil, name), before) > 0.0);
    assert_eq!(changed.collect::<Vec<_>>(), [false, false, true]);

    let folder = tempfile::tempdir().unwrap();
    let vision = mini();
    let sheet = AnswererSheet {
        name: "small",
        vision: vision.to_str().unwrap(),
        frames: 8,
        has_adapter: true,
    };
    pupil.export(sheet, folder.path()).unwrap();
    let answerer = Answerer::open(folder.path(), &Device::Cpu).unwrap();
    let sampling = Sampling { temperature: 0.0, max_tokens: 12, ..Sampling::default() };
    for (step, answer) in LESSONS {
        let frames = film(step).into_iter().map(|rgb| RgbFrame::try_new(64, 64, rgb).unwrap());
        let sight = answerer.look(&frames.collect::<Vec<_>>()).unwrap();
        let turns = [Turn { question: "which way does it go?".to_owned(), answer: None }];
        let said = answerer.answer(&sight, &turns, &sampling, |_| true).unwrap();
        assert_eq!(said.text, answer);
    }
}

#[test]
fn without_the_language_model_only_projector_and_branch_learn() {
    let mut pupil = pupil();
    pupil.open(Open { branch: true, language: false });
    let open: Vec<&str> = pupil.network.weights.open().map(|(name, _)| name).collect();
    let is_of = |part: &str| open.iter().any(|name| name.contains(part));
    assert!(is_of("mm_projector") && is_of("btadapter") && !is_of("model."), "{open:?}");
    let looks = looks(&pupil);
    let clips: Vec<(&Look, Vec<usize>)> = looks.iter().map(|look| (look, vec![0])).collect();
    let words = || pupil.network.weights.get("model.embed_tokens.weight").unwrap().copy().unwrap();
    let before = words();
    let mut optimiser = Optimiser::new(AdamW::default());
    let first = pupil.step(&mut optimiser, &clips, Pooling::Adapter, 1e-3).unwrap();
    let second = pupil.step(&mut optimiser, &clips, Pooling::Adapter, 1e-3).unwrap();
    assert!(second < first && largest_difference(&words(), &before) == 0.0, "{first} {second}");
}

/// The bundled answerer's files.
fn bundled() -> Vec<Vec<u8>> {
    let names = [
        "answerer/answerer.json",
        "model.json",
        "model.safetensors",
        "answerer/adapter.safetensors",
        "answerer/projector.safetensors",
        "answerer/language/config.json",
        "answerer/language/model.safetensors",
        "answerer/tokenizer.json",
    ];
    names.iter().map(|name| fs_err::read(mini().join(name)).unwrap()).collect()
}

fn files(of: &[Vec<u8>]) -> crate::conversation::AnswererFiles<'_> {
    crate::conversation::AnswererFiles {
        config: &of[0],
        vision: [&of[1], &of[2]],
        adapter: Some(&of[3]),
        projector: &of[4],
        language: [&of[5], &of[6]],
        tokenizer: &of[7],
    }
}

#[test]
fn an_answerer_that_is_taken_up_reads_as_it_answers_and_only_branch_and_projector_change() {
    let bytes = bundled();
    let answerer = Answerer::from_bytes(files(&bytes), &Device::Cpu).unwrap();
    let tuning = Tuning::from_bytes(files(&bytes)).unwrap();
    let likeliest = Sampling { temperature: 0.0, max_tokens: 12, ..Sampling::default() };
    let frames = |step: i32| -> Vec<RgbFrame> {
        film(step).into_iter().map(|rgb| RgbFrame::try_new(64, 64, rgb).unwrap()).collect()
    };
    let said = |step: i32, question: &str| {
        let sight = answerer.look(&frames(step)).unwrap();
        let turns = [Turn { question: question.to_owned(), answer: None }];
        answerer.answer(&sight, &turns, &likeliest, |_| true).unwrap().text
    };
    // What it says now is what it is asked to say: word by word it is the likeliest.
    let questions = ["which way does it go?", "what is there?", "does it move?", "is there a dog?"];
    let looks: Vec<Look> = LESSONS
        .iter()
        .map(|(step, _)| {
            let lessons =
                questions.map(|question| vec![(question.to_owned(), said(*step, question))]);
            let states = tuning.features(&frames(*step)).unwrap();
            tuning.look(8, states, &lessons).unwrap()
        })
        .collect();
    let all: Vec<&Look> = looks.iter().collect();
    let right = tuning.pupil.examine(&all, Pooling::Adapter).unwrap();
    assert!(right.iter().flatten().all(|is_right| *is_right), "{right:?}");

    let open = tuning.pupil.network.weights.only_open();
    assert!(open.iter().all(|(name, _)| name.contains("btadapter")
        || name.contains("mm_projector")
        || name == "backbone.balance2"));
    let taught = [vec![("what is there?".to_owned(), "to the left".to_owned())]];
    let clip = tuning.look(8, tuning.features(&frames(5)).unwrap(), &taught).unwrap();
    let mut optimiser = Optimiser::new(AdamW { decay: 0.0, ..AdamW::default() });
    let step = |optimiser: &mut Optimiser| {
        tuning.pupil.step(optimiser, &[(&clip, vec![0])], Pooling::Adapter, 1e-3).unwrap()
    };
    let first = step(&mut optimiser);
    let mut last = first;
    for _ in 0..15 {
        last = step(&mut optimiser);
    }
    assert!(last < 0.5 * first, "{first} {last}");
}

#[test]
fn a_question_before_the_clip_is_learned_as_it_is_asked() {
    let mut pupil = pupil();
    pupil.template = Template::VicunaV11;
    let script = crate::conversation::Script::new(
        pupil.tokenizer.as_bytes(),
        Template::VicunaV11,
        pupil.language.vocab,
    );
    pupil.script = script.unwrap();
    pupil.language.context = 512;
    let look = &looks(&pupil)[0];
    assert!(look.asked[0].before.len() > 1 && look.asked[0].before != look.asked[1].before);
    let tokens = pupil.read_clips(&[look], Pooling::Adapter).unwrap();
    let scores = |which: &[usize]| {
        let asked = which.iter().map(|at| &look.asked[*at]).collect();
        let batch = pupil.batch(tokens.dim(1).unwrap(), &[asked]).unwrap();
        pupil.scores(&tokens, &batch).unwrap()
    };
    let alone = Tensor::cat(&[scores(&[0]), scores(&[1])], 0).unwrap();
    assert!(largest_difference(&alone, &scores(&[0, 1])) < 1e-4);
}
