//! Clips on a Qdrant server, or a cluster of them, over gRPC: what many processes keep into and find
//! in together.
//!
//! A collection per model, called by an alias and the model's fingerprint, with payload indexes made
//! before any clip. The alias itself says which model's clips are the ones to read: opening another
//! model's to read fails. Every call is safe to repeat, since clips are kept and
//! removed by what they are: where the server is away, or does not answer in time, a call is tried
//! again a few times, and then [`IndexError::Failed`].
//!
//! What [`keep`](crate::KeepClips::keep) has resolved for is in the server's log, and survives its
//! crash; how it survives a failing disk is for the replication factor to say.

mod beside;
mod by_model;
mod captions;
mod convert;
mod retry;
mod setup;

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use footage_clip::{Caption, ClipId, ClipRecord, Embedding, ModelRef, SourceId};
use qdrant_client::Qdrant;
use qdrant_client::qdrant::{
    CountPointsBuilder, DeletePointsBuilder, GetPointsBuilder, PayloadExcludeSelector,
    PayloadIncludeSelector, PointsIdsList, Query, QueryPointsBuilder, ScoredPoint,
    ScrollPointsBuilder, UpsertPointsBuilder,
};

pub use self::by_model::KeptByModel;
use self::retry::retried;
use crate::payload::{self, END, THUMBNAIL};
use crate::{
    Collection, Filter, FindClips, Hit, IndexError, KeepClips, StoredClip, With, WordHit,
    best_first,
};

/// Most clips in one message: 768-d vectors with thumbnails stay far below the server's 64 MiB.
const MOST_AT_ONCE: usize = 1000;

/// More hits than these are asked for only where there are so many clips.
const MANY: usize = 10_000;

/// How a Qdrant server is reached, and what a collection is made like there.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// Where it listens for gRPC: `http://host:6334`, or `https://` with TLS.
    pub url: String,
    /// Its key, where it asks for one.
    pub api_key: Option<ApiKey>,
    /// The alias, and what the names of collections begin with.
    pub alias: String,
    /// Longest time a call may take.
    pub timeout: Duration,
    /// Shards of a new collection.
    pub shards: u32,
    /// Copies of each shard of a new collection.
    pub replication: u32,
    /// Copies that have to take a change before it counts.
    pub write_consistency: u32,
    /// How vectors are rounded for walking the graph; what is found is compared again exactly.
    pub quantization: Quantization,
    /// Whether vectors stay on disk, and only the rounded ones are held in memory.
    pub on_disk: bool,
    /// Candidates held while searching a graph: more are slower and miss less.
    pub beam: usize,
}

/// How vectors are rounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Quantization {
    /// Not at all.
    None,
    /// To a byte a value: a quarter of the memory.
    #[default]
    Scalar,
    /// To a bit a value: a thirty-second of it, for models of 1024 values and more.
    Binary,
}

/// A key that lets one in. Shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey(String);

impl ApiKey {
    /// A key.
    pub fn new(key: impl Into<String>) -> Self {
        Self(key.into())
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Clips of one model on a Qdrant server. Clones share the connection.
#[derive(Clone)]
pub struct ServerIndex {
    client: Arc<Qdrant>,
    collection: Collection,
    /// What the collection is called there.
    name: String,
    at: PathBuf,
    settings: ServerSettings,
}

impl ServerIndex {
    /// Connects, and makes the collection where there is none.
    pub async fn open(
        settings: &ServerSettings,
        collection: &Collection,
    ) -> Result<Self, IndexError> {
        let index = Self::connected(settings, collection)?;
        setup::make(&index).await?;
        setup::make_readable(&index).await?;
        Ok(index)
    }

    /// Connects to a collection that is there: [`IndexError::Absent`] where there is none, and
    /// [`IndexError::OtherModel`] where the clips to read are those of another model.
    pub async fn open_existing(
        settings: &ServerSettings,
        collection: &Collection,
    ) -> Result<Self, IndexError> {
        let index = Self::connected(settings, collection)?;
        setup::check(&index).await?;
        Ok(index)
    }

    /// Looks at nothing yet, also not whether there is such a server: the first call does.
    pub fn connected(
        settings: &ServerSettings,
        collection: &Collection,
    ) -> Result<Self, IndexError> {
        let at = PathBuf::from(&settings.url);
        let key = settings.api_key.as_ref().map(|key| key.0.clone());
        let client = Qdrant::from_url(&settings.url)
            .timeout(settings.timeout)
            .connect_timeout(settings.timeout)
            .keep_alive_while_idle()
            .api_key(key)
            // It asks while connecting, and says what it thinks on stdout.
            .skip_compatibility_check()
            .build();
        let client = client.map_err(|error| IndexError::Failed {
            doing: "connecting",
            at: at.clone(),
            cause: error.to_string(),
        })?;
        Ok(Self {
            client: Arc::new(client),
            collection: collection.clone(),
            name: setup::name_of(settings, collection),
            at,
            settings: settings.clone(),
        })
    }

    fn damaged(&self, cause: String) -> IndexError {
        IndexError::Damaged { at: self.at.join(&self.name), cause }
    }

    async fn count_of(
        &self,
        filter: Option<qdrant_client::qdrant::Filter>,
    ) -> Result<u64, IndexError> {
        let mut request = CountPointsBuilder::new(&self.name).exact(true);
        if let Some(filter) = filter {
            request = request.filter(filter);
        }
        let request = request.build();
        let counted =
            retried("counting clips", &self.at, || self.client.count(request.clone())).await?;
        Ok(counted.result.map_or(0, |result| result.count))
    }

    /// Removes what a filter accepts, which the payload indexes find: no other clip is looked at, and
    /// none travels. Returns how many there were.
    async fn remove_all(
        &self,
        doing: &'static str,
        filter: qdrant_client::qdrant::Filter,
    ) -> Result<u64, IndexError> {
        let removed = self.count_of(Some(filter.clone())).await?;
        if removed > 0 {
            let request = DeletePointsBuilder::new(&self.name).points(filter).wait(true).build();
            let delete = || self.client.delete_points(request.clone());
            retried(doing, &self.at, delete).await?;
        }
        Ok(removed)
    }

    /// A limit that the server takes: no larger than there are clips, where it is large.
    async fn most(&self, limit: usize, filter: &Filter) -> Result<usize, IndexError> {
        Ok(if limit > MANY {
            limit.min(usize::try_from(self.count(filter).await?).unwrap_or(usize::MAX))
        } else {
            limit
        })
    }

    /// What a point found is, with its score.
    fn hit(&self, point: ScoredPoint) -> Result<Hit, IndexError> {
        let hit = || {
            let clip_id = convert::to_clip_id(point.id.as_ref())?;
            let fields = convert::fields(point.payload);
            let clip = payload::to_clip(clip_id, fields, None, &self.collection.model)?;
            Ok(clip.into_hit(point.score))
        };
        hit().map_err(|cause| self.damaged(cause))
    }

    /// A page of the points that a filter accepts, by id from `from` on, and where the next begins.
    async fn page(
        &self,
        doing: &'static str,
        filter: qdrant_client::qdrant::Filter,
        from: Option<qdrant_client::qdrant::PointId>,
        limit: usize,
        fields: Vec<String>,
    ) -> Result<qdrant_client::qdrant::ScrollResponse, IndexError> {
        let mut request = ScrollPointsBuilder::new(&self.name)
            .filter(filter)
            .limit(u32::try_from(limit).unwrap_or(u32::MAX))
            .with_payload(PayloadIncludeSelector { fields })
            .with_vectors(false);
        if let Some(from) = from {
            request = request.offset(from);
        }
        let request = request.build();
        retried(doing, &self.at, || self.client.scroll(request.clone())).await
    }
}

#[async_trait]
impl KeepClips for ServerIndex {
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        self.collection.check(clips)?;
        // Of a clip that comes twice the later one stays, also where shards take them in parallel.
        let mut latest: HashMap<ClipId, &ClipRecord> = HashMap::with_capacity(clips.len());
        latest.extend(clips.iter().map(|clip| (clip.clip_id, clip)));
        let points = latest.into_values().map(convert::of_clip);
        let points: Vec<_> = points.collect::<Result<_, _>>().map_err(|cause| {
            IndexError::Failed { doing: "keeping clips", at: self.at.clone(), cause }
        })?;
        for points in points.chunks(MOST_AT_ONCE) {
            let request = UpsertPointsBuilder::new(&self.name, points.to_vec()).wait(true).build();
            let upsert = || self.client.upsert_points(request.clone());
            retried("keeping clips", &self.at, upsert).await?;
        }
        Ok(())
    }

    async fn caption(&self, captions: &[(ClipId, Caption)]) -> Result<u64, IndexError> {
        self.put_captions(captions).await
    }

    async fn flush(&self) -> Result<(), IndexError> {
        // Each change was waited for until it was in the server's log and applied.
        Ok(())
    }

    async fn remove_source(&self, source_id: &SourceId) -> Result<u64, IndexError> {
        let filter = Filter::of_source(source_id.clone());
        let Some(filter) = convert::to_filter(&filter) else { return Ok(0) };
        self.remove_all("removing a source", filter).await
    }

    async fn remove_before(&self, source_id: &SourceId, end_ns: u64) -> Result<u64, IndexError> {
        let doing = "removing old clips";
        let old = convert::ending_well_before(source_id, end_ns);
        let mut removed = self.remove_all(doing, old).await?;
        // Of the few that end just there each one is looked at.
        let mut from = None;
        loop {
            let filter = convert::ending_about(source_id, end_ns);
            let page = self.page(doing, filter, from, MOST_AT_ONCE, vec![END.to_owned()]).await?;
            let mut ids = Vec::with_capacity(page.result.len());
            for point in page.result {
                let fields = convert::fields(point.payload);
                let ends = payload::to_end(Some(&fields)).map_err(|cause| self.damaged(cause))?;
                if ends <= end_ns {
                    ids.extend(point.id);
                }
            }
            if !ids.is_empty() {
                removed += ids.len() as u64;
                let request = DeletePointsBuilder::new(&self.name)
                    .points(PointsIdsList { ids })
                    .wait(true)
                    .build();
                let delete = || self.client.delete_points(request.clone());
                retried(doing, &self.at, delete).await?;
            }
            from = page.next_page_offset;
            if from.is_none() {
                return Ok(removed);
            }
        }
    }

    async fn optimize(&self) -> Result<(), IndexError> {
        // The server does so by itself.
        Ok(())
    }
}

#[async_trait]
impl FindClips for ServerIndex {
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
        let limit = self.most(limit, filter).await?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut request = QueryPointsBuilder::new(&self.name)
            .query(Query::new_nearest(query.as_slice().to_vec()))
            .params(setup::search(&self.settings, limit))
            .limit(limit as u64)
            .with_payload(PayloadExcludeSelector { fields: vec![THUMBNAIL.to_owned()] });
        if let Some(filter) = convert::to_filter(filter) {
            request = request.filter(filter);
        }
        let request = request.build();
        let found =
            retried("finding clips", &self.at, || self.client.query(request.clone())).await?;
        let hits = found.result.into_iter().map(|point| self.hit(point));
        let mut hits: Vec<Hit> = hits.collect::<Result<_, _>>()?;
        best_first(&mut hits);
        Ok(hits)
    }

    async fn find_words(
        &self,
        words: &str,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<WordHit>, IndexError> {
        self.find_captions(words, filter, limit).await
    }

    async fn get(&self, ids: &[ClipId], with: With) -> Result<Vec<StoredClip>, IndexError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let mut request = GetPointsBuilder::new(
            &self.name,
            ids.iter().map(|id| convert::of_clip_id(*id)).collect::<Vec<_>>(),
        )
        .with_vectors(with.embedding);
        request = if with.thumbnail {
            request.with_payload(true)
        } else {
            request.with_payload(PayloadExcludeSelector { fields: vec![THUMBNAIL.to_owned()] })
        };
        let request = request.build();
        let got =
            retried("reading clips", &self.at, || self.client.get_points(request.clone())).await?;
        let model = &self.collection.model;
        let mut found = HashMap::new();
        for point in got.result {
            let clip = convert::to_clip(point, model).map_err(|cause| self.damaged(cause))?;
            found.insert(clip.clip_id, clip);
        }
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    async fn thumbnail(&self, id: ClipId) -> Result<Option<Vec<u8>>, IndexError> {
        let request = GetPointsBuilder::new(&self.name, vec![convert::of_clip_id(id)])
            .with_payload(PayloadIncludeSelector { fields: vec![THUMBNAIL.to_owned()] })
            .build();
        let read = || self.client.get_points(request.clone());
        let got = retried("reading a thumbnail", &self.at, read).await?;
        let fields = got.result.into_iter().next().map(|point| convert::fields(point.payload));
        payload::to_thumbnail(fields).map_err(|cause| self.damaged(cause))
    }

    async fn count(&self, filter: &Filter) -> Result<u64, IndexError> {
        self.count_of(convert::to_filter(filter)).await
    }

    async fn ids(
        &self,
        source_id: &SourceId,
        after: Option<ClipId>,
        limit: usize,
    ) -> Result<Vec<ClipId>, IndexError> {
        let mut ids: Vec<ClipId> = Vec::new();
        let mut from = after.map(convert::of_clip_id);
        while ids.len() < limit {
            // The server begins at the offset, we after it.
            let page = (limit - ids.len()).min(MANY) + 1;
            let filter = convert::of_source(source_id);
            let page = self.page("listing clips", filter, from, page, Vec::new()).await?;
            for point in page.result {
                let id = convert::to_clip_id(point.id.as_ref());
                let id = id.map_err(|cause| self.damaged(cause))?;
                if Some(id) != after && ids.len() < limit {
                    ids.push(id);
                }
            }
            from = page.next_page_offset;
            if from.is_none() {
                break;
            }
        }
        Ok(ids)
    }
}

impl fmt::Debug for ServerIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerIndex")
            .field("at", &self.at)
            .field("collection", &self.name)
            .finish_non_exhaustive()
    }
}
