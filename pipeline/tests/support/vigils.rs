//! Footage of a fixed camera with known truth, and what a gate's verdicts on it are worth.
#![allow(dead_code, reason = "each file that uses it needs a part of it")]

use std::ops::AddAssign;

use footage_clip::{Cut, RgbFrame, Span};
use footage_pipeline::Novelty;
use footage_synth::{Bounds, Reel, Split, Truth, TruthObject, View, Vigil, World};

/// Small things, from three hundredths of the frame's width on, some of them very slow; noise, wind
/// and other flaws as the camera has them.
pub(crate) fn vigil(seed: u64, seconds: f64) -> Vigil {
    Vigil {
        seconds,
        heights: if seed.is_multiple_of(2) { 0.045..0.08 } else { 0.08..0.25 },
        stays: if seed.is_multiple_of(3) { 20.0..60.0 } else { 3.0..12.0 },
        pauses: 10.0..30.0,
        dusk: if seed % 4 == 1 { 0.5 } else { 0.0 },
    }
}

pub(crate) fn reel(world: &World, seed: u64, seconds: f64, fps: u32) -> Reel<'_> {
    Reel::keep_vigil(world, seed, Split::Held, View::CAMERA, fps, &vigil(seed, seconds))
}

/// What verdicts are worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Score {
    pub(crate) clips: usize,
    pub(crate) new: usize,
    /// Things that came, and those that some new clip shows.
    pub(crate) events: usize,
    pub(crate) found: usize,
    /// Clips that show what the clip embedded last does not, and those of them taken for still.
    pub(crate) changed: usize,
    pub(crate) missed: usize,
}

impl AddAssign for Score {
    fn add_assign(&mut self, other: Self) {
        self.clips += other.clips;
        self.new += other.new;
        self.events += other.events;
        self.found += other.found;
        self.changed += other.changed;
        self.missed += other.missed;
    }
}

/// A clip by its frames' times.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) span: Span,
    pub(crate) times_s: Vec<f64>,
    pub(crate) novelty: Novelty,
}

impl Judged {
    pub(crate) fn new(clip: &Cut<RgbFrame>, novelty: Novelty) -> Self {
        let times_s = clip.frames.iter().map(|frame| frame.time_ns as f64 / 1e9).collect();
        Self { span: clip.span, times_s, novelty }
    }
}

/// Holds verdicts against the truth, which knows nothing of pixels: `tell` hears of each miss.
pub(crate) fn score(truth: &Truth, clips: &[Judged], mut tell: impl FnMut(String)) -> Score {
    let mut score = Score { clips: clips.len(), ..Score::default() };
    let things: Vec<&TruthObject> = truth.events.iter().flat_map(|event| &event.objects).collect();
    for thing in &things {
        let Some((from, to)) = seen(thing) else { continue };
        score.events += 1;
        let is_found = clips.iter().any(|clip| {
            clip.novelty == Novelty::New
                && clip.times_s.iter().any(|time| (from..=to).contains(time))
        });
        score.found += usize::from(is_found);
        if !is_found {
            tell(format!("no clip of {}", describe(truth, thing, from)));
        }
    }
    let mut reference: Option<f64> = None;
    let mut seen_until = -1.0;
    for clip in clips {
        let fresh = clip.times_s.iter().filter(|time| **time > seen_until);
        let change = reference.and_then(|reference| {
            fresh
                .flat_map(|time| things.iter().map(move |thing| (time, thing)))
                .find(|(time, thing)| differs(place(thing, reference), place(thing, **time)))
        });
        let last = clip.times_s.last().copied().unwrap_or(seen_until);
        seen_until = last.max(seen_until);
        score.changed += usize::from(change.is_some());
        match (clip.novelty, change) {
            (Novelty::New, _) => {
                score.new += 1;
                reference = Some(last);
            }
            (Novelty::Still, Some((time, thing))) => {
                score.missed += 1;
                tell(format!("still at {time}: {}", describe(truth, thing, *time)));
            }
            (Novelty::Still, None) => {}
        }
    }
    score
}

fn describe(truth: &Truth, thing: &TruthObject, time: f64) -> String {
    let scene = &truth.scenery[0].scene;
    let at = place(thing, time);
    format!(
        "{} {} on {scene} from {} to {} at {at:?}, seed {}",
        thing.name,
        thing.motion.name(),
        thing.from,
        thing.to,
        truth.seed
    )
}

/// From when to when it is well in sight.
fn seen(thing: &TruthObject) -> Option<(f64, f64)> {
    let times =
        || thing.track.iter().map(|point| point.at).filter(|at| place(thing, *at).is_some());
    Some((times().next()?, times().next_back()?))
}

/// Where a thing is at a time, if most of it is in the frame and it has faded in.
fn place(thing: &TruthObject, time: f64) -> Option<Bounds> {
    let is_there = (thing.from + 0.25..=thing.to - 0.25).contains(&time);
    let whole = thing.track.iter().map(|point| point.bounds.area()).fold(0.0, f32::max);
    let point =
        thing.track.iter().min_by(|a, b| (a.at - time).abs().total_cmp(&(b.at - time).abs()))?;
    // Some come closer: a third of the largest is still whole.
    let is_whole = point.bounds.area() > 0.2 * whole && (point.at - time).abs() < 0.2;
    (is_there && is_whole).then_some(point.bounds)
}

/// Came, went, or moved away by more than half of itself.
fn differs(before: Option<Bounds>, after: Option<Bounds>) -> bool {
    let (Some(a), Some(b)) = (before, after) else { return before.is_some() != after.is_some() };
    let common =
        Bounds { x0: a.x0.max(b.x0), y0: a.y0.max(b.y0), x1: a.x1.min(b.x1), y1: a.y1.min(b.y1) };
    common.area() < 0.5 * a.area().min(b.area())
}
