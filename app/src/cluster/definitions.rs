//! What is to be done with sources, as the pipelines of a cluster are told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use footage_clip::SourceId;
use footage_topic::{KafkaReader, RawMessage, make_topic, put, put_all};
use serde::{Deserialize, Serialize};

use crate::compose::House;
use crate::outcome::in_one_line;
use crate::settings::sources::{SourceDefinition, named};

/// Version of this form, and the one before files and removals: a pipeline that knows only that one
/// reads live sources as ever.
const VERSION: u32 = 2;
const LIVE_VERSION: u32 = 1;

/// What is to be done with a source.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Wanted {
    /// It is watched.
    Live(Box<SourceDefinition>),
    /// It is indexed.
    File(FileJob),
    /// It is taken out.
    Removed,
}

/// A file to be indexed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileJob {
    /// Where every pipeline finds it.
    pub path: PathBuf,
    /// Why it cannot be indexed, where that was tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Told {
    v: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<SourceDefinition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<FileJob>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    removed: bool,
}

#[derive(Deserialize)]
struct VersionOnly {
    v: u32,
}

impl Wanted {
    fn told(&self) -> Result<Vec<u8>> {
        let none = Told { v: VERSION, source: None, file: None, removed: false };
        let told = match self {
            Self::Live(source) => {
                Told { v: LIVE_VERSION, source: Some(SourceDefinition::clone(source)), ..none }
            }
            Self::File(file) => Told { file: Some(file.clone()), ..none },
            Self::Removed => Told { removed: true, ..none },
        };
        Ok(serde_json::to_vec(&told)?)
    }
}

/// Tells the cluster of a live source, new or changed.
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
    match all(house).await?.get(id) {
        Some(Wanted::Removed) => bail!(
            "source `{id}` is being removed: add it once `footage source list` shows it no more"
        ),
        Some(Wanted::File(job)) => {
            bail!("source `{id}` is the file {}: choose another id", job.path.display())
        }
        Some(Wanted::Live(_)) | None => {
            tell(house, id, &Wanted::Live(Box::new(definition.clone()))).await
        }
    }
}

/// Tells the cluster of files to be indexed.
pub(super) async fn submit(house: &House, files: &BTreeMap<SourceId, PathBuf>) -> Result<()> {
    let known = all(house).await?;
    for (id, path) in files {
        ensure!(
            known.get(id) != Some(&Wanted::Removed),
            "{} is being removed: say it again in a moment",
            path.display()
        );
    }
    let wanted = files.iter().map(|(id, path)| {
        let wanted = Wanted::File(FileJob { path: path.clone(), failure: None });
        Ok((id.as_str(), wanted.told()?))
    });
    let wanted: Vec<_> = wanted.collect::<Result<_>>()?;
    let messages: Vec<_> = wanted.iter().map(|(id, json)| (*id, Some(json.as_slice()))).collect();
    let cluster = &house.settings.cluster;
    Ok(put_all(&cluster.kafka()?, &cluster.sources(), &messages).await?)
}

/// Tells the cluster what is to be done with a source.
pub(crate) async fn tell(house: &House, id: &SourceId, wanted: &Wanted) -> Result<()> {
    let cluster = &house.settings.cluster;
    put(&cluster.kafka()?, &cluster.sources(), id.as_str(), Some(&wanted.told()?)).await?;
    Ok(())
}

/// Tells the cluster that nothing is to be done with a source any more.
pub(super) async fn settle(house: &House, id: &SourceId) -> Result<()> {
    let cluster = &house.settings.cluster;
    put(&cluster.kafka()?, &cluster.sources(), id.as_str(), None).await?;
    Ok(())
}

/// Everything that is to be done.
pub(super) async fn all(house: &House) -> Result<BTreeMap<SourceId, Wanted>> {
    let mut reader = reader(house).await?;
    let mut all = BTreeMap::new();
    while !reader.is_caught_up() {
        take_in(&mut all, &reader.next().await);
    }
    Ok(all)
}

/// Reads what is told from the beginning.
pub(super) async fn reader(house: &House) -> Result<KafkaReader> {
    let (kafka, topic) = (house.settings.cluster.kafka()?, house.settings.cluster.sources());
    make_topic(&kafka, &topic).await?;
    Ok(KafkaReader::open(&kafka, &topic.name, &BTreeMap::new()).await?)
}

/// Takes a message in. One that cannot be read is passed over, with a word.
pub(super) fn take_in(all: &mut BTreeMap<SourceId, Wanted>, message: &RawMessage) {
    match read(message) {
        Ok((id, Some(wanted))) => drop(all.insert(id, wanted)),
        Ok((id, None)) => drop(all.remove(&id)),
        Err(error) => tracing::warn!(error = in_one_line(&error), "a source is passed over"),
    }
}

/// What a message of the topic of sources says; nothing where the source is settled.
fn read(message: &RawMessage) -> Result<(SourceId, Option<Wanted>)> {
    let id = named(std::str::from_utf8(&message.key).context("a source's key is no text")?)?;
    if message.payload.is_empty() {
        return Ok((id, None));
    }
    // The error's own text might repeat what was written.
    let unreadable = |error: serde_json::Error| {
        anyhow::anyhow!("source `{id}` cannot be read, column {}", error.column())
    };
    let VersionOnly { v } = serde_json::from_slice(&message.payload).map_err(unreadable)?;
    ensure!(v <= VERSION, "source `{id}` was told by a newer release");
    let told: Told = serde_json::from_slice(&message.payload).map_err(unreadable)?;
    let wanted = match told {
        Told { source: Some(source), file: None, removed: false, .. } => {
            source.check(&id)?;
            Wanted::Live(Box::new(source))
        }
        Told { source: None, file: Some(file), removed: false, .. } => Wanted::File(file),
        Told { source: None, file: None, removed: true, .. } => Wanted::Removed,
        _ => bail!("source `{id}` does not say what is to be done with it"),
    };
    Ok((id, Some(wanted)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(payload: &[u8]) -> RawMessage {
        RawMessage {
            topic: "footage.sources.v1".to_owned(),
            partition: 0,
            offset: 0,
            key: b"gate".to_vec(),
            headers: Vec::new(),
            payload: payload.to_vec(),
        }
    }

    #[test]
    fn what_is_told_of_a_source_is_what_is_heard() {
        let failure = Some("is damaged".to_owned());
        for wanted in [
            Wanted::Live(Box::new(SourceDefinition::at("rtsp://cam/1"))),
            Wanted::File(FileJob { path: "/films/a.mp4".into(), failure: None }),
            Wanted::File(FileJob { path: "/films/b.mp4".into(), failure }),
            Wanted::Removed,
        ] {
            let (id, heard) = read(&message(&wanted.told().unwrap())).unwrap();
            assert_eq!((id.as_str(), heard), ("gate", Some(wanted)));
        }
        assert_eq!(read(&message(b"")).unwrap().1, None);
    }

    #[test]
    fn what_says_nothing_or_two_things_or_is_newer_is_passed_over() {
        let live = |v| format!("{{\"v\":{v},\"source\":{{\"uri\":\"rtsp://cam/1\"}}}}");
        assert!(read(&message(live(1).as_bytes())).is_ok());
        let two = r#"{"v":2,"removed":true,"file":{"path":"/a.mp4"}}"#;
        for wrong in [live(3).as_str(), two, r#"{"v":2}"#, "{}", "hello"] {
            let error = read(&message(wrong.as_bytes())).unwrap_err().to_string();
            assert!(error.contains("`gate`") && !error.contains("cam"), "{error}");
        }
    }
}
