//! Matrix products with weights that were packed once, and what follows each of them.
#![expect(
    clippy::inline_always,
    reason = "a body takes on the vector features of the function that it is inlined into"
)]

use std::sync::Arc;

use super::floats::Floats;
use super::kernel::{self, COLUMNS, ROWS, Tile};
use super::simd::{Isa, quick_gelu};
use crate::ModelError;

/// A linear layer before packing: `weight [outputs, inputs]` row-major, `bias` empty or `[outputs]`.
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) weight: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) inputs: usize,
}

impl Raw {
    pub(super) fn outputs(&self) -> usize {
        self.weight.len() / self.inputs.max(1)
    }

    /// The outputs of `self`, then those of `other`, of the same input.
    pub(super) fn beside(mut self, other: &Self) -> Self {
        self.weight.extend_from_slice(&other.weight);
        self.bias.extend_from_slice(&other.bias);
        self
    }

    /// All outputs times `factor`.
    pub(super) fn scaled(mut self, factor: f32) -> Self {
        self.weight.iter_mut().chain(&mut self.bias).for_each(|value| *value *= factor);
        self
    }
}

/// A linear layer in the order in which the kernel reads it: panels of 48 outputs, each with the
/// bias as its first row, then one row for every input. The last panel is filled up with zeros.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    floats: Arc<Floats>,
    at: usize,
    inputs: usize,
    outputs: usize,
}

/// Floats of one panel.
fn panel_len(inputs: usize) -> usize {
    (1 + inputs) * COLUMNS
}

/// Floats of the panels of a matrix.
pub(super) fn packed_len(inputs: usize, outputs: usize) -> usize {
    outputs.div_ceil(COLUMNS) * panel_len(inputs)
}

impl Packed {
    /// Packs several layers into one buffer, in the order in which they will be read.
    pub(super) fn all<const COUNT: usize>(
        layers: [Raw; COUNT],
    ) -> Result<[Self; COUNT], ModelError> {
        let lens = layers.each_ref().map(|raw| packed_len(raw.inputs, raw.outputs()));
        let mut floats = Floats::zeroed(lens.iter().sum())?;
        let mut rest = floats.as_mut_slice();
        for (raw, len) in layers.iter().zip(lens) {
            let (panels, after) = rest.split_at_mut(len);
            for (output, weights) in raw.weight.chunks_exact(raw.inputs).enumerate() {
                let panel = &mut panels[output / COLUMNS * panel_len(raw.inputs)..];
                let column = output % COLUMNS;
                panel[column] = raw.bias.get(output).copied().unwrap_or(0.0);
                for (input, weight) in weights.iter().enumerate() {
                    panel[(1 + input) * COLUMNS + column] = *weight;
                }
            }
            rest = after;
        }
        let floats = Arc::new(floats);
        let mut at = 0;
        let mut lens = lens.into_iter();
        Ok(layers.map(|raw| {
            let packed = Self {
                floats: Arc::clone(&floats),
                at,
                inputs: raw.inputs,
                outputs: raw.outputs(),
            };
            at += lens.next().unwrap_or(0);
            packed
        }))
    }

    pub(super) fn panels(&self) -> Panels<'_> {
        let len = packed_len(self.inputs, self.outputs);
        Panels::new(&self.floats.as_slice()[self.at..self.at + len], self.inputs, self.outputs)
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }
}

/// Packed panels, wherever they lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panels<'a> {
    rows: &'a [[f32; COLUMNS]],
    inputs: usize,
    outputs: usize,
}

impl<'a> Panels<'a> {
    /// Panels of `packed_len(inputs, outputs)` floats.
    pub(super) fn new(floats: &'a [f32], inputs: usize, outputs: usize) -> Self {
        debug_assert_eq!(floats.len(), packed_len(inputs, outputs));
        Self { rows: floats.as_chunks::<COLUMNS>().0, inputs, outputs }
    }
}

/// What becomes of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// It is written.
    Store,
    /// Its quick-GELU is written.
    QuickGelu,
    /// It is added to what is there.
    Add,
}

/// Rows of a product: `row(i)` times the matrix, for `i` below `count`, to `out`, a row every
/// `stride` floats.
///
/// # Panics
/// When a row has not as many values as the matrix has inputs, or `out` has no room.
pub(super) fn matmul<'r>(
    count: usize,
    row: impl Fn(usize) -> &'r [f32],
    panels: Panels<'_>,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    let isa = Isa::detect();
    match isa {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls a copy of safe code for features just detected")]
        // SAFETY: the features that `avx512` is compiled for were detected.
        Isa::Avx512 => unsafe { avx512(count, row, panels, finish, out, stride) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls a copy of safe code for features just detected")]
        // SAFETY: the features that `avx2` is compiled for were detected.
        Isa::Avx2 => unsafe { avx2(count, row, panels, finish, out, stride) },
        Isa::Baseline => plain(isa, count, row, panels, finish, out, stride),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn avx512<'r>(
    count: usize,
    row: impl Fn(usize) -> &'r [f32],
    panels: Panels<'_>,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    plain(Isa::Avx512, count, row, panels, finish, out, stride);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<'r>(
    count: usize,
    row: impl Fn(usize) -> &'r [f32],
    panels: Panels<'_>,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    plain(Isa::Avx2, count, row, panels, finish, out, stride);
}

#[inline(always)]
fn plain<'r>(
    isa: Isa,
    count: usize,
    row: impl Fn(usize) -> &'r [f32],
    panels: Panels<'_>,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    // Tiles of nearly the same height: a last one of a single row would cost as much as a whole.
    let tiles = count.div_ceil(ROWS);
    let rows_of_panel = 1 + panels.inputs;
    for (number, panel) in panels.rows.chunks_exact(rows_of_panel).enumerate() {
        let first_column = number * COLUMNS;
        let columns = COLUMNS.min(panels.outputs - first_column);
        let [bias, panel @ ..] = panel else { continue };
        let next = panels.rows.get((number + 1) * rows_of_panel..).unwrap_or(&[]);
        let next = &next[..next.len().min(rows_of_panel)];
        let share = next.len().div_ceil(tiles.max(1));
        for tile in 0..tiles {
            let (first, end) = (tile * count / tiles, (tile + 1) * count / tiles);
            let mut rows: [&[f32]; ROWS] = [&[]; ROWS];
            for (slot, at) in rows.iter_mut().zip(first..end) {
                *slot = row(at);
            }
            let ahead = &next[(tile * share).min(next.len())..((tile + 1) * share).min(next.len())];
            let mut sums = [*bias; ROWS];
            kernel::run(isa, &Tile { rows: &rows[..end - first], panel, ahead }, &mut sums);
            for (at, sums) in (first..end).zip(&mut sums) {
                let out = &mut out[at * stride + first_column..][..columns];
                match finish {
                    Finish::Store => out.copy_from_slice(&sums[..columns]),
                    Finish::Add => out.iter_mut().zip(sums).for_each(|(out, sum)| *out += *sum),
                    Finish::QuickGelu => {
                        for sum in sums.iter_mut() {
                            *sum = quick_gelu(*sum);
                        }
                        out.copy_from_slice(&sums[..columns]);
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raw(inputs: usize, outputs: usize) -> Raw {
        let value = |i: usize| ((i * 7919 % 61) as f32 - 30.0) / 20.0;
        Raw {
            weight: (0..inputs * outputs).map(value).collect(),
            bias: (0..outputs).map(|i| value(i + 5)).collect(),
            inputs,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn products_of_any_shape_are_those_of_the_definition(
            count in 0usize..40, inputs in 1usize..70, outputs in 1usize..120, gap in 0usize..5,
        ) {
            let raw = raw(inputs, outputs);
            let [packed] = Packed::all([raw.clone()]).unwrap();
            let xs: Vec<f32> = (0..count * inputs).map(|i| ((i * 31 % 17) as f32 - 8.0) / 5.0).collect();
            let row = |at: usize| &xs[at * inputs..][..inputs];
            let right = |at: usize, output: usize| -> f64 {
                let weights = &raw.weight[output * inputs..][..inputs];
                let product = |(x, w): (&f32, &f32)| f64::from(*x) * f64::from(*w);
                f64::from(raw.bias[output]) + row(at).iter().zip(weights).map(product).sum::<f64>()
            };
            let stride = outputs + gap;
            for finish in [Finish::Store, Finish::Add, Finish::QuickGelu] {
                let mut out = vec![2.0; count * stride];
                matmul(count, row, packed.panels(), finish, &mut out, stride);
                for at in 0..count {
                    for output in 0..stride {
                        let got = f64::from(out[at * stride + output]);
                        let right = if output >= outputs { 2.0 } else {
                            let product = right(at, output);
                            match finish {
                                Finish::Store => product,
                                Finish::Add => 2.0 + product,
                                Finish::QuickGelu => product / (1.0 + (-1.702 * product).exp()),
                            }
                        };
                        prop_assert!((got - right).abs() < 1e-4 * (1.0 + right.abs()), "{finish:?} {got} {right}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_s_product_is_the_same_to_the_bit_whoever_stands_beside_it() {
        let [packed] = Packed::all([raw(37, 100)]).unwrap();
        let xs: Vec<f32> = (0..21 * 37).map(|i| ((i * 31 % 17) as f32).sin()).collect();
        let mut together = vec![0.0; 21 * 100];
        let row = |at: usize| &xs[at * 37..][..37];
        matmul(21, row, packed.panels(), Finish::QuickGelu, &mut together, 100);
        for at in 0..21 {
            let mut alone = vec![0.0; 100];
            matmul(1, |_| row(at), packed.panels(), Finish::QuickGelu, &mut alone, 100);
            assert_eq!(alone, together[at * 100..][..100]);
        }
    }

    #[test]
    fn layers_packed_together_stay_apart() {
        let (a, b) = (raw(3, 50), raw(4, 2));
        let [first, second] = Packed::all([a.clone(), b.clone()]).unwrap();
        let [alone] = Packed::all([b]).unwrap();
        assert_eq!(second.panels().rows, alone.panels().rows);
        assert_eq!((first.outputs(), second.outputs()), (50, 2));
    }
}
