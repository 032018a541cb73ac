//! Who takes part in an event: a thing, its looks, what it does and when.

use serde::{Deserialize, Serialize};

use crate::motion::{Motion, Path, Pose};
use crate::vocabulary::{ThingId, Tint};

/// Seconds in which a thing comes into view, or goes, in the middle of the frame.
const FADE: f32 = 0.25;

/// How large a thing is for its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the three sizes")]
pub enum Size {
    Small,
    Medium,
    Large,
}

impl Size {
    /// Height of a thing that is no wider than high, of the frame's; `u` in [0, 1].
    pub(crate) fn extent(self, u: f32) -> f32 {
        match self {
            Self::Small => 0.28 + 0.05 * u,
            Self::Medium => 0.36 + 0.09 * u,
            Self::Large => 0.50 + 0.10 * u,
        }
    }
}

/// A thing and how it looks this time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cast {
    pub(crate) thing: ThingId,
    pub(crate) tint: Option<Tint>,
    pub(crate) is_flipped: bool,
}

/// A thing that takes part in an event.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    pub(crate) cast: Cast,
    pub(crate) size: Size,
    pub(crate) motion: Motion,
    pub(crate) path: Path,
    /// Seconds after the event's start between which it is there.
    pub(crate) stay: (f32, f32),
}

impl Actor {
    /// Pose and opacity at a time of the event, while the actor is there.
    pub(crate) fn at(&self, seconds: f32) -> Option<(Pose, f32)> {
        let (from, to) = self.stay;
        if seconds < from || seconds >= to {
            return None;
        }
        let opacity = ((seconds - from) / FADE).min((to - seconds) / FADE).min(1.0);
        Some((self.path.pose((seconds - from) / (to - from)), opacity))
    }
}

impl Actor {
    /// Whether its middle is in the part of the frame that every view shows.
    pub(crate) fn is_seen(&self, seconds: f32) -> bool {
        self.at(seconds).is_some_and(|(pose, opacity)| {
            (0.125..0.875).contains(&pose.x) && (0.0..1.0).contains(&pose.y) && opacity > 0.5
        })
    }

    /// Whether one who looks from `start` to `end` can tell the motion.
    pub(crate) fn shows_motion(&self, start: f32, end: f32) -> bool {
        let share = |t: f32| ((t - self.stay.0) / (self.stay.1 - self.stay.0)).clamp(0.0, 1.0);
        let (s0, s1) = (share(start), share(end));
        let change = |a: f32, b: f32| {
            let (a, b) = (self.path.pose(a), self.path.pose(b));
            (a.x - b.x).abs() + (a.y - b.y).abs() + (a.height - b.height).abs()
        };
        let is_outside = |s: f32| !(0.1..0.9).contains(&self.path.pose(s).x);
        match self.motion {
            Motion::Still => true,
            Motion::Circle | Motion::Bounce => s1 - s0 > 0.3,
            Motion::EnterLeft | Motion::EnterRight if !is_outside(s0) => false,
            Motion::LeaveLeft | Motion::LeaveRight if !is_outside(s1) => false,
            _ => change(s0, s1) > 0.35 * change(0.0, 1.0),
        }
    }
}
