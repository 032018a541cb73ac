//! Published models: which there are, and how they get here.
//!
//! [`published`] lists them. A [`Hub`] speaks the protocol of the Hugging Face hub, or of a mirror, and
//! [`Store::pull`] brings a model's files into a folder: resumed where an earlier attempt ended, and
//! checked against their checksums before they are given their names. What lies in the store was
//! checked, or is not there.
//!
//! The protocol is a dozen headers, so it is spoken here over a small blocking client; the hub's own
//! crate would bring an asynchronous one and a storage stack that make up half of a cold build.

mod client;
mod error;
mod registry;
mod store;

pub use client::{Hub, Patience, Told};
pub use error::HubError;
pub use registry::{Published, PublishedFile, find, published};
pub use store::{FileProgress, HeldFile, Manifest, Store, Verified};
