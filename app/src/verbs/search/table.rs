//! An answer for people.

use std::fmt::Write as _;

use footage_clip::Clock;
use footage_search::{Answer, Searched};

use super::Shown;
use crate::compose::House;
use crate::terminal::{clock, counted, duration, escaped};
use crate::when::utc_text;

/// The moments, one block each, and what was searched.
pub(super) fn answer(asked_for: &str, answer: &Answer, shown: &[Shown], house: &House) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(&escaped(line));
        text.push('\n');
    };
    if answer.searched.sources == 0 && answer.searched.without_utc == 0 {
        line(&format!("nothing is indexed in {}", house.settings.data_dir.display()));
        line("index some footage first: footage index PATH");
        return text;
    }
    if answer.searched.indexed_ns + answer.searched.gated_ns == 0 {
        line(&searched(&answer.searched));
        return text;
    }
    let is_match = |shown: &&Shown| shown.found.is_match != Some(false);
    let (matches, others): (Vec<_>, Vec<_>) = shown.iter().partition(is_match);
    if answer.is_no_match() {
        line(&no_match(asked_for, answer, !others.is_empty()));
    } else if !answer.is_calibrated {
        let note = "nearest first; no confidence: this model is not calibrated for such a query";
        line(&format!("{asked_for}: {note}"));
    }
    let columns = Columns::of(shown);
    for (at, shown) in matches.iter().enumerate() {
        moment(at + 1, shown, &columns, &mut line);
    }
    if !others.is_empty() {
        line("nearest, but no match:");
        for (at, shown) in others.iter().enumerate() {
            moment(matches.len() + at + 1, shown, &columns, &mut line);
        }
    }
    line(&searched(&answer.searched));
    text
}

fn no_match(asked_for: &str, answer: &Answer, are_others_shown: bool) -> String {
    let near = answer.nearest.and_then(|nearest| nearest.confidence);
    let near = near.map(|p| format!(" (the nearest clip: {} confidence)", percent(p)));
    let hint = if answer.nearest.is_none() || are_others_shown {
        ""
    } else {
        "; --all shows the nearest all the same"
    };
    format!("no match for {asked_for}{}{hint}", near.unwrap_or_default())
}

/// Widths of what stands in columns.
struct Columns {
    name: usize,
    span: usize,
}

impl Columns {
    fn of(shown: &[Shown]) -> Self {
        let widest = |width: fn(&Shown) -> usize| shown.iter().map(width).max().unwrap_or(0);
        Self {
            name: widest(|shown| escaped(&shown.found.name).chars().count()),
            span: widest(|shown| span(shown).chars().count()),
        }
    }
}

fn moment(rank: usize, shown: &Shown, columns: &Columns, line: &mut impl FnMut(&str)) {
    let found = &shown.found;
    let confidence = found.confidence.map_or(String::new(), |p| format!("  {:>4}", percent(p)));
    line(&format!(
        "{rank:>2}  {:name$}  {:>span$}{confidence}  score {:.3}",
        escaped(&found.name),
        span(shown),
        found.moment.score,
        name = columns.name,
        span = columns.span,
    ));
    // When a file was last written tells little about when it was filmed: not worth a line.
    if let Some(start) = found.moment.span.utc.filter(|start| start.clock == Clock::Container) {
        line(&format!("      filmed {}", utc_text(start.unix_ns.div_euclid(1000))));
    }
    if let Some(caption) = &found.moment.caption {
        line(&format!("      {caption}"));
    }
    if let Some(path) = &shown.thumbnail {
        line(&format!("      {}", path.display()));
    }
    if let Some(play) = &shown.play {
        line(&format!("      {}", play.ffplay));
    }
}

/// `00:12-00:18`; the end is rounded up, so that the stretch shown holds all of it.
fn span(shown: &Shown) -> String {
    let span = shown.found.moment.span;
    let second = footage_clip::NANOS_PER_SECOND;
    format!("{}-{}", clock(span.start_ns / second), clock(span.end_ns.div_ceil(second)))
}

/// A probability in per cent: never 100 and never 0, which nobody can promise.
fn percent(p: f32) -> String {
    let percent = (p * 100.0).round();
    if percent >= 100.0 {
        ">99%".to_owned()
    } else if percent < 1.0 {
        "<1%".to_owned()
    } else {
        format!("{percent}%")
    }
}

/// One line on what was searched, so that "nothing found" and "nothing seen" differ.
fn searched(searched: &Searched) -> String {
    let sources = counted(searched.sources as u64, "source");
    let mut text = match searched.indexed_ns + searched.gated_ns {
        0 => format!("searched nothing: {sources}, none with footage where you asked"),
        ns => format!("searched {} of {sources}", duration(ns)),
    };
    let mut add = |what: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let written = write!(text, "; {what}");
        debug_assert!(written.is_ok());
    };
    if searched.gated_ns > 0 {
        add(format_args!("{} of it with nothing new to see", duration(searched.gated_ns)));
    }
    for (reason, ns) in &searched.lost_ns {
        add(format_args!("{} could not be searched ({reason})", duration(*ns)));
    }
    if searched.incomplete > 0 {
        let unseen = match searched.unseen_ns {
            0 => String::new(),
            ns => format!(", {} of them not seen yet", duration(ns)),
        };
        let sources = counted(searched.incomplete as u64, "source");
        add(format_args!("{sources} not indexed to the end{unseen}"));
    }
    if searched.without_utc > 0 {
        let sources = counted(searched.without_utc as u64, "source");
        add(format_args!("{sources} left out, being without a date"));
    }
    text
}

#[cfg(test)]
mod tests {
    use footage_clip::LostReason;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn nothing_found_and_nothing_seen_read_differently() {
        let seen = Searched { sources: 2, indexed_ns: 60 * S, ..Searched::default() };
        assert_eq!(searched(&seen), "searched 1 min of 2 sources");
        let unseen = Searched {
            sources: 1,
            incomplete: 1,
            indexed_ns: 10 * S,
            gated_ns: 5 * S,
            lost_ns: [(LostReason::DecodeError, 3 * S)].into(),
            unseen_ns: 40 * S,
            without_utc: 2,
        };
        assert_eq!(
            searched(&unseen),
            "searched 15 s of 1 source; 5 s of it with nothing new to see; 3 s could not be \
             searched (decode error); 1 source not indexed to the end, 40 s of them not seen yet; \
             2 sources left out, being without a date"
        );
    }

    #[test]
    fn asking_where_there_is_no_footage_is_said_to_search_nothing() {
        let nowhere = Searched { sources: 2, ..Searched::default() };
        assert_eq!(
            searched(&nowhere),
            "searched nothing: 2 sources, none with footage where you asked"
        );
    }

    #[test]
    fn nothing_is_certain() {
        assert_eq!(percent(1.0), ">99%");
        assert_eq!(percent(0.0), "<1%");
        assert_eq!(percent(0.873), "87%");
    }
}
