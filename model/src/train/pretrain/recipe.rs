//! What pre-training minimises, and where the paper and the released code differ.

use serde::{Deserialize, Serialize};

use super::mask::MaskOrder;
use crate::system::System;
use crate::train::AdamW;

/// How the branch's tokens are compared with CLIP's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TokenLoss {
    /// The squared distance, as in the paper's equation 7.
    SquaredDistance,
    /// `2 - 2 cos`, the squared distance of tokens brought to unit length, as in the released code.
    Cosine,
}

/// The three losses' weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossWeights {
    /// Video and text: the contrastive loss of the two embeddings.
    pub vtc: f64,
    /// Masked branching token alignment: the branch's tokens and CLIP's.
    pub mbta: f64,
    /// Masked branching cross-modal alignment: the branch's tokens and the text.
    pub mbca: f64,
}

/// What is minimised, and how.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recipe {
    /// Share of the patches that the branch does not see.
    pub masked: f64,
    /// Which tokens that is.
    pub mask: MaskOrder,
    /// How tokens are compared.
    pub tokens: TokenLoss,
    /// Weights of the losses.
    pub weights: LossWeights,
    /// Temperature of the contrastive losses.
    pub temperature: f64,
    /// Share of attention outputs that the last layer of the branch drops; earlier ones fewer, the
    /// first none.
    pub drop_path: f64,
    /// Gates learn by their raw values, whose gain inside the sigmoid is 10^2 and 10^4, and all
    /// parameters decay.
    pub released_optimiser: bool,
}

impl Recipe {
    /// What the paper says (section 3.3 and "implementation details").
    pub fn paper() -> Self {
        Self {
            masked: 0.7,
            mask: MaskOrder::Tube,
            tokens: TokenLoss::SquaredDistance,
            weights: LossWeights { vtc: 1.0, mbta: 1.0, mbca: 1.0 },
            temperature: 0.01,
            drop_path: 0.1,
            released_optimiser: false,
        }
    }

    /// What the released code does, with which the published weights were trained (BT-ADAPTER.md
    /// 3.3, rows 5 to 7).
    pub fn released() -> Self {
        Self {
            mask: MaskOrder::Released,
            tokens: TokenLoss::Cosine,
            weights: LossWeights { vtc: 1.0, mbta: 0.1, mbca: 0.1 },
            released_optimiser: true,
            ..Self::paper()
        }
    }

    /// What is left of it for another system: without a branch there is nothing to mask or to compare
    /// with CLIP, and the contrast of video and text is all that teaches.
    #[must_use]
    pub fn for_system(self, system: System) -> Self {
        if system.has_branch() {
            return self;
        }
        let weights = LossWeights { mbta: 0.0, mbca: 0.0, ..self.weights };
        Self { masked: 0.0, weights, ..self }
    }

    /// The optimiser's settings, with the released configuration's decay and clipping.
    pub fn optimiser(&self) -> AdamW {
        AdamW {
            clip: 5.0,
            raw_gates: self.released_optimiser,
            decay_all: self.released_optimiser,
            ..AdamW::default()
        }
    }
}

/// Shares of the learning rate by what names contain, the first that fits: temporal layers and
/// gates begin from nothing and learn ten times as fast as copies of CLIP (BT-ADAPTER.md 7).
pub const RATES: [(&str, f32); 4] =
    [("btadapter_T_layers", 1.0), ("balance", 1.0), ("btadapter", 0.1), ("extra_proj", 0.1)];

/// The same where there is no branch: there, the table of times begins from nothing, too.
pub const UNBRANCHED_RATES: [(&str, f32); 3] =
    [("btadapter_T_layers", 1.0), ("btadapter_time_embed", 1.0), ("btadapter", 0.1)];
