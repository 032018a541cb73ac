//! Archives: files are read one after the other, or a few at a time, and nothing of them is dropped.
//!
//! ```text
//! decoder thread --2 clips--> submit --queue of the embedding stage--> publish --> topic
//! ```
//!
//! Whatever is full makes what stands before it wait, back to the file. To stop: cancel; decoders end
//! as if their files had ended, and what was read is embedded and published.

mod announce;
mod file;
mod flow;
mod read;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use footage_clip::{ModelRef, SourceId, WindowSpec};
use footage_topic::Topic;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::lock;
use crate::{
    Cancel, ClipCounts, DecodeMode, DecodeSettings, EarlierWork, EmbedQueue, Ended, FileError,
    FileOutcome, FileProblem, FileSource,
};

pub(crate) use announce::publish;

/// All that files pass through on their way to the topic.
#[derive(Clone)]
pub struct Archive {
    /// What the embeddings are made by: the model of the stage below.
    pub model: ModelRef,
    /// How footage is cut.
    pub window: WindowSpec,
    /// Whether that is a wish: a file that is known and was cut otherwise is refused then, and stays as it
    /// was cut where it is not.
    pub window_is_wished: bool,
    /// How files are decoded.
    pub decode: DecodeSettings,
    /// Files read at the same time.
    pub parallel_files: NonZeroUsize,
    /// Where clips are embedded.
    pub embed: EmbedQueue,
    /// Where records go.
    pub topic: Arc<dyn Topic>,
    /// What earlier runs did.
    pub earlier: Arc<dyn EarlierWork>,
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive")
            .field("model", &self.model)
            .field("window", &self.window)
            .field("decode", &self.decode)
            .field("parallel_files", &self.parallel_files)
            .finish_non_exhaustive()
    }
}

/// Something happened to the file at place `at` of those given.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    /// Place of the file, from 0.
    pub at: usize,
    /// What happened.
    pub news: News<'a>,
}

/// What happens to a file, in this order.
#[derive(Clone, Copy, Debug)]
pub enum News<'a> {
    /// It is being read for its identity.
    Identifying {
        /// Bytes read.
        done_bytes: u64,
        /// Bytes to read.
        total_bytes: u64,
    },
    /// It is being decoded, embedded and published.
    Indexing {
        /// Media time up to which its clips are dealt with, in nanoseconds.
        done_ns: u64,
        /// Its length, as far as it tells it.
        total_ns: Option<u64>,
        /// What became of its clips so far.
        clips: &'a ClipCounts,
    },
    /// It has ended.
    Ended(&'a FileOutcome),
}

/// Who hears of it. Called often, from several threads: be quick.
pub type OnEvent = dyn Fn(Event<'_>) + Send + Sync;

impl Archive {
    /// Indexes `files` and returns how each ended, in their order. No file keeps another from being
    /// indexed.
    pub async fn index(
        &self,
        files: Vec<FileSource>,
        cancel: &Cancel,
        on_event: Arc<OnEvent>,
    ) -> Vec<FileOutcome> {
        let slots = Arc::new(Semaphore::new(self.parallel_files.get()));
        let claims = Arc::<Claims>::default();
        let mut work = JoinSet::new();
        let mut outcomes: Vec<Option<FileOutcome>> = Vec::new();
        let sources = files.clone();
        for (at, file) in files.into_iter().enumerate() {
            outcomes.push(None);
            // Waits for a free place, so no more than these are ever held open.
            let place = slots.clone().acquire_owned().await;
            let (archive, cancel) = (self.clone(), cancel.clone());
            let (claims, on_event) = (claims.clone(), on_event.clone());
            work.spawn(async move {
                let outcome = archive.index_file(at, file, &claims, &cancel, &on_event).await;
                on_event(Event { at, news: News::Ended(&outcome) });
                drop(place);
                (at, outcome)
            });
        }
        while let Some(ended) = work.join_next().await {
            match ended {
                Ok((at, outcome)) => outcomes[at] = Some(outcome),
                Err(error) => tracing::error!(%error, "a file's task failed"),
            }
        }
        let ended = outcomes.into_iter().zip(sources);
        ended.map(|(outcome, file)| outcome.unwrap_or_else(|| fault_of_ours(file))).collect()
    }
}

fn fault_of_ours(file: FileSource) -> FileOutcome {
    let path = file.path().to_owned();
    let problem = FileProblem::Internal("its task failed: see the log".into());
    FileOutcome {
        file,
        identity: None,
        ended: Ended::Failed(FileError { path, problem }),
        clips: ClipCounts::default(),
        duration_ns: 0,
        decoded: DecodeMode::default(),
    }
}

/// Which file of a run stands for a content: two copies of one recording are one source.
#[derive(Debug, Default)]
struct Claims(Mutex<HashMap<SourceId, Held>>);

/// A content that a file stands for.
#[derive(Clone, Debug)]
struct Held {
    by: PathBuf,
    /// Whether that file did well; closed without a word where it did not.
    did_well: watch::Receiver<bool>,
}

/// A file's right to stand for its content. Dropped without [`Claim::settle`], the next copy takes
/// over.
#[derive(Debug)]
struct Claim(watch::Sender<bool>);

impl Claim {
    /// The file did well: its copies need no work.
    fn settle(self) {
        self.0.send_replace(true);
    }
}

impl Claims {
    /// The claim of this file to the source, or the file that stands for it. Waits for the end of
    /// another one that is at work on it: where that fails, this one may do better.
    async fn claim(&self, source_id: &SourceId, file: &FileSource) -> Result<Claim, PathBuf> {
        loop {
            let held = self.held_or_taken(source_id, file);
            let Held { by, mut did_well } = match held {
                Ok(claim) => return Ok(claim),
                Err(held) => held,
            };
            if did_well.wait_for(|did_well| *did_well).await.is_ok() {
                return Err(by);
            }
        }
    }

    /// Takes a claim that nobody has, or whose holder ended without doing well.
    fn held_or_taken(&self, source_id: &SourceId, file: &FileSource) -> Result<Claim, Held> {
        let mut claims = lock(&self.0);
        if let Some(held) = claims.get(source_id) {
            let has_failed = held.did_well.has_changed().is_err() && !*held.did_well.borrow();
            if !has_failed {
                return Err(held.clone());
            }
        }
        let (claim, did_well) = watch::channel(false);
        claims.insert(source_id.clone(), Held { by: file.path().to_owned(), did_well });
        Ok(Claim(claim))
    }
}
