//! The promises every index must keep.
//!
//! An index's tests call [`index_contract!`](crate::index_contract) with a function that makes an
//! empty one. Each promise is a function here, and one test there.

#![expect(clippy::missing_panics_doc, reason = "these are assertions: a broken promise panics")]
#![expect(clippy::unwrap_used, reason = "a failure is a broken promise")]

mod beside;
mod captions;

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use footage_clip::{
    ClipId, ClipRecord, Clock, Embedding, Fingerprint, MediaRef, ModelRef, Rate, SourceId, Span,
    UtcStart, WindowSpec,
};

pub use self::beside::one_of_two_collections_is_read;
pub use self::captions::*;
use crate::{
    Collection, Filter, FindClips as _, Index, IndexError, KeepClips as _, MediaRange, MemoryIndex,
    Refusal, UtcRange, With,
};

/// Makes one test of each promise, for the indexes that `$make(collection: Collection)` makes: a
/// function to a boxed future of a [`Fixture`].
#[macro_export]
macro_rules! index_contract {
    ($make:expr) => {
        $crate::index_contract!(@each $make;
            an_empty_index_finds_nothing,
            a_clip_comes_back_as_it_was_kept,
            only_what_is_asked_for_is_loaded,
            keeping_a_clip_again_replaces_it,
            the_nearest_come_first_as_in_an_exact_index,
            filters_accept_what_they_say_and_nothing_else,
            removing_a_source_takes_its_clips_and_no_others,
            removing_what_is_old_takes_what_ends_by_then_and_nothing_else,
            one_refused_clip_refuses_its_batch_and_is_named,
            a_query_of_another_dimension_is_refused,
            a_limit_may_be_nothing_or_more_than_there_is,
            ids_come_in_pages_that_join,
            captions_are_found_by_their_words_as_in_an_exact_index,
            a_caption_replaces_the_one_before_and_a_clip_that_is_not_there_gets_none,
            only_captions_that_a_filter_accepts_are_found_and_only_those_that_are_left,
            searching_goes_on_while_clips_are_kept_and_the_index_is_optimized);
    };
    (@each $make:expr; $($promise:ident),*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $promise() {
            $crate::contract::$promise(&$make).await;
        }
    )*};
}

/// An index to be tested, and what must outlive it.
pub struct Fixture {
    /// The index, empty.
    pub index: Arc<dyn Index>,
    /// Dropped after it.
    pub guard: Box<dyn Any + Send + Sync>,
}

impl fmt::Debug for Fixture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixture").finish_non_exhaustive()
    }
}

/// Makes an empty index of a collection.
pub type Make<'a> =
    &'a (dyn Fn(Collection) -> Pin<Box<dyn Future<Output = Fixture> + Send>> + Send + Sync);

/// A collection of `dim` values an embedding, of a model that does not exist.
pub fn collection(dim: usize) -> Collection {
    let fingerprint = Fingerprint::try_from("0123456789abcdef".repeat(2)).unwrap();
    Collection { model: ModelRef { name: "test".into(), fingerprint }, dim }
}

/// Clip `seq` of a source, four seconds long, two seconds after the one before it.
pub fn clip(collection: &Collection, source: &str, seq: u64, embedding: Embedding) -> ClipRecord {
    const STEP_NS: u64 = 2_000_000_000;
    let source_id = SourceId::try_new(source).unwrap();
    let window = WindowSpec::try_new(8, 4, Rate::try_new(2, 1).unwrap()).unwrap();
    let mut record = ClipRecord {
        clip_id: ClipId::from(uuid::Uuid::nil()),
        source_id,
        span: Span::new(seq * STEP_NS, (seq + 2) * STEP_NS),
        window,
        model: collection.model.clone(),
        embedding,
        caption: None,
        thumbnail: None,
        media: None,
        seq,
    };
    record.clip_id = record.derived_id();
    record
}

/// A direction that looks like chance and is the same in every run.
pub fn direction(dim: usize, seed: u64) -> Embedding {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let values = (0..dim).map(|_| {
        // SplitMix64; four of its numbers together are nearly normal.
        let uniform = (0..4).map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((mixed ^ (mixed >> 31)) >> 40) as f32 / (1 << 24) as f32 - 0.5
        });
        uniform.sum::<f32>()
    });
    Embedding::normalise(values.collect()).unwrap()
}

/// `clips` clips of a source, in directions of chance.
pub fn clips(collection: &Collection, source: &str, clips: u64) -> Vec<ClipRecord> {
    let salt = source.bytes().fold(7, |salt: u64, byte| salt.wrapping_mul(31) + u64::from(byte));
    (0..clips)
        .map(|seq| clip(collection, source, seq, direction(collection.dim, salt + 1000 * seq)))
        .collect()
}

fn source(id: &str) -> SourceId {
    SourceId::try_new(id).unwrap()
}

fn everything() -> Filter {
    Filter::default()
}

/// No clips, no hits, no error.
pub async fn an_empty_index_finds_nothing(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    assert_eq!(index.find(&direction(8, 1), &everything(), 10).await.unwrap(), []);
    assert_eq!(index.count(&everything()).await.unwrap(), 0);
    let id = clips(&collection, "gate", 1)[0].clip_id;
    assert_eq!(index.get(&[id], With::ALL).await.unwrap(), []);
    assert_eq!(index.thumbnail(id).await.unwrap(), None);
    assert_eq!(index.ids(&source("gate"), None, 10).await.unwrap(), []);
    assert_eq!(index.remove_source(&source("gate")).await.unwrap(), 0);
    index.keep(&[]).await.unwrap();
    index.flush().await.unwrap();
    index.optimize().await.unwrap();
}

/// Every field, to the bit.
pub async fn a_clip_comes_back_as_it_was_kept(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let mut full = clip(&collection, "gate", 3, direction(8, 3));
    full.caption = Some("ein Auto „biegt“ ab 🚗".into());
    full.thumbnail = Some(vec![0xff, 0xd8, 0, 1, 2]);
    full.media = Some(MediaRef { path: "/videos/gate é.mp4".into(), begins_ns: 7 });
    let start =
        UtcStart { unix_ns: 1_700_000_000_123_456_789, clock: Clock::File, uncertainty_ms: 40 };
    full.span.utc = Some(start);
    let plain = clip(&collection, "yard", 0, direction(8, 4));
    index.keep(&[full.clone(), plain.clone()]).await.unwrap();

    let stored = index.get(&[plain.clip_id, full.clip_id], With::ALL).await.unwrap();

    assert_eq!(stored.len(), 2);
    for (stored, kept) in stored.iter().zip([&plain, &full]) {
        let back = ClipRecord {
            clip_id: stored.clip_id,
            source_id: stored.source_id.clone(),
            span: stored.span,
            window: stored.window,
            model: stored.model.clone(),
            embedding: stored.embedding.clone().unwrap(),
            caption: stored.caption.clone(),
            thumbnail: stored.thumbnail.clone(),
            media: stored.media.clone(),
            seq: stored.seq,
        };
        assert_eq!(back, *kept);
    }
    assert_eq!(index.thumbnail(full.clip_id).await.unwrap(), full.thumbnail);
    assert_eq!(index.thumbnail(plain.clip_id).await.unwrap(), None);
    let hits = index.find(&full.embedding, &everything(), 1).await.unwrap();
    assert!((hits[0].score - 1.0).abs() < 1e-5, "{}", hits[0].score);
    let found = (&hits[0].clip_id, &hits[0].span, hits[0].seq, &hits[0].media, &hits[0].caption);
    assert_eq!(found, (&full.clip_id, &full.span, 3, &full.media, &full.caption));
    assert_eq!((&hits[0].source_id, &hits[0].model), (&full.source_id, &collection.model));
}

/// Embeddings and thumbnails are large, and most readers want neither.
pub async fn only_what_is_asked_for_is_loaded(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let mut kept = clip(&collection, "gate", 0, direction(8, 1));
    kept.thumbnail = Some(vec![1; 100]);
    index.keep(std::slice::from_ref(&kept)).await.unwrap();
    for (embedding, thumbnail) in [(false, false), (true, false), (false, true)] {
        let stored = index.get(&[kept.clip_id], With { embedding, thumbnail }).await.unwrap();
        let loaded = (stored[0].embedding.is_some(), stored[0].thumbnail.is_some());
        assert_eq!(loaded, (embedding, thumbnail));
    }
}

/// Delivered twice, in one batch or in two, kept once: the later one.
pub async fn keeping_a_clip_again_replaces_it(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let batch = clips(&collection, "gate", 20);
    index.keep(&batch).await.unwrap();
    index.keep(&batch).await.unwrap();
    let mut later = batch[7].clone();
    later.caption = Some("later".into());
    index.keep(&[batch[7].clone(), later.clone()]).await.unwrap();

    assert_eq!(index.count(&everything()).await.unwrap(), 20);
    let hits = index.find(&later.embedding, &everything(), 100).await.unwrap();
    assert_eq!(hits.len(), 20);
    let ids: BTreeSet<ClipId> = hits.iter().map(|hit| hit.clip_id).collect();
    assert_eq!(ids.len(), 20);
    assert_eq!(hits[0].caption.as_deref(), Some("later"));
}

/// Same clips, same order, same scores.
pub async fn the_nearest_come_first_as_in_an_exact_index(make: Make<'_>) {
    let collection = collection(32);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let exact = MemoryIndex::new(collection.clone());
    for source in ["gate", "yard", "hall"] {
        let clips = clips(&collection, source, 300);
        index.keep(&clips).await.unwrap();
        exact.keep(&clips).await.unwrap();
    }
    for query in 0..30 {
        let query = direction(32, 10_000 + query);
        let found = index.find(&query, &everything(), 25).await.unwrap();
        let expected = exact.find(&query, &everything(), 25).await.unwrap();
        let ids = |hits: &[crate::Hit]| hits.iter().map(|hit| hit.clip_id).collect::<Vec<_>>();
        assert_eq!(ids(&found), ids(&expected));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found.score - expected.score).abs() < 1e-5, "{found:?} {expected:?}");
        }
    }
}

/// Source, media time, wall-clock time, and all of them together, at their very edges.
pub async fn filters_accept_what_they_say_and_nothing_else(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let mut kept = Vec::new();
    for (at, name) in (0_i64..).zip(["gate", "yard", "hall"]) {
        let mut clips = clips(&collection, name, 40);
        // The hall has no clock.
        for clip in clips.iter_mut().filter(|_| at < 2) {
            let origin = 1_700_000_000_000_000_000 + 5_000_000_000 * at;
            let start = UtcStart { unix_ns: origin, clock: Clock::Container, uncertainty_ms: 0 };
            clip.span.utc = Some(start.plus_ns(clip.span.start_ns));
        }
        index.keep(&clips).await.unwrap();
        kept.extend(clips);
    }
    let media = [
        None,
        Some((None, None)),
        Some((Some(10_000_000_000), Some(20_000_000_000))),
        Some((Some(10_000_000_001), Some(19_999_999_999))),
        Some((None, Some(1))),
        Some((Some(80_000_000_000), None)),
        Some((Some(30), Some(30))),
    ];
    let start_us = 1_700_000_000_000_000;
    let utc = [
        None,
        Some((None, None)),
        Some((Some(start_us + 10_000_000), Some(start_us + 20_000_000))),
        Some((Some(start_us + 9_999_999), Some(start_us + 10_000_001))),
        Some((None, Some(start_us + 1))),
        Some((Some(start_us + 86_999_999), None)),
    ];
    let sources = [vec![], vec![source("yard")], vec![source("hall"), source("gate")]];
    for sources in &sources {
        for media in media {
            for utc in utc {
                let filter = Filter {
                    sources: sources.clone(),
                    media: media.map(|(from_ns, to_ns)| MediaRange { from_ns, to_ns }),
                    utc: utc.map(|(from_us, to_us)| UtcRange { from_us, to_us }),
                };
                let expected: BTreeSet<ClipId> = kept
                    .iter()
                    .filter(|clip| filter.accepts(&clip.source_id, &clip.span))
                    .map(|clip| clip.clip_id)
                    .collect();
                let hits = index.find(&direction(8, 5), &filter, 1000).await.unwrap();
                let found: BTreeSet<ClipId> = hits.iter().map(|hit| hit.clip_id).collect();
                assert_eq!(found, expected, "{filter:?}");
                assert_eq!(hits.len(), expected.len(), "{filter:?}");
                assert_eq!(index.count(&filter).await.unwrap(), expected.len() as u64);
            }
        }
    }
}

/// All of it, at once, and nobody else's; and it may come back.
pub async fn removing_a_source_takes_its_clips_and_no_others(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let mut gate = clips(&collection, "gate", 50);
    for clip in &mut gate {
        clip.thumbnail = Some(vec![7; 10]);
    }
    let yard = clips(&collection, "yard", 30);
    index.keep(&gate).await.unwrap();
    index.keep(&yard).await.unwrap();
    index.flush().await.unwrap();

    assert_eq!(index.remove_source(&source("gate")).await.unwrap(), 50);

    assert_eq!(index.count(&everything()).await.unwrap(), 30);
    let hits = index.find(&gate[0].embedding, &everything(), 100).await.unwrap();
    assert!(hits.iter().all(|hit| hit.source_id == source("yard")), "{hits:?}");
    assert_eq!(hits.len(), 30);
    assert_eq!(index.thumbnail(gate[0].clip_id).await.unwrap(), None);
    assert_eq!(index.get(&[gate[0].clip_id], With::ALL).await.unwrap(), []);
    assert_eq!(index.remove_source(&source("gate")).await.unwrap(), 0);
    index.keep(&gate[..5]).await.unwrap();
    assert_eq!(index.count(&Filter::of_source(source("gate"))).await.unwrap(), 5);
}

/// To the nanosecond, for a file and for a camera whose media time counts from 1970; in parts or at
/// once; and what is gone may come back.
pub async fn removing_what_is_old_takes_what_ends_by_then_and_nothing_else(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let yard = clips(&collection, "yard", 5);
    index.keep(&yard).await.unwrap();
    for origin in [0, 1_790_000_000_123_456_789] {
        let mut gate = clips(&collection, "gate", 40);
        for clip in &mut gate {
            // Clips whose ends are a nanosecond apart, and clips that are not.
            let start = origin + clip.seq / 4 * 2_000_000_000;
            clip.span = Span::new(start + clip.seq % 4, start + clip.seq % 4 + 4_000_000_000);
            clip.clip_id = clip.derived_id();
            clip.thumbnail = Some(vec![7; 10]);
        }
        index.keep(&gate).await.unwrap();
        let mut left: Vec<&ClipRecord> = gate.iter().collect();
        for before in [0, 7, 8, 9, 10, 30] {
            let end_ns = gate[before].span.end_ns;
            let gone = left.iter().filter(|clip| clip.span.end_ns <= end_ns).count() as u64;
            left.retain(|clip| clip.span.end_ns > end_ns);

            assert_eq!(index.remove_before(&source("gate"), end_ns).await.unwrap(), gone);

            index.flush().await.unwrap();
            let ids = index.ids(&source("gate"), None, 100).await.unwrap();
            let expected: BTreeSet<ClipId> = left.iter().map(|clip| clip.clip_id).collect();
            assert_eq!(ids.into_iter().collect::<BTreeSet<_>>(), expected, "{end_ns}");
        }
        assert_eq!(index.thumbnail(gate[0].clip_id).await.unwrap(), None);
        assert_eq!(index.count(&Filter::of_source(source("yard"))).await.unwrap(), 5);
        index.keep(&gate[..3]).await.unwrap();
        assert_eq!(index.remove_before(&source("gate"), u64::MAX).await.unwrap(), 9 + 3);
    }
    assert_eq!(index.remove_before(&source("hall"), u64::MAX).await.unwrap(), 0);
    assert_eq!(index.count(&everything()).await.unwrap(), 5);
}

/// Nothing of a batch is kept when one of it cannot be.
pub async fn one_refused_clip_refuses_its_batch_and_is_named(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let mut batch = clips(&collection, "gate", 10);
    batch[6].embedding = direction(9, 1);
    let refused = index.keep(&batch).await.unwrap_err();
    let why = Refusal::Dimension { found: 9, needed: 8 };
    assert_eq!(refused, IndexError::Refused { clip_id: batch[6].clip_id, why });
    assert!(refused.to_string().contains(&batch[6].clip_id.to_string()), "{refused}");

    batch[6].embedding = direction(8, 1);
    let other = Fingerprint::try_from("f".repeat(32)).unwrap();
    batch[2].model.fingerprint = other.clone();
    let refused = index.keep(&batch).await.unwrap_err();
    let why = Refusal::Model { found: other, needed: collection.model.fingerprint.clone() };
    assert_eq!(refused, IndexError::Refused { clip_id: batch[2].clip_id, why });

    assert_eq!(index.count(&everything()).await.unwrap(), 0);
    batch.remove(2);
    index.keep(&batch).await.unwrap();
    assert_eq!(index.count(&everything()).await.unwrap(), 9);
}

/// A vector of another model is told apart, where its dimension gives it away.
pub async fn a_query_of_another_dimension_is_refused(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    index.keep(&clips(&collection, "gate", 3)).await.unwrap();
    let refused = index.find(&direction(7, 1), &everything(), 1).await;
    let why = Refusal::Dimension { found: 7, needed: 8 };
    assert_eq!(refused, Err(IndexError::Query(why)));
}

/// From no hits to all of them.
pub async fn a_limit_may_be_nothing_or_more_than_there_is(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    index.keep(&clips(&collection, "gate", 25)).await.unwrap();
    let query = direction(8, 1);
    for (limit, expected) in [(0, 0), (1, 1), (24, 24), (25, 25), (26, 25), (usize::MAX, 25)] {
        let hits = index.find(&query, &everything(), limit).await.unwrap();
        assert_eq!(hits.len(), expected, "limit {limit}");
        let ids = index.ids(&source("gate"), None, limit).await.unwrap();
        assert_eq!(ids.len(), expected, "limit {limit}");
    }
}

/// Every id once, in order, however they are paged.
pub async fn ids_come_in_pages_that_join(make: Make<'_>) {
    let collection = collection(8);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let gate = clips(&collection, "gate", 47);
    index.keep(&gate).await.unwrap();
    index.keep(&clips(&collection, "yard", 20)).await.unwrap();
    let mut expected: Vec<ClipId> = gate.iter().map(|clip| clip.clip_id).collect();
    expected.sort_unstable();
    for page in [1, 7, 47, 100] {
        let mut ids = Vec::new();
        loop {
            let more = index.ids(&source("gate"), ids.last().copied(), page).await.unwrap();
            assert!(more.len() <= page);
            if more.is_empty() {
                break;
            }
            ids.extend(more);
        }
        assert_eq!(ids, expected, "pages of {page}");
    }
}

/// Nobody waits for anybody, and nothing is missed meanwhile.
pub async fn searching_goes_on_while_clips_are_kept_and_the_index_is_optimized(make: Make<'_>) {
    let collection = collection(32);
    let Fixture { index, guard: _guard } = make(collection.clone()).await;
    let first = clips(&collection, "gate", 400);
    index.keep(&first).await.unwrap();
    let work = tokio::spawn({
        let (index, collection) = (Arc::clone(&index), collection.clone());
        async move {
            let later = clips(&collection, "yard", 400);
            for batch in later.chunks(40) {
                index.keep(batch).await.unwrap();
                index.flush().await.unwrap();
            }
            index.optimize().await.unwrap();
        }
    });

    let mut searches = 0;
    while !work.is_finished() || searches < 10 {
        let wanted = &first[searches * 7 % 400];
        let filter = Filter::of_source(source("gate"));
        let hits = index.find(&wanted.embedding, &filter, 3).await.unwrap();
        assert_eq!(hits[0].clip_id, wanted.clip_id);
        searches += 1;
    }

    work.await.unwrap();
    assert_eq!(index.count(&everything()).await.unwrap(), 800);
}
