//! Gating on rendered footage, whose truth is known.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use footage_clip::{Cutter, PartialClip, Rate, RgbFrame, TimedFrame, WindowSpec};
use footage_pipeline::{Novelty, NoveltyGate, NoveltySettings};
use footage_synth::{Reel, World};

#[path = "support/vigils.rs"]
mod vigils;

use vigils::{Judged, Score, score};

const SECOND: u64 = 1_000_000_000;

/// The clips of a reel, at two frames a second, as a camera without a codec would give them.
fn judged(reel: &Reel<'_>, settings: NoveltySettings) -> Vec<Judged> {
    let window = WindowSpec::try_new(8, 4, Rate::try_new(2, 1).unwrap()).unwrap();
    let mut cutter = Cutter::new(window, 5 * SECOND, PartialClip::Drop);
    let mut gate = NoveltyGate::new(settings);
    let (width, height) = (reel.view().width as u32, reel.view().height as u32);
    let mut clips = Vec::new();
    for index in 0..reel.frame_count() {
        let frame = RgbFrame::try_new(width, height, reel.frame(index)).unwrap();
        for clip in cutter.push(index as u64 * SECOND / 2, frame) {
            let novelty = gate.judge(&clip.frames);
            clips.push(Judged::new(&clip, novelty));
        }
    }
    clips
}

#[test]
fn no_event_and_no_change_is_gated_and_still_scenes_are() {
    let world = World::load().unwrap();
    let mut total = Score::default();
    for seed in 20..26 {
        let reel = vigils::reel(&world, seed, 120.0, 2);
        let clips = judged(&reel, NoveltySettings::default());
        total += score(reel.truth(), &clips, |miss| eprintln!("{miss}"));
    }
    assert!(total.events >= 15 && total.changed >= 50, "{total:?}");
    assert_eq!((total.found, total.missed), (total.events, 0), "{total:?}");
    assert!(total.new < total.clips * 3 / 4, "nothing is gated: {total:?}");
}

/// A grey picture with a square of another grey in it, at a place.
fn picture(square: Option<(u32, u32)>) -> RgbFrame {
    let pixels = (0..120_u32).flat_map(|y| (0..160_u32).map(move |x| (x, y)));
    let data: Vec<u8> = pixels
        .flat_map(|(x, y)| {
            let is_in = square.is_some_and(|(left, top)| {
                (left..left + 8).contains(&x) && (top..top + 8).contains(&y)
            });
            // A little noise, the same on every machine.
            let noise = (x * 31 + y * 17) % 5;
            [if is_in { 160 } else { 100 + noise as u8 }; 3]
        })
        .collect();
    RgbFrame::try_new(160, 120, data).unwrap()
}

fn clip(from_s: u64, square: impl Fn(u64) -> Option<(u32, u32)>) -> Vec<TimedFrame<RgbFrame>> {
    (from_s..from_s + 4)
        .map(|s| TimedFrame { slot: s, time_ns: s * SECOND, frame: picture(square(s)) })
        .collect()
}

#[test]
fn the_first_clip_of_a_run_is_new_and_so_is_one_after_a_lost_one() {
    let mut gate = NoveltyGate::new(NoveltySettings::default());
    assert_eq!(gate.judge(&clip(0, |_| None)), Novelty::New);
    assert_eq!(gate.judge(&clip(2, |_| None)), Novelty::Still);
    gate.not_embedded();
    assert_eq!(gate.judge(&clip(4, |_| None)), Novelty::New);
    gate.begin_run();
    assert_eq!(gate.judge(&clip(6, |_| None)), Novelty::New);
    assert_eq!(gate.judge(&clip(1, |_| None)), Novelty::New, "time that runs back is another run");
}

#[test]
fn a_still_scene_is_embedded_again_after_a_while() {
    let mut gate = NoveltyGate::new(NoveltySettings::default());
    let new: Vec<u64> = (0..100)
        .map(|k| 2 * k)
        .filter(|from| gate.judge(&clip(*from, |_| None)) == Novelty::New)
        .collect();
    assert_eq!(new, [0, 60, 120, 180]);
}

#[test]
fn what_comes_stays_and_goes_is_new_twice() {
    let mut gate = NoveltyGate::new(NoveltySettings::default());
    let there = |s: u64| (20..40).contains(&s).then_some((60, 60));
    let new: Vec<u64> = (0..25)
        .map(|k| 2 * k)
        .filter(|from| gate.judge(&clip(*from, there)) == Novelty::New)
        .collect();
    assert_eq!(new, [0, 18, 38]);
}

#[test]
fn the_slowest_movement_adds_up() {
    let mut gate = NoveltyGate::new(NoveltySettings::default());
    // A pixel in ten seconds: half of itself in forty.
    let creeping = |s: u64| Some((20 + s as u32 / 10, 60));
    let new = (0..100).filter(|k| gate.judge(&clip(2 * k, creeping)) == Novelty::New).count();
    // Refreshing alone would make four.
    assert!((6..50).contains(&new), "{new} of 100");
}
