//! A unit vector in one model's space.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A point on the unit sphere of a model's embedding space, shape `[P]`.
///
/// Normalised when built, so that a dot product is a cosine everywhere else. Serialised as base64
/// of little-endian `f32`.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding(Box<[f32]>);

/// A vector that points nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("embedding has no direction: its {dim} values are all zero or not finite")]
pub struct NoDirection {
    /// Number of values.
    pub dim: usize,
}

impl Embedding {
    /// Scales `values` to unit length.
    pub fn normalise(mut values: Vec<f32>) -> Result<Self, NoDirection> {
        let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if !norm.is_normal() {
            return Err(NoDirection { dim: values.len() });
        }
        for value in &mut values {
            *value = (f64::from(*value) / norm) as f32;
        }
        Ok(Self(values.into_boxed_slice()))
    }

    /// Takes back what [`as_slice`](Self::as_slice) gave: values that are of unit length already
    /// are kept to the bit, others are scaled.
    pub fn restore(values: Vec<f32>) -> Result<Self, NoDirection> {
        let norm = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        if (norm - 1.0).abs() < 1e-5 {
            return Ok(Self(values.into_boxed_slice()));
        }
        Self::normalise(values)
    }

    /// Number of values, P.
    pub fn dim(&self) -> usize {
        self.0.len()
    }

    /// The values, of unit length together.
    pub fn as_slice(&self) -> &[f32] {
        &self.0
    }

    /// Cosine of the angle between two embeddings of one model.
    ///
    /// # Panics
    /// In debug builds, when the two have different dimensions.
    pub fn cosine(&self, other: &Self) -> f32 {
        debug_assert_eq!(self.dim(), other.dim(), "embeddings of different models");
        // In sixteen sums, which the compiler turns into vectors.
        let (a, a_rest) = self.0.as_chunks::<16>();
        let (b, b_rest) = other.0.as_chunks::<16>();
        let mut sums = [0.0_f32; 16];
        for (a, b) in a.iter().zip(b) {
            for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
        let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
        sums.iter().sum::<f32>() + rest
    }
}

impl Serialize for Embedding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = self.0.iter().flat_map(|value| value.to_le_bytes()).collect();
        serializer.serialize_str(&STANDARD.encode(bytes))
    }
}

impl<'de> Deserialize<'de> for Embedding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD
            .decode(text)
            .map_err(|error| D::Error::custom(format!("embedding is not base64: {error}")))?;
        let (words, rest) = bytes.as_chunks::<4>();
        if !rest.is_empty() {
            return Err(D::Error::custom(format!(
                "embedding has {} bytes, which is no whole number of 4-byte floats",
                bytes.len()
            )));
        }
        let values = words.iter().map(|word| f32::from_le_bytes(*word)).collect();
        Self::restore(values).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_scaled_to_unit_length() {
        let embedding = Embedding::normalise(vec![3.0, 4.0]).unwrap();
        assert_eq!(embedding.as_slice(), [0.6, 0.8]);
    }

    #[test]
    fn a_vector_without_direction_is_refused() {
        for values in [vec![0.0, 0.0], vec![f32::NAN, 1.0], vec![f32::INFINITY], vec![]] {
            assert!(Embedding::normalise(values).is_err());
        }
    }

    #[test]
    fn serialising_keeps_every_bit() {
        let embedding = Embedding::normalise(vec![0.1, -0.7, 0.3]).unwrap();
        let json = serde_json::to_string(&embedding).unwrap();
        assert_eq!(serde_json::from_str::<Embedding>(&json).unwrap(), embedding);
    }

    #[test]
    fn bytes_that_are_no_floats_are_refused() {
        assert!(serde_json::from_str::<Embedding>("\"AAA=\"").is_err());
        assert!(serde_json::from_str::<Embedding>("\"not base64\"").is_err());
    }
}
