//! Recording: what is kept is what was sent, whatever happens meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod breaks;
mod camera;
mod codecs;
mod crash;
mod disk;
mod read_again;
#[path = "../support/mod.rs"]
mod support;
