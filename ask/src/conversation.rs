//! A conversation about one stretch of footage.

use std::sync::Arc;
use std::time::Duration;

use footage_clip::{RgbFrame, TimedFrame};
use footage_model::conversation::{Answerer, Sampling, Sight, Turn};
use serde_json::Value;

use crate::message::shown;
use crate::{AskError, Endpoint};

/// Who answers.
#[derive(Clone, Debug)]
pub enum Answering {
    /// Somebody on the network.
    Endpoint(Endpoint),
    /// A language model on this machine.
    Here(Arc<Answerer>, Sampling),
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    /// The answer, whole.
    pub text: String,
    /// Which model answered, as it calls itself.
    pub model: String,
    /// Tokens of the answer; of an endpoint that does not tell, the pieces in which it came.
    pub tokens: usize,
    /// From the question until the first piece of the answer.
    pub first_token: Duration,
    /// From the question to the end of the answer.
    pub whole: Duration,
}

impl Reply {
    /// Whether it says that what was looked at does not show it: as every answerer is told to, and the
    /// bundled one was taught to.
    pub fn abstains(&self) -> bool {
        let text = self.text.to_lowercase();
        ["the clip does not show that", "i know only my small world"]
            .iter()
            .any(|said| text.trim_start().starts_with(said))
    }
}

/// What is looked at, as who answers wants it.
#[derive(Clone, Debug)]
enum Looked {
    Endpoint(Endpoint, Vec<Value>),
    Here(Arc<Answerer>, Sampling, Box<Sight>),
}

/// Questions and answers about the same frames.
#[derive(Clone, Debug)]
pub struct Conversation {
    looked: Looked,
    turns: Vec<Turn>,
}

impl Conversation {
    /// Looks at frames in order of time. Takes its time where a model on this machine does so.
    pub fn about(answering: Answering, frames: &[TimedFrame<RgbFrame>]) -> Result<Self, AskError> {
        let looked = match answering {
            Answering::Endpoint(endpoint) => Looked::Endpoint(endpoint, shown(frames)?),
            Answering::Here(answerer, sampling) => {
                let frames: Vec<_> = frames.iter().map(|frame| frame.frame.clone()).collect();
                let sight = Box::new(answerer.look(&frames)?);
                Looked::Here(answerer, sampling, sight)
            }
        };
        Ok(Self { looked, turns: Vec::new() })
    }

    /// Answers a question; `on_text` hears of the answer as it grows. A question that fails is
    /// forgotten, and the conversation goes on.
    ///
    /// # Panics
    /// Outside of a runtime of several threads.
    pub async fn ask(
        &mut self,
        question: &str,
        on_text: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Reply, AskError> {
        let question = question.trim();
        if question.is_empty() {
            return Err(AskError::Empty);
        }
        let mut turns = self.turns.clone();
        turns.push(Turn { question: question.to_owned(), answer: None });
        let reply = match &self.looked {
            Looked::Endpoint(endpoint, shown) => endpoint.answer(shown, &turns, on_text).await?,
            Looked::Here(answerer, sampling, sight) => tokio::task::block_in_place(|| {
                let answered = answerer.answer(sight, &turns, sampling, |text| {
                    on_text(text);
                    true
                })?;
                Ok::<_, AskError>(Reply {
                    text: answered.text,
                    model: answerer.name().to_owned(),
                    tokens: answered.answer_tokens,
                    first_token: answered.first_token,
                    whole: answered.whole,
                })
            })?,
        };
        if let Some(last) = turns.last_mut() {
            last.answer = Some(reply.text.clone());
        }
        self.turns = turns;
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_abstains_where_it_says_so_and_nothing_else() {
        let reply = |text: &str| Reply {
            text: text.to_owned(),
            model: String::new(),
            tokens: 1,
            first_token: Duration::ZERO,
            whole: Duration::ZERO,
        };
        assert!(reply("The clip does not show that.").abstains());
        assert!(reply("the clip does not show that").abstains());
        assert!(!reply("A dog. The clip does not show that it barks.").abstains());
    }
}
