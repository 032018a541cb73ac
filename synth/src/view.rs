//! How the world's picture, 4:3, falls onto a raster of pixels.

/// Width over height of the world's picture.
pub(crate) const ASPECT: f32 = 4.0 / 3.0;

/// What happens where the raster is not 4:3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Scaled to cover the raster, the rest cut off evenly: what CLIP's preprocessing (short side,
    /// then centre crop) makes of a 4:3 frame.
    Crop,
    /// Squeezed to fill the raster: all of the frame is seen.
    Stretch,
}

/// A raster to render onto.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Pixels; at least 8.
    pub width: usize,
    /// Pixels; at least 8.
    pub height: usize,
    /// What happens where it is not 4:3.
    pub fit: Fit,
}

impl View {
    /// A frame of the synthetic camera, 320x240.
    pub const CAMERA: Self = Self::new(320, 240);

    /// A raster that crops where it is not 4:3.
    pub const fn new(width: usize, height: usize) -> Self {
        Self { width, height, fit: Fit::Crop }
    }

    /// A square raster of `side` pixels.
    pub const fn square(side: usize, fit: Fit) -> Self {
        Self { width: side, height: side, fit }
    }

    /// Bytes of an RGB picture of this size.
    pub(crate) fn rgb_len(self) -> usize {
        self.width * self.height * 3
    }

    /// Pixels per unit of x and of y.
    pub(crate) fn scale(self) -> (f32, f32) {
        let (width, height) = (self.width as f32, self.height as f32);
        match self.fit {
            Fit::Stretch => (width, height),
            Fit::Crop => {
                let rows = height.max(width / ASPECT);
                (rows * ASPECT, rows)
            }
        }
    }

    /// From the frame (x, y in [0, 1]) to pixels.
    pub(crate) fn project(self, x: f32, y: f32) -> (f32, f32) {
        let (sx, sy) = self.scale();
        ((x - 0.5) * sx + self.width as f32 / 2.0, (y - 0.5) * sy + self.height as f32 / 2.0)
    }

    /// From pixels to the frame.
    pub(crate) fn unproject(self, px: f32, py: f32) -> (f32, f32) {
        let (sx, sy) = self.scale();
        ((px - self.width as f32 / 2.0) / sx + 0.5, (py - self.height as f32 / 2.0) / sy + 0.5)
    }
}

/// A rectangle in a picture, its sides fractions of the picture's: x to the right, y down.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(into = "[f32; 4]", from = "[f32; 4]")]
pub struct Bounds {
    /// Left edge.
    pub x0: f32,
    /// Upper edge.
    pub y0: f32,
    /// Right edge.
    pub x1: f32,
    /// Lower edge.
    pub y1: f32,
}

impl From<[f32; 4]> for Bounds {
    fn from([x0, y0, x1, y1]: [f32; 4]) -> Self {
        Self { x0, y0, x1, y1 }
    }
}

impl From<Bounds> for [f32; 4] {
    fn from(b: Bounds) -> Self {
        // Four digits: far below a pixel, and the same text on every machine.
        [b.x0, b.y0, b.x1, b.y1].map(|value| (value * 1e4).round() / 1e4)
    }
}

impl Bounds {
    /// Area as a fraction of the picture's.
    pub fn area(self) -> f32 {
        (self.x1 - self.x0).max(0.0) * (self.y1 - self.y0).max(0.0)
    }

    /// The part that lies in the picture; without area when none does.
    #[must_use]
    pub fn clipped(self) -> Self {
        Self {
            x0: self.x0.clamp(0.0, 1.0),
            y0: self.y0.clamp(0.0, 1.0),
            x1: self.x1.clamp(0.0, 1.0),
            y1: self.y1.clamp(0.0, 1.0),
        }
    }

    /// Middle: (x, y).
    pub fn centre(self) -> (f32, f32) {
        (f32::midpoint(self.x0, self.x1), f32::midpoint(self.y0, self.y1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cropped_square_sees_the_middle_three_quarters() {
        let view = View::square(64, Fit::Crop);
        let close =
            |a: (f32, f32), b: (f32, f32)| (a.0 - b.0).abs() < 1e-4 && (a.1 - b.1).abs() < 1e-4;
        assert!(close(view.project(0.125, 0.0), (0.0, 0.0)));
        assert!(close(view.project(0.875, 1.0), (64.0, 64.0)));
        assert!(close(view.unproject(64.0, 64.0), (0.875, 1.0)));
    }

    #[test]
    fn the_camera_sees_the_whole_frame_either_way() {
        for fit in [Fit::Crop, Fit::Stretch] {
            let view = View { fit, ..View::CAMERA };
            let (x, y) = view.project(1.0, 1.0);
            assert!((x - 320.0).abs() < 1e-3 && (y - 240.0).abs() < 1e-3, "{x} {y}");
        }
    }
}
