//! Letting go of what is too old, or too much.
//!
//! A source is closed in parts of bounded size, each in this order: the ledger forgets the clips, so
//! that nothing claims them any more, and remembers that they are to go; their vectors and
//! thumbnails go; their footage goes; the ledger closes the part. What was interrupted is finished
//! by [`Retention::finish`], and doing a step again does no harm. Searching and keeping go on
//! between the parts.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use footage_clip::SourceId;
use footage_index::{Closing, IndexError, KeepClips, Ledger, LedgerError};
use tracing::info;

/// Most clips of one part, roughly: fewer make more flushes, more make searching wait longer.
const CLIPS_AT_ONCE: u64 = 2048;

/// What is kept of a source. The default keeps everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Nothing that is older stays, footage or not.
    pub max_age: Option<Duration>,
    /// The oldest goes when recorded footage takes more bytes.
    pub max_bytes: Option<u64>,
}

/// A file of recorded footage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FootagePart {
    /// Media time of its first picture. It ends where the next part begins, or before.
    pub begins_ns: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Recorded footage could not be listed or removed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("footage of source `{source_id}` cannot be {doing}: {cause}")]
pub struct FootageError {
    /// The source.
    pub source_id: SourceId,
    /// What was not done: `listed`, `removed`.
    pub doing: &'static str,
    /// What the disk says.
    pub cause: String,
}

/// Where recorded footage lies. Every call may block for as long as the disk needs.
pub trait Footage: Send + Sync {
    /// The parts of a source's footage, by time; none for a source that is not recorded.
    fn parts(&self, source_id: &SourceId) -> Result<Vec<FootagePart>, FootageError>;

    /// Removes the parts that end at `before_ns` or earlier. Returns the bytes that are free again.
    fn remove_before(&self, source_id: &SourceId, before_ns: u64) -> Result<u64, FootageError>;
}

/// No footage: for who records nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFootage;

impl Footage for NoFootage {
    fn parts(&self, _: &SourceId) -> Result<Vec<FootagePart>, FootageError> {
        Ok(Vec::new())
    }

    fn remove_before(&self, _: &SourceId, _: u64) -> Result<u64, FootageError> {
        Ok(0)
    }
}

/// Why something that was to go is still there. What was begun goes on with the next call.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The index failed.
    #[error("old clips cannot be removed: {0}")]
    Index(#[from] IndexError),
    /// The ledger failed.
    #[error("old clips cannot be accounted for: {0}")]
    Ledger(#[from] LedgerError),
    /// The footage could not be listed or removed.
    #[error(transparent)]
    Footage(#[from] FootageError),
    /// A call was given up by the runtime.
    #[error("removing old clips was interrupted: {0}")]
    Interrupted(String),
}

/// What went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// Clips taken out of the index.
    pub clips: u64,
    /// Bytes of footage that are free again.
    pub bytes: u64,
}

/// Keeps an index, its ledger and recorded footage within what is to be kept.
#[derive(Clone)]
pub struct Retention {
    index: Arc<dyn KeepClips>,
    ledger: Ledger,
    footage: Arc<dyn Footage>,
}

impl Retention {
    /// Retention for one index, the ledger beside it, and the footage of its sources.
    pub fn new(index: Arc<dyn KeepClips>, ledger: Ledger, footage: Arc<dyn Footage>) -> Self {
        Self { index, ledger, footage }
    }

    /// Finishes what was interrupted. Call it when all are opened, before indexing.
    pub async fn finish(&self) -> Result<Retained, RetentionError> {
        let mut retained = Retained::default();
        for closing in self.blocking(|this| Ok(this.ledger.closings()?)).await? {
            self.carry_out(closing, &mut retained).await?;
        }
        Ok(retained)
    }

    /// Removes what `policy` does not keep of a source at `now_unix_ns`, the time of this machine's
    /// clock.
    ///
    /// A camera's media time is this machine's clock when each run began and is never set back, so
    /// age is counted on it: after the clock was set back, footage stays longer by as much.
    pub async fn apply(
        &self,
        source_id: &SourceId,
        policy: RetentionPolicy,
        now_unix_ns: u64,
    ) -> Result<Retained, RetentionError> {
        let mut retained = Retained::default();
        let id = source_id.clone();
        let open = self.blocking(|this| Ok(this.ledger.closings()?)).await?;
        for closing in open.into_iter().filter(|closing| closing.source_id == id) {
            self.carry_out(closing, &mut retained).await?;
        }
        let due = move |this: &Self| {
            due_before_ns(&this.ledger, &*this.footage, &id, policy, now_unix_ns)
        };
        let before_ns = self.blocking(due).await?;
        let Some(before_ns) = before_ns else { return Ok(retained) };
        loop {
            let id = source_id.clone();
            let begin =
                move |this: &Self| Ok(this.ledger.begin_closing(&id, before_ns, CLIPS_AT_ONCE)?);
            let Some(closing) = self.blocking(begin).await? else { break };
            self.carry_out(closing, &mut retained).await?;
        }
        if retained != Retained::default() {
            let Retained { clips, bytes } = retained;
            info!(source = %source_id, clips, bytes, before_ns, "old footage was removed");
        }
        Ok(retained)
    }

    async fn carry_out(
        &self,
        closing: Closing,
        retained: &mut Retained,
    ) -> Result<(), RetentionError> {
        let Closing { source_id, before_ns } = &closing;
        retained.clips += self.index.remove_before(source_id, *before_ns).await?;
        self.index.flush().await?;
        let close = move |this: &Self| {
            let bytes = this.footage.remove_before(&closing.source_id, closing.before_ns)?;
            this.ledger.finish_closing(&closing)?;
            Ok(bytes)
        };
        retained.bytes += self.blocking(close).await?;
        Ok(())
    }

    /// Ledger and footage wait for the disk, so they go where blocking is allowed.
    async fn blocking<R: Send + 'static>(
        &self,
        call: impl FnOnce(&Self) -> Result<R, RetentionError> + Send + 'static,
    ) -> Result<R, RetentionError> {
        let this = self.clone();
        let joined = tokio::task::spawn_blocking(move || call(&this)).await;
        joined.map_err(|error| RetentionError::Interrupted(error.to_string()))?
    }
}

impl fmt::Debug for Retention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retention").field("ledger", &self.ledger).finish_non_exhaustive()
    }
}

/// Up to where `policy` closes a source at `now_unix_ns`; none where there is nothing to remove. Waits
/// for the disk.
pub fn due_before_ns(
    ledger: &Ledger,
    footage: &dyn Footage,
    source_id: &SourceId,
    policy: RetentionPolicy,
    now_unix_ns: u64,
) -> Result<Option<u64>, RetentionError> {
    let parts = footage.parts(source_id)?;
    let by_age = policy
        .max_age
        .map(|age| now_unix_ns.saturating_sub(u64::try_from(age.as_nanos()).unwrap_or(u64::MAX)));
    let by_size = policy.max_bytes.and_then(|most| begin_of_newest(&parts, most));
    let oldest = ledger.covered_from_ns(source_id)?;
    // A part of footage ends where the next one begins: the last one is still being written.
    let oldest_end = parts.get(1).map(|part| part.begins_ns);
    let is_older = |before_ns: &u64| {
        oldest.is_some_and(|from| from < *before_ns)
            || oldest_end.is_some_and(|end| end <= *before_ns)
    };
    Ok(by_age.max(by_size).filter(is_older))
}

/// Where the newest parts begin that together take `most` bytes at most, where there are older ones.
/// The last part is being written, and stays however long it is.
fn begin_of_newest(parts: &[FootagePart], most: u64) -> Option<u64> {
    let mut bytes = 0_u64;
    for (at, part) in parts.iter().enumerate().rev() {
        bytes = bytes.saturating_add(part.bytes);
        if bytes > most {
            return Some(parts.get(at + 1).unwrap_or(part).begins_ns);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn as_much_of_the_newest_footage_stays_as_fits(
            bytes in prop::collection::vec(0u64..50, 0..12), most in 0u64..300,
        ) {
            let parts: Vec<FootagePart> = (0..).zip(&bytes)
                .map(|(at, bytes)| FootagePart { begins_ns: at * 10, bytes: *bytes })
                .collect();
            let before_ns = begin_of_newest(&parts, most);
            let sum = |from: u64| {
                parts.iter().filter(|part| part.begins_ns >= from).map(|part| part.bytes).sum::<u64>()
            };
            let last = parts.last().map_or(0, |part| part.begins_ns);
            match before_ns {
                None => prop_assert!(sum(0) <= most),
                Some(before_ns) => {
                    prop_assert!(sum(0) > most);
                    prop_assert!(sum(before_ns) <= most || before_ns == last);
                    prop_assert!(before_ns == 0 || sum(before_ns - 10) > most, "more would fit");
                }
            }
        }
    }
}
