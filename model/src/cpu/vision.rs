//! CLIP's image tower on plain slices.

use super::attention::Sight;
use super::block::{CpuBlock, Norm, Room, floats_of};
use super::floats::{Floats, stride};
use super::matmul::{Finish, Packed, Raw, matmul};
use super::simd;
use crate::ModelError;
use crate::clip_vision::VisionTower;
use crate::config::VisionConfig;

/// The image tower up to its last block.
#[derive(Debug)]
pub(super) struct CpuVision {
    config: VisionConfig,
    patch_embedding: Packed,
    class_embedding: Vec<f32>,
    /// `[1 + N, D]`.
    pub(super) position_embedding: Vec<f32>,
    pre_norm: Norm,
    blocks: Vec<CpuBlock>,
    /// How many of the last states a frame keeps.
    states: usize,
}

/// Room for the frames that one thread works on.
#[derive(Debug)]
pub(super) struct VisionRoom {
    pixels: Floats,
    patches: Floats,
    tokens: Floats,
    room: Room,
}

impl VisionRoom {
    pub(super) fn new() -> Result<Self, ModelError> {
        Ok(Self {
            pixels: Floats::zeroed(0)?,
            patches: Floats::zeroed(0)?,
            tokens: Floats::zeroed(0)?,
            room: Room::new()?,
        })
    }
}

impl CpuVision {
    /// Packs the tower's weights; each frame will keep the last `states` states.
    pub(super) fn new(tower: &VisionTower, states: usize) -> Result<Self, ModelError> {
        let [patch_embedding] = Packed::all([Raw {
            weight: floats_of(&tower.patch_embedding)?,
            bias: Vec::new(),
            inputs: tower.config.patch_values(),
        }])?;
        Ok(Self {
            config: tower.config,
            patch_embedding,
            class_embedding: floats_of(&tower.class_embedding)?,
            position_embedding: floats_of(&tower.position_embedding)?,
            pre_norm: Norm::new(&tower.pre_layrnorm)?,
            blocks: tower.layers.iter().map(CpuBlock::new).collect::<Result<_, _>>()?,
            states,
        })
    }

    /// Tokens of a frame, 1 + N.
    pub(super) fn tokens(&self) -> usize {
        1 + self.config.patches()
    }

    /// Floats of one state of one frame, `(1 + N) * D`.
    pub(super) fn state_len(&self) -> usize {
        self.tokens() * self.config.width
    }

    /// The last states of `count` frames, `[states, 1 + N, D]` each. `pixels` writes those of one of
    /// them, `[3, image, image]`.
    pub(super) fn states(
        &self,
        count: usize,
        pixels: impl Fn(usize, &mut [f32]),
        room: &mut VisionRoom,
    ) -> Result<Vec<Box<[f32]>>, ModelError> {
        let state_len = self.state_len();
        let tokens = room.tokens.room(count * state_len)?;
        for (frame, tokens) in tokens.chunks_exact_mut(state_len).enumerate() {
            let input = room.pixels.room(3 * self.config.image * self.config.image)?;
            pixels(frame, input);
            self.embed(input, &mut room.patches, tokens)?;
        }
        let mut states = vec![Vec::with_capacity(self.states * state_len); count];
        let skip = self.blocks.len() - self.states;
        for (number, block) in self.blocks.iter().enumerate() {
            block.forward(tokens, self.tokens(), Sight::All, &mut room.room)?;
            if number >= skip {
                for (states, tokens) in states.iter_mut().zip(tokens.chunks_exact(state_len)) {
                    states.extend_from_slice(tokens);
                }
            }
        }
        Ok(states.into_iter().map(Vec::into_boxed_slice).collect())
    }

    /// From pixels `[3, image, image]` to the first block's input `[1 + N, D]`.
    fn embed(
        &self,
        pixels: &[f32],
        patches: &mut Floats,
        tokens: &mut [f32],
    ) -> Result<(), ModelError> {
        let VisionConfig { image, patch, width, .. } = self.config;
        let (grid, len) = (self.config.grid(), self.config.patch_values());
        let patch_stride = stride(len);
        let patches = patches.room(grid * grid * patch_stride)?;
        for (number, values) in patches.chunks_exact_mut(patch_stride).enumerate() {
            let (top, left) = (number / grid * patch, number % grid * patch);
            for (row, values) in values[..len].chunks_exact_mut(patch).enumerate() {
                let (channel, y) = (row / patch, top + row % patch);
                values.copy_from_slice(&pixels[(channel * image + y) * image + left..][..patch]);
            }
        }
        let (class, rest) = tokens.split_at_mut(width);
        class.copy_from_slice(&self.class_embedding);
        let row = |at: usize| &patches[at * patch_stride..][..len];
        matmul(grid * grid, row, self.patch_embedding.panels(), Finish::Store, rest, width);
        simd::add_scaled(tokens, &self.position_embedding, 1.0);
        let mut before = vec![0.0; width];
        for token in tokens.chunks_exact_mut(width) {
            before.copy_from_slice(token);
            self.pre_norm.apply(&before, token);
        }
        Ok(())
    }
}
