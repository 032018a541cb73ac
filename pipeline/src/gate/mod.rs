//! What need not be done again while nothing changes: embedding ([`NoveltyGate`]), and decoding
//! ([`ElasticDecode`]).
//!
//! One measure of change serves: small overlapping blocks of a picture are compared with a
//! reference, after the light that fell on all of it is taken out, and each difference is weighed
//! against the noise that this block of this camera is known for.

mod bits;
mod blocks;
mod calm;
mod elastic;
mod elastic_gate;
mod glance;
mod light;
mod noise;
mod novelty;
mod parameters;
mod scene;
mod screen;

pub use elastic::{ElasticDecode, ElasticSettings, ElasticUse};
pub use novelty::{Novelty, NoveltyGate, NoveltySettings};
