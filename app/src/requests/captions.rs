//! Captions: which clips have none, and putting them to clips.

use anyhow::Result;
use footage_clip::{Caption, ClipId, MediaRef, SourceRecord};
use footage_index::{FindClips as _, KeepClips as _, With};
use footage_indexer::{Described, missing};
use serde::{Deserialize, Serialize};

use super::selection::Named;
use super::stretch::{self, ClipTold, StretchReply, footage_of};
use crate::compose::{House, Store};

/// Version of the reply's form. A field may be added without changing it.
const VERSION: u32 = 1;

/// Which sources.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MissingRequest {
    /// All where none is named.
    #[serde(default)]
    pub sources: Vec<Named>,
    /// No two captions of a source begin closer to each other.
    #[serde(default)]
    pub every_ns: u64,
}

/// What has no captions, by source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MissingReply {
    pub v: u32,
    pub sources: Vec<MissingOf>,
}

/// What of a source has no captions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MissingOf {
    /// Name for people.
    pub source: String,
    /// Clips that have a caption.
    pub captioned: usize,
    /// Clips that would get one, were they made more often.
    pub spared: usize,
    /// Clips that are to get one.
    pub due: usize,
    /// Where their footage lies, and these clips; none where none is due.
    pub stretch: Option<StretchReply>,
    /// Why there is nothing to look at again.
    pub gone: Option<String>,
}

/// Captions to be kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeepCaptionsRequest {
    pub captions: Vec<CaptionOf>,
}

/// A clip's caption.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct CaptionOf {
    pub clip_id: ClipId,
    pub caption: Caption,
}

/// What became of captions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct KeepCaptionsReply {
    /// Clips that have theirs now; the others were removed.
    pub kept: u64,
}

impl MissingRequest {
    /// Looks through the clips of each source.
    pub(crate) async fn answer(self, house: &House, store: &Store) -> Result<MissingReply> {
        let records = store.ledger.sources()?;
        let mut meant = Vec::new();
        for named in &self.sources {
            meant.extend(named.of(&records)?);
        }
        let is_meant =
            |record: &SourceRecord| meant.is_empty() || meant.contains(&record.source_id);
        let mut sources = Vec::new();
        for record in records.into_iter().filter(is_meant) {
            sources.push(self.of_source(record, house, store).await?);
        }
        Ok(MissingReply { v: VERSION, sources })
    }

    async fn of_source(
        &self,
        record: SourceRecord,
        house: &House,
        store: &Store,
    ) -> Result<MissingOf> {
        let (clips, media) = clips_of(&record, store).await?;
        let found = missing(clips, self.every_ns);
        let mut of = MissingOf {
            source: record.name.clone(),
            captioned: found.captioned,
            spared: found.spared,
            due: found.due.len(),
            stretch: None,
            gone: None,
        };
        let from_ns = found.due.first().map(|clip| clip.from_ns);
        let to_ns = found.due.iter().map(|clip| clip.to_ns).max();
        let (Some(from_ns), Some(to_ns)) = (from_ns, to_ns) else { return Ok(of) };
        match footage_of(&record, media.as_ref(), house) {
            Err(error) => of.gone = Some(error.to_string()),
            Ok(footage) => {
                of.stretch = Some(StretchReply {
                    v: stretch::VERSION,
                    footage,
                    stamp: record.stamp,
                    source_id: record.source_id,
                    source: record.name,
                    kind: record.kind,
                    rate: record.window.rate(),
                    from_ns,
                    to_ns,
                    clips: found.due,
                });
            }
        }
        Ok(of)
    }
}

/// All clips of a source, and where one of them says that it lies.
async fn clips_of(
    record: &SourceRecord,
    store: &Store,
) -> Result<(Vec<Described<ClipTold>>, Option<MediaRef>)> {
    let (mut clips, mut media) = (Vec::new(), None);
    let mut after = None;
    loop {
        let ids = store.index.ids(&record.source_id, after, stretch::PAGE).await?;
        for clip in store.index.get(&ids, With::default()).await? {
            let told = ClipTold {
                clip_id: clip.clip_id,
                from_ns: clip.span.start_ns,
                to_ns: clip.span.end_ns,
            };
            let has_caption = clip.caption.is_some();
            clips.push(Described { clip: told, span: clip.span, has_caption });
            media = media.or(clip.media);
        }
        match ids.last() {
            Some(last) if ids.len() == stretch::PAGE => after = Some(*last),
            _ => return Ok((clips, media)),
        }
    }
}

impl KeepCaptionsRequest {
    /// Puts them to their clips, for good.
    pub(crate) async fn answer(self, store: &Store) -> Result<KeepCaptionsReply> {
        let captions: Vec<_> =
            self.captions.into_iter().map(|of| (of.clip_id, of.caption)).collect();
        let kept = store.index.caption(&captions).await?;
        store.index.flush().await?;
        Ok(KeepCaptionsReply { kept })
    }
}
