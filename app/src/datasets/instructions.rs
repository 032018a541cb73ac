//! What an answerer is tuned with: videos, and what is said about them.

use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::{Names, questions, text_of};

/// A conversation about a video.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    /// Line of the file, or number of the entry, from 1.
    pub line: u64,
    /// The video, as the file names it.
    pub video: String,
    pub from_ns: u64,
    /// The end of time where it is the file's end.
    pub to_ns: u64,
    /// Questions, each with its answer.
    pub turns: Vec<(String, String)>,
}

/// An entry in one of the two forms that Video-ChatGPT's data has.
#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "video_id", alias = "video_name")]
    video: Option<String>,
    id: Option<String>,
    q: Option<String>,
    a: Option<String>,
    conversations: Option<Vec<Said>>,
}

#[derive(Deserialize)]
struct Said {
    from: String,
    value: String,
}

/// Where a video stands in the text of a conversation.
const MARKERS: [&str; 2] = ["<video>", "<image>"];

/// Reads a JSON list of `{video_id, q, a}`, or of `{video, conversations: [{from, value}]}` as LLaVA
/// has them, or a table `path,question,answer[,from,to]`. Says too where its names may lead.
pub(crate) fn read(file: &Path) -> Result<(Vec<Instruction>, Names)> {
    let text = text_of(file)?;
    let is_published = text.trim_start().starts_with('[');
    let all = if is_published {
        let entries: Vec<Entry> = serde_json::from_str(&text)?;
        entries.into_iter().zip(1..).map(|(entry, line)| of_entry(entry, line)).collect()
    } else {
        let table = questions::table(&text)?.into_iter().map(|asked| {
            let questions::Question { line, video, from_ns, to_ns, asked, answer, .. } = asked;
            let turns = asked.into_iter().map(|question| (question, answer.clone())).collect();
            Ok(Instruction { line, video, from_ns, to_ns, turns })
        });
        table.collect::<Result<Vec<_>>>()
    }?;
    ensure!(!all.is_empty(), "it holds no instructions");
    Ok((all, if is_published { Names::Inside } else { Names::Anywhere }))
}

fn of_entry(entry: Entry, line: u64) -> Result<Instruction> {
    let Entry { video, id, q, a, conversations } = entry;
    let video = video.or(id).with_context(|| format!("entry {line} names no video"))?;
    let turns = match (q, a, conversations) {
        (Some(question), Some(answer), None) => vec![(question, answer)],
        (None, None, Some(said)) => turns(said).with_context(|| format!("entry {line}"))?,
        _ => bail!("entry {line} has neither `q` and `a` nor `conversations`"),
    };
    // The reference names the features of a video there, `v_abc.pkl`.
    let video = video.strip_suffix(".pkl").map(str::to_owned).unwrap_or(video);
    Ok(Instruction { line, video, from_ns: 0, to_ns: u64::MAX, turns })
}

/// People and models speak in turns, people first.
fn turns(said: Vec<Said>) -> Result<Vec<(String, String)>> {
    ensure!(said.len() >= 2 && said.len().is_multiple_of(2), "a question has no answer");
    let mut turns = Vec::with_capacity(said.len() / 2);
    let mut said = said.into_iter();
    while let (Some(question), Some(answer)) = (said.next(), said.next()) {
        let is_in_turn = matches!(question.from.as_str(), "human" | "user")
            && matches!(answer.from.as_str(), "gpt" | "assistant");
        ensure!(is_in_turn, "`human` and `gpt` do not take turns");
        let question = MARKERS.iter().fold(question.value, |text, mark| text.replace(mark, ""));
        turns.push((question.trim().to_owned(), answer.value.trim().to_owned()));
    }
    Ok(turns)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Vec<Instruction>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("instructions");
        fs_err::write(&file, text).unwrap();
        Ok(read(&file)?.0)
    }

    fn whole(line: u64, video: &str, turns: &[(&str, &str)]) -> Instruction {
        let turns = turns.iter().map(|(q, a)| ((*q).to_owned(), (*a).to_owned())).collect();
        Instruction { line, video: video.to_owned(), from_ns: 0, to_ns: u64::MAX, turns }
    }

    #[test]
    fn both_forms_of_video_chatgpt_s_data_and_a_table_are_read() {
        let text = r#"[{"q": "what?", "a": "a dog", "video_id": "v_1"},
            {"id": "v_2", "video": "v_2.pkl", "conversations": [
                {"from": "human", "value": "<video>\nwho?"}, {"from": "gpt", "value": " she "},
                {"from": "human", "value": "why?\n<video>"}, {"from": "gpt", "value": "so"}]}]"#;
        let expected = [
            whole(1, "v_1", &[("what?", "a dog")]),
            whole(2, "v_2", &[("who?", "she"), ("why?", "so")]),
        ];
        assert_eq!(read_text(text).unwrap(), expected);
        let found = read_text("path,question,answer\na.mp4,who?,a dog\n").unwrap();
        assert_eq!(found, [whole(2, "a.mp4", &[("who?", "a dog")])]);
    }

    #[test]
    fn what_is_no_instruction_is_refused_by_its_number() {
        let refused = |text: &str| format!("{:#}", read_text(text).unwrap_err());
        assert!(refused(r#"[{"q": "a", "a": "b"}]"#).contains("entry 1 names no video"));
        assert!(refused(r#"[{"q": "a", "video_id": "b"}]"#).contains("entry 1 has neither"));
        let alone = r#"[{"id": "v", "conversations": [{"from": "human", "value": "a"}]}]"#;
        assert!(refused(alone).contains("no answer"));
        let twice = r#"[{"id": "v", "conversations": [{"from": "gpt", "value": "a"},
            {"from": "human", "value": "b"}]}]"#;
        assert!(refused(twice).contains("entry 1") && refused(twice).contains("turns"));
        assert!(refused("[]").contains("no instructions"));
    }
}
