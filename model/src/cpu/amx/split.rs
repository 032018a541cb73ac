//! Numbers in `f32` as sums of numbers in `bf16`, in the order of tiles.
//!
//! `bf16` is the upper half of an `f32`: 8 of its 24 significant bits. The nearest one is taken off
//! a number, then the nearest to what is left, exactly; after the third nothing is left.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_maskz_loadu_ps, _mm512_or_si512, _mm512_permutex2var_epi16, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_storeu_si512,
    _mm512_sub_ps, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};

use super::{DEPTH, SIDE, Tile};

/// Takes the nearest `bf16` off `x`: itself, still as `f32`, and the rest.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn nearest(x: __m512) -> (__m512, __m512) {
    let rounded = _mm512_add_epi32(_mm512_castps_si512(x), _mm512_set1_epi32(0x8000));
    let upper = _mm512_and_si512(rounded, _mm512_set1_epi32(-0x1_0000));
    let nearest = _mm512_castsi512_ps(upper);
    (nearest, _mm512_sub_ps(x, nearest))
}

/// The parts of `x`, the largest first, each as `f32`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn parts_of<const PARTS: usize>(x: __m512) -> [__m512; PARTS] {
    let mut parts = [x; PARTS];
    let mut rest = x;
    for part in &mut parts {
        (*part, rest) = nearest(rest);
    }
    parts
}

/// Up to 16 floats; zeros after them.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load(values: &[f32]) -> __m512 {
    let mask = if values.len() >= SIDE { u16::MAX } else { (1 << values.len()) - 1 };
    #[expect(unsafe_code, reason = "vector loads take pointers")]
    // SAFETY: only the lanes of the mask are read, of which there are at most `values.len()`.
    unsafe {
        _mm512_maskz_loadu_ps(mask, values.as_ptr())
    }
}

/// Row `row` of a tile.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store(tile: &mut Tile, row: usize, value: __m512i) {
    let row: &mut [f32] = &mut tile[row * SIDE..][..SIDE];
    #[expect(unsafe_code, reason = "vector stores take pointers")]
    // SAFETY: 64 bytes, the length of the slice.
    unsafe {
        _mm512_storeu_si512(row.as_mut_ptr().cast(), value);
    }
}

/// 32 values of one row, part by part, in their order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn row_of<const PARTS: usize>(values: &[f32]) -> [__m512i; PARTS] {
    /// The upper half of every value of both operands.
    const UPPER: [u16; DEPTH] = {
        let mut upper = [0; DEPTH];
        let mut at = 0;
        while at < DEPTH {
            upper[at] = 2 * at as u16 + 1;
            at += 1;
        }
        upper
    };
    #[expect(unsafe_code, reason = "no safe conversion to a vector is stable")]
    // SAFETY: 64 bytes each, and any bits are integers.
    let upper = unsafe { std::mem::transmute::<[u16; DEPTH], __m512i>(UPPER) };
    let (low, high) = values.split_at(values.len().min(SIDE));
    let (low, high) = (parts_of::<PARTS>(load(low)), parts_of::<PARTS>(load(high)));
    let mut row = [_mm512_setzero_si512(); PARTS];
    for ((row, low), high) in row.iter_mut().zip(low).zip(high) {
        *row =
            _mm512_permutex2var_epi16(_mm512_castps_si512(low), upper, _mm512_castps_si512(high));
    }
    row
}

/// Up to 16 rows as a left operand: `steps` times `PARTS` tiles, zeros beyond the rows and beyond
/// their values.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn block<'r, const PARTS: usize>(
    rows: usize,
    row: impl Fn(usize) -> &'r [f32],
    steps: usize,
    tiles: &mut [Tile],
) {
    for at in 0..SIDE {
        let values = if at < rows { row(at) } else { &[] };
        for (step, tiles) in tiles.chunks_exact_mut(PARTS).take(steps).enumerate() {
            let first = (step * DEPTH).min(values.len());
            let parts = row_of::<PARTS>(&values[first..values.len().min(first + DEPTH)]);
            for (tile, part) in tiles.iter_mut().zip(parts) {
                store(tile, at, part);
            }
        }
    }
}

/// Two rows over each other as pairs, part by part.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn pairs_of<const PARTS: usize>(upper: &[f32], lower: &[f32]) -> [__m512i; PARTS] {
    let (upper, lower) = (parts_of::<PARTS>(load(upper)), parts_of::<PARTS>(load(lower)));
    let mut pairs = [_mm512_setzero_si512(); PARTS];
    for ((pair, upper), lower) in pairs.iter_mut().zip(upper).zip(lower) {
        *pair = _mm512_or_si512(
            _mm512_srli_epi32::<16>(_mm512_castps_si512(upper)),
            _mm512_castps_si512(lower),
        );
    }
    pairs
}

/// 32 rows of up to 16 columns as one tile of a right operand, part by part; `tiles[part * apart]`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn columns<'r, const PARTS: usize>(
    row: impl Fn(usize) -> &'r [f32],
    tiles: &mut [Tile],
    apart: usize,
) {
    for pair in 0..SIDE {
        let parts = pairs_of::<PARTS>(row(2 * pair), row(2 * pair + 1));
        for (tile, part) in tiles.iter_mut().step_by(apart).zip(parts) {
            store(tile, pair, part);
        }
    }
}

/// Up to 16 rows of up to 32 values as the columns of one tile of a right operand, part by part;
/// `tiles[part * apart]`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn transposed<'r, const PARTS: usize>(
    row: impl Fn(usize) -> &'r [f32],
    tiles: &mut [Tile],
    apart: usize,
) {
    let mut rows = [[_mm512_setzero_si512(); SIDE]; PARTS];
    for at in 0..SIDE {
        let parts = row_of::<PARTS>(row(at));
        for (rows, part) in rows.iter_mut().zip(parts) {
            rows[at] = part;
        }
    }
    for (tile, rows) in tiles.iter_mut().step_by(apart).zip(&rows) {
        for (at, row) in transpose(rows).into_iter().enumerate() {
            store(tile, at, row);
        }
    }
}

/// Sixteen by sixteen values of 32 bits, row `i` column `j` to row `j` column `i`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn transpose(rows: &[__m512i; SIDE]) -> [__m512i; SIDE] {
    let mut a = *rows;
    let mut b = *rows;
    for i in (0..SIDE).step_by(2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for i in (0..SIDE).step_by(4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    // Now a[4 g + c] holds, in its quarter q, column 4 q + c of rows 4 g to 4 g + 3.
    for c in 0..4 {
        b[c] = _mm512_shuffle_i32x4::<0x88>(a[c], a[4 + c]); // quarters 0 and 2, rows 0 to 7
        b[4 + c] = _mm512_shuffle_i32x4::<0xdd>(a[c], a[4 + c]); // 1 and 3
        b[8 + c] = _mm512_shuffle_i32x4::<0x88>(a[8 + c], a[12 + c]); // rows 8 to 15
        b[12 + c] = _mm512_shuffle_i32x4::<0xdd>(a[8 + c], a[12 + c]);
    }
    for c in 0..4 {
        a[c] = _mm512_shuffle_i32x4::<0x88>(b[c], b[8 + c]);
        a[4 + c] = _mm512_shuffle_i32x4::<0x88>(b[4 + c], b[12 + c]);
        a[8 + c] = _mm512_shuffle_i32x4::<0xdd>(b[c], b[8 + c]);
        a[12 + c] = _mm512_shuffle_i32x4::<0xdd>(b[4 + c], b[12 + c]);
    }
    a
}
