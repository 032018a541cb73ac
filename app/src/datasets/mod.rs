//! Labelled videos, in the forms that people have them: who is trained or measured on them reads them
//! here.

mod captions;
mod classes;
pub(crate) mod instructions;
mod questions;
mod videos;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;

pub(crate) use self::instructions::Instruction;
pub(crate) use self::questions::Question;
pub(crate) use self::videos::{Names, Videos};

/// A clip and what it shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    /// Line of the file that says so, from 1; for formats without lines, the number of the entry.
    pub line: u64,
    /// The video, as the data set names it: a path, or a name without its ending.
    pub video: String,
    /// A sentence, or a class's name. May be empty: then the row is of no use, and whoever reads it
    /// says so.
    pub caption: String,
    pub from_ns: u64,
    /// The end of time where it is the file's end.
    pub to_ns: u64,
}

impl Row {
    fn whole(line: u64, video: impl Into<String>, caption: impl Into<String>) -> Self {
        let (video, caption) = (video.into(), caption.into());
        Self { line, video, caption, from_ns: 0, to_ns: u64::MAX }
    }
}

/// What a data set says of its videos.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dataset {
    pub rows: Vec<Row>,
    /// The classes to choose from, where the rows' captions are names of classes.
    pub classes: Option<Vec<String>>,
}

/// The form of a data set's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// CSV `path,caption[,from,to]`, or a folder with a captions.csv
    Captions,
    /// WebVid's CSV: `videoid,page_dir,name`, with other columns
    Webvid,
    /// MSR-VTT: a CSV with `video_id,sentence` (the 1k-A test set) or a videodatainfo.json
    Msrvtt,
    /// DiDeMo's JSON; a video's descriptions are one paragraph
    Didemo,
    /// LSMDC's tab-separated list
    Lsmdc,
    /// ActivityNet Captions' JSON; a video's sentences are one paragraph
    Activitynet,
    /// Kinetics: its CSV `label,youtube_id,time_start,time_end,split`, or a list `path class-number`
    Kinetics,
    /// HMDB-51: the folder of its lists `CLASS_test_splitN.txt`
    Hmdb51,
    /// UCF-101: a list `Class/video.avi`, with classInd.txt beside it
    Ucf101,
    /// Questions: CSV `path,question,answer[,type,from,to]`, or a folder with a questions.csv
    Qa,
    /// MSVD-QA: its JSON, or a `test_q.json` with `test_a.json` beside it
    MsvdQa,
    /// MSRVTT-QA: its JSON, or a `test_q.json` with `test_a.json` beside it
    MsrvttQa,
    /// ActivityNet-QA: `test_q.json`, with `test_a.json` beside it
    ActivitynetQa,
    /// Video-ChatGPT's benchmark: `generic_qa.json`, `temporal_qa.json`, `consistency_qa.json`, or the
    /// folder of these
    VideoChatgpt,
    /// A folder that `footage synth` rendered: what its truth knows to ask
    Synth,
}

impl Format {
    /// Whether it holds questions and answers.
    pub(crate) fn asks(self) -> bool {
        use Format::{ActivitynetQa, MsrvttQa, MsvdQa, Qa, Synth, VideoChatgpt};
        matches!(self, Qa | MsvdQa | MsrvttQa | ActivitynetQa | VideoChatgpt | Synth)
    }

    /// Where its names of videos may lead: in our own tables people write paths of their own.
    fn names(self) -> Names {
        if matches!(self, Self::Captions | Self::Qa) { Names::Anywhere } else { Names::Inside }
    }
}

/// Where a data set is, and which part of it is meant.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// The data set's file or folder of annotations
    #[arg(long, value_name = "FILE_OR_DIR")]
    data: Option<PathBuf>,
    /// The form of the annotations
    #[arg(long, value_enum, default_value_t = Format::Captions)]
    pub format: Format,
    /// Folder of the videos, searched with all folders in it; the annotations' own without it
    #[arg(long, value_name = "DIR")]
    pub videos: Option<PathBuf>,
    /// Only videos that are named in this list, one on each line
    #[arg(long, value_name = "FILE")]
    pub list: Option<PathBuf>,
    /// Names of the classes, one on each line, in order
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,
    /// Number of the split, for data sets that have several
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub split: u8,
}

impl Source {
    /// Reads the annotations, and finds out where the videos are.
    pub(crate) fn read(&self) -> Result<(Dataset, Videos)> {
        self.check_named()?;
        ensure!(
            !self.format.asks(),
            "{} holds questions: `footage model eval` measures with them",
            self.place().display()
        );
        let mut dataset =
            self.parse().with_context(|| format!("cannot use {}", self.place().display()))?;
        dataset.rows = self.listed(dataset.rows, |row| &row.video)?;
        Ok((dataset, self.opened()?))
    }

    /// Reads questions, and finds out where the videos are.
    pub(crate) fn questions(&self) -> Result<(Vec<Question>, Videos)> {
        self.check_named()?;
        ensure!(self.labels.is_none(), "--labels are for data sets of classes");
        let questions = questions::read(self.format, self.place())
            .with_context(|| format!("cannot use {}", self.place().display()))?;
        Ok((self.listed(questions, |question| &question.video)?, self.opened()?))
    }

    /// Where the annotations are; empty where that is not stated.
    pub(crate) fn place(&self) -> &Path {
        self.data.as_deref().unwrap_or(Path::new(""))
    }

    fn check_named(&self) -> Result<()> {
        ensure!(self.data.is_some(), "name the file or folder of annotations with --data");
        Ok(())
    }

    /// What is about videos of the list, where there is one.
    fn listed<T>(&self, mut all: Vec<T>, video: impl Fn(&T) -> &str) -> Result<Vec<T>> {
        if let Some(list) = &self.list {
            let listed = listed(list)?;
            all.retain(|one| listed.contains(videos::stem(video(one))));
            ensure!(!all.is_empty(), "{} names no video of the data", list.display());
        }
        ensure!(!all.is_empty(), "{} names no videos", self.place().display());
        Ok(all)
    }

    fn opened(&self) -> Result<Videos> {
        let beside = if self.place().is_dir() { Some(self.place()) } else { self.place().parent() };
        let folder = self.videos.as_deref().or(beside).unwrap_or(Path::new("."));
        Videos::open(folder, self.format.names())
    }

    fn parse(&self) -> Result<Dataset> {
        let sentences = |rows| Dataset { rows, classes: None };
        let is_classes = matches!(self.format, Format::Kinetics | Format::Hmdb51 | Format::Ucf101);
        ensure!(self.labels.is_none() || is_classes, "--labels are for data sets of classes");
        Ok(match self.format {
            Format::Captions => {
                sentences(captions::captions(&text_in(self.place(), "captions.csv")?)?)
            }
            Format::Webvid => sentences(captions::webvid(&text_in(self.place(), "results.csv")?)?),
            Format::Msrvtt => sentences(captions::msrvtt(&text_of(self.place())?)?),
            Format::Didemo => sentences(captions::didemo(&text_of(self.place())?)?),
            Format::Lsmdc => sentences(captions::lsmdc(&text_of(self.place())?)?),
            Format::Activitynet => sentences(captions::activitynet(&text_of(self.place())?)?),
            Format::Kinetics => classes::kinetics(&text_of(self.place())?, self.labels()?)?,
            Format::Hmdb51 => {
                let lists = classes::hmdb51_lists(self.place(), self.split)?;
                classes::hmdb51(&lists, self.labels()?)?
            }
            Format::Ucf101 => {
                let beside = self.place().with_file_name("classInd.txt");
                let labels = match self.labels()? {
                    Some(labels) => labels,
                    None => classes::ucf101_classes(&text_of(&beside)?)?,
                };
                classes::ucf101(&text_of(self.place())?, labels)?
            }
            Format::Qa
            | Format::MsvdQa
            | Format::MsrvttQa
            | Format::ActivitynetQa
            | Format::VideoChatgpt
            | Format::Synth => bail!("it holds questions"),
        })
    }

    fn labels(&self) -> Result<Option<Vec<String>>> {
        let Some(file) = &self.labels else { return Ok(None) };
        let labels: Vec<String> = lines(&text_of(file)?).map(|(_, line)| line.to_owned()).collect();
        ensure!(!labels.is_empty(), "{} names no classes", file.display());
        Ok(Some(labels))
    }
}

/// A file's text. Spreadsheets begin their exports with a byte order mark.
fn text_of(file: &Path) -> Result<String> {
    let text = fs_err::read_to_string(file)?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The text of a file, or of the one called `name` in a folder.
fn text_in(path: &Path, name: &str) -> Result<String> {
    text_of(&if path.is_dir() { path.join(name) } else { path.to_owned() })
}

/// The lines with something on them, and their numbers from 1.
fn lines(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at as u64 + 1, line.trim()));
    lines.filter(|(_, line)| !line.is_empty())
}

/// The videos of a list. Its first line may be a column's name.
fn listed(file: &Path) -> Result<std::collections::BTreeSet<String>> {
    Ok(lines(&text_of(file)?).map(|(_, line)| videos::stem(line).to_owned()).collect())
}
