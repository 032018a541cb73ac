//! Taking a source out of the index and the ledger, whatever comes between.

use footage_clip::SourceId;

use crate::{IndexError, KeepClips, Ledger, LedgerError};

/// Why a source was not removed, or not wholly.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The ledger failed.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The call itself was given up by the runtime.
    #[error("removal was interrupted: {0}: it goes on when the index is opened next")]
    Interrupted(String),
}

/// What was removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Removed {
    /// Whether the ledger knew the source.
    pub known: bool,
    /// Clips taken out of the index.
    pub clips: u64,
}

/// Removes a source: its clips with their vectors and thumbnails, its coverage, its files. Durable
/// when it returns. One that is interrupted is finished by [`finish_removals`].
pub async fn remove_source(
    index: &dyn KeepClips,
    ledger: &Ledger,
    source_id: &SourceId,
) -> Result<Removed, RemoveError> {
    // The ledger first: from here on nothing claims that these clips are indexed.
    let known = with_ledger(ledger, source_id, Ledger::begin_removal).await?;
    let clips = take_out(index, ledger, source_id).await?;
    Ok(Removed { known, clips })
}

/// Finishes removals that were interrupted. Call it when both are opened, before indexing.
pub async fn finish_removals(index: &dyn KeepClips, ledger: &Ledger) -> Result<(), RemoveError> {
    for source_id in ledger.removals()? {
        take_out(index, ledger, &source_id).await?;
    }
    Ok(())
}

async fn take_out(
    index: &dyn KeepClips,
    ledger: &Ledger,
    source_id: &SourceId,
) -> Result<u64, RemoveError> {
    let clips = index.remove_source(source_id).await?;
    index.flush().await?;
    with_ledger(ledger, source_id, Ledger::finish_removal).await?;
    Ok(clips)
}

async fn with_ledger<R: Send + 'static>(
    ledger: &Ledger,
    source_id: &SourceId,
    call: fn(&Ledger, &SourceId) -> Result<R, LedgerError>,
) -> Result<R, RemoveError> {
    let (ledger, source_id) = (ledger.clone(), source_id.clone());
    let joined = tokio::task::spawn_blocking(move || call(&ledger, &source_id)).await;
    Ok(joined.map_err(|error| RemoveError::Interrupted(error.to_string()))??)
}
