//! Opens what verbs need: the model, the index and its ledger, in one data directory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::{ModelRef, SourceId, SourceKind, SourceRecord, UtcStart};
use footage_index::{
    Collection, EmbeddedIndex, EmbeddedSettings, Filter, FindClips, IndexError, Ledger, With,
    finish_removals,
};
use footage_model::{FileReport, Model, ModelOptions};
use footage_pipeline::{Archive, EarlierWork, EmbedQueue, EmbedStage, footage_dir};
use footage_search::KnownSource;
use footage_topic::Topic;

use crate::bundled;
use crate::settings::{Layers, Restate, Settings};

/// How long to wait for an index that another process has open.
const IN_USE: Duration = Duration::from_secs(3);

/// The settings in force, and what they lead to.
#[derive(Clone, Debug)]
pub(crate) struct House {
    pub settings: Settings,
    pub layers: Layers,
    pub restate: Restate,
}

/// An index with a ledger: of a data directory, which this process alone has open, or of a cluster.
#[derive(Debug)]
pub(crate) struct Store<I = EmbeddedIndex> {
    pub index: I,
    pub ledger: Ledger,
}

impl House {
    /// Where thumbnails of moments that were shown lie.
    pub(crate) fn thumbnails(&self) -> PathBuf {
        self.settings.data_dir.join("thumbnails")
    }

    /// Where a live source's footage is kept.
    pub(crate) fn recording(&self, id: &SourceId) -> PathBuf {
        footage_dir(&self.settings.data_dir, id)
    }

    /// Whether anything was indexed here.
    pub(crate) fn is_indexed(&self) -> Result<bool> {
        Ok(fs_err::exists(self.settings.data_dir.join("index"))?)
    }

    /// Loads the model of the settings, or the bundled one.
    pub(crate) fn open_model(&self) -> Result<Model> {
        let Settings { precision, fit, .. } = self.settings;
        let options = ModelOptions { precision, fit };
        let path = self.model_path()?;
        let device = self.settings.device.open()?;
        let Some(path) = path else { return bundled::model(&device, options) };
        let model = Model::open_with(&path, &device, options)
            .with_context(|| format!("cannot load the model in {}", path.display()))?;
        for file in model.files() {
            tracing::info!("{}", described(file));
        }
        Ok(model)
    }

    /// Where the model of the settings lies; none for the bundled one. A name that is no path is
    /// that of a pulled model.
    pub(crate) fn model_path(&self) -> Result<Option<PathBuf>> {
        let Some(stated) = &self.settings.model_dir else { return Ok(None) };
        let named = stated.to_str().and_then(footage_hub::find).filter(|_| !stated.exists());
        let Some(published) = named else { return Ok(Some(stated.clone())) };
        let store = self.store_of_models();
        ensure!(
            store.manifest(published).is_some(),
            "the model {0} is not here yet: run `footage model pull {0}`",
            published.name
        );
        ensure!(published.is_whole, "{} is {}", published.name, published.about);
        Ok(Some(store.place(published.name)))
    }

    /// Where pulled models lie.
    pub(crate) fn store_of_models(&self) -> footage_hub::Store {
        footage_hub::Store::new(&self.settings.hub.dir)
    }

    /// Opens the index for clips of `model`, and makes it where there is none.
    pub(crate) async fn open_store(&self, model: &Model) -> Result<Store> {
        let collection = Collection { model: model_ref(model), dim: model.dim() };
        let data = &self.settings.data_dir;
        let open = || EmbeddedIndex::open(data, &collection, self.embedded());
        Store::of(when_free(open).await?).await
    }

    /// Opens the index that is there.
    pub(crate) async fn open_existing_store(&self) -> Result<Store> {
        let data = &self.settings.data_dir;
        match when_free(|| EmbeddedIndex::open_existing(data, self.embedded())).await {
            Ok(index) => Store::of(index).await,
            Err(IndexError::Absent(at)) => bail!(
                "nothing is indexed in {}: run `footage index PATH` first, or name another data \
                 directory with --data-dir",
                at.display()
            ),
            Err(error) => Err(error.into()),
        }
    }

    /// What files pass through on their way to `topic`, with the stage in which the model works.
    /// The stage ends once the archive is dropped.
    pub(crate) fn archive(
        &self,
        model: &Arc<Model>,
        topic: Arc<dyn Topic>,
        earlier: Arc<dyn EarlierWork>,
    ) -> Result<(Archive, EmbedStage)> {
        let (embed, stage) = EmbedStage::spawn(model.clone(), self.settings.embed)
            .context("cannot start the model's thread")?;
        Ok((self.archive_into(model, embed, topic, earlier)?, stage))
    }

    /// The same, into a stage that is there.
    pub(crate) fn archive_into(
        &self,
        model: &Model,
        embed: EmbedQueue,
        topic: Arc<dyn Topic>,
        earlier: Arc<dyn EarlierWork>,
    ) -> Result<Archive> {
        Ok(Archive {
            model: model_ref(model),
            window: self.settings.window.of(model)?,
            window_is_wished: self.settings.window.is_stated(),
            decode: self.settings.decode.of(model),
            parallel_files: self.settings.decode.parallel_files,
            embed,
            topic,
            earlier,
        })
    }

    fn embedded(&self) -> EmbeddedSettings {
        let index = &self.settings.index;
        EmbeddedSettings {
            optimize_after_clips: index.optimize_after_clips,
            optimize_idle: index.optimize_idle,
            optimize_threads: index.optimize_threads,
            graph_from_kib: index.graph_from_kib,
            beam: index.beam,
            settle_after_clips: index.settle_after_clips,
            min_free_bytes: index.min_free_mib << 20,
        }
    }
}

/// Opens an index once nobody else has it open, or fails after a while. Most have it open for a moment
/// only: a search, or a list of what there is.
async fn when_free<F>(open: impl Fn() -> F) -> Result<EmbeddedIndex, IndexError>
where
    F: Future<Output = Result<EmbeddedIndex, IndexError>>,
{
    let began = Instant::now();
    loop {
        match open().await {
            Err(IndexError::InUse { .. }) if began.elapsed() < IN_USE => {
                tokio::time::sleep(IN_USE / 30).await;
            }
            opened => return opened,
        }
    }
}

impl Store {
    pub(crate) async fn of(index: EmbeddedIndex) -> Result<Self> {
        let ledger = Ledger::open(index.folder())?;
        let store = Self { index, ledger };
        finish_removals(&store.index, &store.ledger).await?;
        let (claimed, held) =
            (store.ledger.indexed_clips()?, store.index.count(&Filter::default()).await?);
        // A clip is entered as indexed only once the index has it for good, so more are no harm.
        if held < claimed {
            let cause = format!("{held} clips are there, of {claimed} that its ledger tells of");
            return Err(IndexError::Damaged { at: store.index.folder().to_owned(), cause }.into());
        }
        Ok(store)
    }
}

impl<I: FindClips> Store<I> {
    /// What became of that part of sources which `filter` leaves; with the wall-clock time of a
    /// file's origin where that is asked about and known.
    pub(crate) async fn known(
        &self,
        records: impl IntoIterator<Item = SourceRecord>,
        filter: &Filter,
    ) -> Result<Vec<KnownSource>> {
        let mut known = Vec::new();
        for record in records {
            let is_asked = filter.utc.is_some() && record.kind == SourceKind::File;
            let origin = if is_asked { self.origin(&record.source_id).await? } else { None };
            known.push(KnownSource::read(&self.ledger, record, origin, filter)?);
        }
        Ok(known)
    }

    /// Wall-clock time of a source's origin, as any of its clips tells it.
    pub(crate) async fn origin(&self, source: &SourceId) -> Result<Option<UtcStart>> {
        let ids = self.index.ids(source, None, 1).await?;
        let clip = self.index.get(&ids, With::default()).await?.pop();
        Ok(clip.and_then(|clip| {
            let start = clip.span.utc?;
            let offset = i64::try_from(clip.span.start_ns).ok()?;
            Some(UtcStart { unix_ns: start.unix_ns.checked_sub(offset)?, ..start })
        }))
    }
}

/// What a file of weights is, and what became of it, in one line.
pub(crate) fn described(file: &FileReport) -> String {
    let name = file.path.file_name().map_or_else(
        || "the weights inside the program".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let mut parts = vec![format!(
        "{name}: {}; {} tensors of {} values used",
        file.format,
        file.tensors - file.replaced,
        file.values
    )];
    if file.replaced > 0 {
        parts.push(format!(", {} replaced by a later file", file.replaced));
    }
    if !file.passed_over.is_empty() {
        let shown = file.passed_over.iter().take(6).cloned().collect::<Vec<_>>().join(", ");
        parts.push(format!("; passed over: {shown}"));
        let more = file.passed_over.len().saturating_sub(6);
        if more > 0 {
            parts.push(format!(" and {more} more"));
        }
    }
    if !file.named_code.is_empty() {
        let named = file.named_code.join(", ");
        parts.push(format!("; mentions code, none of which was run: {named}"));
    }
    parts.concat()
}

/// What a model is called in records.
pub(crate) fn model_ref(model: &Model) -> ModelRef {
    ModelRef { name: model.name().to_owned(), fingerprint: model.fingerprint().clone() }
}
