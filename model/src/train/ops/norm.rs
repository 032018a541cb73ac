//! Layer norm and the activation.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{ROWS, floats, simd, total};

struct LayerNorm {
    eps: f32,
    trains: bool,
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer-norm"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        ws: &CpuStorage,
        wl: &Layout,
        bs: &CpuStorage,
        bl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, b) = (floats(xs, xl)?, floats(ws, wl)?, floats(bs, bl)?);
        let width = w.len();
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                simd::layer_norm(x, w, b, self.eps, y);
            }
        });
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let width = w.dims1()?;
        let back = LayerNormBack { eps: self.eps };
        // One flat result, [dx, dw, db], since an operation has one output.
        let all = x.apply_op3_no_bwd(w, &dy.contiguous()?, &back)?;
        let n = x.elem_count();
        let dx = all.narrow(0, 0, n)?.reshape(x.shape())?;
        if !self.trains {
            return Ok((Some(dx), None, None));
        }
        Ok((Some(dx), Some(all.narrow(0, n, width)?), Some(all.narrow(0, n + width, width)?)))
    }
}

struct LayerNormBack {
    eps: f32,
}

impl CustomOp3 for LayerNormBack {
    fn name(&self) -> &'static str {
        "layer-norm-back"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        ws: &CpuStorage,
        wl: &Layout,
        gs: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w, dy) = (floats(xs, xl)?, floats(ws, wl)?, floats(gs, gl)?);
        let width = w.len();
        let mut all = vec![0.0; x.len() + 2 * width];
        let (dx, rest) = all.split_at_mut(x.len());
        let step = width * ROWS;
        let parts: Vec<Vec<f32>> = dx
            .par_chunks_mut(step)
            .zip(x.par_chunks(step).zip(dy.par_chunks(step)))
            .map(|(dx, (x, dy))| {
                let mut sums = vec![0.0; 2 * width];
                let (dw, db) = sums.split_at_mut(width);
                let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
                for (dx, (x, dy)) in dx.chunks_exact_mut(width).zip(rows) {
                    simd::layer_norm_back(x, w, dy, self.eps, dx, dw, db);
                }
                sums
            })
            .collect();
        rest.copy_from_slice(&total(parts, 2 * width));
        let len = all.len();
        Ok((CpuStorage::F32(all), len.into()))
    }
}

/// Layer norm over the last dimension. With `trains` unset, weight and bias get no gradient.
pub(crate) fn layer_norm(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    eps: f32,
    trains: bool,
) -> Result<Tensor> {
    x.apply_op3(weight, bias, LayerNorm { eps, trains })
}

struct QuickGelu;
struct QuickGeluBack;

impl CustomOp1 for QuickGelu {
    fn name(&self) -> &'static str {
        "quick-gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let mut y = vec![0.0; x.len()];
        let step = ROWS * 256;
        y.par_chunks_mut(step).zip(x.par_chunks(step)).for_each(|(y, x)| simd::quick_gelu(x, y));
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.apply_op2_no_bwd(&dy.contiguous()?, &QuickGeluBack)?))
    }
}

impl CustomOp2 for QuickGeluBack {
    fn name(&self) -> &'static str {
        "quick-gelu-back"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        gs: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, dy) = (floats(xs, xl)?, floats(gs, gl)?);
        let mut dx = vec![0.0; x.len()];
        let step = ROWS * 256;
        dx.par_chunks_mut(step)
            .zip(x.par_chunks(step).zip(dy.par_chunks(step)))
            .for_each(|(dx, (x, dy))| simd::quick_gelu_back(x, dy, dx));
        Ok((CpuStorage::F32(dx), xl.shape().clone()))
    }
}

/// `x * sigmoid(1.702 x)`.
pub(crate) fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(QuickGelu)
}
