//! The elements, as an application meets them: buffers and events in, buffers and events out.
#![expect(
    clippy::unwrap_used,
    reason = "`allow-unwrap-in-tests` does not reach the helpers of integration tests"
)]

mod cutting;
mod interruptions;
mod negotiation;
mod pipelines;
mod rig;
mod sampling;
mod time;
