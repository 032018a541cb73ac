//! The roles of a cluster, through the real binary: a real broker over TCP, Qdrant's engine behind its
//! own protocol, and processes that die.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod archives;
mod cuts;
mod faults;
mod foreign;
mod journey;
mod migration;
mod removal;
mod site;
mod trial;
