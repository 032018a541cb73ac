//! A small tokenizer for a small world: whole words of a corpus, and letters for all others.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::conversation;
use crate::train::TrainError;

const PAD: &str = "[PAD]";
const UNKNOWN: &str = "[UNK]";
const BEGIN: &str = "[BOS]";
const END: &str = "[EOS]";

/// The text of a `tokenizer.json`: every word that `corpus` has at least `least` times is one token;
/// any other is spelt in letters. Lower-cases, drops accents, and fails on no text. The end token
/// has the largest id, as CLIP's pooling expects; texts are cut to `context` tokens.
pub fn word_pieces<'a>(
    corpus: impl IntoIterator<Item = &'a str>,
    least: usize,
    context: usize,
) -> String {
    pieces(corpus, least, &[END], Some(context))
}

/// The same for a language model that talks about clips: texts are not cut and have no end of their
/// own; the ends of answers and of clips are tokens.
pub fn talk_pieces<'a>(corpus: impl IntoIterator<Item = &'a str>, least: usize) -> String {
    pieces(corpus, least, &[conversation::START, conversation::END, conversation::STOP], None)
}

fn pieces<'a>(
    corpus: impl IntoIterator<Item = &'a str>,
    least: usize,
    ends: &[&str],
    context: Option<usize>,
) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for text in corpus {
        for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            *counts.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    let letters = ('a'..='z').chain('0'..='9');
    let marks = [',', '.', '\'', '-', '?', '!'].map(String::from);
    // A talk has who speaks before what is said.
    let colon = context.is_none().then(|| ":".to_owned());
    let spelling: BTreeSet<String> =
        letters.flat_map(|c| [c.to_string(), format!("##{c}")]).chain(marks).chain(colon).collect();
    let words = counts.into_iter().filter(|(_, count)| *count >= least).map(|(word, _)| word);
    let all: BTreeSet<String> = words.chain(spelling).collect();
    let tokens: Vec<String> = [PAD.to_owned(), UNKNOWN.to_owned(), BEGIN.to_owned()]
        .into_iter()
        .chain(all)
        .chain(ends.iter().map(ToString::to_string))
        .collect();
    let vocabulary: serde_json::Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let id = |token: &str| vocabulary[token].clone();
    let special = |token: &str| {
        json!({"id": id(token), "content": token, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true})
    };
    let part = |token: &str| json!({"SpecialToken": {"id": token, "type_id": 0}});
    let named = |token: &str| json!({"id": token, "ids": [id(token)], "tokens": [token]});
    let truncation = context.map(|most| {
        json!({"direction": "Right", "max_length": most, "strategy": "LongestFirst", "stride": 0})
    });
    let all = |sequences: &[&str]| -> Vec<Value> {
        let mut parts = vec![part(BEGIN)];
        for (type_id, sequence) in sequences.iter().enumerate() {
            parts.push(json!({"Sequence": {"id": sequence, "type_id": type_id}}));
            parts.extend(context.map(|_| part(END)));
        }
        parts
    };
    let mut added = serde_json::Map::from_iter([(BEGIN.to_owned(), named(BEGIN))]);
    added.extend(context.map(|_| (END.to_owned(), named(END))));
    let specials: Vec<Value> =
        [PAD, UNKNOWN, BEGIN].iter().chain(ends).map(|token| special(token)).collect();
    let file = json!({
        "version": "1.0",
        "truncation": truncation,
        "padding": null,
        "added_tokens": specials,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": true, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": all(&["A"]),
            "pair": all(&["A", "B"]),
            "special_tokens": added
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": UNKNOWN, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 64, "vocab": vocabulary}
    });
    format!("{file:#}\n")
}

/// Texts as rows of equal length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Ids, row by row, padded with 0.
    pub ids: Vec<u32>,
    /// Tokens of a row.
    pub length: usize,
    /// Where in its row each text ends.
    pub ends: Vec<u32>,
}

/// Reads texts into rows of token ids.
#[derive(Debug)]
pub struct Words {
    tokenizer: Tokenizer,
}

impl Words {
    /// From the text of a `tokenizer.json`.
    pub fn from_json(json: &str) -> Result<Self, TrainError> {
        let tokenizer = Tokenizer::from_bytes(json.as_bytes())
            .map_err(|error| TrainError::Tokenizer(error.to_string()))?;
        Ok(Self { tokenizer })
    }

    /// How many tokens there are.
    pub fn count(&self) -> usize {
        self.tokenizer.get_vocab_size(true)
    }

    /// Rows as long as the longest of `texts`.
    pub fn rows(&self, texts: &[String]) -> Result<Tokens, TrainError> {
        let rows = texts
            .iter()
            .map(|text| {
                let encoding = self.tokenizer.encode_fast(text.as_str(), true);
                Ok(encoding
                    .map_err(|error| TrainError::Tokenizer(error.to_string()))?
                    .get_ids()
                    .to_vec())
            })
            .collect::<Result<Vec<Vec<u32>>, TrainError>>()?;
        let length = rows.iter().map(Vec::len).max().unwrap_or_default();
        let mut ids = Vec::with_capacity(rows.len() * length);
        for row in &rows {
            ids.extend_from_slice(row);
            ids.resize(ids.len() + length - row.len(), 0);
        }
        let ends = rows.iter().map(|row| row.len().saturating_sub(1) as u32).collect();
        Ok(Tokens { ids, length, ends })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words::from_json(&word_pieces(["a red ball", "a Dog, then a ball"], 1, 8)).unwrap()
    }

    #[test]
    fn known_words_are_one_token_and_case_does_not_matter() {
        let rows = words().rows(&["a red ball".into(), "A RED Ball".into()]).unwrap();
        assert_eq!((rows.length, &rows.ends[..]), (5, &[4, 4][..]));
        assert_eq!(rows.ids[..5], rows.ids[5..]);
    }

    #[test]
    fn no_text_fails_and_the_end_token_has_the_largest_id() {
        let texts = ["", "zygote", "çà ☃ 漢字", &"long ".repeat(500)].map(String::from);
        let words = words();
        let rows = words.rows(&texts).unwrap();
        let end = words.count() as u32 - 1;
        for (row, &at) in rows.ids.chunks(rows.length).zip(&rows.ends) {
            assert_eq!(row[at as usize], end);
            assert_eq!(row.iter().filter(|&&id| id == end).count(), 1);
        }
        assert_eq!(rows.length, 8);
    }
}
