//! One sampled picture, owned.

use std::fmt;
use std::sync::Arc;

/// Packed 8-bit RGB, rows top to bottom, `height * width * 3` bytes, shared by reference count.
#[derive(Clone, PartialEq, Eq)]
pub struct RgbFrame {
    width: u32,
    height: u32,
    data: Arc<[u8]>,
}

/// The bytes given are not the picture announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("frame of {width}x{height} needs {} bytes of RGB, got {got}", u64::from(*width) * u64::from(*height) * 3)]
pub struct FrameSizeError {
    width: u32,
    height: u32,
    got: usize,
}

impl RgbFrame {
    /// Takes packed RGB bytes; fails where their number does not fit the size, or the size is zero.
    pub fn try_new(
        width: u32,
        height: u32,
        data: impl Into<Arc<[u8]>>,
    ) -> Result<Self, FrameSizeError> {
        let data = data.into();
        let needed = u64::from(width) * u64::from(height) * 3;
        if needed == 0 || needed != data.len() as u64 {
            return Err(FrameSizeError { width, height, got: data.len() });
        }
        Ok(Self { width, height, data })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The bytes, `[height, width, 3]`.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

impl fmt::Debug for RgbFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RgbFrame({}x{})", self.width, self.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_fit_the_size() {
        assert!(RgbFrame::try_new(2, 1, vec![0; 6]).is_ok());
        assert!(RgbFrame::try_new(2, 1, vec![0; 5]).is_err());
        assert!(RgbFrame::try_new(0, 1, vec![]).is_err());
        assert!(RgbFrame::try_new(u32::MAX, u32::MAX, vec![0; 3]).is_err());
    }
}
