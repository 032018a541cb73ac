//! Scaling 8-bit RGB as `OpenCV` and Pillow do.

use footage_clip::RgbFrame;

use crate::config::Resize;

/// Scale a picture to `width` x `height`, then keep the part that begins at `left`, `top`. Only
/// that part is computed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) left: usize,
    pub(crate) top: usize,
    pub(crate) cut_width: usize,
    pub(crate) cut_height: usize,
}

/// The window's pixels, packed RGB.
pub(crate) fn resize_window(frame: &RgbFrame, window: &Window, resize: Resize) -> Vec<u8> {
    let (width, height) = (frame.width() as usize, frame.height() as usize);
    if (width, height) == (window.width, window.height) {
        return cut(frame.data(), window);
    }
    let shrinks = window.width < width || window.height < height;
    match resize {
        Resize::Bicubic => pillow(frame.data(), width, height, window, &CUBIC),
        Resize::PillowBilinear => pillow(frame.data(), width, height, window, &TRIANGLE),
        Resize::Area if shrinks => mean_over_area(frame.data(), width, height, window),
        Resize::Area | Resize::Bilinear => bilinear(frame.data(), width, height, window),
    }
}

fn cut(data: &[u8], window: &Window) -> Vec<u8> {
    let mut out = Vec::with_capacity(3 * window.cut_width * window.cut_height);
    for row in window.top..window.top + window.cut_height {
        let at = 3 * (row * window.width + window.left);
        out.extend_from_slice(&data[at..at + 3 * window.cut_width]);
    }
    out
}

/// Fractional bits of a weight in `OpenCV`'s `INTER_LINEAR` on bytes.
const WEIGHT_BITS: i32 = 11;

/// Two neighbours and the weight of the second, in units of 2^-11.
#[derive(Clone, Copy)]
struct Tap {
    first: usize,
    second: usize,
    weight: i32,
}

/// Where the samples `from..from + count` of an axis scaled from `length` to `scaled` lie: centres
/// of pixels map onto each other, the edge is repeated.
fn taps(length: usize, scaled: usize, from: usize, count: usize) -> Vec<Tap> {
    let scale = length as f64 / scaled as f64;
    (from..from + count)
        .map(|at| {
            // OpenCV computes the position in f32.
            let position = ((at as f64 + 0.5) * scale - 0.5) as f32;
            let floor = position.floor();
            let (first, fraction) = if floor < 0.0 {
                (0, 0.0)
            } else if floor as usize + 1 >= length {
                (length - 1, 0.0)
            } else {
                (floor as usize, position - floor)
            };
            let weight = (fraction * (1 << WEIGHT_BITS) as f32).round_ties_even() as i32;
            Tap { first, second: (first + 1).min(length - 1), weight }
        })
        .collect()
}

/// `INTER_LINEAR`: rows are mixed along x into 8 + 11 bits, then two rows along y, with `OpenCV`'s
/// intermediate shifts, so that the bytes come out the same.
fn bilinear(data: &[u8], width: usize, height: usize, window: &Window) -> Vec<u8> {
    let xs = taps(width, window.width, window.left, window.cut_width);
    let ys = taps(height, window.height, window.top, window.cut_height);
    let row_length = 3 * window.cut_width;
    let one = 1 << WEIGHT_BITS;
    let mix_row = |row: usize, out: &mut [i32]| {
        let source = &data[3 * width * row..3 * width * (row + 1)];
        for (tap, out) in xs.iter().zip(out.as_chunks_mut::<3>().0) {
            let first = &source[3 * tap.first..3 * tap.first + 3];
            let second = &source[3 * tap.second..3 * tap.second + 3];
            for channel in 0..3 {
                out[channel] = i32::from(first[channel]) * (one - tap.weight)
                    + i32::from(second[channel]) * tap.weight;
            }
        }
    };
    // The two mixed rows in use, and which rows of the source they are.
    let mut rows = [(usize::MAX, vec![0; row_length]), (usize::MAX, vec![0; row_length])];
    let mut out = Vec::with_capacity(row_length * window.cut_height);
    for tap in &ys {
        if rows[0].0 != tap.first {
            rows.swap(0, 1);
            if rows[0].0 != tap.first {
                mix_row(tap.first, &mut rows[0].1);
                rows[0].0 = tap.first;
            }
        }
        if rows[1].0 != tap.second {
            mix_row(tap.second, &mut rows[1].1);
            rows[1].0 = tap.second;
        }
        let (upper, lower) = (one - tap.weight, tap.weight);
        out.extend(rows[0].1.iter().zip(&rows[1].1).map(|(first, second)| {
            let sum = ((upper * (first >> 4)) >> 16) + ((lower * (second >> 4)) >> 16);
            ((sum + 2) >> 2) as u8
        }));
    }
    out
}

/// Fractional bits of a weight in Pillow's resampling of bytes.
const PILLOW_BITS: u32 = 22;

/// The source pixels that make up one output pixel: the first, and the weight of each.
struct Kernel {
    first: usize,
    weights: Vec<i32>,
}

/// A filter of Pillow's: how far it reaches, in pixels of the smaller picture, and its weights.
struct Filter {
    support: f64,
    weight: fn(f64) -> f64,
}

const CUBIC: Filter = Filter { support: 2.0, weight: cubic };
const TRIANGLE: Filter = Filter { support: 1.0, weight: |x| (1.0 - x.abs()).max(0.0) };

/// Pillow's bicubic filter, a = -0.5.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The kernels of the samples `from..from + count` of an axis scaled from `length` to `scaled`, as
/// Pillow's `precompute_coeffs` and `normalize_coeffs_8bpc` compute them.
fn kernels(
    length: usize,
    scaled: usize,
    from: usize,
    count: usize,
    filter: &Filter,
) -> Vec<Kernel> {
    let scale = length as f64 / scaled as f64;
    let filter_scale = scale.max(1.0);
    let support = filter.support * filter_scale;
    (from..from + count)
        .map(|at| {
            let centre = (at as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(length);
            let weights: Vec<f64> = (first..end)
                .map(|pixel| (filter.weight)((pixel as f64 - centre + 0.5) / filter_scale))
                .collect();
            let sum: f64 = weights.iter().sum();
            let one = f64::from(1 << PILLOW_BITS);
            let fixed = |weight: &f64| (weight / sum * one).round() as i32;
            Kernel { first, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

/// A weighted sum of bytes, rounded and kept within a byte.
fn weighed(kernel: &Kernel, value: impl Fn(usize) -> u8) -> u8 {
    let half = 1i64 << (PILLOW_BITS - 1);
    let products = kernel.weights.iter().enumerate();
    let sum: i64 =
        products.map(|(at, weight)| i64::from(*weight) * i64::from(value(kernel.first + at))).sum();
    ((sum + half) >> PILLOW_BITS).clamp(0, 255) as u8
}

/// Along x first, rounded to bytes, then along y, as Pillow does.
fn pillow(data: &[u8], width: usize, height: usize, window: &Window, filter: &Filter) -> Vec<u8> {
    let xs = kernels(width, window.width, window.left, window.cut_width, filter);
    let ys = kernels(height, window.height, window.top, window.cut_height, filter);
    let first_row = ys.iter().map(|kernel| kernel.first).min().unwrap_or(0);
    let end_row = ys.iter().map(|kernel| kernel.first + kernel.weights.len()).max().unwrap_or(0);
    let row_length = 3 * window.cut_width;
    let mut narrow = Vec::with_capacity(row_length * (end_row - first_row));
    for row in first_row..end_row {
        let source = &data[3 * width * row..3 * width * (row + 1)];
        for kernel in &xs {
            for channel in 0..3 {
                narrow.push(weighed(kernel, |pixel| source[3 * pixel + channel]));
            }
        }
    }
    let mut out = Vec::with_capacity(row_length * window.cut_height);
    for kernel in &ys {
        for at in 0..row_length {
            out.push(weighed(kernel, |row| narrow[(row - first_row) * row_length + at]));
        }
    }
    out
}

/// The part of an axis that one output pixel covers: the first source pixel and the share of each.
struct Cover {
    first: usize,
    shares: Vec<f32>,
}

fn covers(length: usize, scaled: usize, from: usize, count: usize) -> Vec<Cover> {
    let scale = length as f64 / scaled as f64;
    (from..from + count)
        .map(|at| {
            // An axis that grows repeats its nearest pixel.
            let (begin, end) = (at as f64 * scale, (at + 1) as f64 * scale);
            let first = (begin.floor() as usize).min(length - 1);
            let last = (end.ceil() as usize).clamp(first + 1, length);
            let shares = (first..last)
                .map(|pixel| {
                    let inside = (end.min(pixel as f64 + 1.0) - begin.max(pixel as f64)).max(0.0);
                    (inside / (end - begin)) as f32
                })
                .collect();
            Cover { first, shares }
        })
        .collect()
}

fn mean_over_area(data: &[u8], width: usize, height: usize, window: &Window) -> Vec<u8> {
    let xs = covers(width, window.width, window.left, window.cut_width);
    let ys = covers(height, window.height, window.top, window.cut_height);
    let mut out = Vec::with_capacity(3 * window.cut_width * window.cut_height);
    let mut column_sums = vec![0f32; 3 * width];
    for y in &ys {
        column_sums.fill(0.0);
        for (row, share) in (y.first..).zip(&y.shares) {
            let source = &data[3 * width * row..3 * width * (row + 1)];
            for (sum, byte) in column_sums.iter_mut().zip(source) {
                *sum += share * f32::from(*byte);
            }
        }
        for x in &xs {
            for channel in 0..3 {
                let values = column_sums[3 * x.first + channel..].iter().step_by(3);
                let mean: f32 = values.zip(&x.shares).map(|(value, share)| value * share).sum();
                out.push(mean.round().clamp(0.0, 255.0) as u8);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn whole(width: usize, height: usize) -> Window {
        Window { width, height, left: 0, top: 0, cut_width: width, cut_height: height }
    }

    #[test]
    fn halving_a_row_takes_the_middle_of_each_pair() {
        let frame =
            RgbFrame::try_new(4, 1, [0, 0, 0, 10, 20, 30, 100, 100, 100, 200, 50, 0].to_vec())
                .unwrap();
        for resize in [Resize::Bilinear, Resize::Area] {
            assert_eq!(resize_window(&frame, &whole(2, 1), resize), [5, 10, 15, 150, 75, 50]);
        }
    }

    #[test]
    fn area_counts_every_pixel_where_bilinear_sees_two() {
        // One bright pixel in eight.
        let mut pixels = vec![0u8; 24];
        pixels[..3].fill(240);
        let frame = RgbFrame::try_new(8, 1, pixels).unwrap();
        assert_eq!(resize_window(&frame, &whole(1, 1), Resize::Bilinear), [0, 0, 0]);
        assert_eq!(resize_window(&frame, &whole(1, 1), Resize::Area), [30, 30, 30]);
    }

    proptest! {
        #[test]
        fn a_window_is_a_part_of_the_whole(
            width in 1usize..20, height in 1usize..20, to_width in 4usize..20, to_height in 4usize..20,
            left in 0usize..4, top in 0usize..4, area: bool,
        ) {
            let pixels: Vec<u8> = (0..3 * width * height).map(|i| (i * 89 % 251) as u8).collect();
            let frame = RgbFrame::try_new(width as u32, height as u32, pixels).unwrap();
            let resize = if area { Resize::Area } else { Resize::Bilinear };
            let all = resize_window(&frame, &whole(to_width, to_height), resize);
            let window = Window {
                left, top, cut_width: to_width - left, cut_height: to_height - top,
                ..whole(to_width, to_height)
            };
            prop_assert_eq!(resize_window(&frame, &window, resize), cut(&all, &window));
        }

        #[test]
        fn one_colour_stays_one_colour(
            width in 1u32..40, height in 1u32..40, side in 1usize..40, colour: u8, area: bool,
        ) {
            let frame = RgbFrame::try_new(width, height, vec![colour; (3 * width * height) as usize]).unwrap();
            let resize = if area { Resize::Area } else { Resize::Bilinear };
            let out = resize_window(&frame, &whole(side, side), resize);
            prop_assert!(out.iter().all(|byte| byte.abs_diff(colour) <= 1), "{:?}", out);
        }
    }
}
