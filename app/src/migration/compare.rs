//! What searches give in one collection and in another one beside it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use footage_index::FindClips;
use footage_search::{Agreement, Judged, Scores, Stretch};
use serde::Serialize;

use crate::compose::Store;
use crate::requests::Desk;
use crate::requests::found::SearchReply;
use crate::requests::search::{LookedFor, SearchRequest};
use crate::requests::sources::{SourcesReply, States};
use crate::verbs::eval::given;
use crate::verbs::eval::questions::{self, Question};

/// Moments that are compared of each search.
const COMPARED: usize = 10;

/// What is asked of both.
pub(crate) enum Sentences {
    /// With what answers them, where anything does.
    Answered(Vec<Question>),
    /// By themselves.
    Plain(Vec<String>),
}

/// What both gave.
#[derive(Debug, Serialize)]
pub(crate) struct Compared {
    pub sentences: Vec<OfSentence>,
    /// How well the collection that is read does, and the other one; where answers were given.
    pub scores: Option<[Scores; 2]>,
}

/// What both gave for one sentence.
#[derive(Debug, Serialize)]
pub(crate) struct OfSentence {
    pub sentence: String,
    #[serde(flatten)]
    pub agreement: Agreement,
}

impl Compared {
    /// Sentences for which both begin with the same moment.
    pub(crate) fn same_first(&self) -> usize {
        self.sentences.iter().filter(|of| of.agreement.same_first).count()
    }

    /// Share of the moments given by the one that the other one gives as well, 0 to 1.
    pub(crate) fn shared(&self) -> f64 {
        let sum = |part: fn(&Agreement) -> usize| -> usize {
            self.sentences.iter().map(|of| part(&of.agreement)).sum()
        };
        let given = sum(|agreement| agreement.given);
        if given == 0 { 0.0 } else { sum(|agreement| agreement.shared) as f64 / given as f64 }
    }
}

impl Sentences {
    /// Reads a file: a `.csv` as `footage eval` takes it, or one sentence a line.
    pub(crate) async fn read<I: FindClips>(path: &Path, store: &Store<I>) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            let sources = SourcesReply::of(store, &States::new()).await?.sources;
            return Ok(Self::Answered(questions::read(path, &sources)?));
        }
        let at = path.to_owned();
        // It may be a pipe, which takes as long as whoever writes into it.
        let text = tokio::task::spawn_blocking(move || fs_err::read_to_string(at)).await??;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        ensure!(!lines.is_empty(), "{} holds no sentence: write one a line", path.display());
        Ok(Self::Plain(lines))
    }
}

/// Asks both.
pub(crate) async fn compare<I: FindClips>(
    read: &Desk<I>,
    other: &Desk<I>,
    sentences: &Sentences,
) -> Result<Compared> {
    let questions: Vec<(&str, Option<&Question>)> = match sentences {
        Sentences::Answered(questions) => {
            questions.iter().map(|question| (question.sentence.as_str(), Some(question))).collect()
        }
        Sentences::Plain(lines) => lines.iter().map(|line| (line.as_str(), None)).collect(),
    };
    let mut compared = Compared { sentences: Vec::new(), scores: None };
    let (mut judged, mut hours) = ([Vec::new(), Vec::new()], 0.0);
    for (sentence, question) in questions {
        let replies = [search(read, sentence).await?, search(other, sentence).await?];
        hours = (replies[0].searched.indexed_s + replies[0].searched.gated_s) / 3600.0;
        let given = replies.map(|reply| reply.moments.iter().map(given).collect::<Vec<_>>());
        if let Some(question) = question {
            for (judged, given) in judged.iter_mut().zip(&given) {
                judged.push(Judged::of(given, &question.answers));
            }
        }
        let [first, second] = given.map(|given| -> Vec<Stretch> {
            given.into_iter().map(|given| given.stretch).collect()
        });
        let agreement = Agreement::of(&first, &second);
        compared.sentences.push(OfSentence { sentence: sentence.to_owned(), agreement });
    }
    if matches!(sentences, Sentences::Answered(_)) {
        compared.scores = Some(judged.map(|judged| Scores::of(&judged, hours)));
    }
    Ok(compared)
}

async fn search<I: FindClips>(desk: &Desk<I>, sentence: &str) -> Result<SearchReply> {
    let request = SearchRequest {
        query: LookedFor::Text(sentence.to_owned()),
        sources: Vec::new(),
        from: None,
        to: None,
        since_s: None,
        by: Some(footage_search::By::Video),
        limit: Some(COMPARED),
        min_confidence: None,
        all: true,
        without_thumbnails: true,
    };
    request.answer(desk).await.with_context(|| format!("cannot search for \"{sentence}\""))
}
