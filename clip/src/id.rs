//! Identities: of a source, a clip, a model.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::WindowSpec;

/// `UUIDv5` namespace of clip ids. Changing it orphans every index ever written.
const CLIP_NAMESPACE: Uuid = Uuid::from_u128(0x5f0e_7a9c_3d41_5b6e_9a27_c1d4_86f0_2b13);

/// A camera or a file: chosen once, never changed. For a file it is derived from the content, so a
/// renamed or moved file stays the same source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SourceId(String);

/// A text that cannot be an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no id: use 1 to 128 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, \
     beginning with a letter or a digit"
)]
pub struct InvalidId(String);

impl SourceId {
    /// Accepts 1 to 128 letters, digits, `.`, `_` and `-`: safe in a file name, a topic key and a
    /// filter alike.
    pub fn try_new(id: impl Into<String>) -> Result<Self, InvalidId> {
        let id = id.into();
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let begins_well = id.starts_with(|c: char| c.is_ascii_alphanumeric());
        if id.len() > 128 || !begins_well || !id.chars().all(allowed) {
            return Err(InvalidId(id.chars().take(128).collect()));
        }
        Ok(Self(id))
    }

    /// The id of a file, from the hash of its whole content.
    pub fn of_content(hash: &blake3::Hash) -> Self {
        Self(format!("file-{}", &hash.to_hex()[..32]))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SourceId {
    type Error = InvalidId;

    fn try_from(id: String) -> Result<Self, InvalidId> {
        Self::try_new(id)
    }
}

impl FromStr for SourceId {
    type Err = InvalidId;

    fn from_str(id: &str) -> Result<Self, InvalidId> {
        Self::try_new(id)
    }
}

impl From<SourceId> for String {
    fn from(id: SourceId) -> Self {
        id.0
    }
}

impl fmt::Display for SourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hash over everything that changes an embedding: weights, architecture, preprocessing, tokenizer.
/// Vectors of different fingerprints are never compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint(String);

impl Fingerprint {
    /// The first 128 bits of a hash.
    pub fn of_hash(hash: &blake3::Hash) -> Self {
        Self(hash.to_hex()[..32].to_owned())
    }

    /// The fingerprint as 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Fingerprint {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        let is_hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
        if text.len() == 32 && text.chars().all(is_hex) {
            return Ok(Self(text));
        }
        Err(InvalidId(text.chars().take(128).collect()))
    }
}

impl From<Fingerprint> for String {
    fn from(fingerprint: Fingerprint) -> Self {
        fingerprint.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A clip: derived from what it shows and how it was cut and embedded, so that the same footage
/// indexed twice is the same clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClipId(Uuid);

impl ClipId {
    /// The id of the clip of `source` that starts at `start_ns` of media time.
    pub fn derive(
        source: &SourceId,
        start_ns: u64,
        window: &WindowSpec,
        model: &Fingerprint,
    ) -> Self {
        let name = format!(
            "{source}/{start_ns}/{}/{}/{}/{model}",
            window.length(),
            window.stride(),
            window.rate()
        );
        Self(Uuid::new_v5(&CLIP_NAMESPACE, name.as_bytes()))
    }

    /// The id as a UUID.
    pub fn as_uuid(&self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for ClipId {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl FromStr for ClipId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

impl fmt::Display for ClipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rate;

    fn window(stride: usize) -> WindowSpec {
        WindowSpec::try_new(8, stride, Rate::try_new(2, 1).unwrap()).unwrap()
    }

    #[test]
    fn a_clip_id_follows_from_source_start_window_and_model_alone() {
        let source = SourceId::try_new("gate").unwrap();
        let model = Fingerprint::of_hash(&blake3::hash(b"a"));
        let id = ClipId::derive(&source, 5, &window(4), &model);

        assert_eq!(id, ClipId::derive(&source, 5, &window(4), &model));
        assert_ne!(id, ClipId::derive(&source, 6, &window(4), &model));
        assert_ne!(id, ClipId::derive(&source, 5, &window(2), &model));
        let other = Fingerprint::of_hash(&blake3::hash(b"b"));
        assert_ne!(id, ClipId::derive(&source, 5, &window(4), &other));
    }

    #[test]
    fn ids_stay_what_they_were_in_earlier_releases() {
        let source = SourceId::try_new("gate").unwrap();
        let model = Fingerprint::of_hash(&blake3::hash(b"a"));
        let id = ClipId::derive(&source, 5, &window(4), &model);
        assert_eq!(id.to_string(), "636842ed-758b-5bc7-adb4-ec1c1b08d8f6");
    }

    #[test]
    fn a_rate_written_otherwise_derives_the_same_id() {
        let source = SourceId::try_new("gate").unwrap();
        let model = Fingerprint::of_hash(&blake3::hash(b"a"));
        let id = |rate: &str| {
            let window = WindowSpec::try_new(8, 4, rate.parse().unwrap()).unwrap();
            ClipId::derive(&source, 5, &window, &model).to_string()
        };
        for rate in ["2", "2/1", "4/2"] {
            assert_eq!(id(rate), "636842ed-758b-5bc7-adb4-ec1c1b08d8f6", "{rate}");
        }
    }

    #[test]
    fn source_ids_are_safe_in_paths_and_keys() {
        assert!(SourceId::try_new("gate-2.west_A").is_ok());
        for bad in ["", "../x", ".hidden", "a b", "a/b", "a\0", &"x".repeat(129)] {
            assert!(SourceId::try_new(bad).is_err(), "{bad:?}");
        }
    }
}
