//! Losses: the symmetric contrastive one of CLIP and BT-Adapter, and naming against a list.

use candle_core::{Device, Result, Tensor};

use super::network::unit;
use super::ops;

/// BT-Adapter's contrastive loss (BT-ADAPTER.md 3.2): the sum, not the mean, of both directions'
/// cross-entropies over `scale x cosine`. Row i of `a` [n, P] belongs to row i of `b`.
pub fn nce(a: &Tensor, b: &Tensor, scale: f64) -> Result<Tensor> {
    contrast(&unit(a)?.matmul(&unit(b)?.t()?)?.affine(scale, 0.0)?)
}

/// The same from scaled similarities [n, n].
pub(super) fn contrast(similarity: &Tensor) -> Result<Tensor> {
    let n = similarity.dim(0)?;
    let diagonal: Vec<Option<u32>> = (0..n as u32).map(Some).collect();
    let there = ops::cross_entropy(similarity, diagonal.clone())?;
    there + ops::cross_entropy(&similarity.t()?, diagonal)?
}

/// -10^4 where two different rows carry the same text: no pair is taught to differ from itself.
pub(super) fn same_texts(texts: &[String]) -> Result<Tensor> {
    let n = texts.len();
    let mut mask = vec![0.0_f32; n * n];
    for i in 0..n {
        for j in 0..n {
            if i != j && texts[i] == texts[j] {
                mask[i * n + j] = -1e4;
            }
        }
    }
    Tensor::from_vec(mask, (n, n), &Device::Cpu)
}
