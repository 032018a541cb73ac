//! How the engines of a cluster are reached: `[kafka]`, `[qdrant]` and `[cluster]`.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use footage_index::{ApiKey, Quantization, ServerSettings};
use footage_topic::{KafkaSecurity, KafkaSettings, Password, TopicSpec};

use super::{Layers, address};

const DAY_S: f64 = 86_400.0;

/// What the roles of a cluster need besides what everybody does.
#[derive(Clone, Debug)]
pub(crate) struct ClusterSettings {
    kafka: KafkaSettings,
    password_env: Option<String>,
    prefix: String,
    partitions: i32,
    replication: i32,
    keep: Duration,
    pub in_flight: NonZeroUsize,
    qdrant: ServerSettings,
    api_key_env: Option<String>,
    /// None: only on the socket.
    pub listen: Option<SocketAddr>,
}

impl ClusterSettings {
    pub(super) fn read(layers: &Layers) -> Result<Self> {
        let file = |key: &str| Ok::<_, anyhow::Error>(text(layers, key)?.map(PathBuf::from));
        let mechanism = text(layers, "kafka.sasl_mechanism")?;
        if let Some(mechanism) = &mechanism {
            ensure!(
                ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism.as_str()),
                "setting `kafka.sasl_mechanism` is `{mechanism}`: choose PLAIN, SCRAM-SHA-256 or \
                 SCRAM-SHA-512"
            );
        }
        let security = KafkaSecurity {
            tls: layers.get("kafka.tls")?,
            tls_ca: file("kafka.tls_ca")?,
            tls_certificate: file("kafka.tls_certificate")?,
            tls_key: file("kafka.tls_key")?,
            sasl_mechanism: mechanism,
            user: text(layers, "kafka.user")?.unwrap_or_default(),
            password: Password::default(),
        };
        let kafka = KafkaSettings {
            brokers: text(layers, "kafka.brokers")?.unwrap_or_default(),
            security,
            delivery_timeout: layers.seconds("kafka.delivery_timeout_s", 1.0)?,
            session_timeout: layers.seconds("kafka.session_timeout_s", 1.0)?,
            fetched_kib: layers.count("kafka.fetched_mib", 1024)?.get() * 1024,
        };
        let qdrant = ServerSettings {
            url: text(layers, "qdrant.url")?.unwrap_or_default(),
            api_key: None,
            alias: named(layers, "qdrant.alias")?,
            timeout: layers.seconds("qdrant.timeout_s", 0.1)?,
            shards: layers.within("qdrant.shards", 1, 1024)?,
            replication: layers.within("qdrant.replication", 1, 64)?,
            write_consistency: layers.within("qdrant.write_consistency", 1, 64)?,
            quantization: layers.get::<Quantization>("qdrant.quantization")?,
            on_disk: layers.get("qdrant.on_disk")?,
            beam: layers.within("index.beam", 1, 100_000)?,
        };
        Ok(Self {
            kafka,
            password_env: text(layers, "kafka.password_env")?,
            prefix: named(layers, "kafka.prefix")?,
            partitions: layers.within("kafka.partitions", 1, 10_000)?,
            replication: layers.within("kafka.replication", 1, 64)?,
            keep: Duration::from_secs_f64(
                layers.within("kafka.keep_days", 0.001, 36_500.0)? * DAY_S,
            ),
            in_flight: layers.count("kafka.in_flight", 65_536)?,
            qdrant,
            api_key_env: text(layers, "qdrant.api_key_env")?,
            listen: address(layers, "cluster.listen")?,
        })
    }

    /// Whether there is a cluster.
    pub(crate) fn has_kafka(&self) -> bool {
        !self.kafka.brokers.is_empty()
    }

    /// How Kafka is reached, with the password.
    pub(crate) fn kafka(&self) -> Result<KafkaSettings> {
        if !self.has_kafka() {
            bail!(
                "setting `kafka.brokers` says no broker: docs/cluster.md says what a cluster needs"
            );
        }
        let mut kafka = self.kafka.clone();
        if let Some(variable) = &self.password_env {
            kafka.security.password = Password::new(secret(variable, "kafka.password_env")?);
        }
        Ok(kafka)
    }

    /// How Qdrant is reached, with the key.
    pub(crate) fn qdrant(&self) -> Result<ServerSettings> {
        if self.qdrant.url.is_empty() {
            bail!("setting `qdrant.url` says no server: docs/cluster.md says what a cluster needs");
        }
        let mut qdrant = self.qdrant.clone();
        if let Some(variable) = &self.api_key_env {
            qdrant.api_key = Some(ApiKey::new(secret(variable, "qdrant.api_key_env")?));
        }
        Ok(qdrant)
    }

    /// The topic of clips: kept for a while.
    pub(crate) fn clips(&self) -> TopicSpec {
        self.topic("clips", Some(self.keep), false)
    }

    /// The topic of what became of them: kept for ever, since every ledger is filled from it.
    pub(crate) fn coverage(&self) -> TopicSpec {
        self.topic("coverage", None, false)
    }

    /// The topic of sources: the newest definition of each.
    pub(crate) fn sources(&self) -> TopicSpec {
        self.topic("sources", None, true)
    }

    /// The topic of what nobody can use: kept for ever.
    pub(crate) fn dead_letters(&self) -> TopicSpec {
        self.topic("dead-letter", None, false)
    }

    /// The group that a role's processes form.
    pub(crate) fn group(&self, role: &str) -> String {
        format!("{}-{role}", self.prefix)
    }

    fn topic(&self, what: &str, retention: Option<Duration>, is_compacted: bool) -> TopicSpec {
        TopicSpec {
            name: format!("{}.{what}.v1", self.prefix),
            partitions: self.partitions,
            replication: self.replication,
            retention,
            is_compacted,
        }
    }
}

/// A text; none where it is empty.
fn text(layers: &Layers, key: &str) -> Result<Option<String>> {
    let text: String = layers.get(key)?;
    ensure!(!text.chars().any(char::is_control), "setting `{key}` holds a control character");
    Ok((!text.is_empty()).then_some(text))
}

/// A text that names something in Kafka and Qdrant alike.
fn named(layers: &Layers, key: &str) -> Result<String> {
    let name: String = layers.get(key)?;
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    ensure!(
        !name.is_empty() && name.len() <= 100 && name.chars().all(is_fit),
        "setting `{key}` is `{name}`: use 1 to 100 letters, digits, `.`, `_` and `-`"
    );
    Ok(name)
}

fn secret(variable: &str, key: &str) -> Result<String> {
    std::env::var(variable)
        .with_context(|| format!("setting `{key}` names the variable {variable}, which is not set"))
}
