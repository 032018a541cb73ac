//! `footage watch`, through the real binary and a real RTSP server.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod faults;
mod installation;
mod kill;
mod recording;
mod searching;
mod secrets;
mod sources;
