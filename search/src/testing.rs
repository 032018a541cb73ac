//! Hits made up for tests.

use footage_clip::{
    ClipId, ClipRecord, ClipState, Embedding, Fingerprint, MediaRef, ModelRef, Rate, SourceId,
    SourceKind, SourceRecord, Span, WallClock, WindowSpec,
};
use footage_index::{Collection, Hit, MemoryIndex};

use crate::KnownSource;

pub(crate) fn model() -> ModelRef {
    let fingerprint = Fingerprint::try_from("0".repeat(32)).unwrap();
    ModelRef { name: "test".into(), fingerprint }
}

/// Eight frames at two a second, a new clip every second.
pub(crate) fn window() -> WindowSpec {
    WindowSpec::try_new(8, 2, Rate::try_new(2, 1).unwrap()).unwrap()
}

/// A clip found, `from` to `to` in seconds.
pub(crate) fn hit(source: &str, from: u64, to: u64, score: f32) -> Hit {
    let source_id = SourceId::try_new(source).unwrap();
    let span = Span::new(from * 1_000_000_000, to * 1_000_000_000);
    let model = model();
    Hit {
        // Clips of one source that differ in length only are told apart by their start here.
        clip_id: ClipId::derive(
            &source_id,
            span.start_ns * 64 + to - from,
            &window(),
            &model.fingerprint,
        ),
        source_id,
        span,
        score,
        media: None,
        seq: from,
        caption: None,
        model,
    }
}

/// Two-second clips, side by side, that all ended in one state.
pub(crate) fn stretch(from: u64, to: u64, state: ClipState) -> Vec<(Span, ClipState)> {
    let clip = |at: u64| (Span::new(at * 1_000_000_000, (at + 2) * 1_000_000_000), state);
    (from..to).step_by(2).map(clip).collect()
}

/// A file read to its end.
pub(crate) fn source(id: &str, stretches: &[Vec<(Span, ClipState)>]) -> KnownSource {
    let record = SourceRecord {
        source_id: SourceId::try_new(id).unwrap(),
        name: format!("{id}.mp4"),
        kind: SourceKind::File,
        media: Some(MediaRef::file(format!("/films/{id}.mp4"))),
        stamp: None,
        content_hash: None,
        duration_ns: None,
        decoded: None,
        retained_from_ns: None,
        added_unix_s: 0,
        model: model(),
        window: window(),
        complete: true,
        failure: None,
    };
    let coverage = stretches.iter().flatten().copied().collect();
    KnownSource { record, coverage, clock: WallClock::default() }
}

/// An index of two dimensions, and four-second clips `(source, start in seconds, cosine with x)`
/// to keep in it.
pub(crate) fn index_of(clips: &[(&str, u64, f32)]) -> (MemoryIndex, Vec<ClipRecord>) {
    let record = |(seq, (source, start, cosine)): (usize, &(&str, u64, f32))| {
        let hit = hit(source, *start, start + 4, *cosine);
        let clip_id =
            ClipId::derive(&hit.source_id, hit.span.start_ns, &window(), &model().fingerprint);
        let across = (1.0 - cosine * cosine).max(0.0).sqrt();
        ClipRecord {
            clip_id,
            source_id: hit.source_id,
            span: hit.span,
            window: window(),
            model: model(),
            embedding: Embedding::normalise(vec![*cosine, across]).unwrap(),
            caption: None,
            thumbnail: None,
            media: None,
            seq: seq as u64,
        }
    };
    let index = MemoryIndex::new(Collection { model: model(), dim: 2 });
    (index, clips.iter().enumerate().map(record).collect())
}
