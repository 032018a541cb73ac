//! Multi-head attention over one sequence of query, key and value rows.

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx;
use super::kernel::COLUMNS;
use super::matmul::{Finish, Panels, Scratch, matmul, packed_len};
use super::precision::Arithmetic;
use super::simd::{self, Isa};
use crate::ModelError;

/// Which tokens a token sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// All of the sequence.
    All,
    /// Itself and those before it.
    Causal,
}

/// What an attention mixes.
#[derive(Debug)]
pub(super) struct Sequence<R> {
    /// Tokens.
    pub(super) len: usize,
    /// Channels of a query, of a key and of a value.
    pub(super) width: usize,
    pub(super) heads: usize,
    pub(super) sight: Sight,
    /// Query (already scaled), key and value of a token, end to end.
    pub(super) row: R,
}

/// Tokens from which on tiles are worth it: fewer would leave most of each tile empty.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
const LEAST_FOR_TILES: usize = 16;

/// Mixes the values of a sequence; the result of token `i` goes to `out[i * stride..][..width]`.
pub(super) fn attend<'r>(
    arithmetic: Arithmetic,
    sequence: &Sequence<impl Fn(usize) -> &'r [f32]>,
    scratch: &mut Scratch,
    (out, stride): (&mut [f32], usize),
) -> Result<(), ModelError> {
    match arithmetic {
        Arithmetic::Vectors(isa) => attend_on_vectors(isa, sequence, scratch, out, stride),
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Arithmetic::Tiles(amx, parts) if sequence.len >= LEAST_FOR_TILES => {
            amx::attend((amx, parts), sequence, scratch, out, stride)
        }
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        Arithmetic::Tiles(..) => attend_on_vectors(Isa::detect(), sequence, scratch, out, stride),
    }
}

fn attend_on_vectors<'r>(
    isa: Isa,
    sequence: &Sequence<impl Fn(usize) -> &'r [f32]>,
    scratch: &mut Scratch,
    out: &mut [f32],
    stride: usize,
) -> Result<(), ModelError> {
    let Sequence { len, width, heads, sight, .. } = *sequence;
    let row = &sequence.row;
    let size = width / heads;
    let scores_stride = len.next_multiple_of(16);
    let keys = scratch.left.room(packed_len(size, len))?;
    let values = scratch.right.room(packed_len(len, size))?;
    let scores = scratch.sums.room(len * scores_stride)?;
    for head in 0..heads {
        let at = head * size;
        pack_keys(len, |token| &row(token)[width + at..][..size], keys);
        pack_values(len, |token| &row(token)[2 * width + at..][..size], values);
        let query = |token| &row(token)[at..][..size];
        matmul(isa, len, query, Panels::new(keys, size, len), Finish::Store, scores, scores_stride);
        for (token, scores) in scores.chunks_exact_mut(scores_stride).enumerate() {
            let seen = if sight == Sight::Causal { token + 1 } else { len };
            simd::softmax(&mut scores[..seen]);
            scores[seen..len].fill(0.0);
        }
        let share = |token: usize| &scores[token * scores_stride..][..len];
        let panels = Panels::new(values, len, size);
        matmul(isa, len, share, panels, Finish::Store, &mut out[at..], stride);
    }
    Ok(())
}

/// Keys as the columns of a matrix, `[size, len]`, in panels without bias.
fn pack_keys<'r>(len: usize, key: impl Fn(usize) -> &'r [f32], panels: &mut [f32]) {
    let Some(panel) = panels.len().checked_div(len.div_ceil(COLUMNS)) else { return };
    for (panel, first) in panels.chunks_exact_mut(panel).zip((0..len).step_by(COLUMNS)) {
        panel[..COLUMNS].fill(0.0);
        for token in first..len.min(first + COLUMNS) {
            for (row, value) in panel[COLUMNS..].chunks_exact_mut(COLUMNS).zip(key(token)) {
                row[token - first] = *value;
            }
        }
        // What lies beyond the last token is computed and not looked at; it only must not be NaN
        // left from another use, which would be slow.
        let tail = len.saturating_sub(first);
        if tail < COLUMNS {
            panel[COLUMNS..].chunks_exact_mut(COLUMNS).for_each(|row| row[tail..].fill(0.0));
        }
    }
}

/// Values as the rows of a matrix, `[len, size]`, in panels without bias.
fn pack_values<'r>(len: usize, value: impl Fn(usize) -> &'r [f32], panels: &mut [f32]) {
    let panel = (1 + len) * COLUMNS;
    for (number, panel) in panels.chunks_exact_mut(panel).enumerate() {
        panel[..COLUMNS].fill(0.0);
        for (token, row) in panel[COLUMNS..].chunks_exact_mut(COLUMNS).enumerate() {
            let values = &value(token)[number * COLUMNS..];
            let count = values.len().min(COLUMNS);
            row[..count].copy_from_slice(&values[..count]);
            row[count..].fill(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Attention as the formula says, in f64.
    fn expected(rows: &[Vec<f32>], width: usize, heads: usize, sight: Sight) -> Vec<Vec<f64>> {
        let size = width / heads;
        let mut out = vec![vec![0.0; width]; rows.len()];
        for head in 0..heads {
            for (token, query) in rows.iter().enumerate() {
                let seen = if sight == Sight::Causal { token + 1 } else { rows.len() };
                let score = |key: &Vec<f32>| -> f64 {
                    (head * size..(head + 1) * size)
                        .map(|c| f64::from(query[c]) * f64::from(key[width + c]))
                        .sum::<f64>()
                };
                let weights: Vec<f64> = rows[..seen].iter().map(|key| score(key).exp()).collect();
                let total: f64 = weights.iter().sum();
                for (weight, value) in weights.iter().zip(rows) {
                    for c in head * size..(head + 1) * size {
                        out[token][c] += weight / total * f64::from(value[2 * width + c]);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn sequences_of_any_length_are_mixed_as_the_formula_says() {
        let mut scratch = Scratch::new().unwrap();
        // Lengths and heads around the widths of panels and tiles; one room for all, so that
        // leftovers would show.
        for (len, width, heads) in [
            (100, 128, 2),
            (1, 8, 2),
            (8, 64, 1),
            (50, 96, 2),
            (48, 15, 3),
            (49, 50, 1),
            (17, 99, 3),
            (97, 16, 4),
        ] {
            let value = |i: usize| ((i * 7919 % 101) as f32 - 50.0) / 60.0;
            let rows: Vec<Vec<f32>> = (0..len)
                .map(|token| (0..3 * width).map(|c| value(token * 331 + c)).collect())
                .collect();
            for (arithmetic, sight) in Arithmetic::available()
                .into_iter()
                .flat_map(|arithmetic| [Sight::All, Sight::Causal].map(|sight| (arithmetic, sight)))
            {
                let stride = width + 3;
                let mut out = vec![9.0; len * stride];
                let row = |token: usize| rows[token].as_slice();
                let sequence = Sequence { len, width, heads, sight, row };
                attend(arithmetic, &sequence, &mut scratch, (&mut out, stride)).unwrap();
                let right = expected(&rows, width, heads, sight);
                let tolerance = if arithmetic.is_exact() { 2e-5 } else { 3e-2 };
                for token in 0..len {
                    for c in 0..width {
                        let got = f64::from(out[token * stride + c]);
                        let error = (got - right[token][c]).abs();
                        assert!(
                            error < tolerance,
                            "{arithmetic:?} {len} {width} {token} {c} {error}"
                        );
                    }
                    assert_eq!(out[token * stride + width..][..3], [9.0; 3]);
                }
            }
        }
    }
}
