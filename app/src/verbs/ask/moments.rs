//! A long stretch: the moments of it that are nearest to a question are looked at, each by itself, and
//! every answer stands beside the moment that it rests on.

use std::time::Instant;

use anyhow::Result;
use footage_ask::{Answering, Conversation, Reply};
use footage_clip::SourceKind;
use footage_pipeline::DecodeSettings;

use crate::compose::House;
use crate::footage::{self, Seen};
use crate::requests::asked::Asked;
use crate::requests::found::MomentFound;
use crate::requests::search::{LookedFor, SearchRequest};
use crate::requests::selection::Named;
use crate::requests::stretch::StretchReply;
use crate::terminal::clock;
use crate::when::When;

use super::told::AnswerTold;

/// A stretch that is too long to be looked at as a whole.
pub(super) struct LongStretch {
    stretch: StretchReply,
    asked: Asked,
    answering: Answering,
    decode: DecodeSettings,
    most_frames: usize,
    most_moments: usize,
}

/// What was said of one moment.
pub(super) struct MomentAnswer {
    /// When it was, for people.
    pub(super) when: String,
    pub(super) seen: Seen,
    pub(super) reply: Reply,
    read: std::time::Duration,
    look: std::time::Duration,
}

impl MomentAnswer {
    pub(super) fn told<'a>(&'a self, question: &'a str) -> AnswerTold<'a> {
        AnswerTold::new(question, &self.reply, &self.seen, self.read, self.look)
    }

    /// The answer with its moment, or nothing where the moment does not show it.
    pub(super) fn line(&self) -> Option<String> {
        (!self.reply.abstains()).then(|| format!("{}: {}", self.when, self.reply.text))
    }
}

impl LongStretch {
    pub(super) async fn open(
        house: &House,
        stretch: StretchReply,
        answering: Answering,
    ) -> Result<Self> {
        Ok(Self {
            asked: Asked::open(house).await?,
            decode: footage::decoding(house, &answering),
            most_frames: footage::most_frames(house, &answering),
            most_moments: house.settings.ask.moments,
            stretch,
            answering,
        })
    }

    /// What is asked about, for people.
    pub(super) fn described(&self) -> String {
        let StretchReply { source, from_ns, to_ns, .. } = &self.stretch;
        let minutes = (to_ns - from_ns) as f64 / 60e9;
        format!(
            "{minutes:.1} minutes of {source}: of each question the nearest moments are looked at"
        )
    }

    /// Asks about each of the nearest moments, in order of time. `on_answer` hears of each answer.
    pub(super) async fn ask(
        &self,
        question: &str,
        on_answer: &mut (dyn FnMut(&MomentAnswer) -> Result<()> + Send),
    ) -> Result<Vec<MomentAnswer>> {
        let mut answers = Vec::new();
        for moment in self.nearest(question).await? {
            let began = Instant::now();
            let stretch = self.part(&moment);
            let (most, decode) = (self.most_frames, &self.decode);
            let seen = tokio::task::block_in_place(|| Seen::read(stretch, most, decode))?;
            let read = began.elapsed();
            let began = Instant::now();
            let about = || Conversation::about(self.answering.clone(), &seen.frames);
            let mut conversation = tokio::task::block_in_place(about)?;
            let look = began.elapsed();
            let reply = conversation.ask(question, &mut |_| ()).await?;
            let answer = MomentAnswer { when: when(&moment), seen, reply, read, look };
            on_answer(&answer)?;
            answers.push(answer);
        }
        Ok(answers)
    }

    /// In order of time.
    async fn nearest(&self, question: &str) -> Result<Vec<MomentFound>> {
        let source = self.stretch.source_id.to_string();
        let request = SearchRequest {
            query: LookedFor::Text(question.to_owned()),
            sources: vec![Named { given: source, path: None }],
            from: Some(When::Media(self.stretch.from_ns)),
            to: Some(When::Media(self.stretch.to_ns)),
            since_s: None,
            by: None,
            limit: Some(self.most_moments),
            min_confidence: None,
            all: true,
            without_thumbnails: true,
        };
        let mut moments = self.asked.search(request).await?.moments;
        moments.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
        Ok(moments)
    }

    /// The moment as a stretch of its own.
    fn part(&self, moment: &MomentFound) -> StretchReply {
        let clips = self.stretch.clips.iter().filter(|clip| moment.clips.contains(&clip.clip_id));
        let clips: Vec<_> = clips.cloned().collect();
        let from_ns = clips.iter().map(|clip| clip.from_ns).min();
        let to_ns = clips.iter().map(|clip| clip.to_ns).max();
        let whole = &self.stretch;
        StretchReply {
            from_ns: from_ns.unwrap_or(whole.from_ns).max(whole.from_ns),
            to_ns: to_ns.unwrap_or(whole.to_ns).min(whole.to_ns),
            clips,
            ..whole.clone()
        }
    }
}

/// When a moment was: of a camera on the wall, where that is known, otherwise in the film.
fn when(moment: &MomentFound) -> String {
    match &moment.utc {
        Some(utc) if moment.kind == SourceKind::Camera => utc.from.clone(),
        _ => format!("{} to {}", clock(moment.from_s as u64), clock(moment.to_s.ceil() as u64)),
    }
}
