//! BT-Adapter: a branch beside CLIP's image tower that sees time.
//!
//! Liu et al., *BT-Adapter: Video Conversation is Feasible Without Video Instruction Tuning*, in the
//! form that the authors' code for pre-training and retrieval computes (`mmaction2/` of
//! `farewellthree/BT-Adapter` at commit 393b4b8), which differs from the paper: the gates weigh CLIP
//! rather than the branch, the first class token is an average, and layer norm and projection come
//! before the mean over frames. Checked against that code on every intermediate (`tests/parity.rs`).
//!
//! `B` clips of `T` frames of `N` patches, `D` channels, `K` branch layers; `x` are CLIP's tokens
//! `[B·T, 1+N, D]`, `z` the branch's `[B, 1+N·T, D]`: one class token for the whole clip, then the
//! patches, patch by patch, each over time.

mod conversation;
mod folded;
mod layers;
mod tokens;
mod video;

use candle_core::{Result, Tensor};
use candle_nn::{Init, VarBuilder};

pub use self::conversation::FrameGroups;
pub use self::layers::{DropPath, SpatialLayer, TemporalLayer};
use self::layers::{gate, mean_over_frames, mix};
pub use self::tokens::PatchTokens;
pub(crate) use self::tokens::{class_tokens_of, patches_of, select};
pub(crate) use self::video::above;
pub use self::video::{VideoOutput, VideoTower};
use crate::clip_vision::VisionTower;
use crate::config::{BranchConfig, BranchMode};
use crate::layers::BlockConfig;
use crate::ops::Ops;
use crate::system::System;

/// The branch.
#[derive(Clone, Debug)]
pub struct BtAdapter {
    pub(crate) config: BranchConfig,
    pub(crate) cls_token: Tensor,
    pub(crate) time_embed: Tensor,
    /// CLIP's own table.
    pub(crate) position_embedding: Tensor,
    /// Gates of the output and between layers, before sigmoid; none in additive mode, nor without
    /// interaction.
    pub(crate) balance: Option<(Tensor, Tensor)>,
    pub(crate) t_layers: Vec<TemporalLayer>,
    pub(crate) s_layers: Vec<SpatialLayer>,
}

/// Sees the tokens of the branch on their way: which they are, the number of the layer, and all of
/// them, `[B, 1+M, D]`.
pub type Probe<'a> = &'a mut dyn FnMut(&'static str, usize, &Tensor);

/// What training asks of a forward pass beyond inference, and who watches it.
#[derive(Default)]
pub struct BranchOptions<'a> {
    /// The patch tokens to keep, `[B, M]` of `u32`: positions on the axis `N·T` in which time varies
    /// fastest. `M` is a multiple of T. All are kept without it.
    pub kept: Option<&'a Tensor>,
    /// Applied to the output of each attention.
    pub drop_path: Option<&'a DropPath<'a>>,
    /// Called with `branch_in`, `branch_mid` (after the temporal layer) and `branch_out`.
    pub probe: Option<Probe<'a>>,
}

impl std::fmt::Debug for BranchOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BranchOptions")
            .field("kept", &self.kept)
            .field("drop_path", &self.drop_path.is_some())
            .field("probe", &self.probe.is_some())
            .finish()
    }
}

/// The tokens of the branch after its last layer.
#[derive(Clone, Debug)]
pub struct BranchOutput {
    /// The class token of each clip, `[B, 1, D]`.
    pub cls: Tensor,
    /// The patches, `[B, N·T, D]`, or those that were kept.
    pub patches: Tensor,
}

impl BtAdapter {
    /// Takes the parameters below `vb` (`backbone` in a checkpoint of the reference), beside those
    /// of the tower. New layers add nothing to CLIP: their temporal projections are 0. (The
    /// reference then copies CLIP's last K blocks into the spatial layers.)
    pub fn new(
        config: BranchConfig,
        vision: &VisionTower,
        ops: Ops,
        vb: &VarBuilder,
    ) -> Result<Self> {
        let crate::config::VisionConfig { width, heads, mlp, layers: depth, .. } = *vision.config();
        let zero = candle_nn::init::ZERO;
        let balance = match config.mode {
            BranchMode::Gated if config.system == System::BtAdapter => Some((
                vb.get_with_hints(width, "balance1", zero)?,
                vb.get_with_hints(width, "balance2", zero)?,
            )),
            _ => None,
        };
        let (t_layers, s_layers) = (vb.pp("btadapter_T_layers"), vb.pp("btadapter_S_layers"));
        let family = vision.family;
        let block = BlockConfig { width, heads, mlp, depth, style: family.branch_blocks() };
        let over_time = BlockConfig { style: family.image_blocks(), ..block };
        Ok(Self {
            cls_token: vb.get_with_hints((1, 1, width), "btadapter_cls_token", zero)?,
            time_embed: vb.pp("btadapter_time_embed").get_with_hints(
                (config.max_frames, width),
                "weight",
                Init::Randn { mean: 0.0, stdev: 1.0 },
            )?,
            position_embedding: vision.position_embedding().clone(),
            balance,
            t_layers: (0..config.layers)
                .map(|layer| TemporalLayer::new(over_time, ops, &t_layers.pp(layer)))
                .collect::<Result<_>>()?,
            s_layers: (0..config.layers)
                .map(|layer| SpatialLayer::new(block, ops, &s_layers.pp(layer)))
                .collect::<Result<_>>()?,
            config,
        })
    }

    /// Sizes and mode of the branch.
    pub fn config(&self) -> &BranchConfig {
        &self.config
    }

    /// The same weights in additive mode, as the published zero-shot configurations use them.
    #[must_use]
    pub fn additive(&self) -> Self {
        let config = BranchConfig { mode: BranchMode::Additive, ..self.config };
        Self { config, balance: None, ..self.clone() }
    }

    /// What weighs CLIP against the branch, each `[D]`, at the output and between layers; none where
    /// both sides are summed. Without interaction nothing is taken in between layers, and the output is
    /// the mean.
    pub(crate) fn gates(&self) -> Result<Option<(Tensor, Tensor)>> {
        if self.config.system == System::Branch {
            let nothing = self.cls_token.flatten_all()?.zeros_like()?;
            return Ok(Some(((&nothing + 0.5)?, nothing)));
        }
        let Some((output, between)) = &self.balance else { return Ok(None) };
        let BranchConfig { out_norm, middle_norm, .. } = self.config;
        Ok(Some((gate(output, out_norm)?, gate(between, middle_norm)?)))
    }

    /// Runs the branch over the outputs of CLIP's last K blocks, `states`, each `[B·T, 1+N, D]`
    /// (BT-ADAPTER.md 2.1 to 2.4).
    pub fn forward(
        &self,
        states: &[Tensor],
        frames: usize,
        options: BranchOptions<'_>,
    ) -> Result<BranchOutput> {
        if states.len() != self.config.layers {
            candle_core::bail!("{} states for {} branch layers", states.len(), self.config.layers);
        }
        let max_frames = self.config.max_frames;
        if frames == 0 || frames > max_frames || states[0].dim(0)? % frames != 0 {
            candle_core::bail!(
                "{} frames are no clips of {frames} frames (1 to {max_frames})",
                states[0].dim(0)?
            );
        }
        self.run(states, frames, frames, options)
    }

    /// The layers that `states` are the input of, one after the other. `states` hold `frames` frames of
    /// each clip; the two attentions of a layer take their patches as `grouped` frames, which is the
    /// same except where the released conversation code halves it.
    fn run(
        &self,
        states: &[Tensor],
        frames: usize,
        grouped: usize,
        mut options: BranchOptions<'_>,
    ) -> Result<BranchOutput> {
        let gate = self.gates()?.map(|(_, between)| between);
        let takes_in = self.config.system != System::Branch;
        let keep = |patches: Tensor| match options.kept {
            Some(kept) => select(&patches, kept),
            None => Ok(patches),
        };
        let (mut cls, patches) = self.first_input(&states[0], frames)?;
        let mut patches = keep(patches)?;
        let layers = self.t_layers.iter().zip(&self.s_layers).zip(states).enumerate();
        for (layer, ((temporal, spatial), state)) in layers {
            if layer > 0 && takes_in {
                let frame_cls = mean_over_frames(&class_tokens_of(state, frames)?)?;
                cls = mix(&cls, &frame_cls, gate.as_ref())?;
                patches = mix(&patches, &keep(patches_of(state, frames)?)?, gate.as_ref())?;
            }
            let drop_path = |xs: Tensor| match options.drop_path {
                Some(drop_path) => drop_path(layer, xs),
                None => Ok(xs),
            };
            show(&mut options.probe, "branch_in", layer, &cls, &patches)?;
            patches = temporal.forward(&patches, grouped, drop_path)?;
            show(&mut options.probe, "branch_mid", layer, &cls, &patches)?;
            (cls, patches) = spatial.forward(&cls, &patches, grouped, drop_path)?;
            show(&mut options.probe, "branch_out", layer, &cls, &patches)?;
        }
        Ok(BranchOutput { cls, patches })
    }

    /// Mixes the branch's class token into those of CLIP's last state (BT-ADAPTER.md 2.5):
    /// `cls [B, 1, D]`, `last [B·T, 1+N, D] -> [B·T, D]`.
    pub fn mix_output(&self, cls: &Tensor, last: &Tensor, frames: usize) -> Result<Tensor> {
        let gate = self.gates()?.map(|(output, _)| output);
        let frame_cls = class_tokens_of(last, frames)?; // B T D
        let (b, t, d) = frame_cls.dims3()?;
        mix(&cls.broadcast_as((b, t, d))?, &frame_cls, gate.as_ref())?.reshape((b * t, d))
    }

    /// Positions and times added to the first state, and the average that begins the class token
    /// (BT-ADAPTER.md 2.1): `[B·T, 1+N, D] -> [B, 1, D], [B, N·T, D]`.
    fn first_input(&self, state: &Tensor, frames: usize) -> Result<(Tensor, Tensor)> {
        let (bt, tokens, d) = state.dims3()?;
        let (b, n) = (bt / frames, tokens - 1);
        let positions = self.position_embedding.narrow(0, 1, n)?.reshape((n, 1, d))?;
        let times = self.time_embed.narrow(0, 0, frames)?.reshape((1, frames, d))?;
        let placed = positions.broadcast_add(&times)?.reshape((1, n * frames, d))?;
        let patches = patches_of(state, frames)?.broadcast_add(&placed)?;

        let fresh =
            (self.position_embedding.narrow(0, 0, 1)?.reshape((1, 1, d))? + &self.cls_token)?;
        let frame_cls = mean_over_frames(&class_tokens_of(state, frames)?)?;
        let cls = (frame_cls.broadcast_add(&fresh)? / 2.0)?;
        debug_assert_eq!(cls.dims(), [b, 1, d]);
        Ok((cls, patches))
    }
}

fn show(
    probe: &mut Option<Probe<'_>>,
    name: &'static str,
    layer: usize,
    cls: &Tensor,
    patches: &Tensor,
) -> Result<()> {
    if let Some(probe) = probe {
        probe(name, layer, &Tensor::cat(&[cls, patches], 1)?);
    }
    Ok(())
}
