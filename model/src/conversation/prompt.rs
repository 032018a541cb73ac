//! What the language model reads around the clip: templates of the reference, word for word.

use serde::{Deserialize, Serialize};

/// Begins the tokens of a clip.
pub const START: &str = "<vid_start>";
/// Stands for one token of a clip.
pub const PATCH: &str = "<vid_patch>";
/// Ends the tokens of a clip.
pub const END: &str = "<vid_end>";
/// Ends an answer.
pub const STOP: &str = "</s>";

/// How a conversation is written down for the language model (BT-ADAPTER.md 4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Template {
    /// What the reference asks with.
    #[default]
    #[serde(rename = "video-chatgpt_v1")]
    VideoChatGptV1,
    /// What the reference was instruction-tuned with.
    #[serde(rename = "vicuna_v1_1")]
    VicunaV11,
    /// The clip, then one question, and nothing else: what was asked before is not told. For a small
    /// model that was made so.
    #[serde(rename = "alone")]
    Alone,
}

/// A question of a conversation, and its answer where it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// What was asked.
    pub question: String,
    /// What was answered; none for the question that is to be answered now.
    pub answer: Option<String>,
}

impl Template {
    /// What a conversation begins with; nothing where each question is asked by itself.
    fn system(self) -> Option<&'static str> {
        Some(match self {
            Self::Alone => return None,
            // The reference lacks a space between the second and the third sentence.
            Self::VideoChatGptV1 => {
                "You are Video-ChatGPT, a large vision-language assistant. You are able to \
                 understand the video content that the user provides, and assist the user with a \
                 variety of tasks using natural language.Follow the instructions carefully and \
                 explain your answers in detail based on the provided video."
            }
            Self::VicunaV11 => {
                "A chat between a curious user and an artificial intelligence assistant. The \
                 assistant gives helpful, detailed, and polite answers to the user's questions."
            }
        })
    }

    /// What stands before the clip and what after it, without its markers. The clip belongs to the
    /// first question.
    pub fn around_clip(self, turns: &[Turn]) -> (String, String) {
        let Some(system) = self.system() else {
            let last = turns.last().map_or("", |turn| turn.question.as_str());
            return (String::new(), format!("{last} ASSISTANT:"));
        };
        let first = turns.first().map_or("", |turn| turn.question.as_str());
        let before = format!("{system} USER: {first}\n");
        let mut after = String::new();
        for (at, turn) in turns.iter().enumerate() {
            if at > 0 {
                after.push_str("USER: ");
                after.push_str(&turn.question);
            }
            after.push_str(" ASSISTANT:");
            if let Some(answer) = &turn.answer {
                after.push(' ');
                after.push_str(answer);
                after.push_str(STOP);
            }
        }
        (before, after)
    }

    /// The whole prompt as the reference writes it, with `tokens` tokens of the clip.
    pub fn text(self, turns: &[Turn], tokens: usize) -> String {
        let (before, after) = self.around_clip(turns);
        format!("{before}{START}{}{END}{after}", PATCH.repeat(tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_are_the_reference_s_letter_by_letter() {
        let prompts: std::collections::BTreeMap<String, String> =
            serde_json::from_str(include_str!("../../../tests/golden/preproc/prompts.json"))
                .unwrap();
        let turns = [Turn { question: "What is happening in the video?".into(), answer: None }];
        for (name, template) in
            [("video-chatgpt_v1", Template::VideoChatGptV1), ("vicuna_v1_1", Template::VicunaV11)]
        {
            for tokens in [256, 257] {
                assert_eq!(template.text(&turns, tokens), prompts[&format!("{name}_{tokens}")]);
            }
        }
    }

    #[test]
    fn a_conversation_shows_the_clip_once_and_ends_each_answer() {
        let turn = |question: &str, answer: Option<&str>| Turn {
            question: question.into(),
            answer: answer.map(Into::into),
        };
        let (before, after) =
            Template::VicunaV11.around_clip(&[turn("who?", Some("A dog.")), turn("where?", None)]);
        assert!(before.ends_with(" USER: who?\n"));
        assert_eq!(after, " ASSISTANT: A dog.</s>USER: where? ASSISTANT:");
    }
}
