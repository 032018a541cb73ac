//! Another model for what is indexed: its collection is filled from kept footage beside the one that is
//! read, compared with it, and then read in its place.

mod compare;
mod looking;

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use footage_clip::{LostReason, SourceKind, SourceRecord, WindowSpec};
use footage_index::{Index, With};
use footage_indexer::{DueClip, due, renewed, transcribe};
use footage_model::Model;
use footage_pipeline::{Cancel, RereadError};
use tokio::sync::mpsc;

pub(crate) use self::compare::{Compared, Sentences, compare};
use self::looking::{Looked, Looker};
use crate::compose::{House, Store, model_ref};
use crate::footage::kept_at;
use crate::outcome::in_one_line;
use crate::requests::stretch::footage_of;
use crate::shelved::follow_removals;

/// Clips that are kept together.
const BATCH: usize = 64;

/// From one collection to another beside it.
pub(crate) struct Migration<I> {
    house: House,
    from: Arc<Store<I>>,
    to: Arc<Store<I>>,
    books: Books,
    looker: Looker,
}

/// Where it is kept what became of clips of the other model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Books {
    /// In a ledger beside its collection.
    Own,
    /// In the one that all models' clips share: what is told of a clip there holds for each of them.
    Shared,
}

/// What became of a source.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    /// Clips that were there already.
    pub held: usize,
    /// Clips that were embedded.
    pub made: usize,
    /// Clips of which no picture is left, or that could not be looked at.
    pub lost: usize,
    /// Why the last of those was lost, where it is known.
    pub why: Option<String>,
    /// Where each clip begins that is there now, ascending.
    pub begins: Vec<u64>,
    /// What the lost ones are lost for.
    pub reason: Option<LostReason>,
}

impl<I: Index + 'static> Migration<I> {
    /// From what `from` holds to `to`, by `model`.
    pub(crate) fn new(
        house: &House,
        from: Arc<Store<I>>,
        to: Arc<Store<I>>,
        books: Books,
        model: Arc<Model>,
        cancel: &Cancel,
    ) -> Self {
        let decode = house.settings.decode.of(&model);
        let looker = Looker { model, decode, cancel: cancel.clone() };
        Self { house: house.clone(), from, to, books, looker }
    }

    /// The sources there are.
    pub(crate) fn sources(&self) -> Result<Vec<SourceRecord>> {
        Ok(self.from.ledger.sources()?)
    }

    /// Cameras that would be cut in another way from now on, which their ledger refuses, each with how
    /// they are cut.
    pub(crate) fn cut_otherwise(&self) -> Result<Vec<(String, WindowSpec)>> {
        let window = self.house.settings.window.of(&self.looker.model)?;
        let cut = self.sources()?.into_iter();
        Ok(cut
            .filter(|source| source.kind == SourceKind::Camera && source.window != window)
            .map(|source| (source.name, source.window))
            .collect())
    }

    /// Takes out what was removed since from the collection that is read. Where books are shared, whoever
    /// removes does so from both.
    pub(crate) async fn follow_removals(&self) -> Result<()> {
        match self.books {
            Books::Own => follow_removals(&self.from.ledger, &self.to).await,
            Books::Shared => Ok(()),
        }
    }

    /// Brings a source's clips over, as far as there is footage of them: what is there already stays.
    /// None where it was stopped. `on_clip` hears of each clip that was looked at, and of how many are to
    /// be.
    pub(crate) async fn bring(
        &self,
        source: &SourceRecord,
        mut on_clip: impl FnMut(usize),
    ) -> Result<Option<Brought>> {
        let Store { index, ledger } = &*self.to;
        let due = due(&self.from.index, index, &source.source_id).await?;
        if !due.captions.is_empty() {
            index.caption(&due.captions).await?;
        }
        let mut held = due.held;
        let mut brought = Brought { held: held.len(), ..Brought::default() };
        let mut reason = LostReason::FootageGone;
        if !due.clips.is_empty() {
            on_clip(due.clips.len());
            match self.look(source, &due.clips, &mut held, &mut on_clip).await {
                Ok(()) => {}
                Err(_) if self.looker.cancel.is_cancelled() => return Ok(None),
                Err(Unseen::Footage(error)) => {
                    if matches!(error.downcast_ref(), Some(RereadError::Decode(_))) {
                        reason = LostReason::DecodeError;
                    }
                    brought.why = Some(in_one_line(&error));
                }
                Err(Unseen::Index(error)) => return Err(error),
            }
        }
        if self.looker.cancel.is_cancelled() {
            return Ok(None);
        }
        brought.made = held.len() - brought.held;
        brought.lost = due.clips.len() - brought.made;
        held.sort_unstable();
        index.flush().await?;
        brought.begins = held;
        brought.reason = (brought.lost > 0).then_some(reason);
        if self.books == Books::Own {
            let (from, to, model) =
                (self.from.ledger.clone(), ledger.clone(), model_ref(&self.looker.model));
            let (source, begins) = (source.clone(), std::mem::take(&mut brought.begins));
            let enter = move || transcribe(&from, &to, &source, &model, &begins, reason);
            tokio::task::spawn_blocking(enter).await??;
        }
        Ok(Some(brought))
    }

    /// Looks at clips and keeps what the model makes of them; the begin of each that was kept is added
    /// to `held`.
    async fn look(
        &self,
        source: &SourceRecord,
        clips: &[DueClip],
        held: &mut Vec<u64>,
        on_clip: &mut impl FnMut(usize),
    ) -> Result<(), Unseen> {
        let first = clips.first().map(|clip| clip.clip_id);
        let first = self.from.index.get(first.as_slice(), With::default()).await;
        let first = first.map_err(|error| Unseen::Index(error.into()))?.pop();
        let media = first.and_then(|clip| clip.media);
        let footage = footage_of(source, media.as_ref(), &self.house).map_err(Unseen::Footage)?;
        let SourceRecord { source_id, name, kind, stamp, .. } = source;
        let kept = kept_at(*kind, &footage, *stamp, source_id, name).map_err(Unseen::Footage)?;
        let (sender, mut receiver) = mpsc::channel(BATCH);
        let looking = tokio::task::spawn_blocking({
            let (looker, clips) = (self.looker.clone(), clips.to_vec());
            move || looker.look(&kept, &clips, |looked| sender.blocking_send(looked).is_ok())
        });
        let mut looked = Vec::new();
        while receiver.recv_many(&mut looked, BATCH).await > 0 {
            for _ in &looked {
                on_clip(0);
            }
            held.extend(self.keep(&mut looked).await.map_err(Unseen::Index)?);
        }
        match looking.await {
            Ok(ended) => ended.map_err(Unseen::Footage),
            Err(error) => Err(Unseen::Index(error.into())),
        }
    }

    /// Keeps what was looked at. Returns where those begin that were kept: a clip that was removed
    /// meanwhile is not.
    async fn keep(&self, looked: &mut Vec<Looked>) -> Result<Vec<u64>> {
        let made: HashMap<_, _> = looked
            .drain(..)
            .filter_map(|looked| match looked {
                Looked::Embedded(clip, embedding) => Some((clip.clip_id, embedding)),
                Looked::Gone => None,
            })
            .collect();
        let ids: Vec<_> = made.keys().copied().collect();
        let with = With { embedding: false, thumbnail: true };
        let model = model_ref(&self.looker.model);
        let mut records = Vec::new();
        for clip in self.from.index.get(&ids, with).await? {
            let embedding = made.get(&clip.clip_id).context("a clip was not asked for")?;
            records.push(renewed(clip, &model, embedding.clone()));
        }
        self.to.index.keep(&records).await?;
        Ok(records.iter().map(|record| record.span.start_ns).collect())
    }
}

/// Why clips were not brought over.
enum Unseen {
    /// Their footage is gone, or cannot be looked at: the next source may do.
    Footage(anyhow::Error),
    /// One of the two collections failed.
    Index(anyhow::Error),
}
