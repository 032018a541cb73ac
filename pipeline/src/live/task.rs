//! One camera's task: connects, and connects again, until it is asked to stop.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use footage_clip::{LostReason, RunCause};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

use super::backoff::Backoff;
use super::connection::{Connection, Ended, reason_of};
use super::flow::Flow;
use super::location::Kind;
use super::outbox::{Outbox, Publisher};
use super::session::{Opening, Session};
use super::source::Carrier;
use super::status::{Board, CameraState};
use super::{Camera, LiveError, LiveSettings, Transport, WatchParts, reach};
use crate::{Cancel, RecordingUse};

/// Graphs of one camera that may exist at a time. One is at work; the others do not stop.
const MAX_GRAPHS: usize = 3;

/// A connection that does not end within this time is left to end by itself.
const CLOSING: Duration = Duration::from_secs(3);

/// How often a camera that waits tells what is lost meanwhile.
const TOLD: Duration = Duration::from_secs(5);

/// Watches one camera.
pub(super) struct CameraTask {
    camera: Camera,
    parts: Arc<WatchParts>,
    board: Board,
    cancel: Cancel,
    graphs: Arc<Semaphore>,
    backoff: Backoff,
    chance: StdRng,
    carrier: Carrier,
    /// Why the next connection's first run begins.
    cause: RunCause,
}

impl CameraTask {
    pub(super) fn new(
        camera: Camera,
        parts: Arc<WatchParts>,
        board: Board,
        cancel: Cancel,
    ) -> Self {
        // Cameras that are lost together must not come back together; more chance is not needed.
        let mut seed = blake3::Hasher::new();
        seed.update(camera.source_id.as_str().as_bytes());
        seed.update(&parts.clocks.wall_ns().to_le_bytes());
        let carrier = match camera.transport {
            Transport::Auto | Transport::Tcp => Carrier::Tcp,
            Transport::Udp => Carrier::Udp,
        };
        let backoff = Backoff::new(parts.patience.pause);
        Self {
            camera,
            parts,
            board,
            cancel,
            graphs: Arc::new(Semaphore::new(MAX_GRAPHS)),
            backoff,
            chance: StdRng::from_seed(*seed.finalize().as_bytes()),
            carrier,
            cause: RunCause::Started,
        }
    }

    /// Until asked to stop. `left_off_ns` is where an earlier task of this process left off. Returns
    /// up to where the camera's timeline is accounted for.
    pub(super) async fn run(mut self, left_off_ns: Option<u64>) -> Option<u64> {
        let covered_end_ns = self.covered_end_ns().await?.max(left_off_ns);
        let has_lost_a_clip = Arc::<AtomicBool>::default();
        let (outbox, waiting) = Outbox::new(has_lost_a_clip.clone());
        let publisher = Publisher {
            camera: self.camera.clone(),
            parts: self.parts.clone(),
            board: self.board.clone(),
            cancel: self.cancel.clone(),
            has_lost_a_clip,
        };
        let publishing = tokio::spawn(publisher.run(waiting));
        let mut flow = Flow::begin(&self.camera, &self.parts, &self.board, outbox, covered_end_ns);
        self.watch(&mut flow).await;
        let way_in = flow.way_in();
        let end_ns = flow.end().await;
        if let Err(error) = publishing.await {
            tracing::error!(source_id = %self.camera.source_id, %error, "the publisher failed");
        }
        drop(way_in);
        Some(end_ns)
    }

    /// How far earlier watches came, asked until it is answered; none if asked to stop before.
    async fn covered_end_ns(&mut self) -> Option<Option<u64>> {
        while !self.cancel.is_cancelled() {
            let (timeline, source_id) =
                (self.parts.timeline.clone(), self.camera.source_id.clone());
            let asked = spawn_blocking(move || {
                timeline.covered_end_ns(&source_id).map_err(|error| error.to_string())
            });
            let error = match asked.await {
                Ok(Ok(end_ns)) => return Some(end_ns),
                Ok(Err(error)) => error,
                Err(error) => error.to_string(),
            };
            self.fail(LiveError::Timeline(error), None);
            let pause = self.backoff.after(None, self.chance.random());
            drop(timeout(pause, self.cancel.cancelled()).await);
        }
        None
    }

    async fn watch(&mut self, flow: &mut Flow) {
        while !self.cancel.is_cancelled() {
            let (error, lived) = match self.connect(flow).await {
                Ok(Ended::Cancelled) => return,
                Ok(Ended::Failed(error, lived)) => (error, lived),
                Err(error) => (error, None),
            };
            let error = self.explained(error).await;
            flow.lose(reason_of(&error));
            if let Kind::File { repeat, .. } = self.camera.location.kind()
                && lived.is_some()
                && error == LiveError::Closed
            {
                if repeat {
                    self.cause = RunCause::TimestampsJumped;
                    continue;
                }
                return self.rest(flow).await;
            }
            self.choose_carrier(&error, lived);
            self.fail(error, lived);
            let pause = self.backoff.after(lived, self.chance.random());
            self.pause(pause, flow).await;
        }
    }

    /// Makes a connection, follows it to its end, and closes it.
    async fn connect(&mut self, flow: &mut Flow) -> Result<Ended, LiveError> {
        let place = self.graphs.clone().try_acquire_owned();
        let place = place.map_err(|_| LiveError::Hanging(MAX_GRAPHS))?;
        let opening = Opening {
            camera: self.camera.clone(),
            carrier: self.carrier,
            settings: LiveSettings::of(&self.parts),
            clocks: self.parts.clocks.clone(),
            floor_ns: flow.covered_end_ns(),
            cause: self.cause,
        };
        let session = Session::open(opening).await?;
        let (board, cancel) = (&self.board, &self.cancel);
        let patience = self.parts.patience;
        let connection = Connection {
            session,
            flow,
            board,
            cancel,
            patience,
            pictures: 0,
            recorded: RecordingUse::default(),
        };
        let (session, ended) = connection.follow().await;
        let closed = timeout(CLOSING, session.close(place)).await;
        if closed != Ok(true) {
            let source_id = &self.camera.source_id;
            tracing::warn!(%source_id, "a connection does not end and is left behind");
        }
        Ok(ended)
    }

    /// Looks for the reason where there is no connection and nothing says why.
    async fn explained(&self, error: LiveError) -> LiveError {
        let Some((host, port)) = self.camera.location.host().filter(|_| error.is_vague()) else {
            return error;
        };
        let why = tokio::select! {
            why = reach::why_not(host, port) => why,
            () = self.cancel.cancelled() => None,
        };
        why.map_or(error, LiveError::Unreachable)
    }

    /// Tries the other way of carrying RTSP's video, where the camera leaves that open and this one
    /// may be why nothing came.
    fn choose_carrier(&mut self, error: &LiveError, lived: Option<Duration>) {
        if self.camera.transport == Transport::Auto && lived.is_none() && error.may_be_transport() {
            self.carrier = match self.carrier {
                Carrier::Tcp => Carrier::Udp,
                Carrier::Udp => Carrier::Tcp,
            };
        }
    }

    fn fail(&mut self, error: LiveError, lived: Option<Duration>) {
        tracing::warn!(source_id = %self.camera.source_id, %error, "camera lost");
        self.board.count(|counts| match lived {
            Some(_) => counts.reconnects += 1,
            None => counts.failures += 1,
        });
        if lived.is_some() {
            self.cause = RunCause::Reconnected;
        }
        self.board.state(CameraState::Failed(error));
    }

    /// Waits, and tells what is lost meanwhile.
    async fn pause(&self, pause: Duration, flow: &mut Flow) {
        let over = sleep(pause);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.cancel.cancelled() => return,
                () = sleep(TOLD) => flow.tick(),
            }
        }
    }

    /// A file was played to its end, and is not to be played again.
    async fn rest(&self, flow: &mut Flow) {
        self.board.state(CameraState::Ended);
        flow.lose(LostReason::Stopped);
        while !self.cancel.is_cancelled() {
            self.pause(TOLD, flow).await;
        }
    }
}
