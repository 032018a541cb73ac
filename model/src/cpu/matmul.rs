//! Matrix products with weights that were packed once, and what follows each of them.
#![expect(
    clippy::inline_always,
    reason = "a body takes on the vector features of the function that it is inlined into"
)]

use std::sync::Arc;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
use super::floats::Floats;
use super::kernel::{self, COLUMNS, ROWS, Tile};
use super::precision::Arithmetic;
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

/// A linear layer in the order in which its kernel reads it. On vectors these are panels of 48
/// outputs, each with the bias as its first row, then one row for every input; the last panel is
/// filled up with zeros.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    floats: Arc<Floats>,
    at: usize,
    inputs: usize,
    outputs: usize,
    arithmetic: Arithmetic,
}

/// Room for operands and sums of a product, or of an attention's.
#[derive(Debug)]
pub(super) struct Scratch {
    pub(super) left: Floats,
    pub(super) right: Floats,
    pub(super) sums: Floats,
}

impl Scratch {
    pub(super) fn new() -> Result<Self, ModelError> {
        Ok(Self { left: Floats::zeroed(0)?, right: Floats::zeroed(0)?, sums: Floats::zeroed(0)? })
    }
}

/// Floats of one panel.
fn panel_len(inputs: usize) -> usize {
    (1 + inputs) * COLUMNS
}

/// Floats of the panels of a matrix.
pub(super) fn packed_len(inputs: usize, outputs: usize) -> usize {
    outputs.div_ceil(COLUMNS) * panel_len(inputs)
}

/// Writes a layer as panels into `packed_len` zeros.
fn pack_panels(raw: &Raw, panels: &mut [f32]) {
    for (output, weights) in raw.weight.chunks_exact(raw.inputs.max(1)).enumerate() {
        let panel = &mut panels[output / COLUMNS * panel_len(raw.inputs)..];
        let column = output % COLUMNS;
        panel[column] = raw.bias.get(output).copied().unwrap_or(0.0);
        for (input, weight) in weights.iter().enumerate() {
            panel[(1 + input) * COLUMNS + column] = *weight;
        }
    }
}

impl Packed {
    /// Packs several layers into one buffer, in the order in which they will be read.
    pub(super) fn all<const COUNT: usize>(
        layers: [Raw; COUNT],
        arithmetic: Arithmetic,
    ) -> Result<[Self; COUNT], ModelError> {
        let lens = layers.each_ref().map(|raw| match arithmetic {
            Arithmetic::Vectors(_) => packed_len(raw.inputs, raw.outputs()),
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Arithmetic::Tiles(_, parts) => amx::packed_len(parts, raw.inputs, raw.outputs()),
        });
        let mut floats = Floats::zeroed(lens.iter().sum())?;
        let mut rest = floats.as_mut_slice();
        for (raw, len) in layers.iter().zip(lens) {
            let (packed, after) = rest.split_at_mut(len);
            match arithmetic {
                Arithmetic::Vectors(_) => pack_panels(raw, packed),
                #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
                Arithmetic::Tiles(amx, parts) => amx::pack(amx, parts, raw, packed),
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
                arithmetic,
            };
            at += lens.next().unwrap_or(0);
            packed
        }))
    }

    /// Rows of a product: the layer's outputs for `row(i)`, for `i` below `count`, to `out`, a row
    /// every `stride` floats.
    ///
    /// Each row's result is the same to the bit whoever stands beside it.
    ///
    /// # Panics
    /// When a row has not as many values as the layer has inputs, or `out` has no room.
    pub(super) fn apply<'r>(
        &self,
        count: usize,
        row: impl Fn(usize) -> &'r [f32],
        finish: Finish,
        (out, stride): (&mut [f32], usize),
        scratch: &mut Scratch,
    ) -> Result<(), ModelError> {
        let floats = &self.floats.as_slice()[self.at..];
        match self.arithmetic {
            Arithmetic::Vectors(isa) => {
                let len = packed_len(self.inputs, self.outputs);
                let panels = Panels::new(&floats[..len], self.inputs, self.outputs);
                matmul(isa, count, row, panels, finish, out, stride);
                Ok(())
            }
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Arithmetic::Tiles(amx, parts) => {
                let len = amx::packed_len(parts, self.inputs, self.outputs);
                let layer = amx::Layer::new(amx, parts, &floats[..len], self.inputs, self.outputs);
                amx::linear(count, row, layer, finish, out, stride, scratch)
            }
        }
    }

    pub(super) fn arithmetic(&self) -> Arithmetic {
        self.arithmetic
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
    isa: Isa,
    count: usize,
    row: impl Fn(usize) -> &'r [f32],
    panels: Panels<'_>,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls a copy of safe code for features just detected")]
        // SAFETY: `Isa::Avx512` is only made where its features were detected.
        Isa::Avx512 => unsafe { avx512(count, row, panels, finish, out, stride) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls a copy of safe code for features just detected")]
        // SAFETY: as above, for `Isa::Avx2`.
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

    /// The relative error of a product in `f32`, and in `bf16`, against the largest possible sum.
    fn tolerance(arithmetic: Arithmetic) -> f64 {
        if arithmetic.is_exact() { 1e-6 } else { 8e-3 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]
        #[test]
        fn products_of_any_shape_are_those_of_the_definition(
            count in 0usize..70, inputs in 1usize..140, outputs in 1usize..120, gap in 0usize..5,
        ) {
            let raw = raw(inputs, outputs);
            let xs: Vec<f32> = (0..count * inputs).map(|i| ((i * 31 % 17) as f32 - 8.1) / 5.0).collect();
            let row = |at: usize| &xs[at * inputs..][..inputs];
            let terms = |at: usize, output: usize| {
                let weights = &raw.weight[output * inputs..][..inputs];
                let product = |(x, w): (&f32, &f32)| f64::from(*x) * f64::from(*w);
                row(at).iter().zip(weights).map(product).chain([f64::from(raw.bias[output])])
            };
            let stride = outputs + gap;
            let mut scratch = Scratch::new().unwrap();
            for arithmetic in Arithmetic::available() {
                let [packed] = Packed::all([raw.clone()], arithmetic).unwrap();
                for finish in [Finish::Store, Finish::Add, Finish::QuickGelu] {
                    let mut out = vec![2.0; count * stride];
                    packed.apply(count, row, finish, (&mut out, stride), &mut scratch).unwrap();
                    for at in 0..count {
                        prop_assert_eq!(&out[at * stride + outputs..][..gap], &[2.0; 5][..gap]);
                        for output in 0..outputs {
                            let got = f64::from(out[at * stride + output]);
                            let product: f64 = terms(at, output).sum();
                            let right = match finish {
                                Finish::Store => product,
                                Finish::Add => 2.0 + product,
                                Finish::QuickGelu => product / (1.0 + (-1.702 * product).exp()),
                            };
                            let most = 2.0 + terms(at, output).map(f64::abs).sum::<f64>();
                            let error = (got - right).abs() / most;
                            prop_assert!(
                                error < tolerance(arithmetic), "{arithmetic:?} {finish:?} {got} {right}"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_row_s_product_is_the_same_to_the_bit_whoever_stands_beside_it() {
        let xs: Vec<f32> = (0..45 * 37).map(|i| ((i * 31 % 17) as f32).sin()).collect();
        let row = |at: usize| &xs[at * 37..][..37];
        let mut scratch = Scratch::new().unwrap();
        for arithmetic in Arithmetic::available() {
            let [packed] = Packed::all([raw(37, 100)], arithmetic).unwrap();
            let mut together = vec![0.0; 45 * 100];
            let out = (together.as_mut_slice(), 100);
            packed.apply(45, row, Finish::QuickGelu, out, &mut scratch).unwrap();
            for at in 0..45 {
                let mut alone = vec![0.0; 100];
                let out = (alone.as_mut_slice(), 100);
                packed.apply(1, |_| row(at), Finish::QuickGelu, out, &mut scratch).unwrap();
                assert_eq!(alone, together[at * 100..][..100], "{arithmetic:?}");
            }
        }
    }

    #[test]
    fn sums_longer_than_one_run_of_steps_are_finished_once() {
        let (inputs, outputs, count) = (2500, 40, 33);
        let raw = raw(inputs, outputs);
        let xs: Vec<f32> =
            (0..count * inputs).map(|i| ((i * 31 % 19) as f32 - 9.0) / 90.0).collect();
        let row = |at: usize| &xs[at * inputs..][..inputs];
        let mut scratch = Scratch::new().unwrap();
        for arithmetic in Arithmetic::available() {
            let [packed] = Packed::all([raw.clone()], arithmetic).unwrap();
            for finish in [Finish::Store, Finish::Add, Finish::QuickGelu] {
                let mut out = vec![2.0; count * outputs];
                packed.apply(count, row, finish, (&mut out, outputs), &mut scratch).unwrap();
                for at in 0..count {
                    for output in 0..outputs {
                        let weights = &raw.weight[output * inputs..][..inputs];
                        let dot: f64 = row(at)
                            .iter()
                            .zip(weights)
                            .map(|(x, w)| f64::from(*x) * f64::from(*w))
                            .sum();
                        let product = dot + f64::from(raw.bias[output]);
                        let right = match finish {
                            Finish::Store => product,
                            Finish::Add => 2.0 + product,
                            Finish::QuickGelu => product / (1.0 + (-1.702 * product).exp()),
                        };
                        let got = f64::from(out[at * outputs + output]);
                        let error = (got - right).abs() / (inputs as f64 * 0.06);
                        assert!(
                            error < tolerance(arithmetic),
                            "{arithmetic:?} {finish:?} {got} {right}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn layers_packed_together_stay_apart() {
        let (a, b) = (raw(3, 50), raw(4, 2));
        let mut scratch = Scratch::new().unwrap();
        for arithmetic in Arithmetic::available() {
            let [first, second] = Packed::all([a.clone(), b.clone()], arithmetic).unwrap();
            let [alone] = Packed::all([b.clone()], arithmetic).unwrap();
            let mut outs = [vec![0.0; 2], vec![0.0; 2]];
            for (packed, out) in [&second, &alone].into_iter().zip(&mut outs) {
                let row = [0.25, 0.5, -1.0, 3.0];
                packed.apply(1, |_| &row, Finish::Store, (out, 2), &mut scratch).unwrap();
            }
            assert_eq!(outs[0], outs[1]);
            assert_eq!((first.outputs(), second.outputs()), (50, 2));
        }
    }
}
