//! How questions are worded. What stands in braces is filled in.

/// Wordings of a question: those for training, and those held back.
pub(super) type Wordings = [&'static [&'static str]; 2];

pub(super) const WHICH_WAY: Wordings = [
    &[
        "which way does {s} move?",
        "which way does {s} go?",
        "which way is {s} moving?",
        "in which direction does {s} move?",
        "in which direction is {s} going?",
        "which direction does {s} go?",
        "where does {s} go?",
        "where is {s} moving to?",
        "where does {s} move to?",
        "what is the direction of {s}?",
        "which way did {s} go?",
    ],
    &[
        "which way is {s} going?",
        "in which direction does {s} go?",
        "which direction does {s} move?",
        "where is {s} going to?",
        "in which direction is {s} moving?",
    ],
];
pub(super) const LEFT_OR_RIGHT: Wordings = [
    &[
        "does {s} move left or right?",
        "does {s} go to the left or to the right?",
        "is {s} moving to the left or to the right?",
    ],
    &["does {s} go left or right?", "does {s} move to the left or to the right?"],
];
pub(super) const DOING: Wordings = [
    &["what does {s} do?", "what is {s} doing?", "how does {s} move?", "what happens to {s}?"],
    &["how is {s} moving?", "what did {s} do?"],
];
pub(super) const IS_THERE: Wordings = [
    &[
        "is there {a}?",
        "do you see {a}?",
        "is {a} there?",
        "is there {a} in the clip?",
        "does the clip show {a}?",
    ],
    &["can you see {a}?", "do you see {a} in the clip?", "can you see {a} there?"],
];
pub(super) const DOES_IT_MOVE: Wordings = [
    &["does {s} move?", "is {s} moving?", "does {s} stand still?", "is {s} standing still?"],
    &["is {s} still?", "do you see {s} moving?"],
];
pub(super) const MOVES_TO: Wordings =
    [&["does {s} move {d}?", "is {s} moving {d}?", "does {s} go {d}?"], &["is {s} going {d}?"]];
pub(super) const WHAT_IS_THERE: Wordings = [
    &[
        "what is there?",
        "what do you see?",
        "what is in the clip?",
        "what can you see?",
        "what does the clip show?",
        "what is this?",
        "what is it?",
    ],
    &["what do you see in the clip?", "what can you see in the clip?", "what do you see there?"],
];
pub(super) const WHAT_MOVES: Wordings = [
    &["what moves?", "what is moving?", "what moves there?", "which thing moves?"],
    &["what is moving there?", "which thing is moving?"],
];
pub(super) const COLOUR: Wordings = [
    &[
        "what colour is {s}?",
        "which colour is {s}?",
        "what is the colour of {s}?",
        "what color is {s}?",
        "what is the color of {s}?",
        "what colour has {s}?",
    ],
    &["which color is {s}?", "which colour has {s}?", "what color has {s}?"],
];
pub(super) const HOW_MANY: Wordings = [
    &[
        "how many {m} are there?",
        "how many {m} do you see?",
        "how many {m} can you see?",
        "how many {m} does the clip show?",
    ],
    &["how many {m} are in the clip?", "how many {m} do you see there?"],
];
pub(super) const WHERE: Wordings = [
    &[
        "where is {s}?",
        "where does this happen?",
        "where is this?",
        "where does it happen?",
        "what place is it?",
        "what place is this?",
    ],
    &["where does the clip happen?", "where is {s} in the clip?", "what is the place?"],
];
pub(super) const IS_IT_AT: Wordings = [
    &["is {s} {p}?", "does this happen {p}?", "is this {p}?"],
    &["does it happen {p}?", "does the clip happen {p}?"],
];
pub(super) const BESIDE: Wordings = [
    &[
        "what is {side} the {b}?",
        "what do you see {side} the {b}?",
        "which thing is {side} the {b}?",
    ],
    &["what can you see {side} the {b}?", "what is there {side} the {b}?"],
];
pub(super) const IS_BESIDE: Wordings =
    [&["is the {a} {side} the {b}?"], &["do you see the {a} {side} the {b}?"]];
pub(super) const FIRST: Wordings = [
    &[
        "what comes first?",
        "what is first?",
        "what is there first?",
        "which thing comes first?",
        "what happened first?",
    ],
    &["what do you see first?", "which thing is first?"],
];
pub(super) const LAST: Wordings = [
    &["what comes last?", "what is last?", "what comes second?", "which thing comes last?"],
    &["what is there last?", "which thing is last?", "which thing comes second?"],
];
pub(super) const AFTER: Wordings = [
    &[
        "what comes after the {a}?",
        "what is there after the {a}?",
        "which thing comes after the {a}?",
        "what happened after the {a}?",
    ],
    &["what do you see after the {a}?", "what is after the {a}?"],
];
pub(super) const BEFORE: Wordings = [
    &[
        "what comes before the {a}?",
        "what is there before the {a}?",
        "which thing comes before the {a}?",
        "what happened before the {a}?",
    ],
    &["what do you see before the {a}?", "what is before the {a}?"],
];
pub(super) const WHICH_FIRST: Wordings = [
    &[
        "which comes first, the {a} or the {b}?",
        "what comes first, the {a} or the {b}?",
        "what is first, the {a} or the {b}?",
        "which is there first, the {a} or the {b}?",
    ],
    &["which is first, the {a} or the {b}?", "what is there first, the {a} or the {b}?"],
];
pub(super) const WHICH_LAST: Wordings = [
    &["which comes last, the {a} or the {b}?", "what comes second, the {a} or the {b}?"],
    &["what comes last, the {a} or the {b}?", "which comes second, the {a} or the {b}?"],
];
pub(super) const IS_BEFORE: Wordings = [
    &["does the {a} come before the {b}?", "is the {a} there before the {b}?"],
    &["do you see the {a} before the {b}?"],
];
pub(super) const FOLLOWS: Wordings = [
    &["what follows the {b}?", "what goes behind the {b}?", "which thing follows the {b}?"],
    &["what moves behind the {b}?", "which thing goes behind the {b}?"],
];

/// Questions that are not about the world, with the words that are put into them.
pub(super) const ELSEWHERE: Wordings = [
    &[
        "who is the {w}?",
        "what is the {w} of {w}?",
        "how old is the {w}?",
        "why does the {w} {w}?",
        "tell me about {w}",
        "when did {w} happen?",
        "what do you think about {w}?",
        "write a {w} about {w}",
        "how do i {w} a {w}?",
        "is {w} better than {w}?",
        "which {w} is the best?",
        "what time is it?",
        "who are you?",
        "{w} {w} {w}",
    ],
    &["who made the {w}?", "what is a {w}?", "how much does the {w} cost?", "explain {w}"],
];
pub(super) const OTHER_WORDS: Wordings = [
    &[
        "president",
        "capital",
        "france",
        "price",
        "gold",
        "weather",
        "tomorrow",
        "poem",
        "music",
        "history",
        "mathematics",
        "equation",
        "moon landing",
        "recipe",
        "bread",
        "engine",
        "software",
        "python",
        "money",
        "bank",
        "election",
        "king",
        "queen",
        "war",
        "peace",
        "love",
        "wisdom",
        "philosophy",
        "atom",
        "electron",
        "planet",
        "galaxy",
        "europe",
        "berlin",
        "tokyo",
        "doctor",
        "medicine",
        "cancer",
        "law",
        "court",
        "police",
        "teacher",
        "school",
        "university",
        "football",
        "chess",
        "olympics",
        "newspaper",
        "television",
        "internet",
        "email",
        "password",
        "bus ticket",
        "airport",
        "hotel",
        "breakfast",
        "wine",
        "beer",
        "salary",
        "job",
        "boss",
        "sister",
        "brother",
        "mother",
        "birthday",
        "christmas",
        "name",
        "language",
        "grammar",
        "novel",
        "author",
        "shakespeare",
        "painting",
        "museum",
        "statue",
        "bridge",
        "tunnel",
        "truth",
        "lie",
        "dream",
        "sleep",
        "cook",
        "buy",
        "sell",
        "repair",
        "learn",
        "teach",
        "wear",
        "carry",
        "carrying",
        "shirt colour",
        "licence plate",
        "number plate",
        "mood",
        "angry",
        "happy",
        "sad",
        "instructions",
        "ignore",
        "system prompt",
        "secret",
    ],
    &[
        "parliament",
        "silver",
        "government",
        "spaghetti",
        "keyboard",
        "printer",
        "biology",
        "chemistry",
        "oxygen",
        "africa",
        "madrid",
        "nurse",
        "lawyer",
        "tennis",
        "radio",
        "website",
        "passport",
        "dinner",
        "coffee machine",
        "uncle",
        "wedding",
        "dictionary",
        "poet",
        "opera",
        "sculpture",
        "nightmare",
        "build",
        "borrow",
        "translate",
        "summary",
        "thief",
        "hungry",
    ],
];
