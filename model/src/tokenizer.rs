//! From words to token ids.
//!
//! What a person types is text and nothing else: a query that contains `<|endoftext|>` must not end
//! its own sentence.

use std::borrow::Cow;

use instant_clip_tokenizer::Token;

use crate::ModelError;
use crate::config::{ModelConfig, TokenizerKind};
use crate::family::Family;

/// Turns texts into ids that fit one text tower.
pub struct Tokenizer {
    vocabulary: Vocabulary,
    context: usize,
    vocab: usize,
    /// To which length texts of one batch are padded, and with what.
    padding: Padding,
    /// Whether a text loses its punctuation, as `SigLIP`'s did in training.
    is_canonical: bool,
}

/// How texts of one batch get one length.
#[derive(Clone, Copy)]
enum Padding {
    /// Zeros up to the longest: what follows the end token changes nothing.
    Longest,
    /// This token up to the whole context: the tower sees it.
    Context(u32),
}

enum Vocabulary {
    /// `OpenAI`'s, with the same splitting and merging as their Python code.
    Clip(Box<instant_clip_tokenizer::Tokenizer>),
    /// A `tokenizer.json` of Hugging Face; its post-processor adds the start and end tokens.
    File(Box<tokenizers::Tokenizer>),
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer(context {}, vocab {})", self.context, self.vocab)
    }
}

impl Tokenizer {
    /// The tokenizer that `config` names; `file` holds `tokenizer.json` where it is that.
    pub fn new(config: &ModelConfig, file: Option<&[u8]>) -> Result<Self, ModelError> {
        let text = &config.architecture.text;
        let (vocabulary, ids) = match config.tokenizer {
            TokenizerKind::Clip => {
                let clip = instant_clip_tokenizer::Tokenizer::new();
                let ids = usize::from(clip.end_of_text().to_u16()) + 1;
                (Vocabulary::Clip(Box::new(clip)), ids)
            }
            TokenizerKind::File => {
                let refused = |why: String| ModelError::Tokenizer(format!("tokenizer.json {why}"));
                let file =
                    file.ok_or_else(|| refused("is missing, but model.json names it".into()))?;
                let mut tokenizer = tokenizers::Tokenizer::from_bytes(file)
                    .map_err(|error| refused(format!("cannot be read: {error}")))?;
                // Length is ours to decide; and special tokens in a person's words are words.
                tokenizer.with_padding(None);
                tokenizer.with_truncation(None).map_err(|error| refused(error.to_string()))?;
                tokenizer.set_encode_special_tokens(true);
                let ids = tokenizer.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1);
                (Vocabulary::File(Box::new(tokenizer)), ids)
            }
        };
        if ids > text.vocab {
            return Err(ModelError::Tokenizer(format!(
                "it has ids up to {}, but the model's table only {} rows",
                ids - 1,
                text.vocab
            )));
        }
        let is_siglip = config.architecture.family == Family::Siglip;
        if let Vocabulary::File(tokenizer) = &vocabulary
            && is_siglip
            && tokenizer.token_to_id(SIGLIP_END) != Some(text.pad)
        {
            return Err(ModelError::Tokenizer(format!(
                "it has no `{SIGLIP_END}` of id {}, with which SigLIP ends and pads a text: SigLIP 2's \
                 tokenizer is not known here",
                text.pad
            )));
        }
        Ok(Self {
            vocabulary,
            context: text.context,
            vocab: text.vocab,
            padding: if text.causal { Padding::Longest } else { Padding::Context(text.pad) },
            is_canonical: is_siglip,
        })
    }

    /// Ids of `text` with start and end tokens, at most the context long; a longer text loses its
    /// end, but never the end token. Not padded.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let mut ids = self.whole(text)?;
        if ids.len() > self.context
            && let Some(end) = ids.last().copied()
        {
            ids.truncate(self.context - 1);
            ids.push(end);
        }
        Ok(ids)
    }

    /// Whether [`Self::encode`] takes the text whole.
    pub fn fits(&self, text: &str) -> Result<bool, ModelError> {
        Ok(self.whole(text)?.len() <= self.context)
    }

    /// Ids of the whole text with start and end tokens.
    fn whole(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        Ok(match &self.vocabulary {
            Vocabulary::Clip(clip) => {
                let mut tokens = vec![clip.start_of_text()];
                clip.encode(&as_plain_text(text), &mut tokens);
                tokens.push(clip.end_of_text());
                tokens.into_iter().map(Token::to_u16).map(u32::from).collect()
            }
            Vocabulary::File(tokenizer) => {
                let text = if self.is_canonical {
                    Cow::Owned(canonical(text))
                } else {
                    Cow::Borrowed(text)
                };
                let encoded = tokenizer.encode_fast(text, true);
                let refused =
                    |error| ModelError::Tokenizer(format!("cannot encode a text: {error}"));
                let mut ids = encoded.map_err(refused)?.get_ids().to_vec();
                // Not every published file says that a text has an end.
                if let Padding::Context(end) = self.padding
                    && self.is_canonical
                    && ids.last() != Some(&end)
                {
                    ids.push(end);
                }
                ids
            }
        })
    }

    /// Ids of several texts, padded with 0 to the longest of them, or with the model's own token to the
    /// whole context where its tower sees padding: as many values, row after row, as the second result
    /// says, for each text.
    pub fn encode_batch(&self, texts: &[&str]) -> Result<(Vec<u32>, usize), ModelError> {
        let rows = texts.iter().map(|text| self.encode(text)).collect::<Result<Vec<_>, _>>()?;
        let (longest, pad) = match self.padding {
            Padding::Longest => (rows.iter().map(Vec::len).max().unwrap_or(0).max(1), 0),
            Padding::Context(pad) => (self.context, pad),
        };
        let mut ids = Vec::with_capacity(rows.len() * longest);
        for row in rows {
            ids.extend_from_slice(&row);
            ids.resize(ids.len() + longest - row.len(), pad);
        }
        Ok((ids, longest))
    }

    /// Most tokens of a text, start and end included.
    pub fn context(&self) -> usize {
        self.context
    }
}

/// Ends and pads a text of `SigLIP`.
const SIGLIP_END: &str = "</s>";

/// What `SigLIP`'s tokenizer does to a text before splitting it: ASCII punctuation goes, white space
/// becomes single spaces, letters are lowered.
fn canonical(text: &str) -> String {
    let kept: String = text.chars().filter(|c| !c.is_ascii_punctuation()).collect();
    kept.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase()
}

/// What CLIP's code does to a text before splitting it, as far as queries need it: entities are
/// unescaped twice, letters lowered. (Repairing mis-decoded text, `ftfy`, is left out.)
fn as_plain_text(text: &str) -> String {
    let text = unescape(&unescape(text)).to_lowercase();
    // The tokenizer crate would take these for markers; a space does not change how the rest splits.
    text.replace("<start_of_text>", "< start_of_text>").replace("<end_of_text>", "< end_of_text>")
}

/// Replaces numeric entities and the named ones that occur in captions.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(12).position(|byte| byte == b';');
        if let Some((c, end)) = end.and_then(|end| entity(&rest[1..end]).map(|c| (c, end))) {
            out.push(c);
            rest = &rest[end + 1..];
        } else {
            out.push('&');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    out
}

fn entity(name: &str) -> Option<char> {
    if let Some(number) = name.strip_prefix('#') {
        let code = match number.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16),
            None => number.parse(),
        };
        return code.ok().and_then(char::from_u32).filter(|c| !c.is_control());
    }
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        "ndash" => '–',
        "mdash" => '—',
        "hellip" => '…',
        "lsquo" => '‘',
        "rsquo" => '’',
        "ldquo" => '“',
        "rdquo" => '”',
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u32 = 49406;
    const END: u32 = 49407;

    fn clip(context: usize) -> Tokenizer {
        Tokenizer {
            vocabulary: Vocabulary::Clip(Box::default()),
            context,
            vocab: 49408,
            padding: Padding::Longest,
            is_canonical: false,
        }
    }

    /// Words of a small vocabulary, with an end token 3.
    fn file(context: usize) -> Tokenizer {
        let json = r#"{
            "version": "1.0", "truncation": null, "padding": null, "normalizer": {"type": "Lowercase"},
            "added_tokens": [{"id": 3, "content": "<|endoftext|>", "special": true, "single_word": false,
                "lstrip": false, "rstrip": false, "normalized": false}],
            "pre_tokenizer": {"type": "Whitespace"},
            "post_processor": {"type": "TemplateProcessing",
                "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}}],
                "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": {"<|endoftext|>": {"id": "<|endoftext|>", "ids": [3], "tokens": ["<|endoftext|>"]}}},
            "decoder": null,
            "model": {"type": "WordLevel", "unk_token": "?", "vocab": {"?": 0, "red": 1, "car": 2}}
        }"#;
        let config = ModelConfig::from_json(
            serde_json::json!({
                "name": "t",
                "architecture": {
                    "vision": {"image": 8, "patch": 8, "width": 8, "heads": 1, "layers": 1, "mlp": 8},
                    "text": {"vocab": 4, "width": 8, "heads": 1, "layers": 1, "mlp": 8, "context": context},
                    "projection": 8, "branch": null
                },
                "preprocess": {"mean": [0, 0, 0], "std": [1, 1, 1]},
                "tokenizer": "tokenizer.json",
                "window": {"length": 8, "stride": 2, "rate": "2/1"}
            })
            .to_string()
            .as_bytes(),
        )
        .unwrap();
        Tokenizer::new(&config, Some(json.as_bytes())).unwrap()
    }

    #[test]
    fn markers_in_a_text_are_text() {
        for text in [
            "<|endoftext|>",
            "<|startoftext|> a",
            "<end_of_text>",
            "a <START_OF_TEXT> b",
            "&lt;end_of_text&gt;",
        ] {
            let ids = clip(77).encode(text).unwrap();
            let inner = &ids[1..ids.len() - 1];
            assert!(!inner.contains(&START) && !inner.contains(&END), "{text}: {ids:?}");
            assert!(!inner.is_empty());
        }
        let ids = file(8).encode("red <|endoftext|> car").unwrap();
        assert_eq!(ids.iter().filter(|id| **id == 3).count(), 1, "{ids:?}");
        assert_eq!(ids.last(), Some(&3));
    }

    #[test]
    fn a_long_text_is_cut_and_keeps_its_end_token() {
        let long = "dog ".repeat(200);
        let ids = clip(77).encode(&long).unwrap();
        assert_eq!((ids.len(), ids[76]), (77, END));
        assert_eq!(file(4).encode("red car red car red car").unwrap(), [1, 2, 1, 3]);
    }

    #[test]
    fn a_batch_is_padded_with_zeros_to_its_longest_text() {
        let (ids, longest) = file(8).encode_batch(&["red", "red car"]).unwrap();
        assert_eq!((ids, longest), (vec![1, 3, 0, 1, 2, 3], 3));
        assert_eq!(file(8).encode_batch(&[]).unwrap(), (vec![], 1));
    }

    #[test]
    fn entities_are_unescaped_and_other_ampersands_kept() {
        assert_eq!(
            unescape("&lt;b&gt; R&D &#233;&#xe9; &amp;amp; &bogus; &"),
            "<b> R&D éé &amp; &bogus; &"
        );
        assert_eq!(unescape("&#0; &#x110000;"), "&#0; &#x110000;");
    }
}
