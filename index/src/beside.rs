//! Collections of several models side by side, of which one is read.

use async_trait::async_trait;
use footage_clip::Fingerprint;

use crate::{Collection, Index, IndexError};

/// A collection among others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shelved {
    /// The model that makes its embeddings.
    pub fingerprint: Fingerprint,
    /// What that model is called, where the collection says so.
    pub name: Option<String>,
    /// Values in each embedding.
    pub dim: usize,
    /// Whether this is the one that is read.
    pub is_current: bool,
}

/// An index whose place holds other models' collections as well.
#[async_trait]
pub trait Beside: Index + Sized {
    /// Opens another model's collection beside this one, and makes it where there is none. Which of
    /// them is read does not change by that.
    async fn beside(&self, collection: &Collection) -> Result<Self, IndexError>;

    /// Makes this the collection that is read, in one step: whoever looks finds the one before, or
    /// this one.
    async fn make_current(&self) -> Result<(), IndexError>;

    /// Every collection there, by fingerprint.
    async fn collections(&self) -> Result<Vec<Shelved>, IndexError>;

    /// Removes a collection with everything in it. Fails where it is this one, or the one that is
    /// read.
    async fn remove_beside(&self, fingerprint: &Fingerprint) -> Result<(), IndexError>;
}
