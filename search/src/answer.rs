//! From an embedding to the moments that answer it, and what they are worth.

use std::collections::HashMap;

use footage_clip::{ClipState, CoverageSummary, Embedding, SourceId, SourceKind, Span};
use footage_index::{Filter, FindClips, Hit, IndexError};
use footage_model::Calibration;

use crate::{KnownSource, Moment, Searched, merge, nearest};

/// Clips asked of the index for every moment wanted: neighbours melt into one.
const HITS_PER_MOMENT: usize = 16;
/// Most clips asked of the index for one search, however few moments they make.
const MOST_HITS: usize = 4096;
/// Most clips looked at where nothing says which of them match.
const MOST_NEAREST: usize = 512;

/// What a search is to give.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Most moments.
    pub limit: usize,
    /// Least confidence of a match, 0 to 1.
    pub min_confidence: f32,
    /// Whether the nearest moments are wanted even where they are no matches.
    pub all: bool,
    /// Hits at most this far apart are one moment; one stride of the source's window where none.
    pub gap_ns: Option<u64>,
    /// A stretch that is not to be found: the clip that was asked with.
    pub except: Option<(SourceId, Span)>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The moments, matches first, each best first.
    pub moments: Vec<Found>,
    /// The nearest clip, match or not.
    pub nearest: Option<Nearest>,
    /// Whether the scores of such a query can be told as confidence.
    pub is_calibrated: bool,
    /// What could be searched.
    pub searched: Searched,
}

/// How near the nearest clip comes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Nearest {
    /// Its cosine.
    pub score: f32,
    /// The probability that it is a match, where calibrated.
    pub confidence: Option<f32>,
}

/// A moment, and what it is worth.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// The moment.
    pub moment: Moment,
    /// Name of its source, for people.
    pub name: String,
    /// The probability that its best clip is a match; none where the model is not calibrated for
    /// such a query.
    pub confidence: Option<f32>,
    /// Whether it counts as a match; none where nothing can tell.
    pub is_match: Option<bool>,
    /// What became of its time: it may have been still, or lost, between its clips.
    pub coverage: CoverageSummary,
}

impl Answer {
    /// Whether it is known that nothing matches.
    pub fn is_no_match(&self) -> bool {
        self.is_calibrated && !self.moments.iter().any(|found| found.is_match == Some(true))
    }
}

/// Finds the moments nearest to `query` among the clips that `filter` accepts.
///
/// With a `calibration`, a clip is a match when its probability reaches `wanted.min_confidence`, and
/// matches are merged to their whole length. Without one nothing can tell a match from the nearest
/// nonsense, and the nearest clips are given as what they are.
pub async fn find_moments(
    index: &dyn FindClips,
    sources: &[KnownSource],
    query: &Embedding,
    filter: &Filter,
    wanted: &Wanted,
    calibration: Option<Calibration>,
) -> Result<Answer, IndexError> {
    let by_id = sources.iter().map(|known| (&known.record.source_id, known)).collect();
    let search = Search { by_id, wanted, calibration };
    let mut asked = (wanted.limit * HITS_PER_MOMENT).clamp(64, MOST_HITS);
    let (hits, moments) = loop {
        let found = index.find(query, filter, asked).await?;
        let is_exhausted = found.len() < asked;
        let hits = search.without_the_exception(found);
        let moments = search.moments(&hits);
        let more_can_come = !is_exhausted && asked < MOST_HITS;
        if !more_can_come || search.is_settled(&hits, &moments) {
            break (hits, moments);
        }
        asked = (asked * 4).min(MOST_HITS);
    };
    let confidence_of = |score| calibration.map(|calibration| calibration.probability(score));
    let moments = moments.into_iter().take(wanted.limit).map(|mut moment| {
        let known = search.known(&moment.source_id);
        // A file that was moved is known where it is now; its clips still say where it was. Footage
        // of a camera lies in many files, and each clip says in which.
        let of_file = known.filter(|known| known.record.kind == SourceKind::File);
        let file = of_file.and_then(|known| known.record.media.clone());
        moment.media = file.or(moment.media);
        Found {
            name: name_of(&moment, known),
            confidence: confidence_of(moment.score),
            is_match: calibration.map(|_| search.is_match(moment.score)),
            coverage: known
                .map_or_else(CoverageSummary::default, |known| known.coverage.summary(moment.span)),
            moment,
        }
    });
    Ok(Answer {
        moments: moments.collect(),
        nearest: hits
            .first()
            .map(|hit| Nearest { score: hit.score, confidence: confidence_of(hit.score) }),
        is_calibrated: calibration.is_some(),
        searched: Searched::of(sources, filter),
    })
}

struct Search<'a> {
    by_id: HashMap<&'a SourceId, &'a KnownSource>,
    wanted: &'a Wanted,
    calibration: Option<Calibration>,
}

impl<'a> Search<'a> {
    fn known(&self, source: &SourceId) -> Option<&'a KnownSource> {
        self.by_id.get(source).copied()
    }

    fn is_match(&self, score: f32) -> bool {
        self.calibration
            .is_some_and(|calibration| calibration.probability(score) >= self.wanted.min_confidence)
    }

    fn gap_ns(&self, source: &SourceId) -> u64 {
        self.wanted.gap_ns.unwrap_or_else(|| {
            self.known(source).map_or(0, |known| {
                let window = known.record.window;
                window.rate().slot_start_ns(window.stride() as u64)
            })
        })
    }

    /// Where a hit ends, and the time after it in which there was nothing new to see.
    fn end_ns(&self, hit: &Hit) -> u64 {
        let end_ns = hit.span.end_ns;
        let known = self.known(&hit.source_id);
        known.map_or(end_ns, |known| known.coverage.end_of_state(end_ns, ClipState::Gated))
    }

    fn without_the_exception(&self, mut hits: Vec<Hit>) -> Vec<Hit> {
        if let Some((source, span)) = &self.wanted.except {
            hits.retain(|hit| hit.source_id != *source || !hit.span.overlaps(span));
        }
        hits
    }

    /// Whether hits beyond these would change nothing that is shown. Hits come best first, so after
    /// the first that is no match none is. Before it, a moment may still grow, or turn out to be a
    /// part of another one.
    fn is_settled(&self, hits: &[Hit], moments: &[Moment]) -> bool {
        let is_all_matches = hits.last().is_none_or(|hit| self.is_match(hit.score));
        let is_full = moments.len() >= self.wanted.limit || hits.len() >= MOST_NEAREST;
        match (self.calibration, self.wanted.all) {
            (None, _) => is_full,
            (Some(_), true) => is_full && !is_all_matches,
            (Some(_), false) => !is_all_matches,
        }
    }

    /// Matches merged to their whole length; then, where wanted, the nearest of what is left.
    fn moments(&self, hits: &[Hit]) -> Vec<Moment> {
        let gap_ns = |source: &SourceId| self.gap_ns(source);
        let end_ns = |hit: &Hit| self.end_ns(hit);
        let matching = hits.iter().take_while(|hit| self.is_match(hit.score));
        let mut moments = merge(matching, gap_ns, end_ns);
        let left = self.wanted.limit.saturating_sub(moments.len());
        if (self.wanted.all || self.calibration.is_none()) && left > 0 {
            let apart =
                |hit: &&Hit| !moments.iter().any(|m| m.touches(hit, gap_ns(&hit.source_id)));
            let rest: Vec<Hit> = hits.iter().filter(apart).take(MOST_NEAREST).cloned().collect();
            moments.extend(nearest(&rest, left, gap_ns, end_ns));
        }
        moments
    }
}

fn name_of(moment: &Moment, known: Option<&KnownSource>) -> String {
    let of_file = || {
        let path = std::path::Path::new(&moment.media.as_ref()?.path);
        Some(path.file_name()?.to_string_lossy().into_owned())
    };
    let known = known.map(|known| known.record.name.clone());
    known.or_else(of_file).unwrap_or_else(|| moment.source_id.to_string())
}

#[cfg(test)]
mod tests {
    use footage_clip::{ClipState, LostReason};
    use footage_index::KeepClips as _;

    use super::*;
    use crate::testing::{index_of, source, stretch};

    /// A cosine of 0.5 is a coin toss.
    const EVEN_AT_HALF: Calibration = Calibration { scale: 40.0, offset: -20.0 };

    fn wanted(limit: usize) -> Wanted {
        Wanted { limit, min_confidence: 0.5, all: false, gap_ns: None, except: None }
    }

    fn towards_x() -> Embedding {
        Embedding::normalise(vec![1.0, 0.0]).unwrap()
    }

    fn films() -> Vec<KnownSource> {
        ["a", "b"].map(|id| source(id, &[stretch(0, 60, ClipState::Indexed)])).to_vec()
    }

    async fn answer(
        clips: &[(&str, u64, f32)],
        wanted: &Wanted,
        with: Option<Calibration>,
    ) -> Answer {
        let (index, records) = index_of(clips);
        index.keep(&records).await.unwrap();
        find_moments(&index, &films(), &towards_x(), &Filter::default(), wanted, with)
            .await
            .unwrap()
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
        let calibration = Some(EVEN_AT_HALF);
        let query = towards_x();
        let filter = Filter::default();
        let answer =
            find_moments(&index, &[camera()], &query, &filter, &wanted, calibration).await.unwrap();

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
        let answer = answer(&clips, &Wanted { except, ..wanted(1) }, None).await;

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
}
