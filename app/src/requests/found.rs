//! What a search found, for programs and for people; docs/search.md describes it.

use std::collections::{BTreeMap, HashMap};

use footage_clip::{ClipId, Clock, LostReason, ModelRef, SourceId, SourceKind};
use footage_search::{Answer, By, FoundBy, KnownSource, Play, Searched, Wanted};
use serde::{Deserialize, Serialize};

use super::search::{LookedFor, Shown};
use crate::when::utc_text;

/// Version of this form. A field may be added without changing it.
const VERSION: u32 = 1;

/// What was found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SearchReply {
    pub v: u32,
    pub query: AskedFor,
    /// By what moments were to be found.
    pub by: By,
    pub model: ModelRef,
    pub is_calibrated: bool,
    pub min_confidence: Option<f32>,
    pub moments: Vec<MomentFound>,
    pub nearest: Option<NearestFound>,
    pub searched: TimeSearched,
}

/// What was asked, as it was asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum AskedFor {
    Text(String),
    Image(String),
    Clip(ClipId),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MomentFound {
    pub source_id: SourceId,
    pub source: String,
    pub kind: SourceKind,
    pub from_s: f64,
    pub to_s: f64,
    pub utc: Option<UtcFound>,
    pub score: f32,
    pub confidence: Option<f32>,
    pub is_match: Option<bool>,
    /// What led to it; of a match, what says that it is one.
    pub found_by: Vec<Route>,
    pub caption_score: Option<f32>,
    pub best_clip: ClipId,
    pub clips: Vec<ClipId>,
    pub caption: Option<String>,
    pub thumbnail: Option<String>,
    pub file: Option<String>,
    pub play: Option<PlayFound>,
}

/// A way to a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Route {
    Video,
    Caption,
}

impl Route {
    fn all(by: FoundBy) -> Vec<Self> {
        let ways = [(by.video, Self::Video), (by.caption, Self::Caption)];
        ways.into_iter().filter_map(|(led, way)| led.then_some(way)).collect()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct UtcFound {
    pub from: String,
    pub to: Option<String>,
    pub clock: Clock,
    pub uncertainty_ms: u32,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PlayFound {
    pub ffplay: String,
    pub mpv: String,
    pub uri: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct NearestFound {
    pub score: f32,
    pub confidence: Option<f32>,
}

/// What was searched, in seconds of media time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct TimeSearched {
    pub sources: usize,
    pub incomplete: usize,
    pub without_utc: usize,
    pub indexed_s: f64,
    pub gated_s: f64,
    pub lost_s: BTreeMap<LostReason, f64>,
    pub unseen_s: f64,
}

impl SearchReply {
    pub(super) fn new(
        query: &LookedFor,
        model: &ModelRef,
        answer: &Answer,
        shown: &[Shown],
        wanted: &Wanted,
        sources: &[KnownSource],
    ) -> Self {
        let kinds: HashMap<&SourceId, SourceKind> =
            sources.iter().map(|known| (&known.record.source_id, known.record.kind)).collect();
        Self {
            v: VERSION,
            query: query.into(),
            by: if matches!(query, LookedFor::Text(_)) { wanted.by } else { By::Video },
            model: model.clone(),
            is_calibrated: answer.is_calibrated,
            min_confidence: answer.is_calibrated.then_some(wanted.min_confidence),
            moments: shown.iter().map(|shown| MomentFound::new(shown, &kinds)).collect(),
            nearest: answer.nearest.map(|nearest| NearestFound {
                score: nearest.score,
                confidence: nearest.confidence,
            }),
            searched: (&answer.searched).into(),
        }
    }

    /// Whether it is known that nothing matches.
    pub(crate) fn is_no_match(&self) -> bool {
        (self.is_calibrated || self.by == By::Caption)
            && !self.moments.iter().any(|found| found.is_match == Some(true))
    }
}

impl From<&LookedFor> for AskedFor {
    fn from(looked_for: &LookedFor) -> Self {
        match looked_for {
            LookedFor::Text(text) => Self::Text(text.trim().to_owned()),
            LookedFor::Image(picture) => Self::Image(picture.name.clone()),
            LookedFor::Clip(clip) => Self::Clip(*clip),
        }
    }
}

impl MomentFound {
    fn new(shown: &Shown, kinds: &HashMap<&SourceId, SourceKind>) -> Self {
        let found = &shown.found;
        let moment = &found.moment;
        let utc = moment.span.utc.map(|start| UtcFound {
            from: utc_text(start.unix_ns.div_euclid(1000)),
            to: moment.utc_end().map(|end| utc_text(end.unix_ns.div_euclid(1000))),
            clock: start.clock,
            uncertainty_ms: start.uncertainty_ms,
        });
        Self {
            source_id: moment.source_id.clone(),
            source: found.name.clone(),
            kind: kinds.get(&moment.source_id).copied().unwrap_or(SourceKind::File),
            from_s: moment.span.start_s(),
            to_s: moment.span.end_s(),
            utc,
            score: moment.score,
            confidence: found.confidence,
            is_match: found.is_match,
            found_by: Route::all(found.by),
            caption_score: found.caption_score,
            best_clip: moment.best,
            clips: moment.clips.iter().map(|(_, id)| *id).collect(),
            caption: moment.caption.clone(),
            thumbnail: shown.thumbnail.as_ref().map(|path| path.to_string_lossy().into_owned()),
            file: moment.media.as_ref().map(|media| media.path.clone()),
            play: shown.play.clone().map(|Play { ffplay, mpv, uri }| PlayFound {
                ffplay,
                mpv,
                uri,
            }),
        }
    }
}

impl From<&Searched> for TimeSearched {
    fn from(searched: &Searched) -> Self {
        let seconds = |ns: u64| ns as f64 / 1e9;
        Self {
            sources: searched.sources,
            incomplete: searched.incomplete,
            without_utc: searched.without_utc,
            indexed_s: seconds(searched.indexed_ns),
            gated_s: seconds(searched.gated_ns),
            lost_s: searched.lost_ns.iter().map(|(reason, ns)| (*reason, seconds(*ns))).collect(),
            unseen_s: seconds(searched.unseen_ns),
        }
    }
}
