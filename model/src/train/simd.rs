//! Inner loops of the training operations, compiled for the vector units of the machine they run on.
//!
//! Each loop is written once, plainly, in lanes that the compiler can vectorise, and is compiled
//! three times: for AVX-512, for AVX2 and for the baseline. The machine chooses at run time.
#![allow(
    clippy::inline_always,
    clippy::needless_range_loop,
    reason = "a body must be inlined to be compiled for its caller's features; indices keep it one loop"
)]

/// Elements that are summed side by side, so that a sum becomes vector additions.
const LANES: usize = 16;

macro_rules! dispatched {
    ($(#[$doc:meta])* pub(super) fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$doc])*
        #[inline]
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "calls a copy of safe code compiled for features just detected")
        )]
        pub(super) fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn plain($($arg: $ty),*) $(-> $ret)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $ret)? { plain($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $ret)? { plain($($arg),*) }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                {
                    // SAFETY: the features that `avx512` is compiled for were detected.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                    // SAFETY: the features that `avx2` is compiled for were detected.
                    return unsafe { avx2($($arg),*) };
                }
            }
            plain($($arg),*)
        }
    };
}

/// e^x within 2 units in the last place; 0 and infinity far outside f32's range become its ends.
/// Additions and shifts only, so that loops over it vectorise.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, which is left in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.987_569_1e-4_f32;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_6e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// Sum of `f(0) ..= f(n - 1)` in lanes, always in the same order.
#[inline(always)]
fn sum(n: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let whole = n / LANES * LANES;
    let mut at = 0;
    while at < whole {
        for (lane, total) in lanes.iter_mut().enumerate() {
            *total += f(at + lane);
        }
        at += LANES;
    }
    let mut total: f32 = lanes.iter().sum();
    while at < n {
        total += f(at);
        at += 1;
    }
    total
}

const SLOPE: f32 = 1.702;

dispatched! {
    /// `y = x * sigmoid(1.702 x)`.
    pub(super) fn quick_gelu(x: &[f32], y: &mut [f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = x * sigmoid(SLOPE * x);
        }
    }
}

dispatched! {
    /// `dx = dy * d/dx (x * sigmoid(1.702 x))`.
    pub(super) fn quick_gelu_back(x: &[f32], dy: &[f32], dx: &mut [f32]) {
        for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
            let s = sigmoid(SLOPE * x);
            *dx = dy * s * (1.0 + SLOPE * x * (1.0 - s));
        }
    }
}

dispatched! {
    /// One row of layer norm: `y = (x - mean) / sqrt(var + eps) * weight + bias`.
    pub(super) fn layer_norm(x: &[f32], weight: &[f32], bias: &[f32], eps: f32, y: &mut [f32]) {
        let n = x.len();
        let (weight, bias, y) = (&weight[..n], &bias[..n], &mut y[..n]);
        let mean = sum(n, |i| x[i]) / n as f32;
        let variance = sum(n, |i| (x[i] - mean) * (x[i] - mean)) / n as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for i in 0..n {
            y[i] = (x[i] - mean) * scale * weight[i] + bias[i];
        }
    }
}

dispatched! {
    /// One row of layer norm's gradient; adds to `dweight` and `dbias`, sets `dx`.
    pub(super) fn layer_norm_back(
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        eps: f32,
        dx: &mut [f32],
        dweight: &mut [f32],
        dbias: &mut [f32],
    ) {
        let n = x.len();
        let (weight, dy, dx) = (&weight[..n], &dy[..n], &mut dx[..n]);
        let (dweight, dbias) = (&mut dweight[..n], &mut dbias[..n]);
        let mean = sum(n, |i| x[i]) / n as f32;
        let variance = sum(n, |i| (x[i] - mean) * (x[i] - mean)) / n as f32;
        let scale = 1.0 / (variance + eps).sqrt();
        for i in 0..n {
            dbias[i] += dy[i];
            dweight[i] += dy[i] * (x[i] - mean) * scale;
        }
        let a = sum(n, |i| dy[i] * weight[i]) / n as f32;
        let b = sum(n, |i| dy[i] * weight[i] * (x[i] - mean)) * scale * scale / n as f32;
        for i in 0..n {
            dx[i] = (dy[i] * weight[i] - a - (x[i] - mean) * b) * scale;
        }
    }
}

dispatched! {
    /// Softmax of `scale * row` in place. Shares below 10^-20 become 0: as subnormal numbers they
    /// would slow every product that they enter a hundredfold.
    pub(super) fn softmax(row: &mut [f32], scale: f32) {
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in row.chunks(LANES) {
            for (top, &value) in lanes.iter_mut().zip(chunk) {
                *top = if value > *top { value } else { *top };
            }
        }
        let top = lanes.iter().fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
        for value in &mut *row {
            *value = exp((*value - top) * scale);
        }
        let total = sum(row.len(), |i| row[i]);
        let share = 1.0 / total;
        for value in row {
            let portion = *value * share;
            *value = if portion < 1e-20 { 0.0 } else { portion };
        }
    }
}

dispatched! {
    /// Gradient of softmax in place: `d = scale * p * (d - sum(d * p))`.
    pub(super) fn softmax_back(p: &[f32], d: &mut [f32], scale: f32) {
        let n = d.len();
        let p = &p[..n];
        let along = sum(n, |i| d[i] * p[i]);
        for i in 0..n {
            d[i] = scale * p[i] * (d[i] - along);
        }
    }
}

dispatched! {
    /// `sums += row`, element by element.
    pub(super) fn add_to(sums: &mut [f32], row: &[f32]) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += value;
        }
    }
}

dispatched! {
    /// `p[i, j] = a_i b_j` for `n` short rows of `size` values on each side.
    pub(super) fn few_products(
        a: &[f32],
        a_row: usize,
        b: &[f32],
        b_row: usize,
        shape: [usize; 2],
        p: &mut [f32],
    ) {
        let [n, size] = shape;
        for i in 0..n {
            let a = &a[i * a_row..][..size];
            for j in 0..n {
                let b = &b[j * b_row..][..size];
                p[i * n + j] = sum(size, |k| a[k] * b[k]);
            }
        }
    }
}

dispatched! {
    /// `target_i = sum_j matrix[i * rs + j * cs] source_j` for `n` short rows of `size` values.
    pub(super) fn few_mixes(
        matrix: &[f32],
        strides: [usize; 2],
        source: &[f32],
        source_row: usize,
        shape: [usize; 2],
        target: &mut [f32],
        target_row: usize,
    ) {
        let ([rs, cs], [n, size]) = (strides, shape);
        for i in 0..n {
            let to = &mut target[i * target_row..][..size];
            to.fill(0.0);
            for j in 0..n {
                let from = &source[j * source_row..][..size];
                let factor = matrix[i * rs + j * cs];
                for (to, from) in to.iter_mut().zip(from) {
                    *to += factor * from;
                }
            }
        }
    }
}

dispatched! {
    /// `sums += factor * row`, element by element.
    pub(super) fn add_scaled(sums: &mut [f32], factor: f32, row: &[f32]) {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += factor * value;
        }
    }
}

dispatched! {
    /// Inner product.
    pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
        let n = a.len();
        let b = &b[..n];
        sum(n, |i| a[i] * b[i])
    }
}

dispatched! {
    /// One row of root-mean-square norm: `y = x / sqrt(mean(x^2) + eps) * weight`.
    pub(super) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
        let n = x.len();
        let (weight, y) = (&weight[..n], &mut y[..n]);
        let scale = 1.0 / (sum(n, |i| x[i] * x[i]) / n as f32 + eps).sqrt();
        for i in 0..n {
            y[i] = x[i] * scale * weight[i];
        }
    }
}

dispatched! {
    /// One row of its gradient; adds to `dweight`, sets `dx`.
    pub(super) fn rms_norm_back(
        x: &[f32],
        weight: &[f32],
        dy: &[f32],
        eps: f32,
        dx: &mut [f32],
        dweight: &mut [f32],
    ) {
        let n = x.len();
        let (weight, dy, dx) = (&weight[..n], &dy[..n], &mut dx[..n]);
        let dweight = &mut dweight[..n];
        let scale = 1.0 / (sum(n, |i| x[i] * x[i]) / n as f32 + eps).sqrt();
        let along = sum(n, |i| dy[i] * weight[i] * x[i]) * scale * scale / n as f32;
        for i in 0..n {
            dweight[i] += dy[i] * x[i] * scale;
            dx[i] = (dy[i] * weight[i] - x[i] * along) * scale;
        }
    }
}

dispatched! {
    /// `y = gate * sigmoid(gate) * up`.
    pub(super) fn gated(gate: &[f32], up: &[f32], y: &mut [f32]) {
        let n = y.len();
        let (gate, up) = (&gate[..n], &up[..n]);
        for i in 0..n {
            y[i] = gate[i] * sigmoid(gate[i]) * up[i];
        }
    }
}

dispatched! {
    /// Its gradients.
    pub(super) fn gated_back(
        gate: &[f32],
        up: &[f32],
        dy: &[f32],
        dgate: &mut [f32],
        dup: &mut [f32],
    ) {
        let n = dy.len();
        let (gate, up) = (&gate[..n], &up[..n]);
        let (dgate, dup) = (&mut dgate[..n], &mut dup[..n]);
        for i in 0..n {
            let s = sigmoid(gate[i]);
            dup[i] = dy[i] * gate[i] * s;
            dgate[i] = dy[i] * up[i] * s * (1.0 + gate[i] * (1.0 - s));
        }
    }
}

dispatched! {
    /// Turns each head of a row in place: value k and value k + half of it, by the angle k.
    pub(super) fn turn(row: &mut [f32], cos: &[f32], sin: &[f32]) {
        let half = cos.len();
        let sin = &sin[..half];
        for head in row.chunks_exact_mut(2 * half) {
            let (a, b) = head.split_at_mut(half);
            for k in 0..half {
                let (x, y) = (a[k], b[k]);
                a[k] = x * cos[k] - y * sin[k];
                b[k] = x * sin[k] + y * cos[k];
            }
        }
    }
}

/// What one `AdamW` step needs besides the four arrays.
#[derive(Debug, Clone, Copy)]
pub(super) struct AdamStep {
    pub(super) rate: f32,
    pub(super) decay: f32,
    pub(super) beta1: f32,
    pub(super) beta2: f32,
    /// 1 - beta^step for both betas.
    pub(super) correction: (f32, f32),
    pub(super) eps: f32,
    /// What gradients are multiplied with first (clipping).
    pub(super) gain: f32,
}

dispatched! {
    /// One `AdamW` step on the weights and their moments.
    pub(super) fn adamw(w: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32], s: AdamStep) {
        let n = w.len();
        let (m, v, g) = (&mut m[..n], &mut v[..n], &g[..n]);
        for i in 0..n {
            let g = g[i] * s.gain;
            m[i] = s.beta1 * m[i] + (1.0 - s.beta1) * g;
            v[i] = s.beta2 * v[i] + (1.0 - s.beta2) * g * g;
            let step = (m[i] / s.correction.0) / ((v[i] / s.correction.1).sqrt() + s.eps);
            w[i] -= s.rate * (step + s.decay * w[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library() {
        for k in -8_700..8_800 {
            let x = k as f32 / 100.0;
            let (ours, theirs) = (exp(x), x.exp());
            assert!((ours - theirs).abs() <= 4e-7 * theirs, "{x}: {ours} {theirs}");
        }
    }

    #[test]
    fn softmax_sums_to_one_and_ignores_what_is_masked() {
        let mut row = [3.0, f32::NEG_INFINITY, 1.0];
        softmax(&mut row, 0.5);
        assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert_eq!(row[1].to_bits(), 0);
        assert!((row[0] / row[2] - 1.0_f32.exp()).abs() < 1e-5);
    }
}
