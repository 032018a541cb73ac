//! Captions of the files of a run, made beside the indexing.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use footage_clip::SourceId;
use footage_indexer::Progress;
use footage_pipeline::Cancel;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::captions::{Captioner, Door};
use crate::compose::{House, Store};
use crate::outcome::in_one_line;
use crate::requests::captions::MissingRequest;
use crate::requests::selection::Named;
use crate::terminal::tell;

/// Describes files, each once all of its clips can be found.
pub(super) struct Captions {
    /// None once no more files come.
    files: Option<mpsc::Sender<SourceId>>,
    is_indexed: watch::Sender<bool>,
    describing: JoinHandle<Result<Captioned>>,
}

/// What became of captions.
#[derive(Debug, Default)]
pub(super) struct Captioned {
    pub made: usize,
    /// Clips left to `footage caption --missing`.
    pub left: usize,
    /// Why, where the pace is not the reason.
    pub why: Option<String>,
    /// Whether nobody describes any more.
    is_away: bool,
}

impl Captions {
    /// Begins, for at most so many files, and goes by what was committed.
    pub(super) fn begin(
        captioner: Captioner,
        most_files: usize,
        house: &House,
        store: &Store,
        mut committed: watch::Receiver<Progress>,
        cancel: Cancel,
    ) -> Self {
        let (files, mut ended) = mpsc::channel(most_files.max(1));
        let (is_indexed, mut indexed) = watch::channel(false);
        let house = house.clone();
        let store = Store { index: store.index.clone(), ledger: store.ledger.clone() };
        let describing = tokio::spawn(async move {
            let door = Door::Here(Arc::new(store));
            let mut captioned = Captioned::default();
            while let Some(source) = ended.recv().await {
                // A model on this machine waits: it would take the processor from the other one.
                if captioner.is_here() {
                    drop(indexed.wait_for(|indexed| *indexed).await);
                }
                let is_whole = |progress: &Progress| {
                    progress.sources.get(&source).is_some_and(|source| source.complete)
                };
                // Where the indexer has ended, all that it took is committed, and it says what failed.
                drop(committed.wait_for(is_whole).await);
                captioned.file(&source, &captioner, &door, &house, &cancel).await?;
            }
            Ok(captioned)
        });
        Self { files: Some(files), is_indexed, describing }
    }

    /// A file's clips are on their way into the index, all of them.
    pub(super) fn ended(&self) -> Option<mpsc::Sender<SourceId>> {
        self.files.clone()
    }

    /// No more files come. Resolves once each was described, or somebody asks to stop.
    pub(super) async fn finish(mut self) -> Result<Captioned> {
        self.files = None;
        self.is_indexed.send_replace(true);
        if !self.describing.is_finished() {
            tell("describing what is due; Ctrl-C leaves it to `footage caption --missing`");
        }
        self.describing.await.context("the captions ended unexpectedly")?
    }
}

impl Captioned {
    async fn file(
        &mut self,
        source: &SourceId,
        captioner: &Captioner,
        door: &Door,
        house: &House,
        cancel: &Cancel,
    ) -> Result<()> {
        let named = Named { given: source.to_string(), path: None };
        let every_ns = house.settings.caption.every_ns;
        let request = MissingRequest { sources: vec![named], every_ns };
        for of in door.missing(request, house).await?.sources {
            self.left += of.spared;
            let Some(stretch) = of.stretch.filter(|_| !cancel.is_cancelled() && !self.is_away)
            else {
                self.left += of.due;
                self.why = self.why.take().or(of.gone);
                continue;
            };
            let done = captioner.describe_all(&stretch, door, cancel, &mut || ()).await;
            self.made += done.made;
            self.left += done.failed + done.left;
            self.is_away = done.is_away;
            let why = done.why.map(|why| in_one_line(&why));
            self.why = self.why.take().or(why);
        }
        Ok(())
    }
}
