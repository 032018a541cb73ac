//! The systems that the paper compares: what is done about time on top of CLIP, which sees one frame.
//!
//! Liu et al., section 3.2 and Tables 1 and 6. Here is all in which they differ; [`crate::bt_adapter`]
//! computes those with a branch, [`crate::unbranched`] the others. L are CLIP's blocks, K the layers of
//! the system.

use serde::{Deserialize, Serialize};

use crate::ModelError;

/// What a model does about time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum System {
    /// CLIP as it is, its embeddings of the frames averaged: the paper's baseline. In `model.json` it is
    /// a `branch` of `null`.
    MeanPooled,
    /// CLIP as it is; the tokens of its patches are averaged over time and over space, and these T + N
    /// tokens stand for the clip, as they do for the language model of Maaz et al.
    StPooling,
    /// In CLIP's last K blocks, all tokens of all frames see each other. The blocks learn.
    JointSt,
    /// Before each of CLIP's last K blocks, tokens of one place see each other over time. The blocks
    /// learn.
    SeparateSt,
    /// The same, with CLIP's blocks as they are.
    SeparateStFrozen,
    /// The layers of separate space-time in a branch beside CLIP, which begins with CLIP's tokens and
    /// then takes in none. Its class token and CLIP's are averaged.
    Branch,
    /// BT-Adapter: that branch, which takes in CLIP's tokens at every layer, weighed by learned gates.
    #[default]
    BtAdapter,
}

impl System {
    /// All of them, the simplest first.
    pub const ALL: [Self; 7] = [
        Self::MeanPooled,
        Self::StPooling,
        Self::JointSt,
        Self::SeparateSt,
        Self::SeparateStFrozen,
        Self::Branch,
        Self::BtAdapter,
    ];

    /// Its name in `model.json` and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::MeanPooled => "mean-pooled",
            Self::StPooling => "st-pooling",
            Self::JointSt => "joint-st",
            Self::SeparateSt => "separate-st",
            Self::SeparateStFrozen => "separate-st-frozen",
            Self::Branch => "branch",
            Self::BtAdapter => "bt-adapter",
        }
    }

    /// The system of this name.
    ///
    /// # Errors
    /// Where there is none; the names there are.
    pub fn of_name(name: &str) -> Result<Self, ModelError> {
        Self::ALL.into_iter().find(|system| system.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            ModelError::Config(format!("there is no system `{name}`: choose one of {names}"))
        })
    }

    /// Whether it runs beside CLIP, which then needs no change: tokens can be masked in the branch alone,
    /// and compared with CLIP's.
    pub fn has_branch(self) -> bool {
        matches!(self, Self::Branch | Self::BtAdapter)
    }

    /// Whether anything in it learns.
    pub fn learns(self) -> bool {
        self.copies_blocks() || self.attends_over_time()
    }

    /// Whether it has copies of CLIP's last K blocks, which learn.
    pub fn copies_blocks(self) -> bool {
        matches!(self, Self::JointSt | Self::SeparateSt | Self::Branch | Self::BtAdapter)
    }

    /// Whether it has K temporal layers, in which the tokens of one place see each other.
    pub fn attends_over_time(self) -> bool {
        matches!(self, Self::SeparateSt | Self::SeparateStFrozen | Self::Branch | Self::BtAdapter)
    }

    /// How many states of each frame it reads, if it has `layers` layers.
    pub(crate) fn states(self, layers: usize) -> usize {
        if self.has_branch() { layers } else { 1 }
    }

    /// After how many of CLIP's `depth` blocks the last of these states is.
    pub(crate) fn blocks(self, depth: usize, layers: usize) -> usize {
        if self.has_branch() { depth } else { depth.saturating_sub(layers) }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_model_json() {
        for system in System::ALL {
            let json = serde_json::to_string(&system).unwrap();
            assert_eq!(json, format!("\"{}\"", system.name()));
            assert_eq!(System::of_name(system.name()).unwrap(), system);
        }
        let error = System::of_name("adapter").unwrap_err().to_string();
        assert!(error.contains("bt-adapter") && error.contains("mean-pooled"), "{error}");
    }
}
