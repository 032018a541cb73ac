//! Captions on a server: put to clips, and found by their words, which takes Qdrant 1.20 or newer.

use std::collections::HashSet;

use footage_clip::{Caption, ClipId};
use qdrant_client::Payload;
use qdrant_client::qdrant::query::Variant;
use qdrant_client::qdrant::{
    Filter as ServerFilter, GetPointsBuilder, PayloadExcludeSelector, PointsIdsList, Query,
    QueryPointsBuilder, ScoredPoint, SetPayloadPointsBuilder, TextQuery,
};

use super::retry::retried;
use super::{MOST_AT_ONCE, ServerIndex, convert};
use crate::payload::{CAPTION, THUMBNAIL};
use crate::{Filter, Hit, IndexError, WordHit, words};

impl ServerIndex {
    pub(super) async fn put_captions(
        &self,
        captions: &[(ClipId, Caption)],
    ) -> Result<u64, IndexError> {
        let mut captioned = 0;
        for captions in captions.chunks(MOST_AT_ONCE) {
            // The server refuses words for a point that is not there.
            let held = self.held(captions).await?;
            for (id, caption) in captions.iter().filter(|(id, _)| held.contains(id)) {
                let payload = Payload::from([(CAPTION, caption.as_str().into())]);
                let request = SetPayloadPointsBuilder::new(&self.name, payload)
                    .points_selector(PointsIdsList { ids: vec![convert::of_clip_id(*id)] })
                    .wait(true)
                    .build();
                let set = || self.client.set_payload(request.clone());
                match retried("keeping captions", &self.at, set).await {
                    Ok(_) => captioned += 1,
                    // Removed since it was looked for.
                    Err(_) if !self.held(&[(*id, caption.clone())]).await?.contains(id) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(captioned)
    }

    async fn held(&self, captions: &[(ClipId, Caption)]) -> Result<HashSet<ClipId>, IndexError> {
        let ids: Vec<_> = captions.iter().map(|(id, _)| convert::of_clip_id(*id)).collect();
        let request = GetPointsBuilder::new(&self.name, ids).with_payload(false).build();
        let get = || self.client.get_points(request.clone());
        let got = retried("looking for clips", &self.at, get).await?;
        let ids = got.result.iter().map(|point| convert::to_clip_id(point.id.as_ref()));
        ids.collect::<Result<_, _>>().map_err(|cause| self.damaged(cause))
    }

    pub(super) async fn find_captions(
        &self,
        words: &str,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<WordHit>, IndexError> {
        let limit = self.most(limit, filter).await?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let any = self.by_words(words, convert::to_filter(filter), limit).await?;
        if any.is_empty() {
            return Ok(Vec::new());
        }
        let every = self.by_words(words, Some(convert::having_words(filter, words)), limit).await?;
        let every = every.into_iter().map(|point| self.hit(point).map(|hit| hit.clip_id));
        let every: HashSet<ClipId> = every.collect::<Result<_, _>>()?;
        let hits = any.into_iter().map(|point| {
            let hit: Hit = self.hit(point)?;
            let has_every_word = every.contains(&hit.clip_id);
            Ok(WordHit { hit, has_every_word })
        });
        let mut hits: Vec<WordHit> = hits.collect::<Result<_, IndexError>>()?;
        words::best_first(&mut hits);
        Ok(hits)
    }

    async fn by_words(
        &self,
        words: &str,
        filter: Option<ServerFilter>,
        limit: usize,
    ) -> Result<Vec<ScoredPoint>, IndexError> {
        let text = TextQuery { query: words.to_owned(), scoring: None };
        let mut request = QueryPointsBuilder::new(&self.name)
            .query(Query { variant: Some(Variant::Text(text)) })
            .using(CAPTION)
            .limit(limit as u64)
            .with_payload(PayloadExcludeSelector { fields: vec![THUMBNAIL.to_owned()] });
        if let Some(filter) = filter {
            request = request.filter(filter);
        }
        let request = request.build();
        let found =
            retried("finding captions", &self.at, || self.client.query(request.clone())).await?;
        Ok(found.result)
    }
}
