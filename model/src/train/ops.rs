//! Operations with a backward pass that candle lacks or composes from many small ones.
//!
//! candle's fused layer norm and softmax cannot be differentiated, and composed from elementary
//! operations a block of CLIP spends more time moving memory than multiplying. Here a block is
//! seven operations; each does its work in one pass, on the CPU, in f32.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::simd;

/// Rows that one task takes: enough work to be worth handing over.
const ROWS: usize = 64;

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else {
        candle_core::bail!("training runs in f32, got {:?}", storage_type(storage))
    };
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&data[from..to]),
        None => candle_core::bail!("training operations want contiguous tensors, got {layout:?}"),
    }
}

fn storage_type(storage: &CpuStorage) -> candle_core::DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// `c = a b` or `c += a b`; the slices hold matrices whose strides are given as (row, column).
struct Product<'a> {
    size: (usize, usize, usize),
    a: (&'a [f32], usize, usize),
    b: (&'a [f32], usize, usize),
    accumulate: bool,
    scale: f32,
    threads: gemm::Parallelism,
}

impl Product<'_> {
    #[expect(unsafe_code, reason = "gemm takes pointers; the extents are checked first")]
    fn write(&self, c: &mut [f32], row: usize) {
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
                row as isize,
                self.accumulate,
                self.a.0.as_ptr(),
                self.a.2 as isize,
                self.a.1 as isize,
                self.b.0.as_ptr(),
                self.b.2 as isize,
                self.b.1 as isize,
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
pub(super) fn linear(x: &Tensor, w: &Tensor, b: &Tensor, trains: bool) -> Result<Tensor> {
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

/// The sum of equally long vectors, in order: the same whatever the number of threads.
fn total(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    parts.into_iter().fold(vec![0.0; len], |mut sums, part| {
        simd::add_to(&mut sums, &part);
        sums
    })
}

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
pub(super) fn layer_norm(
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
pub(super) fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    x.apply_op1(QuickGelu)
}

/// Multi-head self-attention of sequences whose q, k and v lie side by side.
#[derive(Debug, Clone, Copy)]
struct Attention {
    heads: usize,
    is_causal: bool,
}

/// One head of one sequence: where its q, k, v begin in a row of `3 * width`, and sizes.
#[derive(Clone, Copy)]
struct Head {
    tokens: usize,
    width: usize,
    size: usize,
    at: usize,
}

/// Up to this many tokens plain loops beat packing for a matrix product.
const FEW: usize = 16;

impl Head {
    fn scale(self) -> f32 {
        1.0 / (self.size as f32).sqrt()
    }

    fn row<'a>(&self, qkv: &'a [f32], part: usize, token: usize) -> &'a [f32] {
        let from = token * 3 * self.width + part * self.width + self.at;
        &qkv[from..from + self.size]
    }

    /// Probabilities [tokens, tokens] from q and k.
    fn probabilities(self, qkv: &[f32], is_causal: bool, p: &mut [f32]) {
        let n = self.tokens;
        if n <= FEW {
            for i in 0..n {
                for j in 0..n {
                    p[i * n + j] = simd::dot(self.row(qkv, 0, i), self.row(qkv, 1, j));
                }
            }
        } else {
            Product {
                size: (n, n, self.size),
                a: (&qkv[self.at..], 3 * self.width, 1),
                b: (&qkv[self.width + self.at..], 1, 3 * self.width),
                accumulate: false,
                scale: 1.0,
                threads: gemm::Parallelism::None,
            }
            .write(p, n);
        }
        for (i, row) in p.chunks_exact_mut(n).enumerate() {
            if is_causal {
                row[i + 1..].fill(f32::NEG_INFINITY);
            }
            simd::softmax(row, self.scale());
        }
    }

    /// `target[i, at..] = sum_j matrix[i, j] source[j]`, or with the matrix transposed.
    fn mix(
        self,
        matrix: &[f32],
        is_transposed: bool,
        source: (&[f32], usize),
        target: (&mut [f32], usize),
    ) {
        let n = self.tokens;
        let (rs, cs) = if is_transposed { (1, n) } else { (n, 1) };
        let (source, source_row) = source;
        let (target, target_row) = target;
        if n <= FEW {
            for i in 0..n {
                let to = &mut target[i * target_row..i * target_row + self.size];
                to.fill(0.0);
                for j in 0..n {
                    let from = &source[j * source_row..j * source_row + self.size];
                    simd::add_scaled(to, matrix[i * rs + j * cs], from);
                }
            }
        } else {
            Product {
                size: (n, self.size, n),
                a: (matrix, rs, cs),
                b: (source, source_row, 1),
                accumulate: false,
                scale: 1.0,
                threads: gemm::Parallelism::None,
            }
            .write(target, target_row);
        }
    }
}

impl Attention {
    fn sizes(self, layout: &Layout) -> Result<(usize, usize)> {
        let (_, tokens, triple) = layout.shape().dims3()?;
        let width = triple / 3;
        if width * 3 != triple || !width.is_multiple_of(self.heads) {
            candle_core::bail!("attention wants [.., 3 * width], got {:?}", layout.shape());
        }
        Ok((tokens, width))
    }

    fn heads(self, tokens: usize, width: usize) -> impl Iterator<Item = Head> {
        let size = width / self.heads;
        (0..self.heads).map(move |head| Head { tokens, width, size, at: head * size })
    }
}

impl CustomOp1 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let qkv = floats(storage, layout)?;
        let (n, width) = self.sizes(layout)?;
        let mut out = vec![0.0; qkv.len() / 3];
        out.par_chunks_mut(n * width).zip(qkv.par_chunks(n * 3 * width)).for_each_init(
            || vec![0.0_f32; n * n],
            |p, (out, qkv)| {
                for head in self.heads(n, width) {
                    head.probabilities(qkv, self.is_causal, p);
                    let values = &qkv[2 * width + head.at..];
                    head.mix(p, false, (values, 3 * width), (&mut out[head.at..], width));
                }
            },
        );
        let (batch, tokens, _) = layout.shape().dims3()?;
        Ok((CpuStorage::F32(out), (batch, tokens, width).into()))
    }

    fn bwd(&self, qkv: &Tensor, _out: &Tensor, dout: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(qkv.apply_op2_no_bwd(&dout.contiguous()?, &AttentionBack(*self))?))
    }
}

/// Attention's gradient; probabilities are computed anew, which is cheaper than keeping them.
struct AttentionBack(Attention);

impl CustomOp2 for AttentionBack {
    fn name(&self) -> &'static str {
        "attention-back"
    }

    fn cpu_fwd(
        &self,
        qs: &CpuStorage,
        ql: &Layout,
        gs: &CpuStorage,
        gl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (qkv, dout) = (floats(qs, ql)?, floats(gs, gl)?);
        let (n, width) = self.0.sizes(ql)?;
        let triple = 3 * width;
        let mut dqkv = vec![0.0; qkv.len()];
        let sequences = qkv.par_chunks(n * triple).zip(dout.par_chunks(n * width));
        dqkv.par_chunks_mut(n * triple).zip(sequences).for_each_init(
            || (vec![0.0_f32; n * n], vec![0.0_f32; n * n]),
            |(p, d), (dqkv, (qkv, dout))| {
                for head in self.0.heads(n, width) {
                    let at = head.at;
                    head.probabilities(qkv, self.0.is_causal, p);
                    let to_v = (&mut dqkv[2 * width + at..], triple);
                    head.mix(p, true, (&dout[at..], width), to_v);
                    if n <= FEW {
                        for i in 0..n {
                            let from = &dout[i * width + at..i * width + at + head.size];
                            for j in 0..n {
                                d[i * n + j] = simd::dot(from, head.row(qkv, 2, j));
                            }
                        }
                    } else {
                        Product {
                            size: (n, n, head.size),
                            a: (&dout[at..], width, 1),
                            b: (&qkv[2 * width + at..], 1, triple),
                            accumulate: false,
                            scale: 1.0,
                            threads: gemm::Parallelism::None,
                        }
                        .write(d, n);
                    }
                    for (p, d) in p.chunks_exact(n).zip(d.chunks_exact_mut(n)) {
                        simd::softmax_back(p, d, head.scale());
                    }
                    let keys = (&qkv[width + at..], triple);
                    head.mix(d, false, keys, (&mut dqkv[at..], triple));
                    head.mix(d, true, (&qkv[at..], triple), (&mut dqkv[width + at..], triple));
                }
            },
        );
        Ok((CpuStorage::F32(dqkv), ql.shape().clone()))
    }
}

/// Self-attention: qkv [sequences, tokens, 3 * width] to [sequences, tokens, width]. Queries are
/// scaled by the root of the head's size; with `is_causal` a token sees only itself and those
/// before it.
pub(super) fn attention(qkv: &Tensor, heads: usize, is_causal: bool) -> Result<Tensor> {
    qkv.apply_op1(Attention { heads, is_causal })
}

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
pub(super) fn rows(table: &Tensor, indices: &Tensor) -> Result<Tensor> {
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
            dx.iter_mut().for_each(|d| *d *= share);
        }
        Ok((CpuStorage::F32(dx), layout.shape().clone()))
    }
}

/// Mean over the rows that have a target of `-log softmax(row)[target]`; a scalar.
pub(super) fn cross_entropy(logits: &Tensor, targets: Vec<Option<u32>>) -> Result<Tensor> {
    logits.contiguous()?.apply_op1(CrossEntropy { targets })
}
