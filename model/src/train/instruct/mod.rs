//! Instruction tuning: questions about clips, and the words of their answers.
//!
//! As in BT-Adapter's conversation code (BT-ADAPTER.md 4 and 7): CLIP is frozen; its states and the
//! branch's before the last layer, averaged over time, go through a projector into a language model's
//! space; cross-entropy is taken on the answers alone. What learns is the projector, the branch where
//! [`Open`] says so, and the language model where it has to be made from nothing, as the one of
//! `models/mini` had to. [`Tuning`] takes up an answerer that is there.
//!
//! The forward pass is that of [`crate::conversation`], which answers, made of operations with a
//! backward pass. A clip is read once for all questions about it.

mod batch;
mod export;
mod looks;
mod pupil;
#[cfg(test)]
mod tests;
mod tuning;

pub use self::export::AnswererSheet;
pub use self::looks::{Look, Pooling, Shown};
pub use self::pupil::{Open, Pupil};
pub use self::tuning::{Lesson, Tuning, drawn};
