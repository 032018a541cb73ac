//! What a step minimises: the losses of a batch of clips.

use std::cell::RefCell;

use candle_core::{Device, Result, Tensor};
use rand::Rng as _;
use rand_chacha::ChaCha8Rng;

use super::{Mask, Pretraining, Recipe, TokenLoss};
use crate::bt_adapter::{BranchOptions, patches_of, select};
use crate::train::network::unit;
use crate::train::objective::nce;

/// The losses of a step, before their weights.
#[derive(Clone, Debug)]
pub struct PretrainLosses {
    /// The sum that is minimised, with the weights.
    pub total: Tensor,
    /// Video and text.
    pub vtc: Tensor,
    /// The branch's tokens and CLIP's.
    pub mbta: Tensor,
    /// The branch's tokens and text.
    pub mbca: Tensor,
}

impl Pretraining {
    /// The three losses of clips whose states are `states`, with captions' embeddings `texts [B, P]`.
    /// `drop` holds what drops attention outputs at random; nothing is dropped without it.
    ///
    /// # Errors
    /// Where sizes do not fit.
    pub fn losses(
        &self,
        states: &[Tensor],
        frames: usize,
        texts: &Tensor,
        mask: &Mask,
        drop: Option<ChaCha8Rng>,
    ) -> Result<PretrainLosses> {
        let Recipe { weights, temperature, tokens, drop_path, .. } = self.recipe;
        let rng = drop.map(RefCell::new);
        let layers = self.config.architecture.branch.map_or(0, |branch| branch.layers);
        let last_layer = layers.saturating_sub(1).max(1) as f64;
        let dropping = |layer: usize, xs: Tensor| match &rng {
            Some(rng) => {
                drop_rows(&xs, drop_path * layer as f64 / last_layer, &mut rng.borrow_mut())
            }
            None => Ok(xs),
        };
        let kept = self.head.as_ref().map(|_| &mask.branch);
        let options = BranchOptions { kept, drop_path: Some(&dropping), probe: None };
        let output = self.tower.embed(states, frames, options)?;
        let scale = 1.0 / temperature;
        let vtc = nce(&output.video_embed, texts, scale)?;
        let (Some(branch), Some((linear, norm)), Some(last)) =
            (output.branch, &self.head, states.last())
        else {
            let (total, none) = ((&vtc * weights.vtc)?, vtc.zeros_like()?);
            return Ok(PretrainLosses { total, vtc, mbta: none.clone(), mbca: none });
        };

        let vision = &self.tower.vision;
        let seen = vision.visual_projection().forward(&branch.patches)?.mean(1)?;
        let mbca = nce(&seen, texts, scale)?;

        let teacher = vision.project(&select(&patches_of(last, frames)?, &mask.teacher)?)?;
        let student = norm.forward(&linear.forward(&branch.patches)?)?;
        let mbta = token_loss(tokens, &student, &teacher)?;

        let total = ((&vtc * weights.vtc)? + (&mbta * weights.mbta)?)?;
        let total = (total + (&mbca * weights.mbca)?)?;
        Ok(PretrainLosses { total, vtc, mbta, mbca })
    }
}

/// Mean over tokens of their distance (BT-ADAPTER.md 3.2 and 3.3, row 6).
fn token_loss(loss: TokenLoss, student: &Tensor, teacher: &Tensor) -> Result<Tensor> {
    let (student, teacher) = match loss {
        TokenLoss::SquaredDistance => (student.clone(), teacher.clone()),
        TokenLoss::Cosine => (unit(student)?, unit(teacher)?),
    };
    // Of tokens of unit length the squared distance is 2 - 2 cos.
    (student - teacher)?.sqr()?.sum(2)?.mean_all()
}

/// Sets whole rows of `xs [rows, ..]` to zero with probability `share`, and lets the others make up
/// for them.
fn drop_rows(xs: &Tensor, share: f64, rng: &mut ChaCha8Rng) -> Result<Tensor> {
    if share <= 0.0 {
        return Ok(xs.clone());
    }
    let rows = xs.dim(0)?;
    let kept = (1.0 / (1.0 - share)) as f32;
    let factors: Vec<f32> =
        (0..rows).map(|_| if rng.random::<f64>() < share { 0.0 } else { kept }).collect();
    let mut shape = vec![1; xs.rank()];
    shape[0] = rows;
    xs.broadcast_mul(&Tensor::from_vec(factors, shape, &Device::Cpu)?)
}
