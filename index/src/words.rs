//! The words of captions: how text becomes words, and what they are worth.
//!
//! Qdrant's text index does both where it is there, in a process of its own or in ours; its exact twin
//! takes the words from the same engine and scores them by BM25 as it is defined: Robertson and
//! Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.

use std::collections::HashMap;
use std::fmt;

use qdrant_edge::bm25_embed::{EdgeBm25, EdgeBm25Config};
use serde_json::{Value, json};

use crate::WordHit;

/// The language of captions: its most common words do not count, and its forms of a word are one.
pub(crate) const LANGUAGE: &str = "english";

/// How fast a word repeated in a caption stops to add, and how much longer captions count less:
/// Qdrant's defaults.
const K1: f32 = 1.2;
const B: f32 = 0.75;

/// The text index of captions, in Qdrant's public JSON form.
pub(crate) fn index() -> Value {
    json!({
        "type": "text",
        "tokenizer": "word",
        "lowercase": true,
        "ascii_folding": true,
        "stopwords": LANGUAGE,
        "stemmer": { "type": "snowball", "language": LANGUAGE },
        "memory": "cold",
        "scoring": { "type": "bm25" },
    })
}

/// Best first, and at equal scores by id.
pub(crate) fn best_first(hits: &mut [WordHit]) {
    hits.sort_by(|WordHit { hit: a, .. }, WordHit { hit: b, .. }| {
        b.score.total_cmp(&a.score).then(a.clip_id.cmp(&b.clip_id))
    });
}

/// Takes texts apart into words as the text index does.
pub(crate) struct Words(EdgeBm25);

/// What a caption is worth to who asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Score {
    pub bm25: f32,
    pub has_every_word: bool,
}

/// How often each word occurs, by its hash.
type Counts = HashMap<u32, f32>;

impl Words {
    /// Those of `captions` that have a word of `query`, and what they are worth among all of them.
    pub(crate) fn scored<'a, C>(
        &self,
        query: &str,
        captions: impl Iterator<Item = (C, &'a str)>,
    ) -> Vec<(C, Score)> {
        let counted: Vec<(C, Counts)> = captions
            .map(|(of, text)| (of, self.counts(text)))
            .filter(|(_, c)| !c.is_empty())
            .collect();
        let documents = counted.len() as f32;
        let length = |counts: &Counts| counts.values().sum::<f32>();
        let mean_length = counted.iter().map(|(_, counts)| length(counts)).sum::<f32>() / documents;
        let asked: Vec<(u32, f32)> = self
            .counts(query)
            .into_keys()
            .map(|word| {
                let having = counted.iter().filter(|(_, counts)| counts.contains_key(&word));
                let having = having.count() as f32;
                (word, ((documents - having + 0.5) / (having + 0.5) + 1.0).ln())
            })
            .collect();
        let scored = counted.into_iter().filter_map(|(of, counts)| {
            let norm = K1 * (1.0 - B + B * length(&counts) / mean_length);
            let found = asked.iter().filter_map(|(word, rarity)| {
                let times = counts.get(word)?;
                Some(rarity * times * (K1 + 1.0) / (times + norm))
            });
            let found: Vec<f32> = found.collect();
            let has_every_word = found.len() == asked.len();
            (!found.is_empty()).then(|| (of, Score { bm25: found.iter().sum(), has_every_word }))
        });
        scored.collect()
    }

    /// The engine gives words weighted by how often they occur: without regard to length, and all but
    /// unsaturated, that is the number itself.
    fn counts(&self, text: &str) -> Counts {
        let weighted = self.0.embed_document(text);
        weighted.indices.into_iter().zip(weighted.values.into_iter().map(f32::round)).collect()
    }
}

impl Default for Words {
    fn default() -> Self {
        let mut config = index();
        if let Value::Object(fields) = &mut config {
            fields.retain(|field, _| {
                ["tokenizer", "lowercase", "ascii_folding", "stopwords", "stemmer"]
                    .contains(&field.as_str())
            });
            fields.insert("language".into(), LANGUAGE.into());
            fields.insert("k".into(), 1e5.into());
            fields.insert("b".into(), 0.0.into());
        }
        let config = serde_json::from_value::<EdgeBm25Config>(config);
        let made = config.map_err(|error| error.to_string());
        let made = made.and_then(|c| EdgeBm25::new(c).map_err(|error| error.to_string()));
        // Only values out of range and unknown languages are refused, and there is neither.
        Self(made.unwrap_or_else(|error| unreachable!("{error}")))
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Words").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_whatever_their_form_and_the_most_common_are_not() {
        let words = Words::default();
        let counts = |text: &str| {
            let mut counts: Vec<u32> =
                words.counts(text).into_values().map(|count| count as u32).collect();
            counts.sort_unstable();
            counts
        };
        assert_eq!(counts("The dog runs; the dogs ran, running past a DOG."), [1, 1, 2, 3]);
        assert!(counts("the of and is").is_empty());
        assert_eq!(words.counts("Café"), words.counts("cafe"));
    }

    #[test]
    fn a_score_is_bm25_by_hand() {
        let words = Words::default();
        let captions = ["red car", "red dog runs", "blue bird"];
        let scored = words.scored("a red dog", captions.iter().map(|text| (*text, *text)));
        // Seven words in three captions; "red" is in two, "dog" in one.
        let worth = |rarity: f32, length: f32| {
            rarity * 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * length / (7.0 / 3.0)))
        };
        let (red, dog) = ((1.5f32 / 2.5 + 1.0).ln(), (2.5f32 / 1.5 + 1.0).ln());
        assert_eq!(scored.len(), 2);
        for (of, score) in scored {
            let (expected, every) = match of {
                "red car" => (worth(red, 2.0), false),
                _ => (worth(red, 3.0) + worth(dog, 3.0), true),
            };
            assert!((score.bm25 - expected).abs() < 1e-5, "{of}: {score:?} {expected}");
            assert_eq!(score.has_every_word, every, "{of}");
        }
    }
}
