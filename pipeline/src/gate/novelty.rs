//! Whether a clip shows anything that was not embedded already.

use std::time::Duration;

use footage_clip::{RgbFrame, TimedFrame};

use super::scene::Scene;

/// When a clip counts as showing something new.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NoveltySettings {
    /// By how many times its noise a place must change. Less finds fainter changes and embeds more;
    /// `docs/live.md` has the curve.
    pub threshold: f32,
    /// A scene that stays still is embedded again after this long.
    pub refresh: Duration,
}

impl Default for NoveltySettings {
    fn default() -> Self {
        Self { threshold: 6.0, refresh: Duration::from_secs(60) }
    }
}

/// What the gate says of a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// To be embedded.
    New,
    /// Nothing that the clip embedded last does not show: it need not be embedded.
    Still,
}

/// Judges the clips of one camera, in order of time.
///
/// A clip is new if one of its frames differs from the last frame of the clip that was last embedded,
/// so that what moves slowly adds up until it is seen: in two neighbouring blocks, a fortieth of the
/// longer side each, by more than the threshold times the noise of these blocks. Light that changes
/// slowly over the whole picture does not count. How much a block varies is learned from the camera,
/// robustly, with the keyframes' flicker and trees in the wind in it.
///
/// What one frame costs is a pass over its pixels and some over its blocks: about a millisecond. Memory: about a
/// megabyte per camera.
#[derive(Clone, Debug)]
pub struct NoveltyGate {
    settings: NoveltySettings,
    scene: Scene,
    /// Time of the last frame looked at; clips overlap.
    seen_ns: Option<u64>,
    /// Time of the last frame embedded; none in a run that has none.
    embedded_ns: Option<u64>,
}

impl NoveltyGate {
    /// A gate for one camera.
    pub fn new(settings: NoveltySettings) -> Self {
        Self { settings, scene: Scene::default(), seen_ns: None, embedded_ns: None }
    }

    /// Judges the next clip: its frames, oldest first. A clip that is `New` is taken as embedded; say
    /// [`Self::not_embedded`] if it was not.
    pub fn judge(&mut self, frames: &[TimedFrame<RgbFrame>]) -> Novelty {
        let Some(last_ns) = frames.last().map(|frame| frame.time_ns) else { return Novelty::Still };
        if self.seen_ns.is_some_and(|seen_ns| last_ns < seen_ns) {
            self.begin_run();
        }
        let is_due = self.embedded_ns.is_none_or(|embedded_ns| {
            u128::from(last_ns - embedded_ns.min(last_ns)) >= self.settings.refresh.as_nanos()
        });
        if !(self.shows_change(frames) || is_due) {
            return Novelty::Still;
        }
        self.scene.refer_to_last(self.settings.threshold);
        self.embedded_ns = Some(last_ns);
        Novelty::New
    }

    /// Looks at the frames that no earlier clip had; all of them, so that noise is learned from each.
    fn shows_change(&mut self, frames: &[TimedFrame<RgbFrame>]) -> bool {
        let mut is_changed = false;
        for frame in frames {
            if self.seen_ns.is_none_or(|seen_ns| frame.time_ns > seen_ns) {
                self.seen_ns = Some(frame.time_ns);
                let change = self.scene.look(frame.time_ns, &frame.frame);
                if change > self.settings.threshold {
                    is_changed = true;
                } else {
                    self.scene.confirm_reference();
                }
            }
        }
        is_changed
    }

    /// A new run begins: its first clip is new, whatever it shows.
    pub fn begin_run(&mut self) {
        self.not_embedded();
        self.seen_ns = None;
    }

    /// The clip judged last was lost before it was embedded: the next one is new instead.
    pub fn not_embedded(&mut self) {
        self.scene.forget_reference();
        self.embedded_ns = None;
    }
}
