//! One file, from its name to its outcome.

use std::time::{SystemTime, UNIX_EPOCH};

use footage_clip::{ClipState, LostReason, MediaRef, SourceKind, SourceRecord, WindowSpec};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::announce::publish;
use super::flow::{self, IN_FLIGHT, Publishing};
use super::read::{READ_AHEAD, Reading};
use super::{Archive, Claims, Event, News, OnEvent};
use crate::earlier_work::Known;
use crate::{
    Cancel, ClipCounts, DecodeError, DecodeMode, Ended, FileError, FileOutcome, FileProblem,
    FileSource, IdentifiedFile, IdentifyError, MediaFacts, identify, stamp,
};

/// What records call footage of which only keyframes were looked at.
const KEYFRAMES: &str = "keyframes";

/// Bytes between two words about identifying.
const NEWS_BYTES: u64 = 64 << 20;

/// A file whose identity is known, on its way.
pub(super) struct Work<'a> {
    pub(super) archive: &'a Archive,
    /// How this file is cut.
    pub(super) window: WindowSpec,
    pub(super) at: usize,
    pub(super) identity: &'a IdentifiedFile,
    pub(super) cancel: &'a Cancel,
    pub(super) on_event: &'a OnEvent,
}

/// What became of a file, without its name.
struct End {
    ended: Result<Ended, FileProblem>,
    clips: ClipCounts,
    facts: MediaFacts,
}

impl End {
    fn early(ended: Result<Ended, FileProblem>) -> Self {
        Self { ended, clips: ClipCounts::default(), facts: MediaFacts::default() }
    }
}

impl Archive {
    /// Never fails as a whole: whatever happens is told by the outcome.
    pub(super) async fn index_file(
        &self,
        at: usize,
        file: FileSource,
        claims: &Claims,
        cancel: &Cancel,
        on_event: &std::sync::Arc<OnEvent>,
    ) -> FileOutcome {
        let (identity, end) = match self.identity(at, &file, cancel, on_event).await {
            Ok(identity) => {
                let on_event = &**on_event;
                let work = Work {
                    archive: self,
                    window: self.window,
                    at,
                    identity: &identity,
                    cancel,
                    on_event,
                };
                let end = work.index(claims).await;
                (Some(identity), end)
            }
            Err(FileProblem::Identify(IdentifyError::Cancelled)) => {
                (None, End::early(Ok(Ended::Stopped)))
            }
            Err(problem) => (None, End::early(Err(problem))),
        };
        let path = file.path().to_owned();
        FileOutcome {
            file,
            identity,
            ended: end.ended.unwrap_or_else(|problem| Ended::Failed(FileError { path, problem })),
            clips: end.clips,
            duration_ns: end.facts.seen_ns,
            decoded: end.facts.decoded,
        }
    }

    async fn identity(
        &self,
        at: usize,
        file: &FileSource,
        cancel: &Cancel,
        on_event: &std::sync::Arc<OnEvent>,
    ) -> Result<IdentifiedFile, FileProblem> {
        let (file, cancel) = (file.clone(), cancel.clone());
        let (earlier, on_event) = (self.earlier.clone(), on_event.clone());
        let identified = spawn_blocking(move || {
            if cancel.is_cancelled() {
                return Err(IdentifyError::Cancelled);
            }
            let stamp = stamp(&file)?;
            if let Some(hash) = earlier.content_hash(file.path(), &stamp) {
                return Ok(IdentifiedFile::new(file, hash, stamp));
            }
            let total_bytes = stamp.size_bytes;
            let mut told_bytes = 0;
            identify(&file, &cancel, |done_bytes| {
                if done_bytes - told_bytes >= NEWS_BYTES || done_bytes == total_bytes {
                    told_bytes = done_bytes;
                    on_event(Event { at, news: News::Identifying { done_bytes, total_bytes } });
                }
            })
        });
        let fault = |error: tokio::task::JoinError| FileProblem::Internal(error.to_string());
        identified.await.map_err(fault)?.map_err(FileProblem::Identify)
    }
}

impl Work<'_> {
    async fn index(mut self, claims: &Claims) -> End {
        let claim = match claims.claim(&self.identity.source_id, &self.identity.file).await {
            Ok(claim) => claim,
            Err(other) => return End::early(Ok(Ended::SameAs(other))),
        };
        let end = match self.known().await {
            Ok(known) => {
                self.window = known.source.as_ref().map_or(self.window, |source| source.window);
                if known.is_done() { self.pass_over(&known).await } else { self.read(known).await }
            }
            Err(problem) => End::early(Err(problem)),
        };
        if end.ended.is_ok() {
            claim.settle();
        }
        end
    }

    async fn known(&self) -> Result<Known, FileProblem> {
        let (earlier, source_id) = (self.archive.earlier.clone(), self.identity.source_id.clone());
        let known = spawn_blocking(move || earlier.known(&source_id))
            .await
            .map_err(|error| FileProblem::Internal(error.to_string()))?
            .map_err(|error| FileProblem::EarlierWork(error.to_string()))?;
        let Some(source) = &known.source else { return Ok(known) };
        let (held, given) = (source.window, self.archive.window);
        if held != given && self.archive.window_is_wished {
            return Err(FileProblem::OtherWindow { held: Box::new(held), given: Box::new(given) });
        }
        let is_sparse = source.decoded.as_deref() == Some(KEYFRAMES);
        if is_sparse && self.archive.decode.mode == DecodeMode::All {
            return Err(FileProblem::OnlyKeyframes);
        }
        Ok(known)
    }

    /// Nothing is left to do, but a file that was moved is found where it is now.
    async fn pass_over(&self, known: &Known) -> End {
        let mut end = End::early(Ok(Ended::KnownAlready));
        end.clips.known = known.coverage.clips(|state| state == ClipState::Indexed);
        let Some(source) = &known.source else { return end };
        end.facts.seen_ns = source.duration_ns.unwrap_or(0);
        let media = self.media();
        let is_gone = |held: &MediaRef| fs_err::metadata(&held.path).is_err();
        let is_moved =
            media.is_some() && source.media != media && source.media.as_ref().is_none_or(is_gone);
        if is_moved {
            let name = self.identity.file.name();
            let stamp = Some(self.identity.stamp);
            let moved = SourceRecord { name, media, stamp, ..source.clone() };
            if let Err(error) = publish(&*self.archive.topic, moved, self.cancel).await {
                end.ended = Err(FileProblem::Publish(error));
            }
        }
        end
    }

    async fn read(&self, known: Known) -> End {
        let (reads, to_submit) = mpsc::channel(READ_AHEAD);
        let (submitted, to_publish) = mpsc::channel(IN_FLIGHT);
        let reading = Reading {
            path: self.identity.file.path().to_owned(),
            window: self.window,
            settings: self.archive.decode.clone(),
            known,
            cancel: self.cancel.clone(),
        };
        let decoding = spawn_blocking(move || reading.run(&reads));
        let queue = self.archive.embed.source(self.window.stride());
        let mut publishing = Publishing::new(self);
        // Each half ends when the other does: their channel is closed at either end.
        let (submit, publish) = tokio::join!(
            flow::submit(to_submit, queue, submitted, self.identity.stamp),
            publishing.run(to_publish),
        );
        let (facts, decoded) = match decoding.await {
            Ok(ended) => ended,
            Err(error) => {
                let clips = publishing.into_clips();
                let ended = Err(FileProblem::Internal(error.to_string()));
                return End { ended, clips, facts: MediaFacts::default() };
            }
        };
        let clips = publishing.into_clips();
        let ended = match publish.and(submit) {
            Err(problem) => Err(problem),
            Ok(()) if self.cancel.is_cancelled() => Ok(Ended::Stopped),
            Ok(()) if stamp(&self.identity.file).ok() != Some(self.identity.stamp) => {
                Err(FileProblem::Identify(IdentifyError::Changing))
            }
            Ok(()) => self.close(facts, decoded, &clips).await,
        };
        End { ended, clips, facts }
    }

    /// The file was read as far as it can be: says so, unless another attempt may get further.
    async fn close(
        &self,
        facts: MediaFacts,
        decoded: Result<(), DecodeError>,
        clips: &ClipCounts,
    ) -> Result<Ended, FileProblem> {
        let failure = decoded.err();
        let failed_clips = clips.lost.get(&LostReason::EmbedError).copied().unwrap_or(0);
        let is_final = failed_clips == 0
            && failure.as_ref().is_none_or(|error| facts.seen_ns > 0 && error.is_final());
        let has_pictures = facts.seen_ns > 0;
        let problem = match failure {
            Some(cause) if has_pictures => {
                Some(FileProblem::BrokeOff { at_ns: facts.seen_ns, cause })
            }
            Some(cause) => Some(FileProblem::Decode(cause)),
            None if failed_clips > 0 => Some(FileProblem::ClipsFailed(failed_clips)),
            None => None,
        };
        // A file without a picture leaves no trace: it is no source.
        if has_pictures {
            let failure = problem.as_ref().map(ToString::to_string);
            let record = SourceRecord {
                complete: is_final,
                duration_ns: Some(facts.seen_ns),
                decoded: Some(facts.decoded.to_string()),
                failure,
                ..self.source_record()
            };
            let published = publish(&*self.archive.topic, record, self.cancel).await;
            published.map_err(FileProblem::Publish)?;
        }
        problem.map_or(Ok(Ended::Complete), Err)
    }

    /// The source as it is when work on it begins.
    pub(super) fn source_record(&self) -> SourceRecord {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        SourceRecord {
            source_id: self.identity.source_id.clone(),
            name: self.identity.file.name(),
            kind: SourceKind::File,
            media: self.media(),
            stamp: Some(self.identity.stamp),
            content_hash: Some(self.identity.content_hash.to_hex().to_string()),
            duration_ns: None,
            // A file that is read in two runs is no better than the poorer of the two.
            decoded: match self.archive.decode.mode {
                DecodeMode::Keyframes => Some(KEYFRAMES.to_owned()),
                DecodeMode::Auto | DecodeMode::All => None,
            },
            retained_from_ns: None,
            added_unix_s: now.map_or(0, |now| now.as_secs()),
            model: self.archive.model.clone(),
            window: self.window,
            complete: false,
            failure: None,
        }
    }

    /// Where the file is; none for a name that is no text, which a record cannot hold.
    pub(super) fn media(&self) -> Option<MediaRef> {
        let path = self.identity.file.path().to_str()?;
        Some(MediaRef::file(path))
    }
}
