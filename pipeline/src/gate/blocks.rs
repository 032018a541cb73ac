//! A picture as the means of small overlapping blocks.

use footage_clip::RgbFrame;

/// Luma, blue and red difference.
pub(super) const CHANNELS: usize = 3;

/// Cells along the longer side, where the picture has pixels for them.
const CELLS: u32 = 80;

/// No cell is smaller, in pixels a side.
const MIN_CELL: u32 = 2;

/// Block sizes and the steps between blocks, in cells. The small ones, a fortieth of the longer side,
/// see small things; in the large ones noise averages out, so they see faint ones.
const SCALES: [(usize, usize); 2] = [(2, 1), (8, 2)];

/// Where the blocks of one size lie among all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Grid {
    pub(super) first: usize,
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Grid {
    pub(super) fn blocks(&self) -> std::ops::Range<usize> {
        self.first..self.first + self.columns * self.rows
    }
}

/// How a picture of one size is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    width: usize,
    height: usize,
    columns: usize,
    rows: usize,
    /// Small blocks, then large ones.
    pub(super) grids: [Grid; SCALES.len()],
}

impl Layout {
    pub(super) fn of(width: u32, height: u32) -> Self {
        let cell = width.max(height).div_ceil(CELLS).max(MIN_CELL);
        let [columns, rows] = [width, height].map(|side| (side / cell).max(1) as usize);
        let mut first = 0;
        let grids = SCALES.map(|(side, step)| {
            let along = |cells: usize| cells.saturating_sub(side) / step + 1;
            let grid = Grid { first, columns: along(columns), rows: along(rows) };
            first = grid.blocks().end;
            grid
        });
        Self { width: width as usize, height: height as usize, columns, rows, grids }
    }

    /// Blocks of all sizes.
    pub(super) fn blocks(&self) -> usize {
        self.grids.last().map_or(0, |grid| grid.blocks().end)
    }
}

/// Mean luma and chroma of each block, in 8-bit steps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Blocks {
    pub(super) layout: Layout,
    pub(super) means: Vec<[f32; CHANNELS]>,
}

impl Blocks {
    pub(super) fn of(frame: &RgbFrame) -> Self {
        let layout = Layout::of(frame.width(), frame.height());
        let cells = cells(frame.data(), &layout);
        let mut means = Vec::with_capacity(layout.blocks());
        for ((side, step), grid) in SCALES.into_iter().zip(layout.grids) {
            for row in 0..grid.rows {
                for column in 0..grid.columns {
                    means.push(mean(&cells, &layout, (column * step, row * step), side));
                }
            }
        }
        Self { layout, means }
    }
}

/// The mean of the cells of a block, which ends where the picture does.
fn mean(
    cells: &[[f32; CHANNELS]],
    layout: &Layout,
    (left, top): (usize, usize),
    side: usize,
) -> [f32; CHANNELS] {
    let (right, bottom) = ((left + side).min(layout.columns), (top + side).min(layout.rows));
    let mut sum = [0.0; CHANNELS];
    for row in top..bottom {
        for cell in &cells[row * layout.columns + left..row * layout.columns + right] {
            for (sum, value) in sum.iter_mut().zip(cell) {
                *sum += value;
            }
        }
    }
    let count = ((right - left) * (bottom - top)) as f32;
    sum.map(|sum| sum / count)
}

/// Mean luma and chroma (ITU-R BT.601) of each cell; together they cover the picture.
fn cells(rgb: &[u8], layout: &Layout) -> Vec<[f32; CHANNELS]> {
    let edge = |at: usize, cells: usize, pixels: usize| at * pixels / cells;
    let mut cells = Vec::with_capacity(layout.columns * layout.rows);
    let mut sums = vec![[0_u32; 3]; layout.columns];
    for row in 0..layout.rows {
        let (top, bottom) =
            (edge(row, layout.rows, layout.height), edge(row + 1, layout.rows, layout.height));
        sums.fill([0; 3]);
        for line in rgb.chunks_exact(layout.width * 3).take(bottom).skip(top) {
            for (column, sum) in sums.iter_mut().enumerate() {
                let from = edge(column, layout.columns, layout.width);
                let to = edge(column + 1, layout.columns, layout.width);
                for pixel in line[from * 3..to * 3].chunks_exact(3) {
                    for (sum, value) in sum.iter_mut().zip(pixel) {
                        *sum += u32::from(*value);
                    }
                }
            }
        }
        cells.extend(sums.iter().enumerate().map(|(column, sum)| {
            let width = edge(column + 1, layout.columns, layout.width)
                - edge(column, layout.columns, layout.width);
            let pixels = (width * (bottom - top)) as f32;
            let [r, g, b] = sum.map(|sum| sum as f32 / pixels);
            let luma = 0.299 * r + 0.587 * g + 0.114 * b;
            [luma, 0.564 * (b - luma), 0.713 * (r - luma)]
        }));
    }
    cells
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(width: u32, height: u32, pixel: impl Fn(u32, u32) -> [u8; 3]) -> RgbFrame {
        let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
        let data: Vec<u8> = pixels.flat_map(|(x, y)| pixel(x, y)).collect();
        RgbFrame::try_new(width, height, data).unwrap()
    }

    #[test]
    fn a_small_thing_fills_some_block_whole_and_leaves_those_elsewhere_alone() {
        let thing = frame(320, 240, |x, y| {
            if (100..112).contains(&x) && (60..72).contains(&y) { [255; 3] } else { [0; 3] }
        });
        let blocks = Blocks::of(&thing);
        let small = &blocks.means[blocks.layout.grids[0].blocks()];
        assert_eq!((blocks.layout.grids[0].columns, blocks.layout.grids[0].rows), (79, 59));
        assert!(small.iter().any(|mean| (mean[0] - 255.0).abs() < 0.01));
        assert_eq!(small.iter().filter(|mean| mean[0] > 0.0).count(), 16);
    }

    #[test]
    fn colours_of_one_luma_differ_in_chroma() {
        let luma_of = |colour| Blocks::of(&frame(8, 8, |_, _| colour)).means[0];
        let (red, grey) = (luma_of([200, 0, 0]), luma_of([60, 60, 60]));
        assert!((red[0] - grey[0]).abs() < 1.0, "{red:?} {grey:?}");
        assert!(red[2] - grey[2] > 50.0);
    }

    proptest! {
        #[test]
        fn a_picture_of_any_size_is_covered(width in 1u32..500, height in 1u32..500, value: u8) {
            let blocks = Blocks::of(&frame(width, height, |_, _| [value; 3]));
            prop_assert_eq!(blocks.means.len(), blocks.layout.blocks());
            for mean in blocks.means {
                prop_assert!((mean[0] - f32::from(value)).abs() < 0.01 && mean[1].abs() < 0.01);
            }
        }

        #[test]
        fn every_pixel_counts(width in 1u32..200, height in 1u32..200, at: (prop::sample::Index, prop::sample::Index)) {
            let (x, y) = (at.0.index(width as usize) as u32, at.1.index(height as usize) as u32);
            let with = Blocks::of(&frame(width, height, |a, b| if (a, b) == (x, y) { [255; 3] } else { [0; 3] }));
            prop_assert!(with.means[with.layout.grids[0].blocks()].iter().any(|mean| mean[0] > 0.0));
        }
    }
}
