//! Matrix products.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{ROWS, floats, simd, total};

/// `c = a b` or `c += a b`; the slices hold matrices whose strides are given as (row, column).
pub(super) struct Product<'a> {
    pub(super) size: (usize, usize, usize),
    pub(super) a: (&'a [f32], usize, usize),
    pub(super) b: (&'a [f32], usize, usize),
    pub(super) accumulate: bool,
    pub(super) scale: f32,
    pub(super) threads: gemm::Parallelism,
}

impl Product<'_> {
    #[expect(unsafe_code, reason = "gemm takes pointers; the extents are checked first")]
    pub(super) fn write(&self, c: &mut [f32], row: usize) {
        let (m, n, k) = self.size;
        let extent = |rows: usize, columns: usize, rs: usize, cs: usize| {
            (rows - 1) * rs + (columns - 1) * cs + 1
        };
        if m == 0 || n == 0 || k == 0 {
            return;
        }
        assert!(extent(m, k, self.a.1, self.a.2) <= self.a.0.len(), "left matrix too small");
        assert!(extent(k, n, self.b.1, self.b.2) <= self.b.0.len(), "right matrix too small");
        assert!(extent(m, n, row, 1) <= c.len(), "target matrix too small");
        // SAFETY: every element that the sizes and strides name lies inside its slice, as asserted.
        unsafe {
            gemm::gemm(
                m,
                n,
                k,
                c.as_mut_ptr(),
                1,
                row.cast_signed(),
                self.accumulate,
                self.a.0.as_ptr(),
                self.a.2.cast_signed(),
                self.a.1.cast_signed(),
                self.b.0.as_ptr(),
                self.b.2.cast_signed(),
                self.b.1.cast_signed(),
                1.0_f32,
                self.scale,
                false,
                false,
                false,
                self.threads,
            );
        }
    }
}

/// `x W^T + b` over the last dimension. W is [out, in].
struct Linear {
    trains: bool,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
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
        let (out, inner) = wl.shape().dims2()?;
        let rows = x.len() / inner;
        let mut y = Vec::with_capacity(rows * out);
        for _ in 0..rows {
            y.extend_from_slice(b);
        }
        Product {
            size: (rows, out, inner),
            a: (x, inner, 1),
            b: (w, 1, inner),
            accumulate: true,
            scale: 1.0,
            threads: gemm::Parallelism::Rayon(0),
        }
        .write(&mut y, out);
        let mut dims = xl.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = out;
        }
        Ok((CpuStorage::F32(y), dims.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (out, inner) = w.dims2()?;
        let dy = dy.contiguous()?.reshape(((), out))?;
        let dx = dy.apply_op2_no_bwd(w, &Times { is_left_turned: false })?.reshape(x.shape())?;
        if !self.trains {
            return Ok((Some(dx), None, None));
        }
        let x = x.reshape(((), inner))?;
        let dw = dy.apply_op2_no_bwd(&x, &Times { is_left_turned: true })?;
        let db = dy.apply_op1_no_bwd(&ColumnSums)?;
        Ok((Some(dx), Some(dw), Some(db)))
    }
}

/// `x W^T + b`: x [.., in], W [out, in], b [out]. With `trains` unset, W and b get no gradient.
pub(in crate::train) fn linear(x: &Tensor, w: &Tensor, b: &Tensor, trains: bool) -> Result<Tensor> {
    x.apply_op3(w, b, Linear { trains })
}

/// `a b`, or `a^T b`.
struct Times {
    is_left_turned: bool,
}

impl CustomOp2 for Times {
    fn name(&self) -> &'static str {
        "times"
    }

    fn cpu_fwd(
        &self,
        s1: &CpuStorage,
        l1: &Layout,
        s2: &CpuStorage,
        l2: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (a, b) = (floats(s1, l1)?, floats(s2, l2)?);
        let (rows, columns) = l1.shape().dims2()?;
        let (m, k) = if self.is_left_turned { (columns, rows) } else { (rows, columns) };
        let (inner, n) = l2.shape().dims2()?;
        if inner != k {
            candle_core::bail!("{:?} does not multiply {:?}", l1.shape(), l2.shape())
        }
        let (row, column) = if self.is_left_turned { (1, columns) } else { (columns, 1) };
        let mut c = vec![0.0; m * n];
        Product {
            size: (m, n, k),
            a: (a, row, column),
            b: (b, n, 1),
            accumulate: false,
            scale: 1.0,
            threads: gemm::Parallelism::Rayon(0),
        }
        .write(&mut c, n);
        Ok((CpuStorage::F32(c), (m, n).into()))
    }
}

/// Sums of the columns of a matrix.
struct ColumnSums;

impl CustomOp1 for ColumnSums {
    fn name(&self) -> &'static str {
        "column-sums"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let (_, columns) = layout.shape().dims2()?;
        let parts: Vec<Vec<f32>> = x
            .par_chunks(columns * ROWS * 4)
            .map(|rows| {
                let mut sums = vec![0.0; columns];
                rows.chunks_exact(columns).for_each(|row| simd::add_to(&mut sums, row));
                sums
            })
            .collect();
        Ok((CpuStorage::F32(total(parts, columns)), columns.into()))
    }
}
