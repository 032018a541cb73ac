//! Rows by index, and cross-entropy.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::{floats, simd};

/// Rows of a matrix by index, with a gradient that visits only these rows.
struct Rows;
struct RowsBack {
    rows: usize,
}

impl CustomOp2 for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn cpu_fwd(
        &self,
        ts: &CpuStorage,
        tl: &Layout,
        is: &CpuStorage,
        il: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let table = floats(ts, tl)?;
        let (rows, width) = tl.shape().dims2()?;
        let mut out = Vec::with_capacity(il.shape().elem_count() * width);
        for &row in indices(is, il, rows)? {
            out.extend_from_slice(&table[row as usize * width..][..width]);
        }
        Ok((CpuStorage::F32(out), (il.shape().elem_count(), width).into()))
    }

    fn bwd(
        &self,
        table: &Tensor,
        indices: &Tensor,
        _out: &Tensor,
        dout: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let back = RowsBack { rows: table.dim(0)? };
        Ok((Some(dout.contiguous()?.apply_op2_no_bwd(indices, &back)?), None))
    }
}

impl CustomOp2 for RowsBack {
    fn name(&self) -> &'static str {
        "rows-back"
    }

    fn cpu_fwd(
        &self,
        gs: &CpuStorage,
        gl: &Layout,
        is: &CpuStorage,
        il: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let dout = floats(gs, gl)?;
        let (_, width) = gl.shape().dims2()?;
        let mut table = vec![0.0; self.rows * width];
        for (&row, from) in indices(is, il, self.rows)?.iter().zip(dout.chunks_exact(width)) {
            simd::add_to(&mut table[row as usize * width..][..width], from);
        }
        Ok((CpuStorage::F32(table), (self.rows, width).into()))
    }
}

fn indices<'a>(storage: &'a CpuStorage, layout: &Layout, rows: usize) -> Result<&'a [u32]> {
    let CpuStorage::U32(data) = storage else { candle_core::bail!("indices must be u32") };
    let Some((from, to)) = layout.contiguous_offsets() else {
        candle_core::bail!("indices must be contiguous")
    };
    if let Some(row) = data[from..to].iter().find(|&&row| row as usize >= rows) {
        candle_core::bail!("row {row} of a table of {rows} rows")
    }
    Ok(&data[from..to])
}

/// `table[indices]`: table [rows, width], indices [n] (u32) to [n, width].
pub(in crate::train) fn rows(table: &Tensor, indices: &Tensor) -> Result<Tensor> {
    table.apply_op2(indices, Rows)
}

/// Mean cross-entropy of rows of logits against one target each; rows without are left out.
struct CrossEntropy {
    targets: Vec<Option<u32>>,
}

impl CrossEntropy {
    fn rows<'a>(
        &'a self,
        width: usize,
        x: &'a [f32],
    ) -> impl Iterator<Item = (usize, usize, &'a [f32])> {
        let rows = x.chunks_exact(width).zip(&self.targets).enumerate();
        rows.filter_map(|(row, (x, target))| target.map(|t| (row, t as usize, x)))
    }

    fn count(&self) -> usize {
        self.targets.iter().flatten().count().max(1)
    }

    fn check(&self, layout: &Layout) -> Result<usize> {
        let (rows, width) = layout.shape().dims2()?;
        if rows != self.targets.len() || self.targets.iter().flatten().any(|&t| t as usize >= width)
        {
            candle_core::bail!("{} targets do not fit logits {rows} x {width}", self.targets.len())
        }
        Ok(width)
    }
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let width = self.check(layout)?;
        let mut p = vec![0.0; width];
        let mut loss = 0.0_f64;
        for (_, target, x) in self.rows(width, x) {
            p.copy_from_slice(x);
            simd::softmax(&mut p, 1.0);
            loss -= f64::from(p[target].max(1e-37).ln());
        }
        Ok((CpuStorage::F32(vec![(loss / self.count() as f64) as f32]), Shape::from(())))
    }

    fn bwd(&self, x: &Tensor, _loss: &Tensor, dloss: &Tensor) -> Result<Option<Tensor>> {
        let back = CrossEntropyBack(Self { targets: self.targets.clone() });
        Ok(Some(x.apply_op1_no_bwd(&back)?.broadcast_mul(dloss)?))
    }
}

struct CrossEntropyBack(CrossEntropy);

impl CustomOp1 for CrossEntropyBack {
    fn name(&self) -> &'static str {
        "cross-entropy-back"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = floats(storage, layout)?;
        let width = self.0.check(layout)?;
        let share = 1.0 / self.0.count() as f32;
        let mut dx = vec![0.0; x.len()];
        for (row, target, x) in self.0.rows(width, x) {
            let dx = &mut dx[row * width..][..width];
            dx.copy_from_slice(x);
            simd::softmax(dx, 1.0);
            dx[target] -= 1.0;
            for d in dx {
                *d *= share;
            }
        }
        Ok((CpuStorage::F32(dx), layout.shape().clone()))
    }
}

/// Mean over the rows that have a target of `-log softmax(row)[target]`; a scalar.
pub(in crate::train) fn cross_entropy(
    logits: &Tensor,
    targets: Vec<Option<u32>>,
) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(CrossEntropy { targets })
}
