//! CLIP's image tower with its branch, or another system in its place: pixels of clips to embeddings of
//! clips.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;

use super::{BranchOptions, BranchOutput, BtAdapter};
use crate::clip_vision::VisionTower;
use crate::config::Architecture;
use crate::encoder::MAX_FRAMES_WITHOUT_BRANCH;
use crate::ops::Ops;
use crate::unbranched::Unbranched;

/// The image tower and, unless it is plain CLIP, the branch beside it.
#[derive(Clone, Debug)]
pub struct VideoTower {
    /// CLIP's image tower.
    pub vision: VisionTower,
    /// The branch; without it, and without a system in its place, the embeddings of the frames are
    /// averaged.
    pub branch: Option<BtAdapter>,
    /// What stands in its place.
    pub unbranched: Option<Unbranched>,
}

/// What a clip's states become.
#[derive(Clone, Debug)]
pub struct VideoOutput {
    /// The branch's tokens, where there is one.
    pub branch: Option<BranchOutput>,
    /// The tokens that stand for each clip, M of them, `[B·M, D]`: the class token of each of the T
    /// frames, with the branch's mixed in; other systems have other tokens.
    pub cls_mix: Tensor,
    /// The embedding of each of them, `[B·M, P]`.
    pub frame_embed: Tensor,
    /// The embedding of each clip, not normalised, `[B, P]`: the mean over these.
    pub video_embed: Tensor,
}

impl VideoTower {
    /// Takes the parameters below `vb` (`backbone` in a checkpoint of the reference).
    pub fn new(architecture: &Architecture, ops: Ops, vb: &VarBuilder) -> Result<Self> {
        let vision = VisionTower::new(architecture, ops, vb)?;
        let (branch, unbranched) = above(architecture, &vision, ops, vb)?;
        Ok(Self { vision, branch, unbranched })
    }

    /// Whether it is CLIP alone.
    pub(crate) fn is_plain(&self) -> bool {
        self.branch.is_none() && self.unbranched.is_none()
    }

    /// How many of CLIP's states [`Self::embed`] needs: K, or 1 without a branch.
    pub fn states_needed(&self) -> usize {
        self.branch.as_ref().map_or(1, |branch| branch.config().layers)
    }

    /// Most frames a clip may have.
    pub fn max_frames(&self) -> usize {
        let branch = self.branch.as_ref().map(BtAdapter::config);
        let config = branch.or(self.unbranched.as_ref().map(Unbranched::config));
        config.map_or(MAX_FRAMES_WITHOUT_BRANCH, |config| config.max_frames)
    }

    /// What a frame gives to every clip that contains it, `M 3 image image ->` the last states, or that
    /// before the blocks in whose place another system stands, each `[M, 1+N, D]`.
    pub fn states(&self, pixels: &Tensor) -> Result<Vec<Tensor>> {
        match &self.unbranched {
            Some(system) => Ok(vec![self.vision.state_before(pixels, system.config().layers)?]),
            None => self.vision.hidden_states(pixels, self.states_needed()),
        }
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
        if let Some(system) = &self.unbranched
            && options.kept.is_none()
        {
            let tokens = system.tokens(last, frames, options.drop_path)?;
            return self.output(None, tokens, last.dim(0)? / frames);
        }
        let (branch, cls_mix) = match &self.branch {
            None if options.kept.is_some() => {
                candle_core::bail!("tokens can be left out of a branch alone, and there is none")
            }
            Some(branch) => {
                let output = branch.forward(states, frames, options)?;
                let cls_mix = branch.mix_output(&output.cls, last, frames)?;
                (Some(output), cls_mix)
            }
            None => (None, VisionTower::class_token(last)?),
        };
        self.output(branch, cls_mix, last.dim(0)? / frames)
    }

    /// From the tokens that stand for `clips` clips to their embeddings.
    fn output(
        &self,
        branch: Option<BranchOutput>,
        cls_mix: Tensor,
        clips: usize,
    ) -> Result<VideoOutput> {
        let frame_embed = self.vision.project(&cls_mix)?;
        let (rows, p) = frame_embed.dims2()?;
        let video_embed = frame_embed.reshape((clips, rows / clips.max(1), p))?.mean(1)?;
        Ok(VideoOutput { branch, cls_mix, frame_embed, video_embed })
    }

    /// `pixels [B, T, 3, image, image] -> [B, P]`, not normalised.
    pub fn forward(&self, pixels: &Tensor, options: BranchOptions<'_>) -> Result<VideoOutput> {
        let (b, t, c, h, w) = pixels.dims5()?;
        let states = self.states(&pixels.reshape((b * t, c, h, w))?)?;
        self.embed(&states, t, options)
    }
}

/// What an architecture has above CLIP's image tower: a branch beside it, or a system in its place.
pub(crate) fn above(
    architecture: &Architecture,
    vision: &VisionTower,
    ops: Ops,
    vb: &VarBuilder,
) -> Result<(Option<BtAdapter>, Option<Unbranched>)> {
    let Some(config) = architecture.branch else { return Ok((None, None)) };
    if config.system.has_branch() {
        return Ok((Some(BtAdapter::new(config, vision, ops, vb)?), None));
    }
    Ok((None, Some(Unbranched::new(config, architecture.vision, architecture.family, ops, vb)?)))
}
