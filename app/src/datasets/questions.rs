//! Data sets of questions about videos, with their answers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use footage_ask::Aspect;
use footage_synth::Truth;
use serde::Deserialize;

use super::captions::{Table, stretch};
use super::{Format, text_in, text_of};

/// Something asked about a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Line of the file, or number of the entry, from 1.
    pub line: u64,
    /// The video, as the data set names it.
    pub video: String,
    pub from_ns: u64,
    /// The end of time where it is the file's end.
    pub to_ns: u64,
    /// What kind of question it is, where the data set tells.
    pub kind: Option<String>,
    /// One question, or two that have the same answer.
    pub asked: Vec<String>,
    pub answer: String,
    /// What of the answers a judge judges.
    pub aspects: &'static [Aspect],
}

const MATCH: &[Aspect] = &[Aspect::Match];
const GENERIC: &[Aspect] = &[Aspect::Correctness, Aspect::Detail, Aspect::Context];

impl Question {
    fn whole(line: u64, video: String, question: String, answer: String) -> Self {
        let (from_ns, to_ns) = (0, u64::MAX);
        let asked = vec![question];
        Self { line, video, from_ns, to_ns, kind: None, asked, answer, aspects: MATCH }
    }
}

/// Reads a data set of a format that asks.
pub(super) fn read(format: Format, data: &Path) -> Result<Vec<Question>> {
    match format {
        Format::Qa => table(&text_in(data, "questions.csv")?),
        Format::MsvdQa => {
            of_clips("vid", &text_in(data, "test_q.json")?, answers_of(data)?.as_deref())
        }
        Format::MsrvttQa => {
            of_clips("video", &text_in(data, "test_q.json")?, answers_of(data)?.as_deref())
        }
        Format::ActivitynetQa => {
            let answers = answers_of(data)?.context("there is no file of answers beside it")?;
            activitynet(&text_in(data, "test_q.json")?, &answers)
        }
        Format::VideoChatgpt => video_chatgpt(data),
        Format::Synth => synth(data),
        _ => bail!("it holds no questions"),
    }
}

/// `path,question,answer[,type,from,to]`; times are seconds.
pub(super) fn table(text: &str) -> Result<Vec<Question>> {
    let mut table = Table::of(text)?;
    let [path, question, answer] = table.columns(["path", "question", "answer"])?;
    let kind = table.column("type");
    let span = [table.column("from"), table.column("to")];
    let mut all = Vec::new();
    for row in table.rows() {
        let (line, record) = row?;
        let (from_ns, to_ns) = stretch(line, &record, span)?;
        let kind = kind.and_then(|kind| record.get(kind)).filter(|kind| !kind.is_empty());
        let own = |column: usize| record[column].to_owned();
        all.push(Question {
            kind: kind.map(str::to_owned),
            from_ns,
            to_ns,
            ..Question::whole(line, own(path), own(question), own(answer))
        });
    }
    Ok(all)
}

/// The file of answers that goes with a `test_q.json`.
fn answers_of(data: &Path) -> Result<Option<String>> {
    let questions = if data.is_dir() { data.join("test_q.json") } else { data.to_owned() };
    let Some(name) = questions.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
    let answers = questions.with_file_name(name.replace("_q.json", "_a.json"));
    if answers == questions || !answers.is_file() { Ok(None) } else { text_of(&answers).map(Some) }
}

#[derive(Deserialize)]
struct Asked {
    question: String,
    question_id: Option<Id>,
    video_name: Option<String>,
    video_id: Option<Id>,
    answer: Option<Id>,
}

#[derive(Deserialize)]
struct Answered {
    question_id: Id,
    answer: Id,
    #[serde(rename = "type")]
    kind: Option<usize>,
}

/// A name or a number.
#[derive(Clone, Deserialize, PartialEq, Eq, Hash)]
#[serde(untagged)]
enum Id {
    Number(i64),
    Name(String),
}

impl Id {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name,
        }
    }
}

fn answers(text: &str) -> Result<HashMap<Id, Answered>> {
    let all: Vec<Answered> = serde_json::from_str(text).context("the file of answers")?;
    Ok(all.into_iter().map(|one| (one.question_id.clone(), one)).collect())
}

/// MSVD-QA and MSRVTT-QA: a list of `{question, answer, video_id}` in which the video is a number, or a
/// list without answers, which stand beside it. The kind is the question's first word, as usual.
fn of_clips(prefix: &str, text: &str, beside: Option<&str>) -> Result<Vec<Question>> {
    let asked: Vec<Asked> = serde_json::from_str(text)?;
    let mut answers = beside.map(answers).transpose()?.unwrap_or_default();
    let of_one = |(asked, line): (Asked, u64)| {
        let Asked { question, question_id, video_name, video_id, answer } = asked;
        let video = match (video_name, video_id) {
            (Some(name), _) | (None, Some(Id::Name(name))) => name,
            (None, Some(Id::Number(number))) => format!("{prefix}{number}"),
            (None, None) => bail!("entry {line} names no video"),
        };
        let beside = question_id.and_then(|id| answers.remove(&id)).map(|found| found.answer);
        let answer = answer.or(beside).with_context(|| format!("entry {line} has no answer"))?;
        let first = question.split_whitespace().next().unwrap_or_default().to_lowercase();
        let known = ["what", "who", "how", "when", "where"].contains(&first.as_str());
        let kind = Some(if known { first } else { "other".to_owned() });
        Ok(Question { kind, ..Question::whole(line, video, question, answer.text()) })
    };
    asked.into_iter().zip(1..).map(of_one).collect()
}

/// The kinds of ActivityNet-QA, by their numbers.
const KINDS: [&str; 9] = [
    "motion",
    "spatial relationship",
    "temporal relationship",
    "yes/no",
    "color",
    "object",
    "location",
    "number",
    "other",
];

/// ActivityNet-QA. Videos are called `v_NAME`, of which the questions leave out the begin.
fn activitynet(text: &str, beside: &str) -> Result<Vec<Question>> {
    let asked: Vec<Asked> = serde_json::from_str(text)?;
    let mut answers = answers(beside)?;
    let of_one = |(asked, line): (Asked, u64)| {
        let Asked { question, question_id, video_name, .. } = asked;
        let name = video_name.with_context(|| format!("entry {line} names no video"))?;
        let found = question_id.and_then(|id| answers.remove(&id));
        let found = found.with_context(|| format!("entry {line} has no answer"))?;
        let kind = found.kind.and_then(|kind| KINDS.get(kind)).map(ToString::to_string);
        let video = if name.starts_with("v_") { name } else { format!("v_{name}") };
        Ok(Question { kind, ..Question::whole(line, video, question, found.answer.text()) })
    };
    asked.into_iter().zip(1..).map(of_one).collect()
}

#[derive(Deserialize)]
struct Benchmark {
    #[serde(rename = "Q")]
    question: Option<String>,
    #[serde(rename = "Q1")]
    first: Option<String>,
    #[serde(rename = "Q2")]
    second: Option<String>,
    #[serde(rename = "A")]
    answer: String,
    video_name: String,
}

/// The three files of Video-ChatGPT's benchmark.
const BENCHMARK: [&str; 3] = ["generic_qa.json", "temporal_qa.json", "consistency_qa.json"];

/// One of the benchmark's files, or all that a folder has.
fn video_chatgpt(data: &Path) -> Result<Vec<Question>> {
    let files: Vec<PathBuf> = if data.is_dir() {
        BENCHMARK.iter().map(|name| data.join(name)).filter(|file| file.is_file()).collect()
    } else {
        vec![data.to_owned()]
    };
    ensure!(!files.is_empty(), "there is none of {} in it", BENCHMARK.join(", "));
    let mut all = Vec::new();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let is_temporal = name.contains("temporal");
        all.extend(benchmark(&text_of(&file)?, is_temporal).context(name)?);
    }
    Ok(all)
}

fn benchmark(text: &str, is_temporal: bool) -> Result<Vec<Question>> {
    let asked: Vec<Benchmark> = serde_json::from_str(text)?;
    let of_one = |(asked, line): (Benchmark, u64)| {
        let Benchmark { question, first, second, answer, video_name } = asked;
        let (asked, aspects): (_, &[Aspect]) = match (question, first, second) {
            (Some(question), ..) if is_temporal => (vec![question], &[Aspect::Temporal]),
            (Some(question), ..) => (vec![question], GENERIC),
            (None, Some(one), Some(other)) => (vec![one, other], &[Aspect::Consistency]),
            _ => bail!("entry {line} has neither Q nor Q1 and Q2"),
        };
        Ok(Question { asked, aspects, ..Question::whole(line, video_name, String::new(), answer) })
    };
    asked.into_iter().zip(1..).map(of_one).collect()
}

/// What is known of videos that `footage synth` rendered, event by event.
fn synth(folder: &Path) -> Result<Vec<Question>> {
    let mut files = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            files.push(path);
        }
    }
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let truth: Truth = serde_json::from_str(&text_of(&file)?)
            .with_context(|| format!("{} is no truth of a rendered video", file.display()))?;
        let video = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for event in truth.events {
            let nanos = |seconds: f64| (seconds * 1e9) as u64;
            let (from_ns, to_ns) = (nanos(event.from), nanos(event.to));
            for question in event.questions {
                let kind = serde_json::to_value(question.kind)?;
                all.push(Question {
                    from_ns,
                    to_ns,
                    kind: kind.as_str().map(str::to_owned),
                    ..Question::whole(
                        all.len() as u64 + 1,
                        video.clone(),
                        question.question,
                        question.answer,
                    )
                });
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(line: u64, video: &str, question: &str, answer: &str) -> Question {
        Question::whole(line, video.into(), question.into(), answer.into())
    }

    fn kind(kind: &str, question: Question) -> Question {
        Question { kind: Some(kind.into()), ..question }
    }

    #[test]
    fn a_table_may_tell_kinds_and_times() {
        let text = "answer,question,path,type,from,to\nred,\"what, then?\",a.mp4,colour,1,2.5\nno,is it?,b.mp4,,,\n";
        let first = kind("colour", whole(2, "a.mp4", "what, then?", "red"));
        let first = Question { from_ns: 1_000_000_000, to_ns: 2_500_000_000, ..first };
        assert_eq!(table(text).unwrap(), [first, whole(3, "b.mp4", "is it?", "no")]);
        assert!(table("path,question\na,b\n").unwrap_err().to_string().contains("answer"));
        assert!(table("path,question,answer,from,to\na,b,c,2,1\n").is_err());
    }

    #[test]
    fn videos_of_msvd_and_msrvtt_are_numbers_and_answers_may_lie_in_a_file_of_their_own() {
        let text = r#"[{"answer": "couch", "id": 1, "question": "what is it?", "video_id": 1301},
            {"answer": 2, "question": "are they?", "video_id": 7}]"#;
        assert_eq!(
            of_clips("vid", text, None).unwrap(),
            [
                kind("what", whole(1, "vid1301", "what is it?", "couch")),
                kind("other", whole(2, "vid7", "are they?", "2"))
            ]
        );
        let text =
            r#"[{"question": "Who sings?", "video_name": "video7010", "question_id": "q1"}]"#;
        let beside = Some(r#"[{"answer": "man", "question_id": "q1"}]"#);
        let found = of_clips("video", text, beside).unwrap();
        assert_eq!(found, [kind("who", whole(1, "video7010", "Who sings?", "man"))]);
        let error = of_clips("video", text, None).unwrap_err().to_string();
        assert!(error.contains("entry 1 has no answer"), "{error}");
    }

    #[test]
    fn activitynet_s_kinds_have_names() {
        let asked = r#"[{"video_name": "ab", "question": "is he in?", "question_id": "v_ab_1"}]"#;
        let answers = r#"[{"answer": "no", "type": 3, "question_id": "v_ab_1"}]"#;
        let found = activitynet(asked, answers).unwrap();
        assert_eq!(found, [kind("yes/no", whole(1, "v_ab", "is he in?", "no"))]);
        assert!(activitynet(asked, "[]").is_err());
    }

    #[test]
    fn the_benchmark_s_files_tell_which_aspects_are_judged() {
        let folder = tempfile::tempdir().unwrap();
        let one = r#"[{"Q": "what?", "A": "a dance", "video_name": "v_1"}]"#;
        let two = r#"[{"Q1": "who?", "Q2": "who is it?", "A": "she", "video_name": "v_2"}]"#;
        fs_err::write(folder.path().join("generic_qa.json"), one).unwrap();
        fs_err::write(folder.path().join("temporal_qa.json"), one).unwrap();
        fs_err::write(folder.path().join("consistency_qa.json"), two).unwrap();
        let found = video_chatgpt(folder.path()).unwrap();
        let aspects: Vec<_> = found.iter().map(|question| question.aspects).collect();
        assert_eq!(aspects, [GENERIC, &[Aspect::Temporal], &[Aspect::Consistency]]);
        assert_eq!(found[2].asked, ["who?", "who is it?"]);
        assert!(benchmark(r#"[{"Q1": "a", "A": "b", "video_name": "c"}]"#, false).is_err());
    }

    #[test]
    fn the_real_questions_of_activitynet_are_read_whole() {
        let shared = std::env::var_os("FOOTAGE_SHARED").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared"),
            PathBuf::from,
        );
        let folder = shared.join("footage/annotation-formats/activitynet_qa");
        if !folder.is_dir() {
            eprintln!("skipped: {} is not there", folder.display());
            return;
        }
        let all = read(Format::ActivitynetQa, &folder).unwrap();
        assert_eq!(all.len(), 8000);
        let first = whole(1, "v_1QIUV7WYKXg", "is the athlete wearing trousers", "no");
        assert_eq!(all[0], kind("yes/no", first));
        let yes_no = all.iter().filter(|one| one.kind.as_deref() == Some("yes/no")).count();
        assert_eq!(yes_no, 2094);
    }
}
