//! librdkafka's clients, set up.

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError as Raw;
use rdkafka::producer::FutureProducer;

use super::KafkaSettings;
use super::group::Group;
use super::settings::KafkaError;

/// How long a broker may keep a request open for which it has nothing yet. Most answer as soon as they
/// have; of one that answers at its end only, records wait half of this on average.
const FETCH_WAIT_MS: &str = "25";

/// A client that tells our log what it has to say, and nobody else anything.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told;

impl ClientContext for Told {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: Raw, reason: &str) {
        tracing::warn!(%error, reason, "kafka");
    }
}

impl ConsumerContext for Told {}

/// What librdkafka logs, in our log. It names brokers, topics and members, and no passwords.
pub(super) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
            tracing::error!(facility, message, "kafka");
        }
        _ => tracing::debug!(facility, message, "kafka"),
    }
}

/// What every client needs.
fn config(settings: &KafkaSettings) -> ClientConfig {
    let mut config = ClientConfig::new();
    let security = &settings.security;
    let protocol = match (security.tls, &security.sasl_mechanism) {
        (false, None) => "plaintext",
        (true, None) => "ssl",
        (false, Some(_)) => "sasl_plaintext",
        (true, Some(_)) => "sasl_ssl",
    };
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("security.protocol", protocol)
        .set("client.id", "footage")
        // Telemetry for the cluster's owner; brokers that do not know of it answer with errors.
        .set("enable.metrics.push", "false");
    let files = [
        ("ssl.ca.location", &security.tls_ca),
        ("ssl.certificate.location", &security.tls_certificate),
        ("ssl.key.location", &security.tls_key),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            config.set(key, file.to_string_lossy());
        }
    }
    if let Some(mechanism) = &security.sasl_mechanism {
        config
            .set("sasl.mechanism", mechanism)
            .set("sasl.username", &security.user)
            .set("sasl.password", security.password.reveal());
    }
    config
}

pub(super) fn producer(settings: &KafkaSettings) -> Result<FutureProducer<Told>, KafkaError> {
    let made = config(settings)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("compression.type", "zstd")
        // As Java's clients choose a partition, so that all agree where a source's messages are.
        .set("partitioner", "murmur2_random")
        .set("message.timeout.ms", settings.delivery_timeout.as_millis().to_string())
        // A live record is waited for: what queues up meanwhile goes in one request anyway.
        .set("linger.ms", "1")
        .create_with_context(Told);
    made.map_err(|error| KafkaError::of("connecting", error))
}

/// A client that makes topics.
pub(super) fn admin(
    settings: &KafkaSettings,
) -> Result<rdkafka::admin::AdminClient<Told>, KafkaError> {
    let made = config(settings).create_with_context(Told);
    made.map_err(|error| KafkaError::of("connecting", error))
}

/// A client that is only there for what it says of its connections.
pub(super) fn listening<C: ConsumerContext>(
    settings: &KafkaSettings,
    context: C,
) -> Result<BaseConsumer<C>, KafkaError> {
    let made = reading(settings)
        // That a broker hung up is no more than information to librdkafka.
        .set_log_level(RDKafkaLogLevel::Info)
        .create_with_context(context);
    made.map_err(|error| KafkaError::of("connecting", error))
}

/// A member of a group that starts where it was never committed with the oldest message.
pub(super) fn member(
    settings: &KafkaSettings,
    group: &str,
    context: Group,
) -> Result<StreamConsumer<Group>, KafkaError> {
    let made = config(settings)
        .set("group.id", group)
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", settings.session_timeout.as_millis().to_string())
        .set("heartbeat.interval.ms", (settings.session_timeout.as_millis() / 4).to_string())
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", FETCH_WAIT_MS)
        .set("queued.max.messages.kbytes", settings.fetched_kib.to_string())
        .set("statistics.interval.ms", "2000")
        .create_with_context(context);
    made.map_err(|error| KafkaError::of("connecting", error))
}

/// A reader of partitions that it is told, which is a member of no group.
pub(super) fn reader(settings: &KafkaSettings) -> Result<StreamConsumer<Told>, KafkaError> {
    let made = reading(settings).create_with_context(Told);
    made.map_err(|error| KafkaError::of("connecting", error))
}

/// The same, to ask about offsets.
pub(super) fn asking(
    settings: &KafkaSettings,
    group: &str,
) -> Result<BaseConsumer<Told>, KafkaError> {
    let made = reading(settings).set("group.id", group).create_with_context(Told);
    made.map_err(|error| KafkaError::of("connecting", error))
}

fn reading(settings: &KafkaSettings) -> ClientConfig {
    let mut config = config(settings);
    config
        // librdkafka asks for a name; without a subscription nothing is joined.
        .set("group.id", "footage-readers")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", FETCH_WAIT_MS)
        .set("queued.max.messages.kbytes", settings.fetched_kib.to_string());
    config
}
