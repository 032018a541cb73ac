//! `footage watch`, through the real binary and a real RTSP server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod asking;
mod captions;
mod faults;
mod installation;
mod kill;
mod migration;
mod recording;
mod searching;
mod secrets;
#[path = "../../ask/tests/support/server.rs"]
#[expect(
    dead_code,
    reason = "made for the tests of the room that asks; here a part of it is enough"
)]
mod server;
mod sources;
