//! An answer with what it rests on.

use std::time::Duration;

use footage_ask::Reply;
use footage_clip::{ClipId, SourceId};
use serde::Serialize;

use super::moments::MomentAnswer;
use crate::footage::Seen;
use crate::terminal::counted;

/// Version of the form. A field may be added without changing it.
const VERSION: u32 = 1;

/// An answer, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct AnswerTold<'a> {
    v: u32,
    question: &'a str,
    answer: &'a str,
    /// Which model answered, as it calls itself.
    model: &'a str,
    evidence: EvidenceTold<'a>,
    timings: TimingsTold,
    #[serde(skip)]
    seen: &'a Seen,
}

/// What was looked at, and nothing else was.
#[derive(Debug, Serialize)]
struct EvidenceTold<'a> {
    source_id: &'a SourceId,
    source: &'a str,
    /// Seconds of media time.
    from_s: f64,
    to_s: f64,
    /// Times of the frames, in seconds of media time.
    frames_s: Vec<f64>,
    /// The clips that these frames are of.
    clips: Vec<ClipSeen>,
}

#[derive(Debug, Serialize)]
struct ClipSeen {
    clip_id: ClipId,
    from_s: f64,
    to_s: f64,
    frames_s: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct TimingsTold {
    /// Decoding the frames again.
    footage_s: f64,
    /// Preparing them for who answers.
    look_s: f64,
    /// From the question to the first piece of the answer.
    first_token_s: f64,
    /// From the question to the end of the answer.
    answer_s: f64,
    tokens: usize,
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

impl<'a> AnswerTold<'a> {
    pub(super) fn new(
        question: &'a str,
        reply: &'a Reply,
        seen: &'a Seen,
        read: Duration,
        look: Duration,
    ) -> Self {
        let stretch = &seen.stretch;
        let clips = stretch.clips.iter().map(|clip| {
            let is_within = |ns: &u64| (clip.from_ns..clip.to_ns).contains(ns);
            let times = seen.frames.iter().map(|frame| stretch.rate.slot_start_ns(frame.slot));
            ClipSeen {
                clip_id: clip.clip_id,
                from_s: seconds(clip.from_ns),
                to_s: seconds(clip.to_ns),
                frames_s: times.filter(is_within).map(seconds).collect(),
            }
        });
        let evidence = EvidenceTold {
            source_id: &stretch.source_id,
            source: &stretch.source,
            from_s: seconds(stretch.from_ns),
            to_s: seconds(stretch.to_ns),
            frames_s: seen.frames.iter().map(|frame| seconds(frame.time_ns)).collect(),
            clips: clips.filter(|clip| !clip.frames_s.is_empty()).collect(),
        };
        let timings = TimingsTold {
            footage_s: read.as_secs_f64(),
            look_s: look.as_secs_f64(),
            first_token_s: reply.first_token.as_secs_f64(),
            answer_s: reply.whole.as_secs_f64(),
            tokens: reply.tokens,
        };
        Self {
            v: VERSION,
            question,
            answer: &reply.text,
            model: &reply.model,
            evidence,
            timings,
            seen,
        }
    }

    /// What stands below an answer on a terminal.
    pub(super) fn line(&self) -> String {
        let TimingsTold { footage_s, look_s, first_token_s, answer_s, .. } = &self.timings;
        format!(
            "({}; {}; footage {:.1} s, first word {first_token_s:.1} s, whole answer {answer_s:.1} s)",
            self.seen.described(),
            self.model,
            footage_s + look_s
        )
    }
}

/// Answers about the moments of a long stretch, as `--json` prints them.
#[derive(Debug, Serialize)]
pub(super) struct AnswersTold<'a> {
    v: u32,
    question: &'a str,
    /// One line for each moment that shows something, with its time; or that none does.
    answer: String,
    model: &'a str,
    /// The moments that were looked at, and nothing else was, in order of time.
    moments: Vec<AnswerTold<'a>>,
    whole_s: f64,
}

impl<'a> AnswersTold<'a> {
    pub(super) fn new(question: &'a str, answers: &'a [MomentAnswer], whole: Duration) -> Self {
        let lines: Vec<String> = answers.iter().filter_map(MomentAnswer::line).collect();
        let answer = match (answers.len(), lines.is_empty()) {
            (0, _) => "Nothing that is indexed lies there.".to_owned(),
            (count, true) => {
                format!("None of the {count} moments nearest to the question shows that.")
            }
            (_, false) => lines.join("\n"),
        };
        Self {
            v: VERSION,
            question,
            answer,
            model: answers.first().map_or("", |answer| &answer.reply.model),
            moments: answers.iter().map(|answer| answer.told(question)).collect(),
            whole_s: whole.as_secs_f64(),
        }
    }

    pub(super) fn answer(&self) -> &str {
        &self.answer
    }

    /// What stands below the answers on a terminal.
    pub(super) fn line(&self) -> String {
        let frames: usize = self.moments.iter().map(|moment| moment.seen.frames.len()).sum();
        format!(
            "({}, {frames} frames; {}; {:.1} s)",
            counted(self.moments.len() as u64, "moment"),
            self.model,
            self.whole_s
        )
    }
}
