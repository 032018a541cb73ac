//! Stepping stones: what the branch's patch tokens should know on the way to a motion's name.
//!
//! From "moving left", said of a whole clip, to attention over time is a long way: gradients of a
//! network that does not yet know where anything is lead nowhere. So tokens are asked, after the
//! first layer, where their thing is; after later layers, which way it goes and when it is seen.
//! The heads that answer are for training only.

use candle_core::{Device, Result, Tensor};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::data::{self, Example, Shows};
use super::network::Network;
use super::ops;
use crate::layers::LAYER_NORM_EPS;

/// Patches on things, at most, that a clip is asked about.
const ON_THINGS: usize = 32;
/// Patches beside the thing that a clip of one thing is asked about.
const BESIDE: usize = 16;
/// What a token is asked of its thing: middle x and y, height; their changes per frame; first and
/// last frame. And of itself: its x, y and time, and what it takes to see motion by adding up:
/// x, y, x^2 and y^2, each times time.
const ANSWERS: usize = 15;
/// Of these, the first are places, then come movements, then what a token is asked of itself.
const PLACES: usize = 3;
const WAYS: usize = 5;
const OWN: usize = 7;
/// Changes per frame are small: they are asked for in this many times their size.
const PACE: f32 = 16.0;

/// The kinds of tokens that are asked; each has heads of its own.
const PATCH: &str = "patch";
const CLASS: &str = "class";

/// Tokens of clips and what they should know.
pub(super) struct Stones {
    kind: &'static str,
    /// Rows of the tokens among [clips x T x (1 + N)].
    rows: Tensor,
    /// What is right [tokens, `ANSWERS`], and 1 where it is known, 0 elsewhere.
    truth: Tensor,
    known: Tensor,
    /// How the thing moves.
    pub(super) motions: Vec<Option<u32>>,
    /// What it is, for tokens that lie on it.
    pub(super) classes: Vec<Option<u32>>,
}

impl Network {
    /// Adds the heads that answer for the branch's layers.
    pub(super) fn add_stones(&mut self, motions: usize, rng: &mut ChaCha8Rng) -> Result<()> {
        let d = self.architecture.vision.width;
        let layers = self.architecture.branch.map_or(0, |branch| branch.layers);
        let w = &mut self.weights;
        for (i, kind) in (0..layers).flat_map(|i| [(i, PATCH), (i, CLASS)]) {
            let name = format!("training.stones.{i}.{kind}");
            w.fill(format!("{name}.norm.weight"), &[d], 1.0)?;
            w.fill(format!("{name}.norm.bias"), &[d], 0.0)?;
            let spread = (d as f32).sqrt().recip();
            let outputs = ANSWERS + motions;
            w.normal(format!("{name}.weight"), &[outputs, d], 0.3 * spread, rng)?;
            w.fill(format!("{name}.bias"), &[outputs], 0.0)?;
        }
        Ok(())
    }
}

impl Stones {
    /// Picks patch tokens and works out what is right for them.
    pub(super) fn patches(
        network: &Network,
        examples: &[Example],
        frames: usize,
        rng: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let vision = &network.architecture.vision;
        let (n, grid) = (vision.patches(), vision.grid());
        let mut list = List::default();
        for (i, example) in examples.iter().enumerate() {
            let (mut on, mut beside) = (Vec::new(), Vec::new());
            for frame in 0..frames {
                for (patch, shows) in data::shown(example, frame, vision).into_iter().enumerate() {
                    match shows {
                        Shows::Thing(index) => on.push((patch, frame, Some(index))),
                        Shows::Place => beside.push((patch, frame, None)),
                        Shows::Either => {}
                    }
                }
            }
            for (mut some, most) in [(on, ON_THINGS), (beside, BESIDE)] {
                for _ in 0..most.min(some.len()) {
                    let any = rng.random_range(0..some.len());
                    let (patch, frame, index) = some.swap_remove(any);
                    // Where there is but one thing every patch of the frame should know of it.
                    let thing = match (index, &example.things[..]) {
                        (None, [only]) => Some(only),
                        (index, things) => index.map(|index| &things[index]),
                    };
                    let mut answers =
                        thing.map_or([None; ANSWERS], |thing| answers(&thing.bounds, frame));
                    answers[ANSWERS - OWN..].copy_from_slice(&own([patch, frame], [grid, frames]));
                    let row = (i * frames + frame) * (1 + n) + 1 + patch;
                    let motion = thing.map(|thing| thing.motion);
                    let class = index.map(|index| example.things[index].class);
                    list.push(row, answers, motion, class);
                }
            }
        }
        list.ask(PATCH)
    }

    /// Picks the class tokens of clips with one thing, and works out what is right for them: the
    /// mean of what is right for a patch in each frame.
    pub(super) fn classes(network: &Network, examples: &[Example], frames: usize) -> Result<Self> {
        let n = network.architecture.vision.patches();
        let mut list = List::default();
        for (i, example) in examples.iter().enumerate() {
            let [thing] = &example.things[..] else { continue };
            let each: Vec<_> = (0..frames).map(|frame| answers(&thing.bounds, frame)).collect();
            let mean = std::array::from_fn(|k| {
                let known: Vec<f32> = each.iter().filter_map(|answers| answers[k]).collect();
                (!known.is_empty()).then(|| known.iter().sum::<f32>() / known.len() as f32)
            });
            list.push(i * frames * (1 + n), mean, Some(thing.motion), None);
        }
        list.ask(CLASS)
    }

    /// The chosen tokens [tokens, D] of a layer's [clips, T, 1 + N, D].
    pub(super) fn tokens(&self, all: &Tensor) -> Result<Tensor> {
        let d = all.dim(3)?;
        ops::rows(&all.reshape(((), d))?, &self.rows)
    }

    /// Mean squared errors of places, of movements and of what tokens know of themselves, and the
    /// cross-entropy of motions, from the tokens [tokens, D] after layer `i`.
    pub(super) fn losses(
        &self,
        network: &Network,
        i: usize,
        tokens: &Tensor,
    ) -> Result<[Tensor; 4]> {
        let name = format!("training.stones.{i}.{}", self.kind);
        let part = |what: &str| network.weights.get(&format!("{name}.{what}"));
        let tokens = ops::layer_norm(
            tokens,
            &part("norm.weight")?,
            &part("norm.bias")?,
            LAYER_NORM_EPS,
            true,
        )?;
        let said = ops::linear(&tokens, &part("weight")?, &part("bias")?, true)?;
        let outputs = said.dim(1)?;
        let error = ((said.narrow(1, 0, ANSWERS)? - &self.truth)? * &self.known)?.sqr()?;
        let mean = |from: usize, count: usize| -> Result<Tensor> {
            let known = self.known.narrow(1, from, count)?.sum_all()?.to_scalar::<f32>()?;
            error.narrow(1, from, count)?.sum_all()? / f64::from(known.max(1.0))
        };
        let motions = said.narrow(1, ANSWERS, outputs - ANSWERS)?;
        Ok([
            mean(0, PLACES)?,
            mean(PLACES, WAYS)?,
            mean(PLACES + WAYS, OWN)?,
            ops::cross_entropy(&motions, self.motions.clone())?,
        ])
    }
}

/// Tokens as they are picked.
#[derive(Default)]
struct List {
    rows: Vec<u32>,
    answers: Vec<[Option<f32>; ANSWERS]>,
    motions: Vec<Option<u32>>,
    classes: Vec<Option<u32>>,
}

impl List {
    fn push(
        &mut self,
        row: usize,
        answers: [Option<f32>; ANSWERS],
        motion: Option<u32>,
        class: Option<u32>,
    ) {
        self.rows.push(row as u32);
        self.answers.push(answers);
        self.motions.push(motion);
        self.classes.push(class);
    }

    fn ask(self, kind: &'static str) -> Result<Stones> {
        let count = self.rows.len();
        let table = |of: fn(&Option<f32>) -> f32| {
            let values: Vec<f32> = self.answers.iter().flatten().map(of).collect();
            Tensor::from_vec(values, (count, ANSWERS), &Device::Cpu)
        };
        Ok(Stones {
            kind,
            truth: table(|answer| answer.unwrap_or_default())?,
            known: table(|answer| f32::from(u8::from(answer.is_some())))?,
            rows: Tensor::from_vec(self.rows, count, &Device::Cpu)?,
            motions: self.motions,
            classes: self.classes,
        })
    }
}

/// What a patch token knows of itself, from its number and its frame's and how many there are.
fn own([patch, frame]: [usize; 2], [grid, frames]: [usize; 2]) -> [Option<f32>; OWN] {
    let centred = |at: usize, of: usize| 3.4 * ((at as f32 + 0.5) / of as f32 - 0.5);
    let (x, y) = (centred(patch % grid, grid), centred(patch / grid, grid));
    let t = centred(frame, frames);
    [x, y, t, x * t, y * t, x * x * t, y * y * t].map(Some)
}

/// What there is to know of a thing in a frame; nothing of where it is while it is out of sight.
fn answers(bounds: &[Option<[f32; 4]>], frame: usize) -> [Option<f32>; ANSWERS] {
    let pose = |frame: usize| {
        let [x0, y0, x1, y1] = (*bounds.get(frame)?)?;
        Some([2.0 * (x0 + x1) - 2.0, 2.0 * (y0 + y1) - 2.0, 2.0 * (y1 - y0).max(0.05).ln() + 2.0])
    };
    let here = pose(frame);
    let before = frame.checked_sub(1).and_then(pose);
    let change = |k: usize| {
        let (from, to, frames) = match (before, here, pose(frame + 1)) {
            (Some(a), _, Some(b)) => (a, b, 2.0),
            (Some(a), Some(b), None) | (None, Some(a), Some(b)) => (a, b, 1.0),
            _ => return None,
        };
        // What the frame's edge cuts seems to shrink at any pace.
        Some((PACE / 4.0 * (to[k] - from[k]) / frames).clamp(-2.5, 2.5))
    };
    let along = |frame: Option<usize>| Some(2.0 * frame? as f32 / bounds.len() as f32 - 1.0);
    let first = along(bounds.iter().position(Option::is_some));
    let last = along(bounds.iter().rposition(Option::is_some));
    let place = |k: usize| here.map(|pose| pose[k]);
    let mut answers = [None; ANSWERS];
    let of_the_thing = [place(0), place(1), place(2), change(0), change(1), change(2), first, last];
    answers[..PLACES + WAYS].copy_from_slice(&of_the_thing);
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_that_moves_right_and_grows_is_known_to() {
        let at = |x: f32, half: f32| Some([x - half, 0.5 - half, x + half, 0.5 + half]);
        let bounds = [None, at(0.3, 0.1), at(0.4, 0.2), at(0.5, 0.3), None, None, None, None];
        let now = answers(&bounds, 2);
        assert!((now[0].unwrap() + 0.4).abs() < 1e-5 && now[1].unwrap().abs() < 1e-5);
        assert!(now[3].unwrap() > 1.0 && now[4].unwrap().abs() < 1e-5 && now[5].unwrap() > 1.0);
        assert_eq!([now[6], now[7]], [Some(-0.75), Some(-0.25)]);
        let later = answers(&bounds, 6);
        assert!(later[..6].iter().all(Option::is_none) && later[6] == now[6]);
    }
}
