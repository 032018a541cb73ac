//! Convolution of each channel by itself.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::iter::{IndexedParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

/// A convolution of every channel with a square kernel of its own, with zeros around the picture.
#[derive(Clone, Debug)]
pub struct Depthwise {
    /// `[k k, C]`: row by row, as the maps' channels lie.
    weight: Tensor,
    /// `[C]`.
    bias: Tensor,
    kernel: usize,
    stride: usize,
}

impl Depthwise {
    /// Of a kernel `[C, 1, k, k]`, k odd, and a bias `[C]`.
    pub fn new(weight: &Tensor, bias: &Tensor, stride: usize) -> Result<Self> {
        let (channels, _, kernel, _) = weight.dims4()?;
        let weight = weight.reshape((channels, kernel * kernel))?.t()?.contiguous()?;
        Ok(Self { weight, bias: bias.contiguous()?, kernel, stride })
    }

    /// `M H W C -> M H/stride W/stride C`, sides rounded up.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor> {
        if xs.device().is_cpu() && xs.dtype() == candle_core::DType::F32 {
            let taps = Taps { kernel: self.kernel, stride: self.stride };
            return xs.contiguous()?.apply_op3_no_bwd(&self.weight, &self.bias, &taps);
        }
        self.by_tensors(xs)
    }

    /// The same as a sum of shifted maps: on any device.
    fn by_tensors(&self, xs: &Tensor) -> Result<Tensor> {
        let (m, height, width, channels) = xs.dims4()?;
        let (k, s) = (self.kernel, self.stride);
        let (to_h, to_w) = (height.div_ceil(s), width.div_ceil(s));
        let around = k / 2;
        // Enough beyond the end that every shift has whole strides.
        let (after_h, after_w) = (to_h * s + k - around - height, to_w * s + k - around - width);
        let padded = xs.pad_with_zeros(1, around, after_h)?.pad_with_zeros(2, around, after_w)?;
        let mut sum = self.bias.broadcast_as((m, to_h, to_w, channels))?.contiguous()?;
        for y in 0..k {
            let rows = padded.narrow(1, y, to_h * s)?.contiguous()?;
            let (_, _, across, _) = rows.dims4()?;
            let rows = rows.reshape((m, to_h, s, across, channels))?.narrow(2, 0, 1)?;
            let rows = rows.squeeze(2)?.contiguous()?; // M h' W' C
            for x in 0..k {
                let shifted = rows.narrow(2, x, to_w * s)?.contiguous()?;
                let shifted = shifted.reshape((m, to_h, to_w, s, channels))?;
                let shifted = shifted.narrow(3, 0, 1)?.squeeze(3)?;
                let weight = self.weight.narrow(0, y * k + x, 1)?.squeeze(0)?;
                sum = (sum + shifted.broadcast_mul(&weight)?)?;
            }
        }
        Ok(sum)
    }
}

/// The sizes of a convolution, for the processor.
struct Taps {
    kernel: usize,
    stride: usize,
}

impl CustomOp3 for Taps {
    fn name(&self) -> &'static str {
        "depthwise"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xs_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (m, height, width, channels) = xs_layout.shape().dims4()?;
        let xs = floats(xs, xs_layout)?;
        let (weight, bias) = (floats(weight, weight_layout)?, floats(bias, bias_layout)?);
        let &Self { kernel, stride } = self;
        let (to_h, to_w) = (height.div_ceil(stride), width.div_ceil(stride));
        let mut out = vec![0f32; m * to_h * to_w * channels];
        out.par_chunks_mut((to_w * channels).max(1)).enumerate().for_each(|(row, out)| {
            let (frame, y) = (row / to_h, row % to_h);
            let picture = &xs[frame * height * width * channels..][..height * width * channels];
            for (x, out) in out.chunks_exact_mut(channels).enumerate() {
                out.copy_from_slice(bias);
                for ky in inside(y * stride, kernel, height) {
                    let from_y = y * stride + ky - kernel / 2;
                    for kx in inside(x * stride, kernel, width) {
                        let from_x = x * stride + kx - kernel / 2;
                        let seen = &picture[(from_y * width + from_x) * channels..][..channels];
                        let taps = &weight[(ky * kernel + kx) * channels..][..channels];
                        for ((out, seen), tap) in out.iter_mut().zip(seen).zip(taps) {
                            *out += seen * tap;
                        }
                    }
                }
            }
        });
        Ok((CpuStorage::F32(out), Shape::from((m, to_h, to_w, channels))))
    }
}

/// The taps of a kernel around `at` that lie within a side of `len`.
fn inside(at: usize, kernel: usize, len: usize) -> std::ops::Range<usize> {
    let around = kernel / 2;
    around.saturating_sub(at)..kernel.min((len + around).saturating_sub(at))
}

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((from, to))) => Ok(&values[from..to]),
        _ => candle_core::bail!("a depthwise convolution takes contiguous f32"),
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn the_processor_s_loop_the_sum_of_shifts_and_candle_s_convolution_agree() -> Result<()> {
        let device = Device::Cpu;
        for (kernel, stride, height, width) in
            [(3, 1, 5, 7), (3, 2, 6, 8), (7, 1, 4, 9), (7, 2, 8, 5), (1, 1, 3, 3), (3, 2, 7, 7)]
        {
            let channels = 6;
            let xs = Tensor::randn(0f32, 1.0, (2, channels, height, width), &device)?;
            let weight = Tensor::randn(0f32, 1.0, (channels, 1, kernel, kernel), &device)?;
            let bias = Tensor::randn(0f32, 1.0, channels, &device)?;
            let expected = xs
                .conv2d(&weight, kernel / 2, stride, 1, channels)?
                .broadcast_add(&bias.reshape((1, channels, 1, 1))?)?
                .permute((0, 2, 3, 1))?;
            let ours = Depthwise::new(&weight, &bias, stride)?;
            let xs = xs.permute((0, 2, 3, 1))?;
            for computed in [ours.forward(&xs)?, ours.by_tensors(&xs)?] {
                assert_eq!(computed.dims(), expected.dims());
                let off = (computed - &expected)?.abs()?.flatten_all()?.max(0)?;
                assert!(off.to_scalar::<f32>()? < 1e-5, "{kernel} {stride} {height} {width}");
            }
        }
        Ok(())
    }
}
