//! Captions: put to clips, and found by their words.

use std::collections::HashSet;
use std::sync::PoisonError;

use footage_clip::{Caption, ClipId};
use qdrant_edge::{
    Bm25Params, OperationError, Payload, PayloadOps, PointId, QueryRequestBuilder, RetrieveRequest,
    ScoredPoint, SetPayloadOp, TextQueryBuilder, TextQueryScoring, UpdateOperation, WithVector,
};
use serde_json::json;

use super::{Engine, path, point, space, without_thumbnail};
use crate::payload::CAPTION;
use crate::{Filter, IndexError, WordHit, words};

impl Engine {
    /// Makes the text index where there is none: in a shard of an earlier release it is made with the
    /// first caption.
    pub(super) fn find_words_from_now_on(&self) -> Result<(), IndexError> {
        let mut finds_words = self.finds_words.lock().unwrap_or_else(PoisonError::into_inner);
        if !*finds_words {
            self.create_field_index(CAPTION, words::index())?;
            *finds_words = true;
        }
        Ok(())
    }

    /// Whether the shard has a text index.
    pub(super) fn has_words_index(&self) -> Result<bool, IndexError> {
        let info = self.shard.info();
        let info = info.map_err(|error| self.failed("looking at the index", &error))?;
        Ok(info.payload_schema.contains_key(&path(CAPTION)?))
    }

    pub(in crate::embedded) fn caption(
        &self,
        captions: &[(ClipId, Caption)],
    ) -> Result<u64, IndexError> {
        let doing = "keeping captions";
        if captions.is_empty() {
            return Ok(0);
        }
        space::check(doing, &self.at, self.min_free_bytes)?;
        self.find_words_from_now_on()?;
        let held = self.held(captions.iter().map(|(id, _)| *id))?;
        let mut captioned = 0;
        for (id, caption) in captions {
            let id = point::id_of(*id);
            if !held.contains(&id) {
                continue;
            }
            let payload = json!({ CAPTION: caption.as_str() });
            let serde_json::Value::Object(fields) = payload else { continue };
            let set = SetPayloadOp {
                payload: Payload(fields),
                points: Some(vec![id]),
                filter: None,
                key: None,
            };
            let set = UpdateOperation::PayloadOperation(PayloadOps::SetPayload(set));
            match self.try_update(1, set) {
                Ok(()) => captioned += 1,
                // Removed since it was looked for.
                Err(OperationError::PointIdError { .. }) => {}
                Err(error) => return Err(self.failed(doing, &error)),
            }
        }
        Ok(captioned)
    }

    /// Which of these clips are there.
    fn held(&self, ids: impl Iterator<Item = ClipId>) -> Result<HashSet<PointId>, IndexError> {
        let request = RetrieveRequest {
            point_ids: ids.map(point::id_of).collect(),
            with_payload: Some(false.into()),
            with_vector: Some(WithVector::Bool(false)),
        };
        let records = self.shard.retrieve(request);
        let records = records.map_err(|error| self.failed("looking for clips", &error))?;
        Ok(records.into_iter().map(|record| record.id).collect())
    }

    pub(in crate::embedded) fn find_words(
        &self,
        words: &str,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<WordHit>, IndexError> {
        let limit = limit.min(self.clips()?);
        let finds_words = *self.finds_words.lock().unwrap_or_else(PoisonError::into_inner);
        if limit == 0 || !finds_words {
            return Ok(Vec::new());
        }
        let any = self.by_words(words, self.filter(filter)?, limit)?;
        if any.is_empty() {
            return Ok(Vec::new());
        }
        let every = point::having_words(filter, words).map_err(|cause| self.damaged(cause))?;
        let every = self.by_words(words, Some(every), limit)?;
        let every: HashSet<PointId> = every.into_iter().map(|point| point.id).collect();
        let hits = any.into_iter().map(|found| {
            let has_every_word = every.contains(&found.id);
            Ok(WordHit { hit: point::to_hit(found, &self.collection.model)?, has_every_word })
        });
        let mut hits: Vec<WordHit> =
            hits.collect::<Result<_, _>>().map_err(|cause| self.damaged(cause))?;
        words::best_first(&mut hits);
        Ok(hits)
    }

    fn by_words(
        &self,
        words: &str,
        filter: Option<qdrant_edge::Filter>,
        limit: usize,
    ) -> Result<Vec<ScoredPoint>, IndexError> {
        let text = TextQueryBuilder::new(path(CAPTION)?, words)
            .scoring(TextQueryScoring::Bm25(Bm25Params::default()))
            .build();
        let mut request =
            QueryRequestBuilder::new(limit).query(text).with_payload(without_thumbnail()?);
        if let Some(filter) = filter {
            request = request.filter(filter);
        }
        let found = self.shard.query(request.build());
        found.map_err(|error| self.failed("finding captions", &error))
    }
}
