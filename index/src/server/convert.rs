//! Clips and filters as Qdrant's messages.

use std::collections::HashMap;

use footage_clip::{ClipId, ClipRecord, Embedding, ModelRef, SourceId};
use qdrant_client::Payload;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::vector_output::Vector;
use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::{
    Condition, Filter as ServerFilter, PointId, PointStruct, Range, RetrievedPoint, Value,
};
use serde_json::Map;

use crate::payload::{self, CAPTION, END, SOURCE};
use crate::{Filter, StoredClip};

/// The point that keeps `clip`.
pub(super) fn of_clip(clip: &ClipRecord) -> Result<PointStruct, String> {
    let payload = Payload::from(payload::of_clip(clip)?);
    let vector = clip.embedding.as_slice().to_vec();
    Ok(PointStruct::new(of_clip_id(clip.clip_id), vector, payload))
}

/// The server's id of a clip.
pub(super) fn of_clip_id(id: ClipId) -> PointId {
    PointId { point_id_options: Some(PointIdOptions::Uuid(id.as_uuid().to_string())) }
}

/// The clip of a server's id.
pub(super) fn to_clip_id(id: Option<&PointId>) -> Result<ClipId, String> {
    match id.and_then(|id| id.point_id_options.as_ref()) {
        Some(PointIdOptions::Uuid(text)) => {
            let id: uuid::Uuid = text.parse().map_err(|error| format!("point {text}: {error}"))?;
            Ok(id.into())
        }
        other => Err(format!("point {other:?} is no clip: its id is no UUID")),
    }
}

/// A payload as JSON.
pub(super) fn fields(payload: HashMap<String, Value>) -> Map<String, serde_json::Value> {
    payload.into_iter().map(|(key, value)| (key, value.into_json())).collect()
}

/// The clip that a point keeps, as far as it was loaded.
pub(super) fn to_clip(point: RetrievedPoint, model: &ModelRef) -> Result<StoredClip, String> {
    let clip_id = to_clip_id(point.id.as_ref())?;
    let broken = |cause: String| format!("clip {clip_id} cannot be read: {cause}");
    let embedding = match point.vectors.and_then(|vectors| vectors.vectors_options) {
        None => None,
        Some(VectorsOptions::Vector(vector)) => match vector.into_vector() {
            Vector::Dense(dense) => {
                Some(Embedding::restore(dense.data).map_err(|error| broken(error.to_string()))?)
            }
            _ => return Err(broken("its vector is not dense".into())),
        },
        Some(VectorsOptions::Vectors(_)) => return Err(broken("it has several vectors".into())),
    };
    payload::to_clip(clip_id, fields(point.payload), embedding, model)
}

/// Accepts the clips of a source.
pub(super) fn of_source(source_id: &SourceId) -> ServerFilter {
    ServerFilter::must([of_sources(std::slice::from_ref(source_id))])
}

fn of_sources(sources: &[SourceId]) -> Condition {
    let any: Vec<String> = sources.iter().map(|id| id.as_str().to_owned()).collect();
    Condition::matches(SOURCE, any)
}

/// The server compares as `f64`, which nanoseconds since 1970 are rounded to by 128 at most: what is
/// farther than this from a bound is surely on its side of it.
const SURELY_NS: u64 = 1024;

/// Accepts clips of a source that end by `end_ns`, all but those that end in the last microsecond
/// before it.
pub(super) fn ending_well_before(source_id: &SourceId, end_ns: u64) -> ServerFilter {
    let before = end_ns.saturating_sub(SURELY_NS) as f64;
    ending(source_id, Range { lt: Some(before), ..Range::default() })
}

/// Accepts the other clips of a source that end by `end_ns`, and perhaps some that end a little later.
pub(super) fn ending_about(source_id: &SourceId, end_ns: u64) -> ServerFilter {
    let from = end_ns.saturating_sub(SURELY_NS) as f64;
    let to = end_ns.saturating_add(SURELY_NS) as f64;
    ending(source_id, Range { gte: Some(from), lte: Some(to), ..Range::default() })
}

fn ending(source_id: &SourceId, within: Range) -> ServerFilter {
    let of_it = of_sources(std::slice::from_ref(source_id));
    ServerFilter::must([of_it, Condition::range(END, within)])
}

/// A filter in the server's terms; none where it accepts everything.
pub(super) fn to_filter(filter: &Filter) -> Option<ServerFilter> {
    let must = conditions(filter);
    (!must.is_empty()).then(|| ServerFilter::must(must))
}

/// The same, and only clips whose captions have every one of `words`.
pub(super) fn having_words(filter: &Filter, words: &str) -> ServerFilter {
    let mut must = conditions(filter);
    must.push(Condition::matches_text(CAPTION, words));
    ServerFilter::must(must)
}

fn conditions(filter: &Filter) -> Vec<Condition> {
    let mut must = Vec::new();
    if !filter.sources.is_empty() {
        must.push(of_sources(&filter.sources));
    }
    let before = |bound: f64| Range { lt: Some(bound), ..Range::default() };
    let after = |bound: f64| Range { gt: Some(bound), ..Range::default() };
    if let Some(media) = filter.media {
        must.extend(media.to_ns.map(|to| Condition::range("start_ns", before(to as f64))));
        must.extend(media.from_ns.map(|from| Condition::range(END, after(from as f64))));
    }
    if let Some(utc) = filter.utc {
        let (from, to) = (utc.from_us.unwrap_or(i64::MIN), utc.to_us.unwrap_or(i64::MAX));
        must.push(Condition::range("utc_start_us", before(to as f64)));
        must.push(Condition::range("utc_end_us", after(from as f64)));
    }
    must
}
