//! One connection, followed from its making to its end.

use std::time::{Duration, Instant};

use footage_clip::LostReason;
use tokio::time::{MissedTickBehavior, interval};

use super::LiveError;
use super::flow::Flow;
use super::session::Session;
use super::status::{Board, CameraState};
use super::watchdog::{Health, Patience, Watchdog};
use crate::{Cancel, RecordingUse};

/// How often to look whether anything moves.
const TICK: Duration = Duration::from_millis(250);

/// How a connection ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// We were asked to stop.
    Cancelled,
    /// It failed, fell silent or was closed, after so much time of being live.
    Failed(LiveError, Option<Duration>),
}

/// Follows a connection.
pub(super) struct Connection<'a> {
    pub(super) session: Session,
    pub(super) flow: &'a mut Flow,
    pub(super) board: &'a Board,
    pub(super) cancel: &'a Cancel,
    pub(super) patience: Patience,
    /// Pictures counted so far.
    pub(super) pictures: u64,
    /// What was recorded, as counted so far.
    pub(super) recorded: RecordingUse,
}

impl Connection<'_> {
    /// Until it ends. What it gave by then is taken; what it still holds is cut and taken, too. The
    /// session is given back to be closed.
    pub(super) async fn follow(mut self) -> (Session, Ended) {
        let mut live_since = None;
        let ended = self.until_it_ends(&mut live_since).await;
        self.session.end().await;
        self.take();
        self.count();
        let ended = match ended {
            None => Ended::Cancelled,
            Some(error) => {
                // A camera that fell silent was stalled up to now.
                self.flow.lose(match error {
                    LiveError::Silent => LostReason::Stalled,
                    _ => reason_of(&error),
                });
                Ended::Failed(error, live_since.map(|since: Instant| since.elapsed()))
            }
        };
        (self.session, ended)
    }

    /// None: we were asked to stop.
    async fn until_it_ends(&mut self, live_since: &mut Option<Instant>) -> Option<LiveError> {
        let began = Instant::now();
        let mut dog = Watchdog::new(self.patience, began.elapsed());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_stalled = false;
        loop {
            self.take();
            if self.cancel.is_cancelled() {
                return None;
            }
            if let Some(error) = self.session.failure() {
                return Some(error);
            }
            match dog.judge(self.session.vitals(), began.elapsed()) {
                Health::Connecting => {}
                Health::Live => {
                    is_stalled = false;
                    live_since.get_or_insert_with(Instant::now);
                    self.board.state(CameraState::Live);
                }
                Health::Stalled => {
                    if !is_stalled {
                        self.stall().await;
                    }
                    is_stalled = true;
                }
                Health::NoData => return Some(LiveError::NoData),
                Health::Silent => return Some(LiveError::Silent),
                Health::Undecoded => return Some(LiveError::Undecoded),
            }
            tokio::select! {
                () = self.session.changed() => {}
                _ = ticks.tick() => self.tick(),
                () = self.cancel.cancelled() => {}
            }
        }
    }

    fn tick(&mut self) {
        self.flow.tick();
        self.count();
    }

    fn count(&mut self) {
        let pictures = self.session.pictures();
        let more = pictures - self.pictures;
        self.pictures = pictures;
        let (decoding, recorded) = (self.session.kept().decoded(), self.session.kept().recorded());
        let used = recorded.as_ref().map(|(used, _)| *used);
        let kept = used.map(|used| used.since(std::mem::replace(&mut self.recorded, used)));
        self.board.change(|status| {
            status.counts.pictures += more;
            status.decoding = decoding;
            if let Some(kept) = kept {
                status.recorded.get_or_insert_default().add(kept);
            }
            status.recording_failure = recorded.and_then(|(_, failure)| failure);
        });
    }

    fn take(&mut self) {
        while let Some(seen) = self.session.take() {
            self.flow.see(seen);
        }
    }

    /// Nothing comes any more: what was begun ends here, and what follows is lost, unless pictures
    /// came again meanwhile.
    async fn stall(&mut self) {
        self.board.state(CameraState::Stalled);
        let run = self.flow.run_start_ns();
        self.session.interrupt().await;
        self.take();
        if self.flow.run_start_ns() == run {
            self.flow.lose(LostReason::Stalled);
        }
    }
}

/// What the time is lost to in which a camera has this failure.
pub(super) fn reason_of(error: &LiveError) -> LostReason {
    match error {
        LiveError::Undecoded | LiveError::Stream(_) => LostReason::DecodeError,
        _ => LostReason::Disconnected,
    }
}
