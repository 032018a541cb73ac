//! A clip's payload: what is kept beside its vector, as JSON that Qdrant filters on.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use footage_clip::{
    ClipId, ClipRecord, Embedding, MediaRef, ModelRef, SourceId, Span, UtcStart, WindowSpec,
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::StoredClip;
use crate::filter::utc_us;

/// The field that only [`thumbnail`](crate::FindClips::thumbnail) and `get` read.
pub(crate) const THUMBNAIL: &str = "thumbnail";

/// The field in which a clip's caption lies.
pub(crate) const CAPTION: &str = "caption";

/// The field in which a clip's source lies.
pub(crate) const SOURCE: &str = "source_id";

/// The field in which a clip's end lies.
pub(crate) const END: &str = "end_ns";

/// The fields in which a clip's times lie, all of which are filtered on.
pub(crate) const TIMES: [&str; 4] = ["start_ns", END, "utc_start_us", "utc_end_us"];

#[derive(Serialize, Deserialize)]
struct ClipPayload {
    source_id: SourceId,
    start_ns: u64,
    end_ns: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    utc: Option<UtcStart>,
    /// Follows from `utc`; kept to be filtered on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    utc_start_us: Option<i64>,
    /// Same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    utc_end_us: Option<i64>,
    window: WindowSpec,
    seq: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caption: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    media: Option<MediaRef>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    thumbnail: Option<String>,
}

/// The payload of `clip`.
pub(crate) fn of_clip(clip: &ClipRecord) -> Result<Map<String, Value>, String> {
    let utc = utc_us(&clip.span);
    let payload = ClipPayload {
        source_id: clip.source_id.clone(),
        start_ns: clip.span.start_ns,
        end_ns: clip.span.end_ns,
        utc: clip.span.utc,
        utc_start_us: utc.map(|(start, _)| start),
        utc_end_us: utc.map(|(_, end)| end),
        window: clip.window,
        seq: clip.seq,
        caption: clip.caption.clone(),
        media: clip.media.clone(),
        thumbnail: clip.thumbnail.as_ref().map(|jpeg| STANDARD.encode(jpeg)),
    };
    match serde_json::to_value(payload).map_err(|error| error.to_string())? {
        Value::Object(fields) => Ok(fields),
        _ => Err("the payload is no object".into()),
    }
}

/// The clip of a payload, as far as it was loaded.
pub(crate) fn to_clip(
    clip_id: ClipId,
    fields: Map<String, Value>,
    embedding: Option<Embedding>,
    model: &ModelRef,
) -> Result<StoredClip, String> {
    let broken = |cause: String| format!("clip {clip_id} cannot be read: {cause}");
    let held: ClipPayload =
        serde_json::from_value(Value::Object(fields)).map_err(|error| broken(error.to_string()))?;
    let thumbnail = held
        .thumbnail
        .map(|text| STANDARD.decode(text).map_err(|error| broken(error.to_string())))
        .transpose()?;
    Ok(StoredClip {
        clip_id,
        source_id: held.source_id,
        span: Span { utc: held.utc, ..Span::new(held.start_ns, held.end_ns) },
        window: held.window,
        model: model.clone(),
        media: held.media,
        seq: held.seq,
        caption: held.caption,
        embedding,
        thumbnail,
    })
}

/// The thumbnail in a payload of which nothing else was loaded.
pub(crate) fn to_thumbnail(fields: Option<Map<String, Value>>) -> Result<Option<Vec<u8>>, String> {
    let Some(Value::String(text)) = fields.and_then(|mut fields| fields.remove(THUMBNAIL)) else {
        return Ok(None);
    };
    STANDARD.decode(text).map(Some).map_err(|error| format!("thumbnail cannot be read: {error}"))
}

/// The end in a payload of which nothing else was loaded.
pub(crate) fn to_end(fields: Option<&Map<String, Value>>) -> Result<u64, String> {
    let end = fields.and_then(|fields| fields.get(END)?.as_u64());
    end.ok_or_else(|| "a clip has no end".to_owned())
}
