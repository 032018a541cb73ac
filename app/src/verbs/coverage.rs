//! `footage coverage`: what became of a source's time.

use std::io::{Write as _, stdout};

use anyhow::Result;
use footage_clip::{Clock, SourceKind};

use crate::cluster;
use crate::compose::House;
use crate::instance::Instance;
use crate::outcome::Outcome;
use crate::requests::coverage::{CoverageReply, CoverageRequest, StateTold, StretchTold};
use crate::requests::selection::Named;
use crate::terminal::{clock, counted, duration, escaped};
use crate::when::{When, ago};

/// Stretches that are told one by one; what is more is only summed up and plotted.
const MOST_TOLD: usize = 40;

/// Columns of the plot.
const PLOT: usize = 72;

/// Show what of a source's time can be searched, and what cannot, and why
///
/// Every second of a camera since it was first watched is indexed, gated (nothing new to see), or
/// lost for a reason that is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage coverage gate --since 1d
  footage coverage gate --from 2026-05-01 --to 2026-05-02 --json
  footage coverage film.mp4 --from 10:00 --to 20:00

In the plot, \u{2588} can be searched, \u{2592} has nothing new to see, x is lost, and . is unknown.")]
pub(crate) struct Args {
    /// Id, name or path of a source
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Only from here on: a date and time (2026-05-01T14:30), or media time (1:30)
    #[arg(long, value_name = "TIME")]
    from: Option<When>,
    /// Only up to here, in the same form as --from
    #[arg(long, value_name = "TIME")]
    to: Option<When>,
    /// Only the last so much: 90s, 30m, 2h, 7d, 2w
    #[arg(long, value_name = "AGO", value_parser = ago, conflicts_with_all = ["from", "to"])]
    since: Option<std::time::Duration>,
    /// Tell every stretch, however many there are
    #[arg(long)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main(flavor = "current_thread")]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    let request = CoverageRequest {
        source: Named::here(&args.source),
        from: args.from,
        to: args.to,
        since_s: args.since.map(|since| since.as_secs_f64()),
    };
    let reply = match Instance::running(&house.settings.data_dir).await? {
        Some(instance) => instance.coverage(&request).await?,
        None if house.settings.cluster.has_kafka() => cluster::coverage(house, request).await?,
        None => request.answer(&house.open_existing_store().await?).await?,
    };
    let mut out = stdout().lock();
    if args.json {
        writeln!(out, "{}", serde_json::to_string_pretty(&reply)?)?;
    } else {
        let most = if args.all { usize::MAX } else { MOST_TOLD };
        out.write_all(text(&reply, most).as_bytes())?;
    }
    out.flush()?;
    Ok(Outcome::Done)
}

fn text(reply: &CoverageReply, most: usize) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(&escaped(line));
        text.push('\n');
    };
    let (Some(first), Some(last)) = (reply.stretches.first(), reply.stretches.last()) else {
        line(&format!("{}: nothing is known of the time asked about", reply.source));
        return text;
    };
    line(&format!(
        "{} ({}), {} to {}",
        reply.source,
        reply.source_id,
        at(first.from_s, first.from.as_ref(), reply.kind),
        at(last.to_s, last.to.as_ref(), reply.kind)
    ));
    line(&plot(&reply.stretches, PLOT));
    line(&totals(reply));
    if let Some(kept_from) = &reply.kept_from {
        line(&format!("kept since {kept_from}; what lay before was removed"));
    }
    let told = reply.stretches.iter().take(most);
    for stretch in told {
        let from = at(stretch.from_s, stretch.from.as_ref(), reply.kind);
        let length = duration(ns(stretch.to_s - stretch.from_s));
        line(&format!("  {from}  {length:>12}  {}", state(stretch)));
    }
    let more = reply.stretches.len().saturating_sub(most);
    if more > 0 {
        line(&format!("  and {more} more: --all tells them"));
    }
    if reply.kind == SourceKind::Camera {
        line(&counted(reply.runs.len() as u64, "run"));
        for run in reply.runs.iter().take(most) {
            line(&format!(
                "  {}  {} (clock: {}, within {} ms)",
                run.from,
                run.cause,
                clock_name(run.clock),
                run.uncertainty_ms
            ));
        }
    }
    text
}

fn clock_name(clock: Clock) -> &'static str {
    match clock {
        Clock::Container => "container",
        Clock::File => "file",
        Clock::RtcpSenderReport => "camera",
        Clock::Arrival => "arrival",
    }
}

fn ns(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// When something was: by the wall clock of a camera, by media time of a file.
fn at(seconds: f64, utc: Option<&String>, kind: SourceKind) -> String {
    match (kind, utc) {
        (SourceKind::Camera, Some(utc)) => utc.clone(),
        _ => clock(seconds as u64),
    }
}

fn state(stretch: &StretchTold) -> String {
    match (stretch.state, stretch.reason) {
        (StateTold::Indexed, _) => "indexed".to_owned(),
        (StateTold::Gated, _) => "gated: nothing new to see".to_owned(),
        (StateTold::Lost, Some(reason)) => format!("lost: {reason}"),
        (StateTold::Lost, None) => "lost".to_owned(),
        (StateTold::Unknown, _) => "unknown".to_owned(),
    }
}

fn totals(reply: &CoverageReply) -> String {
    let totals = &reply.totals;
    let mut parts = vec![format!("{} indexed", duration(ns(totals.indexed_s)))];
    if totals.gated_s > 0.0 {
        parts.push(format!("{} gated", duration(ns(totals.gated_s))));
    }
    let lost = totals.lost_s.iter();
    parts.extend(lost.map(|(why, lost_s)| format!("{} lost ({why})", duration(ns(*lost_s)))));
    if totals.unknown_s > 0.0 {
        parts.push(format!("{} unknown", duration(ns(totals.unknown_s))));
    }
    parts.join(", ")
}

/// The timeline in so many columns. A column shows the worst of what lies in it, so that what is
/// lost is seen however short it was.
fn plot(stretches: &[StretchTold], columns: usize) -> String {
    let (Some(first), Some(last)) = (stretches.first(), stretches.last()) else {
        return String::new();
    };
    let length = (last.to_s - first.from_s).max(f64::MIN_POSITIVE);
    let mut marks = vec![0; columns];
    for stretch in stretches {
        let column = |at: f64| (at - first.from_s) / length * columns as f64;
        let from = column(stretch.from_s).floor() as usize;
        let to = (column(stretch.to_s).ceil() as usize).clamp(from + 1, columns.max(from + 1));
        for mark in marks.iter_mut().take(to).skip(from) {
            *mark = severity(stretch.state).max(*mark);
        }
    }
    marks.into_iter().map(|mark| [' ', '\u{2588}', '\u{2592}', '.', 'x'][mark]).collect()
}

fn severity(state: StateTold) -> usize {
    match state {
        StateTold::Indexed => 1,
        StateTold::Gated => 2,
        StateTold::Unknown => 3,
        StateTold::Lost => 4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(from_s: f64, to_s: f64, state: StateTold) -> StretchTold {
        StretchTold { from_s, to_s, from: None, to: None, state, reason: None }
    }

    #[test]
    fn the_plot_shows_every_state_in_its_place_and_nothing_lost_is_too_short_for_it() {
        let stretches = [
            stretch(0.0, 50.0, StateTold::Indexed),
            stretch(50.0, 50.01, StateTold::Lost),
            stretch(50.01, 75.0, StateTold::Gated),
            stretch(75.0, 100.0, StateTold::Unknown),
        ];
        assert_eq!(plot(&stretches, 8), "\u{2588}\u{2588}\u{2588}\u{2588}x\u{2592}..");
    }
}
