//! Clips of the synthetic world, seen once by the frozen CLIP.

use anyhow::{Context as _, Result};
use footage_model::RgbFrame;
use footage_model::train::pretrain::Pretraining;
use footage_synth::{
    Counterpart, Fit, LabelledClip, Motion, PlacedObject, Relation, Split, View, World,
};
use half::f16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng as _;

use crate::Size;

/// Length of a clip, as that of the bundled model's own.
const SECONDS: f32 = 4.0;

/// A clip and what is said of it.
pub(crate) struct Clip {
    /// CLIP's states after each of its blocks, `[T, L, 1+N, D]`.
    pub(crate) states: Vec<f16>,
    /// The caption's embedding.
    pub(crate) text: Vec<f32>,
}

/// Clips that each have a twin: the same frames backwards. Two sentences of each, the first true of the
/// clip, the second of its twin.
pub(crate) type Twins = Vec<(Clip, Vec<f32>)>;

/// All that a study learns from and measures with.
pub(crate) struct Material {
    pub(crate) training: Vec<Clip>,
    pub(crate) gallery: Vec<Clip>,
    /// "a dog moving left".
    pub(crate) direction: Twins,
    /// "a dog, then a bicycle".
    pub(crate) order: Twins,
    /// "a dog not moving right".
    pub(crate) negation: Vec<[Vec<f32>; 2]>,
}

/// How a motion is said that becomes another when time runs backwards.
fn reversible(motion: Motion) -> Option<(&'static str, &'static str)> {
    match motion {
        Motion::Right => Some(("moving right", "moving left")),
        Motion::Left => Some(("moving left", "moving right")),
        Motion::Up => Some(("moving up", "moving down")),
        Motion::Down => Some(("moving down", "moving up")),
        Motion::Closer => Some(("coming closer", "moving away")),
        Motion::Away => Some(("moving away", "coming closer")),
        _ => None,
    }
}

/// "a dog", "a red square".
fn noun(object: &PlacedObject) -> String {
    let name = match object.colour {
        Some(colour) => format!("{colour} {}", object.name),
        None => object.name.clone(),
    };
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// What can be said of a clip whose only thing moves, and of its twin.
fn directions(clip: &LabelledClip) -> Option<[String; 4]> {
    let [object] = &clip.objects[..] else { return None };
    let (way, back) = reversible(object.motion)?;
    let noun = noun(object);
    let said = |what: &str| format!("{noun} {what}");
    let denied = |what: &str| format!("{noun} not {what}");
    Some([said(way), said(back), denied(back), denied(way)])
}

/// What can be said of a clip in which one thing comes after another, and of its twin.
fn orders(clip: &LabelledClip) -> Option<[String; 2]> {
    let [first, second] = &clip.objects[..] else { return None };
    let (one, two) = (noun(first), noun(second));
    let is_told = clip.relation == Relation::Then && one != two;
    is_told.then(|| [format!("{one}, then {two}"), format!("{two}, then {one}")])
}

/// Renders clips and shows them to CLIP.
struct Camera<'a> {
    world: World,
    clip: &'a Pretraining,
    frames: usize,
    /// Frames per second.
    rate: f32,
}

const VIEW: View = View::square(64, Fit::Stretch);

impl Camera<'_> {
    fn seen(&self, clip: &LabelledClip, text: &str) -> Result<Clip> {
        let side = |pixels: usize| u32::try_from(pixels);
        let (width, height) = (side(clip.width)?, side(clip.height)?);
        let frames = clip.frames.iter().cloned();
        let frames = frames.map(|rgb| RgbFrame::try_new(width, height, rgb));
        let states = self.clip.features(&frames.collect::<Result<Vec<_>, _>>()?)?;
        Ok(Clip { states, text: self.read(text)? })
    }

    fn read(&self, text: &str) -> Result<Vec<f32>> {
        self.clip.texts(&[text])?.pop().context("the model gave no embedding of a text")
    }

    /// `count` clips with their richest caption.
    fn clips(&self, count: usize, split: Split, seed: u64) -> Result<Vec<Clip>> {
        (0..count)
            .map(|number| {
                let mut rng = generator(seed, number);
                let clip = self.world.sample_clip(&mut rng, split, VIEW, self.frames, self.rate);
                self.seen(&clip, clip.captions.first().context("a clip without a caption")?)
            })
            .collect()
    }

    /// Held-back clips of which `said` has sentences, the first of these true of the clip.
    fn told<const N: usize>(
        &self,
        count: usize,
        counterpart: Counterpart,
        seed: u64,
        said: impl Fn(&LabelledClip) -> Option<[String; N]>,
    ) -> Result<Vec<(Clip, [Vec<f32>; N])>> {
        let mut found = Vec::new();
        for number in 0..100 * count {
            if found.len() == count {
                break;
            }
            let mut rng = generator(seed, number);
            let (clip, _) = self.world.sample_clip_pair(
                &mut rng,
                Split::Held,
                counterpart,
                VIEW,
                self.frames,
                self.rate,
            );
            let Some(sentences) = said(&clip) else { continue };
            let texts = sentences.iter().map(|text| self.read(text)).collect::<Result<Vec<_>>>()?;
            let texts = texts.try_into().ok().context("a sentence is missing")?;
            found.push((self.seen(&clip, &sentences[0])?, texts));
        }
        Ok(found)
    }
}

/// Everything about the material follows from these, whatever the seed of a training.
fn generator(seed: u64, number: usize) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(number as u64);
    rng
}

impl Material {
    pub(crate) fn new(clip: &Pretraining, size: &Size) -> Result<Self> {
        let rate = size.frames as f32 / SECONDS;
        let camera = Camera { world: World::load()?, clip, frames: size.frames, rate };
        let (mut direction, mut negation) = (Vec::new(), Vec::new());
        for (clip, [_, back, denied, denied_of_twin]) in
            camera.told(size.twins, Counterpart::Direction, 403, directions)?
        {
            direction.push((clip, back));
            negation.push([denied, denied_of_twin]);
        }
        let order = camera.told(size.twins, Counterpart::Order, 404, orders)?;
        Ok(Self {
            training: camera.clips(size.clips, Split::Train, 401)?,
            gallery: camera.clips(size.gallery, Split::Held, 402)?,
            direction,
            order: order.into_iter().map(|(clip, [_, other])| (clip, other)).collect(),
            negation,
        })
    }
}
