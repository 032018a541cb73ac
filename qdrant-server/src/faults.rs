//! Refusing, on command.

use std::sync::atomic::{AtomicU64, Ordering};

use tonic::{Request, Status};

/// What is refused.
#[derive(Debug)]
pub(crate) struct Faults {
    api_key: Option<String>,
    unavailable_every: u64,
    calls: AtomicU64,
}

/// Whether the answer to a call that is carried out gets lost on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Arrives,
    GetsLost,
}

impl Faults {
    pub(crate) fn new(api_key: Option<String>, unavailable_every: u64) -> Self {
        Self { api_key, unavailable_every, calls: AtomicU64::new(0) }
    }

    /// Lets a call in, or refuses it.
    pub(crate) fn admit<R>(&self, request: &Request<R>) -> Result<Answer, Status> {
        if let Some(wanted) = &self.api_key {
            let given = request.metadata().get("api-key").and_then(|key| key.to_str().ok());
            if given != Some(wanted) {
                return Err(Status::unauthenticated("this server asks for another key"));
            }
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if self.unavailable_every == 0 || !call.is_multiple_of(self.unavailable_every) {
            return Ok(Answer::Arrives);
        }
        if (call / self.unavailable_every).is_multiple_of(2) {
            Ok(Answer::GetsLost)
        } else {
            Err(Status::unavailable("asked to fail, before"))
        }
    }
}

impl Answer {
    /// The answer, unless it gets lost.
    pub(crate) fn give<R>(self, answer: R) -> Result<tonic::Response<R>, Status> {
        match self {
            Self::Arrives => Ok(tonic::Response::new(answer)),
            Self::GetsLost => Err(Status::unavailable("asked to fail, after")),
        }
    }
}
