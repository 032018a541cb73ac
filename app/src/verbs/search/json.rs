//! An answer for programs; docs/search.md describes it.

use std::collections::BTreeMap;

use anyhow::Result;
use footage_clip::{ClipId, Clock, ModelRef, SourceId};
use footage_search::{Answer, Play, Searched};
use serde::Serialize;

use super::Shown;
use crate::settings::SearchSettings;
use crate::when::utc_text;

/// Version of this form. A field may be added without changing it.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct AnswerJson<'a> {
    v: u32,
    query: QueryJson,
    model: &'a ModelRef,
    is_calibrated: bool,
    min_confidence: Option<f32>,
    moments: Vec<MomentJson<'a>>,
    nearest: Option<NearestJson>,
    searched: SearchedJson<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum QueryJson {
    Text(String),
    Image(String),
    Clip(ClipId),
}

#[derive(Serialize)]
struct MomentJson<'a> {
    source_id: &'a SourceId,
    source: &'a str,
    from_s: f64,
    to_s: f64,
    utc: Option<UtcJson>,
    score: f32,
    confidence: Option<f32>,
    is_match: Option<bool>,
    best_clip: ClipId,
    clips: &'a [ClipId],
    caption: Option<&'a str>,
    thumbnail: Option<String>,
    file: Option<&'a str>,
    play: Option<&'a Play>,
}

#[derive(Serialize)]
struct UtcJson {
    from: String,
    to: Option<String>,
    clock: Clock,
    uncertainty_ms: u32,
}

#[derive(Serialize)]
struct NearestJson {
    score: f32,
    confidence: Option<f32>,
}

#[derive(Serialize)]
struct SearchedJson<'a> {
    sources: usize,
    incomplete: usize,
    without_utc: usize,
    indexed_s: f64,
    gated_s: f64,
    lost_s: BTreeMap<&'a footage_clip::LostReason, f64>,
    unseen_s: f64,
}

pub(super) fn answer(
    query: QueryJson,
    model: &ModelRef,
    answer: &Answer,
    shown: &[Shown],
    settings: &SearchSettings,
) -> Result<String> {
    let json = AnswerJson {
        v: VERSION,
        query,
        model,
        is_calibrated: answer.is_calibrated,
        min_confidence: answer.is_calibrated.then_some(settings.min_confidence),
        moments: shown.iter().map(moment).collect(),
        nearest: answer
            .nearest
            .map(|nearest| NearestJson { score: nearest.score, confidence: nearest.confidence }),
        searched: searched(&answer.searched),
    };
    Ok(serde_json::to_string_pretty(&json)? + "\n")
}

fn moment(shown: &Shown) -> MomentJson<'_> {
    let found = &shown.found;
    let moment = &found.moment;
    let utc = moment.span.utc.map(|start| UtcJson {
        from: utc_text(start.unix_ns.div_euclid(1000)),
        to: moment.utc_end().map(|end| utc_text(end.unix_ns.div_euclid(1000))),
        clock: start.clock,
        uncertainty_ms: start.uncertainty_ms,
    });
    MomentJson {
        source_id: &moment.source_id,
        source: &found.name,
        from_s: moment.span.start_s(),
        to_s: moment.span.end_s(),
        utc,
        score: moment.score,
        confidence: found.confidence,
        is_match: found.is_match,
        best_clip: moment.best,
        clips: &moment.clips,
        caption: moment.caption.as_deref(),
        thumbnail: shown.thumbnail.as_ref().map(|path| path.to_string_lossy().into_owned()),
        file: moment.media.as_ref().map(|media| media.path.as_str()),
        play: shown.play.as_ref(),
    }
}

fn searched(searched: &Searched) -> SearchedJson<'_> {
    let seconds = |ns: u64| ns as f64 / 1e9;
    SearchedJson {
        sources: searched.sources,
        incomplete: searched.incomplete,
        without_utc: searched.without_utc,
        indexed_s: seconds(searched.indexed_ns),
        gated_s: seconds(searched.gated_ns),
        lost_s: searched.lost_ns.iter().map(|(reason, ns)| (reason, seconds(*ns))).collect(),
        unseen_s: seconds(searched.unseen_ns),
    }
}
