//! Questions about videos, answered by whoever `footage ask` would ask.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use footage_ask::{Answering, AskError, Conversation, Fault};
use footage_pipeline::{FileSource, identify};
use serde::{Deserialize, Serialize};

use super::kept::{Kept, key};
use crate::datasets::{Question, Videos};
use crate::outcome::in_one_line;
use crate::stretches::{Stretches, Wanted};
use crate::terminal::tell;

/// Failures in a row after which nobody seems to answer: where it is clearly who is asked that fails,
/// and where it may be the footage.
const MOST_FAILURES: (usize, usize) = (3, 10);

/// Lines about what is left out.
const MOST_LINES: usize = 20;

/// An answer as it is kept, with what a person wants to see beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    video: String,
    question: String,
    right: String,
    pub said: String,
    pub model: String,
}

/// What came of the questions.
#[derive(Debug, Default)]
pub(super) struct Answers {
    /// What was said to each question; none where it could not be asked or was not answered.
    pub said: Vec<Option<Vec<String>>>,
    pub videos: usize,
    pub left_out: usize,
    /// Which model answered, as it calls itself.
    pub model: String,
    lines: usize,
    failures: usize,
}

/// How questions are asked.
pub(super) struct Asking<'a> {
    pub answering: Answering,
    /// What answers follow from, besides footage and question.
    pub identity: String,
    pub reading: Stretches<'a>,
    pub most_frames: usize,
}

/// A stretch of a file, by begin and end.
type Span = (u64, u64);

impl Answers {
    fn leave_out(&mut self, questions: usize, why: &str) {
        self.left_out += questions;
        self.lines += 1;
        match self.lines {
            ..=MOST_LINES => tell(&format!("left out: {why}")),
            lines if lines == MOST_LINES + 1 => {
                tell("more is left out, for reasons not shown here");
            }
            _ => {}
        }
    }
}

impl Asking<'_> {
    /// Asks all, and keeps each answer as it comes.
    pub(super) async fn ask(
        &self,
        questions: &[Question],
        videos: &Videos,
        kept: &mut Kept<Answer>,
    ) -> Result<Answers> {
        let mut answers = Answers { said: vec![None; questions.len()], ..Answers::default() };
        let mut files: BTreeMap<PathBuf, BTreeMap<Span, Vec<usize>>> = BTreeMap::new();
        for (at, question) in questions.iter().enumerate() {
            let is_empty = question.answer.trim().is_empty()
                || question.asked.iter().any(|q| q.trim().is_empty());
            let found = if is_empty {
                Err(anyhow::anyhow!("a question or its answer is empty"))
            } else {
                videos.find(&question.video)
            };
            match found {
                Ok(path) => {
                    let spans = files.entry(path).or_default();
                    spans.entry((question.from_ns, question.to_ns)).or_default().push(at);
                }
                Err(error) => answers.leave_out(1, &format!("line {}: {error:#}", question.line)),
            }
        }
        let count = files.len();
        for (number, (path, spans)) in files.into_iter().enumerate() {
            if self.reading.cancel.is_cancelled() {
                break;
            }
            let before = answers.said.iter().flatten().count();
            self.file(&path, spans, questions, kept, &mut answers).await?;
            let now = answers.said.iter().flatten().count();
            answers.videos += usize::from(now > before);
            if (number + 1).is_multiple_of(20) {
                tell(&format!("{} of {count} videos asked about", number + 1));
            }
        }
        Ok(answers)
    }

    async fn file(
        &self,
        path: &Path,
        spans: BTreeMap<Span, Vec<usize>>,
        questions: &[Question],
        kept: &mut Kept<Answer>,
        answers: &mut Answers,
    ) -> Result<()> {
        let all: usize = spans.values().map(Vec::len).sum();
        let identified = FileSource::try_new(path)
            .map_err(anyhow::Error::from)
            .and_then(|source| Ok(identify(&source, self.reading.cancel, |_| ())?.content_hash));
        let content = match identified {
            Ok(content) => content.to_hex(),
            Err(error) => {
                answers.leave_out(all, &format!("{}: {error:#}", path.display()));
                return Ok(());
            }
        };
        let key_of = |(from_ns, to_ns): Span, question: &str| {
            let how = format!(
                "{:?} {:?} {} {from_ns} {to_ns}",
                self.reading.window.rate(),
                self.reading.decode,
                self.most_frames
            );
            key(&[&self.identity, content.as_str(), &how, question])
        };
        let is_kept = |span: &Span, which: &[usize]| {
            let mut asked = which.iter().flat_map(|at| &questions[*at].asked);
            asked.all(|question| kept.get(&key_of(*span, question)).is_some())
        };
        let wanted: Vec<Wanted<Span>> = spans
            .iter()
            .filter(|(span, which)| !is_kept(span, which))
            .map(|(&span, _)| Wanted { what: span, from_ns: span.0, to_ns: span.1 })
            .collect();
        let conversations = match tokio::task::block_in_place(|| self.look(path, wanted)) {
            Ok(conversations) => conversations,
            Err(error) => {
                if !self.reading.cancel.is_cancelled() {
                    answers.leave_out(all, &format!("{}: {error:#}", path.display()));
                }
                return Ok(());
            }
        };
        for (span, which) in spans {
            let conversation = conversations.get(&span);
            for at in which {
                let question = &questions[at];
                let mut said = Vec::with_capacity(question.asked.len());
                for asked in &question.asked {
                    let key = key_of(span, asked);
                    if let Some(answer) = kept.get(&key) {
                        said.push(answer.said.clone());
                        answers.model.clone_from(&answer.model);
                        continue;
                    }
                    if self.reading.cancel.is_cancelled() {
                        return Ok(());
                    }
                    let Some(conversation) = conversation else { break };
                    // Each question by itself, as the reference asks.
                    let reply = match conversation.clone().ask(asked, &mut |_| ()).await {
                        Ok(reply) => reply,
                        Err(error) => {
                            failed(&error, question, answers)?;
                            break;
                        }
                    };
                    answers.failures = 0;
                    answers.model.clone_from(&reply.model);
                    said.push(reply.text.clone());
                    let answer = Answer {
                        video: question.video.clone(),
                        question: asked.clone(),
                        right: question.answer.clone(),
                        said: reply.text,
                        model: reply.model,
                    };
                    kept.put(key, answer)?;
                }
                if said.len() == question.asked.len() {
                    answers.said[at] = Some(said);
                } else if conversation.is_none() {
                    let why = "nothing can be seen in the time of";
                    let (path, line) = (path.display(), question.line);
                    answers.leave_out(1, &format!("{path}: {why} line {line}"));
                }
            }
        }
        Ok(())
    }

    /// Looks at stretches of a file. What cannot be seen is missing.
    fn look(&self, path: &Path, wanted: Vec<Wanted<Span>>) -> Result<BTreeMap<Span, Conversation>> {
        let mut seen = BTreeMap::new();
        if !wanted.is_empty() {
            self.reading.shown(path, wanted, self.most_frames, |span, frames| {
                seen.insert(span, Conversation::about(self.answering.clone(), frames)?);
                Ok(())
            })?;
        }
        Ok(seen)
    }
}

/// A question that got no answer is left out and told. An error where asking on makes no sense.
fn failed(error: &AskError, question: &Question, answers: &mut Answers) -> Result<()> {
    answers.failures += 1;
    let most = match error.fault() {
        Fault::Key => 1,
        Fault::Answerer => MOST_FAILURES.0,
        Fault::Unclear => MOST_FAILURES.1,
        Fault::Footage => usize::MAX,
    };
    if answers.failures >= most {
        bail!("{error}; nobody seems to answer, and {most} in a row are enough");
    }
    let why = in_one_line(&anyhow::anyhow!("{error}"));
    answers.leave_out(1, &format!("line {} ({}): {why}", question.line, question.video));
    Ok(())
}

/// An answerer, where one is named.
pub(super) fn named(answering: Option<Answering>) -> Result<Answering> {
    answering.context(
        "nobody is there to answer: set `ask.answerer` (or --answerer) to `mini`, to an endpoint that \
         sees pictures, or to a LLaVA's folder; docs/ask.md tells how",
    )
}
