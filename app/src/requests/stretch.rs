//! A stretch of footage that somebody asks about: which clips it is made of, and where it lies.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::{
    ClipId, FileStamp, MediaRef, NANOS_PER_SECOND, Rate, SourceId, SourceKind, SourceRecord, Span,
};
use footage_index::{FindClips as _, StoredClip, With};
use serde::{Deserialize, Serialize};

use super::selection::{Named, time_filter};
use crate::compose::{House, Store};
use crate::when::When;

/// Version of the reply's form. A field may be added without changing it.
pub(super) const VERSION: u32 = 1;

/// Longer stretches are no question about a moment any more.
const LONGEST_NS: u64 = 3600 * NANOS_PER_SECOND;

/// Clips read from the index at once.
pub(super) const PAGE: usize = 1024;

/// A clip, or a source with a stretch of time.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StretchRequest {
    #[serde(default)]
    pub clip: Option<ClipId>,
    #[serde(default)]
    pub source: Option<Named>,
    #[serde(default)]
    pub from: Option<When>,
    #[serde(default)]
    pub to: Option<When>,
}

/// The stretch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StretchReply {
    pub v: u32,
    pub source_id: SourceId,
    pub source: String,
    pub kind: SourceKind,
    /// Of a file: its path. Of a camera: the folder of its fragments.
    pub footage: PathBuf,
    /// Of a file: what tells that it has not changed.
    pub stamp: Option<FileStamp>,
    /// How often its clips look.
    pub rate: Rate,
    /// Nanoseconds of media time.
    pub from_ns: u64,
    pub to_ns: u64,
    /// In order of time.
    pub clips: Vec<ClipTold>,
}

/// A clip of the stretch.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ClipTold {
    pub clip_id: ClipId,
    /// Nanoseconds of media time.
    pub from_ns: u64,
    pub to_ns: u64,
}

impl ClipTold {
    /// Where it lies.
    pub(crate) fn span(&self) -> Span {
        Span::new(self.from_ns, self.to_ns)
    }

    /// The slots in which it looked, of those between `from_ns` and `to_ns`, ascending.
    pub(crate) fn slots(&self, rate: Rate, from_ns: u64, to_ns: u64) -> impl Iterator<Item = u64> {
        let begin_ns = self.from_ns;
        (rate.slot_of(from_ns)..)
            .take_while(move |slot| rate.slot_start_ns(*slot) < to_ns)
            .filter(move |slot| rate.slot_start_ns(*slot) >= begin_ns)
    }
}

impl StretchReply {
    /// The stretch as a span.
    pub(crate) fn span(&self) -> Span {
        Span::new(self.from_ns, self.to_ns)
    }

    /// The slots in which its clips looked, ascending.
    pub(crate) fn slots(&self) -> Vec<u64> {
        let mut slots = BTreeSet::new();
        for clip in &self.clips {
            let (from_ns, to_ns) = (clip.from_ns.max(self.from_ns), clip.to_ns.min(self.to_ns));
            slots.extend(clip.slots(self.rate, from_ns, to_ns));
        }
        slots.into_iter().collect()
    }
}

impl StretchRequest {
    /// Looks the stretch up.
    pub(crate) async fn answer(self, house: &House, store: &Store) -> Result<StretchReply> {
        let records = store.ledger.sources()?;
        let (record, clips) = match (self.clip, &self.source) {
            (Some(id), None) => {
                let clip = store.index.get(&[id], With::default()).await?.pop();
                let clip = clip.with_context(|| {
                    format!(
                        "there is no clip {id} in the index: it was removed, or belongs to another \
                         data directory; `footage search` shows what there is"
                    )
                })?;
                (record_of(records, &clip.source_id)?, vec![(clip.span, clip)])
            }
            (None, Some(source)) => {
                let mut meant = source.of(&records)?;
                ensure!(
                    meant.len() == 1,
                    "`{}` is the name of {} sources: give the id of one, as `footage source list` \
                     shows it",
                    source.given,
                    meant.len()
                );
                let record = record_of(records, &meant.remove(0))?;
                let clips = self.clips_of(&record, store).await?;
                (record, clips)
            }
            _ => bail!("ask about one clip, or about a source"),
        };
        let from_ns = clips.iter().map(|(span, _)| span.start_ns).min();
        let to_ns = clips.iter().map(|(span, _)| span.end_ns).max();
        let (Some(from_ns), Some(to_ns)) = (from_ns, to_ns) else {
            bail!(
                "no clip of `{}` lies there: `footage coverage` shows what is indexed of it",
                record.name
            )
        };
        ensure!(
            to_ns - from_ns <= LONGEST_NS,
            "this is {} minutes of footage, and a question looks at 60 at most: give --from and --to",
            (to_ns - from_ns) / (60 * NANOS_PER_SECOND)
        );
        let told = |(_, clip): &(Span, StoredClip)| ClipTold {
            clip_id: clip.clip_id,
            from_ns: clip.span.start_ns,
            to_ns: clip.span.end_ns,
        };
        let media = clips.iter().find_map(|(_, clip)| clip.media.as_ref());
        let footage = footage_of(&record, media, house)?;
        let mut clips: Vec<_> = clips.iter().map(told).collect();
        clips.sort_by_key(|clip| (clip.from_ns, clip.clip_id));
        Ok(StretchReply {
            v: VERSION,
            footage,
            stamp: record.stamp,
            source_id: record.source_id,
            source: record.name,
            kind: record.kind,
            rate: record.window.rate(),
            from_ns,
            to_ns,
            clips,
        })
    }

    /// The clips of a source in the stretch of time asked about, each with the part of it that is.
    async fn clips_of(
        &self,
        record: &SourceRecord,
        store: &Store,
    ) -> Result<Vec<(Span, StoredClip)>> {
        let (media, utc) = time_filter(self.from, self.to, None)?;
        let mut clips = Vec::new();
        let mut after = None;
        loop {
            let ids = store.index.ids(&record.source_id, after, PAGE).await?;
            for clip in store.index.get(&ids, With::default()).await? {
                let mut part = clip.span;
                if let Some(media) = media {
                    part.start_ns = part.start_ns.max(media.from_ns.unwrap_or(0));
                    part.end_ns = part.end_ns.min(media.to_ns.unwrap_or(u64::MAX));
                }
                if let Some(utc) = &utc {
                    // Without a wall clock nothing tells that it was then.
                    let Some(begin) = clip.span.utc else { continue };
                    let media_ns = |us: i64| {
                        let since = i128::from(us) * 1000 - i128::from(begin.unix_ns);
                        (i128::from(clip.span.start_ns) + since).clamp(0, i128::from(u64::MAX))
                            as u64
                    };
                    part.start_ns = part.start_ns.max(utc.from_us.map_or(0, media_ns));
                    part.end_ns = part.end_ns.min(utc.to_us.map_or(u64::MAX, media_ns));
                }
                if part.start_ns < part.end_ns {
                    clips.push((part, clip));
                }
            }
            match ids.last() {
                Some(last) if ids.len() == PAGE => after = Some(*last),
                _ => return Ok(clips),
            }
        }
    }
}

fn record_of(records: Vec<SourceRecord>, id: &SourceId) -> Result<SourceRecord> {
    let record = records.into_iter().find(|record| record.source_id == *id);
    record.with_context(|| format!("the source {id} of this clip is not known any more"))
}

/// Where a source's footage lies: its file, or the folder of its fragments. `of_clip` is what one of its
/// clips says.
pub(crate) fn footage_of(
    record: &SourceRecord,
    of_clip: Option<&MediaRef>,
    house: &House,
) -> Result<PathBuf> {
    match record.kind {
        SourceKind::File => {
            // The source's own path follows a file that was renamed and indexed again.
            let media = record.media.as_ref().or(of_clip);
            let media =
                media.with_context(|| format!("nobody knows where `{}` is", record.name))?;
            Ok(PathBuf::from(&media.path))
        }
        SourceKind::Camera => {
            let dir = house.recording(&record.source_id);
            ensure!(
                dir.is_dir(),
                "no footage of camera `{}` is kept, so there is nothing to look at again: set \
                 `record.enabled`, for what is filmed from then on",
                record.name
            );
            Ok(dir)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clip(from_s: u64, to_s: u64) -> ClipTold {
        let clip_id = "0b0e7c5e-6c3f-5c83-9c0e-2d6a3f1c9a55".parse().unwrap();
        ClipTold { clip_id, from_ns: from_s * NANOS_PER_SECOND, to_ns: to_s * NANOS_PER_SECOND }
    }

    #[test]
    fn slots_of_clips_that_overlap_count_once_and_only_within_the_stretch() {
        let reply = |from_s: u64, to_s: u64| StretchReply {
            v: VERSION,
            source_id: "gate".parse().unwrap(),
            source: "gate".to_owned(),
            kind: SourceKind::Camera,
            footage: PathBuf::new(),
            stamp: None,
            rate: Rate::try_new(2, 1).unwrap(),
            from_ns: from_s * NANOS_PER_SECOND,
            to_ns: to_s * NANOS_PER_SECOND,
            clips: vec![clip(0, 4), clip(1, 5), clip(10, 12)],
        };
        assert_eq!(reply(0, 12).slots(), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 20, 21, 22, 23]);
        assert_eq!(reply(3, 11).slots(), [6, 7, 8, 9, 20, 21]);
    }
}
