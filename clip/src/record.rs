//! A clip's wire form: JSON that `jq` reads, versioned.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::{ClipId, ClipState, Embedding, Fingerprint, SourceId, Span, WindowSpec};

/// Version written into every record. A reader accepts this one and every earlier one.
pub const RECORD_VERSION: u32 = 1;

/// The model that made an embedding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelRef {
    /// Name for people.
    pub name: String,
    /// What must be equal for two embeddings to be comparable.
    pub fingerprint: Fingerprint,
}

/// Where a clip's footage is kept, to show it again and to re-read its frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRef {
    /// Path of the file, absolute. Never holds credentials. Of a recorded camera: the fragment in
    /// which the clip begins. Those that follow lie beside it, each named by the media time, in
    /// nanoseconds, at which it begins.
    pub path: String,
    /// Media time of the file's first picture: 0 for a file that is a source of its own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub begins_ns: u64,
}

impl MediaRef {
    /// A file that is a source of its own.
    pub fn file(path: impl Into<String>) -> Self {
        Self { path: path.into(), begins_ns: 0 }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_zero(ns: &u64) -> bool {
    *ns == 0
}

/// One clip: what it is, where it lies, and its embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClipRecord {
    /// Derived from the fields below: see [`ClipId::derive`].
    pub clip_id: ClipId,
    /// The camera or file.
    pub source_id: SourceId,
    /// Place in the source's time.
    pub span: Span,
    /// How the clip was cut.
    pub window: WindowSpec,
    /// What made the embedding.
    pub model: ModelRef,
    /// The clip in the model's space, `[P]`.
    pub embedding: Embedding,
    /// A description in words, where a captioner ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// A small JPEG of the clip's middle frame.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "base64_bytes")]
    pub thumbnail: Option<Vec<u8>>,
    /// Where the footage is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaRef>,
    /// Count of the clip within its source's run, from 0.
    pub seq: u64,
}

/// A stretch of a source's timeline that ended in a state other than indexed, or whose indexing is
/// told apart from its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageRecord {
    /// The camera or file.
    pub source_id: SourceId,
    /// The clip's span.
    pub span: Span,
    /// What became of it.
    pub state: ClipState,
}

/// Stretches of one source's timeline, told together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CoverageBatch {
    /// The camera or file.
    pub source_id: SourceId,
    /// What became of its clips, in the order in which that came to be.
    pub clips: Vec<Covered>,
}

/// One stretch of a [`CoverageBatch`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Covered {
    /// The clip's span.
    pub span: Span,
    /// What became of it.
    pub state: ClipState,
}

impl CoverageBatch {
    /// Records by source, at most `most` of them together. Those of one source keep their order.
    pub fn by_source(records: &[CoverageRecord], most: NonZeroUsize) -> Vec<Self> {
        let mut by_source: BTreeMap<&SourceId, Vec<Covered>> = BTreeMap::new();
        for CoverageRecord { source_id, span, state } in records {
            let covered = Covered { span: *span, state: *state };
            by_source.entry(source_id).or_default().push(covered);
        }
        let batches = by_source.into_iter().flat_map(|(source_id, clips)| {
            let parts: Vec<_> = clips.chunks(most.get()).map(<[_]>::to_vec).collect();
            parts.into_iter().map(|clips| Self { source_id: source_id.clone(), clips })
        });
        batches.collect()
    }

    /// One record for each clip.
    pub fn into_records(self) -> impl Iterator<Item = CoverageRecord> {
        let source_id = self.source_id;
        self.clips.into_iter().map(move |Covered { span, state }| CoverageRecord {
            source_id: source_id.clone(),
            span,
            state,
        })
    }
}

/// Bytes that are no record.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// Written by a newer release.
    #[error(
        "record has version {found}, this release reads up to {RECORD_VERSION}: update this reader"
    )]
    Newer {
        /// The version found.
        found: u32,
    },
    /// Not a record of any version.
    #[error("record cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Readable, but its parts contradict each other.
    #[error("clip id {found} does not follow from its record, which derives {derived}")]
    WrongId {
        /// The id written.
        found: ClipId,
        /// The id its fields give.
        derived: ClipId,
    },
}

#[derive(Serialize, Deserialize)]
struct Versioned<R> {
    v: u32,
    #[serde(flatten)]
    record: R,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

impl ClipRecord {
    /// The record as one line of JSON.
    pub fn to_json(&self) -> Result<Vec<u8>, WireError> {
        Ok(serde_json::to_vec(&Versioned { v: RECORD_VERSION, record: self })?)
    }

    /// Reads a record of this or an earlier version. Unknown fields are ignored; an id that its own
    /// fields contradict is refused, since ids are what makes redelivery harmless.
    pub fn from_json(bytes: &[u8]) -> Result<Self, WireError> {
        let VersionOnly { v } = serde_json::from_slice(bytes)?;
        if v > RECORD_VERSION {
            return Err(WireError::Newer { found: v });
        }
        let Versioned { record, .. } = serde_json::from_slice::<Versioned<Self>>(bytes)?;
        let derived = record.derived_id();
        if record.clip_id != derived {
            return Err(WireError::WrongId { found: record.clip_id, derived });
        }
        Ok(record)
    }

    /// The id that follows from the other fields.
    pub fn derived_id(&self) -> ClipId {
        ClipId::derive(&self.source_id, self.span.start_ns, &self.window, &self.model.fingerprint)
    }
}

mod base64_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    use base64::Engine as _;

    use super::STANDARD;

    #[expect(clippy::ref_option, reason = "the signature serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Vec<u8>>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => serializer.serialize_str(&STANDARD.encode(bytes)),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| STANDARD.decode(text).map_err(serde::de::Error::custom)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;

    fn record() -> ClipRecord {
        let source_id = SourceId::try_new("gate").unwrap();
        let window = WindowSpec::try_new(8, 4, Rate::try_new(2, 1).unwrap()).unwrap();
        let fingerprint = Fingerprint::of_hash(&blake3::hash(b"mini"));
        ClipRecord {
            clip_id: ClipId::derive(&source_id, 2_000_000_000, &window, &fingerprint),
            source_id,
            span: Span::new(2_000_000_000, 6_000_000_000),
            window,
            model: ModelRef { name: "mini".into(), fingerprint },
            embedding: Embedding::normalise(vec![0.6, -0.8]).unwrap(),
            caption: None,
            thumbnail: Some(vec![0xff, 0xd8]),
            media: Some(MediaRef::file("/videos/gate.mp4")),
            seq: 1,
        }
    }

    #[test]
    fn a_record_survives_the_wire() {
        let record = record();
        assert_eq!(ClipRecord::from_json(&record.to_json().unwrap()).unwrap(), record);
    }

    #[test]
    fn the_wire_form_is_plain_json_with_a_version() {
        let json: serde_json::Value = serde_json::from_slice(&record().to_json().unwrap()).unwrap();
        assert_eq!(json["v"], 1);
        assert_eq!(json["source_id"], "gate");
        assert_eq!(json["span"]["start_ns"], 2_000_000_000_u64);
        assert_eq!(json["embedding"], "mpkZP83MTL8=");
        assert_eq!(json["window"]["rate"], "2/1");
    }

    #[test]
    fn a_record_of_a_newer_release_is_told_apart_from_garbage() {
        let mut json: serde_json::Value =
            serde_json::from_slice(&record().to_json().unwrap()).unwrap();
        json["v"] = 2.into();
        let newer = ClipRecord::from_json(json.to_string().as_bytes());
        assert!(matches!(newer, Err(WireError::Newer { found: 2 })));
        assert!(matches!(ClipRecord::from_json(b"{}"), Err(WireError::Malformed(_))));
    }

    #[test]
    fn an_invented_id_is_refused() {
        let mut record = record();
        record.span.start_ns += 1;
        let json = record.to_json().unwrap();
        assert!(matches!(ClipRecord::from_json(&json), Err(WireError::WrongId { .. })));
    }

    #[test]
    fn records_that_are_told_together_are_all_told_and_each_source_keeps_its_order() {
        let record = |at: u64| CoverageRecord {
            source_id: SourceId::try_new(["gate", "yard", "door"][at as usize % 3]).unwrap(),
            // Not in order of time: the order is that in which it came to be.
            span: Span::new(100 - at, 101 - at),
            state: if at.is_multiple_of(4) { ClipState::Gated } else { ClipState::Indexed },
        };
        let records: Vec<_> = (0..50).map(record).collect();
        for most in [1, 5, 16, 17, 1000] {
            let batches = CoverageBatch::by_source(&records, NonZeroUsize::new(most).unwrap());
            assert!(batches.iter().all(|batch| (1..=most).contains(&batch.clips.len())));
            let told: Vec<_> = batches.into_iter().flat_map(CoverageBatch::into_records).collect();
            let of = |records: &[CoverageRecord], source: &str| -> Vec<CoverageRecord> {
                let of_source = records.iter().filter(|record| record.source_id.as_str() == source);
                of_source.cloned().collect()
            };
            assert_eq!(told.len(), records.len());
            for source in ["gate", "yard", "door"] {
                assert_eq!(of(&told, source), of(&records, source), "{most} together");
            }
        }
    }
}
