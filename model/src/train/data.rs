//! What training learns from: labelled pictures and clips, and how they become batches.

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::weights::normal;
use crate::config::VisionConfig;

/// Mean and deviation of a channel, 8-bit steps: pixels are normalised with these.
pub const MEAN: f32 = 118.0;
/// See [`MEAN`].
pub const DEVIATION: f32 = 64.0;

/// A thing that is seen.
#[derive(Debug, Clone, PartialEq)]
pub struct Thing {
    /// Its class: an index into [`Classes::things`].
    pub class: u32,
    /// Left, upper, right and lower edge as fractions of the picture, in each frame where it can be
    /// seen.
    pub bounds: Vec<Option<[f32; 4]>>,
    /// What it does: an index into [`Classes::motions`].
    pub motion: u32,
}

impl Thing {
    /// Whether it is first seen when the other has gone.
    pub fn comes_after(&self, other: &Self) -> bool {
        let first = self.bounds.iter().position(Option::is_some);
        let last = other.bounds.iter().rposition(Option::is_some);
        matches!((first, last), (Some(first), Some(last)) if first > last)
    }
}

/// A labelled clip; a picture is a clip of one frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Frames of square RGB rows.
    pub frames: Vec<Vec<u8>>,
    /// One or more captions.
    pub captions: Vec<String>,
    /// The place: an index into [`Classes::places`].
    pub place: u32,
    /// The things that captions tell of.
    pub things: Vec<Thing>,
}

/// Ways to say what there is.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    /// Phrases for each kind of thing: "dog", "hound".
    pub things: Vec<Vec<String>>,
    /// What several of each kind are called: "dogs".
    pub plurals: Vec<String>,
    /// Phrases for each place: "on a beach", "at the beach".
    pub places: Vec<Vec<String>>,
    /// Phrases for each motion: "moving left".
    pub motions: Vec<Vec<String>>,
    /// What each motion is when time runs backwards: an index into `motions`.
    pub backwards: Vec<u32>,
}

/// Which combinations examples show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Those for training.
    Train,
    /// Those held back for measuring.
    Held,
}

/// Where examples come from. The same generator state gives the same example.
pub trait World: Sync {
    /// The vocabulary.
    fn classes(&self) -> &Classes;
    /// A labelled picture.
    fn picture(&self, rng: &mut ChaCha8Rng, side: Side) -> Example;
    /// A labelled clip.
    fn clip(&self, rng: &mut ChaCha8Rng, side: Side) -> Example;
    /// Two clips that differ only in the direction of motion.
    fn turned(&self, rng: &mut ChaCha8Rng, side: Side) -> [Example; 2];
    /// Two clips that differ only in the order or places of two things.
    fn exchanged(&self, rng: &mut ChaCha8Rng, side: Side) -> [Example; 2];
}

/// The generator of one step's part: the same for a training that was interrupted.
pub(super) fn generator(seed: u64, step: usize, part: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream((step as u64) << 20 | part as u64);
    rng
}

/// `count` examples, made in parallel.
pub(super) fn examples(
    count: usize,
    seed: u64,
    step: usize,
    make: impl Fn(&mut ChaCha8Rng) -> Example + Sync,
) -> Vec<Example> {
    (0..count).into_par_iter().map(|part| make(&mut generator(seed, step, part))).collect()
}

/// How one camera's pixels differ from the world's own, the same for all frames of a clip.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wear {
    gain: [f32; 3],
    lift: f32,
    /// Share of what a pixel has over its neighbours' mean that is added (or, below 0, removed).
    edge: f32,
    noise: f32,
}

impl Wear {
    /// No difference.
    pub(super) const NONE: Self = Self { gain: [1.0; 3], lift: 0.0, edge: 0.0, noise: 0.0 };

    /// Brightness, colour cast, softness or the edges of another scaler, sensor noise.
    pub(super) fn sample(rng: &mut ChaCha8Rng) -> Self {
        let mut spread = |limit: f32| limit * (2.0 * rng.random::<f32>() - 1.0);
        let light = 1.0 + spread(0.12);
        let gain = [light + spread(0.04), light + spread(0.04), light + spread(0.04)];
        let (lift, edge) = (spread(10.0), 0.15 + spread(0.55));
        let noise = 5.0 * rng.random::<f32>().powi(2);
        Self { gain, lift, edge, noise }
    }
}

/// Square RGB rows to normalised patches, [N, 3 x side x side], appended to `out`.
pub(super) fn patches(
    rgb: &[u8],
    vision: &VisionConfig,
    wear: &Wear,
    rng: &mut ChaCha8Rng,
    out: &mut Vec<f32>,
) {
    let (side, patch) = (vision.image, vision.patch);
    let at = |y: usize, x: usize, c: usize| f32::from(rgb[(y * side + x) * 3 + c]);
    let last = side - 1;
    for py in 0..side / patch {
        for px in 0..side / patch {
            for c in 0..3 {
                for y in py * patch..(py + 1) * patch {
                    for x in px * patch..(px + 1) * patch {
                        let own = at(y, x, c);
                        let mut value = own * wear.gain[c] + wear.lift;
                        if wear.edge != 0.0 {
                            let around = at(y.saturating_sub(1), x, c)
                                + at((y + 1).min(last), x, c)
                                + at(y, x.saturating_sub(1), c)
                                + at(y, (x + 1).min(last), c);
                            value += wear.edge * (own - around / 4.0);
                        }
                        out.push((value - MEAN) / DEVIATION);
                    }
                }
            }
        }
    }
    if wear.noise > 0.0 {
        let from = out.len() - vision.patches() * vision.patch_values();
        // A table of deviates walked from a random place: a tenth of the cost of fresh ones.
        let table: Vec<f32> = (0..509).map(|_| normal(rng) * wear.noise / DEVIATION).collect();
        let start = rng.random_range(0..table.len());
        let deviates = table.iter().cycle().skip(start);
        for (value, deviate) in out[from..].iter_mut().zip(deviates) {
            *value += deviate;
        }
    }
}

/// All frames of the examples, in order, as the vision tower's input [frames, N, 3 x side x side].
pub(super) fn batch(
    examples: &[Example],
    vision: &VisionConfig,
    is_worn: bool,
    seed: u64,
    step: usize,
) -> candle_core::Result<Tensor> {
    let parts: Vec<Vec<f32>> = examples
        .par_iter()
        .enumerate()
        .map(|(part, example)| {
            let mut rng = generator(!seed, step, part);
            let wear = if is_worn { Wear::sample(&mut rng) } else { Wear::NONE };
            let len = vision.patches() * vision.patch_values();
            let mut out = Vec::with_capacity(example.frames.len() * len);
            for frame in &example.frames {
                patches(frame, vision, &wear, &mut rng, &mut out);
            }
            out
        })
        .collect();
    let frames = examples.iter().map(|example| example.frames.len()).sum::<usize>();
    let shape = (frames, vision.patches(), vision.patch_values());
    Tensor::from_vec(parts.concat(), shape, &Device::Cpu)
}

/// What a patch shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// The thing with this index in the example.
    Thing(usize),
    /// The place.
    Place,
    /// The rim of a thing: neither for sure.
    Either,
}

/// What each patch of a frame shows, row by row.
pub(super) fn shown(example: &Example, frame: usize, vision: &VisionConfig) -> Vec<Shows> {
    let grid = vision.grid();
    let half = 0.5 / grid as f32;
    (0..grid * grid)
        .map(|patch| {
            let x = (patch % grid) as f32 / grid as f32 + half;
            let y = (patch / grid) as f32 / grid as f32 + half;
            let mut shows = Shows::Place;
            for (index, thing) in example.things.iter().enumerate() {
                let Some([x0, y0, x1, y1]) = thing.bounds[frame] else { continue };
                if x > x0 && x < x1 && y > y0 && y < y1 {
                    shows = Shows::Thing(index);
                } else if x > x0 - half
                    && x < x1 + half
                    && y > y0 - half
                    && y < y1 + half
                    && shows == Shows::Place
                {
                    shows = Shows::Either;
                }
            }
            shows
        })
        .collect()
}
