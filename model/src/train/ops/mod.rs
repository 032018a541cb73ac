//! Operations with a backward pass that candle lacks or composes from many small ones.
//!
//! candle's fused layer norm and softmax cannot be differentiated, and composed from elementary
//! operations a block of CLIP spends more time moving memory than multiplying. Here a block is
//! seven operations, and a layer of the branch is one; each works on the CPU, in f32.

mod attention;
mod choice;
mod gated;
mod layer;
mod linear;
mod norm;
mod passages;

use candle_core::{CpuStorage, Layout, Result};

pub(crate) use self::attention::attention;
pub(super) use self::choice::{cross_entropy, rows};
pub(super) use self::gated::{gated, rms_norm};
pub(super) use self::layer::{BranchLayer, branch_layer};
pub(super) use self::linear::linear;
pub(crate) use self::norm::{layer_norm, quick_gelu};
pub(super) use self::passages::{Passage, read_passages};
use super::simd;

/// Rows that one task takes: enough work to be worth handing over.
const ROWS: usize = 64;

fn floats<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let CpuStorage::F32(data) = storage else {
        candle_core::bail!("training runs in f32, got {:?}", storage_type(storage))
    };
    match layout.contiguous_offsets() {
        Some((from, to)) => Ok(&data[from..to]),
        None => candle_core::bail!("training operations want contiguous tensors, got {layout:?}"),
    }
}

fn storage_type(storage: &CpuStorage) -> candle_core::DType {
    use candle_core::backend::BackendStorage;
    storage.dtype()
}

/// The sum of equally long vectors, in order: the same whatever the number of threads.
fn total(parts: Vec<Vec<f32>>, len: usize) -> Vec<f32> {
    parts.into_iter().fold(vec![0.0; len], |mut sums, part| {
        simd::add_to(&mut sums, &part);
        sums
    })
}
