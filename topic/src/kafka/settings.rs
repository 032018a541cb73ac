//! How a cluster is reached.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// How a cluster is reached, and what topics are made like there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Brokers to ask first: `host:port`, several divided by commas.
    pub brokers: String,
    /// How to be let in.
    pub security: KafkaSecurity,
    /// A message that no broker acknowledges in so long is given back as not published.
    pub delivery_timeout: Duration,
    /// A member of a group that was not heard of for so long has died: its partitions move.
    pub session_timeout: Duration,
    /// Most memory that fetched messages wait in.
    pub fetched_kib: usize,
}

/// How to be let in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KafkaSecurity {
    /// Whether the connection is encrypted.
    pub tls: bool,
    /// Certificates, in PEM, that are trusted instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// A certificate of one's own, in PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, in PEM.
    pub tls_key: Option<PathBuf>,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`; none: without a password.
    pub sasl_mechanism: Option<String>,
    /// The name to give.
    pub user: String,
    /// The password to give.
    pub password: Password,
}

/// A password. Shown as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// A password.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

/// Why a cluster does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KafkaError {
    /// It failed, or cannot be reached.
    #[error("kafka failed while {doing}: {cause}")]
    Failed {
        /// What was being done.
        doing: &'static str,
        /// What librdkafka says.
        cause: String,
    },
    /// A topic is there, and not as it should be.
    #[error(
        "topic `{name}` has {found} partitions, and {wanted} are stated: state {found}, or make the \
         topic anew"
    )]
    OtherPartitions {
        /// The topic.
        name: String,
        /// Partitions it has.
        found: usize,
        /// Partitions stated.
        wanted: usize,
    },
}

impl KafkaError {
    pub(super) fn of(doing: &'static str, error: impl fmt::Display) -> Self {
        Self::Failed { doing, cause: error.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let security = KafkaSecurity {
            user: "us".into(),
            password: Password::new("hunter2"),
            ..KafkaSecurity::default()
        };
        let shown = format!("{security:?}");
        assert!(shown.contains("***") && !shown.contains("hunter2"), "{shown}");
    }
}
