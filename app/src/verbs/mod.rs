//! One file per verb.

pub(crate) mod ask;
pub(crate) mod caption;
pub(crate) mod config;
pub(crate) mod coverage;
pub(crate) mod dead_letter;
pub(crate) mod doctor;
pub(crate) mod embed;
pub(crate) mod eval;
pub(crate) mod index;
pub(crate) mod model;
pub(crate) mod run;
pub(crate) mod search;
pub(crate) mod source;
pub(crate) mod synth;
pub(crate) mod train;
pub(crate) mod watch;
