//! The ledger as cameras ask it.

use std::error::Error;

use footage_clip::SourceId;
use footage_index::Ledger;
use footage_pipeline::Timeline;

/// Tells where an earlier watch left off.
pub(super) struct LedgerTimeline(pub(super) Ledger);

impl Timeline for LedgerTimeline {
    fn covered_end_ns(&self, id: &SourceId) -> Result<Option<u64>, Box<dyn Error + Send + Sync>> {
        Ok(self.0.covered_end_ns(id)?)
    }
}
