//! What a killed watch had put into the index, and not yet into the ledger.

use anyhow::{Context as _, Result};
use footage_clip::{ClipState, CoverageRecord, Embedding, SourceKind};
use footage_index::{Filter, FindClips as _, KeepClips as _, MediaRange};

use crate::compose::Store;

/// Enters those clips of cameras that the index holds beyond the end of their ledger, so that no time
/// counts as lost that can be found. There are as many as fit one batch of the indexer, or none.
pub(crate) async fn reconcile(store: &Store, dim: usize) -> Result<()> {
    let mut found = Vec::new();
    for source in store.ledger.sources()? {
        let Some(covered_end_ns) = store.ledger.covered_end_ns(&source.source_id)? else {
            continue;
        };
        if source.kind != SourceKind::Camera {
            continue;
        }
        let media = Some(MediaRange { from_ns: Some(covered_end_ns), to_ns: None });
        let beyond = Filter { media, ..Filter::of_source(source.source_id.clone()) };
        let count = store.index.count(&beyond).await?;
        if count == 0 {
            continue;
        }
        // Which query is asked does not matter where everything is to be found.
        let mut any = vec![0.0; dim];
        any.fill(1.0);
        let any = Embedding::normalise(any).context("the model's embeddings have no dimension")?;
        let hits = store.index.find(&any, &beyond, usize::try_from(count)?).await?;
        tracing::info!(source = %source.source_id, clips = hits.len(), "found beyond the ledger's end");
        found.extend(hits.into_iter().map(|hit| CoverageRecord {
            source_id: hit.source_id,
            span: hit.span,
            state: ClipState::Indexed,
        }));
    }
    if !found.is_empty() {
        store.index.flush().await?;
        store.ledger.enter(&[], &found)?;
    }
    Ok(())
}
