//! Clips in a folder, found by Qdrant's engine in this process: no server, no network.

mod beside;
mod engine;
mod log;
mod manifest;
mod optimizer;
mod point;
mod settler;
mod setup;
mod space;
mod warm;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use footage_clip::{Caption, ClipId, ClipRecord, Embedding, ModelRef, SourceId};
use fs_err as fs;

use self::engine::Engine;
pub use self::manifest::{FORMAT_VERSION, Manifest};
use self::manifest::{InUse, failed};
use self::optimizer::Optimizer;
use self::settler::Settler;
use crate::{Collection, Filter, FindClips, Hit, IndexError, KeepClips, StoredClip, With, WordHit};

/// How an index in a folder behaves. What it holds does not depend on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// So many clips kept or removed make optimizing due at once, where it is
    /// [wanted](EmbeddedIndex::optimize_in_background).
    pub optimize_after_clips: usize,
    /// Fewer are optimized when nothing was kept or removed for so long.
    pub optimize_idle: Duration,
    /// Threads that optimizing may use; 0 leaves it to the number of cores. They run at low
    /// priority.
    pub optimize_threads: usize,
    /// A segment gets a search graph from so many KiB of vectors on; smaller ones are compared
    /// clip by clip, which is exact and fast enough.
    pub graph_from_kib: usize,
    /// Candidates held while searching a graph: more are slower and miss less.
    pub beam: usize,
    /// What is flushed is on disk in the engine's log; after so many clips its segments are written
    /// out as well, beside the work. More writes less, and makes opening after a crash slower.
    pub settle_after_clips: usize,
    /// Nothing is kept while the disk has fewer bytes left. Opening what is there, searching it and
    /// removing from it need 64 MiB at most.
    pub min_free_bytes: u64,
}

impl Default for EmbeddedSettings {
    fn default() -> Self {
        Self {
            optimize_after_clips: 20_000,
            optimize_idle: Duration::from_secs(3),
            optimize_threads: 0,
            graph_from_kib: 10_000,
            beam: 128,
            settle_after_clips: 20_000,
            min_free_bytes: 256 << 20,
        }
    }
}

/// An index in a folder below a data directory, which this process alone has open. Clones share it;
/// the directory is free again when the last is dropped.
#[derive(Clone, Debug)]
pub struct EmbeddedIndex {
    optimizer: Arc<Optimizer>,
    settler: Arc<Settler>,
    open: Arc<Open>,
}

#[derive(Debug)]
struct Open {
    engine: Arc<Engine>,
    collection: Collection,
    folder: PathBuf,
    data: PathBuf,
    settings: EmbeddedSettings,
    in_use: Arc<InUse>,
}

impl EmbeddedIndex {
    /// Opens the clips of a collection below `data`, and makes them where there are none.
    ///
    /// Fails where another process has the directory open, another model or a newer release wrote
    /// it, or the disk is full. Then nothing was changed.
    pub async fn open(
        data: &Path,
        collection: &Collection,
        settings: EmbeddedSettings,
    ) -> Result<Self, IndexError> {
        let (data, collection) = (data.to_owned(), collection.clone());
        blocking("opening the index", &data.clone(), move || {
            Self::open_blocking(&data, collection, &settings)
        })
        .await
    }

    /// Opens what is below `data`, whatever model it is of; [`IndexError::Absent`] where there is
    /// nothing.
    pub async fn open_existing(
        data: &Path,
        settings: EmbeddedSettings,
    ) -> Result<Self, IndexError> {
        let manifest = Manifest::current(data)?;
        let manifest = manifest.ok_or_else(|| IndexError::Absent(data.to_owned()))?;
        Self::open(data, &manifest.collection(), settings).await
    }

    /// The collection's folder, where its [`Ledger`](crate::Ledger) belongs.
    pub fn folder(&self) -> &Path {
        &self.open.folder
    }

    /// Which clips these are.
    pub fn collection(&self) -> &Collection {
        &self.open.collection
    }

    /// Number of clips that no search graph holds as yet: searching compares them one by one.
    pub async fn unindexed(&self) -> Result<usize, IndexError> {
        self.with_engine("looking at the index", Engine::unindexed).await
    }

    /// Optimizes unasked from now on: after enough changes, or in a quiet moment. For who stays open
    /// long enough; a process that soon ends would begin what it cannot finish.
    pub async fn optimize_in_background(&self) -> Result<(), IndexError> {
        const DOING: &str = "starting the optimizer";
        let (optimizer, engine) = (Arc::clone(&self.optimizer), Arc::clone(&self.open.engine));
        let failed = failed(DOING, &self.open.folder);
        blocking(DOING, &self.open.folder, move || {
            let unindexed = engine.unindexed()?;
            optimizer.watch(engine, unindexed).map_err(failed)
        })
        .await
    }

    /// Optimizes no longer unasked. Returns whether a run is going on still.
    pub fn end_optimizing(&self) -> bool {
        self.optimizer.end()
    }

    /// Makes everything durable, and waits for the optimizing that may be going on.
    pub async fn close(self) -> Result<(), IndexError> {
        self.close_after(Optimizer::stop).await
    }

    /// Makes everything durable, and does not wait for the optimizing that may be going on: the
    /// directory stays in use until that ends. A process that ends before loses only that run.
    pub async fn close_at_once(self) -> Result<(), IndexError> {
        self.close_after(|_| ()).await
    }

    async fn close_after(self, wait: fn(&Optimizer)) -> Result<(), IndexError> {
        self.with_engine("writing to disk", Engine::close).await?;
        let at = self.open.folder.clone();
        blocking("closing the index", &at, move || {
            wait(&self.optimizer);
            self.settler.wait();
            // Here, where blocking is allowed: the engine flushes once more when dropped.
            drop(self);
            Ok(())
        })
        .await
    }

    fn open_blocking(
        data: &Path,
        collection: Collection,
        settings: &EmbeddedSettings,
    ) -> Result<Self, IndexError> {
        let in_use = Arc::new(InUse::try_new(data)?);
        refuse_other_model(data, &collection)?;
        Self::open_in(data, collection, settings, in_use)
    }

    /// Opens a collection of a data directory that is this process's already.
    fn open_in(
        data: &Path,
        collection: Collection,
        settings: &EmbeddedSettings,
        in_use: Arc<InUse>,
    ) -> Result<Self, IndexError> {
        let folder = manifest::index_folder(data).join(collection.model.fingerprint.as_str());
        let clips = folder.join("clips");
        let held = Arc::clone(&in_use);
        let engine = match Manifest::read(&folder)? {
            Some(found) if found.dim == collection.dim => {
                Engine::load(&clips, &collection, settings, held)?
            }
            Some(found) => {
                let cause = format!(
                    "its manifest says {} values an embedding, model `{}` makes {}",
                    found.dim, collection.model.name, collection.dim
                );
                return Err(IndexError::Damaged { at: folder, cause });
            }
            None => {
                fs::create_dir_all(&folder).map_err(failed("making the index", &folder))?;
                let engine = Engine::create(&clips, &collection, settings, held)?;
                Manifest::of(&collection).write(&folder)?;
                engine
            }
        };
        let optimizer = Optimizer::new(settings.optimize_after_clips, settings.optimize_idle);
        let (data, settings) = (data.to_owned(), settings.clone());
        let engine = Arc::new(engine);
        let open = Open { engine, collection, folder, data, settings, in_use };
        warm::begin(&clips);
        Ok(Self { optimizer: Arc::new(optimizer), settler: Arc::default(), open: Arc::new(open) })
    }

    async fn with_engine<R: Send + 'static>(
        &self,
        doing: &'static str,
        call: impl FnOnce(&Engine) -> Result<R, IndexError> + Send + 'static,
    ) -> Result<R, IndexError> {
        let engine = Arc::clone(&self.open.engine);
        blocking(doing, &self.open.folder, move || call(&engine)).await
    }
}

#[async_trait]
impl KeepClips for EmbeddedIndex {
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError> {
        self.open.collection.check(clips)?;
        if clips.is_empty() {
            return Ok(());
        }
        let points = clips.iter().map(point::of_clip).collect::<Result<_, _>>();
        let points = points.map_err(|cause| IndexError::Failed {
            doing: "keeping clips",
            at: self.open.folder.clone(),
            cause,
        })?;
        let has_captions = clips.iter().any(|clip| clip.caption.is_some());
        let keep = move |engine: &Engine| engine.keep(points, has_captions);
        self.with_engine("keeping clips", keep).await?;
        self.optimizer.changed(clips.len());
        Ok(())
    }

    async fn caption(&self, captions: &[(ClipId, Caption)]) -> Result<u64, IndexError> {
        let captions = captions.to_vec();
        let put = move |engine: &Engine| engine.caption(&captions);
        let captioned = self.with_engine("keeping captions", put).await?;
        // A clip in a search graph is moved out of it to be changed.
        self.optimizer.changed(usize::try_from(captioned).unwrap_or(usize::MAX));
        Ok(captioned)
    }

    async fn flush(&self) -> Result<(), IndexError> {
        if self.with_engine("writing to disk", Engine::flush).await? {
            self.settler.begin(Arc::clone(&self.open.engine));
        }
        Ok(())
    }

    async fn remove_source(&self, source_id: &SourceId) -> Result<u64, IndexError> {
        let source_id = source_id.clone();
        let remove = move |engine: &Engine| engine.remove_source(&source_id);
        let removed = self.with_engine("removing a source", remove).await?;
        self.optimizer.changed(usize::try_from(removed).unwrap_or(usize::MAX));
        Ok(removed)
    }

    async fn remove_before(&self, source_id: &SourceId, end_ns: u64) -> Result<u64, IndexError> {
        let source_id = source_id.clone();
        let remove = move |engine: &Engine| engine.remove_before(&source_id, end_ns);
        let removed = self.with_engine("removing old clips", remove).await?;
        self.optimizer.changed(usize::try_from(removed).unwrap_or(usize::MAX));
        Ok(removed)
    }

    async fn optimize(&self) -> Result<(), IndexError> {
        let optimizer = Arc::clone(&self.optimizer);
        self.with_engine("optimizing the index", move |engine| optimizer.run_now(engine)).await
    }
}

#[async_trait]
impl FindClips for EmbeddedIndex {
    fn model(&self) -> &ModelRef {
        &self.open.collection.model
    }

    async fn find(
        &self,
        query: &Embedding,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Hit>, IndexError> {
        self.open.collection.check_query(query)?;
        let (query, filter) = (query.clone(), filter.clone());
        let find = move |engine: &Engine| engine.find(&query, &filter, limit);
        self.with_engine("finding clips", find).await
    }

    async fn find_words(
        &self,
        words: &str,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<WordHit>, IndexError> {
        let (words, filter) = (words.to_owned(), filter.clone());
        let find = move |engine: &Engine| engine.find_words(&words, &filter, limit);
        self.with_engine("finding captions", find).await
    }

    async fn get(&self, ids: &[ClipId], with: With) -> Result<Vec<StoredClip>, IndexError> {
        let ids = ids.to_vec();
        self.with_engine("reading clips", move |engine| engine.get(&ids, with)).await
    }

    async fn thumbnail(&self, id: ClipId) -> Result<Option<Vec<u8>>, IndexError> {
        self.with_engine("reading a thumbnail", move |engine| engine.thumbnail(id)).await
    }

    async fn count(&self, filter: &Filter) -> Result<u64, IndexError> {
        let filter = filter.clone();
        self.with_engine("counting clips", move |engine| engine.count(&filter)).await
    }

    async fn ids(
        &self,
        source_id: &SourceId,
        after: Option<ClipId>,
        limit: usize,
    ) -> Result<Vec<ClipId>, IndexError> {
        let source_id = source_id.clone();
        let ids = move |engine: &Engine| engine.ids(&source_id, after, limit);
        self.with_engine("listing clips", ids).await
    }
}

/// One model's clips are read: the vectors of two cannot be searched together.
fn refuse_other_model(data: &Path, wanted: &Collection) -> Result<(), IndexError> {
    let current = Manifest::current(data)?;
    let other = current.filter(|found| found.model.fingerprint != wanted.model.fingerprint);
    let Some(found) = other else { return Ok(()) };
    Err(IndexError::OtherModel {
        at: data.to_owned(),
        found_name: found.model.name,
        found: found.model.fingerprint,
        wanted_name: wanted.model.name.clone(),
        wanted: wanted.model.fingerprint.clone(),
    })
}

/// Runs what blocks where blocking is allowed.
async fn blocking<R: Send + 'static>(
    doing: &'static str,
    at: &Path,
    call: impl FnOnce() -> Result<R, IndexError> + Send + 'static,
) -> Result<R, IndexError> {
    let joined = tokio::task::spawn_blocking(call).await;
    joined.unwrap_or_else(|error| {
        Err(IndexError::Failed { doing, at: at.to_owned(), cause: error.to_string() })
    })
}
