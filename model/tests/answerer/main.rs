//! An answerer's folder is used whole, in the authors' layouts, or refused with the reason; and the
//! language model computes what its formulas say.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod folder;
mod formulas;
mod small;
