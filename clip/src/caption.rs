//! What a clip shows, in words that somebody who looked at it found.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A description of a clip: one line, of bounded length, without anything that would steer what shows
/// it. It comes from a model that looked at footage, so it may say whatever was held into a camera.
/// It is data: shown, and searched, and never part of what a model is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Caption(String);

/// There is no word in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a caption has no words")]
pub struct NoWords;

impl Caption {
    /// Most letters of a caption; what is longer ends in `…` after a whole word.
    pub const LONGEST: usize = 600;

    /// Makes a caption of what was said: white space of any kind becomes one space, control and
    /// formatting characters go, and what is too long is cut.
    pub fn try_new(said: &str) -> Result<Self, NoWords> {
        let visible: String = said
            .chars()
            .map(|c| if c.is_whitespace() || c.is_control() { ' ' } else { c })
            .filter(|c| !is_unseen(*c))
            .collect();
        let line = visible.split_whitespace().collect::<Vec<_>>().join(" ");
        if !line.chars().any(char::is_alphanumeric) {
            return Err(NoWords);
        }
        Ok(Self(shortened(line)))
    }

    /// The words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Characters that show nothing and change how others are shown: marks and overrides of direction,
/// spaces and joiners without width, tags, and noncharacters that stand for a mark of byte order.
fn is_unseen(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

fn shortened(line: String) -> String {
    let Some((end, _)) = line.char_indices().nth(Caption::LONGEST) else { return line };
    // Room for the mark that it was cut.
    let room = line.char_indices().nth(Caption::LONGEST - 1).map_or(end, |(at, _)| at);
    let cut = line.get(..room).unwrap_or_default();
    let whole = cut.rsplit_once(' ').map_or(cut, |(whole, _)| whole);
    format!("{whole}…")
}

impl TryFrom<String> for Caption {
    type Error = NoWords;

    fn try_from(said: String) -> Result<Self, NoWords> {
        Self::try_new(&said)
    }
}

impl From<Caption> for String {
    fn from(caption: Caption) -> Self {
        caption.0
    }
}

impl fmt::Display for Caption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(said: &str) -> String {
        Caption::try_new(said).unwrap().into()
    }

    #[test]
    fn a_caption_is_one_line_without_what_steers_or_hides() {
        let said = " A dog\r\n\truns\u{1b}[31m \u{202e}left\u{200b}\u{e0041}. \n";
        assert_eq!(made(said), "A dog runs [31m left.");
        assert_eq!(made("ein Auto „biegt“ ab 🚗"), "ein Auto „biegt“ ab 🚗");
    }

    #[test]
    fn what_is_too_long_ends_after_a_whole_word() {
        let long = "word ".repeat(400);
        let caption = made(&long);
        assert!(caption.chars().count() <= Caption::LONGEST, "{}", caption.chars().count());
        assert!(caption.ends_with("word…"), "{caption}");
        let unbroken = made(&"ö".repeat(2000));
        assert_eq!(unbroken.chars().count(), Caption::LONGEST);
        let just = "ö".repeat(Caption::LONGEST);
        assert_eq!(made(&just), just);
    }

    #[test]
    fn nothing_said_is_no_caption() {
        for said in ["", " \n\t", "\u{200b}\u{feff}", "…", "---"] {
            assert_eq!(Caption::try_new(said), Err(NoWords), "{said:?}");
        }
        assert!(serde_json::from_str::<Caption>("\" \"").is_err());
    }

    #[test]
    fn making_it_again_changes_nothing() {
        for said in ["a  b", &"many words ".repeat(200), "x\u{7}y"] {
            let once = made(said);
            assert_eq!(made(&once), once);
        }
    }
}
