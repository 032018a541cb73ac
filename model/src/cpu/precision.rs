//! How exactly the CPU multiplies, and with which instructions.

use candle_core::DType;

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
use super::amx::{Amx, Parts};
use super::simd::Isa;

/// How exactly videos are computed: on the CPU, how the video tower's matrices are multiplied; on
/// another device, the type of the whole tower up to the last layer norm. Everything else, and texts,
/// which are short, are computed in `f32` whatever is chosen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As exactly as `f32` goes.
    #[default]
    F32,
    /// With operands rounded to `bf16`, where the processor multiplies those faster (AMX); as `F32`
    /// on other processors. Weights take half the memory.
    Bf16,
}

impl Precision {
    /// The type of a tower's weights and values on a device other than the CPU.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
        }
    }
}

/// What computes a product of matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arithmetic {
    /// `f32` on vectors.
    Vectors(Isa),
    /// `bf16` on tiles, in one part or in as many as make up an `f32`.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    Tiles(Amx, Parts),
}

impl Arithmetic {
    /// The fastest of this machine with that precision.
    pub(super) fn fastest(precision: Precision) -> Self {
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Some(amx) = Amx::detect() {
            return match precision {
                Precision::F32 => Self::Tiles(amx, Parts::Three),
                Precision::Bf16 => Self::Tiles(amx, Parts::One),
            };
        }
        let _ = precision;
        Self::vectors()
    }

    /// `f32` on the widest vectors: for products of few rows, which wait for weights from memory.
    pub(super) fn vectors() -> Self {
        Self::Vectors(Isa::detect())
    }

    /// Rows that are best multiplied at a time: enough to use each weight several times while it is
    /// near, few enough for the rows to stay near as well.
    pub(super) fn rows_at_a_time(self) -> usize {
        match self {
            Self::Vectors(_) => 128,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Tiles(_, Parts::Three) => 256,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Tiles(_, Parts::One) => 512,
        }
    }

    /// All that this machine has.
    #[cfg(test)]
    pub(super) fn available() -> Vec<Self> {
        let mut all: Vec<Self> = Isa::available().into_iter().map(Self::Vectors).collect();
        #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
        if let Some(amx) = Amx::detect() {
            all.extend([Parts::One, Parts::Three].map(|parts| Self::Tiles(amx, parts)));
        } else {
            println!("no AMX here: its products are not tested");
        }
        all
    }

    /// Whether products are as exact as `f32`.
    #[cfg(test)]
    pub(super) fn is_exact(self) -> bool {
        match self {
            Self::Vectors(_) => true,
            #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
            Self::Tiles(_, parts) => parts == Parts::Three,
        }
    }
}
