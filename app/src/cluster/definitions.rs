//! Definitions of live sources, as they are told to the pipelines of a cluster.

use anyhow::{Context as _, Result, ensure};
use footage_clip::SourceId;
use footage_topic::{RawMessage, put};
use serde::{Deserialize, Serialize};

use crate::compose::House;
use crate::settings::sources::{SourceDefinition, named};

/// Version of this form.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Told {
    v: u32,
    source: SourceDefinition,
}

/// Tells the cluster of a source, new or changed.
pub(crate) async fn announce(
    house: &House,
    id: &SourceId,
    definition: &SourceDefinition,
) -> Result<()> {
    ensure!(
        definition.password.is_none(),
        "source `{id}` states its password, and what is told to a cluster lies in Kafka: state \
         password_env or password_file, of the machines that run pipelines"
    );
    // An address may hold a password as well.
    let (_, in_address) = if definition.live {
        (None, None)
    } else {
        let (location, credentials) = footage_pipeline::Location::parse(&definition.uri)?;
        (Some(location), credentials)
    };
    ensure!(
        in_address.is_none(),
        "source `{id}` holds a name or a password in its address: state user and password_env instead"
    );
    let cluster = &house.settings.cluster;
    let told = Told { v: VERSION, source: definition.clone() };
    let json = serde_json::to_vec(&told)?;
    put(&cluster.kafka()?, &cluster.sources(), id.as_str(), Some(&json)).await?;
    Ok(())
}

/// Tells the cluster that a source is not to be watched any more.
pub(crate) async fn withdraw(house: &House, id: &SourceId) -> Result<()> {
    let cluster = &house.settings.cluster;
    put(&cluster.kafka()?, &cluster.sources(), id.as_str(), None).await?;
    Ok(())
}

/// What a message of the topic of sources says; no definition where the source is withdrawn.
pub(super) fn read(message: &RawMessage) -> Result<(SourceId, Option<SourceDefinition>)> {
    let id = named(std::str::from_utf8(&message.key).context("a source's key is no text")?)?;
    if message.payload.is_empty() {
        return Ok((id, None));
    }
    // The error's own text might repeat what was written.
    let told: Told = serde_json::from_slice(&message.payload).map_err(|error| {
        anyhow::anyhow!("source `{id}` cannot be read, column {}", error.column())
    })?;
    ensure!(told.v <= VERSION, "source `{id}` was told by a newer release");
    told.source.check(&id)?;
    Ok((id, Some(told.source)))
}
