//! How far indexing has come, for whoever shows it.

use std::collections::BTreeMap;

use footage_clip::{ClipState, CoverageRecord, SourceId, SourceRecord};

/// What a run committed, by source. A clip that is delivered twice counts twice; the ledger holds
/// the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Every source that something was committed of.
    pub sources: BTreeMap<SourceId, SourceProgress>,
}

/// What a run committed of one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceProgress {
    /// Clips that can be found.
    pub indexed_clips: u64,
    /// Clips with nothing new to see.
    pub gated_clips: u64,
    /// Clips that cannot be found.
    pub lost_clips: u64,
    /// End of the latest of them, in nanoseconds of media time.
    pub reached_ns: u64,
    /// Whether the source was read to its end.
    pub complete: bool,
}

impl Progress {
    /// Clips of all sources, whatever became of them.
    pub fn clips(&self) -> u64 {
        let clips =
            |source: &SourceProgress| source.indexed_clips + source.gated_clips + source.lost_clips;
        self.sources.values().map(clips).sum()
    }

    pub(crate) fn add(&mut self, sources: &[SourceRecord], clips: &[CoverageRecord]) {
        for source in sources {
            self.of(&source.source_id).complete = source.complete;
        }
        for clip in clips {
            let source = self.of(&clip.source_id);
            source.reached_ns = source.reached_ns.max(clip.span.end_ns);
            match clip.state {
                ClipState::Indexed => source.indexed_clips += 1,
                ClipState::Gated => source.gated_clips += 1,
                ClipState::Lost(_) => source.lost_clips += 1,
            }
        }
    }

    fn of(&mut self, source_id: &SourceId) -> &mut SourceProgress {
        self.sources.entry(source_id.clone()).or_default()
    }
}
