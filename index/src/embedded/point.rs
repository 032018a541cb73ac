//! A clip as a point of the engine: id, vector, payload.

use footage_clip::{ClipId, ClipRecord, Embedding, ModelRef, SourceId};
use qdrant_edge::{
    Payload, PointId, PointStructPersisted, ScoredPoint, VectorStructInternal,
    VectorStructPersisted,
};
use serde_json::{Value, json};

use crate::payload::{self, CAPTION, END, SOURCE, TIMES};
use crate::{Filter, Hit, StoredClip};

/// Payload fields with an index of their own, and its kind. Every filter uses one of these alone,
/// so no search reads payloads to decide. They stay in their files: held in memory they would have
/// to be read whole at every opening.
pub(super) fn indexed() -> impl Iterator<Item = (&'static str, Value)> {
    let name = json!({ "type": "keyword", "memory": "cold" });
    // Numbers are asked for by range alone.
    let number = json!({ "type": "integer", "range": true, "lookup": false, "memory": "cold" });
    let times = TIMES.into_iter().map(move |field| (field, number.clone()));
    std::iter::once((SOURCE, name)).chain(times)
}

/// The point that keeps `clip`.
pub(super) fn of_clip(clip: &ClipRecord) -> Result<PointStructPersisted, String> {
    Ok(PointStructPersisted {
        id: id_of(clip.clip_id),
        vector: VectorStructPersisted::Single(clip.embedding.as_slice().to_vec()),
        payload: Some(Payload(payload::of_clip(clip)?)),
    })
}

/// The engine's id of a clip.
pub(super) fn id_of(clip_id: ClipId) -> PointId {
    PointId::Uuid(clip_id.as_uuid())
}

/// The clip of an engine's id.
pub(super) fn clip_id_of(id: PointId) -> Result<ClipId, String> {
    match id {
        PointId::Uuid(id) => Ok(id.into()),
        PointId::NumId(id) => Err(format!("point {id} is no clip: its id is no UUID")),
    }
}

/// The clip that a point keeps, as far as it was loaded.
pub(super) fn to_clip(
    id: PointId,
    payload: Option<Payload>,
    vector: Option<VectorStructInternal>,
    model: &ModelRef,
) -> Result<StoredClip, String> {
    let clip_id = clip_id_of(id)?;
    let broken = |cause: String| format!("clip {clip_id} cannot be read: {cause}");
    let Payload(fields) = payload.ok_or_else(|| broken("it has no payload".into()))?;
    let embedding = vector
        .map(|vector| match vector {
            VectorStructInternal::Single(values) => {
                Embedding::restore(values).map_err(|error| broken(error.to_string()))
            }
            _ => Err(broken("it has several vectors".into())),
        })
        .transpose()?;
    payload::to_clip(clip_id, fields, embedding, model)
}

/// The hit that a point is.
pub(super) fn to_hit(point: ScoredPoint, model: &ModelRef) -> Result<Hit, String> {
    Ok(to_clip(point.id, point.payload, None, model)?.into_hit(point.score))
}

/// The thumbnail in a payload of which nothing else was loaded.
pub(super) fn to_thumbnail(payload: Option<Payload>) -> Result<Option<Vec<u8>>, String> {
    payload::to_thumbnail(payload.map(|Payload(fields)| fields))
}

/// The end in a payload of which nothing else was loaded.
pub(super) fn to_end(payload: Option<&Payload>) -> Result<u64, String> {
    payload::to_end(payload.map(|Payload(fields)| fields))
}

/// Accepts every clip of a source that ends by `end_ns`, and perhaps some that end up to 2 us later:
/// the engine compares as `f64`, which is that coarse for nanoseconds since 1970.
pub(super) fn ending_by(source_id: &SourceId, end_ns: u64) -> Result<qdrant_edge::Filter, String> {
    let must = json!([
        { "key": SOURCE, "match": { "any": [source_id.as_str()] } },
        { "key": END, "range": { "lte": end_ns.saturating_add(1024) } },
    ]);
    serde_json::from_value(json!({ "must": must })).map_err(|error| error.to_string())
}

/// A filter in the engine's terms; none where it accepts everything.
///
/// Built as JSON, Qdrant's own public form of it, because the engine's types of the same are wide
/// and change with each of its releases.
pub(super) fn to_filter(filter: &Filter) -> Result<Option<qdrant_edge::Filter>, String> {
    let must = conditions(filter);
    if must.is_empty() {
        return Ok(None);
    }
    serde_json::from_value(json!({ "must": must })).map(Some).map_err(|error| error.to_string())
}

/// The same, and only clips whose captions have every one of `words`.
pub(super) fn having_words(filter: &Filter, words: &str) -> Result<qdrant_edge::Filter, String> {
    let mut must = conditions(filter);
    must.push(json!({ "key": CAPTION, "match": { "text": words } }));
    serde_json::from_value(json!({ "must": must })).map_err(|error| error.to_string())
}

fn conditions(filter: &Filter) -> Vec<Value> {
    let mut must = Vec::new();
    if !filter.sources.is_empty() {
        let any: Vec<_> = filter.sources.iter().map(SourceId::as_str).collect();
        must.push(json!({ "key": SOURCE, "match": { "any": any } }));
    }
    let range = |key: &str, is: &str, bound: Value| json!({ "key": key, "range": { is: bound } });
    if let Some(media) = filter.media {
        must.extend(media.to_ns.map(|to| range("start_ns", "lt", to.into())));
        must.extend(media.from_ns.map(|from| range("end_ns", "gt", from.into())));
    }
    if let Some(utc) = filter.utc {
        let (from, to) = (utc.from_us.unwrap_or(i64::MIN), utc.to_us.unwrap_or(i64::MAX));
        must.push(range("utc_start_us", "lt", to.into()));
        must.push(range("utc_end_us", "gt", from.into()));
    }
    must
}
