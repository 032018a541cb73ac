//! What cosines mean: how likely a hit is right, fitted on questions with known answers.

use super::data::{self, World};
use super::error::TrainError;
use super::evaluate::Gallery;
use super::network::Network;
use super::query::Query;
use super::words::Words;
use crate::config::Calibration;

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
    let mut queries: Vec<Query> = Vec::new();
    for (i, clip) in gallery.examples.iter().enumerate() {
        let mut rng = data::generator(seed, 9, i);
        queries.extend(Query::any_about(clip, world.classes(), &mut rng).first());
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

    /// Logistic regression by Newton's method, on cosines of mean 0 and deviation 1, with steps
    /// that are halved until they lead downhill.
    pub fn fit(&self) -> Calibration {
        let count = self.all().count().max(1) as f64;
        let mean = self.all().map(|(cosine, _)| f64::from(cosine)).sum::<f64>() / count;
        let square = |(cosine, _)| (f64::from(cosine) - mean).powi(2);
        let deviation = (self.all().map(square).sum::<f64>() / count).sqrt().max(1e-6);
        let pairs: Vec<(f64, f64)> = self
            .all()
            .map(|(cosine, is_answer)| {
                let truth = f64::from(u8::from(is_answer));
                ((f64::from(cosine) - mean) / deviation, truth)
            })
            .collect();
        let loss = |a: f64, b: f64| -> f64 {
            let of = |&(x, truth): &(f64, f64)| {
                let z = a * x + b;
                z.max(0.0) + (-z.abs()).exp().ln_1p() - truth * z
            };
            pairs.iter().map(of).sum::<f64>() + 1e-3 * (a * a + b * b)
        };
        let (mut a, mut b) = (0.0_f64, 0.0_f64);
        for _ in 0..50 {
            let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (2e-3 * a, 2e-3 * b, 2e-3, 0.0, 2e-3);
            for &(x, truth) in &pairs {
                let p = 1.0 / (1.0 + (-(a * x + b)).exp());
                let (e, w) = (p - truth, p * (1.0 - p));
                ga += e * x;
                gb += e;
                haa += w * x * x;
                hab += w * x;
                hbb += w;
            }
            let det = haa * hbb - hab * hab;
            let (da, db) = ((hbb * ga - hab * gb) / det, (haa * gb - hab * ga) / det);
            let here = loss(a, b);
            let mut share = 1.0;
            while share > 1e-6 && loss(a - share * da, b - share * db) > here {
                share /= 2.0;
            }
            a -= share * da;
            b -= share * db;
        }
        let scale = a / deviation;
        Calibration { scale: scale as f32, offset: (b - scale * mean) as f32 }
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

#[cfg(test)]
mod tests {
    use rand::Rng;

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

    #[test]
    fn a_fit_of_answers_far_from_the_others_says_so() {
        // Close and steep: a plain Newton step from the start leads far past the best.
        let pairs = (0..400).map(|k| {
            let noise = (k * 7 % 13) as f32 * 0.004;
            (if k % 4 == 0 { 0.78 } else { 0.66 } + noise, k % 4 == 0)
        });
        let fit = Hits { present: pairs.collect(), absent: vec![0.7; 200] }.fit();
        assert!(fit.probability(0.66) < 0.02 && fit.probability(0.85) > 0.98, "{fit:?}");
    }
}
