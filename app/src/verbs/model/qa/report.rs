//! The figures of a set of questions.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use footage_ask::{Aspect, normalised};
use serde::Serialize;
use serde_json::{Value, json};

use super::answers::Answers;
use super::judging::Verdicts;
use crate::datasets::Question;
use crate::terminal::escaped;

/// Counts over some of the questions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Tally {
    answered: u64,
    exact: u64,
    judged: u64,
    right: u64,
    marks: u64,
    unreadable: u64,
}

/// A share, or none of nothing.
fn share(of: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| of as f64 / all as f64)
}

impl Tally {
    fn mark(&mut self, verdicts: &Verdicts, at: usize, aspect: Aspect) {
        if let Some(verdict) = verdicts.found.get(&(at, aspect)) {
            self.judged += 1;
            self.right += u64::from(verdict.is_right == Some(true));
            self.marks += u64::from(verdict.score);
        }
        self.unreadable += u64::from(verdicts.unreadable.contains(&(at, aspect)));
    }

    /// The mean mark, 0 to 5, over what was judged.
    fn score(&self) -> Option<f64> {
        share(self.marks, self.judged)
    }

    /// For a question with a short answer.
    fn matched(&self, is_judged: bool) -> Value {
        let mut described = json!({
            "answered": self.answered,
            "exact": share(self.exact, self.answered),
        });
        if is_judged {
            described["judged"] = json!(self.judged);
            described["unreadable"] = json!(self.unreadable);
            described["accuracy"] = json!(share(self.right, self.judged));
            described["score"] = json!(self.score());
        }
        described
    }
}

/// All figures.
#[derive(Debug, Default)]
pub(super) struct Figures {
    matched: Option<Tally>,
    kinds: BTreeMap<String, Tally>,
    aspects: BTreeMap<Aspect, Tally>,
    is_judged: bool,
}

impl Figures {
    pub(super) fn of(
        questions: &[Question],
        answers: &Answers,
        verdicts: Option<&Verdicts>,
    ) -> Self {
        let mut figures = Self { is_judged: verdicts.is_some(), ..Self::default() };
        let none = Verdicts::default();
        let verdicts = verdicts.unwrap_or(&none);
        for (at, (question, said)) in questions.iter().zip(&answers.said).enumerate() {
            let Some(said) = said else { continue };
            for &aspect in question.aspects {
                if aspect != Aspect::Match {
                    let tally = figures.aspects.entry(aspect).or_default();
                    tally.answered += 1;
                    tally.mark(verdicts, at, aspect);
                    continue;
                }
                let is_exact =
                    said.iter().all(|said| normalised(said) == normalised(&question.answer));
                let of_kind =
                    question.kind.clone().map(|kind| figures.kinds.entry(kind).or_default());
                let of_all = figures.matched.get_or_insert_default();
                for tally in [Some(of_all), of_kind].into_iter().flatten() {
                    tally.answered += 1;
                    tally.exact += u64::from(is_exact);
                    tally.mark(verdicts, at, aspect);
                }
            }
        }
        figures
    }

    /// Replies of the judge that were no verdicts.
    pub(super) fn unreadable(&self) -> u64 {
        let matched = self.matched.map_or(0, |tally| tally.unreadable);
        matched + self.aspects.values().map(|tally| tally.unreadable).sum::<u64>()
    }

    /// The mean over the aspects, where all of them were judged.
    fn mean_score(&self) -> Option<f64> {
        let scores: Option<Vec<f64>> = self.aspects.values().map(Tally::score).collect();
        let scores = scores.filter(|scores| !scores.is_empty())?;
        Some(scores.iter().sum::<f64>() / scores.len() as f64)
    }

    pub(super) fn json(&self) -> Value {
        let mut described = json!({});
        if let Some(matched) = self.matched {
            described["answers"] = matched.matched(self.is_judged);
            let kinds = self.kinds.iter();
            let kinds: serde_json::Map<_, _> =
                kinds.map(|(kind, tally)| (kind.clone(), tally.matched(self.is_judged))).collect();
            if !kinds.is_empty() {
                described["types"] = Value::Object(kinds);
            }
        }
        if !self.aspects.is_empty() {
            let aspects = self.aspects.iter().map(|(aspect, tally)| {
                let score = json!({
                    "answered": tally.answered,
                    "judged": tally.judged,
                    "unreadable": tally.unreadable,
                    "score": tally.score(),
                });
                (name(aspect), score)
            });
            described["aspects"] = Value::Object(aspects.collect());
            described["mean_score"] = json!(self.mean_score());
        }
        described
    }

    pub(super) fn table(&self) -> String {
        let percent =
            |share: Option<f64>| share.map_or("-".to_owned(), |s| format!("{:.1} %", s * 100.0));
        let mark = |score: Option<f64>| score.map_or("-".to_owned(), |s| format!("{s:.2}"));
        let mut table = String::new();
        let mut line = |cells: [String; 5]| {
            let [title, answered, exact, right, score] = cells;
            let written = if self.is_judged {
                writeln!(table, "{title:22} {answered:>8} {exact:>8} {right:>8} {score:>7}")
            } else {
                writeln!(table, "{title:22} {answered:>8} {exact:>8}")
            };
            debug_assert!(written.is_ok(), "writing into a string does not fail");
        };
        let of = |title: &str, tally: &Tally| {
            [
                escaped(title),
                tally.answered.to_string(),
                percent(share(tally.exact, tally.answered)),
                percent(share(tally.right, tally.judged)),
                mark(tally.score()),
            ]
        };
        if let Some(matched) = &self.matched {
            line(["", "answered", "exact", "judged", "score"].map(str::to_owned));
            for (kind, tally) in &self.kinds {
                line(of(kind, tally));
            }
            line(of("all", matched));
        }
        if !self.aspects.is_empty() {
            line(["", "answered", "", "judged", "score"].map(str::to_owned));
            for (aspect, tally) in &self.aspects {
                line([
                    name(aspect),
                    tally.answered.to_string(),
                    String::new(),
                    tally.judged.to_string(),
                    mark(tally.score()),
                ]);
            }
            let none = String::new;
            line(["mean".to_owned(), none(), none(), none(), mark(self.mean_score())]);
        }
        table
    }
}

/// As it is written in JSON.
fn name(aspect: &impl Serialize) -> String {
    let name = serde_json::to_value(aspect).ok();
    name.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}
