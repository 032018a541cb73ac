//! How much each block of a camera's picture varies while nothing happens.

use std::collections::VecDeque;

use footage_clip::NANOS_PER_SECOND;

use super::blocks::{Blocks, CHANNELS};
use super::light::Light;

/// Pictures that are kept to measure against, and how far apart they lie at least. The oldest is
/// four seconds old, so that a keyframe lay in between, whose blocks look a little different from
/// those of the pictures before it; and what moves slowly has hardly moved.
const KEPT: usize = 8;
const APART_NS: u64 = NANOS_PER_SECOND / 2;

/// Of the estimate, by which it moves with each picture, up or down.
const STEP: f32 = 0.03;

/// Estimates stay within these 8-bit steps: rounding alone makes for the lower one, and above the
/// upper one it is no noise. So a strong change is one wherever it occurs, on a busy road too.
const LEAST: f32 = 0.35;
const MOST: f32 = 6.0;

/// The median change between two pictures a few seconds apart, for each block and channel.
///
/// Robust: it follows by small steps of its own size whatever the change, so things that pass
/// through a block do not blind it.
#[derive(Clone, Debug, Default)]
pub(super) struct Noise {
    medians: Vec<[f32; CHANNELS]>,
    kept: VecDeque<(u64, Blocks)>,
}

impl Noise {
    /// Learns from the next picture.
    pub(super) fn learn(&mut self, time_ns: u64, picture: &Blocks) {
        if self.kept.back().is_some_and(|(last, _)| time_ns < last + APART_NS) {
            return;
        }
        if let Some((_, earlier)) = self.kept.front() {
            let light = Light::between(earlier, picture);
            let changes = earlier.means.iter().zip(&picture.means).map(|(before, after)| {
                let expected = light.of(*before);
                std::array::from_fn(|channel| (after[channel] - expected[channel]).abs())
            });
            if self.medians.is_empty() {
                self.medians = initial(picture, changes.collect());
            } else {
                for (medians, changes) in self.medians.iter_mut().zip(changes) {
                    step(medians, changes);
                }
            }
        }
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((time_ns, picture.clone()));
    }

    /// The last pictures, oldest first.
    pub(super) fn kept(&self) -> impl DoubleEndedIterator<Item = &Blocks> {
        self.kept.iter().map(|(_, picture)| picture)
    }

    /// Of a block, for each channel; none before two pictures were seen.
    pub(super) fn of(&self, block: usize) -> Option<&[f32; CHANNELS]> {
        self.medians.get(block)
    }
}

fn step(medians: &mut [f32; CHANNELS], changes: [f32; CHANNELS]) {
    for (median, change) in medians.iter_mut().zip(changes) {
        let towards = if change > *median { 1.0 + STEP } else { 1.0 - STEP };
        *median = (*median * towards).clamp(LEAST, MOST);
    }
}

/// All blocks of one size begin alike, so that what moves from the start blinds none.
fn initial(picture: &Blocks, changes: Vec<[f32; CHANNELS]>) -> Vec<[f32; CHANNELS]> {
    let mut initial = changes;
    for grid in picture.layout.grids {
        let blocks = &mut initial[grid.blocks()];
        let typical: [f32; CHANNELS] = std::array::from_fn(|channel| {
            let mut values: Vec<f32> = blocks.iter().map(|changes| changes[channel]).collect();
            let middle = values.len() / 2;
            values.select_nth_unstable_by(middle, f32::total_cmp).1.clamp(LEAST, MOST)
        });
        blocks.fill(typical);
    }
    initial
}
