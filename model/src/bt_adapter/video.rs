//! CLIP's image tower with its branch: pixels of clips to embeddings of clips.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{BranchOptions, BranchOutput, BtAdapter};
use crate::clip_vision::VisionTower;
use crate::config::Architecture;
use crate::ops::Ops;

/// The image tower and, unless it is plain CLIP, the branch beside it.
#[derive(Clone, Debug)]
pub struct VideoTower {
    /// CLIP's image tower.
    pub vision: VisionTower,
    /// The branch; without it the embeddings of the frames are averaged.
    pub branch: Option<BtAdapter>,
}

/// What a clip's states become.
#[derive(Clone, Debug)]
pub struct VideoOutput {
    /// The branch's tokens, where there is one.
    pub branch: Option<BranchOutput>,
    /// The class token of each frame, with the branch's mixed in, `[B·T, D]`.
    pub cls_mix: Tensor,
    /// The embedding of each frame, `[B·T, P]`.
    pub frame_embed: Tensor,
    /// The embedding of each clip, not normalised, `[B, P]`: the mean over its frames.
    pub video_embed: Tensor,
}

impl VideoTower {
    /// Takes the parameters below `vb` (`backbone` in a checkpoint of the reference).
    pub fn new(architecture: &Architecture, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let Architecture { vision, projection, branch, .. } = architecture;
        let vision = VisionTower::new(*vision, *projection, ops, vb)?;
        let branch = match branch {
            Some(branch) => Some(BtAdapter::new(*branch, &vision, ops, vb)?),
            None => None,
        };
        Ok(Self { vision, branch })
    }

    /// How many of CLIP's last states [`Self::embed`] needs: K, or 1 without a branch.
    pub fn states_needed(&self) -> usize {
        self.branch.as_ref().map_or(1, |branch| branch.config().layers)
    }

    /// What a frame gives to every clip that contains it, `M 3 image image ->` the last states,
    /// each `[M, 1+N, D]`.
    pub fn states(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        self.vision.hidden_states(pixels, self.states_needed())
    }

    /// From the states of all frames, clip by clip, to the embeddings of the clips.
    pub fn embed(
        &self,
        states: &[Tensor],
        frames: usize,
        options: BranchOptions<'_>,
    ) -> Result<VideoOutput> {
        let Some(last) = states.last() else { candle_core::bail!("no states to embed") };
        if frames == 0 {
            candle_core::bail!("a clip without frames has no embedding");
        }
        let (branch, cls_mix) = match &self.branch {
            Some(branch) => {
                let output = branch.forward(states, frames, options)?;
                let cls_mix = branch.mix_output(&output.cls, last, frames)?;
                (Some(output), cls_mix)
            }
            None => (None, VisionTower::class_token(last)?),
        };
        let frame_embed = self.vision.project(&cls_mix)?;
        let (frames_in_all, p) = frame_embed.dims2()?;
        let video_embed = frame_embed.reshape((frames_in_all / frames, frames, p))?.mean(1)?;
        Ok(VideoOutput { branch, cls_mix, frame_embed, video_embed })
    }

    /// `pixels [B, T, 3, image, image] -> [B, P]`, not normalised.
    pub fn forward(&self, pixels: &Tensor, options: BranchOptions<'_>) -> Result<VideoOutput> {
        let (b, t, c, h, w) = pixels.dims5()?;
        let states = self.states(&pixels.reshape((b * t, c, h, w))?)?;
        self.embed(&states, t, options)
    }
}
