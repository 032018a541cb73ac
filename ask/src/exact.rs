//! Whether two short answers are the same, without a judge.

/// Number words and what stands for them.
const NUMBERS: [(&str, &str); 11] = [
    ("zero", "0"),
    ("one", "1"),
    ("two", "2"),
    ("three", "3"),
    ("four", "4"),
    ("five", "5"),
    ("six", "6"),
    ("seven", "7"),
    ("eight", "8"),
    ("nine", "9"),
    ("ten", "10"),
];

/// An answer without what makes no difference: case, punctuation, articles, and whether a number up to
/// ten is written as a word.
pub fn normalised(answer: &str) -> String {
    let lower = answer.to_lowercase().replace(['\'', '\u{2019}'], "");
    let words = lower.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
    let words = words.filter(|word| !matches!(*word, "a" | "an" | "the"));
    let plain =
        |word| NUMBERS.iter().find(|(name, _)| *name == word).map_or(word, |(_, digit)| *digit);
    words.map(plain).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_difference_is_left_out_and_what_does_is_not() {
        assert_eq!(normalised(" The red-brown Dog. "), "red brown dog");
        assert_eq!(normalised("two"), normalised("2."));
        assert_eq!(normalised("it doesn't"), normalised("it doesn\u{2019}t"));
        assert_ne!(normalised("to the left"), normalised("to the right"));
        assert_ne!(normalised("no"), normalised("not one"));
        assert_eq!(normalised("the"), "");
        assert_eq!(normalised("赤い犬"), "赤い犬");
    }
}
