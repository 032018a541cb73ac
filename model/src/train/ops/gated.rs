//! What a LLaMA has in place of layer norm and GELU.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{ROWS, floats, simd, total};

/// `x / rms(x) * weight` over the last dimension.
struct RmsNorm {
    eps: f32,
}

/// The gradients of x and of the weight, one behind the other.
struct RmsNormBack {
    eps: f32,
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        ws: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (floats(xs, xl)?, floats(ws, wl)?);
        let width = w.len();
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(width * ROWS).zip(x.par_chunks(width * ROWS)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                simd::rms_norm(x, w, self.eps, y);
            }
        });
        Ok((CpuStorage::F32(y), xl.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let back = RmsNormBack { eps: self.eps };
        let all = x.apply_op3_no_bwd(w, &dy.contiguous()?, &back)?;
        let (n, width) = (x.elem_count(), w.elem_count());
        let dx = all.narrow(0, 0, n)?.reshape(x.shape())?;
        Ok((Some(dx), Some(all.narrow(0, n, width)?)))
    }
}

impl CustomOp3 for RmsNormBack {
    fn name(&self) -> &'static str {
        "rms-norm-back"
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
        let mut all = vec![0.0; x.len() + width];
        let (dx, rest) = all.split_at_mut(x.len());
        let some = width * ROWS;
        let parts: Vec<Vec<f32>> = dx
            .par_chunks_mut(some)
            .zip(x.par_chunks(some).zip(dy.par_chunks(some)))
            .map(|(dx, (x, dy))| {
                let mut dw = vec![0.0; width];
                let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
                for (dx, (x, dy)) in dx.chunks_exact_mut(width).zip(rows) {
                    simd::rms_norm_back(x, w, dy, self.eps, dx, &mut dw);
                }
                dw
            })
            .collect();
        rest.copy_from_slice(&total(parts, width));
        let len = all.len();
        Ok((CpuStorage::F32(all), len.into()))
    }
}

/// Root-mean-square norm over the last dimension.
pub(in crate::train) fn rms_norm(x: &Tensor, weight: &Tensor, eps: f32) -> Result<Tensor> {
    x.apply_op2(weight, RmsNorm { eps })
}

/// `silu(gate) * up` of rows that hold a gate and, behind it, as many values.
struct Gated;
struct GatedBack;

fn halves(layout: &Layout) -> Result<(usize, usize)> {
    let (rows, both) = layout.shape().dims2()?;
    if !both.is_multiple_of(2) {
        candle_core::bail!("rows of {both} values have no two halves")
    }
    Ok((rows, both / 2))
}

impl CustomOp1 for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let (rows, half) = halves(layout)?;
        let mut y = vec![0.0; rows * half];
        y.par_chunks_mut(half).zip(x.par_chunks(2 * half)).for_each(|(y, x)| {
            let (gate, up) = x.split_at(half);
            simd::gated(gate, up, y);
        });
        Ok((CpuStorage::F32(y), (rows, half).into()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(x.apply_op2_no_bwd(&dy.contiguous()?, &GatedBack)?))
    }
}

impl CustomOp2 for GatedBack {
    fn name(&self) -> &'static str {
        "gated-back"
    }

    fn cpu_fwd(
        &self,
        xs: &CpuStorage,
        xl: &Layout,
        gs: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, dy) = (floats(xs, xl)?, floats(gs, gl)?);
        let (_, half) = halves(xl)?;
        let mut dx = vec![0.0; x.len()];
        let rows = x.par_chunks(2 * half).zip(dy.par_chunks(half));
        dx.par_chunks_mut(2 * half).zip(rows).for_each(|(dx, (x, dy))| {
            let (gate, up) = x.split_at(half);
            let (dgate, dup) = dx.split_at_mut(half);
            simd::gated_back(gate, up, dy, dgate, dup);
        });
        Ok((CpuStorage::F32(dx), xl.shape().clone()))
    }
}

/// `silu(x[.., ..M]) * x[.., M..]`: [rows, 2 M] to [rows, M].
pub(in crate::train) fn gated(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(Gated)
}
