//! Every clip compared with every query: exact, in memory, the yardstick for the other.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use async_trait::async_trait;
use footage_clip::{Caption, ClipId, ClipRecord, Embedding, ModelRef, SourceId};

use crate::words::{self, Words};
use crate::{Collection, Filter, FindClips, Hit, IndexError, KeepClips, StoredClip, With, WordHit};

/// An exact index in memory. Clones share it.
#[derive(Clone)]
pub struct MemoryIndex {
    collection: Collection,
    clips: Arc<RwLock<BTreeMap<ClipId, ClipRecord>>>,
    words: Arc<Words>,
}

impl MemoryIndex {
    /// An empty index.
    pub fn new(collection: Collection) -> Self {
        Self { collection, clips: Arc::default(), words: Arc::default() }
    }

    fn clips(&self) -> RwLockReadGuard<'_, BTreeMap<ClipId, ClipRecord>> {
        self.clips.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<R>(&self, change: impl FnOnce(&mut BTreeMap<ClipId, ClipRecord>) -> R) -> R {
        change(&mut self.clips.write().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl KeepClips for MemoryIndex {
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        self.collection.check(clips)?;
        self.change(|held| held.extend(clips.iter().map(|clip| (clip.clip_id, clip.clone()))));
        Ok(())
    }

    async fn caption(&self, captions: &[(ClipId, Caption)]) -> Result<u64, IndexError> {
        Ok(self.change(|held| {
            let mut captioned = 0;
            for (id, caption) in captions {
                if let Some(clip) = held.get_mut(id) {
                    clip.caption = Some(caption.as_str().to_owned());
                    captioned += 1;
                }
            }
            captioned
        }))
    }

    async fn flush(&self) -> Result<(), IndexError> {
        Ok(())
    }

    async fn remove_source(&self, source_id: &SourceId) -> Result<u64, IndexError> {
        Ok(self.change(|held| {
            let before = held.len();
            held.retain(|_, clip| clip.source_id != *source_id);
            (before - held.len()) as u64
        }))
    }

    async fn remove_before(&self, source_id: &SourceId, end_ns: u64) -> Result<u64, IndexError> {
        Ok(self.change(|held| {
            let before = held.len();
            held.retain(|_, clip| clip.source_id != *source_id || clip.span.end_ns > end_ns);
            (before - held.len()) as u64
        }))
    }

    async fn optimize(&self) -> Result<(), IndexError> {
        Ok(())
    }
}

#[async_trait]
impl FindClips for MemoryIndex {
    fn model(&self) -> &ModelRef {
        &self.collection.model
    }

    async fn find(
        &self,
        query: &Embedding,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        self.collection.check_query(query)?;
        let clips = self.clips();
        let mut scored: Vec<(f32, &ClipRecord)> = clips
            .values()
            .filter(|clip| filter.accepts(&clip.source_id, &clip.span))
            .map(|clip| (query.cosine(&clip.embedding), clip))
            .collect();
        scored.sort_by(|(a, first), (b, second)| {
            b.total_cmp(a).then(first.clip_id.cmp(&second.clip_id))
        });
        let nearest = scored.into_iter().take(limit);
        Ok(nearest.map(|(score, clip)| stored(clip, With::default()).into_hit(score)).collect())
    }

    async fn find_words(
        &self,
        words: &str,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<WordHit>, IndexError> {
        let clips = self.clips();
        let captions = clips.values().filter_map(|clip| Some((clip, clip.caption.as_deref()?)));
        let scored = self.words.scored(words, captions);
        let hits =
            scored.into_iter().filter(|(clip, _)| filter.accepts(&clip.source_id, &clip.span));
        let hits = hits.map(|(clip, score)| WordHit {
            hit: stored(clip, With::default()).into_hit(score.bm25),
            has_every_word: score.has_every_word,
        });
        let mut hits: Vec<WordHit> = hits.collect();
        words::best_first(&mut hits);
        hits.truncate(limit);
        Ok(hits)
    }

    async fn get(&self, ids: &[ClipId], with: With) -> Result<Vec<StoredClip>, IndexError> {
        let clips = self.clips();
        Ok(ids.iter().filter_map(|id| clips.get(id)).map(|clip| stored(clip, with)).collect())
    }

    async fn thumbnail(&self, id: ClipId) -> Result<Option<Vec<u8>>, IndexError> {
        Ok(self.clips().get(&id).and_then(|clip| clip.thumbnail.clone()))
    }

    async fn count(&self, filter: &Filter) -> Result<u64, IndexError> {
        let clips = self.clips();
        Ok(clips.values().filter(|clip| filter.accepts(&clip.source_id, &clip.span)).count() as u64)
    }

    async fn ids(
        &self,
        source_id: &SourceId,
        after: Option<ClipId>,
        limit: usize,
    ) -> Result<Vec<ClipId>, IndexError> {
        let first = after.map_or(Bound::Unbounded, Bound::Excluded);
        let clips = self.clips();
        Ok(clips
            .range((first, Bound::Unbounded))
            .filter(|(_, clip)| clip.source_id == *source_id)
            .map(|(id, _)| *id)
            .take(limit)
            .collect())
    }
}

fn stored(clip: &ClipRecord, with: With) -> StoredClip {
    StoredClip {
        clip_id: clip.clip_id,
        source_id: clip.source_id.clone(),
        span: clip.span,
        window: clip.window,
        model: clip.model.clone(),
        media: clip.media.clone(),
        seq: clip.seq,
        caption: clip.caption.clone(),
        embedding: with.embedding.then(|| clip.embedding.clone()),
        thumbnail: clip.thumbnail.clone().filter(|_| with.thumbnail),
    }
}

impl fmt::Debug for MemoryIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryIndex")
            .field("collection", &self.collection)
            .field("clips", &self.clips().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::Fixture;

    crate::index_contract!(|collection| Box::pin(async move {
        let index = Arc::new(MemoryIndex::new(collection));
        Fixture { index, guard: Box::new(()) }
    }));
}
