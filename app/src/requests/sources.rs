//! Sources: what there is, and taking them out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use footage_clip::{SourceId, SourceKind, Span};
use footage_index::{Filter, FindClips, remove_source};
use footage_pipeline::CameraStatus;
use footage_search::KnownSource;
use serde::{Deserialize, Serialize};

use super::selection::Named;
use crate::compose::{House, Store};
use crate::settings::sources::{OwnSources, SourceList};
use crate::shelved::remove_beside;
use crate::watching::Watching;
use crate::when::utc_text;

/// Every source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SourcesReply {
    pub sources: Vec<ListedSource>,
}

/// A source, how much of it can be searched, and, where it is watched, how it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ListedSource {
    pub source_id: SourceId,
    pub name: String,
    pub kind: SourceKind,
    pub file: Option<String>,
    pub added: Option<String>,
    pub is_complete: bool,
    pub failure: Option<String>,
    pub duration_s: Option<f64>,
    pub indexed_clips: u64,
    pub gated_clips: u64,
    pub lost_clips: u64,
    pub indexed_s: f64,
    pub gated_s: f64,
    pub lost_s: f64,
    /// None where nobody watches it now.
    pub live: Option<LiveState>,
}

/// How a live source is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LiveState {
    /// `connecting`, `live`, `stalled` or `failed`.
    pub state: String,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// Since when, RFC 3339.
    pub since: Option<String>,
    /// Times it was connected again.
    pub reconnects: u64,
    /// Up to when its clips are cut, RFC 3339.
    pub seen_until: Option<String>,
    /// Name for people.
    pub label: String,
    /// How keeping its footage goes; none where it is not to be kept.
    pub recording: Option<RecordingState>,
}

/// What of a live source's footage was kept since it is watched, and what was not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordingState {
    /// Why footage is not kept at the moment, although it is to be.
    pub failure: Option<String>,
    /// Files begun.
    pub fragments: u64,
    /// Compressed pictures kept.
    pub pictures: u64,
    /// Compressed pictures not kept: before a first keyframe, or while the disk was full or slow.
    pub left_out_pictures: u64,
    /// Compressed bytes kept.
    pub bytes: u64,
}

impl RecordingState {
    /// None where nothing is to be kept, or nothing has come yet.
    pub(crate) fn of(status: &CameraStatus) -> Option<Self> {
        let recorded = status.recorded?;
        Some(Self {
            failure: status.recording_failure.as_ref().map(ToString::to_string),
            fragments: recorded.fragments,
            pictures: recorded.pictures,
            left_out_pictures: recorded.left_out,
            bytes: recorded.bytes,
        })
    }
}

/// The states of what is watched.
pub(crate) type States = BTreeMap<SourceId, LiveState>;

impl SourcesReply {
    /// All that the store knows, and all that is watched.
    pub(crate) async fn of<I: FindClips>(store: &Store<I>, states: &States) -> Result<Self> {
        let records = store.ledger.sources()?;
        let known = store.known(records, &Filter::default()).await?;
        let mut sources: Vec<ListedSource> =
            known.iter().map(|known| ListedSource::of(known, states)).collect();
        let held: BTreeSet<SourceId> =
            sources.iter().map(|source| source.source_id.clone()).collect();
        let new = states.iter().filter(|(id, _)| !held.contains(*id));
        sources.extend(new.map(|(id, state)| ListedSource::without_clips(id, state)));
        Ok(Self { sources })
    }
}

impl SourcesReply {
    /// What is stated or watched, where nothing is indexed.
    pub(crate) fn of_states(states: &States) -> Self {
        let listed = states.iter().map(|(id, state)| ListedSource::without_clips(id, state));
        Self { sources: listed.collect() }
    }
}

impl ListedSource {
    fn of(known: &KnownSource, states: &States) -> Self {
        let record = &known.record;
        let summary = known.coverage.summary(Span::new(0, u64::MAX));
        let seconds = |ns: u64| ns as f64 / 1e9;
        let added_s = i64::try_from(record.added_unix_s).unwrap_or(i64::MAX);
        Self {
            source_id: record.source_id.clone(),
            name: record.name.clone(),
            kind: record.kind,
            file: record.media.as_ref().map(|media| media.path.clone()),
            added: Some(utc_text(added_s.saturating_mul(1_000_000))),
            is_complete: record.complete,
            failure: record.failure.clone(),
            duration_s: record.duration_ns.map(seconds),
            indexed_clips: summary.indexed_clips,
            gated_clips: summary.gated_clips,
            lost_clips: summary.lost_clips,
            indexed_s: seconds(summary.indexed_ns),
            gated_s: seconds(summary.gated_ns),
            lost_s: seconds(summary.lost_ns.values().sum()),
            live: states.get(&record.source_id).cloned(),
        }
    }

    /// A source of which nothing is indexed yet.
    fn without_clips(id: &SourceId, state: &LiveState) -> Self {
        Self {
            source_id: id.clone(),
            name: state.label.clone(),
            kind: SourceKind::Camera,
            file: None,
            added: None,
            is_complete: false,
            failure: None,
            duration_s: None,
            indexed_clips: 0,
            gated_clips: 0,
            lost_clips: 0,
            indexed_s: 0.0,
            gated_s: 0.0,
            lost_s: 0.0,
            live: Some(state.clone()),
        }
    }

    /// Whether a person means this one: by its id, its name or its path.
    pub(crate) fn is_meant_by(&self, named: &Named) -> bool {
        let is_its_path = self
            .file
            .as_deref()
            .is_some_and(|file| file == named.given || Some(file) == named.path.as_deref());
        self.source_id.as_str() == named.given || self.name == named.given || is_its_path
    }
}

/// Sources to take out: vectors, thumbnails, coverage, recorded footage, and for a live source its
/// definition too.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RemoveRequest {
    pub sources: Vec<SourceId>,
}

/// What was taken out.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RemoveReply {
    pub removed: Vec<RemovedSource>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RemovedSource {
    pub source_id: SourceId,
    pub clips: u64,
}

impl RemoveRequest {
    /// Takes them out; `watching` is what watches live sources in this process, if anything does.
    pub(crate) async fn answer(
        &self,
        house: &House,
        store: &Store,
        watching: Option<&Watching>,
    ) -> Result<RemoveReply> {
        let data_dir = &house.settings.data_dir;
        let list = SourceList::read(house.layers.sources(), data_dir)?;
        for id in &self.sources {
            if let Some(origin) = list.stated_at.get(id) {
                bail!("source `{id}` is stated in {origin}: take [sources.{id}] out of it first");
            }
        }
        let mut removed = Vec::new();
        // First: whoever is interrupted here still finds the sources, to remove them again.
        remove_beside(store, &self.sources).await?;
        for id in &self.sources {
            // Held until all of it is removed.
            let _forgotten = match watching {
                Some(watching) => Some(watching.forget(id).await?),
                None => forget_definition(data_dir, id).map(|_| None)?,
            };
            remove_thumbnails(&house.thumbnails(), id, store).await?;
            let taken = remove_source(&store.index, &store.ledger, id).await?;
            remove_recording(&house.recording(id))?;
            removed.push(RemovedSource { source_id: id.clone(), clips: taken.clips });
        }
        Ok(RemoveReply { removed })
    }
}

/// The sources that a person means, of those there are.
pub(crate) fn meant<'a>(
    wanted: &[Named],
    listed: &'a [ListedSource],
) -> Result<Vec<&'a ListedSource>> {
    let mut ids = BTreeSet::new();
    for named in wanted {
        let before = ids.len();
        let of_it = listed.iter().filter(|source| source.is_meant_by(named));
        ids.extend(of_it.map(|source| &source.source_id));
        if ids.len() == before && !listed.iter().any(|source| source.is_meant_by(named)) {
            bail!(
                "no source has the id, name or path `{}`: `footage source list` shows what there is",
                named.given
            );
        }
    }
    Ok(listed.iter().filter(|source| ids.contains(&source.source_id)).collect())
}

/// Takes a source's definition out of those that were added. Returns whether it was among them.
pub(crate) fn forget_definition(data_dir: &Path, id: &SourceId) -> Result<bool> {
    let mut own = OwnSources::read(data_dir)?;
    let was_there = own.sources.remove(id).is_some();
    if was_there {
        own.write(data_dir)?;
    }
    Ok(was_there)
}

fn remove_recording(folder: &Path) -> Result<()> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("its clips are removed, its recorded footage is not")
        }
        _ => Ok(()),
    }
}

/// Takes away the thumbnails that searches wrote, while the index still knows whose they are. A
/// search writes them again where the removal goes no further.
async fn remove_thumbnails(folder: &Path, source: &SourceId, store: &Store) -> Result<()> {
    let mut after = None;
    loop {
        let ids = store.index.ids(source, after, 4096).await?;
        let Some(last) = ids.last() else { return Ok(()) };
        after = Some(*last);
        for id in &ids {
            let path = folder.join(format!("{id}.jpg"));
            match fs_err::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
    }
}
