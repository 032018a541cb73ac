//! Measuring a network on held-back clips, and calibrating what its cosines mean.

use candle_core::Tensor;
use rayon::prelude::*;

use super::data::{self, Classes, Example, Side, World};
use super::error::TrainError;
use super::kept::{self, Kept};
use super::names::{best, recall};
use super::network::{Network, unit};
use super::words::Words;

/// Clips that are embedded together.
const BATCH: usize = 16;

/// How well texts find clips.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClipScore {
    /// Clips in the gallery.
    pub gallery: usize,
    /// Share of captions whose best clip is theirs.
    pub recall_1: f32,
    /// Share of captions that have their clip among the best five.
    pub recall_5: f32,
    /// Share of captions that prefer their clip over its twin that moves the other way.
    pub direction: f32,
    /// Share of captions that prefer their clip over its twin in the other order.
    pub order: f32,
    /// Share of clips of one thing whose best name, of all there are, is the thing's.
    pub names: f32,
    /// Share of clips of one thing whose best motion is the thing's.
    pub motions: f32,
    /// Share of clips whose best place is theirs.
    pub places: f32,
    /// Share of clips of two to five of a kind whose best number is theirs.
    pub counts: f32,
}

const NUMBERS: [&str; 4] = ["two", "three", "four", "five"];

/// A gallery of clips, embedded with the branch and without.
#[derive(Debug)]
pub struct Gallery {
    /// The clips' labels.
    pub examples: Vec<Example>,
    /// Unit rows of the branch.
    pub videos: Tensor,
    /// Unit rows of plain CLIP.
    pub plain: Tensor,
}

impl Gallery {
    /// Embeds clips, with a camera's wear that follows from `seed`.
    pub fn embed(network: &Network, examples: &[Example], seed: u64) -> Result<Self, TrainError> {
        Self::of(network, &kept::keep(network, examples, seed, 0)?)
    }

    fn of(network: &Network, clips: &[Kept]) -> Result<Self, TrainError> {
        let (mut videos, mut plain) = (Vec::new(), Vec::new());
        for some in clips.chunks(BATCH) {
            let frames = some[0].example.frames.len();
            let forwards: Vec<(&Kept, bool)> = some.iter().map(|kept| (kept, false)).collect();
            let layers = kept::layers(network, &forwards)?;
            videos.push(unit(&network.watch(&layers, frames)?.videos)?.detach());
            plain.push(unit(&network.mean_pooled(&layers, frames)?)?.detach());
        }
        let examples = clips.iter().map(|kept| kept.example.clone()).collect();
        Ok(Self { examples, videos: Tensor::cat(&videos, 0)?, plain: Tensor::cat(&plain, 0)? })
    }
}

/// Held-back clips to measure a network with, seen once by its closed vision tower.
#[derive(Debug)]
pub struct Exam {
    gallery: Vec<Kept>,
    /// Twins side by side, in direction and in order, and the caption of each that tells them apart.
    twins: [(Vec<Kept>, Vec<String>); 2],
}

impl Exam {
    /// `count` clips, and `pairs` twins of each kind.
    pub fn set(
        network: &Network,
        world: &dyn World,
        count: usize,
        pairs: usize,
        seed: u64,
    ) -> Result<Self, TrainError> {
        let make = |rng: &mut _| world.clip(rng, Side::Held);
        let gallery = kept::keep(network, &data::examples(count, seed, 0, make), seed, 0)?;
        let twins = |kind: usize| -> Result<(Vec<Kept>, Vec<String>), TrainError> {
            let twins: Vec<[Example; 2]> = (0..pairs)
                .into_par_iter()
                .map(|part| {
                    let mut rng = data::generator(seed, 1 + kind, part);
                    match kind {
                        0 => world.turned(&mut rng, Side::Held),
                        _ => world.exchanged(&mut rng, Side::Held),
                    }
                })
                .collect();
            let told = twins.into_iter().filter_map(|pair| Some((telling_apart(&pair)?, pair)));
            let (texts, clips): (Vec<_>, Vec<_>) = told.unzip();
            Ok((kept::keep(network, &clips.concat(), seed, 1 + kind)?, texts.concat()))
        };
        Ok(Self { gallery, twins: [twins(0)?, twins(1)?] })
    }

    /// How well the branch does, and how well plain CLIP does.
    pub fn score(
        &self,
        network: &Network,
        words: &Words,
        classes: &Classes,
    ) -> Result<[ClipScore; 2], TrainError> {
        let gallery = Gallery::of(network, &self.gallery)?;
        let captions: Vec<String> =
            gallery.examples.iter().map(|e| e.captions[0].clone()).collect();
        let texts = network.read_texts(words, &captions)?.detach();
        let mut scores = [ClipScore { gallery: captions.len(), ..ClipScore::default() }; 2];
        for (score, rows) in scores.iter_mut().zip([&gallery.videos, &gallery.plain]) {
            let similarity = texts.matmul(&rows.t()?)?.to_vec2()?;
            (score.recall_1, score.recall_5) = recall(&similarity);
            name(score, network, words, classes, &gallery.examples, rows)?;
        }
        for (kind, (clips, texts)) in self.twins.iter().enumerate() {
            if clips.is_empty() {
                continue;
            }
            let gallery = Gallery::of(network, clips)?;
            let texts = network.read_texts(words, texts)?.detach();
            for (score, rows) in scores.iter_mut().zip([&gallery.videos, &gallery.plain]) {
                let s = texts.matmul(&rows.t()?)?.to_vec2::<f32>()?;
                let right = (0..s.len()).filter(|&i| s[i][i] > s[i][i ^ 1]).count();
                let share = right as f32 / s.len() as f32;
                *(if kind == 0 { &mut score.direction } else { &mut score.order }) = share;
            }
        }
        Ok(scores)
    }
}

/// Asks each clip of a gallery what it shows, against lists of names.
fn name(
    score: &mut ClipScore,
    network: &Network,
    words: &Words,
    classes: &Classes,
    examples: &[Example],
    clips: &Tensor,
) -> Result<(), TrainError> {
    let choices = |lists: &[Vec<String>]| -> Result<Vec<usize>, TrainError> {
        let first: Vec<String> = lists.iter().map(|ways| ways[0].clone()).collect();
        let rows = network.read_texts(words, &first)?.detach();
        let similarity = clips.matmul(&rows.t()?)?.to_vec2::<f32>()?;
        Ok(similarity.iter().map(|row| best(row)).collect())
    };
    let things = choices(&classes.things)?;
    let motions = choices(&classes.motions)?;
    let places = choices(&classes.places)?;
    let (mut alone, mut several) = (0, 0);
    for (i, clip) in examples.iter().enumerate() {
        score.places += f32::from(places[i] == clip.place as usize) / examples.len() as f32;
        match &clip.things[..] {
            [thing] => {
                alone += 1;
                score.names += f32::from(things[i] == thing.class as usize);
                score.motions += f32::from(motions[i] == thing.motion as usize);
            }
            [first, others @ ..] if others.iter().all(|thing| thing.class == first.class) => {
                let plural = &classes.plurals[first.class as usize];
                let texts = NUMBERS.map(|number| format!("{number} {plural}"));
                let rows = network.read_texts(words, &texts)?.detach();
                let row = clips.narrow(0, i, 1)?.matmul(&rows.t()?)?.to_vec2::<f32>()?;
                several += 1;
                score.counts += f32::from(best(&row[0]) + 1 == others.len());
            }
            _ => {}
        }
    }
    score.names /= alone.max(1) as f32;
    score.motions /= alone.max(1) as f32;
    score.counts /= several.max(1) as f32;
    Ok(())
}

/// The first captions in which twins differ.
fn telling_apart(pair: &[Example; 2]) -> Option<[String; 2]> {
    let both = pair[0].captions.iter().zip(&pair[1].captions);
    both.into_iter().find(|(a, b)| a != b).map(|(a, b)| [a.clone(), b.clone()])
}

/// `count` held-back clips of all kinds; a third are twins in direction, a third in order.
pub fn held_clips(world: &dyn World, count: usize, seed: u64) -> Vec<Example> {
    let pairs = count / 6;
    let parts: Vec<Vec<Example>> = (0..count - 2 * pairs)
        .into_par_iter()
        .map(|part| {
            let mut rng = data::generator(seed, 0, part);
            match part {
                _ if part < pairs => world.turned(&mut rng, Side::Held).into(),
                _ if part < 2 * pairs => world.exchanged(&mut rng, Side::Held).into(),
                _ => vec![world.clip(&mut rng, Side::Held)],
            }
        })
        .collect();
    parts.into_iter().flatten().collect()
}
