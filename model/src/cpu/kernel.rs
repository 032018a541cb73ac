//! The inner loop of every matrix product: a tile of up to 8 rows by 48 columns.
//!
//! The 48 columns of a panel are three vectors of AVX-512; 8 rows of them are 24 sums that stay in
//! registers while the tile runs along the inner dimension. While it does, it asks for the part of
//! the next panel that its turn is to fetch: weights do not fit the caches, and without that every
//! panel's first tile waits for memory.

use super::simd::Isa;

/// Columns of a panel.
pub(super) const COLUMNS: usize = 48;

/// Rows of a tile, at most.
pub(super) const ROWS: usize = 8;

/// The sums of a tile.
pub(super) type Sums = [[f32; COLUMNS]; ROWS];

/// One tile of `sums += rows · panel`.
pub(super) struct Tile<'a> {
    /// The rows, 1 to [`ROWS`], each of the inner dimension's length.
    pub(super) rows: &'a [&'a [f32]],
    /// The panel, one row of columns for each step of the inner dimension.
    pub(super) panel: &'a [[f32; COLUMNS]],
    /// What will be needed soon.
    pub(super) ahead: &'a [[f32; COLUMNS]],
}

/// Adds a tile's products to `sums[..tile.rows.len()]`.
///
/// Each sum is formed in the order of the inner dimension, by itself: a row's result does not
/// depend on the rows beside it.
///
/// # Panics
/// When there are no rows, too many, or one of another length than the panel.
#[inline]
pub(super) fn run(isa: Isa, tile: &Tile<'_>, sums: &mut Sums) {
    assert!((1..=ROWS).contains(&tile.rows.len()), "1 to {ROWS} rows in a tile");
    assert!(tile.rows.iter().all(|row| row.len() == tile.panel.len()), "rows as long as the panel");
    match isa {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls code compiled for features just detected")]
        // SAFETY: `Isa::Avx512` is only made where its features were detected; the lengths that the
        // kernel relies on were asserted above.
        Isa::Avx512 => unsafe { avx512::run(tile, sums) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "calls code compiled for features just detected")]
        // SAFETY: as above, for `Isa::Avx2`.
        Isa::Avx2 => unsafe { avx2::run(tile, sums) },
        Isa::Baseline => baseline(tile, sums),
    }
}

/// Eight columns at a time, which four SSE2 or NEON registers hold for two rows.
fn baseline(tile: &Tile<'_>, sums: &mut Sums) {
    const WIDTH: usize = 8;
    for first in (0..COLUMNS).step_by(WIDTH) {
        for (row, sums) in tile.rows.iter().zip(sums.iter_mut()) {
            let mut total = [0.0; WIDTH];
            total.copy_from_slice(&sums[first..first + WIDTH]);
            for (x, columns) in row.iter().zip(tile.panel) {
                for (total, column) in total.iter_mut().zip(&columns[first..first + WIDTH]) {
                    *total += x * column;
                }
            }
            sums[first..first + WIDTH].copy_from_slice(&total);
        }
    }
}

/// The same tile with the registers of one instruction set: `$vectors` registers of `$lanes` floats
/// side by side, `$rows` rows at a time.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    (
        $name:ident, $features:literal, $lanes:literal, $vectors:literal, $rows:literal,
        [$($part:literal)*], $zero:ident, $splat:ident, $load:ident, $store:ident, $fma:ident
    ) => {
        #[expect(unsafe_code, reason = "vector loads and stores take pointers")]
        mod $name {
            use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch, $fma, $load, $splat, $store, $zero};

            use super::{COLUMNS, ROWS, Sums, Tile};

            /// # Safety
            /// The machine has the features; every row of the tile is as long as its panel; there
            /// are 1 to `ROWS` rows.
            #[target_feature(enable = $features)]
            pub(super) unsafe fn run(tile: &Tile<'_>, sums: &mut Sums) {
                let mut first = 0;
                while first < tile.rows.len() {
                    let rows = &tile.rows[first..(first + $rows).min(tile.rows.len())];
                    let sums = &mut sums[first..];
                    // SAFETY: the caller's promise; `part` gets as many rows as its parameter says,
                    // and `sums` has at least as many.
                    unsafe {
                        match rows.len() {
                            $($part => part::<$part>(rows, tile, sums),)*
                            _ => unreachable!("at most {} rows", $rows),
                        }
                    }
                    first += $rows;
                }
            }

            /// # Safety
            /// As for `run`; `rows` has `MR` rows and `sums` at least as many.
            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn part<const MR: usize>(
                rows: &[&[f32]],
                tile: &Tile<'_>,
                sums: &mut [[f32; COLUMNS]],
            ) {
                const WIDTH: usize = $lanes * $vectors;
                let steps = tile.panel.len();
                let panel: *const f32 = tile.panel.as_ptr().cast();
                let inputs: [*const f32; MR] = std::array::from_fn(|row| rows[row].as_ptr());
                // Lines of the next panel, spread evenly over the steps.
                let lines = size_of_val(tile.ahead) / 64;
                let every = steps.checked_div(lines).unwrap_or(usize::MAX).max(1);
                let (mut ahead, mut due) = (tile.ahead.as_ptr().cast::<i8>(), every);

                for first in (0..COLUMNS).step_by(WIDTH) {
                    let mut total = [[$zero(); $vectors]; MR];
                    for (row, total) in total.iter_mut().enumerate() {
                        for (vector, total) in total.iter_mut().enumerate() {
                            // SAFETY: inside the row of `COLUMNS` sums.
                            *total = unsafe { $load(sums[row].as_ptr().add(first + vector * $lanes)) };
                        }
                    }
                    for step in 0..steps {
                        if first == 0 && step == due {
                            _mm_prefetch::<_MM_HINT_T1>(ahead);
                            ahead = ahead.wrapping_add(64);
                            due += every;
                        }
                        let mut columns = [$zero(); $vectors];
                        for (vector, columns) in columns.iter_mut().enumerate() {
                            // SAFETY: inside row `step` of the panel.
                            *columns = unsafe {
                                $load(panel.add(step * COLUMNS + first + vector * $lanes))
                            };
                        }
                        for (input, total) in inputs.iter().zip(&mut total) {
                            // SAFETY: rows are as long as the panel.
                            let x = $splat(unsafe { *input.add(step) });
                            for (columns, total) in columns.iter().zip(total) {
                                *total = $fma(x, *columns, *total);
                            }
                        }
                    }
                    for (row, total) in total.iter().enumerate() {
                        for (vector, total) in total.iter().enumerate() {
                            let at = first + vector * $lanes;
                            // SAFETY: inside the row of `COLUMNS` sums.
                            unsafe { $store(sums[row].as_mut_ptr().add(at), *total) };
                        }
                    }
                }
                const { assert!($rows <= ROWS && COLUMNS % WIDTH == 0) };
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
kernel!(
    avx512, "avx512f", 16, 3, 8, [1 2 3 4 5 6 7 8],
    _mm512_setzero_ps, _mm512_set1_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_fmadd_ps
);
#[cfg(target_arch = "x86_64")]
kernel!(
    avx2, "avx2,fma", 8, 3, 4, [1 2 3 4],
    _mm256_setzero_ps, _mm256_set1_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_fmadd_ps
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_forms_the_same_sums_for_every_number_of_rows() {
        for (rows, steps) in (1..=ROWS).zip([1, 2, 3, 7, 16, 33, 64, 101]) {
            let value = |i: usize| ((i * 7919 % 31) as f32 - 15.0) / 8.0;
            let data: Vec<Vec<f32>> =
                (0..rows).map(|row| (0..steps).map(|k| value(row * 97 + k)).collect()).collect();
            let panel: Vec<[f32; COLUMNS]> =
                (0..steps).map(|k| std::array::from_fn(|c| value(k * 53 + c + 11))).collect();
            let slices: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
            for isa in Isa::available() {
                let mut sums = [[0.5; COLUMNS]; ROWS];
                run(isa, &Tile { rows: &slices, panel: &panel, ahead: &panel }, &mut sums);
                for (row, sums) in sums.iter().enumerate() {
                    for (column, sum) in sums.iter().enumerate() {
                        let product =
                            |k: usize| f64::from(data[row][k]) * f64::from(panel[k][column]);
                        let right = 0.5
                            + if row < rows { (0..steps).map(product).sum::<f64>() } else { 0.0 };
                        assert!((f64::from(*sum) - right).abs() < 1e-4, "{isa:?} {row} {column}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "rows as long as the panel")]
    fn a_row_of_another_length_is_refused() {
        let panel = [[0.0; COLUMNS]; 3];
        let tile = Tile { rows: &[&[0.0; 2]], panel: &panel, ahead: &[] };
        run(Isa::detect(), &tile, &mut [[0.0; COLUMNS]; ROWS]);
    }
}
