//! What training promises as a whole: the authors' arithmetic, right gradients, loss that falls,
//! and a stop that leaves no trace.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::data::{self, Classes, Example, Side, Thing, World};
use super::network::Network;
use super::optimiser::{AdamW, Optimiser, Schedule};
use super::stage1::{SCALE, Stage1};
use super::stage2::{CLOSED, Stage2};
use super::words::{Words, word_pieces};
use super::{checkpoint, nce, ops};
use crate::Ops;

fn golden(name: &str) -> HashMap<String, Tensor> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny");
    candle_core::safetensors::load(folder.join(name), &Device::Cpu).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().flatten_all().unwrap().max(0).unwrap().to_scalar().unwrap()
}

/// The fixtures' model.
fn tiny() -> Network {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/tiny");
    let json = fs_err::read(folder.join("architecture.json")).unwrap();
    let architecture = serde_json::from_slice(&json).unwrap();
    let mut network = Network { architecture, weights: super::Weights::default() };
    for (name, value) in golden("weights.safetensors") {
        network.weights.set(name, &value).unwrap();
    }
    network
}

/// B, T, 3, side, side to rows of patches.
fn patch_rows(pixels: &Tensor) -> Result<Tensor> {
    let (b, t, c, h, w) = pixels.dims5()?;
    let (gh, gw) = (h / 8, w / 8);
    let grid = pixels.reshape(vec![b * t, c, gh, 8, gw, 8])?;
    grid.permute(vec![0, 2, 4, 1, 3, 5])?.contiguous()?.reshape((b * t, gh * gw, c * 64))
}

#[test]
fn towers_and_branch_compute_what_the_authors_compute() {
    let (network, input, expected) =
        (tiny(), golden("input.safetensors"), golden("expected.safetensors"));
    for (clips, key) in
        [("pixel_values", "gated.video_embed"), ("pixel_values_t6", "gated.t6.video_embed")]
    {
        let pixels = &input[clips];
        let frames = pixels.dim(1).unwrap();
        let seen = network.see(&patch_rows(pixels).unwrap()).unwrap();
        let watched = network.watch(&seen.layers, frames).unwrap();
        assert!(largest_difference(&watched.videos, &expected[key]) < 2e-5, "{key}");
        if clips == "pixel_values" {
            let plain = network.mean_pooled(&seen.layers, frames).unwrap();
            assert!(largest_difference(&plain, &expected["clip.video_embed"]) < 2e-5);
        }
    }
    let rows = input["token_ids"].to_vec2::<i64>().unwrap();
    let ids: Vec<u32> = rows.iter().flatten().map(|&id| id as u32).collect();
    let end = |row: &Vec<i64>| (0..row.len()).rev().max_by_key(|&at| row[at]).unwrap() as u32;
    let ends: Vec<u32> = rows.iter().map(end).collect();
    let texts = network.read(&ids, 77, &ends).unwrap();
    assert!(largest_difference(&texts, &expected["text.embed"]) < 2e-5);
}

#[test]
fn the_contrastive_loss_is_the_authors() {
    let (input, expected) = (golden("input.safetensors"), golden("expected.safetensors"));
    let loss =
        |a: &Tensor, b: &Tensor, scale| nce(a, b, scale).unwrap().to_scalar::<f32>().unwrap();
    let want = |key: &str| expected[key].to_vec1::<f32>().unwrap()[0];
    let (videos, texts) = (&input["random_video_feats"], &input["random_text_feats"]);
    for (scale, key) in [(100.0, "nce.random"), (10.0, "nce.random_scale10")] {
        let (got, want) = (loss(videos, texts, scale), want(key));
        assert!((got - want).abs() < 2e-5 * want.abs().max(1.0), "{key}: {got} {want}");
    }
    let texts = expected["text.embed"].narrow(0, 0, 3).unwrap();
    let got = loss(&expected["masked_ref.video_embed"], &texts, 100.0);
    let want = want("loss_ref.NCE_loss");
    assert!((got - want).abs() < 1e-4 * want.abs().max(1.0), "{got} {want}");
}

fn random(shape: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.random_range(-1.5..1.5)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Both forms' values and gradients agree for every input.
fn assert_same_gradients(
    shapes: &[&[usize]],
    ours: impl Fn(&[Tensor]) -> Result<Tensor>,
    composed: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let vars: Vec<Var> =
        shapes.iter().map(|s| Var::from_tensor(&random(s, &mut rng)).unwrap()).collect();
    let tensors: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let (a, b) = (ours(&tensors).unwrap(), composed(&tensors).unwrap());
    assert!(largest_difference(&a, &b) < 1e-5);
    let pull = random(a.dims(), &mut rng);
    let grads = |y: &Tensor| (y * &pull).unwrap().sum_all().unwrap().backward().unwrap();
    let (ga, gb) = (grads(&a), grads(&b));
    for (index, var) in vars.iter().enumerate() {
        let difference = largest_difference(ga.get(var).unwrap(), gb.get(var).unwrap());
        assert!(difference < 5e-5, "input {index}: {difference}");
    }
}

#[test]
fn fused_operations_have_the_gradients_of_composed_ones() {
    assert_same_gradients(
        &[&[3, 5, 20], &[7, 20], &[7]],
        |t| ops::linear(&t[0], &t[1], &t[2], true),
        |t| t[0].reshape((15, 20))?.matmul(&t[1].t()?)?.reshape((3, 5, 7))?.broadcast_add(&t[2]),
    );
    assert_same_gradients(
        &[&[3, 70, 20], &[20], &[20]],
        |t| ops::layer_norm(&t[0], &t[1], &t[2], 1e-5, true),
        |t| Ops::Composed.layer_norm(&t[0], &t[1], &t[2], 1e-5),
    );
    assert_same_gradients(
        &[&[40, 13]],
        |t| ops::quick_gelu(&t[0]),
        |t| Ops::Composed.quick_gelu(&t[0]),
    );
    let target = |row: usize| (row % 3 != 0).then_some(row as u32);
    assert_same_gradients(
        &[&[6, 9]],
        move |t| ops::cross_entropy(&t[0], (0..6).map(target).collect()),
        |t| {
            let log = Ops::Composed.softmax(&t[0])?.log()?;
            let picked = [1, 2, 4, 5].map(|row| log.narrow(0, row, 1)?.narrow(1, row, 1)?.neg());
            let [a, b, c, d] = picked;
            Tensor::cat(&[a?, b?, c?, d?], 0)?.mean_all()
        },
    );
    let indices = Tensor::new(&[2_u32, 0, 2], &Device::Cpu).unwrap();
    assert_same_gradients(
        &[&[4, 6]],
        |t| ops::rows(&t[0], &indices),
        |t| t[0].index_select(&indices, 0),
    );
}

#[test]
fn fused_attention_has_the_gradient_of_composed_attention() {
    // Both sides of the length at which loops give way to matrix products.
    for tokens in [5, 23] {
        for is_causal in [false, true] {
            assert_same_gradients(
                &[&[2, tokens, 3 * 8]],
                |t| ops::attention(&t[0], 2, is_causal),
                |t| composed_attention(&t[0], 2, is_causal),
            );
        }
    }
}

fn composed_attention(qkv: &Tensor, heads: usize, is_causal: bool) -> Result<Tensor> {
    let (b, n, triple) = qkv.dims3()?;
    let size = triple / 3 / heads;
    let parts = qkv.reshape((b, n, 3, heads, size))?.permute((2, 0, 3, 1, 4))?.contiguous()?;
    let part = |k: usize| parts.narrow(0, k, 1)?.squeeze(0)?.contiguous();
    let scores = part(0)?.matmul(&part(1)?.t()?)?.affine((size as f64).powf(-0.5), 0.0)?;
    let scores = if is_causal {
        let mask = (0..n * n).map(|k| if k % n > k / n { -1e9_f32 } else { 0.0 });
        let mask = Tensor::from_iter(mask, &Device::Cpu)?.reshape((1, 1, n, n))?;
        scores.broadcast_add(&mask)?
    } else {
        scores
    };
    let mixed = Ops::Composed.softmax(&scores)?.matmul(&part(2)?)?;
    mixed.transpose(1, 2)?.contiguous()?.reshape((b, n, triple / 3))
}

/// A world of coloured squares on two grounds, which stand or move to the right or left.
struct Squares {
    classes: Classes,
}

const COLOURS: [[u8; 3]; 3] = [[230, 20, 20], [20, 220, 40], [30, 60, 240]];
const MOVES: [&str; 3] = ["standing still", "moving right", "moving left"];

impl Squares {
    fn new() -> Self {
        let one = |text: &&str| vec![(*text).to_owned()];
        let things = ["red square", "green square", "blue square"].iter().map(one).collect();
        let places = ["at night", "in the light"].iter().map(one).collect();
        let plurals = vec!["squares".to_owned(); 3];
        let motions = MOVES.iter().map(one).collect();
        Self { classes: Classes { things, plurals, places, motions } }
    }

    fn words(&self) -> Words {
        let all = [&self.classes.things[..], &self.classes.places, &self.classes.motions].concat();
        Words::from_json(&word_pieces(all.iter().flatten().map(String::as_str), 1, 12)).unwrap()
    }

    fn film(&self, colour: usize, place: usize, motion: usize, frames: usize) -> Example {
        let ground = [30_u8, 180][place];
        let (mut pictures, mut bounds) = (Vec::new(), Vec::new());
        for frame in 0..frames {
            let along = 2 * frame;
            let left = [4, 1 + along, 9 - along][motion];
            let mut rgb = vec![ground; 16 * 16 * 3];
            for (y, x) in (4..12).flat_map(|y| (left..left + 6).map(move |x| (y, x))) {
                rgb[(y * 16 + x) * 3..][..3].copy_from_slice(&COLOURS[colour]);
            }
            pictures.push(rgb);
            bounds.push(Some([left as f32 / 16.0, 0.25, (left + 6) as f32 / 16.0, 0.75]));
        }
        let classes = &self.classes;
        let thing = &classes.things[colour][0];
        let caption = if frames == 1 {
            format!("a {thing} {}", classes.places[place][0])
        } else {
            format!("a {thing} {}", classes.motions[motion][0])
        };
        Example {
            frames: pictures,
            captions: vec![caption],
            place: place as u32,
            things: vec![Thing { class: colour as u32, bounds, motion: motion as u32 }],
        }
    }
}

impl World for Squares {
    fn classes(&self) -> &Classes {
        &self.classes
    }

    fn picture(&self, rng: &mut ChaCha8Rng, _side: Side) -> Example {
        self.film(rng.random_range(0..3), rng.random_range(0..2), 0, 1)
    }

    fn clip(&self, rng: &mut ChaCha8Rng, _side: Side) -> Example {
        self.film(rng.random_range(0..3), rng.random_range(0..2), rng.random_range(0..3), 4)
    }

    fn turned(&self, rng: &mut ChaCha8Rng, _side: Side) -> [Example; 2] {
        let (colour, place) = (rng.random_range(0..3), rng.random_range(0..2));
        [1, 2].map(|motion| self.film(colour, place, motion, 4))
    }

    fn exchanged(&self, rng: &mut ChaCha8Rng, side: Side) -> [Example; 2] {
        self.turned(rng, side)
    }
}

fn small(words: &Words) -> Network {
    let architecture = serde_json::json!({
        "vision": {"image": 16, "patch": 4, "width": 32, "heads": 2, "layers": 2, "mlp": 64},
        "text": {"vocab": words.count(), "width": 32, "heads": 2, "layers": 2, "mlp": 64, "context": 12},
        "projection": 16,
        "branch": {"layers": 1, "max_frames": 8}
    });
    let architecture = serde_json::from_value(architecture).unwrap();
    let mut network = Network::new(architecture, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    network.weights.set(SCALE, &Tensor::new(&[2.0_f32], &Device::Cpu).unwrap()).unwrap();
    network
}

const SCHEDULE: Schedule = Schedule { peak: 4e-3, warmup: 4, steps: 60 };

#[test]
fn both_stages_learn_a_world_of_squares() {
    let world = Squares::new();
    let words = world.words();
    let mut network = small(&words);
    let mut optimiser = Optimiser::new(AdamW::default());
    let stage = Stage1 { batch: 12, schedule: SCHEDULE, seed: 3 };
    let mut patches = Vec::new();
    for step in 0..60 {
        let losses = stage.step(&network, &mut optimiser, &words, &world, step).unwrap();
        patches.push(losses.patches);
    }
    assert!(patches[59] < 0.3 * patches[0], "{patches:?}");

    let mut rng = ChaCha8Rng::seed_from_u64(2);
    network.add_branch(&mut rng).unwrap();
    network.add_motions(3, &mut rng).unwrap();
    network.weights.close(&CLOSED);
    let closed = network.weights.get("backbone.layers.0.mlp.fc1.weight").unwrap().copy().unwrap();
    let mut optimiser = Optimiser::new(AdamW::default());
    let schedule = Schedule { peak: 2e-3, warmup: 20, steps: 400 };
    let stage = Stage2 { batch: 12, schedule, seed: 4 };
    let mut motions = Vec::new();
    for step in 0..400 {
        let losses = stage.step(&network, &mut optimiser, &words, &world, step).unwrap();
        motions.push(losses.motions);
    }
    assert!(motions[399] < 0.05 * motions[0], "{motions:?}");
    let still = network.weights.get("backbone.layers.0.mlp.fc1.weight").unwrap();
    assert!(largest_difference(&closed, &still) == 0.0, "a closed parameter moved");

    let scores = super::score_clips(&network, &words, &world, 6, 8, 9).unwrap();
    assert!(scores[0].direction > 0.9, "the branch sees directions: {scores:?}");
    assert!(scores[1].direction < 0.8, "plain CLIP cannot: {scores:?}");
}

#[test]
fn a_resumed_training_equals_an_uninterrupted_one_bit_for_bit() {
    let world = Squares::new();
    let words = world.words();
    let stage = Stage1 { batch: 6, schedule: SCHEDULE, seed: 3 };
    let run = |network: &Network, optimiser: &mut Optimiser, steps: std::ops::Range<usize>| {
        for step in steps {
            stage.step(network, optimiser, &words, &world, step).unwrap();
        }
    };
    let bits = |network: &Network| -> Vec<u32> {
        let all = network.weights.iter();
        all.flat_map(|(_, var)| var.flatten_all().unwrap().to_vec1::<f32>().unwrap())
            .map(f32::to_bits)
            .collect()
    };
    let whole = small(&words);
    run(&whole, &mut Optimiser::new(AdamW::default()), 0..7);

    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("stopped.safetensors");
    let (first, mut optimiser) = (small(&words), Optimiser::new(AdamW::default()));
    run(&first, &mut optimiser, 0..4);
    checkpoint::save(&path, &first.weights, &optimiser, 4).unwrap();
    let (mut second, mut optimiser) = (small(&words), Optimiser::new(AdamW::default()));
    let done = checkpoint::load(&path, &mut second.weights, &mut optimiser).unwrap();
    run(&second, &mut optimiser, done..7);
    assert!(bits(&whole) == bits(&second), "the resumed training went another way");
}

#[test]
fn what_is_no_checkpoint_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let tensor = Tensor::zeros(2, candle_core::DType::F32, &Device::Cpu).unwrap();
    candle_core::safetensors::save(&HashMap::from([("x", tensor)]), &path).unwrap();
    let mut optimiser = Optimiser::default();
    let error = checkpoint::load(&path, &mut super::Weights::default(), &mut optimiser);
    assert!(error.unwrap_err().to_string().contains("other.safetensors"));
}

#[test]
fn the_rate_warms_up_peaks_and_falls() {
    let rates: Vec<f32> = (0..60).map(|step| SCHEDULE.rate(step)).collect();
    assert!(rates[..4].is_sorted() && rates[4..].iter().rev().is_sorted());
    assert!((rates[4] - 4e-3).abs() < 1e-6 && rates[59] < 0.06 * rates[4]);
}

#[test]
fn a_patch_shows_the_thing_whose_box_its_middle_is_in() {
    let world = Squares::new();
    let network = small(&world.words());
    let example = world.film(0, 0, 0, 1);
    let shown = data::shown(&example, 0, &network.architecture.vision);
    assert!(shown.contains(&data::Shows::Thing(0)), "{shown:?}");
    assert_eq!(shown.len(), 16);
}
