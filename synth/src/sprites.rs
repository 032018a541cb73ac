//! The pictures of things: read from the emoji font or drawn, each with a chain of smaller copies.

use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::error::SynthError;
use crate::vocabulary::{Look, Shape, ThingId, Tint, Vocabulary};

/// Pixels per em of the font's one bitmap strike.
const STRIKE: u16 = 109;
const FONT: &str = "NotoColorEmoji.ttf";
/// Side of the pictures that we draw, like the font's.
const DRAWN: usize = 128;

/// One picture at one size: premultiplied RGBA with a transparent border of one pixel.
#[derive(Debug)]
pub(crate) struct Level {
    /// Without the border.
    pub(crate) width: usize,
    pub(crate) height: usize,
    stride: usize,
    rgba: Vec<[u8; 4]>,
}

impl Level {
    fn from_fn(width: usize, height: usize, mut at: impl FnMut(usize, usize) -> [u8; 4]) -> Self {
        let stride = width + 2;
        let mut rgba = vec![[0; 4]; stride * (height + 2)];
        for y in 0..height {
            for x in 0..width {
                rgba[(y + 1) * stride + x + 1] = at(x, y);
            }
        }
        Self { width, height, stride, rgba }
    }

    fn at(&self, x: usize, y: usize) -> [u8; 4] {
        self.rgba[(y + 1) * self.stride + x + 1]
    }

    /// The picture at half the size, each pixel the mean of four.
    fn halved(&self) -> Self {
        let (width, height) = (self.width.div_ceil(2), self.height.div_ceil(2));
        Self::from_fn(width, height, |x, y| {
            let mut sum = [0_u32; 4];
            for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                // The border stands in for a missing last column or row.
                let pixel = self.rgba[(2 * y + dy + 1) * self.stride + 2 * x + dx + 1];
                for (total, value) in sum.iter_mut().zip(pixel) {
                    *total += u32::from(value);
                }
            }
            sum.map(|total| ((total + 2) / 4) as u8)
        })
    }

    /// Bilinear sample; `u`, `v` in pixels of this level, from its top left corner. Adds to `sum`.
    #[inline]
    pub(crate) fn add_sample(&self, u: f32, v: f32, sum: &mut [f32; 4]) {
        let (u, v) = (u + 0.5, v + 0.5);
        if u < 0.0 || v < 0.0 {
            return;
        }
        let (x, y) = (u as usize, v as usize);
        if x > self.width || y > self.height {
            return;
        }
        let (fx, fy) = (u - x as f32, v - y as f32);
        let row = y * self.stride + x;
        let corners = [
            (row, (1.0 - fx) * (1.0 - fy)),
            (row + 1, fx * (1.0 - fy)),
            (row + self.stride, (1.0 - fx) * fy),
            (row + self.stride + 1, fx * fy),
        ];
        for (index, weight) in corners {
            for (total, value) in sum.iter_mut().zip(self.rgba[index]) {
                *total += weight * f32::from(value);
            }
        }
    }
}

/// A picture, cut to what is visible of it, with its smaller copies.
#[derive(Debug)]
pub(crate) struct Sprite {
    levels: Vec<Level>,
}

impl Sprite {
    fn new(full: &Level) -> Self {
        let mut levels = vec![trimmed(full)];
        while let Some(last) = levels.last()
            && last.height > 8
            && last.width > 8
        {
            levels.push(last.halved());
        }
        Self { levels }
    }

    /// Width over height.
    pub(crate) fn aspect(&self) -> f32 {
        self.levels[0].width as f32 / self.levels[0].height as f32
    }

    /// The smallest copy that still has a pixel for each of `rows` samples.
    pub(crate) fn level(&self, rows: f32) -> &Level {
        let full = &self.levels[0];
        self.levels.iter().rev().find(|l| l.height as f32 >= 0.9 * rows).unwrap_or(full)
    }
}

/// Cuts away rows and columns in which nothing can be seen.
fn trimmed(full: &Level) -> Level {
    let seen = |x: usize, y: usize| full.at(x, y)[3] > 24;
    let rows: Vec<usize> =
        (0..full.height).filter(|&y| (0..full.width).any(|x| seen(x, y))).collect();
    let columns: Vec<usize> =
        (0..full.width).filter(|&x| (0..full.height).any(|y| seen(x, y))).collect();
    let (Some(&top), Some(&bottom), Some(&left), Some(&right)) =
        (rows.first(), rows.last(), columns.first(), columns.last())
    else {
        return Level::from_fn(1, 1, |_, _| [0; 4]);
    };
    Level::from_fn(right - left + 1, bottom - top + 1, |x, y| full.at(x + left, y + top))
}

/// The pictures of a vocabulary.
#[derive(Debug)]
pub(crate) struct Sprites {
    /// One per emoji, one per tint of a shape.
    pictures: Vec<Vec<Sprite>>,
}

impl Sprites {
    pub(crate) fn load(vocabulary: &Vocabulary) -> Result<Self, SynthError> {
        let path = font_path()?;
        let bytes = fs_err::read(&path)?;
        let unusable = |why: String| SynthError::FontUnusable { path: path.clone(), why };
        let face =
            ttf_parser::Face::parse(&bytes, 0).map_err(|error| unusable(error.to_string()))?;
        let pictures = vocabulary
            .things()
            .par_iter()
            .map(|thing| match thing.look {
                Look::Emoji(code) => Ok(vec![emoji(&path, &face, code, &thing.name)?]),
                Look::Shape(shape) => {
                    Ok(Tint::ALL.iter().map(|tint| drawn(shape, tint.rgb())).collect())
                }
            })
            .collect::<Result<_, SynthError>>()?;
        Ok(Self { pictures })
    }

    pub(crate) fn get(&self, thing: ThingId, tint: Option<Tint>) -> &Sprite {
        let tints = &self.pictures[thing];
        &tints[tint.map_or(0, |tint| tint as usize).min(tints.len() - 1)]
    }
}

fn font_path() -> Result<PathBuf, SynthError> {
    if let Some(chosen) = std::env::var_os("FOOTAGE_EMOJI_FONT") {
        return Ok(PathBuf::from(chosen));
    }
    let mut roots =
        vec![PathBuf::from("/usr/share/fonts"), PathBuf::from("/usr/local/share/fonts")];
    if let Some(home) = std::env::var_os("HOME") {
        roots.push(Path::new(&home).join(".local/share/fonts"));
        roots.push(Path::new(&home).join(".fonts"));
    }
    let folders =
        ["truetype/noto", "noto", "google-noto-emoji", "google-noto-color-emoji-fonts", ""];
    roots
        .iter()
        .flat_map(|root| folders.iter().map(|folder| root.join(folder).join(FONT)))
        .find(|path| path.is_file())
        .ok_or(SynthError::FontMissing { searched: roots })
}

fn emoji(
    path: &Path,
    face: &ttf_parser::Face<'_>,
    code: char,
    name: &str,
) -> Result<Sprite, SynthError> {
    let png = face
        .glyph_index(code)
        .and_then(|glyph| face.glyph_raster_image(glyph, STRIKE))
        .filter(|bitmap| bitmap.format == ttf_parser::RasterImageFormat::PNG)
        .ok_or_else(|| SynthError::PictureMissing {
            path: path.to_owned(),
            name: name.to_owned(),
            codepoint: u32::from(code),
        })?;
    let picture = image::load_from_memory_with_format(png.data, image::ImageFormat::Png)
        .map_err(|source| SynthError::PictureBroken {
            path: path.to_owned(),
            name: name.to_owned(),
            source,
        })?
        .into_rgba8();
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    Ok(Sprite::new(&Level::from_fn(width, height, |x, y| {
        let [r, g, b, a] = picture.get_pixel(x as u32, y as u32).0;
        let by_alpha = |value: u8| ((u32::from(value) * u32::from(a) + 127) / 255) as u8;
        [by_alpha(r), by_alpha(g), by_alpha(b), a]
    })))
}

/// A figure in one colour, lit from the upper left, with a dark (or, if dark itself, light) rim.
fn drawn(shape: Shape, rgb: [f32; 3]) -> Sprite {
    const SAMPLES: usize = 4;
    let is_dark = rgb.iter().sum::<f32>() < 150.0;
    let rim = if is_dark { [150.0; 3] } else { rgb.map(|value| value * 0.45) };
    Sprite::new(&Level::from_fn(DRAWN, DRAWN, |x, y| {
        let mut sum = [0.0_f32; 4];
        for sample in 0..SAMPLES * SAMPLES {
            let offset = |k: usize| (k as f32 + 0.5) / SAMPLES as f32;
            let u = (x as f32 + offset(sample % SAMPLES)) / DRAWN as f32 * 2.0 - 1.0;
            let v = (y as f32 + offset(sample / SAMPLES)) / DRAWN as f32 * 2.0 - 1.0;
            let depth = inside(shape, u, v);
            if depth <= 0.0 {
                continue;
            }
            let light = 1.0 - 0.16 * (u + v);
            let pixel = if depth < 0.07 { rim } else { rgb.map(|value| value * light) };
            for (total, value) in sum.iter_mut().zip(pixel) {
                *total += value.min(255.0);
            }
            sum[3] += 255.0;
        }
        sum.map(|total| (total / (SAMPLES * SAMPLES) as f32).round() as u8)
    }))
}

/// How deep (u, v) in [-1, 1]^2 lies in the figure: positive inside, about the distance to the rim.
fn inside(shape: Shape, u: f32, v: f32) -> f32 {
    match shape {
        Shape::Ball => 0.97 - u.hypot(v),
        Shape::Square => 0.88 - u.abs().max(v.abs()),
        Shape::Triangle => (0.85 - v).min((v + 0.95 - 1.9 * u.abs()) / 2.15),
        Shape::Diamond => (0.97 - 1.25 * u.abs() - v.abs()) / 1.6,
        Shape::Star => {
            let turn = std::f32::consts::TAU / 5.0;
            let angle = u.atan2(-v).rem_euclid(turn);
            let angle = angle.min(turn - angle);
            let (across, along) = (u.hypot(v) * angle.sin(), u.hypot(v) * angle.cos());
            // The edge from the tip (0, 1) to the notch at half a turn, radius 0.45.
            let (nx, ny) = (0.45 * (turn / 2.0).sin(), 0.45 * (turn / 2.0).cos());
            ((1.0 - along) * nx - across * (1.0 - ny)) / nx.hypot(1.0 - ny)
        }
        Shape::Heart => {
            let (x, y) = (1.18 * u, -1.18 * v + 0.12);
            let lobe = x * x + y * y - 1.0;
            let curve = lobe.powi(3) - x * x * y.powi(3);
            // The curve's value over its slope is about the distance to it.
            let slope = (6.0 * x * lobe * lobe - 2.0 * x * y.powi(3))
                .hypot(6.0 * y * lobe * lobe - 3.0 * x * x * y * y);
            -curve / (1.18 * slope).max(1e-3)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_thing_has_a_picture_with_something_in_it() {
        let vocabulary = Vocabulary::load().unwrap();
        let sprites = Sprites::load(&vocabulary).unwrap();
        for (id, thing) in vocabulary.things().iter().enumerate() {
            let full = &sprites.get(id, None).levels[0];
            let seen = (0..full.height)
                .flat_map(|y| (0..full.width).map(move |x| (x, y)))
                .filter(|&(x, y)| full.at(x, y)[3] > 128)
                .count();
            assert!(
                seen > 800,
                "{}: only {seen} pixels of {}x{}",
                thing.name,
                full.width,
                full.height
            );
        }
    }

    #[test]
    fn a_smaller_copy_keeps_the_mean() {
        let full = Level::from_fn(8, 8, |x, y| [(x * 16) as u8, (y * 16) as u8, 40, 255]);
        let half = full.halved();
        assert_eq!((half.width, half.height), (4, 4));
        assert_eq!(half.at(0, 0), [8, 8, 40, 255]);
    }
}
