//! How much a picture differs from a reference, in units of noise.

use footage_clip::RgbFrame;

use super::blocks::{Blocks, CHANNELS, Grid};
use super::light::Light;
use super::noise::Noise;

/// Light that changed by more 8-bit steps than this since the reference is no longer taken for the
/// slow light of the day.
const MOST_LIGHT: f32 = 24.0;

/// Nor is light that changed by more than this from one picture to the next.
const MOST_LIGHT_AT_ONCE: f32 = 12.0;

/// Nine in ten differences are below this many times their noise, in a picture like those before it;
/// and one that differs more everywhere must differ more somewhere, at most so many times as much.
const USUAL: f32 = 2.0;
const MOST_UNREST: f32 = 2.0;

/// Pictures whose mean is the reference, at most. Noise averages out in it; as they lie within some
/// seconds of each other, hardly any movement does.
const AVERAGED: u8 = 12;

/// A scene before a fixed camera: what it looked like at some time, and how much it varies.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    reference: Option<Reference>,
    last: Option<Blocks>,
    noise: Noise,
}

/// The mean of some pictures that show the same.
#[derive(Clone, Debug)]
struct Reference {
    mean: Blocks,
    pictures: u8,
}

impl Reference {
    fn add(&mut self, picture: &Blocks) {
        if self.pictures == AVERAGED {
            return;
        }
        self.pictures += 1;
        let weight = 1.0 / f32::from(self.pictures);
        let light = Light::between(picture, &self.mean);
        for (mean, seen) in self.mean.means.iter_mut().zip(&picture.means) {
            for (mean, seen) in mean.iter_mut().zip(light.of(*seen)) {
                *mean += weight * (seen - *mean);
            }
        }
    }
}

impl Scene {
    /// Looks at the next picture, and returns by how many times their noise two neighbouring blocks,
    /// or more, differ alike from the reference. Without limit where there is no reference of this
    /// size, nothing is known of the noise, or the light changed too much.
    pub(super) fn look(&mut self, time_ns: u64, frame: &RgbFrame) -> f32 {
        let picture = Blocks::of(frame);
        if self.last.as_ref().is_some_and(|last| last.layout != picture.layout) {
            *self = Self::default();
        }
        let change = self.change(&picture);
        self.noise.learn(time_ns, &picture);
        self.last = Some(picture);
        change
    }

    /// From now on the picture looked at last is what others are compared with, and those just before
    /// it that differ from it by less than `threshold`.
    pub(super) fn refer_to_last(&mut self, threshold: f32) {
        let Some(last) = self.last.clone() else { return };
        self.reference = Some(Reference { mean: last, pictures: 1 });
        let earlier: Vec<Blocks> = self.noise.kept().rev().skip(1).cloned().collect();
        for picture in earlier {
            if self.change(&picture) > threshold {
                break;
            }
            self.reference.iter_mut().for_each(|reference| reference.add(&picture));
        }
    }

    /// The picture looked at last shows what the reference shows.
    pub(super) fn confirm_reference(&mut self) {
        if let (Some(reference), Some(last)) = (&mut self.reference, &self.last) {
            reference.add(last);
        }
    }

    /// Forgets what the scene looked like; how much it varies, it remembers.
    pub(super) fn forget_reference(&mut self) {
        self.reference = None;
    }

    fn change(&self, picture: &Blocks) -> f32 {
        let (Some(reference), Some(last)) = (&self.reference, &self.last) else {
            return f32::INFINITY;
        };
        let reference = &reference.mean;
        let light = Light::between(reference, picture);
        let is_lit_anew = light.steps() > MOST_LIGHT
            || Light::between(last, picture).steps() > MOST_LIGHT_AT_ONCE;
        if is_lit_anew {
            return f32::INFINITY;
        }
        let differences: Option<Vec<_>> = reference
            .means
            .iter()
            .zip(&picture.means)
            .enumerate()
            .map(|(block, (before, after))| {
                let (noise, expected) = (self.noise.of(block)?, light.of(*before));
                Some(std::array::from_fn(|c| (after[c] - expected[c]) / noise[c]))
            })
            .collect();
        let Some(differences) = differences else { return f32::INFINITY };
        let grids = picture.layout.grids.iter();
        grids
            .map(|grid| {
                let differences = &differences[grid.blocks()];
                largest_pair(grid, differences) / unrest(differences)
            })
            .fold(0.0, f32::max)
    }
}

/// By how much a picture differs more than usual, wherever one looks: its keyframe was coded afresh, the
/// camera shook, it rains. A small thing has no part in it; that a large one has some is bounded.
fn unrest(differences: &[[f32; CHANNELS]]) -> f32 {
    let mut all: Vec<f32> = differences.iter().flatten().map(|times| times.abs()).collect();
    let at = (all.len() * 9 / 10).min(all.len().saturating_sub(1));
    if all.is_empty() {
        return 1.0;
    }
    let high = *all.select_nth_unstable_by(at, f32::total_cmp).1;
    (high / USUAL).clamp(1.0, MOST_UNREST)
}

/// The largest difference that two neighbours share: one block alone may be noise.
fn largest_pair(grid: &Grid, differences: &[[f32; CHANNELS]]) -> f32 {
    let mut largest: f32 = 0.0;
    for (at, here) in differences.iter().enumerate() {
        let right = (at % grid.columns + 1 < grid.columns).then_some(at + 1);
        for there in [right, Some(at + grid.columns)].into_iter().flatten() {
            let Some(there) = differences.get(there) else { continue };
            for (a, b) in here.iter().zip(there) {
                if a * b > 0.0 {
                    largest = largest.max(a.abs().min(b.abs()));
                }
            }
        }
    }
    largest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_must_differ_alike() {
        let grid = Grid { first: 0, columns: 2, rows: 2 };
        let of = |values: [f32; 4]| largest_pair(&grid, &values.map(|value| [value, 0.0, 0.0]));
        let is = |values, expected: f32| (of(values) - expected).abs() < 1e-6;
        assert!(is([9.0, 0.0, 0.0, 9.0], 0.0), "a diagonal is no pair");
        assert!(is([9.0, -9.0, 0.0, 0.0], 0.0));
        assert!(is([-9.0, 0.0, -7.0, 0.0], 7.0));
        assert!(is([0.0, 8.0, 9.0, 5.0], 5.0));
    }
}
