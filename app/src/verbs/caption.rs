//! `footage caption`: words for clips that have none.

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _, stderr, stdout};

use anyhow::{Context as _, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::index::stopped_by_signals;
use crate::captions::{Captioner, Described, Door};
use crate::cli::Stated;
use crate::compose::House;
use crate::outcome::{Outcome, in_one_line};
use crate::requests::captions::{MissingOf, MissingRequest};
use crate::requests::selection::Named;
use crate::terminal::{counted, escaped, tell};

/// Describe clips in words, so that they can be found by these too
///
/// Frames of each clip are decoded again and shown to a model that sees; what it says is kept with the
/// clip. One clip per length of the window is described, since those between show the same. Each
/// caption is kept as soon as it is made: after Ctrl-C, or a crash, the same command goes on. The
/// setting `caption.by` says who describes; docs/captions.md tells how.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage caption --missing
  footage caption --missing --source garden.mp4
  footage caption --missing --answerer http://localhost:11434/v1 --answerer-model llava

Exit code: 0 all have captions, 1 some footage is gone or could not be described, 2 nothing could be
described, 130 interrupted.")]
pub(crate) struct Args {
    /// Describe the clips that have no caption yet
    #[arg(long, required = true)]
    missing: bool,
    /// Only of this source: its id, or its name; repeatable
    #[arg(long, value_name = "SOURCE")]
    source: Vec<String>,
    /// Who describes: an endpoint's address, a folder, or ask [setting: caption.by]
    #[arg(long, value_name = "URL|DIR")]
    answerer: Option<String>,
    /// Name of the model at an endpoint [setting: caption.model]
    #[arg(long, value_name = "NAME")]
    answerer_model: Option<String>,
}

impl Args {
    pub(crate) fn flags(&self) -> Vec<Stated> {
        let answerer = self.answerer.clone().map(|by| ("caption.by", by, "--answerer"));
        let model = self.answerer_model.clone().map(|to| ("caption.model", to, "--answerer-model"));
        answerer.into_iter().chain(model).collect()
    }
}

#[tokio::main]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    let captioner = Captioner::open(house)?.context(
        "nobody is there to describe: set `caption.by` (or --answerer) to an endpoint that sees \
         pictures, such as http://localhost:11434/v1, or to a LLaVA's folder; docs/captions.md tells \
         how",
    )?;
    let cancel = stopped_by_signals()?;
    let door = Door::open(house).await?;
    // One source after the other: what is due of all of them may be more than a reply can hold.
    let mut named: VecDeque<Vec<Named>> = if args.source.is_empty() {
        let all = door.sources().await?.into_iter();
        all.map(|id| vec![Named { given: id.to_string(), path: None }]).collect()
    } else {
        [args.source.iter().map(|given| Named::here(given)).collect()].into()
    };
    let (mut failed, mut made, mut is_away) = (0, 0, None);
    let mut missing = VecDeque::new();
    while !cancel.is_cancelled() && is_away.is_none() {
        let Some(of): Option<MissingOf> = missing.pop_front() else {
            let Some(named) = named.pop_front() else { break };
            let request = MissingRequest { sources: named, every_ns: 0 };
            match door.missing(request, house).await {
                Ok(found) => missing.extend(found.sources),
                // One that was removed since needs none.
                Err(error) if args.source.is_empty() => line(&in_one_line(&error))?,
                Err(error) => return Err(error),
            }
            continue;
        };
        let Some(stretch) = &of.stretch else {
            failed += usize::from(of.gone.is_some());
            line(&without_footage(&of))?;
            continue;
        };
        let bar = bar(&of);
        let mut on_clip = || bar.inc(1);
        let done = captioner.describe_all(stretch, &door, &cancel, &mut on_clip).await;
        bar.finish_and_clear();
        line(&told(&of, &done))?;
        made += done.made;
        failed += done.failed + done.left;
        if done.is_away {
            is_away = done.why;
        }
    }
    if let Some(error) = is_away {
        let error = error.context("the rest is not described; the same command goes on from there");
        if made == 0 {
            return Err(error);
        }
        tell(&in_one_line(&error));
    }
    Ok(if cancel.is_cancelled() {
        Outcome::Interrupted
    } else if failed > 0 {
        Outcome::SomeFailed
    } else {
        Outcome::Done
    })
}

fn bar(of: &MissingOf) -> ProgressBar {
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(of.due as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {wide_msg}  {eta} left")
    {
        bar.set_style(style);
    }
    bar.set_message(escaped(&of.source));
    bar
}

fn without_footage(of: &MissingOf) -> String {
    match &of.gone {
        Some(why) => format!("{}: {} without a caption: {why}", of.source, clips(of.due)),
        None if of.captioned == 0 => format!("{}: nothing to describe", of.source),
        None => format!("{}: has its captions, {}", of.source, clips(of.captioned)),
    }
}

fn told(of: &MissingOf, done: &Described) -> String {
    let without = match done.failed + done.left {
        0 => String::new(),
        without => format!(", {without} not"),
    };
    let why = done.why.as_ref().map(|why| format!(": {}", in_one_line(why))).unwrap_or_default();
    format!("{}: {} described{without}{why}", of.source, clips(done.made))
}

fn clips(count: usize) -> String {
    counted(count as u64, "clip")
}

fn line(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{}", escaped(text))?;
    Ok(out.flush()?)
}
