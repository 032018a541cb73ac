//! The tokens that a language model reads of a clip (BT-ADAPTER.md 4).
//!
//! After `llava_base/bt_adapter/model/btadapter.py` of the reference: the states before the last of
//! CLIP's blocks, with those that the branch has there, averaged over time.

use candle_core::{Result, Tensor};

use super::layers::mean_over_frames;
use super::tokens::{class_tokens_of, patches_of};
use super::{BranchOptions, BtAdapter, VideoTower};

/// Which frames the attentions of the branch take together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FrameGroups {
    /// Each frame by itself, as in the paper and in pre-training.
    #[default]
    Whole,
    /// As the released conversation code does whatever the length of a clip: time is cut in two
    /// halves, which do not see each other, and frame k is seen together with frame k + T/2. For
    /// weights that were tuned with it on at most 64 frames; takes an even number of frames.
    ReleasedHalving,
}

impl BtAdapter {
    /// From the outputs of CLIP's blocks L-K to L-2, K-1 of them, each `[B·T, 1+N, D]`, to the tokens
    /// for a language model, `[B, N+1, D]`: the patches, then the class token.
    ///
    /// Of more frames than the temporal table has rows, two neighbours each become one in the branch;
    /// they must be even in number, and at most twice as many.
    pub fn conversation_tokens(
        &self,
        states: &[Tensor],
        frames: usize,
        groups: FrameGroups,
    ) -> Result<Tensor> {
        let most = self.config.max_frames;
        let (Some(clip), true) = (states.last(), states.len() + 1 == self.config.layers) else {
            candle_core::bail!(
                "{} states for the tokens of a branch of {} layers, which needs one less",
                states.len(),
                self.config.layers
            )
        };
        if frames == 0 || frames > 2 * most || clip.dim(0)? % frames != 0 {
            candle_core::bail!("{frames} frames: a question takes 1 to {}", 2 * most);
        }
        let is_even = frames.is_multiple_of(2);
        let must_be_even = frames > most || groups == FrameGroups::ReleasedHalving;
        if must_be_even && !is_even {
            candle_core::bail!("{frames} frames cannot be halved: give an even number");
        }
        let branch = if frames > most {
            let merged = states.iter().map(|state| merge_pairs(state, frames));
            let merged = merged.collect::<Result<Vec<_>>>()?;
            self.run(&merged, frames / 2, frames / 2, BranchOptions::default())?
        } else {
            let grouped = if groups == FrameGroups::Whole { frames } else { frames / 2 };
            self.run(states, frames, grouped, BranchOptions::default())?
        };
        let plain = mean_tokens(clip, frames)?; // B (N+1) D
        let (b, tokens, d) = plain.dims3()?;
        let times = branch.patches.dim(1)? / (tokens - 1);
        let patches = branch.patches.reshape((b, tokens - 1, times, d))?.mean(2)?;
        (plain + Tensor::cat(&[&patches, &branch.cls], 1)?)? / 2.0
    }
}

impl VideoTower {
    /// Pixels of one clip, `[T, 3, image, image]`, to the tokens for a language model, `[N+1, D]`: the
    /// patches, then the class token. Without a branch, CLIP's own tokens averaged over time.
    pub fn conversation_tokens(&self, pixels: &Tensor, groups: FrameGroups) -> Result<Tensor> {
        if let Some(system) = &self.unbranched {
            candle_core::bail!(
                "a language model reads tokens of BT-Adapter or of plain CLIP, not of {}",
                system.config().system.name()
            )
        }
        let frames = pixels.dim(0)?;
        let mut states = self.vision.hidden_states(pixels, self.states_needed().max(2))?;
        // What follows the last block is for embeddings alone.
        states.truncate(states.len() - 1);
        let tokens = match &self.branch {
            Some(branch) => branch.conversation_tokens(&states, frames, groups)?,
            None => match states.last() {
                Some(state) => mean_tokens(state, frames)?,
                None => candle_core::bail!("the image tower has no layers"),
            },
        };
        tokens.squeeze(0)
    }
}

/// CLIP's tokens averaged over time, the class token last: `(b t) (1 l) d -> b (l 1) d`.
fn mean_tokens(state: &Tensor, frames: usize) -> Result<Tensor> {
    let (bt, tokens, d) = state.dims3()?;
    let (b, l) = (bt / frames, tokens - 1);
    let patches = patches_of(state, frames)?.reshape((b, l, frames, d))?.mean(2)?;
    let class = mean_over_frames(&class_tokens_of(state, frames)?)?;
    Tensor::cat(&[&patches, &class], 1)
}

/// Two neighbouring frames as one: `(b t) s d -> (b t/2) s d`.
fn merge_pairs(state: &Tensor, frames: usize) -> Result<Tensor> {
    let (bt, tokens, d) = state.dims3()?;
    let pairs = bt / frames * (frames / 2);
    state.reshape((pairs, 2, tokens, d))?.mean(1)
}
