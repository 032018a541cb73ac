//! The camera: a place with its props, filmed with the flaws of a sensor.

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::actor::Cast;
use crate::casting::Cupboard;
use crate::motion::Pose;
use crate::noise::Noise;
use crate::scene::{Scene, paint};
use crate::sprites::Sprite;
use crate::view::{ASPECT, Bounds, View};
use crate::vocabulary::ThingId;

/// Rows of the camera that the strengths below are given for.
const ROWS: f32 = 240.0;

/// How this camera differs from a perfect one.
#[derive(Debug, Clone)]
struct Flaws {
    /// Change of brightness over the frame, across and down.
    light: [f32; 2],
    brightness: f32,
    contrast: f32,
    /// Slow change of brightness: strength, radians per second, phase.
    drift: [f32; 3],
    /// Standard deviation of the noise, 8-bit steps, at 240 rows.
    noise: f32,
    /// Share of the neighbours in each pixel, 0 to 1, at 240 rows.
    blur: f32,
    /// Largest shake, as a fraction of the frame's height.
    shake: f32,
    /// What the light loses every second.
    dusk: f32,
}

impl Flaws {
    fn sample(rng: &mut ChaCha8Rng) -> Self {
        let mut spread = |limit: f32| limit * (2.0 * rng.random::<f32>() - 1.0);
        let light = [spread(0.22), spread(0.16)];
        let (brightness, contrast) = (1.0 + spread(0.10), 1.0 + spread(0.12));
        let drift = [spread(0.05), 0.9 + spread(0.5), spread(3.0)];
        let mut sometimes = |share: f32, limit: f32| {
            let (u, v): (f32, f32) = (rng.random(), rng.random());
            if u < share { limit * v } else { 0.0 }
        };
        Self {
            light,
            brightness,
            contrast,
            drift,
            noise: 1.0 + sometimes(0.7, 7.0),
            blur: sometimes(0.5, 0.8),
            shake: sometimes(0.35, 0.012),
            dusk: 0.0,
        }
    }
}

/// A thing at its place in the frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed {
    pub(crate) cast: Cast,
    pub(crate) pose: Pose,
    pub(crate) opacity: f32,
}

impl Placed {
    /// Its rectangle in the whole frame, unclipped.
    pub(crate) fn bounds(&self, cupboard: Cupboard<'_>) -> Bounds {
        let Pose { x, y, height } = self.pose;
        let width = height * cupboard.aspect(self.cast) / ASPECT;
        Bounds {
            x0: x - width / 2.0,
            y0: y - height / 2.0,
            x1: x + width / 2.0,
            y1: y + height / 2.0,
        }
    }

    /// Its rectangle in what `view` shows, clipped.
    pub(crate) fn bounds_in(&self, view: View, cupboard: Cupboard<'_>) -> Bounds {
        let b = self.bounds(cupboard);
        let ((x0, y0), (x1, y1)) = (view.project(b.x0, b.y0), view.project(b.x1, b.y1));
        let (width, height) = (view.width as f32, view.height as f32);
        Bounds { x0: x0 / width, y0: y0 / height, x1: x1 / width, y1: y1 / height }.clipped()
    }
}

/// One setting of the camera: the painted place, its props and the camera's flaws. The same seed
/// gives the same shot in every view, but for the number of pixels.
#[derive(Debug)]
pub(crate) struct Shot {
    view: View,
    backdrop: Vec<u8>,
    margin: usize,
    pub(crate) props: Vec<Placed>,
    flaws: Flaws,
    seed: u32,
}

impl Shot {
    /// Sets the camera up in `scene`; no prop is one of the things in `cast`.
    pub(crate) fn set_up(
        scene: Scene,
        cast: &[ThingId],
        view: View,
        cupboard: Cupboard<'_>,
        noise: &Noise,
        seed: u64,
    ) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let flaws = Flaws::sample(&mut rng);
        let mut avoided = cast.to_vec();
        let props = (0..[0, 0, 1, 1, 2][rng.random_range(0..5)])
            .map(|_| {
                let prop = prop(&avoided, cupboard, &mut rng);
                avoided.push(prop.cast.thing);
                prop
            })
            .collect();
        let seed = rng.next_u32();
        let margin = (0.012 * view.scale().1).ceil() as usize;
        let backdrop = paint(scene, noise, view, margin, &mut rng);
        Self { view, backdrop, margin, props, flaws, seed }
    }

    /// The same shot while the light fades, by this share of itself every second.
    pub(crate) fn at_dusk(mut self, share: f32) -> Self {
        self.flaws.dusk = share;
        self
    }

    /// What the camera sees `seconds` after it was set up: RGB rows.
    pub(crate) fn film(
        &self,
        seconds: f32,
        actors: &[Placed],
        cupboard: Cupboard<'_>,
        noise: &Noise,
    ) -> Vec<u8> {
        let instant = u64::from(self.seed) << 24 | u64::from((seconds * 1000.0) as u32);
        let mut rng = ChaCha8Rng::seed_from_u64(instant);
        let reach = self.flaws.shake * self.view.scale().1;
        let mut shaken = || (reach * (2.0 * rng.random::<f32>() - 1.0)).round() as isize;
        let shift = (shaken(), shaken());
        let mut rgb = self.cut(shift);
        for placed in self.props.iter().chain(actors) {
            let sprite = cupboard.sprites.get(placed.cast.thing, placed.cast.tint);
            blend(&mut rgb, self.view, sprite, placed, shift);
        }
        let share = self.flaws.blur * (self.view.scale().1 / ROWS).min(1.0).powi(2);
        if share > 0.04 {
            rgb = blurred(&rgb, self.view, share);
        }
        self.expose(&mut rgb, seconds, noise, &mut rng);
        rgb
    }

    /// The backdrop, moved by `shift` pixels.
    fn cut(&self, shift: (isize, isize)) -> Vec<u8> {
        let margin = self.margin.cast_signed();
        let inset = |by: isize| (margin - by.clamp(-margin, margin)).cast_unsigned();
        let (left, top) = (inset(shift.0), inset(shift.1));
        let stride = (self.view.width + 2 * self.margin) * 3;
        let mut rgb = Vec::with_capacity(self.view.rgb_len());
        for row in top..top + self.view.height {
            let start = row * stride + left * 3;
            rgb.extend_from_slice(&self.backdrop[start..start + self.view.width * 3]);
        }
        rgb
    }

    /// Light, brightness, contrast and noise.
    fn expose(&self, rgb: &mut [u8], seconds: f32, noise: &Noise, rng: &mut ChaCha8Rng) {
        let f = &self.flaws;
        let light = (1.0 - f.dusk * seconds).max(0.0);
        let gain =
            f.brightness * light * (1.0 + f.drift[0] * (f.drift[1] * seconds + f.drift[2]).sin());
        // A smaller picture of the same frame averages noise away, though never all of it.
        let sigma = f.noise * (self.view.scale().1 / ROWS).min(1.0).powf(0.7);
        let (width, height) = (self.view.width, self.view.height);
        for (y, row) in rgb.chunks_exact_mut(width * 3).enumerate() {
            let down = 1.0 + f.light[1] * (y as f32 / height as f32 - 0.5);
            let step = f.light[0] / width as f32;
            let mut across = -f.light[0] / 2.0;
            for run in row.chunks_mut(Noise::RUN / 3 * 3) {
                let normals = noise.normals(rng.next_u32(), run.len());
                for (pixel, deviates) in run.chunks_exact_mut(3).zip(normals.chunks_exact(3)) {
                    let gain = gain * (down + across);
                    across += step;
                    for (value, deviate) in pixel.iter_mut().zip(deviates) {
                        let light = (f32::from(*value) * gain - 128.0) * f.contrast + 128.5;
                        *value = (light + sigma * deviate) as u8;
                    }
                }
            }
        }
    }
}

/// A small thing that stands about and that no caption names.
fn prop(avoided: &[ThingId], cupboard: Cupboard<'_>, rng: &mut ChaCha8Rng) -> Placed {
    let cast = cupboard.cast_unlike(avoided, rng);
    let height = rng.random_range(0.15..0.2) / cupboard.aspect(cast).max(1.0).sqrt();
    let height = height.max(0.13);
    let pose = Pose { x: rng.random_range(0.1..0.9), y: rng.random_range(0.12..0.88), height };
    Placed { cast, pose, opacity: 1.0 }
}

/// Draws a picture over the frame; each pixel is the mean of four samples.
fn blend(rgb: &mut [u8], view: View, sprite: &Sprite, placed: &Placed, shift: (isize, isize)) {
    let (sx, sy) = view.scale();
    let height = placed.pose.height * sy;
    let width = placed.pose.height * sprite.aspect() / ASPECT * sx;
    let (x, y) = view.project(placed.pose.x, placed.pose.y);
    let left = x + shift.0 as f32 - width / 2.0;
    let top = y + shift.1 as f32 - height / 2.0;
    let level = sprite.level(2.0 * height);
    let (du, dv) = (level.width as f32 / width, level.height as f32 / height);
    let columns = covered(left, width, view.width);
    for row in covered(top, height, view.height) {
        for column in columns.clone() {
            let mut sum = [0.0_f32; 4];
            for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                let u = (column as f32 + dx - left) * du;
                let u = if placed.cast.is_flipped { level.width as f32 - u } else { u };
                level.add_sample(u, (row as f32 + dy - top) * dv, &mut sum);
            }
            let opacity = placed.opacity / 4.0;
            let behind = 1.0 - sum[3] * opacity / 255.0;
            let at = (row * view.width + column) * 3;
            for (value, ink) in rgb[at..at + 3].iter_mut().zip(sum) {
                *value = (f32::from(*value) * behind + ink * opacity + 0.5) as u8;
            }
        }
    }
}

/// The pixels that an extent touches.
fn covered(from: f32, length: f32, limit: usize) -> std::ops::Range<usize> {
    let end = ((from + length).ceil().max(0.0) as usize).min(limit);
    (from.floor().max(0.0) as usize).min(end)..end
}

/// Each pixel mixed with the mean of its four neighbours, `share` of it theirs.
fn blurred(rgb: &[u8], view: View, share: f32) -> Vec<u8> {
    let stride = view.width * 3;
    let theirs = (share * 64.0) as u32;
    let own = 256 - 4 * theirs.min(63);
    let mut out = rgb.to_vec();
    for y in 1..view.height - 1 {
        let (above, here, below) = (
            &rgb[(y - 1) * stride..y * stride],
            &rgb[y * stride..(y + 1) * stride],
            &rgb[(y + 1) * stride..(y + 2) * stride],
        );
        let target = &mut out[y * stride..(y + 1) * stride];
        for x in 3..stride - 3 {
            let neighbours = u32::from(above[x])
                + u32::from(below[x])
                + u32::from(here[x - 3])
                + u32::from(here[x + 3]);
            let sum = own * u32::from(here[x]) + theirs.min(63) * neighbours + 128;
            target[x] = (sum >> 8) as u8;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::motion::Motion;
    use crate::plan::Relation;
    use crate::split::Split;
    use crate::view::Fit;
    use crate::world::World;

    /// Pixels inside and outside of the box, and how much they differ between two frames.
    fn difference(view: View, with: &[u8], without: &[u8], bounds: Bounds) -> (f32, u32) {
        let (mut inside, mut pixels, mut worst_outside) = (0_u32, 0_u32, 0_u32);
        // The blur reaches one pixel further than the picture.
        let (left, right) =
            (bounds.x0 * view.width as f32 - 2.0, bounds.x1 * view.width as f32 + 2.0);
        let (top, bottom) =
            (bounds.y0 * view.height as f32 - 2.0, bounds.y1 * view.height as f32 + 2.0);
        for (index, (a, b)) in with.chunks_exact(3).zip(without.chunks_exact(3)).enumerate() {
            let (x, y) = ((index % view.width) as f32, (index / view.width) as f32);
            let change = a.iter().zip(b).map(|(p, q)| u32::from(p.abs_diff(*q))).sum::<u32>();
            if x >= left && x <= right && y >= top && y <= bottom {
                inside += change;
                pixels += 1;
            } else {
                worst_outside = worst_outside.max(change);
            }
        }
        (inside as f32 / pixels.max(1) as f32, worst_outside)
    }

    #[test]
    fn an_object_changes_the_pixels_of_its_box_and_no_others() {
        let world = World::load().unwrap();
        let cupboard = world.cupboard();
        let mut faint = Vec::new();
        for seed in 0..150 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let view = if seed % 2 == 0 { View::CAMERA } else { View::square(64, Fit::Stretch) };
            let plan =
                cupboard.plan(Relation::Alone, &[Motion::Still], None, Split::Train, &mut rng);
            let mut shot =
                Shot::set_up(plan.scene, &plan.things(), view, cupboard, world.noise(), seed);
            // A shake moves the picture off its box; that is another test's matter.
            shot.flaws.shake = 0.0;
            let (pose, opacity) = plan.actors[0].at(plan.seconds / 2.0).unwrap();
            let placed = Placed { cast: plan.actors[0].cast, pose, opacity };
            let with = shot.film(1.0, &[placed], cupboard, world.noise());
            let without = shot.film(1.0, &[], cupboard, world.noise());
            let bounds = placed.bounds_in(view, cupboard);
            let (inside, outside) = difference(view, &with, &without, bounds);
            assert_eq!(outside, 0, "seed {seed}");
            let name = &world.vocabulary().thing(placed.cast.thing).name;
            assert!(inside > 12.0, "{name} on {:?} changes its box by {inside} only", plan.scene);
            if inside < 40.0 {
                faint.push(name.clone());
            }
        }
        assert!(faint.len() < 15, "hard to see: {faint:?}");
    }

    #[test]
    fn the_same_instant_is_filmed_alike_and_another_is_not() {
        let world = World::load().unwrap();
        let view = View::square(64, Fit::Crop);
        let shot = Shot::set_up(Scene::Road, &[], view, world.cupboard(), world.noise(), 4);
        let film = |seconds| shot.film(seconds, &[], world.cupboard(), world.noise());
        assert_eq!(film(1.5), film(1.5));
        assert_ne!(film(1.5), film(2.0));
    }

    #[test]
    fn a_small_view_shows_what_the_large_one_does() {
        let world = World::load().unwrap();
        for (seed, scene) in (0..).zip(Scene::ALL) {
            let [large, small] = [View::CAMERA, View::new(80, 60)].map(|view| {
                let shot = Shot::set_up(scene, &[], view, world.cupboard(), world.noise(), seed);
                let rgb = shot.film(0.0, &[], world.cupboard(), world.noise());
                // Means over a grid of 4 x 3 cells of the frame.
                let mut cells = [(0.0_f32, 0.0_f32); 12];
                for (index, pixel) in rgb.chunks_exact(3).enumerate() {
                    let (x, y) = (index % view.width, index / view.width);
                    let cell = &mut cells[x * 4 / view.width + 4 * (y * 3 / view.height)];
                    cell.0 += f32::from(pixel[1]);
                    cell.1 += 1.0;
                }
                cells.map(|(sum, count)| sum / count)
            });
            for (a, b) in large.iter().zip(small) {
                // Lines of less than a pixel are sampled four times only.
                assert!((a - b).abs() < 12.0, "{scene:?}: {large:?} {small:?}");
            }
        }
    }
}
