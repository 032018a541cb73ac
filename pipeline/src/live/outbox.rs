//! From what was seen to the topic, in order, and without ever making the camera wait.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use footage_clip::{
    ClipId, ClipRecord, ClipState, CoverageRecord, LostReason, MediaRef, RgbFrame, RunRecord,
    SourceRecord, Span,
};
use footage_topic::{PublishError, TopicMessage};
use tokio::sync::mpsc;

use super::status::Board;
use super::{Camera, WatchParts};
use crate::archive::publish;
use crate::{Cancel, EmbedError, PendingEmbedding, thumbnail};

/// Messages between a camera and the topic. The embedding stage's queue is the bound that is felt.
const CAPACITY: usize = 64;

/// Lost stretches that are owed while the topic takes nothing. More than these are merged.
const MAX_OWED: usize = 64;

/// A message on its way.
pub(super) enum Item {
    Source(Box<SourceRecord>),
    Run(RunRecord),
    Coverage(Span, ClipState),
    Clip(Box<ClipItem>),
}

/// A clip on its way.
pub(super) struct ClipItem {
    pub(super) span: Span,
    pub(super) seq: u64,
    /// The picture that stands for it.
    pub(super) picture: Option<RgbFrame>,
    pub(super) embedding: PendingEmbedding,
    pub(super) media: Option<MediaRef>,
}

/// The near end: takes what fits, and remembers what is owed.
pub(super) struct Outbox {
    items: mpsc::Sender<Item>,
    /// What has to go first.
    owed: VecDeque<Item>,
    /// Of a run without a clip nobody need know: it goes with its first clip.
    run: Option<RunRecord>,
    has_lost_a_clip: Arc<AtomicBool>,
}

impl Outbox {
    /// `has_lost_a_clip` is the publisher's.
    pub(super) fn new(has_lost_a_clip: Arc<AtomicBool>) -> (Self, mpsc::Receiver<Item>) {
        let (items, waiting) = mpsc::channel(CAPACITY);
        (Self { items, owed: VecDeque::new(), run: None, has_lost_a_clip }, waiting)
    }

    /// Whether a clip that was sent was lost since this was asked last.
    pub(super) fn has_lost_a_clip(&self) -> bool {
        self.has_lost_a_clip.swap(false, Ordering::Relaxed)
    }

    /// A source is announced before anything else of it.
    pub(super) fn announce(&mut self, source: SourceRecord) {
        self.owed.push_back(Item::Source(Box::new(source)));
    }

    /// A run begins, should any clip of it be sent.
    pub(super) fn begin_run(&mut self, run: RunRecord) {
        self.run = Some(run);
    }

    /// Whether a clip can be sent now. Asked before it is embedded.
    pub(super) fn has_room(&mut self) -> bool {
        self.settle();
        // Room for a run's record, too.
        self.owed.is_empty() && self.items.capacity() >= 2
    }

    /// Sends a clip, or what became of it, after the record of its run.
    pub(super) fn send(&mut self, item: Item) {
        if let Some(run) = self.run.take() {
            self.owed.push_back(Item::Run(run));
        }
        self.owed.push_back(item);
        self.settle();
    }

    /// A stretch of the timeline is in this state. Never refused.
    pub(super) fn owe(&mut self, span: Span, state: ClipState) {
        self.settle();
        if self.owed.len() >= MAX_OWED
            && let Some(Item::Coverage(last, worst)) = self.owed.back_mut()
        {
            last.end_ns = last.end_ns.max(span.end_ns);
            *worst = state.max(*worst);
            return;
        }
        self.owed.push_back(Item::Coverage(span, state));
        self.settle();
    }

    /// Sends what is owed, as far as there is room.
    pub(super) fn settle(&mut self) {
        while let Some(item) = self.owed.pop_front() {
            if let Err(error) = self.items.try_send(item) {
                // A topic that was closed takes nothing any more: then nothing is owed.
                if let mpsc::error::TrySendError::Full(item) = error {
                    self.owed.push_front(item);
                }
                return;
            }
        }
    }

    /// The camera is left: all that is owed is sent, waiting for room.
    pub(super) async fn close(mut self) {
        while let Some(item) = self.owed.pop_front() {
            if self.items.send(item).await.is_err() {
                return;
            }
        }
    }
}

/// The far end: waits for embeddings and for the topic.
pub(super) struct Publisher {
    pub(super) camera: Camera,
    pub(super) parts: Arc<WatchParts>,
    pub(super) board: Board,
    pub(super) cancel: Cancel,
    /// Set where a clip was lost on its way.
    pub(super) has_lost_a_clip: Arc<AtomicBool>,
}

impl Publisher {
    /// Publishes all that comes, until the near end is gone, or the topic is closed.
    pub(super) async fn run(self, mut items: mpsc::Receiver<Item>) {
        while let Some(item) = items.recv().await {
            let done = match item {
                Item::Source(source) => self.publish(*source).await,
                Item::Run(run) => self.publish(run).await,
                Item::Coverage(span, state) => self.cover(span, state).await,
                Item::Clip(clip) => self.clip(*clip).await,
            };
            if let Err(error) = done {
                let source_id = &self.camera.source_id;
                tracing::warn!(%source_id, %error, "not published");
                if matches!(error, PublishError::Closed(_)) {
                    return;
                }
            }
        }
    }

    async fn clip(&self, clip: ClipItem) -> Result<(), PublishError> {
        let source_id = self.camera.source_id.clone();
        let ClipItem { span, seq, picture, embedding, media } = clip;
        let lost = |reason| {
            self.has_lost_a_clip.store(true, Ordering::Relaxed);
            self.cover(span, ClipState::Lost(reason))
        };
        let embedding = match embedding.embedding().await {
            Ok(embedding) => embedding,
            Err(error) => {
                let start_s = span.start_s();
                tracing::debug!(%source_id, start_s, %error, "clip lost");
                return lost(reason_of(&error)).await;
            }
        };
        let thumbnail = picture.and_then(|picture| {
            let made = thumbnail::jpeg(&picture);
            made.inspect_err(|error| tracing::warn!(%error, "no thumbnail")).ok()
        });
        let (window, model) = (self.parts.window, self.parts.model.clone());
        let record = ClipRecord {
            clip_id: ClipId::derive(&source_id, span.start_ns, &window, &model.fingerprint),
            source_id,
            span,
            window,
            model,
            embedding,
            caption: None,
            thumbnail,
            media,
            seq,
        };
        match self.publish(record).await {
            Ok(()) => {
                self.board.count(|counts| counts.indexed_clips += 1);
                Ok(())
            }
            Err(error @ PublishError::Never { .. }) => {
                tracing::warn!(%error, "clip lost");
                lost(LostReason::Refused).await
            }
            Err(error) => Err(error),
        }
    }

    async fn cover(&self, span: Span, state: ClipState) -> Result<(), PublishError> {
        let source_id = self.camera.source_id.clone();
        self.publish(CoverageRecord { source_id, span, state }).await?;
        match state {
            ClipState::Indexed => {}
            ClipState::Gated => self.board.count(|counts| counts.gated_clips += 1),
            ClipState::Lost(reason) => self.board.lost(reason),
        }
        Ok(())
    }

    async fn publish(&self, message: impl Into<TopicMessage> + Send) -> Result<(), PublishError> {
        publish(&*self.parts.topic, message, &self.cancel).await
    }
}

fn reason_of(error: &EmbedError) -> LostReason {
    match error {
        EmbedError::Clip(_) => LostReason::EmbedError,
        EmbedError::Overload => LostReason::Overload,
        EmbedError::Stopped => LostReason::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(waiting: &mut mpsc::Receiver<Item>) -> Vec<(Span, ClipState)> {
        let mut taken = Vec::new();
        while let Ok(item) = waiting.try_recv() {
            if let Item::Coverage(span, state) = item {
                taken.push((span, state));
            }
        }
        taken
    }

    #[test]
    fn what_nobody_takes_is_owed_within_a_bound_and_leaves_no_hole() {
        let (mut outbox, mut waiting) = Outbox::new(Arc::default());
        let reasons = [LostReason::Overload, LostReason::Disconnected];
        for at in 0..10_000 {
            outbox.owe(Span::new(at, at + 1), ClipState::Lost(reasons[at as usize % 2]));
        }
        assert!(outbox.owed.len() <= MAX_OWED && !outbox.has_room());
        let mut told = taken(&mut waiting);
        for _ in 0..3 {
            outbox.settle();
            told.extend(taken(&mut waiting));
        }
        assert!(outbox.has_room());
        let ends = told.iter().fold(0, |end, (span, _)| {
            assert_eq!(span.start_ns, end);
            span.end_ns
        });
        assert_eq!(ends, 10_000);
    }

    #[test]
    fn a_stretch_of_several_states_is_told_as_the_worst() {
        let (mut outbox, mut waiting) = Outbox::new(Arc::default());
        for at in 0..200 {
            let state =
                if at == 199 { ClipState::Lost(LostReason::Overload) } else { ClipState::Gated };
            outbox.owe(Span::new(at, at + 1), state);
        }
        let mut told = taken(&mut waiting);
        outbox.settle();
        told.extend(taken(&mut waiting));
        let last = told.last().unwrap();
        assert_eq!((last.0.end_ns, last.1), (200, ClipState::Lost(LostReason::Overload)));
    }
}
