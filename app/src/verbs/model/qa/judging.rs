//! Answers, judged by a language model at an endpoint.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail};
use footage_ask::{Aspect, Case, Endpoint, Fault, Judged, Verdict};
use footage_pipeline::Cancel;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::kept::{Kept, key};
use crate::datasets::Question;
use crate::terminal::tell;

/// Calls in a row without a reply after which there seems to be no judge.
const MOST_FAILURES: usize = 5;

/// Replies in a row that are no verdicts, each asked for twice, after which there seems to be nobody who
/// can judge, where there was never a verdict.
const MOST_UNREADABLE: usize = 10;

/// Lines about what could not be judged.
const MOST_LINES: usize = 10;

/// A verdict as it is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct KeptVerdict {
    aspect: Aspect,
    #[serde(flatten)]
    case: Case,
    #[serde(flatten)]
    verdict: Verdict,
}

/// What a judge found, by question and aspect.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pub found: BTreeMap<(usize, Aspect), Verdict>,
    /// Replies that were no verdict, asked twice.
    pub unreadable: BTreeSet<(usize, Aspect)>,
    /// Answers for which the judge gave no reply.
    pub unjudged: usize,
}

/// Somebody who judges.
pub(super) struct Judging<'a> {
    pub endpoint: Endpoint,
    /// What verdicts follow from, besides what is judged.
    pub identity: String,
    pub parallel: usize,
    pub cancel: &'a Cancel,
}

impl Judging<'_> {
    /// Judges all answers, and keeps each verdict as it comes.
    pub(super) async fn judge(
        &self,
        questions: &[Question],
        said: &[Option<Vec<String>>],
        kept: &mut Kept<KeptVerdict>,
    ) -> Result<Verdicts> {
        let mut verdicts = Verdicts::default();
        let mut open = Vec::new();
        for (at, (question, said)) in questions.iter().zip(said).enumerate() {
            let Some(said) = said else { continue };
            for &aspect in question.aspects {
                let case = Case {
                    questions: question.asked.clone(),
                    answer: question.answer.clone(),
                    predicted: said.clone(),
                };
                let key = self.key(aspect, &case)?;
                if let Some(kept) = kept.get(&key) {
                    verdicts.found.insert((at, aspect), kept.verdict);
                } else {
                    open.push((at, aspect, case, key));
                }
            }
        }
        let (count, mut failures, mut unreadable, mut lines) = (open.len(), 0, 0, 0);
        let mut done = 0;
        for some in open.chunks(self.parallel) {
            if self.cancel.is_cancelled() {
                break;
            }
            let mut asked = JoinSet::new();
            for (at, aspect, case, key) in some.iter().cloned() {
                let endpoint = self.endpoint.clone();
                asked.spawn(async move {
                    let judged = endpoint.judge(aspect, &case).await;
                    (at, aspect, case, key, judged)
                });
            }
            while let Some(judged) = asked.join_next().await {
                let (at, aspect, case, key, judged) =
                    judged.context("a thread that judges has died")?;
                let mut say = |why: String| {
                    lines += 1;
                    if lines <= MOST_LINES {
                        tell(&format!("not judged: line {}: {why}", questions[at].line));
                    }
                };
                match judged {
                    Ok(Judged::Verdict(verdict)) => {
                        failures = 0;
                        verdicts.found.insert((at, aspect), verdict);
                        kept.put(key, KeptVerdict { aspect, case, verdict })?;
                    }
                    Ok(Judged::Unreadable(reply)) => {
                        failures = 0;
                        unreadable += 1;
                        if verdicts.found.is_empty() && unreadable >= MOST_UNREADABLE {
                            bail!(
                                "the judge gives no verdicts: {MOST_UNREADABLE} replies in a row are none, \
                                 such as {reply:?}; choose another `judge.model`, or let it say more \
                                 (`judge.max_tokens`)"
                            );
                        }
                        verdicts.unreadable.insert((at, aspect));
                        say(format!("the judge's reply is no verdict: {reply:?}"));
                    }
                    Err(error) => {
                        failures += 1;
                        if failures >= MOST_FAILURES || error.fault() == Fault::Key {
                            bail!("the judge gives no verdicts: {error}");
                        }
                        verdicts.unjudged += 1;
                        say(error.to_string());
                    }
                }
            }
            done += some.len();
            if done / 200 > (done - some.len()) / 200 {
                tell(&format!("{done} of {count} verdicts"));
            }
        }
        Ok(verdicts)
    }

    fn key(&self, aspect: Aspect, case: &Case) -> Result<String> {
        let case = serde_json::to_string(&(aspect, case))?;
        Ok(key(&[&self.identity, &case]))
    }
}
