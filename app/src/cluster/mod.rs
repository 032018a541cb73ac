//! The roles of a cluster: the same rooms as on one machine, joined over Kafka and Qdrant.
//!
//! ```text
//! footage.sources.v1 -> pipeline -> footage.clips.v1 -> indexer -> Qdrant -> search
//!                          ^                               |                   ^
//!                          +------ footage.coverage.v1 <---+-------------------+
//! ```
//!
//! A role keeps nothing that it could not get again: a [`Mirror`] fills a ledger of its own from the
//! topic of coverage, which a restart only makes it read on.

mod definitions;
mod health;
mod indexing;
mod jobs;
mod letting_go;
mod migrating;
mod mirror;
mod pipeline;
mod search;
mod sources;
mod submit;
mod work;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use footage_index::Collection;
use footage_model::Model;
use footage_topic::{DeadLetters, KafkaSettings, KafkaTopic, make_topic};

pub(crate) use self::definitions::{Wanted, announce, tell};
pub(crate) use self::indexing::run as run_indexer;
pub(crate) use self::migrating::{Site, collections, remove_collection};
use self::mirror::Mirror;
pub(crate) use self::pipeline::run as run_pipeline;
pub(crate) use self::search::run as run_search;
pub(crate) use self::sources::{coverage, sources};
pub(crate) use self::submit::submit;
use crate::compose::{House, model_ref};

/// What every role has.
struct Cluster {
    house: Arc<House>,
    model: Arc<Model>,
    kafka: KafkaSettings,
}

impl Cluster {
    fn open(house: &House) -> Result<Self> {
        let kafka = house.settings.cluster.kafka()?;
        let model = Arc::new(house.open_model()?);
        Ok(Self { house: Arc::new(house.clone()), model, kafka })
    }

    fn collection(&self) -> Collection {
        Collection { model: model_ref(&self.model), dim: self.model.dim() }
    }

    /// The topic of clips. Who follows it puts what it cannot read with the dead letters.
    async fn clips(&self) -> Result<(KafkaTopic, DeadLetters)> {
        let settings = &self.house.settings.cluster;
        let spec = settings.clips();
        let dead = DeadLetters::open(&self.kafka, &settings.dead_letters(), &spec.name).await?;
        let group = settings.group("indexer");
        let topic =
            KafkaTopic::open(&self.kafka, &spec, &group, settings.in_flight, Some(dead.clone()));
        Ok((topic.await.context("the topic of clips is not there")?, dead))
    }

    /// The topic of what became of clips.
    async fn coverage(&self) -> Result<KafkaTopic> {
        let settings = &self.house.settings.cluster;
        let (spec, group) = (settings.coverage(), settings.group("coverage"));
        let topic = KafkaTopic::open(&self.kafka, &spec, &group, settings.in_flight, None);
        topic.await.context("the topic of coverage is not there")
    }

    /// A ledger of what the topic of coverage says.
    async fn mirror(&self) -> Result<Mirror> {
        self.mirror_in("").await
    }

    /// The same, in a folder of this name.
    async fn mirror_in(&self, name: &str) -> Result<Mirror> {
        let topic = self.house.settings.cluster.coverage();
        make_topic(&self.kafka, &topic).await?;
        let fingerprint = self.model.fingerprint();
        let folder = self.house.settings.data_dir.join("cluster").join(name);
        let folder = folder.join(fingerprint.as_str());
        Mirror::open(&self.kafka, &topic.name, &folder, model_ref(&self.model)).await
    }
}
