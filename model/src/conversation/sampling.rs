//! Which word comes next, and where an answer ends.

use candle_core::Tensor;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// How an answer is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest word each time.
    pub temperature: f32,
    /// Only the likeliest words that make up this share of the probability are drawn from; 1 is all.
    pub top_p: f32,
    /// The same seed draws the same answer.
    pub seed: u64,
    /// Most tokens of an answer.
    pub max_tokens: usize,
    /// An answer ends before any of these.
    pub stop: Vec<String>,
}

impl Default for Sampling {
    /// As the reference asks.
    fn default() -> Self {
        Self {
            temperature: 0.2,
            top_p: 1.0,
            seed: 0,
            max_tokens: 1024,
            stop: vec![super::prompt::STOP.to_owned()],
        }
    }
}

/// Draws words.
#[derive(Debug)]
pub(super) struct Sampler {
    temperature: f32,
    top_p: f32,
    rng: ChaCha8Rng,
}

impl Sampler {
    pub(super) fn new(sampling: &Sampling) -> Self {
        let Sampling { temperature, top_p, seed, .. } = *sampling;
        Self { temperature, top_p, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The next word, given the scores of all, `[vocab]`.
    pub(super) fn next(&mut self, scores: &Tensor) -> candle_core::Result<u32> {
        self.draw(&scores.to_vec1::<f32>()?)
    }

    fn draw(&mut self, scores: &[f32]) -> candle_core::Result<u32> {
        let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let Some(best) = best.filter(|best| scores[*best].is_finite()) else {
            candle_core::bail!(
                "the language model gives no finite scores: are its weights damaged?"
            )
        };
        if self.temperature <= 0.0 {
            return Ok(best as u32);
        }
        let weight = |at: usize| ((scores[at] - scores[best]) / self.temperature).exp();
        let mut words: Vec<(usize, f32)> = (0..scores.len()).map(|at| (at, weight(at))).collect();
        words.sort_by(|a, b| b.1.total_cmp(&a.1));
        let total: f32 = words.iter().map(|(_, weight)| weight).sum();
        let mut mass = 0.0;
        let kept = words.iter().position(|(_, weight)| {
            mass += weight;
            mass >= self.top_p * total
        });
        words.truncate(kept.map_or(words.len(), |last| last + 1));
        let mut at = self.rng.random::<f32>() * words.iter().map(|(_, weight)| weight).sum::<f32>();
        for (word, weight) in &words {
            at -= weight;
            if at <= 0.0 {
                return Ok(*word as u32);
            }
        }
        Ok(best as u32)
    }
}

/// Hands out text as it grows, but nothing that may turn out to begin a stop.
#[derive(Debug)]
pub(super) struct Outlet<'a> {
    stop: &'a [String],
    given: usize,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(stop: &'a [String]) -> Self {
        Self { stop, given: 0 }
    }

    /// What of `text`, which only ever grows, is new and certain, and whether the answer has ended.
    pub(super) fn take<'t>(&mut self, text: &'t str, is_last: bool) -> (&'t str, bool) {
        let ends = self.stop.iter().filter(|stop| !stop.is_empty());
        let end = ends.filter_map(|stop| text.find(stop.as_str())).min();
        let certain = match end {
            Some(end) => end,
            None if is_last => text.len(),
            None => self.certain(text),
        };
        let new = text.get(self.given..certain).unwrap_or_default();
        self.given = self.given.max(certain);
        (new, end.is_some())
    }

    fn certain(&self, text: &str) -> usize {
        // A word may end within a letter of several bytes; the rest comes with the next one.
        let whole = text.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let begins_a_stop =
            |at: &usize| self.stop.iter().any(|stop| stop.starts_with(&whole[*at..]));
        let mut starts = whole.char_indices().map(|(at, _)| at);
        starts.find(begins_a_stop).unwrap_or(whole.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(temperature: f32, top_p: f32) -> Sampler {
        Sampler::new(&Sampling { temperature, top_p, seed: 3, ..Sampling::default() })
    }

    #[test]
    fn without_temperature_the_likeliest_word_is_taken() {
        assert_eq!(sampler(0.0, 1.0).draw(&[0.1, 3.0, 2.9]).unwrap(), 1);
    }

    #[test]
    fn words_are_drawn_as_often_as_they_are_likely_and_rare_ones_never_with_top_p() {
        let scores = [0.5_f32.ln(), 0.3_f32.ln(), 0.2_f32.ln()];
        let counts = |top_p: f32| {
            let mut sampler = sampler(1.0, top_p);
            let mut counts = [0; 3];
            for _ in 0..4000 {
                counts[sampler.draw(&scores).unwrap() as usize] += 1;
            }
            counts
        };
        let all = counts(1.0);
        for (count, share) in all.iter().zip([0.5, 0.3, 0.2]) {
            assert!((f64::from(*count) / 4000.0 - share).abs() < 0.04, "{all:?}");
        }
        let top = counts(0.75);
        assert!(top[2] == 0 && top[0] > top[1] && top[1] > 0, "{top:?}");
    }

    #[test]
    fn scores_that_are_no_numbers_are_an_error() {
        assert!(sampler(1.0, 1.0).draw(&[f32::NAN, f32::NAN]).is_err());
        assert!(sampler(0.0, 1.0).draw(&[]).is_err());
    }

    #[test]
    fn nothing_of_a_stop_is_given_out_however_it_arrives() {
        let stop = ["</s>".to_owned(), "USER:".to_owned()];
        let whole = "It is U and é. </s>USER: more";
        let mut outlet = Outlet::new(&stop);
        let mut given = String::new();
        let mut has_ended = false;
        for end in (1..=whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            let (new, ended) = outlet.take(&whole[..end], false);
            given.push_str(new);
            has_ended |= ended;
            if ended {
                break;
            }
        }
        assert!(has_ended);
        assert_eq!(given, "It is U and é. ");
    }

    #[test]
    fn what_only_looked_like_a_stop_comes_with_the_end() {
        let stop = ["</s>".to_owned()];
        let mut outlet = Outlet::new(&stop);
        assert_eq!(outlet.take("a </", false), ("a ", false));
        assert_eq!(outlet.take("a </", true), ("</", false));
    }
}
