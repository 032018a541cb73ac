//! What is shown of what was found.

use footage_clip::{Caption, ClipState, Embedding, LostReason, Span};
use footage_index::{KeepClips as _, MemoryIndex};
use footage_model::Calibration;

use super::*;
use crate::testing::{index_of, source, stretch};

/// A cosine of 0.5 is a coin toss.
const EVEN_AT_HALF: Calibration = Calibration { scale: 40.0, offset: -20.0 };

fn wanted(limit: usize) -> Wanted {
    Wanted { by: By::Both, limit, min_confidence: 0.5, all: false, gap_ns: None }
}

fn asked(calibration: Option<Calibration>, words: &str) -> Asked {
    Asked { embedding: towards_x(), calibration, words: Some(words.to_owned()), except: None }
}

fn towards_x() -> Embedding {
    Embedding::normalise(vec![1.0, 0.0]).unwrap()
}

fn films() -> Vec<KnownSource> {
    ["a", "b"].map(|id| source(id, &[stretch(0, 60, ClipState::Indexed)])).to_vec()
}

async fn answer(clips: &[(&str, u64, f32)], wanted: &Wanted, with: Option<Calibration>) -> Answer {
    let (index, records) = index_of(clips);
    index.keep(&records).await.unwrap();
    find_moments(&index, &films(), &asked(with, "x"), &Filter::default(), wanted).await.unwrap()
}

/// Embedded for 8 s, still for 20, embedded again for 8, and away for a minute.
fn camera() -> KnownSource {
    let away = ClipState::Lost(LostReason::Disconnected);
    let mut camera = source(
        "gate",
        &[
            stretch(0, 8, ClipState::Indexed),
            stretch(8, 28, ClipState::Gated),
            stretch(28, 36, ClipState::Indexed),
            vec![(Span::new(36_000_000_000, 96_000_000_000), away)],
        ],
    );
    camera.record.kind = SourceKind::Camera;
    camera.record.complete = false;
    camera
}

#[tokio::test]
async fn a_moment_of_a_camera_lasts_as_long_as_the_scene_is_still_and_no_longer() {
    let (index, records) = index_of(&[("gate", 4, 0.9), ("gate", 32, 0.8)]);
    index.keep(&records).await.unwrap();
    let wanted = Wanted { gap_ns: Some(0), ..wanted(5) };
    let asked = asked(Some(EVEN_AT_HALF), "x");
    let filter = Filter::default();
    let answer = find_moments(&index, &[camera()], &asked, &filter, &wanted).await.unwrap();

    let name = || "gate.mp4".to_owned();
    assert_eq!(starts(&answer), [(name(), 4, 28), (name(), 32, 36)]);
    let of_first = &answer.moments[0].coverage;
    assert_eq!((of_first.indexed_ns, of_first.gated_ns), (4_000_000_000, 20_000_000_000));
    let searched = &answer.searched;
    assert_eq!((searched.incomplete, searched.unseen_ns), (0, 0), "it is watching still");
    assert_eq!(searched.unwatched_ns(), 60_000_000_000);
}

fn starts(answer: &Answer) -> Vec<(String, u64, u64)> {
    let seconds = |ns: u64| ns / 1_000_000_000;
    let of = |found: &Found| {
        let span = found.moment.span;
        (found.name.clone(), seconds(span.start_ns), seconds(span.end_ns))
    };
    answer.moments.iter().map(of).collect()
}

#[tokio::test]
async fn matches_are_merged_to_their_whole_length_and_the_rest_is_not_shown() {
    let clips = [("a", 0, 0.1), ("a", 10, 0.6), ("a", 11, 0.9), ("a", 12, 0.7), ("b", 0, 0.55)];
    let answer = answer(&clips, &wanted(5), Some(EVEN_AT_HALF)).await;

    assert_eq!(starts(&answer), [("a.mp4".to_owned(), 10, 16), ("b.mp4".to_owned(), 0, 4)]);
    assert!(answer.moments[0].confidence > Some(0.99));
    assert_eq!(answer.moments[1].is_match, Some(true));
    assert!(!answer.is_no_match());
}

#[tokio::test]
async fn a_query_that_nothing_matches_says_so_and_how_near_it_came() {
    let clips = [("a", 0, 0.3), ("a", 20, 0.2)];
    let answer = answer(&clips, &wanted(5), Some(EVEN_AT_HALF)).await;

    assert!(answer.is_no_match());
    assert!(answer.moments.is_empty());
    let nearest = answer.nearest.unwrap();
    assert!((nearest.score - 0.3).abs() < 1e-5);
    assert!(nearest.confidence < Some(0.01));
    assert_eq!(answer.searched.indexed_ns, 120_000_000_000);
}

#[tokio::test]
async fn all_shows_the_nearest_after_the_matches_as_what_they_are() {
    let clips = [("a", 0, 0.9), ("a", 2, 0.4), ("a", 30, 0.3), ("b", 0, 0.2)];
    let wanted = Wanted { all: true, ..wanted(3) };
    let answer = answer(&clips, &wanted, Some(EVEN_AT_HALF)).await;

    let is_match: Vec<_> = answer.moments.iter().map(|found| found.is_match).collect();
    assert_eq!(is_match, [Some(true), Some(false), Some(false)]);
    assert_eq!(
        starts(&answer)[..2],
        [("a.mp4".to_owned(), 0, 4), ("a.mp4".to_owned(), 30, 34)],
        "a clip that overlaps a match is part of it, not a moment of its own"
    );
}

#[tokio::test]
async fn without_calibration_nothing_is_called_a_match() {
    let answer = answer(&[("a", 0, 0.9), ("b", 0, 0.1)], &wanted(5), None).await;

    assert_eq!(answer.moments.len(), 2);
    assert!(answer.moments.iter().all(|f| f.confidence.is_none() && f.is_match.is_none()));
    assert!(!answer.is_no_match() && !answer.is_calibrated);
}

#[tokio::test]
async fn the_limit_is_reached_where_the_best_clips_all_melt_into_one_moment() {
    // 200 overlapping clips score higher than the three other places.
    let mut clips: Vec<_> = (0..200).map(|at| ("a", at, 0.9)).collect();
    clips.extend([("b", 0, 0.8), ("b", 20, 0.7), ("b", 40, 0.6)]);
    let answer = answer(&clips, &wanted(4), Some(EVEN_AT_HALF)).await;

    assert_eq!(answer.moments.len(), 4);
    assert_eq!(starts(&answer)[0], ("a.mp4".to_owned(), 0, 203));
}

#[tokio::test]
async fn the_clip_that_was_asked_with_is_not_found_again() {
    let span = Span::new(0, 4_000_000_000);
    let except = Some((SourceId::try_new("a").unwrap(), span));
    let clips = [("a", 0, 1.0), ("a", 3, 0.9), ("a", 4, 0.8), ("b", 0, 0.7)];
    let (index, records) = index_of(&clips);
    index.keep(&records).await.unwrap();
    let asked = Asked { except, words: None, ..asked(None, "") };
    let answer =
        find_moments(&index, &films(), &asked, &Filter::default(), &wanted(1)).await.unwrap();

    assert_eq!(starts(&answer), [("a.mp4".to_owned(), 4, 8)]);
}

#[tokio::test]
async fn one_stride_between_hits_is_bridged_unless_a_gap_is_given() {
    let clips = [("a", 0, 0.9), ("a", 5, 0.9)];
    let bridged = answer(&clips, &wanted(5), Some(EVEN_AT_HALF)).await;
    let split = Wanted { gap_ns: Some(0), ..wanted(5) };
    let split = answer(&clips, &split, Some(EVEN_AT_HALF)).await;

    assert_eq!((bridged.moments.len(), split.moments.len()), (1, 2));
}

/// Three places of `a`, of which the first two are seen to match, and one of `b`, which is not; with
/// captions.
async fn captioned() -> MemoryIndex {
    let (index, records) =
        index_of(&[("a", 0, 0.9), ("a", 20, 0.8), ("a", 40, 0.3), ("b", 0, 0.2), ("b", 30, 0.1)]);
    index.keep(&records).await.unwrap();
    let said = ["a dog sleeps", "a red car turns", "nothing moves", "the red cars", "a car is red"];
    let captions: Vec<_> = records
        .iter()
        .zip(said)
        .map(|(record, said)| (record.clip_id, Caption::try_new(said).unwrap()))
        .take(4)
        .collect();
    index.caption(&captions).await.unwrap();
    index
}

async fn found_by(by: By, words: &str, all: bool, with: Option<Calibration>) -> Answer {
    let index = captioned().await;
    let wanted = Wanted { by, all, ..wanted(10) };
    let asked = asked(with, words);
    find_moments(&index, &films(), &asked, &Filter::default(), &wanted).await.unwrap()
}

fn routes(answer: &Answer) -> Vec<(String, u64, Option<bool>, FoundBy)> {
    let of = |found: &Found| {
        let start_s = found.moment.span.start_ns / 1_000_000_000;
        (found.moment.source_id.to_string(), start_s, found.is_match, found.by)
    };
    answer.moments.iter().map(of).collect()
}

const SEEN: FoundBy = FoundBy { video: true, caption: false };
const TOLD: FoundBy = FoundBy { video: false, caption: true };
const BOTH: FoundBy = FoundBy { video: true, caption: true };

fn place(source: &str, start_s: u64, by: FoundBy) -> (String, u64, Option<bool>, FoundBy) {
    (source.to_owned(), start_s, Some(true), by)
}

#[tokio::test]
async fn both_ways_are_fused_and_each_moment_says_what_led_to_it() {
    let answer = found_by(By::Both, "red car", false, Some(EVEN_AT_HALF)).await;

    assert_eq!(routes(&answer), [place("a", 20, BOTH), place("a", 0, SEEN), place("b", 0, TOLD)]);
    let told = &answer.moments[2];
    assert!((told.moment.score - 0.2).abs() < 1e-5, "the score is that of the pictures: {told:?}");
    assert!(told.confidence < Some(0.01), "and so is the confidence: {told:?}");
    assert_eq!(told.moment.caption.as_deref(), Some("the red cars"));
    assert!(told.caption_score > Some(0.0));
    assert_eq!(answer.moments[1].caption_score, None);
    assert!(!answer.is_no_match());
}

#[tokio::test]
async fn one_way_alone_can_be_asked_for() {
    let seen = found_by(By::Video, "red car", false, Some(EVEN_AT_HALF)).await;
    assert_eq!(routes(&seen), [place("a", 0, SEEN), place("a", 20, SEEN)]);
    let told = found_by(By::Caption, "red car", false, Some(EVEN_AT_HALF)).await;
    assert_eq!(routes(&told), [place("b", 0, TOLD), place("a", 20, TOLD)]);
    let nearest = told.nearest.unwrap();
    assert!((nearest.score - 0.2).abs() < 1e-5, "of the clip with the best caption");
}

#[tokio::test]
async fn a_caption_with_some_of_the_words_is_no_match_and_shown_only_with_all() {
    let some = found_by(By::Caption, "red zebra", false, Some(EVEN_AT_HALF)).await;
    assert!(some.is_no_match() && some.moments.is_empty());
    let all = found_by(By::Caption, "red zebra", true, None).await;
    let matches: Vec<_> = all.moments.iter().map(|found| found.is_match).collect();
    assert_eq!(matches, [Some(false), Some(false)], "also where pictures could not tell");
    assert!(all.moments.iter().all(|found| found.by == TOLD));

    // Among matches it helps to rank, and does not count as what says so.
    let both = found_by(By::Both, "turning zebra", false, Some(EVEN_AT_HALF)).await;
    assert_eq!(routes(&both), [place("a", 20, SEEN), place("a", 0, SEEN)]);
}

#[tokio::test]
async fn without_calibration_a_caption_can_match_and_pictures_cannot() {
    let answer = found_by(By::Both, "red car", false, None).await;
    let first = &routes(&answer)[0];
    assert_eq!(first, &place("a", 20, BOTH));
    let untold: Vec<_> = answer.moments.iter().filter(|found| found.is_match.is_none()).collect();
    assert!(!untold.is_empty() && untold.iter().all(|found| found.by == SEEN));
}

#[tokio::test]
async fn words_that_no_caption_has_leave_the_order_of_the_pictures() {
    let seen = found_by(By::Video, "zebra", false, Some(EVEN_AT_HALF)).await;
    let both = found_by(By::Both, "zebra", false, Some(EVEN_AT_HALF)).await;
    assert_eq!(routes(&both), routes(&seen));
    let told = found_by(By::Caption, "zebra", true, Some(EVEN_AT_HALF)).await;
    assert!(told.moments.is_empty() && told.nearest.is_none());
}
