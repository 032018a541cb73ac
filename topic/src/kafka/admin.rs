//! Topics, made or checked.

use std::time::Duration;

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;

use super::settings::KafkaError;
use super::{KafkaSettings, connect, unreached};

/// How long the cluster may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a topic is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name.
    pub name: String,
    /// Its partitions: the most members of a group that have work.
    pub partitions: i32,
    /// Copies of each message.
    pub replication: i32,
    /// How long messages are kept; none: for ever.
    pub retention: Option<Duration>,
    /// Whether only the newest message of each key is kept.
    pub is_compacted: bool,
}

/// Makes a topic, or checks the one that is there.
pub async fn make_topic(settings: &KafkaSettings, spec: &TopicSpec) -> Result<(), KafkaError> {
    const DOING: &str = "making a topic";
    let admin = connect::admin(settings)?;
    let retention = spec.retention.map_or("-1".to_owned(), |kept| kept.as_millis().to_string());
    let topic =
        NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication))
            .set("retention.ms", &retention)
            .set("cleanup.policy", if spec.is_compacted { "compact" } else { "delete" });
    let options = AdminOptions::new().request_timeout(Some(PATIENCE));
    let made = admin.create_topics([&topic], &options).await;
    let made = match made {
        Ok(made) => made,
        Err(error) => {
            let why = unreached::why_not(settings).await;
            let why = why.map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
            return Err(KafkaError::of(DOING, why));
        }
    };
    match made.into_iter().next() {
        Some(Err((name, RDKafkaErrorCode::TopicAlreadyExists))) => {
            let name_of_it = name.clone();
            let metadata = tokio::task::spawn_blocking(move || {
                let metadata = admin.inner().fetch_metadata(Some(&name_of_it), PATIENCE)?;
                let topic = metadata.topics().iter().find(|topic| topic.name() == name_of_it);
                Ok::<_, rdkafka::error::KafkaError>(topic.map_or(0, |t| t.partitions().len()))
            });
            let found = metadata.await.map_err(|error| KafkaError::of(DOING, error))?;
            let found = found.map_err(|error| KafkaError::of("checking a topic", error))?;
            let wanted = usize::try_from(spec.partitions).unwrap_or(0);
            if found == wanted {
                return Ok(());
            }
            Err(KafkaError::OtherPartitions { name, found, wanted })
        }
        Some(Err((name, code))) => Err(KafkaError::of(DOING, format!("{name}: {code}"))),
        Some(Ok(_)) => Ok(()),
        None => Err(KafkaError::of(DOING, "the cluster did not say whether it did")),
    }
}
