//! A message's wire form: JSON with a version, and the name of its kind beside it.
//!
//! A clip's record is the same JSON that [`ClipRecord`] has everywhere, so who writes to the topic from
//! elsewhere needs no more than that: a message without a kind is a clip.

use footage_clip::{ClipRecord, RECORD_VERSION, SourceId, Span, WireError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::TopicMessage;

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

/// What a message is about, as far as it can be told of one that cannot be read.
#[derive(Debug, Deserialize)]
pub(crate) struct About {
    pub(crate) source_id: SourceId,
    pub(crate) span: Span,
}

impl TopicMessage {
    /// The name of its kind.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Clip(_) => "clip",
            Self::Coverage(_) => "coverage",
            Self::CoverageBatch(_) => "coverage-batch",
            Self::Source(_) => "source",
            Self::Run(_) => "run",
            Self::Removal(_) => "removal",
            Self::Correction(_) => "correction",
        }
    }

    /// The message as one line of JSON, without its kind.
    pub fn to_json(&self) -> Result<Vec<u8>, WireError> {
        match self {
            Self::Clip(clip) => clip.to_json(),
            Self::Coverage(record) => written(record),
            Self::CoverageBatch(record) => written(record),
            Self::Source(record) => written(record),
            Self::Run(record) => written(record),
            Self::Removal(record) => written(record),
            Self::Correction(record) => written(record),
        }
    }

    /// Reads a message of this or an earlier version.
    pub fn from_json(kind: Option<&str>, bytes: &[u8]) -> Result<Self, WireError> {
        match kind {
            None | Some("clip") => ClipRecord::from_json(bytes).map(Self::Clip),
            Some("coverage") => read(bytes).map(Self::Coverage),
            Some("coverage-batch") => read(bytes).map(Self::CoverageBatch),
            Some("source") => read(bytes).map(Self::Source),
            Some("run") => read(bytes).map(Self::Run),
            Some("removal") => read(bytes).map(Self::Removal),
            Some("correction") => read(bytes).map(Self::Correction),
            Some(other) => {
                use serde::de::Error as _;
                let unknown = format!("`{other}` is no kind of message");
                Err(WireError::Malformed(serde_json::Error::custom(unknown)))
            }
        }
    }
}

impl About {
    /// What can be told of bytes that are no message.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

fn written<R: Serialize>(record: &R) -> Result<Vec<u8>, WireError> {
    Ok(serde_json::to_vec(&Versioned { v: RECORD_VERSION, record })?)
}

fn read<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, WireError> {
    let VersionOnly { v } = serde_json::from_slice(bytes)?;
    if v > RECORD_VERSION {
        return Err(WireError::Newer { found: v });
    }
    Ok(serde_json::from_slice::<Versioned<R>>(bytes)?.record)
}

#[cfg(test)]
mod tests {
    use footage_clip::{
        ClipState, CorrectionRecord, CoverageBatch, CoverageRecord, Covered, LostReason,
        RemovalRecord, RunRecord,
    };

    use super::*;

    fn messages() -> [TopicMessage; 7] {
        let source_id = SourceId::try_new("gate").unwrap();
        let coverage = |state| -> TopicMessage {
            let span = Span::new(1, u64::MAX - 1);
            CoverageRecord { source_id: source_id.clone(), span, state }.into()
        };
        let run: RunRecord = serde_json::from_str(
            r#"{"source_id":"gate","start_ns":5,"cause":"started","utc":{"unix_ns":7,"clock":"arrival","uncertainty_ms":1}}"#,
        )
        .unwrap();
        let removal = |before_ns| -> TopicMessage {
            let source_id = source_id.clone();
            RemovalRecord { source_id, before_ns, asked_unix_ns: u64::MAX - 1 }.into()
        };
        [
            coverage(ClipState::Gated),
            coverage(ClipState::Lost(LostReason::Overload)),
            CoverageBatch {
                source_id: source_id.clone(),
                clips: [ClipState::Indexed, ClipState::Lost(LostReason::Refused)]
                    .map(|state| Covered { span: Span::new(3, 4), state })
                    .into(),
            }
            .into(),
            run.into(),
            removal(None),
            removal(Some(u64::MAX - 2)),
            CorrectionRecord {
                source_id: source_id.clone(),
                fingerprint: "f".repeat(32).try_into().unwrap(),
            }
            .into(),
        ]
    }

    #[test]
    fn every_kind_of_message_survives_the_wire() {
        for message in messages() {
            let json = message.to_json().unwrap();
            let back = TopicMessage::from_json(Some(message.kind()), &json).unwrap();
            assert_eq!(back, message);
            let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!((&json["v"], &json["source_id"]), (&1.into(), &"gate".into()));
        }
    }

    #[test]
    fn newer_messages_and_unknown_kinds_are_refused() {
        let newer = TopicMessage::from_json(Some("coverage"), br#"{"v":2,"source_id":"gate"}"#);
        assert!(matches!(newer, Err(WireError::Newer { found: 2 })), "{newer:?}");
        let json = messages()[0].to_json().unwrap();
        let error = TopicMessage::from_json(Some("news"), &json).unwrap_err().to_string();
        assert!(error.contains("`news`"), "{error}");
    }

    #[test]
    fn a_message_that_cannot_be_read_may_still_tell_what_it_is_about() {
        let about = About::read(br#"{"v":9,"source_id":"gate","span":{"start_ns":1,"end_ns":2}}"#);
        assert_eq!(about.unwrap().span, Span::new(1, 2));
        assert!(About::read(b"not even json").is_none());
    }
}
