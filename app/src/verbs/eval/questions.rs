//! The file of sentences, with where their answers lie.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use footage_search::Stretch;
use serde::Deserialize;

use crate::requests::sources::ListedSource;
use crate::when::When;

/// A sentence, and every stretch that answers it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Question {
    pub(crate) sentence: String,
    /// None: nothing in the footage answers it.
    pub(crate) answers: Vec<Stretch>,
}

/// A line of the file.
#[derive(Debug, Deserialize)]
struct Line {
    sentence: String,
    #[serde(default)]
    source: String,
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
}

/// Reads `path`. Lines with the same sentence are one question with several answers; a line without
/// a source says that nothing answers it.
pub(crate) fn read(path: &Path, sources: &[ListedSource]) -> Result<Vec<Question>> {
    let text = fs_err::read(path)?;
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text);
    let named = reader.headers().with_context(|| format!("cannot read {}", path.display()))?;
    for column in ["sentence", "source", "from", "to"] {
        ensure!(
            named.iter().any(|name| name == column),
            "{} has no column `{column}`: its first line must name sentence,source,from,to",
            path.display()
        );
    }
    let mut questions: Vec<Question> = Vec::new();
    for (at, line) in reader.deserialize::<Line>().enumerate() {
        // The header is line 1.
        let at = format!("{} line {}", path.display(), at + 2);
        let line = line.with_context(|| format!("cannot read {at}"))?;
        let answer = answer(&line, sources).with_context(|| at.clone())?;
        ensure!(!line.sentence.is_empty(), "{at}: the sentence is empty");
        if let Some(known) = questions.iter_mut().find(|known| known.sentence == line.sentence) {
            let agrees = answer.is_some() && !known.answers.is_empty();
            ensure!(agrees, "{at}: the same sentence stands there with an answer and without");
            known.answers.extend(answer);
        } else {
            let answers = answer.into_iter().collect();
            questions.push(Question { sentence: line.sentence, answers });
        }
    }
    ensure!(!questions.is_empty(), "{} holds no sentence", path.display());
    Ok(questions)
}

fn answer(line: &Line, sources: &[ListedSource]) -> Result<Option<Stretch>> {
    if line.source.is_empty() {
        let is_bare = line.from.is_empty() && line.to.is_empty();
        ensure!(is_bare, "`from` and `to` stand there without a source");
        return Ok(None);
    }
    let whole = fs_err::canonicalize(&line.source).ok();
    let whole = whole.as_deref().and_then(Path::to_str);
    let is_meant = |source: &&ListedSource| {
        let file = source.file.as_deref();
        let is_its_path = file.is_some_and(|file| file == line.source || Some(file) == whole);
        source.source_id.as_str() == line.source || source.name == line.source || is_its_path
    };
    let meant: Vec<_> = sources.iter().filter(is_meant).collect();
    let source = match meant[..] {
        [] => bail!(
            "no source has the id, name or path `{}`: `footage source list` shows what there is",
            line.source
        ),
        [source] => source.source_id.clone(),
        _ => bail!("{} sources are called `{}`: give an id or a path", meant.len(), line.source),
    };
    let (from_s, to_s) = (media_s(&line.from, "from")?, media_s(&line.to, "to")?);
    ensure!(from_s < to_s, "`from` has to be earlier than `to`");
    Ok(Some(Stretch { source, from_s, to_s }))
}

fn media_s(text: &str, column: &str) -> Result<f64> {
    match text.parse() {
        Ok(When::Media(ns)) => Ok(ns as f64 / 1e9),
        Ok(When::Utc(_)) => bail!("`{column}` is `{text}`: give media time, such as 90.5 or 1:30"),
        Err(why) => bail!("`{column}` is `{text}`: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sources() -> Vec<ListedSource> {
        let source = |id: &str, name: &str| {
            serde_json::from_value(json!({
                "source_id": id, "name": name, "kind": "file", "file": null, "added": null,
                "is_complete": true, "failure": null, "duration_s": null, "indexed_clips": 1,
                "gated_clips": 0, "lost_clips": 0, "indexed_s": 1.0, "gated_s": 0.0,
                "lost_s": 0.0, "live": null
            }))
            .unwrap()
        };
        vec![source("a", "gate.mp4"), source("b", "twin.mp4"), source("c", "twin.mp4")]
    }

    fn read_text(text: &str) -> Result<Vec<Question>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs_err::write(file.path(), text).unwrap();
        read(file.path(), &sources())
    }

    #[test]
    fn lines_of_one_sentence_are_one_question_and_no_source_means_no_answer() {
        let questions = read_text(
            "\u{feff}sentence,source,from,to\n\
             \"a car, red\",gate.mp4,0:10,14.5\n\
             a unicorn,,,\n\
             \"a car, red\",a,1:00,1:04\n",
        )
        .unwrap();
        assert_eq!(questions.len(), 2);
        assert_eq!(questions[0].sentence, "a car, red");
        let spans: Vec<_> = questions[0].answers.iter().map(|a| (a.from_s, a.to_s)).collect();
        assert_eq!(spans, [(10.0, 14.5), (60.0, 64.0)]);
        assert_eq!(questions[1].answers, []);
    }

    #[test]
    fn a_line_that_cannot_be_used_is_named_with_what_is_wrong() {
        for (line, part) in [
            ("x,nowhere.mp4,0,1", "nowhere.mp4"),
            ("x,twin.mp4,0,1", "2 sources"),
            ("x,gate.mp4,5,5", "earlier"),
            ("x,gate.mp4,soon,5", "soon"),
            ("x,gate.mp4,2026-05-01,5", "media time"),
            (",gate.mp4,0,5", "empty"),
            ("x,,0,5", "without a source"),
            ("x,gate.mp4,0", "cannot read"),
        ] {
            let error = read_text(&format!("sentence,source,from,to\n{line}\n")).unwrap_err();
            let text = format!("{error:#}");
            assert!(text.contains(part) && text.contains("line 2"), "{line}: {text}");
        }
        for text in ["", "sentence,source,from,to\n", "sentence,from,to\nx,0,1\n"] {
            read_text(text).unwrap_err();
        }
    }
}
