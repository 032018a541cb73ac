//! From one model's collection to another's beside it: what the other one does not hold yet.
//!
//! A clip of the other model has the same span, window and count as the clip that it stands for, so its
//! id follows from that one's, and what is there already need not be remembered anywhere.

use std::collections::HashMap;

use footage_clip::{
    Caption, ClipId, ClipRecord, ClipState, CoverageRecord, Embedding, LostReason, ModelRef,
    RunRecord, SourceId, SourceRecord, Span, WindowSpec,
};
use footage_index::{FindClips, IndexError, Ledger, LedgerError, StoredClip, With};

/// Clips looked at together.
const PAGE: usize = 1024;

/// Entries of a ledger that are made together.
const ENTRIES: usize = 4096;

/// A clip that another model has still to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueClip {
    /// The clip that is there.
    pub clip_id: ClipId,
    /// Where it lies.
    pub span: Span,
    /// How it was cut.
    pub window: WindowSpec,
}

/// What a collection lacks of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Due {
    /// Clips, in order of time.
    pub clips: Vec<DueClip>,
    /// Captions of clips that are there without them, or with others.
    pub captions: Vec<(ClipId, Caption)>,
    /// Begins of the clips that are there, ascending.
    pub held: Vec<u64>,
}

/// The id, under another model, of the clip that shows the same.
pub fn counterpart(clip: &StoredClip, model: &ModelRef) -> ClipId {
    ClipId::derive(&clip.source_id, clip.span.start_ns, &clip.window, &model.fingerprint)
}

/// What `to` lacks of the clips of a source that `from` holds.
pub async fn due(
    from: &dyn FindClips,
    to: &dyn FindClips,
    source_id: &SourceId,
) -> Result<Due, IndexError> {
    let mut due = Due::default();
    let mut after = None;
    loop {
        let ids = from.ids(source_id, after, PAGE).await?;
        let clips = from.get(&ids, With::default()).await?;
        let counterparts: Vec<_> = clips.iter().map(|clip| counterpart(clip, to.model())).collect();
        let there = to.get(&counterparts, With::default()).await?;
        let there: HashMap<_, _> = there.into_iter().map(|clip| (clip.clip_id, clip)).collect();
        for (clip, id) in clips.into_iter().zip(counterparts) {
            let Some(held) = there.get(&id) else {
                let StoredClip { clip_id, span, window, .. } = clip;
                due.clips.push(DueClip { clip_id, span, window });
                continue;
            };
            due.held.push(clip.span.start_ns);
            let caption = clip.caption.filter(|caption| held.caption.as_ref() != Some(caption));
            // One that has no word was never kept as a caption.
            if let Some(caption) = caption.and_then(|said| Caption::try_new(&said).ok()) {
                due.captions.push((id, caption));
            }
        }
        match ids.last() {
            Some(last) if ids.len() == PAGE => after = Some(*last),
            _ => break,
        }
    }
    due.clips.sort_by_key(|clip| (clip.span.start_ns, clip.span.end_ns, clip.clip_id));
    due.held.sort_unstable();
    Ok(due)
}

/// The record of a clip as another model embeds it: all else stays.
pub fn renewed(clip: StoredClip, model: &ModelRef, embedding: Embedding) -> ClipRecord {
    ClipRecord {
        clip_id: counterpart(&clip, model),
        source_id: clip.source_id,
        span: clip.span,
        window: clip.window,
        model: model.clone(),
        embedding,
        caption: clip.caption,
        thumbnail: clip.thumbnail,
        media: clip.media,
        seq: clip.seq,
    }
}

/// What an account of one model's clips says of a source, as another one's has to say it.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The source, its model aside.
    pub source: SourceRecord,
    /// Its runs.
    pub runs: Vec<RunRecord>,
    /// What became of its time. A clip is indexed where its begin is among those held, and else lost.
    pub coverage: Vec<CoverageRecord>,
}

impl Transcript {
    /// Reads what `from` says of a source. `held` are the begins of the other model's clips, ascending;
    /// the others are lost for `reason`. Blocks.
    pub fn of(
        from: &Ledger,
        source: &SourceRecord,
        model: &ModelRef,
        held: &[u64],
        reason: LostReason,
    ) -> Result<Self, LedgerError> {
        let source_id = &source.source_id;
        let coverage = from.coverage(source_id)?;
        let state = |start_ns: u64, state: ClipState| match state {
            ClipState::Indexed if held.binary_search(&start_ns).is_err() => ClipState::Lost(reason),
            state => state,
        };
        let clips = coverage.runs().flat_map(|run| {
            run.starts().map(|start_ns| {
                (Span::new(start_ns, start_ns + run.clip_ns), state(start_ns, run.state))
            })
        });
        let without = coverage.without_clips().map(|stretch| (stretch.span(), stretch.state));
        let entry = |(span, state)| CoverageRecord { source_id: source_id.clone(), span, state };
        Ok(Self {
            source: SourceRecord { model: model.clone(), ..source.clone() },
            runs: from.runs(source_id)?,
            coverage: clips.chain(without).map(entry).collect(),
        })
    }
}

/// Enters in the other collection's ledger what `from` says of a source; see [`Transcript::of`]. The
/// clips held must be durable. Blocks.
pub fn transcribe(
    from: &Ledger,
    to: &Ledger,
    source: &SourceRecord,
    model: &ModelRef,
    held: &[u64],
    reason: LostReason,
) -> Result<(), LedgerError> {
    let Transcript { source, runs, coverage } = Transcript::of(from, source, model, held, reason)?;
    to.enter_runs(&runs)?;
    // Complete at last: nobody is to believe it before all is there.
    let begun = SourceRecord { complete: false, ..source.clone() };
    to.enter(std::slice::from_ref(&begun), &[])?;
    for some in coverage.chunks(ENTRIES) {
        to.enter(&[], some)?;
    }
    to.enter(&[source], &[])
}

#[cfg(test)]
mod tests {
    use footage_clip::{Fingerprint, SourceKind};
    use footage_index::contract::{clips, collection, direction};
    use footage_index::{Collection, KeepClips as _, MemoryIndex};

    use super::*;

    fn other(dim: usize) -> Collection {
        let fingerprint = Fingerprint::try_from("f".repeat(32)).unwrap();
        Collection { model: ModelRef { name: "other".into(), fingerprint }, dim }
    }

    #[tokio::test]
    async fn what_is_due_is_what_the_other_collection_lacks_in_order_of_time() {
        let (old, new) = (collection(4), other(3));
        let (from, to) = (MemoryIndex::new(old.clone()), MemoryIndex::new(new.clone()));
        let held = clips(&old, "gate", 2500);
        from.keep(&held).await.unwrap();
        from.keep(&clips(&old, "yard", 3)).await.unwrap();
        let gate = held[0].source_id.clone();

        let all = due(&from, &to, &gate).await.unwrap();
        assert_eq!((all.clips.len(), all.held.len()), (2500, 0));
        assert!(all.clips.is_sorted_by_key(|clip| clip.span.start_ns));

        for due in all.clips.iter().step_by(2) {
            let clip = from.get(&[due.clip_id], With::ALL).await.unwrap().remove(0);
            let record = renewed(clip, &new.model, direction(3, due.span.start_ns));
            assert_eq!(record.clip_id, record.derived_id());
            to.keep(&[record]).await.unwrap();
        }
        let rest = due(&from, &to, &gate).await.unwrap();
        let expected: Vec<_> = all.clips.iter().skip(1).step_by(2).copied().collect();
        assert_eq!((rest.clips, rest.held.len()), (expected, 1250));
    }

    #[tokio::test]
    async fn a_caption_that_came_later_is_due_as_well() {
        let (old, new) = (collection(4), other(4));
        let (from, to) = (MemoryIndex::new(old.clone()), MemoryIndex::new(new.clone()));
        let held = clips(&old, "gate", 2);
        from.keep(&held).await.unwrap();
        for clip in from.get(&[held[0].clip_id, held[1].clip_id], With::ALL).await.unwrap() {
            let embedding = clip.embedding.clone().unwrap();
            to.keep(&[renewed(clip, &new.model, embedding)]).await.unwrap();
        }
        let caption = Caption::try_new("a red van").unwrap();
        from.caption(&[(held[1].clip_id, caption.clone())]).await.unwrap();

        let found = due(&from, &to, &held[0].source_id).await.unwrap();
        assert_eq!((found.clips.len(), found.captions.len()), (0, 1));
        to.caption(&found.captions).await.unwrap();
        let again = due(&from, &to, &held[0].source_id).await.unwrap();
        assert_eq!(again.captions, []);
    }

    #[test]
    fn a_ledger_is_transcribed_and_what_was_not_embedded_again_is_lost() {
        let (old, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (from, to) = (Ledger::open(old.path()).unwrap(), Ledger::open(new.path()).unwrap());
        let held = clips(&collection(4), "gate", 6);
        let record = SourceRecord {
            source_id: held[0].source_id.clone(),
            name: "gate.mp4".to_owned(),
            kind: SourceKind::File,
            media: None,
            stamp: None,
            content_hash: None,
            duration_ns: None,
            decoded: None,
            added_unix_s: 1_700_000_000,
            model: held[0].model.clone(),
            window: held[0].window,
            retained_from_ns: None,
            complete: true,
            failure: None,
        };
        let entry = |at: usize, state| CoverageRecord {
            source_id: record.source_id.clone(),
            span: held[at].span,
            state,
        };
        let states = [
            ClipState::Indexed,
            ClipState::Indexed,
            ClipState::Gated,
            ClipState::Indexed,
            ClipState::Lost(LostReason::Overload),
        ];
        let entries: Vec<_> = states.iter().enumerate().map(|(at, s)| entry(at, *s)).collect();
        from.enter(std::slice::from_ref(&record), &entries).unwrap();
        let away = Span::new(40_000_000_000, 50_000_000_000);
        let stopped = ClipState::Lost(LostReason::Stopped);
        let gap =
            CoverageRecord { source_id: record.source_id.clone(), span: away, state: stopped };
        from.enter(&[], &[gap]).unwrap();

        let there = [held[0].span.start_ns, held[3].span.start_ns];
        let gone = LostReason::FootageGone;
        let model = other(4).model;
        for _ in 0..2 {
            transcribe(&from, &to, &record, &model, &there, gone).unwrap();
            let coverage = to.coverage(&record.source_id).unwrap();
            let state = |at: usize| coverage.state_of(held[at].span.start_ns);
            assert_eq!(state(1), Some(ClipState::Lost(LostReason::FootageGone)));
            for at in [0, 2, 3, 4] {
                assert_eq!(state(at), Some(states[at]));
            }
            assert_eq!(coverage.without_clips().next().map(|stretch| stretch.span()), Some(away));
            let source = to.source(&record.source_id).unwrap().unwrap();
            assert_eq!((source.model, source.complete), (model.clone(), true));
        }
        // What was lost is found again once it is embedded after all.
        let all: Vec<_> = held.iter().map(|clip| clip.span.start_ns).collect();
        transcribe(&from, &to, &record, &model, &all, gone).unwrap();
        let coverage = to.coverage(&record.source_id).unwrap();
        assert_eq!(coverage.state_of(held[1].span.start_ns), Some(ClipState::Indexed));
    }
}
