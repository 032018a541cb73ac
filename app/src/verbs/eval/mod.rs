//! `footage eval`: how well searches of one's own footage find what is known to be there.

pub(crate) mod questions;

use std::io::{Write as _, stdout};
use std::path::PathBuf;

use anyhow::{Result, ensure};
use footage_search::{Given, Judged, Scores, Stretch};
use serde_json::json;

use crate::compose::House;
use crate::outcome::Outcome;
use crate::requests::asked::Asked;
use crate::requests::found::{MomentFound, SearchReply};
use crate::requests::search::{LookedFor, SearchRequest};
use crate::terminal::escaped;

/// Measure how well sentences find what you know is there, in your own footage
///
/// QUESTIONS is a CSV file whose first line is `sentence,source,from,to`: a sentence, the id, name or
/// path of an indexed source, and the stretch of it that answers the sentence, in media time. Several
/// lines with the same sentence are several answers; a line with the sentence alone says that nothing
/// in the footage answers it. The exit code is 1 where a bar that was stated is not reached.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  footage eval questions.csv --min-recall-at-5 0.8 --max-false-alarms 0.5")]
pub(crate) struct Args {
    /// Sentences and their answers
    #[arg(value_name = "QUESTIONS")]
    questions: PathBuf,
    /// Least share of sentences whose first moment is right, 0 to 1
    #[arg(long, value_name = "X", value_parser = share)]
    min_recall_at_1: Option<f64>,
    /// Least share of sentences with a right moment among the first five
    #[arg(long, value_name = "X", value_parser = share)]
    min_recall_at_5: Option<f64>,
    /// Least share of sentences with a right moment among the first ten
    #[arg(long, value_name = "X", value_parser = share)]
    min_recall_at_10: Option<f64>,
    /// Least mean reciprocal rank, 0 to 1
    #[arg(long, value_name = "X", value_parser = share)]
    min_mrr: Option<f64>,
    /// Most false alarms for one sentence and hour of footage
    #[arg(long, value_name = "N", value_parser = rate)]
    max_false_alarms: Option<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Moments asked for each sentence: recall is told up to ten, false alarms up to these.
const LIMIT: usize = 50;

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "choose 0 to 1".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate >= 0.0);
    rate.ok_or_else(|| "choose a number from 0".to_owned())
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    let asked = Asked::open(house).await?;
    let sources = asked.sources().await?.sources;
    let questions = questions::read(&args.questions, &sources)?;
    let (mut judged, mut hours) = (Vec::new(), 0.0);
    for question in &questions {
        let reply = asked
            .search(SearchRequest {
                query: LookedFor::Text(question.sentence.clone()),
                sources: Vec::new(),
                from: None,
                to: None,
                since_s: None,
                by: None,
                limit: Some(LIMIT),
                min_confidence: Some(house.settings.search.min_confidence),
                all: true,
                without_thumbnails: true,
            })
            .await?;
        hours = (reply.searched.indexed_s + reply.searched.gated_s) / 3600.0;
        let given: Vec<Given> = reply.moments.iter().map(given).collect();
        judged.push((question, Judged::of(&given, &question.answers), reply));
    }
    let verdicts: Vec<Judged> = judged.iter().map(|(_, judged, _)| judged.clone()).collect();
    let scores = Scores::of(&verdicts, hours);
    let missed = args.missed(&scores)?;
    let mut out = stdout().lock();
    if args.json {
        let table: Vec<_> = judged
            .iter()
            .map(|(question, judged, reply)| {
                let first = reply.moments.first();
                json!({ "sentence": question.sentence, "judged": judged, "first": first })
            })
            .collect();
        let model = judged.first().map(|(_, _, reply)| &reply.model);
        let described = json!({
            "model": model, "hours": hours, "scores": scores, "sentences": table,
            "missed": missed,
        });
        writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
    } else {
        writeln!(out, "{:>4}  {:>6}  {:<48}  first moment given", "rank", "alarms", "sentence")?;
        for (question, judged, reply) in &judged {
            writeln!(out, "{}", escaped(&line(&question.sentence, judged, reply)))?;
        }
        writeln!(out)?;
        write!(out, "{}", summary(&scores, hours))?;
        for bar in &missed {
            writeln!(out, "below the bar: {bar}")?;
        }
    }
    out.flush()?;
    Ok(if missed.is_empty() { Outcome::Done } else { Outcome::SomeFailed })
}

/// A moment, as it is judged.
pub(crate) fn given(moment: &MomentFound) -> Given {
    let source = moment.source_id.clone();
    let stretch = Stretch { source, from_s: moment.from_s, to_s: moment.to_s };
    Given { stretch, is_match: moment.is_match }
}

fn line(sentence: &str, judged: &Judged, reply: &SearchReply) -> String {
    let rank = match (judged.rank, judged.has_answer) {
        (Some(rank), _) => rank.to_string(),
        (None, true) => "-".to_owned(),
        (None, false) => "none".to_owned(),
    };
    let alarms = judged.false_alarms.map_or_else(|| "?".to_owned(), |alarms| alarms.to_string());
    let first = reply.moments.first().map_or_else(String::new, |first| {
        format!("{} {:.1}-{:.1} s ({:.3})", first.source, first.from_s, first.to_s, first.score)
    });
    format!("{rank:>4}  {alarms:>6}  {sentence:<48}  {first}")
}

fn summary(scores: &Scores, hours: f64) -> String {
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let alarms = match scores.false_alarms_per_hour {
        Some(rate) => format!("{rate:.2} for a sentence and hour of footage"),
        None => "cannot be told: the model is not calibrated".to_owned(),
    };
    format!(
        "{} sentences with an answer, {} without, in {:.2} hours of footage\n\
         first right       {}\nright in five     {}\nright in ten      {}\n\
         mean 1/rank       {:.3}\nfalse alarms      {alarms}\n",
        scores.sentences,
        scores.sentences_without_answer,
        hours,
        percent(scores.recall_at_1),
        percent(scores.recall_at_5),
        percent(scores.recall_at_10),
        scores.mean_reciprocal_rank,
    )
}

impl Args {
    /// The bars that are stated and not reached, each with what was reached. A bar that cannot be
    /// measured is an error: it must not seem to hold.
    fn missed(&self, scores: &Scores) -> Result<Vec<String>> {
        let mut missed = Vec::new();
        for (name, bar, reached) in [
            ("recall at 1", self.min_recall_at_1, scores.recall_at_1),
            ("recall at 5", self.min_recall_at_5, scores.recall_at_5),
            ("recall at 10", self.min_recall_at_10, scores.recall_at_10),
            ("mean reciprocal rank", self.min_mrr, scores.mean_reciprocal_rank),
        ] {
            let Some(bar) = bar else { continue };
            ensure!(scores.sentences > 0, "no sentence has an answer: {name} cannot be measured");
            if reached < bar {
                missed.push(format!("{name} is {reached:.4}, at least {bar} was asked for"));
            }
        }
        if let Some(bar) = self.max_false_alarms {
            let Some(reached) = scores.false_alarms_per_hour else {
                anyhow::bail!(
                    "false alarms cannot be counted: the model is not calibrated, or nothing is \
                     indexed"
                );
            };
            if reached > bar {
                missed.push(format!("false alarms are {reached:.2}, at most {bar} was asked for"));
            }
        }
        Ok(missed)
    }
}
