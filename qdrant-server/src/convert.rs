//! Qdrant's messages, and the engine's own types.

use std::collections::HashMap;

use qdrant_client::qdrant::condition::ConditionOneOf;
use qdrant_client::qdrant::r#match::MatchValue;
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::vectors::VectorsOptions;
use qdrant_client::qdrant::with_payload_selector::SelectorOptions;
use qdrant_client::qdrant::with_vectors_selector::SelectorOptions as VectorSelector;
use qdrant_client::qdrant::{
    self as api, Condition, Filter, PointStruct, Range, Value, WithPayloadSelector,
    WithVectorsSelector,
};
use qdrant_edge::{
    Payload, PayloadSelectorExclude, PayloadSelectorInclude, PointId, PointStructPersisted,
    VectorStructInternal, VectorStructPersisted, WithPayloadInterface, WithVector,
};
use serde_json::{Map, json};
use tonic::Status;

pub(crate) fn refuse(what: impl std::fmt::Display) -> Status {
    Status::invalid_argument(what.to_string())
}

pub(crate) fn id(id: Option<api::PointId>) -> Result<PointId, Status> {
    match id.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Uuid(text)) => Ok(PointId::Uuid(text.parse().map_err(refuse)?)),
        Some(PointIdOptions::Num(number)) => Ok(PointId::NumId(number)),
        None => Err(refuse("a point has no id")),
    }
}

pub(crate) fn id_back(id: PointId) -> api::PointId {
    let options = match id {
        PointId::Uuid(id) => PointIdOptions::Uuid(id.to_string()),
        PointId::NumId(number) => PointIdOptions::Num(number),
    };
    api::PointId { point_id_options: Some(options) }
}

pub(crate) fn point(point: PointStruct) -> Result<PointStructPersisted, Status> {
    let vector = match point.vectors.and_then(|vectors| vectors.vectors_options) {
        Some(VectorsOptions::Vector(vector)) => match vector.vector {
            Some(api::vector::Vector::Dense(dense)) => dense.data,
            _ => return Err(refuse("only dense vectors are taken here")),
        },
        _ => return Err(refuse("only one vector a point is taken here")),
    };
    let fields: Map<String, serde_json::Value> =
        point.payload.into_iter().map(|(key, value)| (key, value.into_json())).collect();
    Ok(PointStructPersisted {
        id: id(point.id)?,
        vector: VectorStructPersisted::Single(vector),
        payload: Some(Payload(fields)),
    })
}

pub(crate) fn payload_back(payload: Option<Payload>) -> HashMap<String, Value> {
    let fields = payload.map(|Payload(fields)| fields).unwrap_or_default();
    qdrant_client::Payload::from(fields).into()
}

pub(crate) fn vectors_back(
    vector: Option<VectorStructInternal>,
) -> Result<Option<api::VectorsOutput>, Status> {
    let Some(vector) = vector else { return Ok(None) };
    let VectorStructInternal::Single(data) = vector else {
        return Err(Status::internal("a point has several vectors"));
    };
    let dense = api::vector_output::Vector::Dense(api::DenseVector { data });
    let vector = api::VectorOutput { vector: Some(dense), ..api::VectorOutput::default() };
    let options = api::vectors_output::VectorsOptions::Vector(vector);
    Ok(Some(api::VectorsOutput { vectors_options: Some(options) }))
}

/// What of the payload is wanted; nothing where nothing is said, as Qdrant's `get` and `scroll` do
/// not.
pub(crate) fn with_payload(
    selector: Option<WithPayloadSelector>,
    unsaid: bool,
) -> Result<WithPayloadInterface, Status> {
    let paths = |fields: Vec<String>| {
        let paths = fields.iter().map(|field| field.parse().map_err(|()| refuse(field)));
        paths.collect::<Result<Vec<qdrant_edge::JsonPath>, Status>>()
    };
    Ok(match selector.and_then(|selector| selector.selector_options) {
        None => unsaid.into(),
        Some(SelectorOptions::Enable(enable)) => enable.into(),
        Some(SelectorOptions::Include(include)) => {
            PayloadSelectorInclude::new(paths(include.fields)?).into()
        }
        Some(SelectorOptions::Exclude(exclude)) => {
            PayloadSelectorExclude::new(paths(exclude.fields)?).into()
        }
    })
}

pub(crate) fn with_vector(selector: Option<WithVectorsSelector>) -> Result<WithVector, Status> {
    match selector.and_then(|selector| selector.selector_options) {
        None => Ok(WithVector::Bool(false)),
        Some(VectorSelector::Enable(enable)) => Ok(WithVector::Bool(enable)),
        Some(VectorSelector::Include(_)) => Err(refuse("vectors have no names here")),
    }
}

/// A text index that scores, by way of Qdrant's public JSON form of it.
pub(crate) fn text_index(params: &api::TextIndexParams) -> Result<serde_json::Value, Status> {
    use api::stemming_algorithm::StemmingParams;

    if params.tokenizer() != api::TokenizerType::Word || params.scoring.is_none() {
        return Err(refuse("only text indexes of whole words that score are made here"));
    }
    let stemmer = params.stemmer.as_ref().and_then(|stemmer| stemmer.stemming_params.as_ref());
    let Some(StemmingParams::Snowball(snowball)) = stemmer else {
        return Err(refuse("only words without their endings are indexed here"));
    };
    let stopwords = params.stopwords.as_ref().map(|stopwords| &stopwords.languages);
    Ok(json!({
        "type": "text",
        "tokenizer": "word",
        "lowercase": params.lowercase,
        "ascii_folding": params.ascii_folding,
        "stopwords": { "languages": stopwords },
        "stemmer": { "type": "snowball", "language": snowball.language },
        "scoring": { "type": "bm25" },
    }))
}

/// A filter, by way of Qdrant's public JSON form of it.
pub(crate) fn filter(filter: Option<Filter>) -> Result<Option<qdrant_edge::Filter>, Status> {
    let Some(filter) = filter else { return Ok(None) };
    if !filter.should.is_empty() || !filter.must_not.is_empty() || filter.min_should.is_some() {
        return Err(refuse("only `must` is understood here"));
    }
    let must: Vec<_> = filter.must.into_iter().map(condition).collect::<Result<_, _>>()?;
    serde_json::from_value(json!({ "must": must })).map(Some).map_err(refuse)
}

fn condition(condition: Condition) -> Result<serde_json::Value, Status> {
    let Some(ConditionOneOf::Field(field)) = condition.condition_one_of else {
        return Err(refuse("only conditions on fields are understood here"));
    };
    let is_other = field.geo_bounding_box.is_some()
        || field.geo_radius.is_some()
        || field.geo_polygon.is_some()
        || field.values_count.is_some()
        || field.datetime_range.is_some()
        || field.is_empty.is_some()
        || field.is_null.is_some();
    match (field.r#match.and_then(|wanted| wanted.match_value), field.range, is_other) {
        (Some(MatchValue::Keywords(any)), None, false) => {
            Ok(json!({ "key": field.key, "match": { "any": any.strings } }))
        }
        (Some(MatchValue::Text(text)), None, false) => {
            Ok(json!({ "key": field.key, "match": { "text": text } }))
        }
        (None, Some(Range { lt, gt, gte, lte }), false) => {
            let range = json!({ "lt": lt, "gt": gt, "gte": gte, "lte": lte });
            Ok(json!({ "key": field.key, "range": range }))
        }
        _ => Err(refuse("only `match any`, `match text` and `range` are understood here")),
    }
}
