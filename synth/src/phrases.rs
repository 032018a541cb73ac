//! The parts captions are put together from: noun phrases, verbs, places.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::actor::{Actor, Size};
use crate::casting::pick;
use crate::motion::Motion;
use crate::plan::{Plan, Relation, Side};
use crate::vocabulary::{Vocabulary, article, class_phrase};

/// A verb in three forms: "moves", "moving", "move".
type Verb = [&'static str; 3];

const MOVE: Verb = ["moves", "moving", "move"];
const GO: Verb = ["goes", "going", "go"];
const TRAVEL: Verb = ["travels", "travelling", "travel"];
const COME: Verb = ["comes", "coming", "come"];
const DRIVE: Verb = ["drives", "driving", "drive"];
const TURN: Verb = ["turns", "turning", "turn"];
const WALK: Verb = ["walks", "walking", "walk"];
const RUN: Verb = ["runs", "running", "run"];
const ROLL: Verb = ["rolls", "rolling", "roll"];
const SLIDE: Verb = ["slides", "sliding", "slide"];

const ENTER: Verb = ["enters", "entering", "enter"];
const LEAVE: Verb = ["leaves", "leaving", "leave"];
const EXIT: Verb = ["exits", "exiting", "exit"];
const REST: Verb = ["does not move", "not moving", "do not move"];
const APPROACH: Verb = ["approaches", "approaching", "approach"];
const RECEDE: Verb = ["recedes", "receding", "recede"];

/// What can be said of a motion: each verb goes with each complement.
struct Saying {
    verbs: &'static [Verb],
    complements: &'static [&'static str],
}

const fn saying(verbs: &'static [Verb], complements: &'static [&'static str]) -> Saying {
    Saying { verbs, complements }
}

/// The sayings of a motion. The lists of opposite motions are as long as each other, so that the
/// same draws give the same caption but for the direction.
fn sayings(motion: Motion, category: &str) -> [Saying; 2] {
    match motion {
        Motion::Still => [
            saying(&[["stands", "standing", "stand"], ["stays", "staying", "stay"]], &["still"]),
            saying(&[REST, ["stays in place", "staying in place", "stay in place"]], &[""]),
        ],
        Motion::Right => [
            saying(&[MOVE, MOVE, GO, TRAVEL], &["right", "to the right", "from left to right"]),
            saying(sideways_verbs(category), &["right", "to the right"]),
        ],
        Motion::Left => [
            saying(&[MOVE, MOVE, GO, TRAVEL], &["left", "to the left", "from right to left"]),
            saying(sideways_verbs(category), &["left", "to the left"]),
        ],
        Motion::Up => [
            saying(&[MOVE, MOVE, GO], &["up", "upwards", "from bottom to top"]),
            saying(&[["rises", "rising", "rise"], ["climbs", "climbing", "climb"]], &["", "up"]),
        ],
        Motion::Down => [
            saying(&[MOVE, MOVE, GO], &["down", "downwards", "from top to bottom"]),
            saying(&[["sinks", "sinking", "sink"], ["drops", "dropping", "drop"]], &["", "down"]),
        ],
        Motion::Closer => [
            saying(&[MOVE, COME, COME], &["closer", "towards the camera", "nearer"]),
            saying(&[APPROACH, ["gets bigger", "getting bigger", "get bigger"]], &[""]),
        ],
        Motion::Away => [
            saying(&[MOVE, GO, GO], &["away", "away from the camera", "further away"]),
            saying(&[RECEDE, ["gets smaller", "getting smaller", "get smaller"]], &[""]),
        ],
        Motion::Circle => [
            saying(&[MOVE, MOVE, GO], &["in a circle", "in circles", "around in a circle"]),
            saying(&[["circles", "circling", "circle"]], &["", "around"]),
        ],
        Motion::Bounce => [
            saying(&[["bounces", "bouncing", "bounce"]], &["", "up and down"]),
            saying(
                &[["jumps", "jumping", "jump"], ["hops", "hopping", "hop"]],
                &["", "up and down"],
            ),
        ],
        Motion::EnterLeft => [
            saying(&[ENTER], &["from the left", "from the left side"]),
            saying(&[COME, MOVE], &["in from the left", "into view from the left"]),
        ],
        Motion::EnterRight => [
            saying(&[ENTER], &["from the right", "from the right side"]),
            saying(&[COME, MOVE], &["in from the right", "into view from the right"]),
        ],
        Motion::LeaveLeft => [
            saying(&[LEAVE, EXIT], &["to the left", "on the left"]),
            saying(&[MOVE, GO], &["out to the left", "out of view to the left"]),
        ],
        Motion::LeaveRight => [
            saying(&[LEAVE, EXIT], &["to the right", "on the right"]),
            saying(&[MOVE, GO], &["out to the right", "out of view to the right"]),
        ],
    }
}

fn sideways_verbs(category: &str) -> &'static [Verb] {
    match category {
        "vehicle" => &[DRIVE, TURN],
        "animal" | "person" => &[WALK, RUN],
        "shape" => &[ROLL, SLIDE],
        _ => &[SLIDE, MOVE],
    }
}

/// Three forms of one way to say what `motion` is: "moves left", "moving left", "move left".
fn doing(motion: Motion, category: &str, rng: &mut ChaCha8Rng) -> [String; 3] {
    let [plain, special] = sayings(motion, category);
    let saying = if rng.random::<f32>() < 0.7 { plain } else { special };
    let verb = pick(rng, saying.verbs);
    let complement = pick(rng, saying.complements);
    if complement.is_empty() {
        return verb.map(str::to_owned);
    }
    verb.map(|form| format!("{form} {complement}"))
}

const NUMBERS: [&str; 6] = ["no", "one", "two", "three", "four", "five"];

/// The word for a small number.
pub(crate) fn number(count: usize) -> &'static str {
    NUMBERS.get(count).copied().unwrap_or("many")
}

/// How a caption says where the first thing is as seen from the second; two ways each.
pub(crate) fn side_phrases(side: Side) -> &'static [&'static str] {
    match side {
        Side::Left => &["to the left of", "left of", "on the left of"],
        Side::Right => &["to the right of", "right of", "on the right of"],
        Side::Above => &["above", "over", "on top of"],
        Side::Below => &["below", "under", "beneath"],
    }
}

fn other_side(side: Side) -> Side {
    match side {
        Side::Left => Side::Right,
        Side::Right => Side::Left,
        Side::Above => Side::Below,
        Side::Below => Side::Above,
    }
}

/// What a caption may say of one actor, drawn once per caption.
struct Telling {
    /// "a large red ball".
    full: String,
    /// "red ball", "hound".
    bare: String,
    /// "the ball".
    definite: String,
    /// "a shape".
    class: &'static str,
    doing: [String; 3],
}

impl Telling {
    fn draw(actor: &Actor, vocabulary: &Vocabulary, rng: &mut ChaCha8Rng) -> Self {
        let thing = vocabulary.thing(actor.cast.thing);
        let (u, v, w): (f32, f32, f32) = (rng.random(), rng.random(), rng.random());
        let noun = if u < 0.65 || thing.synonyms.is_empty() {
            &thing.name
        } else {
            let place = (u - 0.65) / 0.35 * thing.synonyms.len() as f32;
            &thing.synonyms[(place as usize).min(thing.synonyms.len() - 1)]
        };
        let colour = match actor.cast.tint {
            Some(tint) => (v < 0.8).then(|| tint.name()),
            None => thing.colour.as_deref().filter(|_| v < 0.2),
        };
        let bare = colour.map_or_else(|| noun.clone(), |colour| format!("{colour} {noun}"));
        let size = match actor.size {
            Size::Small => pick(rng, &["small", "little"]),
            Size::Medium => pick(rng, &["", ""]),
            Size::Large => pick(rng, &["large", "big"]),
        };
        let full = if size.is_empty() || w > 0.4 {
            format!("{} {bare}", article(&bare))
        } else {
            format!("a {size} {bare}")
        };
        Self {
            full,
            definite: format!("the {noun}"),
            bare,
            class: class_phrase(&thing.category),
            doing: doing(actor.motion, &thing.category, rng),
        }
    }
}

/// The words of one caption.
pub(crate) struct Words {
    first: Option<Telling>,
    second: Option<Telling>,
    place: &'static str,
    scene: String,
    group: [String; 2],
    sides: [&'static str; 2],
}

impl Words {
    pub(crate) fn draw(plan: &Plan, vocabulary: &Vocabulary, rng: &mut ChaCha8Rng) -> Self {
        let scene = pick(rng, plan.scene.nouns());
        let place = pick(rng, plan.scene.places());
        let mut tellings = plan.actors.iter().map(|a| Telling::draw(a, vocabulary, rng));
        let (first, second) = (tellings.next(), tellings.next());
        let group = plan.actors.first().map_or_else(Default::default, |actor| {
            let thing = vocabulary.thing(actor.cast.thing);
            let colour = actor.cast.tint.map_or(String::new(), |t| format!("{} ", t.name()));
            let many = format!("{colour}{}", thing.plural);
            [format!("{} {many}", number(plan.actors.len())), many]
        });
        let side = match plan.relation {
            Relation::Beside(side) => side,
            _ => Side::Left,
        };
        let sides = [pick(rng, side_phrases(side)), pick(rng, side_phrases(other_side(side)))];
        Self { first, second, place, scene: plan.scene.with_article(scene), group, sides }
    }

    /// What stands in a template's slot; empty for a slot that this event cannot fill.
    pub(crate) fn slot(&self, name: &str) -> &str {
        fn of<'a>(telling: Option<&'a Telling>, part: impl Fn(&'a Telling) -> &'a str) -> &'a str {
            telling.map_or("", part)
        }
        let (first, second) = (self.first.as_ref(), self.second.as_ref());
        match name {
            "a" => of(first, |t| &t.full),
            "b" => of(second, |t| &t.full),
            "bare" => of(first, |t| &t.bare),
            "bare_b" => of(second, |t| &t.bare),
            "the" => of(first, |t| &t.definite),
            "the_b" => of(second, |t| &t.definite),
            "class" => of(first, |t| t.class),
            "does" => of(first, |t| &t.doing[0]),
            "doing" => of(first, |t| &t.doing[1]),
            "do" => of(first, |t| &t.doing[2]),
            "does_b" => of(second, |t| &t.doing[0]),
            "doing_b" => of(second, |t| &t.doing[1]),
            "where" => self.place,
            "scene" => &self.scene,
            "group" => &self.group[0],
            "many" => &self.group[1],
            "side" => self.sides[0],
            "reverse" => self.sides[1],
            _ => "",
        }
    }
}
