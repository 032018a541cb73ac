//! Publishing, with patience.

use std::time::Duration;

use footage_topic::{PublishError, Topic, TopicMessage};
use tokio::time::{sleep, timeout};

use crate::Cancel;

/// Pauses between attempts grow from the first to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Publishes a message; while the topic takes none, tries again until asked to stop.
pub(crate) async fn publish(
    topic: &dyn Topic,
    message: impl Into<TopicMessage> + Send,
    cancel: &Cancel,
) -> Result<(), PublishError> {
    let message = message.into();
    let mut pause = PAUSE.0;
    loop {
        match topic.publish(message.clone()).await {
            Err(PublishError::NotYet(cause)) if !cancel.is_cancelled() => {
                tracing::warn!(%message, %cause, ?pause, "topic not ready, publishing again later");
                if timeout(pause, cancel.cancelled()).await.is_ok() {
                    sleep(PAUSE.0).await; // a last attempt
                }
                pause = (pause * 2).min(PAUSE.1);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use footage_clip::{ClipState, CoverageRecord, SourceId, Span};
    use footage_topic::{Follow, FollowError};

    use super::*;

    /// Takes a message at the given attempt.
    struct Slow {
        attempts: AtomicU32,
        takes_at: u32,
    }

    #[async_trait]
    impl Topic for Slow {
        async fn publish(&self, _message: TopicMessage) -> Result<(), PublishError> {
            if self.attempts.fetch_add(1, Ordering::Relaxed) + 1 < self.takes_at {
                return Err(PublishError::NotYet("full".into()));
            }
            Ok(())
        }

        async fn follow(&self) -> Result<Box<dyn Follow>, FollowError> {
            Err(FollowError::Taken)
        }

        fn close(&self) {}
    }

    fn slow(takes_at: u32) -> Slow {
        Slow { attempts: AtomicU32::new(0), takes_at }
    }

    fn message() -> CoverageRecord {
        let source_id = SourceId::try_new("a").unwrap();
        CoverageRecord { source_id, span: Span::new(0, 1), state: ClipState::Gated }
    }

    #[tokio::test]
    async fn a_topic_that_is_not_ready_is_asked_again() {
        let topic = slow(3);
        publish(&topic, message(), &Cancel::default()).await.unwrap();
        assert_eq!(topic.attempts.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn whoever_is_to_stop_does_not_wait_for_a_topic() {
        let (topic, cancel) = (slow(u32::MAX), Cancel::default());
        cancel.cancel();
        let result = publish(&topic, message(), &cancel).await;
        assert!(matches!(result, Err(PublishError::NotYet(_))));
    }
}
