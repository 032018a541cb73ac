//! Precomputed randomness: a smooth tile for textures, a grain tile and normal deviates for sensors.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SIDE: usize = 256;
const NORMALS: usize = 1 << 14;

/// Tiles that repeat with period 1 in both directions.
#[derive(Debug)]
pub(crate) struct Noise {
    smooth: Vec<f32>,
    grain: Vec<f32>,
    normals: Vec<f32>,
}

impl Noise {
    /// Bumps of the coarsest octave along the smooth tile.
    pub(crate) const BUMPS: f32 = 16.0;

    pub(crate) fn new() -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(0x0006_6F6F_7461_6765);
        let mut smooth = vec![0.0_f32; SIDE * SIDE];
        let mut weight = 0.5;
        for octave in 0..3 {
            add_octave(&mut smooth, (Self::BUMPS as usize) << octave, weight, &mut rng);
            weight *= 0.55;
        }
        let (low, high) =
            smooth.iter().fold((f32::MAX, f32::MIN), |(l, h), &v| (l.min(v), h.max(v)));
        for value in &mut smooth {
            *value = (*value - low) / (high - low);
        }
        let grain = (0..SIDE * SIDE).map(|_| rng.random_range(0.0..1.0)).collect();
        let normals =
            (0..NORMALS).map(|_| (0..12).map(|_| rng.random_range(-0.5..0.5_f32)).sum()).collect();
        Self { smooth, grain, normals }
    }

    /// Smooth noise in [0, 1] at a point of the plane; bilinear.
    #[inline]
    pub(crate) fn smooth(&self, u: f32, v: f32) -> f32 {
        let (u, v) = ((u + 64.0) * SIDE as f32, (v + 64.0) * SIDE as f32);
        let (x, y) = (u as usize, v as usize);
        let (fx, fy) = (u - x as f32, v - y as f32);
        let at = |x: usize, y: usize| self.smooth[(y % SIDE) * SIDE + x % SIDE];
        let upper = at(x, y) + (at(x + 1, y) - at(x, y)) * fx;
        let lower = at(x, y + 1) + (at(x + 1, y + 1) - at(x, y + 1)) * fx;
        upper + (lower - upper) * fy
    }

    /// Independent numbers in [0, 1], as fine as pixels of a 256-row picture.
    #[inline]
    pub(crate) fn grain(&self, u: f32, v: f32) -> f32 {
        let (x, y) = (((u + 64.0) * SIDE as f32) as usize, ((v + 64.0) * SIDE as f32) as usize);
        self.grain[(y % SIDE) * SIDE + x % SIDE]
    }

    /// `count` (at most half the table) normal deviates, which ones `pick` decides.
    pub(crate) fn normals(&self, pick: u32, count: usize) -> &[f32] {
        let start = pick as usize % (NORMALS - count);
        &self.normals[start..start + count]
    }

    /// The longest run that [`Self::normals`] gives.
    pub(crate) const RUN: usize = NORMALS / 2;
}

/// Adds cosine-free value noise with `cells` cells a side, wrapped around the tile.
fn add_octave(tile: &mut [f32], cells: usize, weight: f32, rng: &mut ChaCha8Rng) {
    let knots: Vec<f32> = (0..cells * cells).map(|_| rng.random_range(0.0..1.0)).collect();
    let knot = |x: usize, y: usize| knots[(y % cells) * cells + x % cells];
    let step = cells as f32 / SIDE as f32;
    let ease = |t: f32| t * t * (3.0 - 2.0 * t);
    for row in 0..SIDE {
        for column in 0..SIDE {
            let (u, v) = (column as f32 * step, row as f32 * step);
            let (x, y) = (u as usize, v as usize);
            let (fx, fy) = (ease(u.fract()), ease(v.fract()));
            let upper = knot(x, y) + (knot(x + 1, y) - knot(x, y)) * fx;
            let lower = knot(x, y + 1) + (knot(x + 1, y + 1) - knot(x, y + 1)) * fx;
            tile[row * SIDE + column] += weight * (upper + (lower - upper) * fy);
        }
    }
}
