//! Questions about several clips, as the language model reads them.

use std::sync::Arc;

use crate::conversation::{ConversationError, END, START, STOP, Script, Turn};
use crate::train::TrainError;
use crate::train::ops::Passage;

/// A question with its answer, as ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// What stands before the clip.
    pub(super) before: Vec<u32>,
    /// What stands behind it, and the answer, with the answer's end.
    pub(super) ids: Vec<u32>,
    /// Where the answer begins.
    pub(super) answer: usize,
}

/// What stands around each clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    start: u32,
    end: u32,
}

fn refused(error: &ConversationError) -> TrainError {
    TrainError::Tokenizer(error.to_string())
}

impl Frame {
    /// # Errors
    /// Where the tokenizer lacks a marker that training cannot do without.
    pub(super) fn of(script: &Script) -> Result<Self, TrainError> {
        let marker = |marker: &str| {
            script
                .marker(marker)
                .ok_or_else(|| TrainError::Tokenizer(format!("it has no token `{marker}`")))
        };
        marker(STOP)?;
        Ok(Self { start: marker(START)?, end: marker(END)? })
    }

    /// A question as ids.
    pub(super) fn asked(
        script: &Script,
        question: &str,
        answer: &str,
    ) -> Result<Asked, TrainError> {
        let turn = Turn { question: question.to_owned(), answer: None };
        Self::said(script, &[turn], answer)
    }

    /// The last question of a conversation as ids, behind what was said before it.
    pub(super) fn said(script: &Script, turns: &[Turn], answer: &str) -> Result<Asked, TrainError> {
        let (before, mut ids) = script.around_clip(turns).map_err(|error| refused(&error))?;
        let at = ids.len();
        ids.extend(script.answer(answer).map_err(|error| refused(&error))?);
        Ok(Asked { before, ids, answer: at })
    }
}

/// What a language model reads in one go: clips, each with its questions.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) passages: Arc<Vec<Passage>>,
    /// Of each row its word, or past the table of words a token of a clip.
    pub(super) rows: Vec<u32>,
    /// Rows after which a word of an answer comes, and the word.
    pub(super) answers: Vec<(u32, u32)>,
    /// How many words each question's answer has, clip by clip.
    pub(super) lengths: Vec<usize>,
}

impl Batch {
    /// `tokens` tokens of each clip, behind a table of `words` words.
    pub(super) fn new(frame: Frame, words: usize, tokens: usize, clips: &[Vec<&Asked>]) -> Self {
        let mut batch = Self {
            passages: Arc::default(),
            rows: Vec::new(),
            answers: Vec::new(),
            lengths: Vec::new(),
        };
        let mut passages = Vec::with_capacity(clips.len());
        for (clip, questions) in clips.iter().enumerate() {
            // Questions before which the same stands read the clip once, all together.
            for questions in questions.chunk_by(|one, other| one.before == other.before) {
                let first = batch.rows.len();
                batch.rows.extend(questions.iter().take(1).flat_map(|asked| &asked.before));
                batch.rows.push(frame.start);
                let own = words + clip * tokens;
                batch.rows.extend((own..own + tokens).map(|row| row as u32));
                batch.rows.push(frame.end);
                let shared = batch.rows.len() - first;
                // The last word of an answer is followed by nothing.
                passages.push(Passage {
                    shared,
                    own: questions.iter().map(|asked| asked.ids.len() - 1).collect(),
                });
                for asked in questions {
                    let at = batch.rows.len();
                    batch.rows.extend(&asked.ids[..asked.ids.len() - 1]);
                    let answer = asked.ids.iter().enumerate().skip(asked.answer);
                    batch.answers.extend(answer.map(|(k, &word)| ((at + k - 1) as u32, word)));
                    batch.lengths.push(asked.ids.len() - asked.answer);
                }
            }
        }
        batch.passages = Arc::new(passages);
        batch
    }
}
