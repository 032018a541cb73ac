//! A ledger filled from the topic of coverage.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use footage_clip::{
    ClipState, CorrectionRecord, CoverageRecord, ModelRef, RemovalRecord, RunRecord, SourceRecord,
};
use footage_index::{Ledger, LedgerError};
use footage_topic::{KafkaReader, KafkaSettings, RawMessage, TopicMessage};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How far a ledger has come, beside it.
const POSITIONS: &str = "positions.json";

/// Entries made in one go, about, and how long it waits to become as much.
const BATCH: (usize, Duration) = (4096, Duration::from_millis(50));

/// A ledger that follows the topic of coverage.
pub(super) struct Mirror {
    reader: KafkaReader,
    ledger: Ledger,
    folder: PathBuf,
    /// Whose clips are accounted for.
    model: ModelRef,
    indexed: watch::Sender<u64>,
    /// Does what else is to be done where something was removed. Called again after a crash.
    on_removal: OnRemoval,
}

/// Hears of removals, where blocking is allowed.
pub(super) type OnRemoval = Arc<dyn Fn(&RemovalRecord) + Send + Sync>;

impl Mirror {
    /// Opens the ledger in `folder`, and the topic where the ledger left off.
    pub(super) async fn open(
        kafka: &KafkaSettings,
        topic: &str,
        folder: &Path,
        model: ModelRef,
    ) -> Result<Self> {
        fs_err::create_dir_all(folder)?;
        let ledger = Ledger::open(folder).context(
            "another process may use this data directory: give each role one of its own",
        )?;
        let from = read_positions(folder)?;
        let reader = KafkaReader::open(kafka, topic, &from).await?;
        let (folder, indexed) = (folder.to_owned(), watch::Sender::new(0));
        Ok(Self { reader, ledger, folder, model, indexed, on_removal: Arc::new(|_| ()) })
    }

    /// With something to do where something was removed.
    pub(super) fn with_removals(self, on_removal: OnRemoval) -> Self {
        Self { on_removal, ..self }
    }

    /// The ledger.
    pub(super) fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// Counts clips that were told to be indexed since this was opened.
    pub(super) fn indexed(&self) -> watch::Receiver<u64> {
        self.indexed.subscribe()
    }

    /// Reads until the ledger knows everything that had been told when the topic was opened.
    pub(super) async fn catch_up(&mut self) -> Result<()> {
        while !self.reader.is_caught_up() {
            self.take_in().await?;
        }
        Ok(())
    }

    /// Follows the topic until it is cancelled, which loses nothing.
    pub(super) async fn follow(mut self) -> Result<()> {
        loop {
            self.take_in().await?;
        }
    }

    /// Enters what is there next. What is cancelled is read again by the next one to open this.
    async fn take_in(&mut self) -> Result<()> {
        let mut batch = Batch::default();
        batch.add(&self.reader.next().await);
        let deadline = Instant::now() + BATCH.1;
        while batch.entries() < BATCH.0
            && !batch.is_ended()
            && let Ok(message) = timeout_at(deadline, self.reader.next()).await
        {
            batch.add(&message);
        }
        let is_indexed = |clip: &&CoverageRecord| clip.state == ClipState::Indexed;
        let indexed = batch.coverage.iter().filter(is_indexed).count() as u64;
        let (ledger, folder) = (self.ledger.clone(), self.folder.clone());
        let on_removal = self.on_removal.clone();
        let positions = self.reader.positions().clone();
        batch.account_for(&self.model);
        let own = self.model.fingerprint.clone();
        let entered = tokio::task::spawn_blocking(move || -> Result<()> {
            ledger.enter_runs(&batch.runs)?;
            match ledger.enter(&batch.sources, &batch.coverage) {
                // Whoever cuts a source in another way is told so; the others are not to suffer.
                Err(LedgerError::OtherGrid { .. }) => {
                    for source in &batch.sources {
                        match ledger.enter(std::slice::from_ref(source), &[]) {
                            Err(error @ LedgerError::OtherGrid { .. }) => {
                                tracing::warn!(%error, "a source is not taken up");
                            }
                            entered => entered?,
                        }
                    }
                    ledger.enter(&[], &batch.coverage)?;
                }
                entered => entered?,
            }
            if let Some(removal) = &batch.removal {
                ledger.forget(&removal.source_id, removal.before_ns)?;
                on_removal(removal);
            }
            if let Some(correction) = batch.correction.filter(|meant| meant.fingerprint == own) {
                ledger.forget(&correction.source_id, None)?;
            }
            // After the entries: what is entered again is no harm, what is skipped would be.
            write_positions(&folder, &positions)
        });
        entered.await.context("the ledger was interrupted")??;
        self.indexed.send_modify(|held| *held += indexed);
        Ok(())
    }
}

#[derive(Default)]
struct Batch {
    sources: Vec<SourceRecord>,
    runs: Vec<RunRecord>,
    coverage: Vec<CoverageRecord>,
    /// The last of them, where it is one: what comes after it is not meant.
    removal: Option<RemovalRecord>,
    /// The same.
    correction: Option<CorrectionRecord>,
}

impl Batch {
    /// Whether what comes next belongs to another one.
    fn is_ended(&self) -> bool {
        self.removal.is_some() || self.correction.is_some()
    }

    fn entries(&self) -> usize {
        self.sources.len() + self.runs.len() + self.coverage.len()
    }

    /// Enters sources as those of one model. Another one may have embedded them before: what is told of
    /// a clip holds for both, unless it is corrected when the clips of the one are read in place of the
    /// other's.
    fn account_for(&mut self, model: &ModelRef) {
        for source in &mut self.sources {
            source.model = model.clone();
        }
    }

    fn add(&mut self, raw: &RawMessage) {
        match TopicMessage::of(raw) {
            Ok(TopicMessage::Source(source)) => self.sources.push(source),
            Ok(TopicMessage::Run(run)) => self.runs.push(run),
            Ok(TopicMessage::Coverage(coverage)) => self.coverage.push(coverage),
            Ok(TopicMessage::CoverageBatch(told)) => self.coverage.extend(told.into_records()),
            Ok(TopicMessage::Removal(removal)) => self.removal = Some(removal),
            Ok(TopicMessage::Correction(correction)) => self.correction = Some(correction),
            Ok(TopicMessage::Clip(_)) => {
                tracing::warn!(
                    partition = raw.partition,
                    offset = raw.offset,
                    "a clip among coverage"
                );
            }
            Err(error) => {
                let (partition, offset) = (raw.partition, raw.offset);
                tracing::warn!(partition, offset, %error, "coverage that cannot be read");
            }
        }
    }
}

fn read_positions(folder: &Path) -> Result<BTreeMap<i32, i64>> {
    let path = folder.join(POSITIONS);
    match fs_err::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .with_context(|| format!("{} cannot be read: remove it", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(error.into()),
    }
}

fn write_positions(folder: &Path, positions: &BTreeMap<i32, i64>) -> Result<()> {
    let unfinished = folder.join(format!("{POSITIONS}.new"));
    fs_err::write(&unfinished, serde_json::to_vec(positions)?)?;
    fs_err::rename(unfinished, folder.join(POSITIONS))?;
    Ok(())
}
