//! How far two models give the same answers.

use serde::Serialize;

use crate::Stretch;

/// How far what one model gives for a sentence is what another one gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Agreement {
    /// Moments that the first one gives.
    pub given: usize,
    /// Those of them that the second one gives as well, in whatever order.
    pub shared: usize,
    /// Whether both begin with the same moment.
    pub same_first: bool,
}

impl Agreement {
    /// Compares what both give, each best first. Two moments are the same where they show each other.
    pub fn of(first: &[Stretch], second: &[Stretch]) -> Self {
        let is_shown = |one: &&Stretch| second.iter().any(|other| one.is_shown_by(other));
        let firsts = first.first().zip(second.first());
        Self {
            given: first.len(),
            shared: first.iter().filter(is_shown).count(),
            same_first: firsts.is_some_and(|(one, other)| one.is_shown_by(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use footage_clip::SourceId;

    use super::*;

    fn stretch(source: &str, from_s: f64, to_s: f64) -> Stretch {
        Stretch { source: SourceId::try_new(source).unwrap(), from_s, to_s }
    }

    #[test]
    fn moments_are_the_same_where_they_share_half_of_the_shorter_of_the_two() {
        let first = [stretch("a", 0.0, 4.0), stretch("a", 10.0, 14.0), stretch("b", 0.0, 4.0)];
        let second = [stretch("a", 11.0, 15.0), stretch("a", 2.0, 8.0), stretch("b", 3.0, 9.0)];
        let agreement = Agreement::of(&first, &second);
        assert_eq!(agreement, Agreement { given: 3, shared: 2, same_first: false });
        assert!(Agreement::of(&first, &first).same_first);
        assert_eq!(Agreement::of(&[], &second), Agreement::default());
    }
}
