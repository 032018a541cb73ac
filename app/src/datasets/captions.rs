//! Data sets of videos and sentences.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::NANOS_PER_SECOND;
use serde::Deserialize;
use serde_json::Value;

use super::{Row, lines};

/// A table whose first line names its columns, in any order.
pub(super) struct Table<'a> {
    reader: csv::Reader<&'a [u8]>,
    header: csv::StringRecord,
}

impl<'a> Table<'a> {
    pub(super) fn of(text: &'a str) -> Result<Self> {
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
        let header = reader.headers()?.clone();
        Ok(Self { reader, header })
    }

    pub(super) fn column(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|field| field.eq_ignore_ascii_case(name))
    }

    pub(super) fn columns<const N: usize>(&self, names: [&str; N]) -> Result<[usize; N]> {
        let mut found = [0; N];
        for (at, name) in found.iter_mut().zip(names) {
            let column = self.column(name);
            *at = column.with_context(|| {
                format!("its first line must name the columns `{}`", names.join(","))
            })?;
        }
        Ok(found)
    }

    /// The rows with their line numbers.
    pub(super) fn rows(&mut self) -> impl Iterator<Item = Result<(u64, csv::StringRecord)>> {
        self.reader.records().map(|record| {
            let record = record?;
            Ok((record.position().map_or(0, csv::Position::line), record))
        })
    }
}

/// `path,caption[,from,to]`; times are seconds.
pub(super) fn captions(text: &str) -> Result<Vec<Row>> {
    let mut table = Table::of(text)?;
    let (Some(path), Some(caption)) = (table.column("path"), table.column("caption")) else {
        bail!("its first line must name the columns `path,caption`, and may name `from,to`");
    };
    let span = [table.column("from"), table.column("to")];
    let mut rows = Vec::new();
    for row in table.rows() {
        let (line, record) = row?;
        let (from_ns, to_ns) = stretch(line, &record, span)?;
        rows.push(Row { from_ns, to_ns, ..Row::whole(line, &record[path], &record[caption]) });
    }
    Ok(rows)
}

/// Begin and end by their columns; what is not stated is the file's.
pub(super) fn stretch(
    line: u64,
    record: &csv::StringRecord,
    [from, to]: [Option<usize>; 2],
) -> Result<(u64, u64)> {
    let time = |column: Option<usize>, absent: u64| -> Result<u64> {
        let text = column.and_then(|column| record.get(column)).unwrap_or_default();
        if text.is_empty() { Ok(absent) } else { nanos(line, text) }
    };
    let (from_ns, to_ns) = (time(from, 0)?, time(to, u64::MAX)?);
    ensure!(from_ns < to_ns, "line {line}: the clip ends before it begins");
    Ok((from_ns, to_ns))
}

/// Seconds.
fn nanos(line: u64, text: &str) -> Result<u64> {
    let seconds: f64 =
        text.parse().ok().filter(|s| (0.0..=1e9).contains(s)).with_context(|| {
            format!("line {line}: \"{text}\" is no time: give seconds, such as 12.5")
        })?;
    Ok((seconds * NANOS_PER_SECOND as f64) as u64)
}

/// WebVid's `videoid,contentUrl,duration,page_dir,name`: files are `page_dir/videoid.mp4`.
pub(super) fn webvid(text: &str) -> Result<Vec<Row>> {
    let mut table = Table::of(text)?;
    let [id, name] = table.columns(["videoid", "name"])?;
    let page = table.column("page_dir");
    table
        .rows()
        .map(|row| {
            let (line, record) = row?;
            let page = page.and_then(|page| record.get(page)).filter(|page| !page.is_empty());
            let id = &record[id];
            let video = page.map_or_else(|| id.to_owned(), |page| format!("{page}/{id}"));
            Ok(Row::whole(line, video, &record[name]))
        })
        .collect()
}

/// MSR-VTT: the table of the 1k-A test set, or a `videodatainfo.json` with twenty sentences for each
/// video.
pub(super) fn msrvtt(text: &str) -> Result<Vec<Row>> {
    #[derive(Deserialize)]
    struct Info {
        sentences: Vec<Sentence>,
    }
    #[derive(Deserialize)]
    struct Sentence {
        video_id: String,
        caption: String,
    }
    if text.trim_start().starts_with('{') {
        let info: Info = serde_json::from_str(text)?;
        let rows = info.sentences.into_iter().zip(1..);
        return Ok(rows.map(|(s, at)| Row::whole(at, s.video_id, s.caption)).collect());
    }
    let mut table = Table::of(text)?;
    let [video, sentence] = table.columns(["video_id", "sentence"])?;
    table
        .rows()
        .map(|row| {
            let (line, record) = row?;
            Ok(Row::whole(line, &record[video], &record[sentence]))
        })
        .collect()
}

/// DiDeMo: all descriptions of a video's moments, one after the other, as one paragraph about the
/// whole video.
pub(super) fn didemo(text: &str) -> Result<Vec<Row>> {
    #[derive(Deserialize)]
    struct Described {
        video: String,
        description: String,
    }
    let described: Vec<Described> = serde_json::from_str(text)?;
    let mut paragraphs: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    for (one, at) in described.into_iter().zip(1..) {
        let paragraph = paragraphs.entry(one.video).or_insert((at, Vec::new()));
        paragraph.1.push(one.description);
    }
    Ok(in_order(paragraphs))
}

/// ActivityNet Captions: all sentences of a video as one paragraph about the whole video.
pub(super) fn activitynet(text: &str) -> Result<Vec<Row>> {
    #[derive(Deserialize)]
    struct Described {
        sentences: Vec<String>,
    }
    let described: serde_json::Map<String, Value> = serde_json::from_str(text)?;
    let rows = described.into_iter().zip(1..).map(|((video, value), at)| {
        let Described { sentences } =
            serde_json::from_value(value).with_context(|| format!("entry {at}, {video}"))?;
        Ok((video, (at, sentences)))
    });
    Ok(in_order(rows.collect::<Result<_>>()?))
}

fn in_order(paragraphs: BTreeMap<String, (u64, Vec<String>)>) -> Vec<Row> {
    let paragraph = |sentences: Vec<String>| {
        let trimmed = sentences.iter().map(|sentence| sentence.trim());
        trimmed.filter(|sentence| !sentence.is_empty()).collect::<Vec<_>>().join(" ")
    };
    let mut rows: Vec<Row> = paragraphs
        .into_iter()
        .map(|(video, (at, sentences))| Row::whole(at, video, paragraph(sentences)))
        .collect();
    rows.sort_by_key(|row| row.line);
    rows
}

/// LSMDC's lists: fields divided by tabs, the clip's name first and its sentence last. A clip
/// `1014_2012_00.00.51.926-00.00.54.129` lies anywhere in the folder of videos.
pub(super) fn lsmdc(text: &str) -> Result<Vec<Row>> {
    lines(text)
        .map(|(line, text)| {
            let (clip, rest) = text.split_once('\t').with_context(|| {
                format!("line {line}: wanted fields divided by tabs: a clip, times, a sentence")
            })?;
            let sentence = rest.rsplit('\t').next().unwrap_or(rest);
            Ok(Row::whole(line, clip.trim(), sentence.trim()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_and_times_may_be_left_out() {
        let rows =
            captions("Caption,path,to,from\n\"a dog, running\",a.mp4,2.5,1\na cat,/b/c.mkv,,\n")
                .unwrap();
        let first = Row {
            from_ns: 1_000_000_000,
            to_ns: 2_500_000_000,
            ..Row::whole(2, "a.mp4", "a dog, running")
        };
        assert_eq!(rows, [first, Row::whole(3, "/b/c.mkv", "a cat")]);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_line() {
        let refused = |text: &str| format!("{:#}", captions(text).unwrap_err());
        assert!(refused("video,text\na,b\n").contains("path,caption"));
        let error = refused("path,caption,from,to\na.mp4,x,0,1\nb.mp4,y,soon,2\n");
        assert!(error.contains("line 3") && error.contains("soon"), "{error}");
        assert!(refused("path,caption,from,to\na.mp4,x,3,2\n").contains("line 2"));
        assert!(refused("path,caption\na.mp4,x,y,z\n").contains("fields"));
        assert!(webvid("id,text\n1,x\n").unwrap_err().to_string().contains("videoid,name"));
        assert!(msrvtt("key,video\n1,x\n").unwrap_err().to_string().contains("video_id,sentence"));
        assert!(lsmdc("no tabs").unwrap_err().to_string().contains("line 1"));
    }

    #[test]
    fn webvid_names_files_by_page_and_id() {
        let text = "videoid,contentUrl,duration,page_dir,name\n\
                    2054210,https://x/y.mp4,PT00H00M14S,014051_014100,\"River, at dawn\"\n";
        assert_eq!(
            webvid(text).unwrap(),
            [Row::whole(2, "014051_014100/2054210", "River, at dawn")]
        );
    }

    #[test]
    fn msrvtt_comes_as_a_table_and_as_json() {
        let table = "key,vid_key,video_id,sentence\nret0,msr9770,video9770,a person connects\n";
        assert_eq!(msrvtt(table).unwrap(), [Row::whole(2, "video9770", "a person connects")]);
        let json = r#"{"videos": [], "sentences": [
            {"caption": "a band", "video_id": "video1", "sen_id": 3},
            {"caption": "a club", "video_id": "video1", "sen_id": 4}]}"#;
        let rows = msrvtt(json).unwrap();
        assert_eq!(rows, [Row::whole(1, "video1", "a band"), Row::whole(2, "video1", "a club")]);
    }

    #[test]
    fn what_is_said_of_a_video_s_parts_becomes_one_paragraph() {
        let didemo_rows = didemo(
            r#"[{"video": "b.mov", "description": "first.", "times": [[0, 0]]},
                {"video": "a.mov", "description": "alone", "times": [[0, 1]]},
                {"video": "b.mov", "description": " second ", "times": [[1, 1]]}]"#,
        );
        assert_eq!(
            didemo_rows.unwrap(),
            [Row::whole(1, "b.mov", "first. second"), Row::whole(2, "a.mov", "alone")]
        );
        let rows = activitynet(
            r#"{"v_1": {"duration": 5.0, "timestamps": [[0, 1]], "sentences": ["One.", " Two."]}}"#,
        );
        assert_eq!(rows.unwrap(), [Row::whole(1, "v_1", "One. Two.")]);
    }

    #[test]
    fn lsmdc_has_the_clip_first_and_the_sentence_last() {
        let line = "1014_2012_00.00.51.926-00.00.54.129\t00.00.51.926\t00.00.54.129\t00.00.51\t\
                    00.00.54\tSOMEONE drives on.\n";
        assert_eq!(
            lsmdc(line).unwrap(),
            [Row::whole(1, "1014_2012_00.00.51.926-00.00.54.129", "SOMEONE drives on.")]
        );
    }
}
