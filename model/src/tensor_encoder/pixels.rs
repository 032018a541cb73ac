//! From bytes to the tower's input, on the device.

use candle_core::{DType, Device, Tensor};
use footage_clip::RgbFrame;

use crate::ModelError;
use crate::preprocess::Preprocess;

/// Uploads frames as bytes, a quarter of what their values would take, and normalises them there.
///
/// Scaling stays on the host: frames that come from the decoder have the right size already, and only
/// the cut is copied.
#[derive(Clone, Debug)]
pub(crate) struct DevicePixels {
    preprocess: Preprocess,
    /// Of red, green and blue, 0 to 255, `[3]` of `f32`.
    mean: Tensor,
    std: Tensor,
    dtype: DType,
}

impl DevicePixels {
    /// For a tower on `device` that takes pixels of `dtype`.
    pub(crate) fn new(
        preprocess: Preprocess,
        device: &Device,
        dtype: DType,
    ) -> Result<Self, ModelError> {
        let (mean, std) = preprocess.constants();
        let (mean, std) = (Tensor::new(&mean, device)?, Tensor::new(&std, device)?);
        Ok(Self { preprocess, mean, std, dtype })
    }

    /// Where the input lies.
    pub(crate) fn device(&self) -> &Device {
        self.mean.device()
    }

    /// The input of the tower for `frames`, `[size, 3, image, image]`; the last frame again where there
    /// are fewer than `size`.
    pub(crate) fn of(&self, frames: &[RgbFrame], size: usize) -> Result<Tensor, ModelError> {
        let side = self.preprocess.side();
        let mut bytes = Vec::with_capacity(size * self.preprocess.len());
        for frame in frames {
            bytes.extend_from_slice(&self.preprocess.fit(frame));
        }
        let last = bytes.len().saturating_sub(self.preprocess.len())..bytes.len();
        for _ in frames.len()..size {
            bytes.extend_from_within(last.clone());
        }
        let bytes = Tensor::from_vec(bytes, (size, side, side, 3), self.mean.device())?;
        // The same two operations in the same type as the host's table: the same values.
        let values = bytes.to_dtype(DType::F32)?.broadcast_sub(&self.mean)?;
        let values = values.broadcast_div(&self.std)?.to_dtype(self.dtype)?;
        Ok(values.permute((0, 3, 1, 2))?.contiguous()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Fit, PreprocessConfig, Resize};

    #[test]
    fn pixels_are_those_of_the_host_to_the_bit_and_filled_up_with_the_last() {
        let noise = |seed: usize, count: usize| -> Vec<u8> {
            (0..count).map(|at| (((at + seed) * 2_654_435_761) >> 13) as u8).collect()
        };
        let frames: Vec<RgbFrame> = [(16, 16), (40, 23), (9, 31)]
            .into_iter()
            .enumerate()
            .map(|(seed, (width, height))| {
                let pixels = noise(seed, 3 * (width * height) as usize);
                RgbFrame::try_new(width, height, pixels).unwrap()
            })
            .collect();
        for (fit, resize) in [
            (Fit::Crop, Resize::Bicubic),
            (Fit::Crop, Resize::Bilinear),
            (Fit::Stretch, Resize::Area),
            (Fit::Letterbox, Resize::Bilinear),
        ] {
            let config = PreprocessConfig {
                fit,
                short_side: None,
                resize,
                mean: [122.771, 116.746, 104.093],
                std: [68.5, 66.632, 70.323],
            };
            let preprocess = Preprocess::new(config, 16);
            let device = DevicePixels::new(preprocess.clone(), &Device::Cpu, DType::F32).unwrap();
            let ours = device.of(&frames, 4).unwrap();
            assert_eq!(ours.dims(), [4, 3, 16, 16]);
            let ours = ours.flatten_from(1).unwrap().to_vec2::<f32>().unwrap();
            for (frame, ours) in frames.iter().zip(&ours) {
                let mut host = vec![0.0; preprocess.len()];
                preprocess.apply(frame, &mut host);
                assert_eq!(*ours, host, "{fit:?}");
            }
            assert_eq!(ours[3], ours[2]);
        }
    }
}
