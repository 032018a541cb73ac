//! Takes the key out of what an endpoint says, should it be repeated there.

/// Stands where the key stood.
pub(crate) const MASK: &str = "***";

/// Letters from which on a key is taken out of answers. Shorter ones are no secrets but what a server
/// wants for form's sake, such as `x` or `EMPTY`, and may be words of an answer.
const LEAST: usize = 8;

/// Takes a key out of a text that comes in pieces, also where it is cut between them.
pub(crate) struct Masking<'a> {
    key: Option<&'a str>,
    /// What came last, where the key may have begun in it.
    held: String,
}

impl<'a> Masking<'a> {
    pub(crate) fn of(key: Option<&'a str>) -> Self {
        let key = key.filter(|key| key.chars().count() >= LEAST);
        Self { key, held: String::new() }
    }

    /// What can be shown after one more piece.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        let Some(key) = self.key else { return piece.to_owned() };
        self.held.push_str(piece);
        let text = self.held.replace(key, MASK);
        let begins = |at: &usize| key.starts_with(&text[*at..]);
        let from = text.char_indices().map(|(at, _)| at).find(begins).unwrap_or(text.len());
        text[from..].clone_into(&mut self.held);
        text[..from].to_owned()
    }

    /// What is still to be shown at the end.
    pub(crate) fn rest(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// A text that came whole.
    pub(crate) fn whole(&self, text: &str) -> String {
        self.key.map_or_else(|| text.to_owned(), |key| text.replace(key, MASK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_taken_out_however_its_text_is_cut() {
        let text = "dög a-bb-a-bb-a-bb-cé a-bb-a-bb-c, a-bb-";
        let expected = "dög a-bb-***é ***, a-bb-";
        for size in 1..=text.chars().count() {
            let mut masking = Masking::of(Some("a-bb-a-bb-c"));
            let letters: Vec<char> = text.chars().collect();
            let mut shown = String::new();
            for piece in letters.chunks(size) {
                shown += &masking.push(&piece.iter().collect::<String>());
            }
            shown += &masking.rest();
            assert_eq!(shown, expected, "in pieces of {size}");
            assert_eq!(masking.whole(text), expected);
        }
    }

    #[test]
    fn words_stay_where_there_is_no_key_or_only_a_placeholder() {
        for key in [None, Some("x"), Some("EMPTY"), Some("")] {
            let mut masking = Masking::of(key);
            assert_eq!(masking.push("an EMPTY box"), "an EMPTY box", "{key:?}");
            assert_eq!(masking.rest(), "");
        }
    }
}
