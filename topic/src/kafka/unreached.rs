//! Why brokers cannot be reached: a call that waited for one says only that it took too long.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError as Raw;

use super::{KafkaSettings, connect, locked};

/// How long one more connection may take to fail.
const PATIENCE: Duration = Duration::from_secs(5);

/// How librdkafka's log names a connection that failed.
const FAILED: &str = "FAIL";

/// Connects once more, and listens to what is said of it. None where nothing is.
pub(super) async fn why_not(settings: &KafkaSettings) -> Option<String> {
    let context = Listening::default();
    let heard = context.0.clone();
    let consumer: BaseConsumer<Listening> = connect::listening(settings, context).ok()?;
    let listening = tokio::task::spawn_blocking(move || {
        let deadline = Instant::now() + PATIENCE;
        // The connection is made for this question; what is said of it waits until it is polled for.
        drop(consumer.fetch_metadata(None, PATIENCE / 2));
        while locked(&heard).is_none() && Instant::now() < deadline {
            if let Some(Err(error)) = consumer.poll(PATIENCE / 50) {
                locked(&heard).get_or_insert_with(|| error.to_string());
            }
        }
        locked(&heard).take()
    });
    listening.await.ok()?
}

/// Keeps the first thing that is said of a connection that failed.
#[derive(Clone, Debug, Default)]
struct Listening(Arc<Mutex<Option<String>>>);

impl ClientContext for Listening {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        connect::log(level, facility, message);
        if facility == FAILED {
            // Which of its threads says so is nobody's business.
            let reason = message.split_once("]: ").map_or(message, |(_, reason)| reason);
            locked(&self.0).get_or_insert_with(|| reason.to_owned());
        }
    }

    fn error(&self, error: Raw, reason: &str) {
        tracing::warn!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Listening {}
