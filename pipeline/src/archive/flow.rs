//! From what was read to what is published: one half hands clips to the embedding stage, the other
//! waits for their embeddings, in order.

use footage_clip::{
    ClipId, ClipRecord, ClipState, CoverageRecord, FileStamp, LostReason, SourceRecord, Span,
    UtcStart,
};
use footage_topic::{PublishError, TopicMessage};
use tokio::sync::mpsc;

use super::announce::publish;
use super::file::Work;
use super::read::{Read, ReadPiece};
use super::{Event, News};
use crate::embed::PendingEmbedding;
use crate::{ClipCounts, EmbedError, FileProblem, SourceQueue, wall_clock};

/// Clips of a file between the two halves. The embedding stage's queue is the bound that is felt.
pub(super) const IN_FLIGHT: usize = 32;

/// A piece of the timeline on its way to the topic.
pub(super) struct InFlight {
    span: Span,
    total_ns: Option<u64>,
    what: What,
}

enum What {
    Known,
    Lost,
    Clip { seq: u64, thumbnail: Option<Vec<u8>>, embedding: PendingEmbedding },
}

/// Hands every new clip to the embedding stage, waiting for room there.
pub(super) async fn submit(
    mut reads: mpsc::Receiver<Read>,
    queue: SourceQueue,
    submitted: mpsc::Sender<InFlight>,
    stamp: FileStamp,
) -> Result<(), FileProblem> {
    let mut origin: Option<UtcStart> = None;
    while let Some(Read { facts, piece }) = reads.recv().await {
        // Fixed by the first piece: all clips of a file count from one origin.
        let origin = *origin.get_or_insert_with(|| {
            wall_clock::first_picture(facts.dated_unix_ns, &stamp, facts.announced_ns)
        });
        let (span, what) = match piece {
            ReadPiece::Known(span) => (span, What::Known),
            ReadPiece::Lost(span) => (span, What::Lost),
            ReadPiece::New(clip) => {
                let embedding = queue.submit(clip.frames).await.map_err(FileProblem::Embed)?;
                let (seq, thumbnail) = (clip.seq, clip.thumbnail);
                (clip.span, What::Clip { seq, thumbnail, embedding })
            }
        };
        let span = Span { utc: Some(origin.plus_ns(span.start_ns)), ..span };
        let total_ns = facts.announced_ns;
        if submitted.send(InFlight { span, total_ns, what }).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// The publishing half of a file.
pub(super) struct Publishing<'a> {
    work: &'a Work<'a>,
    clips: ClipCounts,
    has_begun: bool,
}

impl<'a> Publishing<'a> {
    pub(super) fn new(work: &'a Work<'a>) -> Self {
        Self { work, clips: ClipCounts::default(), has_begun: false }
    }

    pub(super) fn into_clips(self) -> ClipCounts {
        self.clips
    }

    /// Publishes all that comes; before the first of it, the source.
    pub(super) async fn run(
        &mut self,
        mut to_publish: mpsc::Receiver<InFlight>,
    ) -> Result<(), FileProblem> {
        while let Some(InFlight { span, total_ns, what }) = to_publish.recv().await {
            if !self.has_begun {
                let begun = SourceRecord { duration_ns: total_ns, ..self.work.source_record() };
                self.publish(begun).await.map_err(FileProblem::Publish)?;
                self.has_begun = true;
            }
            match what {
                What::Known => self.clips.known += 1,
                What::Lost => self.lose(span, LostReason::DecodeError).await?,
                What::Clip { seq, thumbnail, embedding } => {
                    self.publish_clip(span, seq, thumbnail, embedding).await?;
                }
            }
            let news = News::Indexing { done_ns: span.end_ns, total_ns, clips: &self.clips };
            (self.work.on_event)(Event { at: self.work.at, news });
        }
        Ok(())
    }

    async fn publish_clip(
        &mut self,
        span: Span,
        seq: u64,
        thumbnail: Option<Vec<u8>>,
        embedding: PendingEmbedding,
    ) -> Result<(), FileProblem> {
        let embedding = match embedding.embedding().await {
            Ok(embedding) => embedding,
            Err(error @ EmbedError::Clip(_)) => {
                let path = self.work.identity.file.path().display();
                tracing::warn!(%path, start_s = span.start_s(), %error, "clip lost");
                return self.lose(span, LostReason::EmbedError).await;
            }
            // Archives wait for room, so nothing of theirs gives way: the file is read again.
            Err(error @ (EmbedError::Stopped | EmbedError::Overload)) => {
                return Err(FileProblem::Embed(error));
            }
        };
        let (window, identity) = (self.work.window, self.work.identity);
        let (source_id, model) = (identity.source_id.clone(), self.work.archive.model.clone());
        let record = ClipRecord {
            clip_id: ClipId::derive(&source_id, span.start_ns, &window, &model.fingerprint),
            source_id,
            span,
            window,
            model,
            embedding,
            caption: None,
            thumbnail,
            media: self.work.media(),
            seq,
        };
        match self.publish(record).await {
            Ok(()) => self.clips.published += 1,
            Err(error @ PublishError::Never { .. }) => {
                tracing::warn!(%error, "clip lost");
                self.lose(span, LostReason::Refused).await?;
            }
            Err(error) => return Err(FileProblem::Publish(error)),
        }
        Ok(())
    }

    async fn lose(&mut self, span: Span, reason: LostReason) -> Result<(), FileProblem> {
        let source_id = self.work.identity.source_id.clone();
        let record = CoverageRecord { source_id, span, state: ClipState::Lost(reason) };
        self.publish(record).await.map_err(FileProblem::Publish)?;
        *self.clips.lost.entry(reason).or_default() += 1;
        Ok(())
    }

    async fn publish(&self, message: impl Into<TopicMessage> + Send) -> Result<(), PublishError> {
        publish(&*self.work.archive.topic, message, self.work.cancel).await
    }
}
