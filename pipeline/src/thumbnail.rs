//! A clip's picture for people.

use std::io::Cursor;

use footage_clip::RgbFrame;
use image::codecs::jpeg::JpegEncoder;
use image::imageops::{self, FilterType};
use image::{ExtendedColorType, RgbImage};

/// Wide enough to recognise somebody in a list of results.
const MAX_WIDTH: u32 = 320;
/// For pictures of extreme shape.
const MAX_HEIGHT: u32 = 640;
const QUALITY: u8 = 75;

/// The frame as a JPEG of at most 320 by 640 pixels.
pub(crate) fn jpeg(frame: &RgbFrame) -> Result<Vec<u8>, image::ImageError> {
    let (width, height) = (frame.width(), frame.height());
    let scale =
        (f64::from(MAX_WIDTH) / f64::from(width)).min(f64::from(MAX_HEIGHT) / f64::from(height));
    if scale >= 1.0 {
        return encoded(frame.data(), width, height);
    }
    let scaled = |side: u32| ((f64::from(side) * scale).round() as u32).max(1);
    let (small_width, small_height) = (scaled(width), scaled(height));
    // Its constructor fails only on too few bytes, and a frame has exactly those of its size.
    let Some(picture) = RgbImage::from_raw(width, height, frame.data().to_vec()) else {
        return encoded(frame.data(), width, height);
    };
    let small = imageops::resize(&picture, small_width, small_height, FilterType::Triangle);
    encoded(small.as_raw(), small_width, small_height)
}

fn encoded(data: &[u8], width: u32, height: u32) -> Result<Vec<u8>, image::ImageError> {
    let mut jpeg = Cursor::new(Vec::new());
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY).encode(
        data,
        width,
        height,
        ExtendedColorType::Rgb8,
    )?;
    Ok(jpeg.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of(width: u32, height: u32) -> (u32, u32) {
        let frame = RgbFrame::try_new(width, height, vec![128; (width * height * 3) as usize]);
        let jpeg = jpeg(&frame.unwrap()).unwrap();
        let read = image::load_from_memory(&jpeg).unwrap();
        (read.width(), read.height())
    }

    #[test]
    fn a_thumbnail_keeps_its_shape_within_bounds() {
        assert_eq!(size_of(320, 180), (320, 180));
        assert_eq!(size_of(398, 224), (320, 180));
        assert_eq!(size_of(180, 320), (180, 320));
        assert_eq!(size_of(64, 1280), (32, 640));
        assert_eq!(size_of(896, 1), (320, 1));
    }
}
