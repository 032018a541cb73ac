//! Questions about an event that its truth answers.

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::actor::Actor;
use crate::casting::{Cupboard, pick};
use crate::motion::Motion;
use crate::phrases::{number, side_phrases};
use crate::plan::{Plan, Relation};
use crate::vocabulary::article;

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum QuestionKind {
    /// What is there?
    Object,
    /// What colour has it?
    Colour,
    /// How many are there?
    Count,
    /// Which way does it move?
    Direction,
    /// What came first, or after?
    Order,
    /// Where is it, or on which side?
    Place,
    /// Yes or no.
    YesNo,
    /// About what is not there.
    Absent,
    /// About something else than the world.
    Elsewhere,
}

/// A question with its one answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What it is about.
    pub kind: QuestionKind,
    /// The question, lower-case, with its question mark.
    pub question: String,
    /// The answer: a word or a short phrase.
    pub answer: String,
}

/// All questions about `plan` that can be answered; some are drawn from `rng`.
pub(crate) fn questions(
    plan: &Plan,
    cupboard: Cupboard<'_>,
    rng: &mut ChaCha8Rng,
) -> Vec<Question> {
    let mut asked = Asked { list: Vec::new(), cupboard };
    for actor in plan.actors.iter().take(if plan.relation == Relation::Count { 1 } else { 2 }) {
        asked.about_looks(actor);
        asked.about_motion(actor, rng);
        asked.about_presence(actor);
    }
    asked.about_relation(plan);
    asked.about_absence(plan, rng);
    if let Some(first) = plan.actors.first() {
        let (name, is_many) = (asked.noun(first), plan.relation == Relation::Count);
        let question = if is_many {
            format!("where are the {}?", asked.plural(first))
        } else {
            format!("where is the {name}?")
        };
        asked.add(QuestionKind::Place, question, pick(rng, &plan.scene.places()[..1]));
    }
    asked.list
}

struct Asked<'a> {
    list: Vec<Question>,
    cupboard: Cupboard<'a>,
}

impl Asked<'_> {
    fn add(&mut self, kind: QuestionKind, question: String, answer: &str) {
        self.list.push(Question { kind, question, answer: answer.to_owned() });
    }

    fn noun(&self, actor: &Actor) -> String {
        self.cupboard.vocabulary.thing(actor.cast.thing).name.clone()
    }

    fn plural(&self, actor: &Actor) -> String {
        self.cupboard.vocabulary.thing(actor.cast.thing).plural.clone()
    }

    fn with_article(&self, actor: &Actor) -> String {
        let noun = self.noun(actor);
        format!("{} {noun}", article(&noun))
    }

    fn about_looks(&mut self, actor: &Actor) {
        let own = self.cupboard.vocabulary.thing(actor.cast.thing).colour.clone();
        let colour = actor.cast.tint.map(|tint| tint.name().to_owned()).or(own);
        if let Some(colour) = colour {
            let noun = self.noun(actor);
            self.add(QuestionKind::Colour, format!("what colour is the {noun}?"), &colour);
        }
    }

    fn about_motion(&mut self, actor: &Actor, rng: &mut ChaCha8Rng) {
        let noun = self.noun(actor);
        let Some(direction) = actor.motion.direction() else {
            let answer = if actor.motion == Motion::Still { "no" } else { "yes" };
            self.add(QuestionKind::YesNo, format!("does the {noun} move?"), answer);
            return;
        };
        self.add(QuestionKind::Direction, format!("which way does the {noun} move?"), direction);
        let is_true = rng.random::<bool>();
        let opposite = actor.motion.opposite().and_then(Motion::direction).unwrap_or(direction);
        let asked = if is_true { direction } else { opposite };
        let to_side = if matches!(asked, "left" | "right") { "to the " } else { "" };
        self.add(
            QuestionKind::YesNo,
            format!("does the {noun} move {to_side}{asked}?"),
            if is_true { "yes" } else { "no" },
        );
    }

    fn about_presence(&mut self, actor: &Actor) {
        let question = format!("is there {}?", self.with_article(actor));
        self.add(QuestionKind::YesNo, question, "yes");
    }

    /// Asks for a thing that takes no part. It may stand about as a prop, but props are smaller
    /// than what takes part, and do not move.
    fn about_absence(&mut self, plan: &Plan, rng: &mut ChaCha8Rng) {
        let vocabulary = self.cupboard.vocabulary;
        let absent = self.cupboard.cast_unlike(&plan.things(), rng).thing;
        let noun = &vocabulary.thing(absent).name;
        let Some(first) = plan.actors.first() else { return };
        let question = match first.motion.direction() {
            Some("left" | "right") => format!("is it {} {noun} that moves?", article(noun)),
            _ => format!("is the largest object {} {noun}?", article(noun)),
        };
        self.add(QuestionKind::YesNo, question, "no");
    }

    fn about_relation(&mut self, plan: &Plan) {
        match (plan.relation, &plan.actors[..]) {
            (Relation::Alone, [only]) => {
                let answer = self.with_article(only);
                let question = match only.motion {
                    Motion::Still => "what is there?",
                    _ => "what moves?",
                };
                self.add(QuestionKind::Object, question.to_owned(), &answer);
            }
            (Relation::Count, all @ [first, ..]) => {
                let question = format!("how many {} are there?", self.plural(first));
                self.add(QuestionKind::Count, question, number(all.len()));
            }
            (Relation::Then, [first, second]) => {
                let (a, b) = (self.with_article(first), self.with_article(second));
                let (the_a, the_b) = (self.noun(first), self.noun(second));
                self.add(QuestionKind::Order, "what comes first?".to_owned(), &a);
                self.add(QuestionKind::Order, format!("what comes after the {the_a}?"), &b);
                self.add(
                    QuestionKind::YesNo,
                    format!("does the {the_b} come before the {the_a}?"),
                    "no",
                );
            }
            (Relation::Beside(side), [first, second]) => {
                let (a, the_b) = (self.with_article(first), self.noun(second));
                let question = format!("what is {} the {the_b}?", side_phrases(side)[0]);
                self.add(QuestionKind::Place, question, &a);
            }
            (Relation::Follows, [first, second]) => {
                let (a, the_b) = (self.with_article(first), self.noun(second));
                self.add(QuestionKind::Order, format!("what follows the {the_b}?"), &a);
            }
            (Relation::And, [first, second]) => {
                let answer =
                    format!("{} and {}", self.with_article(first), self.with_article(second));
                self.add(QuestionKind::Object, "what is there?".to_owned(), &answer);
            }
            _ => {}
        }
    }
}
