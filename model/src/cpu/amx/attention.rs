//! Attention in tiles, head by head.

use super::split::{block, columns, transposed};
use super::{Amx, COLUMNS, DEPTH, Parts, Product, SIDE, Tile, Tiles, tiles_of};
use crate::ModelError;
use crate::cpu::attention::{Sequence, Sight};
use crate::cpu::matmul::Scratch;
use crate::cpu::simd;

/// As [`crate::cpu::attention::attend`].
pub(in crate::cpu) fn attend<'r>(
    (amx, parts): (Amx, Parts),
    sequence: &Sequence<impl Fn(usize) -> &'r [f32]>,
    scratch: &mut Scratch,
    out: &mut [f32],
    stride: usize,
) -> Result<(), ModelError> {
    #[expect(unsafe_code, reason = "calls code compiled for features just detected")]
    // SAFETY: an `Amx` is only made where the features were detected.
    unsafe {
        match parts {
            Parts::One => heads::<1>(amx, parts, sequence, scratch, out, stride),
            Parts::Three => heads::<3>(amx, parts, sequence, scratch, out, stride),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
fn heads<'r, const PARTS: usize>(
    amx: Amx,
    parts: Parts,
    sequence: &Sequence<impl Fn(usize) -> &'r [f32]>,
    scratch: &mut Scratch,
    out: &mut [f32],
    stride: usize,
) -> Result<(), ModelError> {
    let Sequence { len, width, heads, sight, .. } = *sequence;
    let row = &sequence.row;
    let size = width / heads;
    let blocks = len.div_ceil(SIDE);
    // Queries and keys are as deep as a head; shares and values as the sequence is long.
    let (channel_steps, token_steps) = (size.div_ceil(DEPTH), len.div_ceil(DEPTH));
    let (channel_panels, token_panels) = (size.div_ceil(COLUMNS), len.div_ceil(COLUMNS));
    let deepest = channel_steps.max(token_steps);
    let left = tiles_of(&mut scratch.left, blocks * deepest * PARTS)?;
    let right_len = (token_panels * channel_steps).max(channel_panels * token_steps);
    let right = tiles_of(&mut scratch.right, right_len * 2 * PARTS)?;
    let sums_stride = token_panels * COLUMNS;
    let sums = scratch.sums.room(blocks * SIDE * (sums_stride + COLUMNS))?;
    let (scores, mixed) = sums.split_at_mut(blocks * SIDE * sums_stride);
    let tiles = Tiles::set_up(amx);
    for head in 0..heads {
        let part = |token: usize, which: usize| &row(token)[which * width + head * size..][..size];
        for (at, left) in left.chunks_exact_mut(channel_steps * PARTS).take(blocks).enumerate() {
            let rows = SIDE.min(len - at * SIDE);
            block::<PARTS>(rows, |row| part(at * SIDE + row, 0), channel_steps, left);
        }
        let of_panel = right.chunks_exact_mut(channel_steps * 2 * PARTS);
        for (panel, right) in of_panel.take(token_panels).enumerate() {
            for (step, tiles) in right.chunks_exact_mut(2 * PARTS).enumerate() {
                for side in 0..2 {
                    let key = |at: usize| {
                        let token = panel * COLUMNS + side * SIDE + at;
                        if token >= len {
                            return [].as_slice();
                        }
                        &part(token, 1)[step * DEPTH..size.min((step + 1) * DEPTH)]
                    };
                    transposed::<PARTS>(key, &mut tiles[side..], 2);
                }
            }
        }
        for panel in 0..token_panels {
            let right = &right[panel * channel_steps * 2 * PARTS..][..channel_steps * 2 * PARTS];
            let left = &left[..blocks * channel_steps * PARTS];
            sweep(&tiles, parts, left, right, &mut scores[panel * COLUMNS..], sums_stride);
        }
        for (token, scores) in scores.chunks_exact_mut(sums_stride).take(len).enumerate() {
            let seen = if sight == Sight::Causal { token + 1 } else { len };
            simd::softmax(&mut scores[..seen]);
            scores[seen..len].fill(0.0);
        }
        for (at, left) in left.chunks_exact_mut(token_steps * PARTS).take(blocks).enumerate() {
            let rows = SIDE.min(len - at * SIDE);
            let share = |row: usize| &scores[(at * SIDE + row) * sums_stride..][..len];
            block::<PARTS>(rows, share, token_steps, left);
        }
        for panel in 0..channel_panels {
            let right = &mut right[..token_steps * 2 * PARTS];
            for (step, tiles) in right.chunks_exact_mut(2 * PARTS).enumerate() {
                for side in 0..2 {
                    let first = panel * COLUMNS + side * SIDE;
                    let value = |at: usize| {
                        let token = step * DEPTH + at;
                        if token >= len || first >= size {
                            return [].as_slice();
                        }
                        &part(token, 2)[first..size.min(first + SIDE)]
                    };
                    columns::<PARTS>(value, &mut tiles[side..], 2);
                }
            }
            let left = &left[..blocks * token_steps * PARTS];
            sweep(&tiles, parts, left, right, mixed, COLUMNS);
            let first = panel * COLUMNS;
            let columns = COLUMNS.min(size - first);
            for (token, mixed) in mixed.chunks_exact(COLUMNS).take(len).enumerate() {
                out[token * stride + head * size + first..][..columns]
                    .copy_from_slice(&mixed[..columns]);
            }
        }
    }
    Ok(())
}

/// All rows by one panel of columns.
#[inline]
fn sweep(
    tiles: &Tiles,
    parts: Parts,
    left: &[Tile],
    right: &[Tile],
    sums: &mut [f32],
    stride: usize,
) {
    let per_block = right.len() / 2;
    for (left, first_row) in left.chunks(2 * per_block).zip((0..).step_by(2 * SIDE)) {
        let (first, second) = left.split_at(per_block);
        let (one, both) = ([first], [first, second]);
        let blocks: &[&[Tile]] = if second.is_empty() { &one } else { &both };
        let sums = &mut sums[first_row * stride..];
        Product { parts, blocks, weights: right, sums, stride, ahead: right.as_ptr().cast() }
            .form(tiles);
    }
}
