//! What can be asked of an installation that is open, whoever asks: a command of its own, or another
//! process through [`crate::instance`].
//!
//! A request and its reply are plain data, and JSON on the wire.

pub(crate) mod asked;
pub(crate) mod captions;
pub(crate) mod coverage;
pub(crate) mod found;
pub(crate) mod search;
pub(crate) mod selection;
pub(crate) mod sources;
pub(crate) mod stretch;

use std::sync::Arc;

use footage_index::EmbeddedIndex;
use footage_model::Model;

use crate::compose::{House, Store};

/// What answering needs, open.
#[derive(Clone, Debug)]
pub(crate) struct Desk<I = EmbeddedIndex> {
    pub house: Arc<House>,
    pub model: Arc<Model>,
    pub store: Arc<Store<I>>,
}
