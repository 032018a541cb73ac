//! Questions about labelled videos: how often the answerer is right.

mod answers;
mod judging;
mod kept;
mod report;

use std::io::{Write as _, stdout};

use anyhow::{Context as _, Result, ensure};
use footage_ask::Aspect;
use serde_json::json;

use self::answers::{Answers, Asking, named};
use self::judging::{Judging, Verdicts};
use self::kept::Kept;
use self::report::Figures;
use super::eval::Args;
use crate::compose::House;
use crate::footage;
use crate::outcome::Outcome;
use crate::stretches::Stretches;
use crate::terminal::{escaped, masked, tell};
use crate::verbs::index::stopped_by_signals;

#[tokio::main]
pub(super) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    ensure!(args.prompt == "{}", "--prompt is for data sets of classes");
    let (questions, videos) = args.data.questions()?;
    let (ask, judge) = (&house.settings.ask, &house.settings.judge);
    let endpoint = judge.open()?;
    ensure!(
        endpoint.is_some() || questions.iter().all(|one| one.aspects == [Aspect::Match]),
        "these answers are whole sentences, which only a judge can compare: set `judge.endpoint` (or \
         --judge) to an endpoint that speaks OpenAI's protocol; docs/evaluate.md tells how"
    );
    let answering = named(ask.answerer.open(ask.sampling())?)?;
    let cancel = stopped_by_signals()?;
    let window = house.settings.window.of(&house.open_model()?)?;
    let asking = Asking {
        identity: ask.identity()?,
        most_frames: footage::most_frames(house, &answering),
        reading: Stretches {
            window,
            decode: footage::decoding(house, &answering),
            cancel: &cancel,
        },
        answering,
    };
    let keep = args.keep.as_deref();
    let goes_on = || {
        let kept =
            keep.map(|folder| format!("what was found so far is kept in {}", folder.display()));
        kept.unwrap_or_else(|| "with --keep, what was found so far would have been kept".to_owned())
    };
    // Held to the end: a second run in the folder would pay for the same verdicts.
    let mut kept_answers = Kept::open(keep, "answers.jsonl")?;
    let answers = asking.ask(&questions, &videos, &mut kept_answers).await.with_context(goes_on)?;
    if cancel.is_cancelled() {
        tell(&goes_on());
        return Ok(Outcome::Interrupted);
    }
    let answered = answers.said.iter().flatten().count();
    ensure!(answered > 0, "none of the questions was answered: nothing was measured");
    if answers.left_out > 0 {
        tell(&format!("{} of {} questions are left out", answers.left_out, questions.len()));
    }
    let verdicts = match &endpoint {
        None => None,
        Some(endpoint) => {
            let judging = Judging {
                endpoint: endpoint.clone(),
                identity: judge.identity(),
                parallel: judge.parallel,
                cancel: &cancel,
            };
            let mut kept = Kept::open(keep, "verdicts.jsonl")?;
            let judged = judging.judge(&questions, &answers.said, &mut kept).await;
            Some(judged.with_context(goes_on)?)
        }
    };
    if cancel.is_cancelled() {
        tell(&goes_on());
        return Ok(Outcome::Interrupted);
    }
    let figures = Figures::of(&questions, &answers, verdicts.as_ref());
    let unjudged = verdicts.as_ref().map_or(0, |verdicts: &Verdicts| verdicts.unjudged);
    let unreadable = figures.unreadable();
    if unreadable > 0 {
        tell(&format!("{unreadable} replies of the judge were no verdicts, and count for nothing"));
    }
    if unjudged > 0 {
        tell(&format!("{unjudged} answers got no reply from the judge, and count for nothing"));
    }
    let judge = endpoint.map(|endpoint| endpoint.name());
    print(args, &answers, &figures, judge.as_deref(), unjudged)?;
    let is_whole = answers.left_out == 0 && unreadable == 0 && unjudged == 0;
    Ok(if is_whole { Outcome::Done } else { Outcome::SomeFailed })
}

fn print(
    args: &Args,
    answers: &Answers,
    figures: &Figures,
    judge: Option<&str>,
    unjudged: usize,
) -> Result<()> {
    let mut out = stdout().lock();
    let answered = answers.said.iter().flatten().count();
    if args.json {
        let mut described = json!({
            "answerer": answers.model,
            "judge": judge,
            "data": masked(&args.data.place().display().to_string()),
            "videos": answers.videos,
            "questions": answers.said.len(),
            "answered": answered,
            "left_out": answers.left_out,
            "unjudged": unjudged,
        });
        if let (Some(described), Some(figures)) =
            (described.as_object_mut(), figures.json().as_object())
        {
            described.extend(figures.clone());
        }
        writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
        return Ok(out.flush()?);
    }
    let by = judge.map_or(String::new(), |judge| format!(", judged by {}", escaped(judge)));
    let name = escaped(&answers.model);
    writeln!(out, "{name}: {answered} questions about {} videos{by}", answers.videos)?;
    write!(out, "{}", figures.table())?;
    Ok(out.flush()?)
}
