//! What is said of a migration.

use std::io::{IsTerminal as _, Write as _, stderr, stdout};
use std::time::Duration;

use anyhow::Result;
use footage_clip::{SourceRecord, WindowSpec};
use footage_model::Model;
use footage_search::Scores;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use super::{Args, Switching};
use crate::compose::House;
use crate::migration::{Brought, Compared};
use crate::outcome::Outcome;
use crate::terminal::{counted, escaped, tell};

/// What was done.
pub(super) struct Ended {
    pub(super) outcome: Outcome,
    pub(super) sources: usize,
    pub(super) clips: Brought,
    /// Sources of which something is lost, each with what is there of it.
    pub(super) lossy: Vec<(SourceRecord, Brought)>,
    pub(super) compared: Option<Compared>,
}

impl Ended {
    /// Clips that are searched now and are lost would not be found any more: that has to be meant.
    pub(super) fn may_switch(&self, args: &Args) -> bool {
        let Switching { switch, accept_lost } = args.switching;
        switch && self.outcome != Outcome::Interrupted && (self.clips.lost == 0 || accept_lost)
    }
}

pub(super) fn bar(name: &str) -> ProgressBar {
    let target = if stderr().is_terminal() {
        ProgressDrawTarget::stderr_with_hz(4)
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len}  {wide_msg}  {eta} left")
    {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar.set_message(escaped(name));
    bar
}

pub(super) fn told(brought: &Brought) -> String {
    let clips = |count: usize| counted(count as u64, "clip");
    let mut told = format!("{} embedded", clips(brought.made));
    if brought.held > 0 {
        told = format!("{told}, {} there already", brought.held);
    }
    if brought.lost > 0 {
        told = format!("{told}, {} lost", brought.lost);
        told = format!("{told}: {}", why(brought));
    }
    told
}

fn why(brought: &Brought) -> &str {
    brought.why.as_deref().unwrap_or("no picture of them is left")
}

impl Args {
    pub(super) fn report(
        &self,
        ended: &Ended,
        read: &str,
        model: &Model,
        switched: bool,
    ) -> Result<()> {
        let Ended { outcome, sources, clips, compared, .. } = ended;
        let mut out = stdout().lock();
        if self.json {
            let described = json!({
                "from": read, "to": model.name(), "fingerprint": model.fingerprint(),
                "sources": sources,
                "lost": ended.lossy.iter().map(|(source, brought)| json!({
                    "source_id": source.source_id, "name": source.name, "clips": brought.lost,
                    "why": why(brought),
                })).collect::<Vec<_>>(),
                "clips": { "embedded": clips.made, "held": clips.held, "lost": clips.lost },
                "compared": compared.as_ref().map(in_json),
                "switched": switched,
                "interrupted": *outcome == Outcome::Interrupted,
            });
            writeln!(out, "{}", serde_json::to_string_pretty(&described)?)?;
            return Ok(out.flush()?);
        }
        let name = escaped(model.name());
        writeln!(
            out,
            "{} of {}: {}",
            name,
            counted(*sources as u64, "source"),
            told(&Brought {
                why: Some("see above".to_owned()),
                held: clips.held,
                made: clips.made,
                lost: clips.lost,
                ..Brought::default()
            })
        )?;
        if let Some(compared) = compared {
            tell_compared(&mut out, compared, read, model.name())?;
        }
        match (outcome, switched) {
            (Outcome::Interrupted, _) => {
                writeln!(out, "interrupted: the same command goes on from here")?;
            }
            (_, true) => writeln!(out, "clips of {name} are searched from now on")?,
            (_, false) if self.switching.switch => writeln!(
                out,
                "not switched, as {} would not be found any more: the same command with --accept-lost \
                 switches all the same",
                counted(clips.lost as u64, "clip")
            )?,
            (_, false) => writeln!(
                out,
                "clips of {} are searched still: the same command with --switch changes that",
                escaped(read)
            )?,
        }
        Ok(out.flush()?)
    }
}

fn in_json(compared: &Compared) -> Value {
    json!({
        "sentences": compared.sentences,
        "same_first": compared.same_first(),
        "shared": compared.shared(),
        "scores": compared.scores.map(|[read, other]| json!({ "read": read, "other": other })),
    })
}

fn tell_compared(
    out: &mut impl std::io::Write,
    compared: &Compared,
    read: &str,
    other: &str,
) -> std::io::Result<()> {
    writeln!(
        out,
        "asked {}: {} begin with the same moment, and {:.0} % of all moments are the same",
        counted(compared.sentences.len() as u64, "sentence"),
        compared.same_first(),
        compared.shared() * 100.0
    )?;
    for of in compared.sentences.iter().filter(|of| !of.agreement.same_first) {
        writeln!(out, "  begins with another moment: {}", escaped(&of.sentence))?;
    }
    let Some(scores) = &compared.scores else { return Ok(()) };
    writeln!(out, "                              R@1    R@5   R@10  mean 1/rank")?;
    for (name, scores) in [read, other].iter().zip(scores) {
        let Scores { recall_at_1, recall_at_5, recall_at_10, mean_reciprocal_rank, .. } = scores;
        let [first, five, ten] =
            [recall_at_1, recall_at_5, recall_at_10].map(|share| share * 100.0);
        writeln!(
            out,
            "{:<26} {first:>5.1}% {five:>5.1}% {ten:>5.1}%  {mean_reciprocal_rank:.3}",
            escaped(name)
        )?;
    }
    Ok(())
}

/// What else has to be changed for the other model to be used from now on.
pub(super) fn advise(to: &str, otherwise: &[(String, WindowSpec)], house: &House) {
    let stated = if to == "bundled" { "" } else { to };
    let held = house.settings.model_dir.as_ref().and_then(|held| held.to_str()).unwrap_or("");
    if held != stated {
        tell(&format!(
            "from now on state this model: `dir = \"{stated}\"` under [model] in the settings, or \
             --model; with any other one this data directory is refused"
        ));
    }
    if let Some((name, window)) = otherwise.first() {
        tell(&format!(
            "camera `{name}` goes on as it was cut only with `length_frames = {}`, `stride_frames = {}` \
             and `rate = \"{}\"` under [window]: state them before `footage watch`",
            window.length(),
            window.stride(),
            window.rate()
        ));
    }
}
