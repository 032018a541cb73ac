//! Failures that may pass: tried again, with growing pauses, but not for ever.

use std::time::Duration;

use footage_index::IndexError;
use tracing::warn;

/// What to do about failures of the index that may pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetrySettings {
    /// Attempts before the failure counts as lasting, the first one included.
    pub max_attempts: u32,
    /// Pause after the first failure; each one after that is twice as long.
    pub first_pause: Duration,
    /// Longest pause.
    pub max_pause: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 6,
            first_pause: Duration::from_millis(100),
            max_pause: Duration::from_secs(5),
        }
    }
}

impl RetrySettings {
    /// Calls until it works, fails in a way that will not pass, or has failed too often.
    pub(crate) async fn until_done<R, F>(
        &self,
        what: &'static str,
        call: impl Fn() -> F,
    ) -> Result<R, IndexError>
    where
        F: Future<Output = Result<R, IndexError>>,
    {
        let mut pause = self.first_pause;
        let mut attempt = 1;
        loop {
            match call().await {
                Err(error @ IndexError::Failed { .. }) if attempt < self.max_attempts => {
                    warn!(%error, attempt, ?pause, "index did not {what}, trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(self.max_pause);
                    attempt += 1;
                }
                done => return done,
            }
        }
    }
}
