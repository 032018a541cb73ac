//! Linear layers in tiles.
//!
//! Weights stay as they are, in `f32` (or, for plain `bf16`, rounded), in the order in which tiles
//! want them; their parts are formed panel by panel, in the second cache, and serve all rows.
//! Storing the parts would take half as much memory again, and reading them longer than forming them.

use super::split::{block, columns};
use super::{Amx, COLUMNS, DEPTH, Parts, Product, SIDE, Tile, Tiles, tiles_of};
use crate::ModelError;
use crate::cpu::matmul::{Finish, Raw, Scratch};
use crate::cpu::simd::quick_gelu;

/// Steps over which sums stay in one piece: what of the rows stays in the second cache meanwhile.
const STEPS: usize = 32;

/// A packed layer: the bias, filled up to whole panels; then, for each run of [`STEPS`] steps, each
/// panel of [`COLUMNS`] outputs, each step, two tiles of weights side by side.
#[derive(Clone, Copy, Debug)]
pub(in crate::cpu) struct Layer<'a> {
    amx: Amx,
    parts: Parts,
    bias: &'a [f32],
    weights: &'a [f32],
    inputs: usize,
    outputs: usize,
}

/// Floats that the weights of one tile take.
const fn tile_len(parts: Parts) -> usize {
    match parts {
        Parts::One => size_of::<Tile>() / size_of::<f32>(),
        Parts::Three => DEPTH * SIDE,
    }
}

/// Floats of a packed layer.
pub(in crate::cpu) fn packed_len(parts: Parts, inputs: usize, outputs: usize) -> usize {
    let panels = outputs.div_ceil(COLUMNS);
    panels * (COLUMNS + inputs.div_ceil(DEPTH) * 2 * tile_len(parts))
}

/// Packs a layer into `packed_len` zeros.
pub(in crate::cpu) fn pack(_: Amx, parts: Parts, raw: &Raw, packed: &mut [f32]) {
    let (inputs, outputs) = (raw.inputs, raw.outputs());
    let panels = outputs.div_ceil(COLUMNS);
    let (bias, weights) = packed.split_at_mut(panels * COLUMNS);
    bias[..raw.bias.len()].copy_from_slice(&raw.bias);
    let mut tiles = weights.chunks_exact_mut(tile_len(parts));
    let steps = inputs.div_ceil(DEPTH);
    for first_step in (0..steps).step_by(STEPS) {
        for panel in 0..panels {
            for step in first_step..steps.min(first_step + STEPS) {
                for side in 0..2 {
                    let Some(packed) = tiles.next() else { return };
                    let tile = tile_of(raw, step * DEPTH, panel * COLUMNS + side * SIDE);
                    match parts {
                        Parts::Three => packed.copy_from_slice(tile.as_flattened()),
                        #[expect(unsafe_code, reason = "calls code for features just detected")]
                        // SAFETY: an `Amx` is only made where the features were detected.
                        Parts::One => unsafe {
                            columns::<1>(|row| &tile[row], packed.as_chunks_mut().0, 1);
                        },
                    }
                }
            }
        }
    }
}

/// A tile of a layer's weights, input by output, with zeros beyond its edges.
fn tile_of(raw: &Raw, first_input: usize, first_output: usize) -> [[f32; SIDE]; DEPTH] {
    let mut tile = [[0.0; SIDE]; DEPTH];
    let rows = raw.weight.chunks_exact(raw.inputs.max(1)).skip(first_output);
    for (output, weights) in rows.take(SIDE).enumerate() {
        for (row, weight) in tile.iter_mut().zip(&weights[first_input..]) {
            row[output] = *weight;
        }
    }
    tile
}

impl<'a> Layer<'a> {
    /// What [`pack`] wrote.
    pub(in crate::cpu) fn new(
        amx: Amx,
        parts: Parts,
        packed: &'a [f32],
        inputs: usize,
        outputs: usize,
    ) -> Self {
        let (bias, weights) = packed.split_at(outputs.next_multiple_of(COLUMNS));
        Self { amx, parts, bias, weights, inputs, outputs }
    }
}

/// As [`crate::cpu::matmul::matmul`].
pub(in crate::cpu) fn linear<'r>(
    count: usize,
    row: impl Fn(usize) -> &'r [f32],
    layer: Layer<'_>,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
    scratch: &mut Scratch,
) -> Result<(), ModelError> {
    #[expect(unsafe_code, reason = "calls code compiled for features just detected")]
    // SAFETY: a layer holds an `Amx`, which is only made where the features were detected.
    unsafe {
        match layer.parts {
            Parts::One => product::<1>(count, row, layer, finish, out, stride, scratch),
            Parts::Three => product::<3>(count, row, layer, finish, out, stride, scratch),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn product<'r, const PARTS: usize>(
    count: usize,
    row: impl Fn(usize) -> &'r [f32],
    layer: Layer<'_>,
    finish: Finish,
    out: &mut [f32],
    stride: usize,
    scratch: &mut Scratch,
) -> Result<(), ModelError> {
    let blocks = count.div_ceil(SIDE);
    let steps = layer.inputs.div_ceil(DEPTH);
    let rows = tiles_of(&mut scratch.left, blocks * steps.min(STEPS) * PARTS)?;
    let formed = tiles_of(&mut scratch.right, steps.min(STEPS) * PARTS * 2)?;
    let mut sums = [[[0.0; COLUMNS]; 2 * SIDE]; 2];
    let tiles = Tiles::set_up(layer.amx);
    let mut weights = layer.weights;
    for first_step in (0..steps).step_by(STEPS) {
        let steps_here = STEPS.min(steps - first_step);
        let inputs = first_step * DEPTH..layer.inputs.min((first_step + STEPS) * DEPTH);
        let rows = &mut rows[..blocks * steps_here * PARTS];
        for (number, tiles) in rows.chunks_exact_mut(steps_here * PARTS).enumerate() {
            let first = number * SIDE;
            let row = |at: usize| &row(first + at)[inputs.clone()];
            block::<PARTS>(SIDE.min(count - first), row, steps_here, tiles);
        }
        let pass = Pass { is_first: first_step == 0, is_last: first_step + STEPS >= steps, finish };
        for (panel, bias) in layer.bias.as_chunks::<COLUMNS>().0.iter().enumerate() {
            let (these, after) = weights.split_at(steps_here * 2 * tile_len(layer.parts));
            weights = after;
            let right = if PARTS == 1 { these.as_chunks().0 } else { form::<PARTS>(these, formed) };
            let first_column = panel * COLUMNS;
            let columns = first_column..layer.outputs.min(first_column + COLUMNS);
            let finish = |first: usize, sums: &Block| {
                for (at, sums) in (first..count).zip(sums) {
                    pass.finish(sums, bias, &mut out[at * stride..][columns.clone()]);
                }
            };
            sweep(&tiles, layer.parts, rows, right, &mut sums, after.as_ptr(), finish);
        }
    }
    Ok(())
}

/// The parts of a panel's weights.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[inline]
fn form<'a, const PARTS: usize>(weights: &[f32], formed: &'a mut [Tile]) -> &'a [Tile] {
    let weights = weights.as_chunks::<SIDE>().0;
    let mut used = 0;
    for (weights, tiles) in weights.chunks_exact(2 * DEPTH).zip(formed.chunks_exact_mut(PARTS * 2))
    {
        for (side, weights) in weights.chunks_exact(DEPTH).enumerate() {
            columns::<PARTS>(|row| &weights[row], &mut tiles[side..], 2);
        }
        used += PARTS * 2;
    }
    &formed[..used]
}

/// The sums of two blocks of rows.
type Block = [[f32; COLUMNS]; 2 * SIDE];

/// All rows by one panel: `finish` gets the number of a row and the sums of it and those after it,
/// while the tiles work on the next.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
#[inline]
fn sweep(
    tiles: &Tiles,
    parts: Parts,
    rows: &[Tile],
    right: &[Tile],
    [now, before]: &mut [Block; 2],
    mut ahead: *const f32,
    mut finish: impl FnMut(usize, &Block),
) {
    let per_block = right.len() / 2;
    let (mut now, mut before) = (now, before);
    let mut first_row = 0;
    for rows in rows.chunks(2 * per_block) {
        let (first, second) = rows.split_at(per_block);
        let (one, both) = ([first], [first, second]);
        let mut product = Product {
            parts,
            blocks: if second.is_empty() { &one } else { &both },
            weights: right,
            sums: now.as_flattened_mut(),
            stride: COLUMNS,
            ahead,
        };
        product.form(tiles);
        ahead = product.ahead;
        if first_row > 0 {
            finish(first_row - 2 * SIDE, before);
        }
        std::mem::swap(&mut now, &mut before);
        first_row += 2 * SIDE;
    }
    if first_row > 0 {
        finish(first_row - 2 * SIDE, before);
    }
}

/// What to do with the sums over one run of steps.
#[derive(Clone, Copy)]
struct Pass {
    is_first: bool,
    is_last: bool,
    finish: Finish,
}

impl Pass {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    #[inline]
    fn finish(self, sums: &[f32; COLUMNS], bias: &[f32; COLUMNS], out: &mut [f32]) {
        if out.len() == COLUMNS
            && let Some(out) = out.first_chunk_mut()
        {
            *out = self.of(sums, bias, out);
        } else {
            let mut before = [0.0; COLUMNS];
            before[..out.len()].copy_from_slice(out);
            out.copy_from_slice(&self.of(sums, bias, &before)[..out.len()]);
        }
    }

    /// What becomes of sums, given what is in their place.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    #[inline]
    fn of(
        self,
        sums: &[f32; COLUMNS],
        bias: &[f32; COLUMNS],
        before: &[f32; COLUMNS],
    ) -> [f32; COLUMNS] {
        let mut values = *sums;
        if self.is_first {
            values.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
        if !self.is_first || self.finish == Finish::Add {
            values.iter_mut().zip(before).for_each(|(value, before)| *value += before);
        }
        if self.is_last && self.finish == Finish::QuickGelu {
            for value in &mut values {
                *value = quick_gelu(*value);
            }
        }
        values
    }
}
