//! `footage ask`: questions about a stretch of footage.

mod moments;
mod told;

use std::io::{BufRead, IsTerminal as _, Write, stderr, stdin, stdout};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use footage_ask::{Answering, Conversation};
use footage_clip::ClipId;
use serde::Serialize;

use self::moments::{LongStretch, MomentAnswer};
use self::told::{AnswerTold, AnswersTold};
use crate::cli::Stated;
use crate::compose::House;
use crate::footage::{self, Seen};
use crate::instance::Instance;
use crate::outcome::{Outcome, in_one_line};
use crate::requests::selection::Named;
use crate::requests::stretch::{StretchReply, StretchRequest};
use crate::terminal::escaped;
use crate::when::When;

/// Ask a question about a clip or a moment
///
/// Frames of the footage are decoded again and shown to a model that sees: the small one that comes
/// with Footage and knows only its synthetic world, an endpoint that speaks OpenAI's protocol, or a
/// LLaVA in a folder. The setting `ask.answerer` names it; docs/ask.md tells how. Without a question, a conversation: each line of the input is asked.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  footage ask 0b0e7c5e-6c3f-5c83-9c0e-2d6a3f1c9a55 \"what is he carrying?\"
  footage ask garden.mp4@1:20-1:28 \"which way did they go?\"
  footage ask --source gate --from 2026-05-01T14:30 --to 2026-05-01T14:31 \"who came?\" --json
  footage ask --answerer http://localhost:11434/v1 --answerer-model llava garden.mp4@0:10-0:20

`footage search --json` names the clips of each moment.")]
pub(crate) struct Args {
    /// A clip's id or SOURCE@FROM-TO, unless --source is given; then the question
    #[arg(value_name = "CLIP|SOURCE@FROM-TO] [QUESTION")]
    words: Vec<String>,
    /// Ask about this source: its id, or its name
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// From here on: media time (90, 1:30), or a date and time (2026-05-01T14:30)
    #[arg(long, value_name = "TIME", requires = "source")]
    from: Option<When>,
    /// Up to here, in the same form as --from
    #[arg(long, value_name = "TIME", requires = "source")]
    to: Option<When>,
    /// Who answers: `mini`, an endpoint's address or a folder [setting: ask.answerer]
    #[arg(long, value_name = "URL|DIR")]
    answerer: Option<String>,
    /// Name of the model at an endpoint [setting: ask.model]
    #[arg(long, value_name = "NAME")]
    answerer_model: Option<String>,
    /// Print JSON, one value for each answer; docs/ask.md describes it
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(crate) fn flags(&self) -> Vec<Stated> {
        let answerer = self.answerer.clone().map(|to| ("ask.answerer", to, "--answerer"));
        let model = self.answerer_model.clone().map(|to| ("ask.model", to, "--answerer-model"));
        answerer.into_iter().chain(model).collect()
    }

    /// What is asked about, and the question.
    fn parts(&self) -> Result<(StretchRequest, String)> {
        let mut words = self.words.iter();
        let about = |source: &str, from, to| StretchRequest {
            clip: None,
            source: Some(Named::here(source)),
            from,
            to,
        };
        let stretch = if let Some(source) = &self.source {
            about(source, self.from, self.to)
        } else {
            let what = words.next().context(
                "say what the question is about: a clip's id, SOURCE@FROM-TO, or --source",
            )?;
            if let Ok(clip) = what.parse::<ClipId>() {
                StretchRequest { clip: Some(clip), source: None, from: None, to: None }
            } else if let Some((source, times)) = what.rsplit_once('@') {
                let (from, to) = times.split_once('-').with_context(|| {
                    format!("`{what}` names no moment: write it as SOURCE@1:20-1:28")
                })?;
                let time = |text: &str| {
                    text.parse::<When>().map_err(|why| anyhow::anyhow!("`{what}`: {why}"))
                };
                about(source, Some(time(from)?), Some(time(to)?))
            } else {
                bail!(
                    "`{what}` is neither a clip's id nor SOURCE@FROM-TO: `footage search --json` \
                     shows the clips of a moment"
                )
            }
        };
        let question = words.map(String::as_str).collect::<Vec<_>>().join(" ");
        Ok((stretch, question.trim().to_owned()))
    }
}

/// Who answers, as far as it can be told without the footage.
fn answering(house: &House) -> Result<Answering> {
    let settings = &house.settings.ask;
    settings.answerer.open(settings.sampling())?.context(
        "nobody is there to answer: set `ask.answerer` (or --answerer) to `mini`, to an endpoint that \
         sees pictures, such as http://localhost:11434/v1, or to a LLaVA's folder; docs/ask.md tells how",
    )
}

#[tokio::main]
pub(crate) async fn run(args: &Args, house: &House) -> Result<Outcome> {
    // What is typed wrong is said before anything is loaded.
    let (request, question) = args.parts()?;
    let is_conversation = question.is_empty();
    ensure!(
        question.len() <= LONGEST_QUESTION,
        "the question has {} bytes, at most {LONGEST_QUESTION} can be asked",
        question.len()
    );
    let answering = answering(house)?;
    let stretch = if let Some(instance) = Instance::running(&house.settings.data_dir).await? {
        instance.stretch(&request).await?
    } else {
        let store = house.open_existing_store().await?;
        request.answer(house, &store).await?
    };
    let span = stretch.span();
    let about = if span.end_ns - span.start_ns > house.settings.ask.whole_ns {
        About::Long(Box::new(LongStretch::open(house, stretch, answering).await?))
    } else {
        About::Whole(Box::new(Whole::look(house, stretch, answering)?))
    };
    let mut talk = Talk { about, as_json: args.json };
    if !is_conversation {
        talk.ask(&question, false).await?;
        return Ok(Outcome::Done);
    }
    talk.converse().await
}

/// Bytes; no question is as long, and a context has an end.
const LONGEST_QUESTION: usize = 32 << 10;

/// The next line, trimmed, or why it is no question; none at the end.
fn question(from: &mut impl BufRead) -> std::io::Result<Option<Result<String, String>>> {
    let mut line = Vec::new();
    let most = LONGEST_QUESTION as u64 + 1;
    if std::io::Read::take(&mut *from, most).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.len() > LONGEST_QUESTION && line.last() != Some(&b'\n') {
        from.skip_until(b'\n')?;
        return Ok(Some(Err(format!(
            "the question has more than {LONGEST_QUESTION} bytes: ask a shorter one"
        ))));
    }
    let text = String::from_utf8(line).map(|line| line.trim().to_owned());
    Ok(Some(text.map_err(|_| "the question is no text: its bytes are not UTF-8".to_owned())))
}

/// A stretch that is looked at as a whole.
struct Whole {
    conversation: Conversation,
    seen: Seen,
    read: Duration,
    look: Duration,
}

impl Whole {
    fn look(house: &House, stretch: StretchReply, answering: Answering) -> Result<Self> {
        let decode = footage::decoding(house, &answering);
        let most = footage::most_frames(house, &answering);
        let began = Instant::now();
        let seen = tokio::task::block_in_place(|| Seen::read(stretch, most, &decode))?;
        let read = began.elapsed();
        let began = Instant::now();
        let about = || Conversation::about(answering, &seen.frames);
        let conversation = tokio::task::block_in_place(about)?;
        Ok(Self { conversation, seen, read, look: began.elapsed() })
    }
}

/// What is asked about.
enum About {
    Whole(Box<Whole>),
    Long(Box<LongStretch>),
}

impl About {
    fn described(&self) -> String {
        match self {
            Self::Whole(whole) => whole.seen.described(),
            Self::Long(long) => long.described(),
        }
    }
}

/// A conversation on a terminal, or on pipes.
struct Talk {
    about: About,
    as_json: bool,
}

impl Talk {
    async fn converse(&mut self) -> Result<Outcome> {
        let is_terminal = stdin().is_terminal();
        if is_terminal {
            writeln!(stderr(), "{}; an empty line ends", escaped(&self.about.described()))?;
        }
        let mut has_failed = false;
        loop {
            if is_terminal {
                write!(stderr(), "> ")?;
                stderr().flush()?;
            }
            let read = tokio::task::block_in_place(|| question(&mut stdin().lock()));
            let Some(question) = read.context("the questions cannot be read")? else { break };
            let question = match question {
                Ok(question) => question,
                Err(why) => {
                    has_failed = true;
                    writeln!(stderr(), "error: {why}")?;
                    continue;
                }
            };
            match question.as_str() {
                "" if is_terminal => break,
                "" => continue,
                _ => {}
            }
            if let Err(error) = self.ask(&question, true).await {
                if error.is::<std::io::Error>() {
                    return Err(error);
                }
                has_failed = true;
                writeln!(stderr(), "error: {}", in_one_line(&error))?;
            }
        }
        Ok(if has_failed { Outcome::SomeFailed } else { Outcome::Done })
    }

    async fn ask(&mut self, question: &str, is_one_of_many: bool) -> Result<()> {
        let as_json = self.as_json;
        match &mut self.about {
            About::Whole(whole) => whole.ask(question, as_json, is_one_of_many).await,
            About::Long(long) => ask_long(long, question, as_json, is_one_of_many).await,
        }
    }
}

impl Whole {
    async fn ask(&mut self, question: &str, as_json: bool, is_one_of_many: bool) -> Result<()> {
        let mut has_begun = false;
        let mut show = |text: &str| {
            // A listener that is gone is noticed with the next line.
            let text = if has_begun { text } else { text.trim_start() };
            has_begun |= !text.is_empty();
            if !as_json {
                let lines: Vec<_> = text.split('\n').map(escaped).collect();
                drop(write!(stdout(), "{}", lines.join("\n")).and_then(|()| stdout().flush()));
            }
        };
        let asked = self.conversation.ask(question, &mut show).await;
        let mut out = stdout().lock();
        if has_begun && !as_json {
            writeln!(out)?;
        }
        let reply = asked?;
        let told = AnswerTold::new(question, &reply, &self.seen, self.read, self.look);
        if as_json {
            return print_json(&mut out, &told, is_one_of_many);
        }
        writeln!(out, "{}", escaped(&told.line()))?;
        Ok(out.flush()?)
    }
}

async fn ask_long(
    long: &LongStretch,
    question: &str,
    as_json: bool,
    is_one_of_many: bool,
) -> Result<()> {
    let began = Instant::now();
    let mut show = |answer: &MomentAnswer| {
        if let Some(line) = answer.line().filter(|_| !as_json) {
            let mut out = stdout().lock();
            writeln!(out, "{}", escaped(&line))?;
            out.flush()?;
        }
        Ok(())
    };
    let answers = long.ask(question, &mut show).await?;
    let told = AnswersTold::new(question, &answers, began.elapsed());
    let mut out = stdout().lock();
    if as_json {
        return print_json(&mut out, &told, is_one_of_many);
    }
    if answers.iter().all(|answer| answer.line().is_none()) {
        writeln!(out, "{}", told.answer())?;
    }
    writeln!(out, "{}", escaped(&told.line()))?;
    Ok(out.flush()?)
}

fn print_json(out: &mut impl Write, told: &impl Serialize, is_one_of_many: bool) -> Result<()> {
    if is_one_of_many {
        writeln!(out, "{}", serde_json::to_string(told)?)?;
    } else {
        writeln!(out, "{}", serde_json::to_string_pretty(told)?)?;
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_question_is_refused_alone_and_the_next_one_is_read() {
        let long = "a".repeat(LONGEST_QUESTION) + " what is there?\n";
        let lines =
            [b"what is it?\n" as &[u8], b"\xff\xfe\n", long.as_bytes(), "wo \u{e9}?".as_bytes()];
        let lines = lines.concat();
        let mut from = lines.as_slice();
        let mut next = || question(&mut from).unwrap();
        assert_eq!(next(), Some(Ok("what is it?".to_owned())));
        assert!(next().unwrap().unwrap_err().contains("UTF-8"));
        assert!(next().unwrap().unwrap_err().contains("shorter"));
        assert_eq!(next(), Some(Ok("wo \u{e9}?".to_owned())));
        assert_eq!(next(), None);
    }

    fn args(words: &[&str]) -> Args {
        Args {
            words: words.iter().map(ToString::to_string).collect(),
            source: None,
            from: None,
            to: None,
            answerer: None,
            answerer_model: None,
            json: false,
        }
    }

    #[test]
    fn a_clip_or_a_moment_is_told_from_the_question() {
        let id = "0b0e7c5e-6c3f-5c83-9c0e-2d6a3f1c9a55";
        let (stretch, question) = args(&[id, "who", "is it?"]).parts().unwrap();
        assert_eq!(stretch.clip, Some(id.parse().unwrap()));
        assert_eq!(question, "who is it?");
        let (stretch, question) = args(&["a@b.mp4@1:20-1:28"]).parts().unwrap();
        assert_eq!(stretch.source.unwrap().given, "a@b.mp4");
        assert_eq!(stretch.from.unwrap(), When::Media(80_000_000_000));
        assert_eq!(stretch.to.unwrap(), When::Media(88_000_000_000));
        assert_eq!(question, "");
    }

    #[test]
    fn what_names_nothing_is_refused_with_how_to_write_it() {
        for words in [&[][..], &["garden.mp4"], &["garden.mp4@1:20"], &["garden.mp4@x-y"]] {
            let error = args(words).parts().unwrap_err().to_string();
            assert!(error.contains("SOURCE@") || error.contains("1:30"), "{error}");
        }
    }
}
