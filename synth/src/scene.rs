//! The places of the world and how they are painted.

use rand::Rng;
use rand_chacha::ChaCha8Rng;

use crate::noise::Noise;
use crate::view::View;

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "named by `Scene::name`")]
pub enum Scene {
    Grass,
    Road,
    Beach,
    Sea,
    Snow,
    Night,
    BrickWall,
    WoodFloor,
    Desert,
    Parking,
    Sky,
    Forest,
}

impl Scene {
    /// All places.
    pub const ALL: [Self; 12] = [
        Self::Grass,
        Self::Road,
        Self::Beach,
        Self::Sea,
        Self::Snow,
        Self::Night,
        Self::BrickWall,
        Self::WoodFloor,
        Self::Desert,
        Self::Parking,
        Self::Sky,
        Self::Forest,
    ];

    /// The name that truth files use.
    pub fn name(self) -> &'static str {
        self.nouns()[0]
    }

    /// Nouns for the place, without an article.
    pub fn nouns(self) -> &'static [&'static str] {
        match self {
            Self::Grass => &["grass field", "meadow", "lawn"],
            Self::Road => &["road", "street"],
            Self::Beach => &["beach", "sandy beach"],
            Self::Sea => &["sea", "ocean"],
            Self::Snow => &["snowy field", "snow field"],
            Self::Night => &["dark street", "city at night"],
            Self::BrickWall => &["brick wall"],
            Self::WoodFloor => &["wooden floor", "room with a wooden floor"],
            Self::Desert => &["desert"],
            Self::Parking => &["parking lot", "car park"],
            Self::Sky => &["blue sky", "cloudy sky"],
            Self::Forest => &["forest", "wood"],
        }
    }

    /// One of its nouns as a caption says it: "a road", "the sea".
    pub(crate) fn with_article(self, noun: &str) -> String {
        format!("{} {noun}", if self == Self::Sea { "the" } else { "a" })
    }

    /// Phrases that say where something is.
    pub fn places(self) -> &'static [&'static str] {
        match self {
            Self::Grass => {
                &["on a grass field", "on the grass", "in a meadow", "on a lawn", "on grass"]
            }
            Self::Road => &["on a road", "on the road", "on a street", "on the street"],
            Self::Beach => &["on a beach", "on the beach", "at the beach", "on a sandy beach"],
            Self::Sea => &["on the sea", "in the water", "on the water", "at sea", "in the ocean"],
            Self::Snow => &["on a snowy field", "in the snow", "on the snow", "in snow"],
            Self::Night => &["at night", "on a dark street", "in the dark", "in a city at night"],
            Self::BrickWall => {
                &["in front of a brick wall", "by a brick wall", "against a brick wall"]
            }
            Self::WoodFloor => &["on a wooden floor", "on the floor", "indoors", "inside a room"],
            Self::Desert => &["in a desert", "in the desert"],
            Self::Parking => &["in a parking lot", "on a parking lot", "in a car park"],
            Self::Sky => &["in the sky", "in the air", "in a blue sky", "against the sky"],
            Self::Forest => &["in a forest", "in the woods", "among trees", "in the forest"],
        }
    }
}

type Rgb = [f32; 3];

fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    let t = t.clamp(0.0, 1.0);
    std::array::from_fn(|k| a[k] + (b[k] - a[k]) * t)
}

fn scaled(a: Rgb, by: f32) -> Rgb {
    a.map(|value| value * by)
}

/// One painter's choices: everything that differs between two pictures of one place.
struct Brush<'a> {
    noise: &'a Noise,
    horizon: f32,
    tone: f32,
    scale: f32,
    tilt: f32,
    /// Where in the noise this picture lies.
    at: [f32; 2],
    salt: u32,
}

/// Paints `scene` as `view` sees it, with `margin` pixels more on each side: RGB rows of
/// `width + 2 margin` pixels. Every pixel is the mean of four samples.
pub(crate) fn paint(
    scene: Scene,
    noise: &Noise,
    view: View,
    margin: usize,
    rng: &mut ChaCha8Rng,
) -> Vec<u8> {
    let brush = Brush {
        noise,
        horizon: rng.random_range(0.0..1.0),
        tone: rng.random_range(0.88..1.1),
        scale: rng.random_range(0.85..1.2),
        tilt: rng.random_range(-0.12..0.12),
        at: [rng.random_range(0.0..1.0), rng.random_range(0.0..1.0)],
        salt: rng.random(),
    };
    match scene {
        Scene::Grass => fill(view, margin, |x, y| brush.grass(x, y)),
        Scene::Road => fill(view, margin, |x, y| brush.road(x, y)),
        Scene::Beach => fill(view, margin, |x, y| brush.beach(x, y)),
        Scene::Sea => fill(view, margin, |x, y| brush.sea(x, y)),
        Scene::Snow => fill(view, margin, |x, y| brush.snow(x, y)),
        Scene::Night => fill(view, margin, |x, y| brush.night(x, y)),
        Scene::BrickWall => fill(view, margin, |x, y| brush.brick_wall(x, y)),
        Scene::WoodFloor => fill(view, margin, |x, y| brush.wood_floor(x, y)),
        Scene::Desert => fill(view, margin, |x, y| brush.desert(x, y)),
        Scene::Parking => fill(view, margin, |x, y| brush.parking(x, y)),
        Scene::Sky => fill(view, margin, |x, y| brush.sky(x, y)),
        Scene::Forest => fill(view, margin, |x, y| brush.forest(x, y)),
    }
}

/// `shade` gets x in [0, 4/3] and y in [0, 1], and a little beyond.
fn fill(view: View, margin: usize, shade: impl Fn(f32, f32) -> Rgb) -> Vec<u8> {
    let (width, height) = (view.width + 2 * margin, view.height + 2 * margin);
    let mut rgb = Vec::with_capacity(width * height * 3);
    for row in 0..height {
        for column in 0..width {
            let mut sum = [0.0; 3];
            for (dx, dy) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                let (x, y) = view
                    .unproject(column as f32 + dx - margin as f32, row as f32 + dy - margin as f32);
                let pixel = shade(x * crate::view::ASPECT, y);
                sum = std::array::from_fn(|k| sum[k] + pixel[k]);
            }
            rgb.extend(sum.map(|value| (value / 4.0).clamp(0.0, 255.0) as u8));
        }
    }
    rgb
}

impl Brush<'_> {
    /// Smooth noise in [0, 1], about `frequency` bumps over the picture's height.
    fn soft(&self, x: f32, y: f32, frequency: f32) -> f32 {
        let f = frequency * self.scale / Noise::BUMPS;
        self.noise.smooth(self.at[0] + x * f, self.at[1] + y * f)
    }

    /// Stretched noise.
    fn streaks(&self, x: f32, y: f32, across: f32, along: f32) -> f32 {
        self.noise
            .smooth(self.at[0] + x * across / Noise::BUMPS, self.at[1] + y * along / Noise::BUMPS)
    }

    /// A number in [0, 1] for a cell of a grid.
    fn cell(&self, i: f32, j: f32) -> f32 {
        let mut h = (i as i32 as u32).wrapping_mul(0x9E37_79B1)
            ^ (j as i32 as u32).wrapping_mul(0x85EB_CA77)
            ^ self.salt;
        h = (h ^ (h >> 15)).wrapping_mul(0x2C1B_3C6D);
        h = (h ^ (h >> 12)).wrapping_mul(0x297A_2D39);
        (h >> 8) as f32 / (1 << 24) as f32
    }

    fn clear_sky(&self, x: f32, y: f32) -> Rgb {
        let cloud = ((self.soft(x, y * 2.0, 5.0) - 0.52) * 6.0).clamp(0.0, 0.9);
        mix(mix([92.0, 160.0, 232.0], [170.0, 210.0, 245.0], y * 1.3), [250.0; 3], cloud)
    }

    fn grass(&self, x: f32, y: f32) -> Rgb {
        let horizon = (self.horizon - 0.55).max(0.0) * 0.5 + 0.02 * (self.soft(x, 0.0, 4.0) - 0.5);
        if y < horizon && self.horizon > 0.55 {
            return self.clear_sky(x, y);
        }
        let patch = self.soft(x, y, 5.0);
        let blades = self.streaks(x, y, 90.0, 22.0);
        scaled(
            mix([44.0, 112.0, 34.0], [122.0, 184.0, 62.0], 0.6 * patch + 0.55 * blades - 0.1),
            self.tone,
        )
    }

    fn road(&self, x: f32, y: f32) -> Rgb {
        let (top, bottom) = (0.16 + 0.12 * self.horizon, 0.93);
        let y = y + self.tilt * 0.3 * (x - 0.66);
        if y < top || y > bottom {
            let verge = self.streaks(x, y, 60.0, 20.0);
            return scaled(mix([96.0, 118.0, 62.0], [140.0, 150.0, 96.0], verge), self.tone);
        }
        let middle = 0.5 * (top + bottom);
        let dash = ((x / (0.34 * self.scale)) + self.at[0] * 7.0).fract() < 0.58;
        let is_line = (y - middle).abs() < 0.017 && dash
            || (y - top - 0.035).abs() < 0.010
            || (y - bottom + 0.035).abs() < 0.010;
        if is_line {
            return scaled([236.0, 228.0, 196.0], self.tone);
        }
        let grit = self.noise.grain(self.at[0] + x, self.at[1] + y) - 0.5;
        scaled(
            mix([88.0, 89.0, 94.0], [108.0, 108.0, 112.0], self.soft(x, y, 4.0)),
            self.tone + 0.12 * grit,
        )
    }

    fn beach(&self, x: f32, y: f32) -> Rgb {
        let shore = 0.26
            + 0.16 * self.horizon
            + 0.05 * (self.soft(x, 0.3, 3.0) - 0.5)
            + self.tilt * 0.4 * (x - 0.66);
        let from_shore = y - shore;
        if from_shore < -0.02 {
            let wave = (y * 95.0 + 5.0 * self.soft(x, y, 4.0)).sin() * 0.5 + 0.5;
            return mix(
                mix([24.0, 120.0, 178.0], [66.0, 178.0, 204.0], y / shore),
                [220.0, 240.0, 245.0],
                0.3 * wave * wave,
            );
        }
        if from_shore < 0.03 {
            return [246.0, 249.0, 250.0];
        }
        let grit = self.noise.grain(self.at[0] + x, self.at[1] + y) - 0.5;
        let sand = mix([228.0, 205.0, 154.0], [246.0, 226.0, 180.0], self.soft(x, y, 6.0));
        let wet = if from_shore < 0.1 { 0.86 } else { 1.0 };
        scaled(sand, wet * (self.tone + 0.07 * grit))
    }

    fn sea(&self, x: f32, y: f32) -> Rgb {
        let horizon = (self.horizon - 0.5).max(0.0) * 0.4;
        if y < horizon {
            return self.clear_sky(x, y);
        }
        let depth = y - horizon;
        let bend = 9.0 * self.soft(x, y, 5.0);
        let ripple = (depth * (70.0 * self.scale) + bend).sin() * 0.5 + 0.5;
        let water = mix([16.0, 74.0, 150.0], [40.0, 122.0, 190.0], self.soft(x, y, 3.0));
        scaled(mix(water, [150.0, 205.0, 232.0], 0.42 * ripple * ripple * ripple), self.tone)
    }

    fn snow(&self, x: f32, y: f32) -> Rgb {
        let horizon = 0.2 + 0.14 * self.horizon + 0.03 * (self.soft(x, 0.7, 2.0) - 0.5);
        let depth = y - horizon;
        if depth < 0.0 {
            let flake = self.cell((x * 64.0).floor(), (y * 64.0).floor()) > 0.92;
            let (lane, across) = ((x * 7.0 * self.scale).floor(), (x * 7.0 * self.scale).fract());
            let tall = 0.08 + 0.09 * self.cell(lane, 5.0);
            let reach = (1.0 + depth / tall) * 0.46;
            return if flake {
                [246.0; 3]
            } else if -depth < tall && (across - 0.5).abs() < reach {
                mix([36.0, 62.0, 58.0], [225.0, 232.0, 240.0], (-depth / tall - 0.55) * 4.0)
            } else {
                mix([140.0, 160.0, 186.0], [190.0, 204.0, 220.0], y / horizon)
            };
        }
        let drift = (depth * 26.0 + 5.0 * self.soft(x, y, 3.0)).sin() * 0.5 + 0.5;
        let glint = if self.noise.grain(self.at[0] + x, self.at[1] + y) > 0.97 { 9.0 } else { 0.0 };
        mix([246.0, 248.0, 252.0], [216.0, 226.0, 242.0], drift * drift * drift)
            .map(|value| value * self.tone.clamp(0.95, 1.0) + glint)
    }

    fn night(&self, x: f32, y: f32) -> Rgb {
        let ground = 0.62 + 0.1 * self.tilt;
        let pool = |px: f32, py: f32| {
            let (dx, dy) = (x - px, (y - py) * 1.6);
            1.0 / (1.0 + 22.0 * (dx * dx + dy * dy))
        };
        let glow = pool(0.25 + 0.3 * self.horizon, 0.7) + pool(0.95 + 0.3 * self.at[0], 0.78);
        let lamp = [255.0, 178.0, 88.0];
        if y > ground {
            let asphalt = scaled([34.0, 36.0, 52.0], 0.85 + 0.4 * self.soft(x, y, 6.0));
            return mix(asphalt, lamp, 0.28 * glow);
        }
        let (column, across) = ((x * 5.0 * self.scale).floor(), (x * 5.0 * self.scale).fract());
        let roof = 0.08 + 0.3 * self.cell(column, 0.0);
        if y < roof {
            return mix([8.0, 10.0, 30.0], [22.0, 24.0, 58.0], y * 1.5);
        }
        let (i, j) = ((across * 4.0).floor(), ((y - roof) * 15.0).floor());
        let in_window = (across * 4.0).fract() > 0.4 && ((y - roof) * 15.0).fract() > 0.45;
        let is_lit = self.cell(column * 7.0 + i, j + 3.0) > 0.62;
        if in_window && is_lit && i > 0.0 {
            return scaled([238.0, 200.0, 110.0], 0.6 + 0.35 * self.cell(j, i + column));
        }
        mix(scaled([22.0, 22.0, 36.0], 0.8 + 0.5 * self.cell(column, 9.0)), lamp, 0.10 * glow)
    }

    fn brick_wall(&self, x: f32, y: f32) -> Rgb {
        let rows = 10.0 * self.scale;
        let row = (y * rows).floor();
        let along = x * rows * 0.45 + if (row as i32).rem_euclid(2) == 0 { 0.0 } else { 0.5 };
        let is_mortar = (y * rows).fract() < 0.14 || along.fract().abs() < 0.065;
        let grit = self.noise.grain(self.at[0] + x, self.at[1] + y) - 0.5;
        if is_mortar {
            return scaled([200.0, 188.0, 176.0], self.tone + 0.08 * grit);
        }
        let brick = mix([146.0, 58.0, 42.0], [190.0, 92.0, 66.0], self.cell(along.floor(), row));
        scaled(brick, self.tone * (0.88 + 0.24 * self.soft(x, y, 9.0)) + 0.10 * grit)
    }

    fn wood_floor(&self, x: f32, y: f32) -> Rgb {
        let planks = 7.0 * self.scale;
        let plank = (y * planks).floor();
        let shift = 1.3 * self.cell(plank, 1.0);
        let is_gap = (y * planks).fract() < 0.06 || ((x + shift) / 0.8).fract() < 0.015;
        let tone = 0.82 + 0.3 * self.cell(plank, ((x + shift) / 0.8).floor() + 2.0);
        let grain = self.streaks(x, y + plank * 0.37, 4.0, 70.0);
        let wood = mix([140.0, 88.0, 46.0], [206.0, 148.0, 90.0], grain);
        scaled(wood, self.tone * tone * if is_gap { 0.45 } else { 1.0 })
    }

    fn desert(&self, x: f32, y: f32) -> Rgb {
        let horizon =
            0.14 + 0.16 * self.horizon + 0.05 * (x * 4.0 * self.scale + self.at[0] * 6.0).sin();
        if y < horizon {
            return mix([112.0, 176.0, 222.0], [250.0, 228.0, 178.0], y / horizon);
        }
        let depth = y - horizon;
        let ridge =
            depth * 3.4 * self.scale + 0.24 * (x * 3.6 + self.at[1] * 6.0 + depth * 5.0).sin();
        let slope = ridge.fract();
        let ripple = (depth * 120.0 + 7.0 * self.soft(x, y, 4.0)).sin() * 0.03;
        scaled(mix([186.0, 106.0, 44.0], [244.0, 178.0, 92.0], slope), self.tone + ripple)
    }

    fn parking(&self, x: f32, y: f32) -> Rgb {
        let grit = self.noise.grain(self.at[0] + x, self.at[1] + y) - 0.5;
        let stain = self.soft(x, y, 5.0);
        let leaning = x + self.tilt * 1.5 * y + self.at[0];
        let bay = 0.27 * self.scale;
        let in_row = !(0.40..=0.62).contains(&y);
        let is_line = in_row && (leaning / bay).fract() < 0.085 || (y - 0.03).abs() < 0.012;
        if is_line {
            return scaled([232.0, 232.0, 228.0], self.tone);
        }
        scaled(mix([58.0, 60.0, 66.0], [84.0, 86.0, 92.0], stain), self.tone + 0.12 * grit)
    }

    fn sky(&self, x: f32, y: f32) -> Rgb {
        let cloud = (self.soft(x, y * 1.6, 3.2) - 0.46) * 5.0;
        let blue = mix([58.0, 132.0, 222.0], [152.0, 202.0, 246.0], y);
        let shade = 232.0 + 22.0 * self.soft(x, y + 0.1, 6.0);
        scaled(mix(blue, [shade, shade, shade + 4.0], cloud), self.tone.min(1.04))
    }

    fn forest(&self, x: f32, y: f32) -> Rgb {
        let floor = 0.74 + 0.1 * self.tilt;
        let leaves = self.soft(x, y, 12.0);
        if y > floor {
            let litter = self.streaks(x, y, 40.0, 30.0);
            return scaled(mix([70.0, 58.0, 28.0], [124.0, 110.0, 58.0], litter), self.tone);
        }
        for (layer, dim) in [(5.0, 1.0), (9.0, 0.7)] {
            let lane = x * layer * self.scale + self.at[0] * 9.0;
            let middle = 0.3 + 0.4 * self.cell(lane.floor(), layer);
            let half = 0.08 + 0.09 * self.cell(lane.floor(), layer + 1.0);
            let off = (lane.fract() - middle) / half;
            if off.abs() < 1.0 {
                let bark = 0.7 + 0.5 * self.streaks(x, y, 60.0, 8.0) - 0.25 * off;
                return scaled([124.0, 88.0, 56.0], bark * dim * self.tone);
            }
        }
        scaled(mix([20.0, 62.0, 24.0], [84.0, 148.0, 58.0], leaves * 1.3 - 0.15), self.tone)
    }
}
