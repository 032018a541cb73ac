//! A conversation as ids of tokens: the same for who answers and for training.

use serde::Deserialize;

use super::ConversationError;
use super::prompt::{STOP, Template, Turn};

/// A tokenizer and how conversations are written down.
pub(crate) struct Script {
    tokenizer: tokenizers::Tokenizer,
    template: Template,
    /// What stands for all that there is no word for.
    unknown: Option<u32>,
}

/// What a `tokenizer.json` says of that, by name or by number.
#[derive(Deserialize)]
struct Sheet {
    model: Unknown,
}

#[derive(Deserialize)]
struct Unknown {
    unk_token: Option<String>,
    unk_id: Option<u32>,
}

impl Script {
    /// From the bytes of a `tokenizer.json`, for a table of `vocab` words.
    pub(crate) fn new(json: &[u8], template: Template, vocab: usize) -> Result<Self, String> {
        let mut tokenizer =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        // Markers in a person's question, or in an answer, are words.
        tokenizer.set_encode_special_tokens(true);
        let most = tokenizer.get_vocab(false).values().max().copied().unwrap_or_default() as usize;
        if most >= vocab {
            return Err(format!(
                "it has words up to {most}, but the language model's table {vocab} rows"
            ));
        }
        let Sheet { model: Unknown { unk_token, unk_id } } =
            serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let unknown = unk_id.or_else(|| tokenizer.token_to_id(&unk_token?));
        Ok(Self { tokenizer, template, unknown })
    }

    /// Rows that a table of words needs for a `tokenizer.json`.
    pub(crate) fn rows(json: &[u8]) -> Result<usize, String> {
        let tokenizer =
            tokenizers::Tokenizer::from_bytes(json).map_err(|error| error.to_string())?;
        Ok(tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1))
    }

    /// What stands before a clip and what after it, without the clip's markers.
    pub(crate) fn around_clip(
        &self,
        turns: &[Turn],
    ) -> Result<(Vec<u32>, Vec<u32>), ConversationError> {
        // In what people and models say, the end of an answer is a word like all others.
        let plain = |text: &String| text.replace(STOP, "</ s>");
        let turns: Vec<Turn> = turns
            .iter()
            .map(|Turn { question, answer }| Turn {
                question: plain(question),
                answer: answer.as_ref().map(plain),
            })
            .collect();
        let (before, after) = self.template.around_clip(&turns);
        Ok((self.encoded(&before, true)?, self.encoded(&after, false)?))
    }

    /// An answer as training wants it: with its end.
    pub(crate) fn answer(&self, answer: &str) -> Result<Vec<u32>, ConversationError> {
        self.encoded(&format!("{answer}{STOP}"), false)
    }

    /// The first part of a text that there is no word for, as it stands there.
    pub(crate) fn unknown<'a>(&self, text: &'a str) -> Result<Option<&'a str>, ConversationError> {
        let Some(unknown) = self.unknown else { return Ok(None) };
        let encoding = self.tokenizer.encode(text, false).map_err(cannot_encode)?;
        let at = encoding.get_ids().iter().position(|id| *id == unknown);
        let span = at.and_then(|at| encoding.get_offsets().get(at));
        Ok(span.map(|(from, to)| text.get(*from..*to).unwrap_or(text)))
    }

    /// The id of a marker, where the tokenizer has it.
    pub(crate) fn marker(&self, marker: &str) -> Option<u32> {
        self.tokenizer.token_to_id(marker)
    }

    /// Ids of a part of the prompt, in which only the end of an answer is a marker.
    fn encoded(&self, text: &str, is_first: bool) -> Result<Vec<u32>, ConversationError> {
        let mut ids = Vec::new();
        for (at, part) in text.split(STOP).enumerate() {
            if at > 0 {
                ids.extend(self.tokenizer.token_to_id(STOP));
            }
            let encoding = self.tokenizer.encode_fast(part, is_first && at == 0);
            let encoding = encoding.map_err(cannot_encode)?;
            ids.extend_from_slice(encoding.get_ids());
        }
        Ok(ids)
    }

    pub(crate) fn decoded(&self, ids: &[u32]) -> Result<String, ConversationError> {
        self.tokenizer
            .decode(ids, true)
            .map_err(|error| ConversationError::Tokenizer(format!("cannot decode: {error}")))
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that map_err asks for")]
fn cannot_encode(error: tokenizers::Error) -> ConversationError {
    ConversationError::Tokenizer(format!("cannot encode: {error}"))
}
