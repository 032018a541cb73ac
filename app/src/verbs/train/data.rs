//! Which clips are learned from: a CSV of videos and captions.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::NANOS_PER_SECOND;

/// What the CSV in a folder of videos is called.
pub(super) const CAPTIONS_FILE: &str = "captions.csv";

/// A clip and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Line of the CSV, from 1.
    pub line: u64,
    pub path: PathBuf,
    /// May be empty: then the row is of no use, and whoever reads it says so.
    pub caption: String,
    pub from_ns: u64,
    /// The end of time where it is the file's end.
    pub to_ns: u64,
}

/// Reads `path,caption[,from,to]`, with a header that names the columns in any order; times are
/// seconds. Relative paths lie beside the CSV. A folder stands for the `captions.csv` in it.
pub(super) fn read(data: &Path) -> Result<Vec<Row>> {
    let file = if data.is_dir() { data.join(CAPTIONS_FILE) } else { data.to_owned() };
    let bytes = fs_err::read(&file)?;
    let beside = file.parent().unwrap_or(Path::new("."));
    parse(&bytes, beside).with_context(|| format!("cannot use {}", file.display()))
}

fn parse(bytes: &[u8], beside: &Path) -> Result<Vec<Row>> {
    // Spreadsheets begin their exports with a byte order mark.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
    let header = reader.headers()?.clone();
    let column = |name: &str| header.iter().position(|field| field.eq_ignore_ascii_case(name));
    let (Some(path), Some(caption)) = (column("path"), column("caption")) else {
        bail!("its first line must name the columns `path,caption`, and may name `from,to`");
    };
    let (from, to) = (column("from"), column("to"));
    let mut rows = Vec::new();
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let time = |column: Option<usize>, absent: u64| -> Result<u64> {
            let text = column.and_then(|column| record.get(column)).unwrap_or_default();
            if text.is_empty() {
                return Ok(absent);
            }
            let seconds: f64 =
                text.parse().ok().filter(|s| (0.0..=1e9).contains(s)).with_context(|| {
                    format!("line {line}: \"{text}\" is no time: give seconds, such as 12.5")
                })?;
            Ok((seconds * NANOS_PER_SECOND as f64) as u64)
        };
        let (from_ns, to_ns) = (time(from, 0)?, time(to, u64::MAX)?);
        ensure!(from_ns < to_ns, "line {line}: the clip ends before it begins");
        rows.push(Row {
            line,
            path: beside.join(record.get(path).unwrap_or_default()),
            caption: record.get(caption).unwrap_or_default().to_owned(),
            from_ns,
            to_ns,
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Row>> {
        parse(text.as_bytes(), Path::new("/videos"))
    }

    #[test]
    fn columns_are_found_by_name_and_times_may_be_left_out() {
        let rows = parsed(
            "\u{feff}Caption,path,to,from\n\"a dog, running\",a.mp4,2.5,1\na cat,/b/c.mkv,,\n",
        )
        .unwrap();
        let first = Row {
            line: 2,
            path: "/videos/a.mp4".into(),
            caption: "a dog, running".to_owned(),
            from_ns: 1_000_000_000,
            to_ns: 2_500_000_000,
        };
        assert_eq!(rows[0], first);
        assert_eq!((rows[1].path.as_path(), rows[1].from_ns), (Path::new("/b/c.mkv"), 0));
        assert_eq!(rows[1].to_ns, u64::MAX);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_line() {
        let refused = |text: &str| format!("{:#}", parsed(text).unwrap_err());
        assert!(refused("video,text\na,b\n").contains("path,caption"));
        let error = refused("path,caption,from,to\na.mp4,x,0,1\nb.mp4,y,soon,2\n");
        assert!(error.contains("line 3") && error.contains("soon"), "{error}");
        assert!(refused("path,caption,from,to\na.mp4,x,3,2\n").contains("line 2"));
        assert!(refused("path,caption\na.mp4,x,y,z\n").contains("fields"));
    }
}
