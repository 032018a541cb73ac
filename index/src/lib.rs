//! Where clips rest: Qdrant's engine in process, a Qdrant server, and their exact in-memory twin.
//!
//! Clips go in through [`KeepClips`] and come out through [`FindClips`]. [`EmbeddedIndex`] keeps
//! them in a folder, [`ServerIndex`] on a Qdrant server, [`MemoryIndex`] holds them in memory and compares every one: the yardstick.
//! Captions are found by their words, with BM25. [`contract`] holds the promises that all keep. The [`Ledger`] beside an index says what became
//! of every clip of every source, and marks nothing as indexed before the index has it on disk.
//!
//! On disk, below the data directory:
//!
//! ```text
//! index/in-use                     locked by the process that has the index open; holds its id
//! index/current                    the fingerprint of the collection that is read, where there are several
//! index/<fingerprint>/manifest.json  format, model, dimension
//! index/<fingerprint>/ledger.redb    sources and coverage
//! index/<fingerprint>/clips/         vectors, payload and their indexes
//! ```

mod beside;
mod collection;
pub mod contract;
mod embedded;
mod error;
mod filter;
mod ledger;
mod memory;
mod opening;
mod payload;
mod remove;
mod server;
mod words;

use async_trait::async_trait;
use footage_clip::{
    Caption, ClipId, ClipRecord, Embedding, MediaRef, ModelRef, SourceId, Span, WindowSpec,
};

pub use beside::{Beside, Shelved};
pub use collection::Collection;
pub use embedded::{EmbeddedIndex, EmbeddedSettings, FORMAT_VERSION, Manifest};
pub use error::{IndexError, Refusal};
pub use filter::{Filter, MediaRange, UtcRange};
pub use ledger::{Closing, KnownFile, Ledger, LedgerError};
pub use memory::MemoryIndex;
pub use opening::OPENING_THREAD;
pub use remove::{RemoveError, Removed, finish_removals, remove_source};
pub use server::{ApiKey, KeptByModel, Quantization, ServerIndex, ServerSettings};

/// Takes clips in.
#[async_trait]
pub trait KeepClips: Send + Sync {
    /// Keeps clips by their id: one that is there already is replaced. All of `clips` are kept, or,
    /// with [`IndexError::Refused`], none of them. They can be found at once; they survive a crash
    /// for certain only after [`flush`](Self::flush).
    async fn keep(&self, clips: &[ClipRecord]) -> Result<(), IndexError>;

    /// Puts captions to clips, in place of those they had, so that they are found by their words at
    /// once. A clip that is not there gets none. Returns how many clips got theirs; for certain only
    /// after [`flush`](Self::flush). A clip that is kept again comes with the caption of its record, or
    /// without one.
    async fn caption(&self, captions: &[(ClipId, Caption)]) -> Result<u64, IndexError>;

    /// Resolves once everything kept, captioned and removed before is on disk.
    async fn flush(&self) -> Result<(), IndexError>;

    /// Removes every clip of a source, thumbnails included. Returns how many there were.
    async fn remove_source(&self, source_id: &SourceId) -> Result<u64, IndexError>;

    /// Removes the clips of a source that end at `end_ns` or before, thumbnails included. Searching
    /// and keeping go on meanwhile. Returns how many there were.
    async fn remove_before(&self, source_id: &SourceId, end_ns: u64) -> Result<u64, IndexError>;

    /// Brings the index into the shape that is fastest to search. May take minutes; searching and
    /// keeping go on meanwhile.
    async fn optimize(&self) -> Result<(), IndexError>;
}

/// Finds clips.
#[async_trait]
pub trait FindClips: Send + Sync {
    /// The model whose embeddings these are. No other model's query may be asked.
    fn model(&self) -> &ModelRef;

    /// The clips nearest to `query`, best first and at equal scores by id; at most `limit`.
    async fn find(
        &self,
        query: &Embedding,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<Hit>, IndexError>;

    /// The clips whose captions have a word of `words`, whatever its form: best first by BM25 over all
    /// captions of the index, and at equal scores by id; at most `limit`. Words as common as "the" and
    /// "is" do not count, and where there are no others nothing is found.
    async fn find_words(
        &self,
        words: &str,
        filter: &Filter,
        limit: usize,
    ) -> Result<Vec<WordHit>, IndexError>;

    /// The records of those of `ids` that are there, in the order asked.
    async fn get(&self, ids: &[ClipId], with: With) -> Result<Vec<StoredClip>, IndexError>;

    /// A clip's small JPEG; none where the clip has none, or is not there.
    async fn thumbnail(&self, id: ClipId) -> Result<Option<Vec<u8>>, IndexError>;

    /// Number of clips that a filter accepts.
    async fn count(&self, filter: &Filter) -> Result<u64, IndexError>;

    /// Ids of a source's clips in ascending order: the first `limit` that come after `after`.
    async fn ids(
        &self,
        source_id: &SourceId,
        after: Option<ClipId>,
        limit: usize,
    ) -> Result<Vec<ClipId>, IndexError>;
}

/// What both doors of an index open on.
pub trait Index: KeepClips + FindClips {}

impl<I: KeepClips + FindClips> Index for I {}

/// A clip found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The clip.
    pub clip_id: ClipId,
    /// The camera or file.
    pub source_id: SourceId,
    /// Place in the source's time.
    pub span: Span,
    /// Cosine between query and clip, -1 to 1; of a [`WordHit`], its caption's BM25, above 0.
    pub score: f32,
    /// Where the footage is kept.
    pub media: Option<MediaRef>,
    /// Count of the clip within its source, from 0.
    pub seq: u64,
    /// A description in words, where there is one.
    pub caption: Option<String>,
    /// The model that made the clip's embedding.
    pub model: ModelRef,
}

/// A clip found by the words of its caption.
#[derive(Clone, Debug, PartialEq)]
pub struct WordHit {
    /// The clip.
    pub hit: Hit,
    /// Whether its caption has every word that was asked for.
    pub has_every_word: bool,
}

/// What [`FindClips::get`] loads beside a clip's description.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct With {
    /// The embedding.
    pub embedding: bool,
    /// The small JPEG.
    pub thumbnail: bool,
}

impl With {
    /// Everything that was kept.
    pub const ALL: Self = Self { embedding: true, thumbnail: true };
}

/// A clip as it rests in the index.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredClip {
    /// The clip.
    pub clip_id: ClipId,
    /// The camera or file.
    pub source_id: SourceId,
    /// Place in the source's time.
    pub span: Span,
    /// How the clip was cut.
    pub window: WindowSpec,
    /// The model that made the embedding.
    pub model: ModelRef,
    /// Where the footage is kept.
    pub media: Option<MediaRef>,
    /// Count of the clip within its source, from 0.
    pub seq: u64,
    /// A description in words, where there is one.
    pub caption: Option<String>,
    /// The embedding, where asked for.
    pub embedding: Option<Embedding>,
    /// The small JPEG, where asked for and there.
    pub thumbnail: Option<Vec<u8>>,
}

impl StoredClip {
    fn into_hit(self, score: f32) -> Hit {
        let Self { clip_id, source_id, span, media, seq, caption, model, .. } = self;
        Hit { clip_id, source_id, span, score, media, seq, caption, model }
    }
}

/// Best first, and at equal scores by id.
fn best_first(hits: &mut [Hit]) {
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.clip_id.cmp(&b.clip_id)));
}
