//! What is asked of a search, and what it gives.

use footage_clip::CoverageSummary;
use serde::{Deserialize, Serialize};

use crate::{Moment, Searched};

/// By what moments are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// By what their pictures show.
    Video,
    /// By the words of their captions.
    Caption,
    /// By either, fused by reciprocal rank. Where nothing has a caption, by video.
    #[default]
    Both,
}

/// What a search is to give.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// By what moments are found.
    pub by: By,
    /// Most moments.
    pub limit: usize,
    /// Least confidence of a match, 0 to 1.
    pub min_confidence: f32,
    /// Whether the nearest moments are wanted even where they are no matches.
    pub all: bool,
    /// Hits at most this far apart are one moment; one stride of the source's window where none.
    pub gap_ns: Option<u64>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The moments, matches first, each best first.
    pub moments: Vec<Found>,
    /// The nearest clip, match or not; by captions alone, the one with the best caption.
    pub nearest: Option<Nearest>,
    /// Whether the scores of such a query can be told as confidence.
    pub is_calibrated: bool,
    /// What could be searched.
    pub searched: Searched,
}

/// How near the nearest clip comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Its cosine.
    pub score: f32,
    /// The probability that it is a match, where calibrated.
    pub confidence: Option<f32>,
}

/// What led to a moment; of a match, what says that it is one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundBy {
    /// Its pictures.
    pub video: bool,
    /// The words of its captions.
    pub caption: bool,
}

/// A moment, and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The moment. Its score is that of its pictures, whatever it was found by.
    pub moment: Moment,
    /// Name of its source, for people.
    pub name: String,
    /// The probability that its best clip is a match, by its pictures alone: low where only a caption
    /// says so. None where the model is not calibrated for such a query.
    pub confidence: Option<f32>,
    /// Whether it counts as a match: its pictures are likely enough to be one, or a caption of it has
    /// every word that was asked for. None where nothing can tell.
    pub is_match: Option<bool>,
    /// What led to it.
    pub by: FoundBy,
    /// BM25 of its best caption, where that led to it.
    pub caption_score: Option<f32>,
    /// What became of its time: it may have been still, or lost, between its clips.
    pub coverage: CoverageSummary,
}

impl Answer {
    /// Whether it is known that nothing matches.
    pub fn is_no_match(&self) -> bool {
        self.is_calibrated && !self.moments.iter().any(|found| found.is_match == Some(true))
    }
}
