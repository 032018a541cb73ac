//! Data sets of videos and classes.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::{Dataset, Row, lines, text_of};

/// Rows and their classes. A class that is not among `labels` is an error; without labels the classes
/// are those that occur, in alphabetical order.
fn dataset(rows: Vec<Row>, labels: Option<Vec<String>>) -> Result<Dataset> {
    let classes = labels.unwrap_or_else(|| {
        let mut classes: Vec<String> = rows.iter().map(|row| row.caption.clone()).collect();
        classes.sort();
        classes.dedup();
        classes
    });
    for row in &rows {
        let Row { line, caption, .. } = row;
        ensure!(classes.contains(caption), "line {line}: {caption} is none of the classes");
    }
    Ok(Dataset { rows, classes: Some(classes) })
}

/// Kinetics: the published table, whose files are called `ID_000012_000022`, or a list of paths and
/// numbers of classes.
pub(super) fn kinetics(text: &str, labels: Option<Vec<String>>) -> Result<Dataset> {
    let is_table = text.lines().next().is_some_and(|line| line.starts_with("label,"));
    let rows = if is_table { kinetics_table(text) } else { numbered(text, labels.as_deref()) };
    dataset(rows?, labels)
}

fn kinetics_table(text: &str) -> Result<Vec<Row>> {
    #[derive(serde::Deserialize)]
    struct Entry {
        label: String,
        youtube_id: String,
        time_start: f64,
        time_end: f64,
    }
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let mut rows = Vec::new();
    for (entry, line) in reader.deserialize().zip(2..) {
        let Entry { label, youtube_id, time_start, time_end } = entry?;
        let video = format!("{youtube_id}_{time_start:06.0}_{time_end:06.0}");
        rows.push(Row::whole(line, video, label));
    }
    Ok(rows)
}

/// `path class-number`, the classes counted from 0.
fn numbered(text: &str, labels: Option<&[String]>) -> Result<Vec<Row>> {
    let labels = labels.context("a list of class numbers needs their names: state --labels")?;
    lines(text)
        .map(|(line, text)| {
            let wanted = || format!("line {line}: wanted a path and a class's number");
            let (path, number) = text.rsplit_once(char::is_whitespace).with_context(wanted)?;
            let number: usize = number.parse().with_context(wanted)?;
            let label = labels.get(number).with_context(|| {
                format!("line {line}: there are {} classes, and no number {number}", labels.len())
            })?;
            Ok(Row::whole(line, path.trim(), label))
        })
        .collect()
}

/// HMDB-51's lists of one split: a class each, and its lines.
pub(super) fn hmdb51_lists(folder: &Path, split: u8) -> Result<Vec<(String, String)>> {
    let ending = format!("_test_split{split}.txt");
    let mut lists = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(class) = name.strip_suffix(&ending) {
            lists.push((class.to_owned(), text_of(&path)?));
        }
    }
    lists.sort();
    ensure!(!lists.is_empty(), "there is no list called CLASS{ending} in it");
    Ok(lists)
}

/// Of each class's list the videos with a 2, which are those to be tested with: `CLASS/video.avi`.
pub(super) fn hmdb51(lists: &[(String, String)], labels: Option<Vec<String>>) -> Result<Dataset> {
    let mut rows = Vec::new();
    for (class, list) in lists {
        for (line, text) in lines(list) {
            let (video, use_of) = text
                .rsplit_once(' ')
                .with_context(|| format!("{class}, line {line}: wanted a video and 0, 1 or 2"))?;
            if use_of == "2" {
                rows.push(Row::whole(line, format!("{class}/{}", video.trim()), class));
            }
        }
    }
    dataset(rows, labels)
}

/// `1 ApplyEyeMakeup`, counted from 1.
pub(super) fn ucf101_classes(text: &str) -> Result<Vec<String>> {
    let mut classes = Vec::new();
    for (line, text) in lines(text) {
        let (number, name) = text.split_once(' ').unwrap_or_default();
        ensure!(
            number.parse() == Ok(classes.len() + 1),
            "classInd.txt, line {line}: wanted the number {} and a name",
            classes.len() + 1
        );
        classes.push(name.trim().to_owned());
    }
    Ok(classes)
}

/// `ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi`, in lists for training with the class's number.
pub(super) fn ucf101(text: &str, classes: Vec<String>) -> Result<Dataset> {
    let rows = lines(text).map(|(line, text)| {
        let video = text.split_whitespace().next().unwrap_or(text);
        let class = video.split_once('/').with_context(|| {
            format!("line {line}: wanted a class and a video, as in Class/video.avi")
        })?;
        Ok(Row::whole(line, video, class.0))
    });
    dataset(rows.collect::<Result<_>>()?, Some(classes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(dataset: &Dataset) -> Vec<(&str, &str)> {
        dataset.rows.iter().map(|row| (row.video.as_str(), row.caption.as_str())).collect()
    }

    #[test]
    fn kinetics_comes_as_a_table_and_as_a_list() {
        let table = "label,youtube_id,time_start,time_end,split\n\
                     zumba,-a_b,12,22,test\nabseiling,xyz,101,111,test\n";
        let read = kinetics(table, None).unwrap();
        assert_eq!(
            named(&read),
            [("-a_b_000012_000022", "zumba"), ("xyz_000101_000111", "abseiling")]
        );
        assert_eq!(read.classes.unwrap(), ["abseiling", "zumba"]);
        let labels = || Some(vec!["abseiling".to_owned(), "air drumming".to_owned()]);
        let read = kinetics("air drumming/a b.mp4 1\n", labels()).unwrap();
        assert_eq!(named(&read), [("air drumming/a b.mp4", "air drumming")]);
        let refused = |text: &str, labels| format!("{:#}", kinetics(text, labels).unwrap_err());
        assert!(refused("a.mp4 2\n", labels()).contains("no number 2"));
        assert!(refused("a.mp4 1\n", None).contains("--labels"));
        assert!(refused(table, labels()).contains("zumba is none"));
    }

    #[test]
    fn hmdb51_is_tested_with_what_has_a_two() {
        let lists = [
            ("brush_hair".to_owned(), "a_0.avi 1 \nb_0.avi 2 \nc_0.avi 0 \n".to_owned()),
            ("wave".to_owned(), "d.avi 2\n".to_owned()),
        ];
        let read = hmdb51(&lists, None).unwrap();
        assert_eq!(named(&read), [("brush_hair/b_0.avi", "brush_hair"), ("wave/d.avi", "wave")]);
    }

    #[test]
    fn ucf101_has_its_classes_in_the_paths() {
        let classes = ucf101_classes("1 ApplyEyeMakeup\n2 Archery\n").unwrap();
        let read = ucf101("Archery/v_Archery_g01_c01.avi 2\n", classes.clone()).unwrap();
        assert_eq!(named(&read), [("Archery/v_Archery_g01_c01.avi", "Archery")]);
        assert!(ucf101("Diving/v.avi\n", classes).is_err());
        assert!(ucf101_classes("1 One\n3 Three\n").is_err());
    }
}
