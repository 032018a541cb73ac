//! Measuring a network on held-back clips, and calibrating what its cosines mean.

use candle_core::Tensor;
use rand::Rng;

use super::data::{self, Classes, Example, Side, World};
use super::error::TrainError;
use super::names::{best, recall};
use super::network::{Network, unit};
use super::stage2::clips;
use super::words::Words;
use crate::config::Calibration;

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
    /// The clips.
    pub examples: Vec<Example>,
    /// Unit rows of the branch.
    pub videos: Tensor,
    /// Unit rows of plain CLIP.
    pub plain: Tensor,
}

impl Gallery {
    /// Embeds clips, with a camera's wear that follows from `seed`.
    pub fn embed(network: &Network, examples: Vec<Example>, seed: u64) -> Result<Self, TrainError> {
        let (mut videos, mut plain) = (Vec::new(), Vec::new());
        for (part, some) in examples.chunks(BATCH).enumerate() {
            let frames = some[0].frames.len();
            let pixels = data::batch(some, &network.architecture.vision, true, seed, part)?;
            let layers = network.frozen_layers(&pixels)?;
            videos.push(unit(&network.watch(&layers, frames)?.videos)?.detach());
            plain.push(unit(&network.mean_pooled(&layers, frames)?)?.detach());
        }
        let (videos, plain) = (Tensor::cat(&videos, 0)?, Tensor::cat(&plain, 0)?);
        Ok(Self { examples, videos, plain })
    }
}

/// Scores the branch and plain CLIP on `count` held-back clips and `pairs` twins of each kind.
pub fn score_clips(
    network: &Network,
    words: &Words,
    world: &dyn World,
    count: usize,
    pairs: usize,
    seed: u64,
) -> Result<[ClipScore; 2], TrainError> {
    use rayon::prelude::*;
    let make = |rng: &mut _| world.clip(rng, Side::Held);
    let gallery = Gallery::embed(network, data::examples(count, seed, 0, make), seed)?;
    let captions: Vec<String> = gallery.examples.iter().map(|e| e.captions[0].clone()).collect();
    let texts = network.read_texts(words, &captions)?.detach();
    let mut scores = [ClipScore { gallery: count, ..ClipScore::default() }; 2];
    for (score, rows) in scores.iter_mut().zip([&gallery.videos, &gallery.plain]) {
        let similarity = texts.matmul(&rows.t()?)?.to_vec2()?;
        (score.recall_1, score.recall_5) = recall(&similarity);
        name(score, network, words, world.classes(), &gallery.examples, rows)?;
    }
    for kind in 0..2 {
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
        let texts: Vec<Option<[String; 2]>> = twins.iter().map(telling_apart).collect();
        let known: Vec<[String; 2]> = texts.iter().flatten().cloned().collect();
        let told = twins.into_iter().zip(&texts).filter(|(_, text)| text.is_some());
        let examples: Vec<Example> = told.flat_map(|(pair, _)| pair).collect();
        if examples.is_empty() {
            continue;
        }
        let gallery = Gallery::embed(network, examples, seed + 1)?;
        let texts = network.read_texts(words, &known.concat())?.detach();
        for (score, rows) in scores.iter_mut().zip([&gallery.videos, &gallery.plain]) {
            let s = texts.matmul(&rows.t()?)?.to_vec2::<f32>()?;
            let right = (0..s.len()).filter(|&i| s[i][i] > s[i][i ^ 1]).count();
            let share = right as f32 / s.len() as f32;
            *(if kind == 0 { &mut score.direction } else { &mut score.order }) = share;
        }
    }
    Ok(scores)
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

/// A question with a known answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// "a dog".
    Thing(u32),
    /// "a dog moving left".
    Moving(u32, u32),
    /// "a dog on the beach".
    Placed(u32, u32),
}

impl Query {
    /// Its words.
    pub fn text(self, classes: &Classes) -> String {
        let noun = |class: u32| {
            let name = &classes.things[class as usize][0];
            let vowel = name.starts_with(['a', 'e', 'i', 'o', 'u']);
            format!("{} {name}", if vowel { "an" } else { "a" })
        };
        match self {
            Self::Thing(class) => noun(class),
            Self::Moving(class, motion) => {
                format!("{} {}", noun(class), classes.motions[motion as usize][0])
            }
            Self::Placed(class, place) => {
                format!("{} {}", noun(class), classes.places[place as usize][0])
            }
        }
    }

    /// Whether a clip is an answer.
    pub fn is_answered_by(self, clip: &Example) -> bool {
        let (Self::Thing(class) | Self::Moving(class, _) | Self::Placed(class, _)) = self;
        clip.things.iter().any(|thing| {
            thing.class == class
                && match self {
                    Self::Thing(_) => true,
                    Self::Moving(_, motion) => thing.motion == motion,
                    Self::Placed(_, place) => clip.place == place,
                }
        })
    }
}

/// Cosines of best hits, and whether they are answers.
#[derive(Debug, Clone, Default)]
pub struct Hits {
    /// (cosine, is an answer) of the best hits of queries that have an answer in the gallery.
    pub present: Vec<(f32, bool)>,
    /// Cosine of the best hit of the same queries once their answers are taken away.
    pub absent: Vec<f32>,
}

/// Asks about what the gallery's clips show: each query once as it is, with its three best hits
/// judged, and once with every answer taken out of the gallery.
pub fn ask(
    network: &Network,
    words: &Words,
    world: &dyn World,
    gallery: &Gallery,
    seed: u64,
) -> Result<Hits, TrainError> {
    let mut queries = Vec::new();
    for (i, clip) in gallery.examples.iter().enumerate() {
        let mut rng = data::generator(seed, 9, i);
        let Some(thing) = clip.things.first() else { continue };
        queries.push(match rng.random_range(0..3) {
            0 => Query::Thing(thing.class),
            1 => Query::Moving(thing.class, thing.motion),
            _ => Query::Placed(thing.class, clip.place),
        });
    }
    let texts: Vec<String> = queries.iter().map(|query| query.text(world.classes())).collect();
    let texts = network.read_texts(words, &texts)?.detach();
    let similarity = texts.matmul(&gallery.videos.t()?)?.to_vec2::<f32>()?;
    let mut hits = Hits::default();
    for (query, row) in queries.iter().zip(&similarity) {
        let mut judged: Vec<(f32, bool)> = row
            .iter()
            .zip(&gallery.examples)
            .map(|(&cosine, clip)| (cosine, query.is_answered_by(clip)))
            .collect();
        judged.sort_by(|a, b| b.0.total_cmp(&a.0));
        hits.absent.extend(judged.iter().find(|hit| !hit.1).map(|hit| hit.0));
        hits.present.extend(judged.into_iter().take(3));
    }
    Ok(hits)
}

/// What a threshold of one half does.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Trust {
    /// Of the hits shown, the share that are answers.
    pub precision: f32,
    /// Of the answers among best hits, the share that are shown.
    pub recall: f32,
    /// Of the queries without an answer, the share that show nothing.
    pub refused: f32,
}

impl Hits {
    fn all(&self) -> impl Iterator<Item = (f32, bool)> {
        self.present.iter().copied().chain(self.absent.iter().map(|&cosine| (cosine, false)))
    }

    /// Logistic regression by Newton's method.
    pub fn fit(&self) -> Calibration {
        let (mut a, mut b) = (1.0_f64, 0.0_f64);
        for _ in 0..50 {
            let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-6, 0.0, 1e-6);
            for (cosine, is_answer) in self.all() {
                let x = f64::from(cosine);
                let p = 1.0 / (1.0 + (-(a * x + b)).exp());
                let e = p - f64::from(u8::from(is_answer));
                let w = p * (1.0 - p);
                ga += e * x;
                gb += e;
                haa += w * x * x;
                hab += w * x;
                hbb += w;
            }
            let det = haa * hbb - hab * hab;
            a -= ((hbb * ga - hab * gb) / det).clamp(-5.0, 5.0);
            b -= ((haa * gb - hab * ga) / det).clamp(-5.0, 5.0);
        }
        Calibration { scale: a as f32, offset: b as f32 }
    }

    /// What showing only hits more likely right than wrong would do here.
    pub fn trust(&self, fit: Calibration) -> Trust {
        let shows = |cosine: f32| fit.probability(cosine) > 0.5;
        let count = |of: &dyn Fn(f32, bool) -> bool| {
            self.all().filter(|&(cosine, answer)| of(cosine, answer)).count() as f32
        };
        let shown = count(&|cosine, _| shows(cosine));
        let right = count(&|cosine, answer| answer && shows(cosine));
        let refused = self.absent.iter().filter(|&&cosine| !shows(cosine)).count() as f32;
        Trust {
            precision: right / shown.max(1.0),
            recall: right / count(&|_, answer| answer).max(1.0),
            refused: refused / (self.absent.len() as f32).max(1.0),
        }
    }
}

/// `count` held-back clips of all kinds, twins among them.
pub fn held_clips(world: &dyn World, count: usize, seed: u64) -> Vec<Example> {
    clips(count, seed, 0, Side::Held, world)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fit_recovers_the_odds_it_was_drawn_from() {
        let odds = |cosine: f32| 1.0 / (1.0 + (-(12.0 * cosine - 4.0)).exp());
        let mut rng = data::generator(3, 0, 0);
        let present = (0..20_000)
            .map(|_| {
                let cosine: f32 = rng.random();
                (cosine, rng.random::<f32>() < odds(cosine))
            })
            .collect();
        let fit = Hits { present, absent: Vec::new() }.fit();
        assert!((fit.scale - 12.0).abs() < 0.6 && (fit.offset + 4.0).abs() < 0.3, "{fit:?}");
    }
}
