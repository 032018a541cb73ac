//! Another model for the clips of a cluster.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use footage_clip::{CorrectionRecord, Fingerprint, LostReason, SourceRecord};
use footage_index::{Beside as _, Collection, FindClips as _, ServerIndex, Shelved};
use footage_indexer::Transcript;
use footage_model::Model;
use footage_topic::{Topic as _, TopicMessage};

use super::{Cluster, Mirror};
use crate::compose::{House, Store, model_ref};
use crate::migration::Brought;

/// Two collections on the server, and what is known of the sources of both.
pub(crate) struct Site {
    cluster: Cluster,
    /// The model whose clips are searched.
    pub model: Arc<Model>,
    pub from: Arc<Store<ServerIndex>>,
    pub to: Arc<Store<ServerIndex>>,
}

impl Site {
    /// Opens what the settings of `house` search, and the collection of `model` beside it.
    pub(crate) async fn open(house: &House, wanted: &House, model: &Model) -> Result<Self> {
        let cluster = Cluster::open(house)?;
        let qdrant = wanted.settings.cluster.qdrant()?;
        let opened = ServerIndex::open_existing(&qdrant, &cluster.collection()).await;
        let from =
            opened.context("the model in the settings has to be the one that is searched")?;
        let to = Collection { model: model_ref(model), dim: model.dim() };
        let to = from.beside(&to).await?;
        let mut mirror: Mirror = cluster.mirror_in("asked").await?;
        mirror.catch_up().await?;
        let store = |index| Arc::new(Store { index, ledger: mirror.ledger() });
        let model = cluster.model.clone();
        Ok(Self { from: store(from), to: store(to), model, cluster })
    }

    /// Has the other model's clips searched from now on. What of `lossy` sources is not among them is
    /// told first, for whoever keeps account of that model.
    pub(crate) async fn switch(&self, lossy: &[(SourceRecord, Brought)]) -> Result<()> {
        let coverage = self.cluster.coverage().await?;
        let model = self.to.index.model().clone();
        for (source, brought) in lossy {
            let ledger = self.from.ledger.clone();
            let (record, begins, to) = (source.clone(), brought.begins.clone(), model.clone());
            let reason = brought.reason.unwrap_or(LostReason::FootageGone);
            let transcript = tokio::task::spawn_blocking(move || {
                Transcript::of(&ledger, &record, &to, &begins, reason)
            });
            let Transcript { source, runs, coverage: rows } = transcript.await??;
            let correction = CorrectionRecord {
                source_id: source.source_id.clone(),
                fingerprint: model.fingerprint.clone(),
            };
            let begun = SourceRecord { complete: false, ..source.clone() };
            let messages: Vec<TopicMessage> = std::iter::once(correction.into())
                .chain(runs.into_iter().map(TopicMessage::from))
                .chain(std::iter::once(begun.into()))
                .chain(rows.into_iter().map(TopicMessage::from))
                .chain(std::iter::once(source.into()))
                .collect();
            coverage.publish_all(messages).await.context("what is lost cannot be told")?;
        }
        Ok(self.to.index.make_current().await?)
    }
}

/// The collections on the server.
pub(crate) async fn collections(house: &House) -> Result<Vec<Shelved>> {
    Ok(connected(house)?.collections().await?)
}

/// Removes a collection that is not searched, and is not that of the model in the settings.
pub(crate) async fn remove_collection(house: &House, fingerprint: &Fingerprint) -> Result<()> {
    Ok(connected(house)?.remove_beside(fingerprint).await?)
}

fn connected(house: &House) -> Result<ServerIndex> {
    let cluster = Cluster::open(house)?;
    Ok(ServerIndex::connected(&house.settings.cluster.qdrant()?, &cluster.collection())?)
}
