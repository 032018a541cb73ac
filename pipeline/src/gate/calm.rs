//! Whether the pictures of a camera have been still for a while.

use std::time::Duration;

use footage_clip::RgbFrame;

use super::elastic_gate::Sight;
use super::scene::Scene;

/// Watches decoded pictures, in order of time.
#[derive(Clone, Debug)]
pub(super) struct Calm {
    threshold: f32,
    still_ns: u64,
    scene: Scene,
    /// From when on the scene has looked as it does now.
    since_ns: Option<u64>,
}

impl Calm {
    pub(super) fn new(threshold: f32, still: Duration) -> Self {
        let still_ns = u64::try_from(still.as_nanos()).unwrap_or(u64::MAX);
        Self { threshold, still_ns, scene: Scene::default(), since_ns: None }
    }

    /// Looks at the next picture; returns whether the scene has been still for long enough. All are
    /// compared with the first of them, so that what moves slowly is seen in time.
    pub(super) fn look(&mut self, time_ns: u64, picture: &RgbFrame) -> bool {
        let is_backwards = self.since_ns.is_some_and(|since_ns| time_ns < since_ns);
        if self.scene.look(time_ns, picture) > self.threshold || is_backwards {
            self.scene.refer_to_last(self.threshold);
            self.since_ns = Some(time_ns);
        } else {
            self.scene.confirm_reference();
        }
        time_ns - *self.since_ns.get_or_insert(time_ns) >= self.still_ns
    }

    /// Compares a picture with the scene as it was when it became still.
    pub(super) fn compare(&mut self, time_ns: u64, picture: &RgbFrame) -> Sight {
        if self.scene.look(time_ns, picture) > self.threshold {
            Sight::Changed
        } else {
            Sight::Still
        }
    }

    /// Something happened: the scene must be still for as long again.
    pub(super) fn disturb(&mut self) {
        self.since_ns = None;
    }
}
