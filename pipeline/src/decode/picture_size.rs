//! How large a picture is kept.

use std::num::NonZeroU32;

/// Longer than this many times its short side, a picture is kept smaller instead: no shape may make
/// it grow without bound.
const MAX_ASPECT: u32 = 4;

/// The size to which decoded pictures are scaled, before anything is cut from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PictureSize {
    /// Exactly this, whatever the picture's shape.
    Exactly {
        /// Pixels.
        width: NonZeroU32,
        /// Pixels.
        height: NonZeroU32,
    },
    /// The smallest size of the picture's own shape that has these sides; never larger than the
    /// picture, and never longer than four times its short side asks for.
    Covering {
        /// Pixels of the shorter side: what the model looks at.
        short_side: NonZeroU32,
        /// Pixels of the longer side: what a thumbnail needs.
        long_side: NonZeroU32,
    },
}

/// Pixels, with what a stream says of their shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    /// Width of a pixel divided by its height, as a fraction.
    pub(super) pixel_aspect: (u32, u32),
}

impl PictureSize {
    /// Width and height to which `picture` is scaled, in square pixels; each at least 1.
    pub(super) fn of(self, picture: Picture) -> (u32, u32) {
        let (short_side, long_side) = match self {
            Self::Exactly { width, height } => return (width.get(), height.get()),
            Self::Covering { short_side, long_side } => (short_side.get(), long_side.get()),
        };
        let (width, height) = picture.shown();
        let (short, long) = (width.min(height), width.max(height));
        let covering = (f64::from(short_side) / short).max(f64::from(long_side) / long).min(1.0);
        let bound = f64::from(MAX_ASPECT * short_side.max(long_side / 2)) / long;
        let scale = covering.min(bound);
        let scaled = |side: f64| ((side * scale).round() as u32).max(1);
        (scaled(width), scaled(height))
    }
}

impl Picture {
    /// Its size in square pixels. An odd pixel shape stretches the width or the height, so that no
    /// detail is thrown away before scaling; an absurd one is not believed.
    fn shown(&self) -> (f64, f64) {
        let (width, height) = (f64::from(self.width.max(1)), f64::from(self.height.max(1)));
        let aspect = f64::from(self.pixel_aspect.0) / f64::from(self.pixel_aspect.1);
        if !(0.1..=10.0).contains(&aspect) {
            return (width, height);
        }
        if aspect >= 1.0 { (width * aspect, height) } else { (width, height / aspect) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn side(pixels: u32) -> NonZeroU32 {
        NonZeroU32::new(pixels).unwrap()
    }

    fn covering(short: u32, long: u32, width: u32, height: u32, aspect: (u32, u32)) -> (u32, u32) {
        PictureSize::Covering { short_side: side(short), long_side: side(long) }.of(Picture {
            width,
            height,
            pixel_aspect: aspect,
        })
    }

    #[test]
    fn a_picture_covers_what_the_model_and_the_thumbnail_need() {
        assert_eq!(covering(224, 320, 1920, 1080, (1, 1)), (398, 224));
        assert_eq!(covering(64, 320, 1920, 1080, (1, 1)), (320, 180));
        assert_eq!(covering(64, 320, 1080, 1920, (1, 1)), (180, 320));
    }

    #[test]
    fn small_pictures_are_not_blown_up() {
        assert_eq!(covering(224, 320, 16, 16, (1, 1)), (16, 16));
    }

    #[test]
    fn pixels_that_are_not_square_are_made_so() {
        assert_eq!(covering(224, 320, 720, 576, (64, 45)), (398, 224));
        assert_eq!(covering(224, 320, 720, 576, (0, 1)), covering(224, 320, 720, 576, (1, 0)));
    }

    proptest! {
        #[test]
        fn no_shape_makes_a_picture_large(
            short in 1u32..512, long in 1u32..512, width in 1u32..70_000, height in 1u32..70_000,
            num in 0u32..100_000, den in 0u32..100_000,
        ) {
            let (w, h) = covering(short, long, width, height, (num, den));
            prop_assert!(w >= 1 && h >= 1);
            let bound = MAX_ASPECT * short.max(long);
            prop_assert!(w <= bound && h <= bound, "{w}x{h}");
        }
    }
}
