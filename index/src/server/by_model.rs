//! Clips of several models, each kept in the collection of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use footage_clip::{Caption, ClipId, ClipRecord, Fingerprint, SourceId};

use crate::{IndexError, KeepClips, ServerIndex};

/// How often a collection that is not there is looked for again.
const LOOK: Duration = Duration::from_secs(10);

/// Keeps clips on a server for whoever brings them in: those of another model in that model's collection,
/// where it was made. While a model is changed, clips of both come.
///
/// What is removed is removed from all of them. Captions go to the first one alone: they are made for
/// clips that are read.
pub struct KeptByModel {
    first: ServerIndex,
    others: Mutex<BTreeMap<Fingerprint, Looked>>,
}

/// Another model's collection as it was last looked for.
#[derive(Clone)]
struct Looked {
    found: Option<ServerIndex>,
    at: Instant,
}

impl KeptByModel {
    /// Clips of `first`'s model, and of every other one that has a collection on the same server.
    pub fn new(first: ServerIndex) -> Self {
        Self { first, others: Mutex::default() }
    }

    /// The collection of a model; none where nobody made it.
    async fn of(&self, model: &Fingerprint) -> Result<Option<ServerIndex>, IndexError> {
        let known = self.others.lock().unwrap_or_else(PoisonError::into_inner).get(model).cloned();
        if let Some(known) =
            known.filter(|known| known.found.is_some() || known.at.elapsed() < LOOK)
        {
            return Ok(known.found);
        }
        let found = self.first.there(model).await?;
        let looked = Looked { found: found.clone(), at: Instant::now() };
        self.others.lock().unwrap_or_else(PoisonError::into_inner).insert(model.clone(), looked);
        Ok(found)
    }

    /// Every collection there is.
    async fn all(&self) -> Result<Vec<ServerIndex>, IndexError> {
        let mut all = vec![self.first.clone()];
        for model in self.first.models().await? {
            if model != self.first.collection.model.fingerprint {
                all.extend(self.first.there(&model).await?);
            }
        }
        Ok(all)
    }
}

#[async_trait]
impl KeepClips for KeptByModel {
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        let own = &self.first.collection.model.fingerprint;
        if clips.iter().all(|clip| clip.model.fingerprint == *own) {
            return self.first.keep(clips).await;
        }
        let mut by_model: BTreeMap<&Fingerprint, Vec<ClipRecord>> = BTreeMap::new();
        for clip in clips {
            by_model.entry(&clip.model.fingerprint).or_default().push(clip.clone());
        }
        let mut kept = Vec::new();
        for (model, clips) in by_model {
            // Whose collection nobody made is refused by the first one, by name.
            let other = if model == own { None } else { self.of(model).await? };
            let index = other.unwrap_or_else(|| self.first.clone());
            index.collection.check(&clips)?;
            kept.push((index, clips));
        }
        for (index, clips) in kept {
            if let Err(error) = index.keep(&clips).await {
                // It may have been removed: it is looked for anew.
                self.others.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Err(error);
            }
        }
        Ok(())
    }

    async fn caption(&self, captions: &[(ClipId, Caption)]) -> Result<u64, IndexError> {
        self.first.caption(captions).await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        // What a server has answered to is in its log.
        self.first.flush().await
    }

    async fn remove_source(&self, source_id: &SourceId) -> Result<u64, IndexError> {
        let mut removed = 0;
        for index in self.all().await? {
            removed += index.remove_source(source_id).await?;
        }
        Ok(removed)
    }

    async fn remove_before(&self, source_id: &SourceId, end_ns: u64) -> Result<u64, IndexError> {
        let mut removed = 0;
        for index in self.all().await? {
            removed += index.remove_before(source_id, end_ns).await?;
        }
        Ok(removed)
    }

    async fn optimize(&self) -> Result<(), IndexError> {
        self.first.optimize().await
    }
}

impl fmt::Debug for KeptByModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptByModel").field("first", &self.first).finish_non_exhaustive()
    }
}
