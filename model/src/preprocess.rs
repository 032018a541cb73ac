//! From a frame's bytes to the tower's input.
//!
//! The reference scales with `OpenCV` on 8-bit RGB, cuts the middle and normalises with constants in
//! units of 0 to 255 (BT-ADAPTER.md 6). That is not what Hugging Face's processor does (bicubic,
//! anti-aliased): on a picture the two differ by up to 2 in normalised units.

use footage_clip::RgbFrame;

use crate::config::{Fit, PreprocessConfig, Resize};
use crate::resize::{Window, resize_window};

/// Prepares frames for a tower.
#[derive(Clone, Debug)]
pub struct Preprocess {
    config: PreprocessConfig,
    side: usize,
    /// Normalised value of each byte, for red, green and blue.
    normalised: Box<[[f32; 256]; 3]>,
}

impl Preprocess {
    /// For a tower whose input is `side` pixels square.
    pub fn new(config: PreprocessConfig, side: usize) -> Self {
        let mut normalised = Box::new([[0.0; 256]; 3]);
        for (channel, table) in normalised.iter_mut().enumerate() {
            for (byte, value) in table.iter_mut().enumerate() {
                *value = (byte as f32 - config.mean[channel]) / config.std[channel];
            }
        }
        Self { config, side, normalised }
    }

    /// Side of the square that [`Self::apply`] gives, in pixels.
    pub fn side(&self) -> usize {
        self.side
    }

    /// Mean and standard deviation of red, green and blue, 0 to 255.
    pub(crate) fn constants(&self) -> ([f32; 3], [f32; 3]) {
        (self.config.mean, self.config.std)
    }

    /// Values of one frame: `3 * side * side`.
    pub fn len(&self) -> usize {
        3 * self.side * self.side
    }

    /// Never: a side is at least one pixel.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the normalised pixels of `frame`, `[3, side, side]`, to `out`.
    ///
    /// # Panics
    /// When `out` has not [`Self::len`] values.
    pub fn apply(&self, frame: &RgbFrame, out: &mut [f32]) {
        assert_eq!(out.len(), self.len(), "room for one frame");
        let plane = self.side * self.side;
        let pixels = self.fit(frame);
        let (red, rest) = out.split_at_mut(plane);
        let (green, blue) = rest.split_at_mut(plane);
        let [red_of, green_of, blue_of] = &*self.normalised;
        for (at, pixel) in pixels.as_chunks::<3>().0.iter().enumerate() {
            red[at] = red_of[pixel[0] as usize];
            green[at] = green_of[pixel[1] as usize];
            blue[at] = blue_of[pixel[2] as usize];
        }
    }

    /// The square picture before normalisation, `[side, side, 3]`.
    pub fn fit(&self, frame: &RgbFrame) -> Vec<u8> {
        let (width, height) = (frame.width() as usize, frame.height() as usize);
        let side = self.side;
        let whole = |width, height| Window {
            width,
            height,
            left: 0,
            top: 0,
            cut_width: width,
            cut_height: height,
        };
        match self.config.fit {
            Fit::Stretch => resize_window(frame, &whole(side, side), self.config.resize),
            // A tile is a square already, but for rounding.
            Fit::Crop | Fit::Tile => {
                let short = self.config.short_side.unwrap_or(side);
                let (width, height) = match self.config.resize {
                    Resize::Bicubic | Resize::PillowBilinear => scaled_down(width, height, short),
                    Resize::Bilinear | Resize::Area => {
                        scaled(width, height, short as f64 / width.min(height) as f64)
                    }
                };
                let window = Window {
                    width,
                    height,
                    left: before(width - side, self.config.resize),
                    top: before(height - side, self.config.resize),
                    cut_width: side,
                    cut_height: side,
                };
                resize_window(frame, &window, self.config.resize)
            }
            Fit::Letterbox => {
                let (width, height) = scaled(width, height, side as f64 / width.max(height) as f64);
                let inner = resize_window(frame, &whole(width, height), self.config.resize);
                let fill = self.config.mean.map(|mean| mean.round().clamp(0.0, 255.0) as u8);
                let mut square = fill.repeat(side * side);
                let (left, top) = ((side - width) / 2, (side - height) / 2);
                for (row, pixels) in inner.chunks_exact(3 * width).enumerate() {
                    let at = 3 * ((top + row) * side + left);
                    square[at..at + 3 * width].copy_from_slice(pixels);
                }
                square
            }
        }
    }
}

/// Both sides times `scale`, halves rounded up, as the reference does; at least one pixel.
fn scaled(width: usize, height: usize, scale: f64) -> (usize, usize) {
    let side = |length: usize| ((length as f64 * scale + 0.5) as usize).max(1);
    (side(width), side(height))
}

/// The short side to `short`, the long side in proportion and rounded down, as the hub's processor
/// does.
fn scaled_down(width: usize, height: usize, short: usize) -> (usize, usize) {
    if width <= height { (short, short * height / width) } else { (short * width / height, short) }
}

/// How much of what is cut off lies before the middle: half of it, rounded down; as torchvision
/// rounds, to even numbers, where the filter is its.
fn before(cut_off: usize, resize: Resize) -> usize {
    match resize {
        Resize::PillowBilinear => (cut_off as f64 / 2.0).round_ties_even() as usize,
        Resize::Bilinear | Resize::Area | Resize::Bicubic => cut_off / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preprocess(fit: Fit, side: usize) -> Preprocess {
        let config = PreprocessConfig {
            fit,
            short_side: None,
            resize: Resize::Bilinear,
            mean: [100.0, 110.0, 120.0],
            std: [50.0, 50.0, 50.0],
        };
        Preprocess::new(config, side)
    }

    /// Red grows to the right, green downward.
    fn ramp(width: u32, height: u32) -> RgbFrame {
        let pixels: Vec<u8> =
            (0..height).flat_map(|y| (0..width).flat_map(move |x| [x as u8, y as u8, 7])).collect();
        RgbFrame::try_new(width, height, pixels).unwrap()
    }

    #[test]
    fn a_frame_of_the_right_size_is_kept_to_the_byte() {
        let frame = ramp(16, 16);
        for fit in [Fit::Crop, Fit::Stretch, Fit::Letterbox] {
            assert_eq!(preprocess(fit, 16).fit(&frame), frame.data(), "{fit:?}");
        }
    }

    #[test]
    fn cropping_takes_the_middle_and_letterboxing_takes_all() {
        let wide = ramp(48, 16);
        let cropped = preprocess(Fit::Crop, 16).fit(&wide);
        assert_eq!((cropped[0], cropped[3 * 15]), (16, 31));
        let boxed = preprocess(Fit::Letterbox, 48).fit(&wide);
        assert_eq!(boxed[..3], [100, 110, 120]);
        assert_eq!(boxed[3 * 48 * 16..3 * 48 * 17], wide.data()[..3 * 48]);
    }

    #[test]
    fn bytes_are_normalised_by_channel_into_planes() {
        let frame = RgbFrame::try_new(1, 1, vec![150, 110, 20]).unwrap();
        let mut out = [0.0; 3];
        preprocess(Fit::Stretch, 1).apply(&frame, &mut out);
        assert!(out.iter().zip([1.0, 0.0, -2.0]).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn pictures_of_any_shape_become_the_square() {
        for (width, height) in [(1, 1), (1, 500), (500, 1), (3, 2), (1920, 1080), (15, 17)] {
            for fit in [Fit::Crop, Fit::Stretch, Fit::Letterbox] {
                let pixels = preprocess(fit, 16).fit(&ramp(width, height));
                assert_eq!(pixels.len(), 3 * 16 * 16, "{width}x{height} {fit:?}");
            }
        }
    }
}
