//! The sources of a cluster, as its topics tell.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use footage_clip::{SourceId, SourceKind};
use footage_index::{FindClips, ServerIndex};
use footage_topic::KafkaReader;

use super::definitions::{self, FileJob, Wanted};
use super::{Cluster, Mirror};
use crate::compose::{House, Store};
use crate::requests::coverage::{CoverageReply, CoverageRequest};
use crate::requests::sources::{LiveState, SourcesReply, States};

/// Every source of a cluster, read from its topics.
pub(crate) async fn sources(house: &House) -> Result<SourcesReply> {
    let store = opened(house).await?;
    listed(&store, &definitions::all(house).await?).await
}

/// What became of a source's time, read from the cluster's topics.
pub(crate) async fn coverage(house: &House, request: CoverageRequest) -> Result<CoverageReply> {
    request.answer(&opened(house).await?).await
}

/// The cluster's ledger, for one who asks. It is kept beside that of a role which may have the same
/// data directory, so that the next one need not read all of it again.
async fn opened(house: &House) -> Result<Store<ServerIndex>> {
    let cluster = Cluster::open(house)?;
    let index = ServerIndex::connected(&house.settings.cluster.qdrant()?, &cluster.collection())?;
    let mut mirror: Mirror = cluster.mirror_in("asked").await?;
    mirror.catch_up().await?;
    Ok(Store { index, ledger: mirror.ledger() })
}

/// Every source: what is known of its clips, and what is to be done with it.
pub(super) async fn listed<I: FindClips>(
    store: &Store<I>,
    wanted: &BTreeMap<SourceId, Wanted>,
) -> Result<SourcesReply> {
    let states: States =
        wanted.iter().map(|(id, wanted)| (id.clone(), state(id, wanted))).collect();
    let mut reply = SourcesReply::of(store, &states).await?;
    for source in &mut reply.sources {
        if let Some(Wanted::File(job)) = wanted.get(&source.source_id) {
            source.kind = SourceKind::File;
            let path = || job.path.to_string_lossy().into_owned();
            source.file = Some(source.file.take().unwrap_or_else(path));
        }
    }
    Ok(reply)
}

fn state(id: &SourceId, wanted: &Wanted) -> LiveState {
    let (state, reason, label) = match wanted {
        // Which pipeline has it, and how it fares there, that pipeline's metrics say.
        Wanted::Live(source) => ("told to the cluster", None, source.label.clone()),
        Wanted::File(FileJob { path, failure }) => {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let state = if failure.is_some() { "failed" } else { "to be indexed" };
            (state, failure.clone(), name)
        }
        Wanted::Removed => ("being removed", None, None),
    };
    LiveState {
        state: state.to_owned(),
        reason,
        since: None,
        reconnects: 0,
        seen_until: None,
        label: label.unwrap_or_else(|| id.to_string()),
        recording: None,
    }
}

/// What is to be done with sources, as it changes.
#[derive(Clone, Default)]
pub(super) struct Board(Arc<Mutex<BTreeMap<SourceId, Wanted>>>);

impl Board {
    /// What is to be done now.
    pub(super) fn wanted(&self) -> BTreeMap<SourceId, Wanted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads on until it is cancelled.
    pub(super) async fn follow(&self, mut reader: KafkaReader) {
        loop {
            let message = reader.next().await;
            let mut wanted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            definitions::take_in(&mut wanted, &message);
        }
    }
}
