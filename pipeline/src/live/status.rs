//! What is known of each camera at the moment, for people and for metrics.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use footage_clip::{LostReason, SourceId};
use tokio::sync::watch;

use super::{Camera, LiveError};
use crate::{ElasticUse, RecordingError, RecordingUse};

/// How a camera is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CameraState {
    /// It is being connected, for the first time.
    Connecting,
    /// Pictures come.
    Live,
    /// It is connected, and pictures stopped coming.
    Stalled,
    /// It gives no pictures, for this reason. It is tried again and again.
    Failed(LiveError),
    /// A file that was played to its end.
    Ended,
}

impl fmt::Display for CameraState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting => f.write_str("connecting"),
            Self::Live => f.write_str("live"),
            Self::Stalled => f.write_str("stalled"),
            Self::Failed(error) => write!(f, "failed: {error}"),
            Self::Ended => f.write_str("ended"),
        }
    }
}

/// What became of a camera's footage since it was set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraCounts {
    /// Connections that were made anew after one had been live.
    pub reconnects: u64,
    /// Attempts to connect that failed.
    pub failures: u64,
    /// Runs that began.
    pub runs: u64,
    /// Clips that were published.
    pub indexed_clips: u64,
    /// Clips that showed nothing new.
    pub gated_clips: u64,
    /// Clips, and stretches without clips, that were lost.
    pub lost: BTreeMap<LostReason, u64>,
    /// Pictures that were decoded.
    pub pictures: u64,
    /// Media time up to which the camera's clips are cut, in nanoseconds since the Unix epoch.
    pub seen_until_ns: u64,
}

/// A camera as it is at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraStatus {
    /// Name for people.
    pub name: String,
    /// Where it is, without secrets.
    pub location: String,
    /// How it is.
    pub state: CameraState,
    /// Since when.
    pub since: SystemTime,
    /// What became of its footage.
    pub counts: CameraCounts,
    /// What of this connection was decoded; none where everything is, or keyframes alone are.
    pub decoding: Option<ElasticUse>,
    /// What was recorded since it was set, over all connections; none where nothing is to be.
    pub recorded: Option<RecordingUse>,
    /// Why its footage is not kept, although it is to be.
    pub recording_failure: Option<RecordingError>,
}

/// All cameras as they are.
pub type Statuses = BTreeMap<SourceId, CameraStatus>;

/// Where one camera's task writes how it is.
#[derive(Clone, Debug)]
pub(super) struct Board {
    statuses: Arc<watch::Sender<Statuses>>,
    source_id: SourceId,
}

impl Board {
    pub(super) fn new(statuses: Arc<watch::Sender<Statuses>>, camera: &Camera) -> Self {
        let status = CameraStatus {
            name: camera.name.clone(),
            location: camera.location.to_string(),
            state: CameraState::Connecting,
            since: SystemTime::now(),
            counts: CameraCounts::default(),
            decoding: None,
            recorded: None,
            recording_failure: None,
        };
        statuses.send_modify(|all| {
            all.insert(camera.source_id.clone(), status);
        });
        Self { statuses, source_id: camera.source_id.clone() }
    }

    /// The camera is so from now on, unless it was so before.
    pub(super) fn state(&self, state: CameraState) {
        self.statuses.send_if_modified(|all| {
            let Some(status) = all.get_mut(&self.source_id) else { return false };
            let is_new = status.state != state;
            if is_new {
                // One failure may follow another: it has failed since the first.
                let goes_on = |state: &CameraState| matches!(state, CameraState::Failed(_));
                if !(goes_on(&status.state) && goes_on(&state)) {
                    status.since = SystemTime::now();
                }
                status.state = state;
            }
            is_new
        });
    }

    pub(super) fn count(&self, count: impl FnOnce(&mut CameraCounts)) {
        self.change(|status| count(&mut status.counts));
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut CameraStatus)) {
        self.statuses.send_modify(|all| {
            if let Some(status) = all.get_mut(&self.source_id) {
                change(status);
            }
        });
    }

    pub(super) fn lost(&self, reason: LostReason) {
        self.count(|counts| *counts.lost.entry(reason).or_default() += 1);
    }
}
