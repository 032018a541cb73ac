//! Training CLIP's towers and the BT-Adapter branch, on the CPU.

mod checkpoint;
mod data;
mod error;
mod evaluate;
mod export;
mod fresh;
pub mod instruct;
mod kept;
mod lesson;
mod names;
mod network;
mod objective;
mod ops;
mod optimiser;
pub mod pretrain;
mod query;
mod simd;
mod stage1;
mod stage2;
mod stones;
#[cfg(test)]
mod tests;
mod trust;
mod weights;
mod words;

pub use checkpoint::{check, load, save};
pub use data::{Classes, DEVIATION, Example, MEAN, Side, Thing, World};
pub use error::TrainError;
pub use evaluate::{ClipScore, Exam, Gallery, held_clips};
pub use export::export;
pub use kept::Pool;
pub use lesson::MOTIONS;
pub use network::Network;
pub use objective::nce;
pub(crate) use ops::{attention, layer_norm, quick_gelu};
pub use optimiser::{AdamW, Optimiser, Schedule};
pub use query::Query;
pub use stage1::{Losses, SCALE, Score, Stage1, score};
pub use stage2::{CLOSED, ClipLosses, Stage2};
pub use trust::{Hits, Trust, ask};
pub use weights::Weights;
pub use words::{Words, talk_pieces, word_pieces};
