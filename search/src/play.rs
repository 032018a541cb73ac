//! How to see a moment again.

use std::fmt::Write as _;
use std::path::Path;

use footage_clip::{FragmentName, MediaRef, NANOS_PER_SECOND, Span};

/// Ways to play a stretch of footage.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Play {
    /// A shell command, for who has ffmpeg.
    pub ffplay: String,
    /// A shell command, for who has mpv.
    pub mpv: String,
    /// A link with a media fragment (W3C Media Fragments URI 1.0), for a browser. Of a recorded camera
    /// it plays no further than the first file.
    pub uri: String,
}

/// What is to be played of one file, in the file's own time.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    path: String,
    from_ns: u64,
    /// None to its end.
    to_ns: Option<u64>,
}

impl Play {
    /// Plays `span`, which begins in `media`. Of a recorded camera, the files are named into which it
    /// runs on.
    pub fn of(media: &MediaRef, span: &Span) -> Self {
        let parts = parts(media, span);
        let ffplay: Vec<_> = parts.iter().map(Part::ffplay).collect();
        let mpv = match &parts[..] {
            [only] => only.mpv(),
            // Options between braces are for the file between them.
            parts => parts
                .iter()
                .map(|part| format!("--{{ {} --}}", part.mpv()))
                .collect::<Vec<_>>()
                .join(" "),
        };
        Self {
            ffplay: ffplay.join(" && "),
            mpv: format!("mpv {mpv}"),
            uri: parts.first().map(Part::uri).unwrap_or_default(),
        }
    }
}

impl Part {
    fn ffplay(&self) -> String {
        let mut command = String::from("ffplay -autoexit");
        if self.is_from_within() {
            write_to(&mut command, format_args!(" -ss {}", seconds(self.from_ns)));
        }
        if let Some(to_ns) = self.to_ns {
            let length = seconds(to_ns.saturating_sub(self.from_ns));
            write_to(&mut command, format_args!(" -t {length}"));
        }
        command + " " + &shell_quoted(&self.path)
    }

    fn mpv(&self) -> String {
        let mut words = String::new();
        if self.is_from_within() {
            write_to(&mut words, format_args!("--start={} ", seconds(self.from_ns)));
        }
        if let Some(to_ns) = self.to_ns {
            write_to(&mut words, format_args!("--end={} ", seconds(to_ns)));
        }
        words + &shell_quoted(&self.path)
    }

    fn uri(&self) -> String {
        let to = self.to_ns.map(|to_ns| format!(",{}", seconds(to_ns))).unwrap_or_default();
        format!("file://{}#t={}{to}", percent_encoded(&self.path), seconds(self.from_ns))
    }

    /// A file that is played from its begin needs no word for it, unless its end is named too.
    fn is_from_within(&self) -> bool {
        self.from_ns > 0 || self.to_ns.is_some()
    }
}

/// The files in which `span` lies, oldest first.
fn parts(media: &MediaRef, span: &Span) -> Vec<Part> {
    let mut files = vec![(media.path.clone(), media.begins_ns)];
    if media.begins_ns > 0 {
        files.extend(fragments_after(media, span.end_ns));
    }
    let last = files.len() - 1;
    files
        .into_iter()
        .enumerate()
        .map(|(at, (path, begins_ns))| Part {
            path,
            from_ns: span.start_ns.saturating_sub(begins_ns),
            to_ns: (at == last).then(|| span.end_ns.saturating_sub(begins_ns)),
        })
        .collect()
}

/// The camera's fragments that begin after `media` and before `end_ns`, oldest first. They lie in the
/// same folder; where that cannot be read, there is nothing to play either.
fn fragments_after(media: &MediaRef, end_ns: u64) -> Vec<(String, u64)> {
    let Some(entries) = Path::new(&media.path).parent().and_then(|dir| dir.read_dir().ok()) else {
        return Vec::new();
    };
    let mut fragments: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|entry| {
            let name: FragmentName = entry.file_name().to_str()?.parse().ok()?;
            let is_next = media.begins_ns < name.begins_ns && name.begins_ns < end_ns;
            is_next.then(|| (entry.path().to_string_lossy().into_owned(), name.begins_ns))
        })
        .collect();
    fragments.sort_by_key(|(_, begins_ns)| *begins_ns);
    fragments
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

    fn film(path: &str, span: &Span) -> Play {
        Play::of(&MediaRef::file(path), span)
    }

    #[test]
    fn a_film_is_played_from_its_begin_too() {
        let play = film("/films/dog.mp4", &Span::new(0, 4 * S));
        assert_eq!(play.ffplay, "ffplay -autoexit -ss 0 -t 4 /films/dog.mp4");
        assert_eq!(play.uri, "file:///films/dog.mp4#t=0,4");
    }

    /// A camera's folder, with fragments that begin at these seconds after the first.
    fn recorded(seconds: &[u64]) -> (tempfile::TempDir, u64, MediaRef) {
        let origin_ns = 1_700_000_000 * S;
        let dir = tempfile::tempdir().unwrap();
        for at in seconds {
            fs_err::write(dir.path().join(format!("{}.mp4", origin_ns + at * S)), "x").unwrap();
        }
        let path = dir.path().join(format!("{origin_ns}.mp4"));
        let media = MediaRef { path: path.to_string_lossy().into_owned(), begins_ns: origin_ns };
        (dir, origin_ns, media)
    }

    #[test]
    fn a_moment_of_a_camera_is_played_from_its_place_in_the_fragment() {
        let (dir, origin_ns, media) = recorded(&[0, 60]);
        let play = Play::of(&media, &Span::new(origin_ns + 20 * S, origin_ns + 24 * S));
        let path = format!("{}/{origin_ns}.mp4", dir.path().display());
        assert_eq!(play.ffplay, format!("ffplay -autoexit -ss 20 -t 4 {path}"));
        assert_eq!(play.mpv, format!("mpv --start=20 --end=24 {path}"));
        assert_eq!(play.uri, format!("file://{path}#t=20,24"));
        let before = Play::of(&media, &Span::new(origin_ns - S, origin_ns + S));
        assert_eq!(before.mpv, format!("mpv --start=0 --end=1 {path}"), "a slot begins earlier");
    }

    #[test]
    fn a_moment_that_runs_on_is_played_from_all_its_fragments_in_order() {
        let (dir, origin_ns, media) = recorded(&[0, 60, 90, 120]);
        fs_err::write(dir.path().join("notes.txt"), "not footage").unwrap();
        let play = Play::of(&media, &Span::new(origin_ns + 55 * S, origin_ns + 93 * S));
        let path = |at: u64| format!("{}/{}.mp4", dir.path().display(), origin_ns + at * S);
        let (first, second, third) = (path(0), path(60), path(90));
        assert_eq!(
            play.ffplay,
            format!(
                "ffplay -autoexit -ss 55 {first} && ffplay -autoexit {second} && \
                 ffplay -autoexit -ss 0 -t 3 {third}"
            )
        );
        assert_eq!(
            play.mpv,
            format!(
                "mpv --{{ --start=55 {first} --}} --{{ {second} --}} --{{ --start=0 --end=3 {third} --}}"
            )
        );
        assert_eq!(words(&play.mpv).len(), 13, "braces mean nothing to the shell");
        assert_eq!(play.uri, format!("file://{first}#t=55"));
    }

    #[test]
    fn a_plain_path_is_played_as_it_is() {
        let play = film("/films/dog.mp4", &Span::new(90 * S, 94 * S + S / 2));

        assert_eq!(play.ffplay, "ffplay -autoexit -ss 90 -t 4.5 /films/dog.mp4");
        assert_eq!(play.mpv, "mpv --start=90 --end=94.5 /films/dog.mp4");
        assert_eq!(play.uri, "file:///films/dog.mp4#t=90,94.5");
    }

    #[test]
    fn a_path_with_quotes_and_spaces_is_one_word_to_the_shell() {
        let path = "/films/it's $(here); `x` \"y\".mp4";
        let play = film(path, &Span::new(0, S));

        assert_eq!(words(&play.ffplay).last().map(String::as_str), Some(path));
        assert_eq!(words(&play.mpv).last().map(String::as_str), Some(path));
        assert!(play.uri.starts_with("file:///films/it%27s%20%24%28here%29%3B"), "{}", play.uri);
    }

    #[test]
    fn control_characters_of_a_path_never_reach_the_terminal() {
        let path = "/films/\u{1b}[2Jx\u{9b}31m\n1.mp4";
        let play = film(path, &Span::new(0, S));

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
