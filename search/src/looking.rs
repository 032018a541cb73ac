//! From a query to the moments that answer it, and what they are worth.

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use footage_clip::{ClipId, ClipState, CoverageSummary, SourceId, SourceKind};
use footage_index::{Filter, FindClips, Hit, IndexError, StoredClip, With};

use crate::fusion::{Fused, Ranked, fuse};
use crate::{
    Answer, Asked, By, Found, FoundBy, KnownSource, Moment, Nearest, Searched, Wanted, merge,
    nearest,
};

/// Clips asked of the index for every moment wanted: neighbours melt into one.
const HITS_PER_MOMENT: usize = 16;
/// Most clips asked of the index for one search, however few moments they make.
const MOST_HITS: usize = 4096;
/// Most clips looked at where nothing says which of them match.
const MOST_NEAREST: usize = 512;
/// Fewest moments of each way that are ranked where two ways are fused.
const LEAST_FUSED: usize = 20;

/// Finds the moments that answer `asked` among the clips that `filter` accepts.
///
/// With a calibration, a clip is a match when its probability reaches `wanted.min_confidence`, and
/// matches are merged to their whole length. Without one nothing can tell a match from the nearest
/// nonsense, and the nearest clips are given as what they are. A caption is a match when it has every
/// word that was asked for, common ones aside; what has some of them helps to rank.
pub async fn find_moments(
    index: &dyn FindClips,
    sources: &[KnownSource],
    asked: &Asked,
    filter: &Filter,
    wanted: &Wanted,
) -> Result<Answer, IndexError> {
    let by_id = sources.iter().map(|known| (&known.record.source_id, known)).collect();
    let search = Search { by_id, asked, wanted };
    let words = asked.words.as_deref().filter(|_| wanted.by != By::Video);
    let told = match words {
        Some(words) => search.by_words(index, words, filter).await?,
        None => Told::default(),
    };
    let (first_seen, seen) = match wanted.by {
        By::Caption => (None, Vec::new()),
        By::Video | By::Both => search.by_video(index, filter, told.moments.is_empty()).await?,
    };
    let nearest = first_seen.or(match told.first {
        Some(id) => search.scores(index, [id]).await?.get(&id).copied(),
        None => None,
    });
    let fused = fuse(seen, told.moments, |source| search.gap_ns(source));
    let mut found = search.chosen(fused);
    search.score_what_was_told(index, &mut found).await?;
    let confidence_of = |score| asked.calibration.map(|with| with.probability(score));
    let moments = found.into_iter().map(|fused| search.found(fused, confidence_of)).collect();
    Ok(Answer {
        moments,
        nearest: nearest.map(|score| Nearest { score, confidence: confidence_of(score) }),
        is_calibrated: asked.calibration.is_some(),
        searched: Searched::of(sources, filter),
    })
}

struct Search<'a> {
    by_id: HashMap<&'a SourceId, &'a KnownSource>,
    asked: &'a Asked,
    wanted: &'a Wanted,
}

/// What captions lead to.
#[derive(Default)]
struct Told {
    moments: Vec<Ranked>,
    /// The clip with the best caption.
    first: Option<ClipId>,
}

impl<'a> Search<'a> {
    fn known(&self, source: &SourceId) -> Option<&'a KnownSource> {
        self.by_id.get(source).copied()
    }

    fn is_match(&self, score: f32) -> bool {
        let calibration = self.asked.calibration;
        calibration.is_some_and(|with| with.probability(score) >= self.wanted.min_confidence)
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

    /// The score of the nearest clip, and the moments that pictures lead to: to be shown as they are,
    /// or to be fused with others.
    async fn by_video(
        &self,
        index: &dyn FindClips,
        filter: &Filter,
        is_alone: bool,
    ) -> Result<(Option<f32>, Vec<Ranked>), IndexError> {
        let limit = self.limit(is_alone);
        let mut asked = (limit * HITS_PER_MOMENT).clamp(64, MOST_HITS);
        loop {
            let found = index.find(&self.asked.embedding, filter, asked).await?;
            let is_exhausted = found.len() < asked;
            let hits = self.without_the_exception(found);
            let moments = self.moments(&hits, limit);
            let more_can_come = !is_exhausted && asked < MOST_HITS;
            if !more_can_come || self.is_settled(&hits, &moments, limit) {
                let ranked = moments.into_iter().take(limit).map(|moment| {
                    let is_match = self.is_match(moment.score);
                    Ranked { moment, is_match }
                });
                return Ok((hits.first().map(|hit| hit.score), ranked.collect()));
            }
            asked = (asked * 4).min(MOST_HITS);
        }
    }

    /// The moments that captions lead to: those with every word at their whole length, then the best
    /// of those with some.
    async fn by_words(
        &self,
        index: &dyn FindClips,
        words: &str,
        filter: &Filter,
    ) -> Result<Told, IndexError> {
        let limit = self.limit(self.wanted.by == By::Caption);
        let most = (limit * HITS_PER_MOMENT).clamp(64, MOST_HITS);
        let hits = index.find_words(words, filter, most).await?;
        let first = hits.first().map(|found| found.hit.clip_id);
        let (every, some): (Vec<_>, Vec<_>) =
            hits.into_iter().partition(|found| found.has_every_word);
        let (every, some) = [every, some]
            .map(|found| found.into_iter().map(|found| found.hit).collect::<Vec<_>>())
            .into();
        let ranked = |moment, is_match| Ranked { moment, is_match };
        let moments = self.whole(&every);
        let others = self.nearest_beside(&moments, &some, limit);
        let moments = moments.into_iter().map(|moment| ranked(moment, true)).take(limit);
        let others = others.into_iter().map(|moment| ranked(moment, false));
        Ok(Told { moments: moments.chain(others).collect(), first })
    }

    /// How many moments of one way are ranked: more than are shown, where ranks are to be fused.
    fn limit(&self, is_alone: bool) -> usize {
        if is_alone { self.wanted.limit } else { (2 * self.wanted.limit).max(LEAST_FUSED) }
    }

    fn without_the_exception(&self, mut hits: Vec<Hit>) -> Vec<Hit> {
        if let Some((source, span)) = &self.asked.except {
            hits.retain(|hit| hit.source_id != *source || !hit.span.overlaps(span));
        }
        hits
    }

    /// Whether hits beyond these would change nothing that is shown. Hits come best first, so after
    /// the first that is no match none is. Before it, a moment may still grow, or turn out to be a
    /// part of another one.
    fn is_settled(&self, hits: &[Hit], moments: &[Moment], limit: usize) -> bool {
        let is_all_matches = hits.last().is_none_or(|hit| self.is_match(hit.score));
        let is_full = moments.len() >= limit || hits.len() >= MOST_NEAREST;
        match (self.asked.calibration, self.wanted.all) {
            (None, _) => is_full,
            (Some(_), true) => is_full && !is_all_matches,
            (Some(_), false) => !is_all_matches,
        }
    }

    /// Matches merged to their whole length; then, where wanted, the nearest of what is left.
    fn moments(&self, hits: &[Hit], limit: usize) -> Vec<Moment> {
        let matching = hits.iter().take_while(|hit| self.is_match(hit.score)).cloned();
        let mut moments = self.whole(&matching.collect::<Vec<_>>());
        if self.wanted.all || self.asked.calibration.is_none() {
            moments.extend(self.nearest_beside(&moments, hits, limit));
        }
        moments
    }

    fn whole(&self, hits: &[Hit]) -> Vec<Moment> {
        merge(hits, |source| self.gap_ns(source), |hit| self.end_ns(hit))
    }

    /// Moments of the nearest hits that are no part of `moments`, up to `limit` together with these.
    fn nearest_beside(&self, moments: &[Moment], hits: &[Hit], limit: usize) -> Vec<Moment> {
        let left = limit.saturating_sub(moments.len());
        if left == 0 {
            return Vec::new();
        }
        let gap_ns = |source: &SourceId| self.gap_ns(source);
        let apart = |hit: &&Hit| !moments.iter().any(|m| m.touches(hit, gap_ns(&hit.source_id)));
        let rest: Vec<Hit> = hits.iter().filter(apart).take(MOST_NEAREST).cloned().collect();
        nearest(&rest, left, gap_ns, |hit| self.end_ns(hit))
    }

    /// What is shown: matches first, and nothing else unless it is wanted, or nothing can tell.
    fn chosen(&self, mut fused: Vec<Fused>) -> Vec<Fused> {
        if self.tells_matches() {
            fused.sort_by_key(|fused| !fused.is_match());
            fused.retain(|fused| self.wanted.all || fused.is_match());
        }
        fused.truncate(self.wanted.limit);
        fused
    }

    /// Whether it is known what is no match.
    fn tells_matches(&self) -> bool {
        self.asked.calibration.is_some() || self.wanted.by == By::Caption
    }

    /// Gives moments that only captions led to the score of their pictures.
    async fn score_what_was_told(
        &self,
        index: &dyn FindClips,
        found: &mut Vec<Fused>,
    ) -> Result<(), IndexError> {
        let told = found.iter().filter(|fused| !fused.is_scored);
        let scores = self.scores(index, told.map(|fused| fused.moment.best)).await?;
        // What was removed in the meantime is not shown.
        found.retain_mut(|fused| {
            if !fused.is_scored {
                let score = scores.get(&fused.moment.best);
                fused.moment.score = score.copied().unwrap_or_default();
                return score.is_some();
            }
            true
        });
        Ok(())
    }

    /// Cosines between what is asked and clips.
    async fn scores(
        &self,
        index: &dyn FindClips,
        clips: impl IntoIterator<Item = ClipId>,
    ) -> Result<HashMap<ClipId, f32>, IndexError> {
        let ids: Vec<ClipId> = clips.into_iter().collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let clips = index.get(&ids, With { embedding: true, ..With::default() }).await?;
        let score =
            |clip: StoredClip| Some((clip.clip_id, self.asked.embedding.cosine(&clip.embedding?)));
        Ok(clips.into_iter().filter_map(score).collect())
    }

    fn found(&self, fused: Fused, confidence_of: impl Fn(f32) -> Option<f32>) -> Found {
        let is_match = (self.tells_matches() || fused.is_match()).then(|| fused.is_match());
        let mut moment = fused.moment;
        let known = self.known(&moment.source_id);
        // A file that was moved is known where it is now; its clips still say where it was. Footage
        // of a camera lies in many files, and each clip says in which.
        let of_file = known.filter(|known| known.record.kind == SourceKind::File);
        let file = of_file.and_then(|known| known.record.media.clone());
        moment.media = file.or(moment.media);
        // Of a match it is told what says so, as far as anything can.
        let led = |way: Option<bool>, can_tell: bool| match way {
            Some(says_so) => says_so || is_match != Some(true) || !can_tell,
            None => false,
        };
        Found {
            name: name_of(&moment, known),
            confidence: confidence_of(moment.score),
            is_match,
            by: FoundBy {
                video: led(fused.video, self.asked.calibration.is_some()),
                caption: led(fused.caption, true),
            },
            caption_score: fused.words,
            coverage: known
                .map_or_else(CoverageSummary::default, |known| known.coverage.summary(moment.span)),
            moment,
        }
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
