//! Calls that may be made again.

use std::path::Path;
use std::time::Duration;

use qdrant_client::QdrantError;

use crate::IndexError;

/// Attempts, the first one included.
const ATTEMPTS: u32 = 4;

/// Pause after the first attempt; each one after that is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// gRPC's codes for what may be otherwise a moment later: deadline exceeded, resource exhausted,
/// aborted, unavailable; and unknown, which is what a broken connection looks like.
const PASSING: [i32; 5] = [4, 8, 10, 14, 2];

/// Calls until it works, fails in a way that will not pass, or has failed too often.
pub(super) async fn retried<R, F>(
    doing: &'static str,
    at: &Path,
    call: impl Fn() -> F,
) -> Result<R, IndexError>
where
    F: Future<Output = Result<R, QdrantError>>,
{
    let mut pause = FIRST_PAUSE;
    let mut attempt = 1;
    loop {
        match call().await {
            Ok(done) => return Ok(done),
            Err(error) if attempt < ATTEMPTS && is_passing(&error) => {
                tracing::debug!(doing, cause = cause(&error), attempt, ?pause, "trying again");
                tokio::time::sleep(pause).await;
                pause *= 2;
                attempt += 1;
            }
            Err(error) => {
                return Err(IndexError::Failed { doing, at: at.to_owned(), cause: cause(&error) });
            }
        }
    }
}

fn is_passing(error: &QdrantError) -> bool {
    match error {
        QdrantError::ResponseError { status } => PASSING.contains(&i32::from(status.code())),
        QdrantError::ResourceExhaustedError { .. } | QdrantError::Io(_) => true,
        _ => false,
    }
}

/// What the server says. Its headers are left out: a proxy may put into them what it was sent.
fn cause(error: &QdrantError) -> String {
    match error {
        QdrantError::ResponseError { status }
        | QdrantError::ResourceExhaustedError { status, .. } => {
            format!("{}: {}", status.code().description(), status.message())
        }
        other => other.to_string(),
    }
}
