//! How to see a moment again.

use std::fmt::Write as _;

use footage_clip::{NANOS_PER_SECOND, Span};

/// Ways to play a stretch of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Play {
    /// A shell command, for who has ffmpeg.
    pub ffplay: String,
    /// A shell command, for who has mpv.
    pub mpv: String,
    /// A link with a media fragment (W3C Media Fragments URI 1.0), for a browser.
    pub uri: String,
}

impl Play {
    /// Plays `span` of the file at `path`, which is absolute.
    pub fn new(path: &str, span: &Span) -> Self {
        let (from, to) = (seconds(span.start_ns), seconds(span.end_ns));
        let length = seconds(span.duration_ns());
        let quoted = shell_quoted(path);
        Self {
            ffplay: format!("ffplay -autoexit -ss {from} -t {length} {quoted}"),
            mpv: format!("mpv --start={from} --end={to} {quoted}"),
            uri: format!("file://{}#t={from},{to}", percent_encoded(path)),
        }
    }
}

/// Seconds with at most three decimals, none where they are zero.
fn seconds(ns: u64) -> String {
    let millis = (u128::from(ns) * 1000).div_ceil(u128::from(NANOS_PER_SECOND));
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// One word of a POSIX shell command, whatever the path holds. Control characters, which no
/// terminal may be given, are written as bash's `$'..'` does.
fn shell_quoted(path: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,:@%=".contains(c);
    if !path.is_empty() && path.chars().all(plain) {
        return path.to_owned();
    }
    if !path.chars().any(char::is_control) {
        return format!("'{}'", path.replace('\'', r"'\''"));
    }
    let mut word = String::from("$'");
    for c in path.chars() {
        match c {
            '\'' | '\\' => word.extend(['\\', c]),
            _ if c.is_control() => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    // Three octal digits: bash reads no more, so what follows stays what it is.
                    write_to(&mut word, format_args!("\\{byte:03o}"));
                }
            }
            _ => word.push(c),
        }
    }
    word.push('\'');
    word
}

fn percent_encoded(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            write_to(&mut uri, format_args!("%{byte:02X}"));
        }
    }
    uri
}

fn write_to(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let written = text.write_fmt(what);
    debug_assert!(written.is_ok());
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = NANOS_PER_SECOND;

    #[test]
    fn a_plain_path_is_played_as_it_is() {
        let play = Play::new("/films/dog.mp4", &Span::new(90 * S, 94 * S + S / 2));

        assert_eq!(play.ffplay, "ffplay -autoexit -ss 90 -t 4.5 /films/dog.mp4");
        assert_eq!(play.mpv, "mpv --start=90 --end=94.5 /films/dog.mp4");
        assert_eq!(play.uri, "file:///films/dog.mp4#t=90,94.5");
    }

    #[test]
    fn a_path_with_quotes_and_spaces_is_one_word_to_the_shell() {
        let path = "/films/it's $(here); `x` \"y\".mp4";
        let play = Play::new(path, &Span::new(0, S));

        assert_eq!(words(&play.ffplay).last().map(String::as_str), Some(path));
        assert_eq!(words(&play.mpv).last().map(String::as_str), Some(path));
        assert!(play.uri.starts_with("file:///films/it%27s%20%24%28here%29%3B"), "{}", play.uri);
    }

    #[test]
    fn control_characters_of_a_path_never_reach_the_terminal() {
        let path = "/films/\u{1b}[2Jx\u{9b}31m\n1.mp4";
        let play = Play::new(path, &Span::new(0, S));

        assert!(!format!("{play:?}").contains('\u{1b}'));
        assert!(!play.ffplay.chars().chain(play.uri.chars()).any(char::is_control));
        assert_eq!(words(&play.ffplay).last().map(String::as_str), Some(path));
    }

    /// The words as bash reads them.
    fn words(command: &str) -> Vec<String> {
        let script = format!("printf '%s\\0' {command}");
        let output = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    }
}
