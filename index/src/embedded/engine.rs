//! Qdrant's engine in process: one shard of it, and the calls it gets.
//!
//! Everything here blocks. Nothing in the engine runs by itself: what is not flushed is not
//! durable, what is not optimized is searched by comparing every vector.

mod captions;
mod removal;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use footage_clip::{ClipId, Embedding, SourceId};
use fs_err as fs;
use qdrant_edge::{
    CountRequest, CreateIndex, DEFAULT_VECTOR_NAME, EdgeConfig, EdgeShard, FieldIndexOperations,
    JsonPath, NamedQuery, OperationError, PayloadFieldSchema, PayloadSelectorExclude,
    PayloadSelectorInclude, PointInsertOperations, PointOperations, QueryEnum, QueryRequestBuilder,
    RetrieveRequest, ScoringQuery, ScrollRequest, UpdateOperation, VectorInternal,
    WithPayloadInterface, WithVector,
};
use tracing::debug;

use super::log::LogFiles;
use super::manifest::{InUse, failed};
use super::{EmbeddedSettings, point, setup, space, warm};
use crate::opening::guarded;
use crate::{Collection, Filter, Hit, IndexError, StoredClip, With, best_first};

/// Where the engine keeps segments: one at least.
pub(super) const SEGMENTS: &str = "segments";

/// Where the engine builds segments. A process killed meanwhile leaves them half built, and the
/// engine would take them for whole.
const TEMP_SEGMENTS: &str = "temp_segments";

/// After so many times the clips after which segments are to be written out, no change is flushed
/// before they are: a log that nobody shortens would fill the disk.
const LONGEST_LOG: usize = 4;

/// An open shard.
#[derive(Debug)]
pub(super) struct Engine {
    shard: EdgeShard,
    collection: Collection,
    /// The shard's folder.
    at: PathBuf,
    min_free_bytes: u64,
    small_reserve: u64,
    beam: usize,
    settle_after_clips: usize,
    /// Whether there is a text index of captions.
    finds_words: Mutex<bool>,
    /// Clips changed since the segments were last written out, or the shard was opened. Held
    /// during every change, as no file of the log may come or go while they are being opened.
    logged_clips: Mutex<usize>,
    /// Given back last, when the shard is closed.
    _in_use: Arc<InUse>,
}

impl Engine {
    /// Makes an empty shard, payload indexes first.
    pub(super) fn create(
        at: &Path,
        collection: &Collection,
        settings: &EmbeddedSettings,
        in_use: Arc<InUse>,
    ) -> Result<Self, IndexError> {
        if at.try_exists().map_err(failed("making the index anew", at))? {
            // Its making was interrupted before anything could be kept in it.
            fs::remove_dir_all(at).map_err(failed("making the index anew", at))?;
        }
        fs::create_dir_all(at).map_err(failed("making the index", at))?;
        space::check("making the index", at, settings.min_free_bytes)?;
        let shard = EdgeShard::new(at, config(at, collection, settings)?)
            .map_err(|error| engine_failed("making the index", at, &error))?;
        let engine = Self::of(shard, at, collection, settings, in_use);
        for (field, schema) in point::indexed() {
            engine.create_field_index(field, schema)?;
        }
        engine.find_words_from_now_on()?;
        engine.settle()?;
        Ok(engine)
    }

    /// Opens a shard, replaying what its log holds beyond the last flush.
    pub(super) fn load(
        at: &Path,
        collection: &Collection,
        settings: &EmbeddedSettings,
        in_use: Arc<InUse>,
    ) -> Result<Self, IndexError> {
        let doing = "opening the index";
        if !has_segments(at).map_err(failed(doing, at))? {
            // The engine would begin an empty one, and the ledger would still claim the clips.
            return Err(damaged(at, "its clips are missing".into()));
        }
        let leftovers = at.join(TEMP_SEGMENTS);
        let failed = failed("removing half-built segments", at);
        if leftovers.try_exists().map_err(&failed)? {
            fs::remove_dir_all(&leftovers).map_err(&failed)?;
        }
        space::check(doing, at, small_reserve(settings))?;
        let config = config(at, collection, settings)?;
        let loaded = guarded(|| EdgeShard::load(at, Some(config)));
        let shard =
            loaded.map_err(|cause| damaged(at, cause))?.map_err(|error| {
                match engine_failed(doing, at, &error) {
                    IndexError::Failed { cause, .. } => damaged(at, cause),
                    other => other,
                }
            })?;
        let engine = Self::of(shard, at, collection, settings, in_use);
        *engine.finds_words.lock().unwrap_or_else(PoisonError::into_inner) =
            engine.has_words_index()?;
        Ok(engine)
    }

    fn of(
        shard: EdgeShard,
        at: &Path,
        collection: &Collection,
        settings: &EmbeddedSettings,
        in_use: Arc<InUse>,
    ) -> Self {
        Self {
            shard,
            collection: collection.clone(),
            at: at.to_owned(),
            min_free_bytes: settings.min_free_bytes,
            small_reserve: small_reserve(settings),
            beam: settings.beam,
            settle_after_clips: settings.settle_after_clips,
            finds_words: Mutex::default(),
            logged_clips: Mutex::default(),
            _in_use: in_use,
        }
    }

    pub(super) fn keep(
        &self,
        points: Vec<qdrant_edge::PointStructPersisted>,
        has_captions: bool,
    ) -> Result<(), IndexError> {
        let doing = "keeping clips";
        space::check(doing, &self.at, self.min_free_bytes)?;
        if has_captions {
            self.find_words_from_now_on()?;
        }
        let clips = points.len();
        let insert = PointOperations::UpsertPoints(PointInsertOperations::PointsList(points));
        self.update(doing, clips, UpdateOperation::PointOperation(insert))
    }

    /// Makes durable what was changed before, by the log that holds it. Returns whether the log has
    /// become long, and it is time to [`settle`](Self::settle).
    pub(super) fn flush(&self) -> Result<bool, IndexError> {
        let logged = self.logged_clips.lock().unwrap_or_else(PoisonError::into_inner);
        let clips = *logged;
        if clips >= LONGEST_LOG.saturating_mul(self.settle_after_clips) {
            drop(logged);
            return self.settle().map(|()| false);
        }
        let failed = failed("writing the log to disk", &self.at);
        let log = LogFiles::open(&self.at).map_err(&failed)?;
        // Syncing takes long, and appending may go on.
        drop(logged);
        log.sync().map_err(&failed)?;
        Ok(clips >= self.settle_after_clips)
    }

    /// Leaves nothing for the next opening to replay.
    pub(super) fn close(&self) -> Result<(), IndexError> {
        let is_settled = *self.logged_clips.lock().unwrap_or_else(PoisonError::into_inner) == 0;
        if is_settled { Ok(()) } else { self.settle() }
    }

    /// Writes out the segments, so that opening has nothing to replay.
    pub(super) fn settle(&self) -> Result<(), IndexError> {
        // Changes wait for the rest of it, so most of it is done while they need not.
        write_ahead(&self.at.join(SEGMENTS));
        let mut logged = self.logged_clips.lock().unwrap_or_else(PoisonError::into_inner);
        self.shard.flush().map_err(|error| self.failed("writing to disk", &error))?;
        // The log still holds the numbering of what is to come.
        let failed = failed("writing the log to disk", &self.at);
        LogFiles::open(&self.at).and_then(|log| log.sync()).map_err(failed)?;
        *logged = 0;
        Ok(())
    }

    /// Builds search graphs until nothing is left to gain. Takes about as much room as the clips.
    pub(super) fn optimize(&self) -> Result<(), IndexError> {
        let doing = "optimizing the index";
        let vectors = self.clips()? * self.collection.dim * size_of::<f32>();
        space::check(doing, &self.at, self.min_free_bytes + 2 * vectors as u64)?;
        let is_changed = self.shard.optimize().map_err(|error| self.failed(doing, &error))?;
        if !is_changed {
            return Ok(());
        }
        self.settle()?;
        // The engine has put its new segments out of the kernel's cache.
        warm::read_ahead(&self.at);
        Ok(())
    }

    /// Clips kept, and of those the ones that no search graph holds; both about right.
    pub(super) fn unindexed(&self) -> Result<usize, IndexError> {
        let info =
            self.shard.info().map_err(|error| self.failed("looking at the index", &error))?;
        Ok(info.points_count.saturating_sub(info.indexed_vectors_count))
    }

    fn clips(&self) -> Result<usize, IndexError> {
        let info =
            self.shard.info().map_err(|error| self.failed("looking at the index", &error))?;
        Ok(info.points_count)
    }

    pub(super) fn find(
        &self,
        query: &Embedding,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        let doing = "finding clips";
        let limit = limit.min(self.clips()?);
        if limit == 0 {
            return Ok(Vec::new());
        }
        let nearest = NamedQuery {
            query: VectorInternal::Dense(query.as_slice().to_vec()),
            using: Some(DEFAULT_VECTOR_NAME.into()),
        };
        let filter = self.filter(filter)?;
        let mut request = QueryRequestBuilder::new(limit)
            .query(ScoringQuery::Vector(QueryEnum::Nearest(nearest)))
            .params(setup::search(self.beam, limit, filter.is_some()))
            .with_payload(without_thumbnail()?);
        if let Some(filter) = filter {
            request = request.filter(filter);
        }
        let points =
            self.shard.query(request.build()).map_err(|error| self.failed(doing, &error))?;
        let hits = points.into_iter().map(|point| point::to_hit(point, &self.collection.model));
        let mut hits: Vec<Hit> =
            hits.collect::<Result<_, _>>().map_err(|cause| self.damaged(cause))?;
        best_first(&mut hits);
        Ok(hits)
    }

    pub(super) fn get(&self, ids: &[ClipId], with: With) -> Result<Vec<StoredClip>, IndexError> {
        let payload = if with.thumbnail { true.into() } else { without_thumbnail()? };
        let request = RetrieveRequest {
            point_ids: ids.iter().copied().map(point::id_of).collect(),
            with_payload: Some(payload),
            with_vector: Some(WithVector::Bool(with.embedding)),
        };
        let records =
            self.shard.retrieve(request).map_err(|error| self.failed("reading clips", &error))?;
        records
            .into_iter()
            .map(|record| {
                let model = &self.collection.model;
                point::to_clip(record.id, record.payload, record.vector, model)
            })
            .collect::<Result<_, _>>()
            .map_err(|cause| self.damaged(cause))
    }

    pub(super) fn thumbnail(&self, id: ClipId) -> Result<Option<Vec<u8>>, IndexError> {
        let include = PayloadSelectorInclude::new(vec![path(crate::payload::THUMBNAIL)?]);
        let request = RetrieveRequest {
            point_ids: vec![point::id_of(id)],
            with_payload: Some(include.into()),
            with_vector: None,
        };
        let records = self
            .shard
            .retrieve(request)
            .map_err(|error| self.failed("reading a thumbnail", &error))?;
        let payload = records.into_iter().next().and_then(|record| record.payload);
        point::to_thumbnail(payload).map_err(|cause| self.damaged(cause))
    }

    pub(super) fn count(&self, filter: &Filter) -> Result<u64, IndexError> {
        let request = CountRequest { filter: self.filter(filter)?, exact: true };
        let count =
            self.shard.count(request).map_err(|error| self.failed("counting clips", &error))?;
        Ok(count as u64)
    }

    pub(super) fn ids(
        &self,
        source_id: &SourceId,
        after: Option<ClipId>,
        limit: usize,
    ) -> Result<Vec<ClipId>, IndexError> {
        let limit = limit.min(self.clips()?);
        let request = ScrollRequest {
            offset: after.map(point::id_of),
            // The engine begins at the offset, we after it.
            limit: Some(limit + 1),
            filter: self.filter(&Filter::of_source(source_id.clone()))?,
            with_payload: Some(false.into()),
            with_vector: WithVector::Bool(false),
            order_by: None,
        };
        let (records, _) =
            self.shard.scroll(request).map_err(|error| self.failed("listing clips", &error))?;
        let ids = records.into_iter().map(|record| point::clip_id_of(record.id));
        let ids: Vec<ClipId> =
            ids.collect::<Result<_, _>>().map_err(|cause| self.damaged(cause))?;
        Ok(ids.into_iter().filter(|id| Some(*id) != after).take(limit).collect())
    }

    fn create_field_index(&self, field: &str, schema: serde_json::Value) -> Result<(), IndexError> {
        let schema: PayloadFieldSchema =
            serde_json::from_value(schema).map_err(|error| self.damaged(error.to_string()))?;
        let create = CreateIndex { field_name: path(field)?, field_schema: Some(schema) };
        let operation = FieldIndexOperations::CreateIndex(create);
        self.shard
            .update(UpdateOperation::FieldIndexOperation(operation))
            .map_err(|error| self.failed("making a payload index", &error))
    }

    fn update(
        &self,
        doing: &'static str,
        clips: usize,
        operation: UpdateOperation,
    ) -> Result<(), IndexError> {
        self.try_update(clips, operation).map_err(|error| self.failed(doing, &error))
    }

    /// The same, with the engine's own error.
    fn try_update(&self, clips: usize, operation: UpdateOperation) -> Result<(), OperationError> {
        let mut logged = self.logged_clips.lock().unwrap_or_else(PoisonError::into_inner);
        *logged = logged.saturating_add(clips);
        self.shard.update(operation)
    }

    fn filter(&self, filter: &Filter) -> Result<Option<qdrant_edge::Filter>, IndexError> {
        point::to_filter(filter).map_err(|cause| self.damaged(cause))
    }

    fn failed(&self, doing: &'static str, error: &OperationError) -> IndexError {
        engine_failed(doing, &self.at, error)
    }

    fn damaged(&self, cause: String) -> IndexError {
        damaged(&self.at, cause)
    }
}

fn small_reserve(settings: &EmbeddedSettings) -> u64 {
    settings.min_free_bytes.min(space::SMALL_RESERVE)
}

/// Sends the files of a folder to the disk, as far as that goes: what fails here fails again, and is
/// told, when the engine does it.
fn write_ahead(folder: &Path) {
    let mut files = Vec::new();
    warm::add_files(folder, &mut files);
    for file in files {
        if let Err(error) = fs::File::open(file).and_then(|file| file.sync_data()) {
            debug!(%error, "not written ahead");
        }
    }
}

fn has_segments(at: &Path) -> io::Result<bool> {
    match fs::read_dir(at.join(SEGMENTS)) {
        Ok(mut segments) => Ok(segments.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A shard that cannot be read. Named is the collection's folder around it, ledger and all.
fn damaged(shard: &Path, cause: String) -> IndexError {
    IndexError::Damaged { at: shard.parent().unwrap_or(shard).to_owned(), cause }
}

fn config(
    at: &Path,
    collection: &Collection,
    settings: &EmbeddedSettings,
) -> Result<EdgeConfig, IndexError> {
    setup::shard(collection, settings).map_err(|cause| IndexError::Failed {
        doing: "setting up the index",
        at: at.to_owned(),
        cause,
    })
}

fn without_thumbnail() -> Result<WithPayloadInterface, IndexError> {
    Ok(PayloadSelectorExclude::new(vec![path(crate::payload::THUMBNAIL)?]).into())
}

fn path(field: &str) -> Result<JsonPath, IndexError> {
    field.parse().map_err(|()| IndexError::Failed {
        doing: "naming a payload field",
        at: PathBuf::new(),
        cause: format!("`{field}` is no path"),
    })
}

/// An engine's error as ours. It tells of a full disk only in words.
fn engine_failed(doing: &'static str, at: &Path, error: &OperationError) -> IndexError {
    let cause = error.to_string();
    if cause.contains("No space left on device") || cause.contains("os error 28") {
        return space::no_space(doing, at.to_owned(), 0);
    }
    IndexError::Failed { doing, at: at.to_owned(), cause }
}
