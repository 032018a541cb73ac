//! Loops compiled for the vector units of the machine they run on.
//!
//! Each is written once, plainly, in a form that the compiler vectorises, and compiled three times:
//! for AVX-512, for AVX2 and for the baseline. The machine chooses at run time.
#![expect(
    clippy::inline_always,
    reason = "a body takes on the vector features of the function that it is inlined into"
)]

/// Vector instructions that the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Isa {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Baseline,
}

impl Isa {
    /// The widest of this machine. The standard library asks the processor once.
    #[inline]
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Baseline
    }

    /// All that this machine has.
    #[cfg(test)]
    pub(super) fn available() -> Vec<Self> {
        let mut isas = vec![Self::Baseline];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                isas.push(Self::Avx2);
            }
            if Self::detect() == Self::Avx512 {
                isas.push(Self::Avx512);
            }
        }
        isas
    }
}

/// Defines a function that runs the copy of its body that fits the machine.
macro_rules! dispatched {
    ($(#[$doc:meta])* fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$doc])*
        #[cfg_attr(
            target_arch = "x86_64",
            expect(unsafe_code, reason = "calls a copy of safe code for features just detected")
        )]
        pub(super) fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn plain($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                fn avx512($($arg: $ty),*) { plain($($arg),*); }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) { plain($($arg),*); }
                match Isa::detect() {
                    // SAFETY: the features that `avx512` is compiled for were detected.
                    Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: the features that `avx2` is compiled for were detected.
                    Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    Isa::Baseline => {}
                }
            }
            plain($($arg),*);
        }
    };
}

/// Elements summed side by side, so that a sum becomes vector additions in one fixed order.
const LANES: usize = 32;

/// e^x within 2 units in the last place; beyond the range of f32 the ends of that range.
/// Additions and shifts only, so that loops over it vectorise.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts, the first exact for the few bits of n.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    // Cephes' polynomial for e^r on ±ln(2)/2.
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_2e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let p = p * r * r + r + 1.0;
    f32::from_bits(p.to_bits().wrapping_add(shifted.to_bits() << 23))
}

/// `x * sigmoid(1.702 x)`.
#[inline(always)]
pub(super) fn quick_gelu(x: f32) -> f32 {
    x / (1.0 + exp(-1.702 * x))
}

#[inline(always)]
fn sum(xs: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = xs.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane += f(*x);
    }
    lanes.iter().sum()
}

dispatched! {
    /// Normalises `xs`, scales by `weight` and shifts by `bias`, all of one length.
    fn layer_norm(xs: &[f32], weight: &[f32], bias: &[f32], eps: f32, out: &mut [f32]) {
        let count = xs.len() as f32;
        let mean = sum(xs, |x| x) / count;
        let variance = sum(xs, |x| (x - mean) * (x - mean)) / count;
        let scale = 1.0 / (variance + eps).sqrt();
        for (((out, x), weight), bias) in out.iter_mut().zip(xs).zip(weight).zip(bias) {
            *out = (x - mean) * scale * weight + bias;
        }
    }
}

dispatched! {
    /// Softmax in place.
    fn softmax(xs: &mut [f32]) {
        let (chunks, rest) = xs.as_chunks::<LANES>();
        let mut lanes = [f32::NEG_INFINITY; LANES];
        for chunk in chunks {
            for (lane, x) in lanes.iter_mut().zip(chunk) {
                *lane = if *x > *lane { *x } else { *lane };
            }
        }
        let max = lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |max, x| max.max(*x));
        for x in xs.iter_mut() {
            *x = exp(*x - max);
        }
        let scale = 1.0 / sum(xs, |x| x);
        for x in xs {
            *x *= scale;
        }
    }
}

dispatched! {
    /// `out = (1 - gate) * out + gate * xs`.
    fn mix(out: &mut [f32], xs: &[f32], gate: &[f32]) {
        for ((out, x), gate) in out.iter_mut().zip(xs).zip(gate) {
            *out = (1.0 - gate) * *out + gate * x;
        }
    }
}

dispatched! {
    /// `out += factor * xs`.
    fn add_scaled(out: &mut [f32], xs: &[f32], factor: f32) {
        for (out, x) in out.iter_mut().zip(xs) {
            *out += factor * x;
        }
    }
}

dispatched! {
    /// `out = a + b + c`.
    fn sum_of_three(out: &mut [f32], a: &[f32], b: &[f32], c: &[f32]) {
        for (((out, a), b), c) in out.iter_mut().zip(a).zip(b).zip(c) {
            *out = a + b + c;
        }
    }
}

dispatched! {
    /// Adds the product of `row` and each of `rows` (as long as `row`, end to end) to `out`.
    fn dots(row: &[f32], rows: &[f32], out: &mut [f32]) {
        for (out, other) in out.iter_mut().zip(rows.chunks_exact(row.len().max(1))) {
            let (chunks, rest) = row.as_chunks::<LANES>();
            let (others, other_rest) = other.as_chunks::<LANES>();
            let mut lanes = [0.0; LANES];
            for (chunk, other) in chunks.iter().zip(others) {
                for ((lane, a), b) in lanes.iter_mut().zip(chunk).zip(other) {
                    *lane += a * b;
                }
            }
            for ((lane, a), b) in lanes.iter_mut().zip(rest).zip(other_rest) {
                *lane += a * b;
            }
            *out += lanes.iter().sum::<f32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 3e-6 * (1.0 + b.abs())
    }

    #[test]
    fn exp_is_right_to_the_last_bits_and_finite_everywhere() {
        for i in -8700..=8800i16 {
            let x = f32::from(i) / 100.0;
            let right = f64::from(x).exp();
            assert!((f64::from(exp(x)) - right).abs() <= 4e-7 * right, "{x}");
        }
        for x in [-1e30, -100.0, 100.0, 1e30, f32::NEG_INFINITY, f32::INFINITY] {
            assert!(exp(x).is_finite() && exp(x) >= 0.0);
        }
    }

    #[test]
    fn quick_gelu_is_zero_far_left_and_the_identity_far_right() {
        assert_eq!((quick_gelu(0.0), quick_gelu(60.0)), (0.0, 60.0));
        assert!(quick_gelu(-60.0).abs() < 1e-30);
        assert!(close(f64::from(quick_gelu(1.0)), 0.845_795_5));
    }

    proptest! {
        /// Lengths around and between the widths of vectors.
        #[test]
        fn rows_of_any_length_give_what_the_formulas_say(
            xs in prop::collection::vec(-4.0f32..4.0, 1..130), other in prop::collection::vec(-2.0f32..2.0, 130),
        ) {
            let n = xs.len();
            let exact: Vec<f64> = xs.iter().map(|x| f64::from(*x)).collect();
            let (weight, bias) = (&other[..n], &other[130 - n..]);

            let mut out = vec![0.0; n];
            layer_norm(&xs, weight, bias, 1e-5, &mut out);
            let mean = exact.iter().sum::<f64>() / n as f64;
            let variance = exact.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
            for i in 0..n {
                let right = (exact[i] - mean) / (variance + 1e-5).sqrt() * f64::from(weight[i]) + f64::from(bias[i]);
                prop_assert!((f64::from(out[i]) - right).abs() < 1e-4 * (1.0 + right.abs()), "{} {}", out[i], right);
            }

            let mut out = xs.clone();
            softmax(&mut out);
            let total: f64 = exact.iter().map(|x| x.exp()).sum();
            for i in 0..n {
                prop_assert!(close(f64::from(out[i]), exact[i].exp() / total));
            }

            let mut out = xs.clone();
            mix(&mut out, weight, bias);
            for i in 0..n {
                let gate = f64::from(bias[i]);
                prop_assert!(close(f64::from(out[i]), (1.0 - gate) * exact[i] + gate * f64::from(weight[i])));
            }

            let mut out = xs.clone();
            add_scaled(&mut out, weight, 0.5);
            for i in 0..n {
                prop_assert!(close(f64::from(out[i]), exact[i] + 0.5 * f64::from(weight[i])));
            }

            let mut out = [1.0, 0.0];
            dots(&xs, &[weight, bias].concat(), &mut out);
            let dot = |other: &[f32]| -> f64 { exact.iter().zip(other).map(|(a, b)| a * f64::from(*b)).sum() };
            prop_assert!((f64::from(out[0]) - 1.0 - dot(weight)).abs() < 1e-4);
            prop_assert!((f64::from(out[1]) - dot(bias)).abs() < 1e-4);
        }
    }
}
