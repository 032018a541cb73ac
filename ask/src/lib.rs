//! Questions about a stretch of footage: frames and a question to an answer.
//!
//! Who answers is either an [`Endpoint`] that speaks `OpenAI`'s protocol and sees pictures, or an
//! [`Answerer`](footage_model::conversation::Answerer) on this machine. A [`Conversation`] keeps what
//! was said; a question that fails is as if it had not been asked. [`Answering::caption`] describes.
//! An endpoint can also [judge](Endpoint::judge) answers.

mod caption;
mod conversation;
mod endpoint;
mod error;
mod events;
mod exact;
mod http;
mod judge;
mod masking;
mod message;

pub use conversation::{Answering, Conversation, Reply};
pub use endpoint::{Endpoint, EndpointSettings, Key};
pub use error::{AskError, Fault};
pub use exact::normalised;
pub use judge::{Aspect, Case, Judged, Verdict};
