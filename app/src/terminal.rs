//! Text for a person's terminal, whatever a file's name holds.

use std::fmt::Write as _;
use std::io::{Write as _, stderr};

/// `text` with everything that would steer a terminal, or turn the direction of writing, written
/// out as `\u{..}`.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        let steers = c.is_control()
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}');
        if steers {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    safe
}

/// A line for whoever looks at stderr; where nobody reads it, it is lost, and nothing else.
pub(crate) fn tell(line: &str) {
    drop(writeln!(stderr(), "{}", escaped(&masked(line))));
}

/// Names of values in an address that let somebody in.
const SECRETS: [&str; 8] =
    ["token", "key", "apikey", "api_key", "secret", "password", "signature", "sig"];

/// `text` without what lets somebody in: users and passwords in addresses, and the values of their
/// parameters that are called so.
pub(crate) fn masked(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        safe.push_str(before);
        safe.push_str("://");
        let end = after.find(|c: char| c.is_whitespace() || "\"'`<>".contains(c));
        let (address, others) = after.split_at(end.unwrap_or(after.len()));
        mask_address(address, &mut safe);
        rest = others;
    }
    safe.push_str(rest);
    safe
}

fn mask_address(address: &str, safe: &mut String) {
    let (place, parameters) = match address.split_once('?') {
        Some((place, parameters)) => (place, Some(parameters)),
        None => (address, None),
    };
    let authority = place.split(['/', '#']).next().unwrap_or(place);
    match authority.rsplit_once('@') {
        Some((credentials, _)) => {
            safe.push_str("***");
            safe.push_str(&place[credentials.len()..]);
        }
        None => safe.push_str(place),
    }
    let mut mark = '?';
    for parameter in parameters.into_iter().flat_map(|all| all.split('&')) {
        safe.push(mark);
        mark = '&';
        match parameter.split_once('=') {
            Some((name, _)) if SECRETS.contains(&name.to_ascii_lowercase().as_str()) => {
                safe.push_str(name);
                safe.push_str("=***");
            }
            _ => safe.push_str(parameter),
        }
    }
}

/// Media time as `mm:ss`, or `h:mm:ss` from an hour on.
pub(crate) fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes:02}:{seconds:02}")
    }
}

/// A length of time as people say it: `42 s`, `3 min 20 s`, `2 h 5 min`.
pub(crate) fn duration(ns: u64) -> String {
    let seconds = (ns as f64 / 1e9).round() as u64;
    match seconds {
        0 if ns > 0 => "under 1 s".to_owned(),
        0..60 => format!("{seconds} s"),
        60..3600 => joined(seconds / 60, "min", seconds % 60, "s"),
        _ => joined(seconds / 3600, "h", seconds / 60 % 60, "min"),
    }
}

/// A length of time that is only guessed: `42 s`, `3 min`, `2 h 5 min`.
pub(crate) fn roughly(ns: u64) -> String {
    const MINUTE: u64 = 60_000_000_000;
    if ns < MINUTE { duration(ns) } else { duration(ns.div_ceil(MINUTE) * MINUTE) }
}

fn joined(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    let mut text = format!("{large} {large_unit}");
    if small > 0 {
        // Writing to a string cannot fail.
        let written = write!(text, " {small} {small_unit}");
        debug_assert!(written.is_ok());
    }
    text
}

/// `1 clip`, `2 clips`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lets_somebody_in_is_masked() {
        assert_eq!(masked("rtsp://me:p@ss@cam/live?x=1"), "rtsp://***@cam/live?x=1");
        assert_eq!(masked("https://host/a@b"), "https://host/a@b");
        assert_eq!(masked("/plain/path"), "/plain/path");
        assert_eq!(
            masked("cannot read `s3://k:p@b/x`, nor http://h/y?a=1&Token=abc&b"),
            "cannot read `s3://***@b/x`, nor http://h/y?a=1&Token=***&b"
        );
    }

    #[test]
    fn a_file_name_cannot_steer_the_terminal() {
        assert_eq!(escaped("a\u{1b}[2Jb\r\n\u{9b}c"), r"a\u{1b}[2Jb\u{d}\u{a}\u{9b}c");
        assert_eq!(escaped("gpj.\u{202e}exe"), r"gpj.\u{202e}exe");
        assert_eq!(escaped("Straße ünd 犬.mp4"), "Straße ünd 犬.mp4");
    }

    #[test]
    fn times_read_as_people_say_them() {
        assert_eq!(clock(61), "01:01");
        assert_eq!(clock(3725), "1:02:05");
        assert_eq!(duration(42_000_000_000), "42 s");
        assert_eq!(duration(200_000_000_000), "3 min 20 s");
        assert_eq!(duration(7_500_000_000_000), "2 h 5 min");
        assert_eq!(duration(1), "under 1 s");
        assert_eq!(roughly(42_000_000_000), "42 s");
        assert_eq!(roughly(200_000_000_000), "4 min");
        assert_eq!(counted(1, "clip"), "1 clip");
        assert_eq!(counted(0, "clip"), "0 clips");
    }
}
