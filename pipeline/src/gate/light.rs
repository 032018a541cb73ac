//! The light that fell on all of a picture: daylight, clouds, a camera's exposure and white balance.

use super::blocks::{Blocks, CHANNELS};

/// Rounds of reweighting; the fit has settled by then.
const ROUNDS: usize = 4;

/// Holds the gain near 1 where a picture has too little contrast to tell it: as if each block had
/// been seen once more this many steps brighter, unchanged.
const GAIN_PRIOR: f32 = 6.0;

/// The grey at which a change of light is measured.
const GREY: f32 = 128.0;

/// How one picture's brightness and colour follow from another's, where nothing else differs:
/// `gain * value + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Light {
    gain: f32,
    offsets: [f32; CHANNELS],
}

impl Light {
    /// From `earlier` to `later`, both of one layout. What changed in a small part of the picture has
    /// little weight in it (iteratively reweighted least squares, Cauchy weights).
    pub(super) fn between(earlier: &Blocks, later: &Blocks) -> Self {
        let large = earlier.layout.grids[earlier.layout.grids.len() - 1].blocks();
        let pairs = || earlier.means[large.clone()].iter().zip(&later.means[large.clone()]);
        let mut light = Self { gain: 1.0, offsets: [0.0; CHANNELS] };
        light.offsets[0] = median(pairs().map(|(a, b)| b[0] - a[0]).collect());
        let mean = median(pairs().map(|(a, _)| a[0]).collect());
        for _ in 0..ROUNDS {
            let residual = |a: &[f32; 3], b: &[f32; 3]| b[0] - light.of(*a)[0];
            let spread = median(pairs().map(|(a, b)| residual(a, b).abs()).collect()) + 0.25;
            let (mut sums, mut products) = ([0.0; 3], [0.0; 2]);
            for (a, b) in pairs() {
                let weight = 1.0 / (1.0 + (residual(a, b) / (2.0 * spread)).powi(2));
                let (x, y) = (a[0] - mean, b[0] - mean);
                sums = [sums[0] + weight, sums[1] + weight * x, sums[2] + weight * y];
                products = [products[0] + weight * x * x, products[1] + weight * x * y];
            }
            let [weight, x, y] = sums;
            let prior = GAIN_PRIOR * GAIN_PRIOR * weight;
            let covariance = products[1] - x * y / weight + prior;
            light.gain = covariance / (products[0] - x * x / weight + prior);
            light.offsets[0] = (y - light.gain * x) / weight + mean * (1.0 - light.gain);
        }
        for channel in 1..CHANNELS {
            let differences = pairs().map(|(a, b)| b[channel] - light.gain * a[channel]);
            light.offsets[channel] = median(differences.collect());
        }
        light
    }

    /// What a block of the earlier picture looks like in this light.
    pub(super) fn of(&self, mean: [f32; CHANNELS]) -> [f32; CHANNELS] {
        std::array::from_fn(|channel| self.gain * mean[channel] + self.offsets[channel])
    }

    /// By how many 8-bit steps it changes a middle grey.
    pub(super) fn steps(&self) -> f32 {
        let luma = (self.gain - 1.0) * GREY + self.offsets[0];
        self.offsets[1..].iter().fold(luma.abs(), |most, offset| most.max(offset.abs()))
    }
}

/// The middle value; 0 of none.
fn median(mut values: Vec<f32>) -> f32 {
    if values.is_empty() {
        return 0.0;
    }
    let middle = values.len() / 2;
    *values.select_nth_unstable_by(middle, f32::total_cmp).1
}

#[cfg(test)]
mod tests {
    use footage_clip::RgbFrame;
    use proptest::prelude::*;

    use super::*;

    /// A picture of a slope from dark to bright, under a light, with a white square on the left.
    fn picture(gain: f32, offset: f32, square: u32) -> Blocks {
        let pixels = (0..120_u32).flat_map(|y| (0..160_u32).map(move |x| (x, y)));
        let data: Vec<u8> = pixels
            .flat_map(|(x, y)| {
                let value = if x < square && y < square { 240.0 } else { 20.0 + x as f32 };
                [(gain * value + offset) as u8; 3]
            })
            .collect();
        Blocks::of(&RgbFrame::try_new(160, 120, data).unwrap())
    }

    proptest! {
        #[test]
        fn a_change_of_light_is_found_beneath_a_change_of_things(
            gain in 0.7_f32..1.05, offset in -10.0_f32..10.0, square in 0_u32..56,
        ) {
            let (before, after) = (picture(1.0, 0.0, 0), picture(gain, offset, square));
            let light = Light::between(&before, &after);
            let right = before.layout.grids[0].columns - 2;
            let residual = after.means[right][0] - light.of(before.means[right])[0];
            prop_assert!(residual.abs() < 3.0, "{light:?} leaves {residual}");
        }
    }

    #[test]
    fn an_unchanged_picture_has_unchanged_light() {
        let picture = picture(1.0, 0.0, 30);
        assert!(Light::between(&picture, &picture).steps() < 0.01);
    }

    #[test]
    fn a_picture_without_contrast_leaves_the_gain_alone() {
        let flat =
            |value: u8| Blocks::of(&RgbFrame::try_new(64, 64, vec![value; 64 * 64 * 3]).unwrap());
        let light = Light::between(&flat(100), &flat(110));
        assert!((light.gain - 1.0).abs() < 1e-3 && (light.steps() - 10.0).abs() < 0.1, "{light:?}");
    }
}
