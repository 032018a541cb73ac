//! Clips of one model, and which clips belong among them.

use footage_clip::{ClipRecord, Embedding, ModelRef};

use crate::{IndexError, Refusal};

/// Clips that can be compared with each other: of one model, and so of one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The model that makes the embeddings.
    pub model: ModelRef,
    /// Values in each of them, P.
    pub dim: usize,
}

impl Collection {
    /// Finds the first clip that does not belong here.
    pub(crate) fn check(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        clips.iter().try_for_each(|clip| {
            self.check_clip(clip).map_err(|why| IndexError::Refused { clip_id: clip.clip_id, why })
        })
    }

    /// Whether a query can be compared with the clips.
    pub(crate) fn check_query(&self, query: &Embedding) -> Result<(), IndexError> {
        self.check_values(query.as_slice()).map_err(IndexError::Query)
    }

    fn check_clip(&self, clip: &ClipRecord) -> Result<(), Refusal> {
        if clip.model.fingerprint != self.model.fingerprint {
            let found = clip.model.fingerprint.clone();
            return Err(Refusal::Model { found, needed: self.model.fingerprint.clone() });
        }
        self.check_values(clip.embedding.as_slice())
    }

    /// The engine takes NaN and zero vectors without a word and then ranks by them, so whatever
    /// slips past the type that promises unit length ends here.
    fn check_values(&self, values: &[f32]) -> Result<(), Refusal> {
        if values.len() != self.dim {
            return Err(Refusal::Dimension { found: values.len(), needed: self.dim });
        }
        let length = values.iter().map(|value| value * value).sum::<f32>().sqrt();
        if (length - 1.0).abs() < 1e-3 { Ok(()) } else { Err(Refusal::Length(length)) }
    }
}

#[cfg(test)]
mod tests {
    use footage_clip::Fingerprint;

    use super::*;

    #[test]
    fn only_unit_vectors_of_the_right_dimension_belong() {
        let fingerprint = Fingerprint::try_from("0".repeat(32)).unwrap();
        let collection =
            Collection { model: ModelRef { name: "mini".into(), fingerprint }, dim: 2 };
        assert_eq!(collection.check_values(&[0.6, 0.8]), Ok(()));
        let refused = [[0.0, 0.0], [f32::NAN, 1.0], [f32::INFINITY, 0.0], [3.0, 4.0]];
        for values in refused {
            let refusal = collection.check_values(&values);
            assert!(matches!(refusal, Err(Refusal::Length(_))), "{values:?}: {refusal:?}");
        }
        let refusal = collection.check_values(&[1.0]);
        assert_eq!(refusal, Err(Refusal::Dimension { found: 1, needed: 2 }));
    }
}
