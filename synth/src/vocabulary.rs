//! The things of the world and the words for them.

use std::collections::BTreeMap;

use crate::error::SynthError;

/// Index of a [`Thing`] in the [`Vocabulary`].
pub type ThingId = usize;

/// Where a thing's picture comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// A bitmap of the emoji font, with colours of its own.
    Emoji(char),
    /// A geometric figure that we draw in any [`Tint`].
    Shape(Shape),
}

/// A geometric figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A shaded disc.
    Ball,
    /// A filled square.
    Square,
    /// An upright triangle.
    Triangle,
    /// A star of five points.
    Star,
    /// A heart.
    Heart,
    /// A square that stands on its corner.
    Diamond,
}

impl Shape {
    /// All figures.
    pub const ALL: [Self; 6] =
        [Self::Ball, Self::Square, Self::Triangle, Self::Star, Self::Heart, Self::Diamond];

    fn words(self) -> (&'static str, &'static [&'static str]) {
        match self {
            Self::Ball => ("ball", &["circle"]),
            Self::Square => ("square", &["box"]),
            Self::Triangle => ("triangle", &[]),
            Self::Star => ("star", &[]),
            Self::Heart => ("heart", &[]),
            Self::Diamond => ("diamond", &["rhombus"]),
        }
    }
}

/// A colour a [`Shape`] can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of colours")]
pub enum Tint {
    Red,
    Orange,
    Yellow,
    Green,
    Blue,
    Purple,
    White,
    Black,
}

impl Tint {
    /// All colours.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Blue,
        Self::Purple,
        Self::White,
        Self::Black,
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Orange => "orange",
            Self::Yellow => "yellow",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Purple => "purple",
            Self::White => "white",
            Self::Black => "black",
        }
    }

    pub(crate) fn rgb(self) -> [f32; 3] {
        match self {
            Self::Red => [222.0, 30.0, 36.0],
            Self::Orange => [247.0, 130.0, 20.0],
            Self::Yellow => [250.0, 222.0, 40.0],
            Self::Green => [40.0, 175.0, 60.0],
            Self::Blue => [36.0, 90.0, 225.0],
            Self::Purple => [140.0, 50.0, 190.0],
            Self::White => [248.0, 248.0, 248.0],
            Self::Black => [24.0, 24.0, 28.0],
        }
    }
}

/// A kind of object: what it is called and how it looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    /// The common English noun.
    pub name: String,
    /// Other words for it; may be empty.
    pub synonyms: Vec<String>,
    /// The noun for several of it.
    pub plural: String,
    /// What sort of thing it is, such as "animal"; see [`class_phrase`].
    pub category: String,
    /// The colour of its picture where one word says it; a shape has none of its own.
    pub colour: Option<String>,
    /// Where its picture comes from.
    pub look: Look,
}

/// All things, in a fixed order: the object table, then the shapes.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    things: Vec<Thing>,
}

impl Vocabulary {
    /// Reads the bundled table.
    ///
    /// # Errors
    /// [`SynthError::Vocabulary`] names the line that is malformed.
    pub fn load() -> Result<Self, SynthError> {
        Self::parse(include_str!("objects.tsv"))
    }

    fn parse(table: &str) -> Result<Self, SynthError> {
        let mut things = Vec::new();
        for (index, line) in table.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let thing = parse_line(line)
                .map_err(|why| SynthError::Vocabulary { line: index + 1, why: why.to_owned() })?;
            things.push(thing);
        }
        things.extend(Shape::ALL.map(|shape| {
            let (name, synonyms) = shape.words();
            Thing {
                name: name.to_owned(),
                synonyms: synonyms.iter().map(|&s| s.to_owned()).collect(),
                plural: plural_of(name),
                category: "shape".to_owned(),
                colour: None,
                look: Look::Shape(shape),
            }
        }));
        Ok(Self { things })
    }

    /// All things; a [`ThingId`] is a place in this slice.
    pub fn things(&self) -> &[Thing] {
        &self.things
    }

    pub(crate) fn thing(&self, id: ThingId) -> &Thing {
        &self.things[id]
    }

    /// The thing with this name or synonym.
    pub fn find(&self, word: &str) -> Option<ThingId> {
        self.things
            .iter()
            .position(|t| t.name == word)
            .or_else(|| self.things.iter().position(|t| t.synonyms.iter().any(|s| s == word)))
    }

    /// Categories and how many things each has.
    pub fn categories(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for thing in &self.things {
            *counts.entry(thing.category.as_str()).or_insert(0) += 1;
        }
        counts
    }
}

fn parse_line(line: &str) -> Result<Thing, &'static str> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [code, name, synonyms, category, plural, colour] = fields[..] else {
        return Err("expected six columns separated by tabs");
    };
    let code = u32::from_str_radix(code, 16)
        .ok()
        .and_then(char::from_u32)
        .ok_or("the first column is not a hexadecimal code point")?;
    if name.is_empty() || category.is_empty() {
        return Err("name and category must not be empty");
    }
    let plural = if plural.is_empty() { plural_of(name) } else { plural.to_owned() };
    Ok(Thing {
        name: name.to_owned(),
        synonyms: synonyms.split(',').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
        plural,
        category: category.to_owned(),
        colour: (!colour.is_empty()).then(|| colour.to_owned()),
        look: Look::Emoji(code),
    })
}

fn plural_of(noun: &str) -> String {
    let ends = |suffixes: &[&str]| suffixes.iter().any(|s| noun.ends_with(s));
    if ends(&["s", "x", "ch", "sh"]) {
        return format!("{noun}es");
    }
    match noun.strip_suffix('y') {
        Some(stem) if !ends(&["ay", "ey", "oy"]) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

/// How a caption calls a thing of this category when it does not name it.
pub fn class_phrase(category: &str) -> &'static str {
    match category {
        "animal" => "an animal",
        "vehicle" => "a vehicle",
        "food" => "some food",
        "tool" => "a tool",
        "instrument" => "a musical instrument",
        "clothing" => "a piece of clothing",
        "building" => "a building",
        "plant" => "a plant",
        "person" => "a figure",
        "shape" => "a shape",
        _ => "an object",
    }
}

/// "a" or "an", as `noun` sounds.
pub(crate) fn article(noun: &str) -> &'static str {
    let sounds_like_you = ["uni", "ufo", "use"].iter().any(|p| noun.starts_with(p));
    if !sounds_like_you && noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_word_names_one_thing() {
        let vocabulary = Vocabulary::load().unwrap();
        let mut seen = HashSet::new();
        for thing in vocabulary.things() {
            for word in std::iter::once(&thing.name).chain(&thing.synonyms) {
                assert!(seen.insert(word.clone()), "'{word}' names two things");
                let found = vocabulary.find(word).unwrap();
                assert_eq!(vocabulary.thing(found).name, thing.name);
            }
        }
        assert!(vocabulary.things().len() >= 160);
    }

    #[test]
    fn a_malformed_line_is_named() {
        let error = Vocabulary::parse("# head\n1F415\tdog\tanimal\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "objects.tsv, line 2: expected six columns separated by tabs"
        );
        let error = Vocabulary::parse("dog\tdog\t\tanimal\t\t\n").unwrap_err();
        assert!(error.to_string().contains("hexadecimal"), "{error}");
    }

    #[test]
    fn plurals_and_articles_follow_english() {
        assert_eq!(plural_of("box"), "boxes");
        assert_eq!(plural_of("bunny"), "bunnies");
        assert_eq!(plural_of("monkey"), "monkeys");
        assert_eq!(plural_of("church"), "churches");
        assert_eq!(article("apple"), "an");
        assert_eq!(article("umbrella"), "an");
        assert_eq!(article("unicorn"), "a");
        assert_eq!(article("dog"), "a");
    }
}
