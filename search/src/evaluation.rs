//! How well searches find what is known to be there: recall, reciprocal rank, false alarms.

use footage_clip::SourceId;
use serde::Serialize;

/// A stretch of a source, in seconds of its media time.
#[derive(Clone, Debug, PartialEq)]
pub struct Stretch {
    /// The source.
    pub source: SourceId,
    /// Begin.
    pub from_s: f64,
    /// End, after the begin.
    pub to_s: f64,
}

impl Stretch {
    /// Whether a moment shows this stretch: they share at least half of the shorter of the two. A
    /// long match may hold a short answer, and a clip of a long answer is enough.
    pub fn is_shown_by(&self, moment: &Self) -> bool {
        let shared = self.to_s.min(moment.to_s) - self.from_s.max(moment.from_s);
        let shorter = (self.to_s - self.from_s).min(moment.to_s - moment.from_s);
        self.source == moment.source && shared > 0.0 && shared >= 0.5 * shorter
    }
}

/// A moment that was given as an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Given {
    /// Where it lies.
    pub stretch: Stretch,
    /// Whether it was given as a match; none where nothing can tell.
    pub is_match: Option<bool>,
}

/// One sentence, judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Judged {
    /// Whether the footage holds an answer at all.
    pub has_answer: bool,
    /// Position of the first right moment, from 1; none where none was given, or none exists.
    pub rank: Option<usize>,
    /// Moments given as matches that are no answer.
    pub false_alarms: Option<usize>,
}

impl Judged {
    /// Judges the moments given for a sentence, best first, by the stretches that answer it.
    pub fn of(given: &[Given], answers: &[Stretch]) -> Self {
        let is_right =
            |given: &Given| answers.iter().any(|answer| answer.is_shown_by(&given.stretch));
        let is_calibrated = given.iter().all(|given| given.is_match.is_some());
        let alarms = given.iter().filter(|given| given.is_match == Some(true));
        Self {
            has_answer: !answers.is_empty(),
            rank: given.iter().position(is_right).map(|at| at + 1),
            false_alarms: is_calibrated.then(|| alarms.filter(|given| !is_right(given)).count()),
        }
    }
}

/// All sentences together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Sentences that the footage holds an answer to: the first four figures are about these.
    pub sentences: usize,
    /// Share whose first moment is right, 0 to 1.
    pub recall_at_1: f64,
    /// Share with a right moment among the first five.
    pub recall_at_5: f64,
    /// Share with a right moment among the first ten.
    pub recall_at_10: f64,
    /// Mean of 1/rank; 0 for a sentence whose answer was not given.
    pub mean_reciprocal_rank: f64,
    /// Sentences that nothing in the footage answers.
    pub sentences_without_answer: usize,
    /// Moments given as matches that answer nothing, for one sentence that stands for an hour of
    /// footage; none where no confidence can be told, or nothing was searched.
    pub false_alarms_per_hour: Option<f64>,
}

impl Scores {
    /// Sums up sentences that were each asked of `hours` of footage.
    pub fn of(judged: &[Judged], hours: f64) -> Self {
        let answerable: Vec<_> = judged.iter().filter(|judged| judged.has_answer).collect();
        let mean = |worth: &dyn Fn(&Judged) -> f64| {
            let sum: f64 = answerable.iter().map(|judged| worth(judged)).sum();
            if answerable.is_empty() { 0.0 } else { sum / answerable.len() as f64 }
        };
        let recall = |at: usize| {
            mean(&|judged: &Judged| f64::from(judged.rank.is_some_and(|rank| rank <= at)))
        };
        let alarms: Option<usize> = judged.iter().map(|judged| judged.false_alarms).sum();
        let asked = hours * judged.len() as f64;
        Self {
            sentences: answerable.len(),
            recall_at_1: recall(1),
            recall_at_5: recall(5),
            recall_at_10: recall(10),
            mean_reciprocal_rank: mean(&|judged| judged.rank.map_or(0.0, |rank| 1.0 / rank as f64)),
            sentences_without_answer: judged.len() - answerable.len(),
            false_alarms_per_hour: alarms
                .filter(|_| asked > 0.0)
                .map(|alarms| alarms as f64 / asked),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(source: &str, from_s: f64, to_s: f64) -> Stretch {
        Stretch { source: SourceId::try_new(source).unwrap(), from_s, to_s }
    }

    fn given(source: &str, from_s: f64, to_s: f64, is_match: Option<bool>) -> Given {
        Given { stretch: stretch(source, from_s, to_s), is_match }
    }

    #[test]
    fn a_moment_shows_what_it_shares_half_of_the_shorter_with() {
        let answer = stretch("gate", 10.0, 14.0);
        assert!(answer.is_shown_by(&stretch("gate", 8.0, 12.0)));
        assert!(!answer.is_shown_by(&stretch("gate", 7.9, 11.9)));
        assert!(answer.is_shown_by(&stretch("gate", 0.0, 100.0)), "a long match holds it");
        assert!(answer.is_shown_by(&stretch("gate", 13.0, 14.0)), "a clip of it is enough");
        assert!(!answer.is_shown_by(&stretch("yard", 10.0, 14.0)), "elsewhere");
        assert!(!answer.is_shown_by(&stretch("gate", 14.0, 18.0)), "only touching");
    }

    #[test]
    fn sentences_are_ranked_by_their_first_right_moment() {
        let answers = [stretch("gate", 10.0, 14.0), stretch("gate", 50.0, 54.0)];
        let moments = [
            given("gate", 20.0, 24.0, Some(true)),
            given("gate", 50.0, 54.0, Some(true)),
            given("gate", 10.0, 14.0, Some(false)),
        ];
        let judged = Judged::of(&moments, &answers);
        assert_eq!(judged, Judged { has_answer: true, rank: Some(2), false_alarms: Some(1) });
        let unknown = Judged::of(&[given("gate", 0.0, 4.0, None)], &answers);
        assert_eq!(unknown, Judged { has_answer: true, rank: None, false_alarms: None });
    }

    #[test]
    fn scores_are_means_over_what_can_be_answered_and_alarms_over_all() {
        let judged = |has_answer, rank, false_alarms| Judged { has_answer, rank, false_alarms };
        let scores = Scores::of(
            &[
                judged(true, Some(1), Some(0)),
                judged(true, Some(4), Some(2)),
                judged(true, None, Some(1)),
                judged(false, None, Some(3)),
            ],
            0.5,
        );
        assert_eq!((scores.sentences, scores.sentences_without_answer), (3, 1));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(scores.recall_at_1, 1.0 / 3.0) && close(scores.recall_at_5, 2.0 / 3.0));
        assert!(close(scores.mean_reciprocal_rank, 1.25 / 3.0));
        assert_eq!(scores.false_alarms_per_hour, Some(3.0));
    }

    #[test]
    fn without_confidence_there_is_no_rate_of_false_alarms_and_without_sentences_no_division() {
        let uncalibrated = Judged { has_answer: true, rank: Some(1), false_alarms: None };
        assert_eq!(Scores::of(&[uncalibrated], 1.0).false_alarms_per_hour, None);
        assert_eq!(Scores::of(&[], 0.0), Scores::default());
    }
}
