//! Training as a whole, on a world of coloured squares.

use std::path::PathBuf;

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::super::checkpoint;
use super::super::data::{self, Classes, Example, Side, Thing, World};
use super::super::evaluate::Exam;
use super::super::kept::{Pool, backwards};
use super::super::network::Network;
use super::super::optimiser::{AdamW, Optimiser, Schedule};
use super::super::stage1::{SCALE, Stage1};
use super::super::stage2::{CLOSED, Stage2};
use super::super::words::{Words, word_pieces};
use super::largest_difference;

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
        Self { classes: Classes { things, plurals, places, motions, backwards: vec![0, 2, 1] } }
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
        "vision": {"image": 16, "patch": 4, "width": 32, "heads": 2, "layers": 3, "mlp": 64},
        "text": {"vocab": words.count(), "width": 32, "heads": 2, "layers": 2, "mlp": 64, "context": 12},
        "projection": 16,
        "branch": {"layers": 2, "max_frames": 8}
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
    let stage = Stage2 { batch: 12, motions_first: 100, schedule, seed: 4 };
    let mut pool = Pool::new(60, 4);
    pool.fill(&network, &world, 60).unwrap();
    let mut motions = Vec::new();
    for step in 0..400 {
        let classes = world.classes();
        let losses = stage.step(&network, &mut optimiser, &words, classes, &pool, step).unwrap();
        motions.push(losses.motions);
    }
    assert!(motions[399] < 0.05 * motions[0], "{motions:?}");
    let still = network.weights.get("backbone.layers.0.mlp.fc1.weight").unwrap();
    assert!(largest_difference(&closed, &still) == 0.0, "a closed parameter moved");

    let exam = Exam::set(&network, &world, 6, 8, 9).unwrap();
    let scores = exam.score(&network, &words, world.classes()).unwrap();
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
fn a_patch_shows_the_thing_whose_box_its_middle_is_in() {
    let world = Squares::new();
    let network = small(&world.words());
    let example = world.film(0, 0, 0, 1);
    let shown = data::shown(&example, 0, &network.architecture.vision);
    assert!(shown.contains(&data::Shows::Thing(0)), "{shown:?}");
    assert_eq!(shown.len(), 16);
}

#[test]
fn twins_backwards_are_each_others_likeness() {
    let world = Squares::new();
    let (right, left) = (world.film(0, 1, 1, 4), world.film(0, 1, 2, 4));
    let [turned, other] = backwards(&right, &left, world.classes()).unwrap();
    assert_eq!([turned.things[0].motion, other.things[0].motion], [2, 1]);
    assert_eq!((&turned.captions, &other.captions), (&left.captions, &right.captions));
    assert_eq!(turned.frames[0], right.frames[3]);
    // What is known of where it goes agrees with what is said of it.
    let x = |example: &Example, frame: usize| example.things[0].bounds[frame].unwrap()[0];
    assert!(x(&turned, 3) < x(&turned, 0) && x(&other, 3) > x(&other, 0));
    assert!(backwards(&right, &right, world.classes()).is_none());
    let still = world.film(0, 1, 0, 4);
    assert!(backwards(&still, &right, world.classes()).is_none());
}

#[test]
fn a_pool_holds_the_same_whenever_it_was_filled() {
    let world = Squares::new();
    let mut network = small(&world.words());
    network.add_branch(&mut ChaCha8Rng::seed_from_u64(2)).unwrap();
    network.weights.close(&CLOSED);
    let (mut steady, mut late) = (Pool::new(10, 3), Pool::new(10, 3));
    for count in [7, 12, 25] {
        steady.fill(&network, &world, count).unwrap();
    }
    late.fill(&network, &world, 25).unwrap();
    let drawn = |pool: &Pool| pool.draw(&network, world.classes(), 8, 0).unwrap();
    let (a, b) = (drawn(&steady), drawn(&late));
    assert_eq!(a.examples, b.examples);
    assert!(largest_difference(&a.layers[0], &b.layers[0]) == 0.0);
    assert!(a.examples.len() >= 8 && !a.turned.is_empty());
}

#[test]
fn steps_that_teach_motions_alone_teach_them() {
    let world = Squares::new();
    let words = world.words();
    let mut network = small(&words);
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    network.add_branch(&mut rng).unwrap();
    network.add_motions(3, &mut rng).unwrap();
    network.weights.close(&CLOSED);
    let mut pool = Pool::new(20, 4);
    pool.fill(&network, &world, 20).unwrap();
    let schedule = Schedule { peak: 4e-3, warmup: 10, steps: 80 };
    let stage = Stage2 { batch: 12, motions_first: 80, schedule, seed: 4 };
    let mut optimiser = Optimiser::new(AdamW::default());
    let classes = world.classes();
    let mut run =
        |step| stage.step(&network, &mut optimiser, &words, classes, &pool, step).unwrap();
    let first = run(0);
    let last = (1..80).map(&mut run).last().unwrap();
    assert!(first.contrast == 0.0 && last.contrast == 0.0, "captions came too early");
    assert!(last.motions < 0.3 * first.motions, "{first:?} {last:?}");
    assert!(last.own < 0.8 * first.own, "{first:?} {last:?}");
}
