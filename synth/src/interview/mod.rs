//! What a person may ask about a picture or a clip, in many wordings, with what is true.
//!
//! Some wordings are held back, as some combinations of things are: a model that was trained on the
//! others is measured with these.

mod wordings;

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use self::wordings::{
    AFTER, BEFORE, BESIDE, COLOUR, DOES_IT_MOVE, DOING, ELSEWHERE, FIRST, FOLLOWS, HOW_MANY,
    IS_BEFORE, IS_BESIDE, IS_IT_AT, IS_THERE, LAST, LEFT_OR_RIGHT, MOVES_TO, OTHER_WORDS,
    WHAT_IS_THERE, WHAT_MOVES, WHERE, WHICH_FIRST, WHICH_LAST, WHICH_WAY, Wordings,
};
use crate::actor::Actor;
use crate::casting::{Cupboard, pick};
use crate::motion::Motion;
use crate::phrases::{number, side_phrases};
use crate::plan::{Plan, Relation, Side};
use crate::questions::{Question, QuestionKind};
use crate::split::Split;
use crate::vocabulary::{ThingId, article};

/// The answer to what the footage does not show.
pub const NOT_SHOWN: &str = "the clip does not show that";
/// The answer to a question that is not about the world.
pub const NOT_OF_THE_WORLD: &str = "i know only my small world";

/// Asks about an event or, where nothing can move, about a picture.
pub(crate) struct Interview<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) cupboard: Cupboard<'a>,
    /// What stands about: nobody can say that it is not there.
    pub(crate) props: Vec<ThingId>,
    /// Which wordings are used.
    pub(crate) split: Split,
    pub(crate) is_picture: bool,
}

/// Questions under way.
struct Asked<'a, 'r> {
    of: &'a Interview<'a>,
    list: Vec<Question>,
    rng: &'r mut ChaCha8Rng,
}

impl Interview<'_> {
    /// At least one question of each kind that the event can answer, and some that it cannot.
    pub(crate) fn questions(&self, rng: &mut ChaCha8Rng) -> Vec<Question> {
        let mut asked = Asked { of: self, list: Vec::new(), rng };
        let is_many = self.plan.relation == Relation::Count;
        for actor in self.plan.actors.iter().take(if is_many { 1 } else { 2 }) {
            asked.about_thing(actor, is_many);
        }
        asked.about_what_is_there();
        asked.about_place();
        asked.about_relation();
        asked.about_absent();
        if asked.rng.random::<f32>() < 0.5 {
            asked.about_elsewhere();
        }
        asked.list
    }
}

impl Asked<'_, '_> {
    fn wording(&mut self, wordings: &Wordings) -> &'static str {
        let side = usize::from(self.of.split == Split::Held);
        pick(self.rng, wordings[side])
    }

    /// Asks in one of these wordings, with words for what stands in braces.
    fn ask(
        &mut self,
        kind: QuestionKind,
        wordings: &Wordings,
        slots: &[(&str, &str)],
        answer: &str,
    ) {
        let mut question = self.wording(wordings).to_owned();
        for (slot, words) in slots {
            question = question.replace(&format!("{{{slot}}}"), words);
        }
        self.list.push(Question { kind, question, answer: answer.to_owned() });
    }

    fn yes_or_no(&mut self, wordings: &Wordings, slots: &[(&str, &str)], is_true: bool) {
        self.ask(QuestionKind::YesNo, wordings, slots, if is_true { "yes" } else { "no" });
    }

    /// What it is called; now and then by another name.
    fn noun(&mut self, thing: ThingId) -> String {
        let thing = &self.of.cupboard.vocabulary.things()[thing];
        if thing.synonyms.is_empty() || self.rng.random::<f32>() < 0.85 {
            return thing.name.clone();
        }
        let at = self.rng.random_range(0..thing.synonyms.len());
        thing.synonyms[at].clone()
    }

    fn plural(&self, thing: ThingId) -> &str {
        &self.of.cupboard.vocabulary.things()[thing].plural
    }

    /// Its usual name, as an answer.
    fn answered(&self, actor: &Actor) -> String {
        let noun = &self.of.cupboard.vocabulary.things()[actor.cast.thing].name;
        format!("{} {noun}", article(noun))
    }

    /// How a question speaks of it: "it" where there is only one thing.
    fn subject(&mut self, actor: &Actor) -> String {
        if self.of.plan.relation == Relation::Alone && self.rng.random::<f32>() < 0.4 {
            return "it".to_owned();
        }
        format!("the {}", self.noun(actor.cast.thing))
    }

    fn about_thing(&mut self, actor: &Actor, is_many: bool) {
        let noun = self.noun(actor.cast.thing);
        let a = format!("{} {noun}", article(&noun));
        self.yes_or_no(&IS_THERE, &[("a", &a)], true);
        let own = self.of.cupboard.vocabulary.things()[actor.cast.thing].colour.clone();
        let colour = actor.cast.tint.map(|tint| tint.name().to_owned()).or(own);
        if let Some(colour) = colour {
            let s = if is_many { format!("the {noun}") } else { self.subject(actor) };
            self.ask(QuestionKind::Colour, &COLOUR, &[("s", &s)], &colour);
        }
        if self.of.is_picture || is_many {
            return;
        }
        let s = self.subject(actor);
        let way = way(actor.motion);
        self.ask(QuestionKind::Direction, &WHICH_WAY, &[("s", &s)], way);
        if let "to the left" | "to the right" = way {
            let s = self.subject(actor);
            self.ask(QuestionKind::Direction, &LEFT_OR_RIGHT, &[("s", &s)], way);
        }
        let s = self.subject(actor);
        self.ask(QuestionKind::Direction, &DOING, &[("s", &s)], doing(actor.motion));
        self.about_moving(actor);
    }

    fn about_moving(&mut self, actor: &Actor) {
        let (s, is_still) = (self.subject(actor), actor.motion == Motion::Still);
        if self.rng.random::<f32>() < 0.4 {
            let before = self.list.len();
            self.yes_or_no(&DOES_IT_MOVE, &[("s", &s)], !is_still);
            // Half of the wordings ask the opposite.
            if let Some(asked) = self.list.get_mut(before)
                && asked.question.contains("still")
            {
                if is_still { "yes" } else { "no" }.clone_into(&mut asked.answer);
            }
        }
        if let Some(direction) = actor.motion.direction() {
            let is_true = self.rng.random::<bool>();
            let other = actor.motion.opposite().and_then(Motion::direction).unwrap_or(direction);
            let direction = towards(if is_true { direction } else { other });
            self.yes_or_no(&MOVES_TO, &[("s", &s), ("d", direction)], is_true);
        }
    }

    fn about_what_is_there(&mut self) {
        let plan = self.of.plan;
        match (plan.relation, &plan.actors[..]) {
            (Relation::Empty, _) => {
                self.ask(QuestionKind::Object, &WHAT_IS_THERE, &[], "nothing");
            }
            (Relation::Alone, [only]) => {
                let answer = self.answered(only);
                self.ask(QuestionKind::Object, &WHAT_IS_THERE, &[], &answer);
                if !self.of.is_picture && only.motion != Motion::Still {
                    self.ask(QuestionKind::Object, &WHAT_MOVES, &[], &answer);
                }
            }
            (Relation::Count, all @ [first, ..]) => {
                let many = self.plural(first.cast.thing).to_owned();
                let answer = format!("{} {many}", number(all.len()));
                self.ask(QuestionKind::Object, &WHAT_IS_THERE, &[], &answer);
                self.ask(QuestionKind::Count, &HOW_MANY, &[("m", &many)], number(all.len()));
                self.ask(QuestionKind::Count, &HOW_MANY, &[("m", "things")], number(all.len()));
            }
            (Relation::And | Relation::Beside(_), [first, second]) => {
                let mut both = [self.answered(first), self.answered(second)];
                // Neither is the first one: in the order of the alphabet.
                both.sort_by(|a, b| bare(a).cmp(bare(b)));
                let answer = both.join(" and ");
                self.ask(QuestionKind::Object, &WHAT_IS_THERE, &[], &answer);
            }
            _ => {}
        }
    }

    fn about_place(&mut self) {
        let scene = self.of.plan.scene;
        let s = match &self.of.plan.actors[..] {
            [only] => self.subject(only),
            [first, ..] if self.of.plan.relation != Relation::Count => {
                format!("the {}", self.noun(first.cast.thing))
            }
            _ => "it".to_owned(),
        };
        self.ask(QuestionKind::Place, &WHERE, &[("s", &s)], scene.places()[0]);
        let is_true = self.rng.random::<bool>();
        let asked = if is_true {
            scene
        } else {
            let others: Vec<_> =
                crate::scene::Scene::ALL.into_iter().filter(|other| *other != scene).collect();
            pick(self.rng, &others)
        };
        let place = pick(self.rng, asked.places());
        self.yes_or_no(&IS_IT_AT, &[("s", &s), ("p", place)], is_true);
    }

    fn about_relation(&mut self) {
        let plan = self.of.plan;
        let [first, second] = &plan.actors[..] else { return };
        let (a, b) = (self.answered(first), self.answered(second));
        let (noun_a, noun_b) = (self.noun(first.cast.thing), self.noun(second.cast.thing));
        match plan.relation {
            Relation::Then => {
                self.ask(QuestionKind::Order, &FIRST, &[], &a);
                self.ask(QuestionKind::Order, &LAST, &[], &b);
                self.ask(QuestionKind::Order, &AFTER, &[("a", &noun_a)], &b);
                self.ask(QuestionKind::Order, &BEFORE, &[("a", &noun_b)], &a);
                for (wordings, answer) in [(&WHICH_FIRST, &a), (&WHICH_LAST, &b)] {
                    let is_turned = self.rng.random::<bool>();
                    let (one, other) =
                        if is_turned { (&noun_b, &noun_a) } else { (&noun_a, &noun_b) };
                    self.ask(QuestionKind::Order, wordings, &[("a", one), ("b", other)], answer);
                }
                let is_true = self.rng.random::<bool>();
                let (one, other) = if is_true { (&noun_a, &noun_b) } else { (&noun_b, &noun_a) };
                self.yes_or_no(&IS_BEFORE, &[("a", one), ("b", other)], is_true);
            }
            Relation::Beside(side) => {
                let words = pick(self.rng, &side_phrases(side)[..2]);
                let turned = pick(self.rng, &side_phrases(other_side(side))[..2]);
                self.ask(QuestionKind::Place, &BESIDE, &[("side", words), ("b", &noun_b)], &a);
                self.ask(QuestionKind::Place, &BESIDE, &[("side", turned), ("b", &noun_a)], &b);
                let is_true = self.rng.random::<bool>();
                let side = if is_true { words } else { turned };
                let slots = [("a", noun_a.as_str()), ("side", side), ("b", noun_b.as_str())];
                self.yes_or_no(&IS_BESIDE, &slots, is_true);
            }
            Relation::Follows => {
                self.ask(QuestionKind::Order, &FOLLOWS, &[("b", &noun_b)], &a);
            }
            _ => {}
        }
    }

    /// Of what is not there there is nothing to tell.
    fn about_absent(&mut self) {
        let mut shown = self.of.plan.things();
        shown.extend(&self.of.props);
        let absent = |asked: &mut Self| asked.of.cupboard.cast_unlike(&shown, asked.rng).thing;
        for _ in 0..if self.of.plan.actors.len() == 1 { 1 } else { 2 } {
            let thing = absent(self);
            let noun = self.noun(thing);
            let a = format!("{} {noun}", article(&noun));
            self.yes_or_no(&IS_THERE, &[("a", &a)], false);
        }
        for _ in 0..2 {
            let thing = absent(self);
            let noun = self.noun(thing);
            let s = format!("the {noun}");
            let many = self.plural(thing).to_owned();
            let kind = QuestionKind::Absent;
            match self.rng.random_range(0..if self.of.is_picture { 3 } else { 6 }) {
                0 => self.ask(kind, &COLOUR, &[("s", &s)], NOT_SHOWN),
                1 => self.ask(kind, &HOW_MANY, &[("m", &many)], NOT_SHOWN),
                2 => self.ask(kind, &BESIDE, &[("side", "left of"), ("b", &noun)], NOT_SHOWN),
                3 => self.ask(kind, &WHICH_WAY, &[("s", &s)], NOT_SHOWN),
                4 => self.ask(kind, &DOING, &[("s", &s)], NOT_SHOWN),
                _ => self.ask(kind, &AFTER, &[("a", &noun)], NOT_SHOWN),
            }
        }
        if let (Relation::Alone, [only], false) =
            (self.of.plan.relation, &self.of.plan.actors[..], self.of.is_picture)
        {
            let noun = self.noun(only.cast.thing);
            let wordings = if self.rng.random() { &AFTER } else { &BEFORE };
            self.ask(QuestionKind::Absent, wordings, &[("a", &noun)], NOT_SHOWN);
        }
    }

    fn about_elsewhere(&mut self) {
        let mut question = self.wording(&ELSEWHERE).to_owned();
        while question.contains("{w}") {
            let word = self.wording(&OTHER_WORDS);
            question = question.replacen("{w}", word, 1);
        }
        let kind = QuestionKind::Elsewhere;
        self.list.push(Question { kind, question, answer: NOT_OF_THE_WORLD.to_owned() });
    }
}

/// A noun without its article.
fn bare(phrase: &str) -> &str {
    phrase.split_once(' ').map_or(phrase, |(_, noun)| noun)
}

fn other_side(side: Side) -> Side {
    match side {
        Side::Left => Side::Right,
        Side::Right => Side::Left,
        Side::Above => Side::Below,
        Side::Below => Side::Above,
    }
}

/// A direction as a complement: "to the left".
fn towards(direction: &'static str) -> &'static str {
    match direction {
        "left" => "to the left",
        "right" => "to the right",
        other => other,
    }
}

/// The answer to "which way?".
fn way(motion: Motion) -> &'static str {
    match motion {
        Motion::Still => "it does not move",
        Motion::Circle => "in a circle",
        Motion::Bounce => "up and down",
        _ => motion.direction().map_or("it does not move", towards),
    }
}

/// The answer to "what does it do?".
fn doing(motion: Motion) -> &'static str {
    match motion {
        Motion::Still => "it does not move",
        Motion::Right => "it moves to the right",
        Motion::Left => "it moves to the left",
        Motion::Up => "it moves up",
        Motion::Down => "it moves down",
        Motion::Closer => "it comes towards the camera",
        Motion::Away => "it goes away from the camera",
        Motion::Circle => "it moves in a circle",
        Motion::Bounce => "it bounces up and down",
        Motion::EnterLeft => "it comes in from the left",
        Motion::EnterRight => "it comes in from the right",
        Motion::LeaveLeft => "it leaves to the left",
        Motion::LeaveRight => "it leaves to the right",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng as _;

    use super::*;
    use crate::view::{Fit, View};
    use crate::world::World;

    const VIEW: View = View::square(16, Fit::Stretch);

    fn asked(split: Split) -> Vec<Question> {
        let world = World::load().unwrap();
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        (0..300).flat_map(|_| world.sample_clip(&mut rng, split, VIEW, 4, 1.0).questions).collect()
    }

    #[test]
    fn every_kind_is_asked_and_nothing_is_left_in_braces() {
        let asked = asked(Split::Train);
        let kinds: BTreeSet<QuestionKind> = asked.iter().map(|question| question.kind).collect();
        assert_eq!(kinds.len(), 9, "{kinds:?}");
        for Question { question, answer, .. } in &asked {
            assert!(!question.contains(['{', '}']) && !answer.is_empty(), "{question} {answer}");
        }
        let yes = |answer: &str| asked.iter().filter(|question| question.answer == answer).count();
        let (yes, no) = (yes("yes") as f32, yes("no") as f32);
        assert!((0.6..1.6).contains(&(yes / no)), "{yes} yes, {no} no");
    }

    #[test]
    fn held_wordings_are_new_but_made_of_words_that_training_has() {
        let words = |asked: &[Question]| -> BTreeSet<String> {
            let of_the_world = asked.iter().filter(|q| q.kind != QuestionKind::Elsewhere);
            of_the_world
                .flat_map(|q| q.question.split(' '))
                .map(|word| word.trim_matches(['?', ',']).to_owned())
                .collect()
        };
        let (train, held) = (asked(Split::Train), asked(Split::Held));
        let known = words(&train);
        let world = World::load().unwrap();
        let things = world.vocabulary().things().iter();
        let names: BTreeSet<String> = things
            .flat_map(|thing| thing.synonyms.iter().chain([&thing.name, &thing.plural]))
            .flat_map(|name| name.split(' '))
            .map(str::to_owned)
            .collect();
        for word in words(&held) {
            assert!(known.contains(&word) || names.contains(&word), "{word}");
        }
        let wordings = |asked: &[Question]| -> BTreeSet<String> {
            let first = asked.iter().filter(|q| q.question.starts_with("what comes first, "));
            first.map(|q| q.question.clone()).collect()
        };
        assert!(!wordings(&train).is_empty() && wordings(&held).is_empty());
    }
}
