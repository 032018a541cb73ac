//! From what a camera gives to what is told of it: every instant of its timeline, once.

use std::sync::Arc;

use footage_clip::{ClipState, LostReason, RunRecord, SourceKind, SourceRecord, TimedFrame};

use super::cover::{Cover, Lost};
use super::outbox::{ClipItem, Item, Outbox};
use super::session::{LiveClip, Seen};
use super::shared::Begun;
use super::status::Board;
use super::{Camera, WatchParts};
use crate::{LiveSourceQueue, Novelty, NoveltyGate};

/// Accounts for one camera's timeline.
pub(super) struct Flow {
    camera: Camera,
    parts: Arc<WatchParts>,
    board: Board,
    cover: Cover,
    run: Option<Begun>,
    /// Clips of the run so far.
    seq: u64,
    embed: Arc<LiveSourceQueue>,
    novelty: Option<NoveltyGate>,
    outbox: Outbox,
}

impl Flow {
    /// Goes on where `covered_end_ns` says that earlier watches stopped, or begins now.
    pub(super) fn begin(
        camera: &Camera,
        parts: &Arc<WatchParts>,
        board: &Board,
        outbox: Outbox,
        covered_end_ns: Option<u64>,
    ) -> Self {
        let mut flow = Self {
            camera: camera.clone(),
            parts: parts.clone(),
            board: board.clone(),
            cover: Cover::new(0, LostReason::Stopped),
            run: None,
            seq: 0,
            embed: Arc::new(parts.embed.live_source(parts.window.stride())),
            novelty: camera.novelty.map(NoveltyGate::new),
            outbox,
        };
        let now_ns = flow.now_ns();
        flow.outbox.announce(flow.source_record(now_ns));
        flow.cover = match covered_end_ns {
            Some(end_ns) => Cover::new(end_ns, LostReason::Stopped),
            None => Cover::new(now_ns, LostReason::Disconnected),
        };
        flow.lose(LostReason::Disconnected);
        flow
    }

    /// Up to where the axis is accounted for: no run may begin before.
    pub(super) fn covered_end_ns(&self) -> u64 {
        self.cover.end_ns()
    }

    /// Where the run that goes on began.
    pub(super) fn run_start_ns(&self) -> Option<u64> {
        self.run.map(|begun| begun.run.start_ns)
    }

    pub(super) fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Run(begun) => self.begin_run(begun),
            Seen::Clip(clip) => self.clip(clip),
        }
    }

    /// The camera is not seen from here on.
    pub(super) fn lose(&mut self, reason: LostReason) {
        let lost = self.cover.lose(reason, self.now_ns());
        self.tell(lost);
    }

    /// Time passes.
    pub(super) fn tick(&mut self) {
        let lost = self.cover.tick(self.now_ns());
        self.tell(lost);
        self.outbox.settle();
    }

    /// The camera's way into the embedding stage. What waits there is lost with it.
    pub(super) fn way_in(&self) -> Arc<LiveSourceQueue> {
        self.embed.clone()
    }

    /// The camera is left: tells what is owed, and up to where all is accounted for. Waits for the
    /// topic.
    pub(super) async fn end(mut self) -> u64 {
        let lost = self.cover.lose(LostReason::Stopped, self.now_ns());
        self.tell(lost);
        let end_ns = self.cover.end_ns();
        self.outbox.close().await;
        end_ns
    }

    fn begin_run(&mut self, begun: Begun) {
        let lost = self.cover.begin_run(begun.run.start_ns);
        self.tell(lost);
        self.board.count(|counts| counts.runs += 1);
        let (start_ns, cause, utc) = (begun.run.start_ns, begun.run.cause, begun.run.utc);
        tracing::info!(source_id = %self.camera.source_id, %cause, "a run begins");
        let source_id = self.camera.source_id.clone();
        self.outbox.begin_run(RunRecord { source_id, start_ns, cause, utc });
        self.run = Some(begun);
        self.seq = 0;
        if let Some(novelty) = &mut self.novelty {
            novelty.begin_run();
        }
    }

    fn clip(&mut self, clip: LiveClip) {
        let lost = self.cover.clip(clip.span, self.missed_before(&clip));
        self.tell(lost);
        self.board.count(|counts| counts.seen_until_ns = clip.span.end_ns);
        let seq = self.seq;
        self.seq += 1;
        if self.shows_nothing_new(&clip) {
            self.outbox.owe(clip.span, ClipState::Gated);
            return;
        }
        if !self.outbox.has_room() {
            self.not_embedded();
            self.outbox.owe(clip.span, ClipState::Lost(LostReason::Overload));
            return;
        }
        let picture = middle(&clip.frames, clip.padded).map(|frame| frame.frame.clone());
        let span = clip.span;
        let embedding = self.embed.offer(clip.frames);
        let clip = ClipItem { span, seq, picture, embedding, media: clip.media };
        self.outbox.send(Item::Clip(Box::new(clip)));
    }

    /// Whether the clip need not be embedded: the one embedded last shows all of it.
    fn shows_nothing_new(&mut self, clip: &LiveClip) -> bool {
        if self.outbox.has_lost_a_clip() {
            self.not_embedded();
        }
        let Some(novelty) = &mut self.novelty else { return false };
        novelty.judge(&clip.frames) == Novelty::Still
    }

    fn not_embedded(&mut self) {
        if let Some(novelty) = &mut self.novelty {
            novelty.not_embedded();
        }
    }

    /// Why there is no clip of what lies before this one. Within a run only clips that were not taken
    /// in time are missing.
    fn missed_before(&self, clip: &LiveClip) -> LostReason {
        let first =
            self.run.filter(|begun| self.seq == 0 && clip.span.start_ns == begun.run.start_ns);
        first.map_or(LostReason::Overload, |begun| begun.missed)
    }

    fn tell(&mut self, lost: Option<Lost>) {
        if let Some(Lost { span, reason }) = lost {
            self.outbox.owe(span, ClipState::Lost(reason));
        }
    }

    /// The present on the axis.
    fn now_ns(&self) -> u64 {
        u64::try_from(self.parts.clocks.wall_ns()).unwrap_or(0)
    }

    fn source_record(&self, now_ns: u64) -> SourceRecord {
        SourceRecord {
            source_id: self.camera.source_id.clone(),
            name: self.camera.name.clone(),
            kind: SourceKind::Camera,
            media: None,
            stamp: None,
            content_hash: None,
            duration_ns: None,
            retained_from_ns: None,
            decoded: Some(self.camera.decode.to_string()),
            added_unix_s: now_ns / footage_clip::NANOS_PER_SECOND,
            model: self.parts.model.clone(),
            window: self.parts.window,
            complete: false,
            failure: None,
        }
    }
}

/// The middle one of the frames that were seen: padding shows the last one again.
fn middle<F>(frames: &[TimedFrame<F>], padded: usize) -> Option<&TimedFrame<F>> {
    frames.get(frames.len().saturating_sub(padded) / 2)
}
