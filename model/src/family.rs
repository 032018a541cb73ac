//! Which published architecture a model's towers have, and in what these differ.

use serde::{Deserialize, Serialize};

use crate::ModelError;
use crate::config::{Architecture, refuse_unless};
use crate::layers::BlockStyle;

/// The architecture of both towers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// `OpenAI`'s CLIP: the only one that the CPU computes on its own fused path.
    #[default]
    Clip,
    /// `SigLIP` (Zhai et al. 2023): patches without a class token, pooled by an attention of one learned
    /// query; texts of fixed length, seen from both sides.
    Siglip,
    /// `MobileCLIP` (Vasu et al. 2024) in `OpenCLIP`'s layout: a convolutional image tower.
    MobileClip,
    /// EVA-CLIP (Sun et al. 2023), the second backbone of BT-Adapter's authors (BT-ADAPTER.md 4.3).
    EvaClip,
}

impl Family {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(crate) fn is_clip(&self) -> bool {
        *self == Self::Clip
    }

    /// The name in `model.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Clip => "clip",
            Self::Siglip => "siglip",
            Self::MobileClip => "mobile-clip",
            Self::EvaClip => "eva-clip",
        }
    }

    /// Whether the image tower gives states of a class token and patches, beside which a branch can
    /// stand.
    pub fn has_states(self) -> bool {
        matches!(self, Self::Clip | Self::EvaClip)
    }

    /// What the blocks of the image tower are, and the temporal layers of a branch beside it.
    pub(crate) fn image_blocks(self) -> BlockStyle {
        match self {
            Self::Clip | Self::MobileClip => BlockStyle::CLIP,
            Self::Siglip => BlockStyle::SIGLIP,
            Self::EvaClip => BlockStyle::EVA,
        }
    }

    /// What the spatial layers of a branch are.
    pub(crate) fn branch_blocks(self) -> BlockStyle {
        match self {
            // The authors left a default in place.
            Self::EvaClip => BlockStyle { eps: BlockStyle::CLIP.eps, ..BlockStyle::EVA },
            other => other.image_blocks(),
        }
    }

    /// What the blocks of the text tower are.
    pub(crate) fn text_blocks(self) -> BlockStyle {
        match self {
            Self::Clip => BlockStyle::CLIP,
            Self::Siglip => BlockStyle::SIGLIP,
            Self::MobileClip | Self::EvaClip => BlockStyle::OPEN_CLIP,
        }
    }
}

impl Architecture {
    /// Refuses what a family's towers cannot be.
    pub(crate) fn check_family(&self) -> Result<(), ModelError> {
        let Self { family, vision, text, branch, .. } = self;
        let name = family.name();
        refuse_unless(branch.is_none() || family.has_states(), || {
            format!("architecture.branch cannot stand beside `{name}`: write `\"branch\": null`")
        })?;
        refuse_unless(
            text.causal || *family != Family::Clip && *family != Family::EvaClip,
            || format!("architecture.text.causal is false: the text tower of `{name}` is causal"),
        )?;
        refuse_unless((text.pad as usize) < text.vocab, || {
            format!("architecture.text.pad is {}: the vocabulary has {} ids", text.pad, text.vocab)
        })?;
        let is_mobile = *family == Family::MobileClip;
        refuse_unless(is_mobile == vision.stages.is_some(), || {
            "architecture.vision.stages belongs to `mobile-clip`, and to no other".into()
        })?;
        let Some(stages) = vision.stages else { return Ok(()) };
        let layers: usize = stages.iter().fold(0, |sum, stage| sum.saturating_add(*stage));
        let last = vision.width / 2;
        refuse_unless(stages.iter().all(|stage| *stage > 0) && layers == vision.layers, || {
            format!("architecture.vision.stages {stages:?} are not {} blocks", vision.layers)
        })?;
        refuse_unless(
            vision.patch == 32 && vision.width % 64 == 0 && vision.mlp % last.max(1) == 0,
            || {
                "architecture.vision of `mobile-clip` needs patch 32, a width that is a multiple of \
                 64, and an mlp that is a multiple of half of it"
                    .into()
            },
        )?;
        refuse_unless(last % 32 == 0 && vision.heads == last / 32, || {
            format!(
                "architecture.vision.heads is {}: `mobile-clip` has {}",
                vision.heads,
                last / 32
            )
        })
    }
}
