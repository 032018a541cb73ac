//! The read path: a sentence to embedding, hits and moments.
//!
//! A [`Query`] is read by the model that indexed; [`find_moments`] asks the index for the nearest
//! clips, tells by the model's calibration which of them match, and merges neighbours into
//! [`Moment`]s. An [`Answer`] always says what was [`Searched`], so that "nothing found" and
//! "nothing seen" differ.

mod answer;
mod moments;
mod play;
mod query;
mod searched;
#[cfg(test)]
mod testing;

pub use answer::{Answer, Found, Nearest, Wanted, find_moments};
pub use moments::{Moment, merge, nearest};
pub use play::Play;
pub use query::{Asked, Query, QueryError};
pub use searched::{KnownSource, Searched};
