//! What is asked for, as an embedding.

use footage_clip::{ClipId, Embedding, ModelRef, RgbFrame, SourceId, Span};
use footage_index::{FindClips, IndexError, With};
use footage_model::{Calibration, Model, ModelError};

/// What a person asks with.
#[derive(Clone, Debug)]
pub enum Query {
    /// A sentence.
    Text(String),
    /// A picture: find what looks like it.
    Picture(RgbFrame),
    /// A clip of the index: find more like it.
    Clip(ClipId),
}

/// Why nothing can be asked.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// There are no words in it.
    #[error("the sentence to search for is empty: describe what you want to see")]
    Empty,
    /// The index does not hold the clip.
    #[error("no clip {0} in the index: its source was removed, or indexed by another model")]
    NoSuchClip(ClipId),
    /// The model that is to read the query is not the one that indexed.
    #[error(
        "the index was made by model `{}` ({}), the query by `{}` ({}): search with the model that \
         indexed", .index.name, .index.fingerprint, .query.name, .query.fingerprint
    )]
    OtherModel {
        /// The model of the index.
        index: Box<ModelRef>,
        /// The model of the query.
        query: Box<ModelRef>,
    },
    /// The model gave no embedding.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// A query as a point in the index's space.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The point, `[P]`.
    pub embedding: Embedding,
    /// What a cosine to it is worth. A model is calibrated for sentences: the cosines of pictures
    /// and clips with each other lie elsewhere.
    pub calibration: Option<Calibration>,
    /// The words that captions are to have; none where it was not asked in words.
    pub words: Option<String>,
    /// A stretch that is not to be found: the clip that was asked with.
    pub except: Option<(SourceId, Span)>,
}

impl Query {
    /// Reads the query with `model`, which must be the one that indexed. Texts and pictures keep a
    /// core busy meanwhile.
    pub async fn ask(&self, model: &Model, index: &dyn FindClips) -> Result<Asked, QueryError> {
        let own =
            ModelRef { name: model.name().to_owned(), fingerprint: model.fingerprint().clone() };
        if own.fingerprint != index.model().fingerprint {
            return Err(QueryError::OtherModel {
                index: Box::new(index.model().clone()),
                query: Box::new(own),
            });
        }
        match self {
            Self::Text(text) if text.trim().is_empty() => Err(QueryError::Empty),
            Self::Text(text) => {
                let mut embeddings = model.text().embed_texts(&[text.trim()])?;
                let embedding = embeddings.pop().ok_or(QueryError::Empty)?;
                let words = Some(text.trim().to_owned());
                Ok(Asked { embedding, calibration: model.calibration(), words, except: None })
            }
            Self::Picture(frame) => {
                let embedding = model.embed_image(frame)?;
                Ok(Asked { embedding, calibration: None, words: None, except: None })
            }
            Self::Clip(id) => asked_with_clip(*id, index).await,
        }
    }
}

async fn asked_with_clip(id: ClipId, index: &dyn FindClips) -> Result<Asked, QueryError> {
    let with = With { embedding: true, ..With::default() };
    let clip = index.get(&[id], with).await?.pop().ok_or(QueryError::NoSuchClip(id))?;
    let embedding = clip.embedding.ok_or(QueryError::NoSuchClip(id))?;
    let except = Some((clip.source_id, clip.span));
    Ok(Asked { embedding, calibration: None, words: None, except })
}
