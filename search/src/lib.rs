//! The read path: a sentence to embedding, hits and moments.
//!
//! A [`Query`] is read by the model that indexed; [`find_moments`] asks the index for the nearest
//! clips, tells by the model's calibration which of them match, and merges neighbours into
//! [`Moment`]s; captions lead to moments by their words, and both rankings are fused. An [`Answer`] always says what was [`Searched`], so that "nothing found" and
//! "nothing seen" differ. A [`CoverageReport`] tells the whole timeline of one source.

mod agreement;
mod answer;
mod evaluation;
mod fusion;
mod known;
mod looking;
mod moments;
mod play;
mod query;
mod report;
mod retrieval;
mod searched;
#[cfg(test)]
mod testing;

pub use agreement::Agreement;
pub use answer::{Answer, By, Found, FoundBy, Nearest, Wanted};
pub use evaluation::{Given, Judged, Scores, Stretch};
pub use known::KnownSource;
pub use looking::find_moments;
pub use moments::{Moment, merge, nearest};
pub use play::Play;
pub use query::{Asked, Query, QueryError};
pub use report::{CoverageReport, Interval, IntervalState, ReportedRun, Totals};
pub use retrieval::{Recognition, Retrieval};
pub use searched::Searched;
