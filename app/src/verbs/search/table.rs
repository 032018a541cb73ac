//! An answer for people.

use std::fmt::Write as _;
use std::path::Path;

use footage_clip::{Clock, SourceKind};

use crate::requests::found::{AskedFor, MomentFound, Route, SearchReply, TimeSearched, UtcFound};
use crate::terminal::{clock, counted, duration, escaped};

/// The moments, one block each, and what was searched.
pub(super) fn answer(reply: &SearchReply, data_dir: &Path) -> String {
    let mut text = String::new();
    let mut line = |line: &str| {
        text.push_str(&escaped(line));
        text.push('\n');
    };
    let time = &reply.searched;
    if time.sources == 0 && time.without_utc == 0 {
        line(&format!("nothing is indexed in {}", data_dir.display()));
        line("index some footage first: footage index PATH");
        return text;
    }
    if time.indexed_s + time.gated_s == 0.0 {
        line(&searched(time));
        return text;
    }
    let is_match = |found: &&MomentFound| found.is_match != Some(false);
    let (matches, others): (Vec<_>, Vec<_>) = reply.moments.iter().partition(is_match);
    let asked_for = asked_for(&reply.query);
    if reply.is_no_match() {
        line(&no_match(&asked_for, reply, !others.is_empty()));
    } else if !reply.is_calibrated {
        let note = "nearest first; no confidence: this model is not calibrated for such a query";
        line(&format!("{asked_for}: {note}"));
    }
    let columns = Columns::of(&reply.moments);
    for (at, found) in matches.iter().enumerate() {
        moment(at + 1, found, &columns, &mut line);
    }
    if !others.is_empty() {
        line("nearest, but no match:");
        for (at, found) in others.iter().enumerate() {
            moment(matches.len() + at + 1, found, &columns, &mut line);
        }
    }
    line(&searched(time));
    text
}

/// The query as people call it.
fn asked_for(query: &AskedFor) -> String {
    match query {
        AskedFor::Text(sentence) => format!("\"{sentence}\""),
        AskedFor::Image(name) => format!("the picture {name}"),
        AskedFor::Clip(clip) => format!("clip {clip}"),
    }
}

fn no_match(asked_for: &str, reply: &SearchReply, are_others_shown: bool) -> String {
    let near = reply.nearest.and_then(|nearest| nearest.confidence);
    let near = near.map(|p| format!(" (the nearest clip: {} confidence)", percent(p)));
    let hint = if reply.nearest.is_none() || are_others_shown {
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
    fn of(moments: &[MomentFound]) -> Self {
        let widest =
            |width: fn(&MomentFound) -> usize| moments.iter().map(width).max().unwrap_or(0);
        Self {
            name: widest(|found| escaped(&found.source).chars().count()),
            span: widest(|found| span(found).chars().count()),
        }
    }
}

fn moment(rank: usize, found: &MomentFound, columns: &Columns, line: &mut impl FnMut(&str)) {
    let confidence = found.confidence.map_or(String::new(), |p| format!("  {:>4}", percent(p)));
    line(&format!(
        "{rank:>2}  {:name$}  {:>span$}{confidence}  score {:.3}{}",
        escaped(&found.source),
        span(found),
        found.score,
        by_caption(found),
        name = columns.name,
        span = columns.span,
    ));
    // When a file was last written tells little about when it was filmed: not worth a line.
    if let Some(utc) = found.utc.as_ref().filter(|utc| utc.clock == Clock::Container) {
        line(&format!("      filmed {}", utc.from));
    }
    if let Some(caption) = &found.caption {
        line(&format!("      \"{caption}\""));
    }
    if let Some(path) = &found.thumbnail {
        line(&format!("      {path}"));
    }
    if let Some(play) = &found.play {
        line(&format!("      {}", play.ffplay));
    }
}

/// What there is to say where not only its pictures led to it.
fn by_caption(found: &MomentFound) -> &'static str {
    match (found.found_by.contains(&Route::Video), found.found_by.contains(&Route::Caption)) {
        (true, true) => "  by video and caption",
        (false, true) => "  by caption",
        _ => "",
    }
}

/// Of a file, media time: `00:12-00:18`, the end rounded up, so that the stretch shown holds all of
/// it. Of a camera, date and time: `2026-05-01T14:30:12Z to 14:30:18Z`.
fn span(found: &MomentFound) -> String {
    match (&found.utc, found.kind) {
        (Some(UtcFound { from, to: Some(to), .. }), SourceKind::Camera) => {
            let is_one_day = from.split('T').next() == to.split('T').next();
            let end = if is_one_day { to.split('T').next_back().unwrap_or(to) } else { to };
            format!("{from} to {end}")
        }
        _ => format!("{}-{}", clock(found.from_s as u64), clock(found.to_s.ceil() as u64)),
    }
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
fn searched(time: &TimeSearched) -> String {
    let ns = |seconds: f64| (seconds * 1e9) as u64;
    let sources = counted(time.sources as u64, "source");
    let mut text = match ns(time.indexed_s + time.gated_s) {
        0 => format!("searched nothing: {sources}, none with footage where you asked"),
        ns => format!("searched {} of {sources}", duration(ns)),
    };
    let mut add = |what: std::fmt::Arguments<'_>| {
        // Writing to a string cannot fail.
        let written = write!(text, "; {what}");
        debug_assert!(written.is_ok());
    };
    if time.gated_s > 0.0 {
        add(format_args!("{} of it with nothing new to see", duration(ns(time.gated_s))));
    }
    for (reason, lost_s) in &time.lost_s {
        add(format_args!("{} could not be searched ({reason})", duration(ns(*lost_s))));
    }
    if time.incomplete > 0 {
        let unseen = match ns(time.unseen_s) {
            0 => String::new(),
            ns => format!(", {} of them not seen yet", duration(ns)),
        };
        let sources = counted(time.incomplete as u64, "source");
        add(format_args!("{sources} not indexed to the end{unseen}"));
    }
    if time.without_utc > 0 {
        let sources = counted(time.without_utc as u64, "source");
        add(format_args!("{sources} left out, being without a date"));
    }
    text
}

#[cfg(test)]
mod tests {
    use footage_clip::LostReason;

    use super::*;

    #[test]
    fn nothing_found_and_nothing_seen_read_differently() {
        let seen = TimeSearched { sources: 2, indexed_s: 60.0, ..TimeSearched::default() };
        assert_eq!(searched(&seen), "searched 1 min of 2 sources");
        let unseen = TimeSearched {
            sources: 1,
            incomplete: 1,
            indexed_s: 10.0,
            gated_s: 5.0,
            lost_s: [(LostReason::DecodeError, 3.0)].into(),
            unseen_s: 40.0,
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
        let nowhere = TimeSearched { sources: 2, ..TimeSearched::default() };
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
