//! CLIP's image tower on plain slices.

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::attention::Sight;
use super::block::{CpuBlock, Norm, Room, floats_of};
use super::floats::{Floats, stride};
use super::matmul::{Finish, Packed, Raw};
use super::precision::Arithmetic;
use super::simd;
use crate::ModelError;
use crate::clip_vision::VisionTower;
use crate::config::VisionConfig;
use crate::layers::Block;

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
    /// Packs the weights of a tower, whose blocks `block` gives; each frame will keep the last `states` states.
    pub(super) fn new(
        tower: &VisionTower,
        block: impl Fn(usize) -> Result<Block, ModelError> + Sync,
        states: usize,
        arithmetic: Arithmetic,
    ) -> Result<Self, ModelError> {
        let (family, Some(pre_norm)) = (tower.family, &tower.pre_layrnorm) else {
            return Err(super::not_here(tower.family));
        };
        if !family.is_clip() {
            return Err(super::not_here(family));
        }
        let patch_embedding = Raw {
            weight: floats_of(&tower.patch_embedding)?,
            bias: Vec::new(),
            inputs: tower.config.patch_values(),
        };
        let [patch_embedding] = Packed::all([patch_embedding], arithmetic)?;
        let packed = |at: usize| CpuBlock::new(&block(at)?, arithmetic);
        Ok(Self {
            config: tower.config,
            patch_embedding,
            class_embedding: floats_of(&tower.class_embedding)?,
            position_embedding: floats_of(&tower.position_embedding)?,
            pre_norm: Norm::new(pre_norm)?,
            blocks: (0..tower.config.layers)
                .into_par_iter()
                .map(packed)
                .collect::<Result<_, _>>()?,
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
        self.embed(count, pixels, room)?;
        let tokens = room.tokens.room(count * state_len)?;
        let mut states = vec![Vec::with_capacity(self.states * state_len); count];
        let skip = self.blocks.len().saturating_sub(self.states);
        if self.blocks.len() < self.states {
            // A system in the place of all blocks begins with what enters the first.
            for (states, tokens) in states.iter_mut().zip(tokens.chunks_exact(state_len)) {
                states.extend_from_slice(tokens);
            }
        }
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

    /// The first block's input, `[count, 1 + N, D]`, in `room.tokens`.
    fn embed(
        &self,
        count: usize,
        pixels: impl Fn(usize, &mut [f32]),
        room: &mut VisionRoom,
    ) -> Result<(), ModelError> {
        let VisionConfig { image, width, .. } = self.config;
        let (patch_count, len) = (self.config.patches(), self.config.patch_values());
        let patch_stride = stride(len);
        let input = room.pixels.room(3 * image * image)?;
        let patches = room.patches.room(count * patch_count * patch_stride)?;
        for (frame, patches) in patches.chunks_exact_mut(patch_count * patch_stride).enumerate() {
            pixels(frame, input);
            self.cut(input, patches, patch_stride);
        }
        let row = |at: usize| &patches[at * patch_stride..][..len];
        let embedded = room.room.normed.room(count * patch_count * width)?;
        let (rows, out) = (count * patch_count, (&mut *embedded, width));
        self.patch_embedding.apply(rows, row, Finish::Store, out, &mut room.room.scratch)?;

        let tokens = room.tokens.room(count * self.state_len())?;
        let mut before = vec![0.0; self.state_len()];
        for (tokens, embedded) in tokens
            .chunks_exact_mut(self.state_len())
            .zip(embedded.chunks_exact(patch_count * width))
        {
            before[..width].copy_from_slice(&self.class_embedding);
            before[width..].copy_from_slice(embedded);
            simd::add_scaled(&mut before, &self.position_embedding, 1.0);
            self.pre_norm.apply_rows(&before, tokens, width);
        }
        Ok(())
    }

    /// The patches of a frame, from pixels `[3, image, image]`, a row every `patch_stride` floats.
    fn cut(&self, pixels: &[f32], patches: &mut [f32], patch_stride: usize) {
        let VisionConfig { image, patch, .. } = self.config;
        let (grid, len) = (self.config.grid(), self.config.patch_values());
        for (number, values) in patches.chunks_exact_mut(patch_stride).enumerate() {
            let (top, left) = (number / grid * patch, number % grid * patch);
            for (row, values) in values[..len].chunks_exact_mut(patch).enumerate() {
                let (channel, y) = (row / patch, top + row % patch);
                values.copy_from_slice(&pixels[(channel * image + y) * image + left..][..patch]);
            }
        }
    }
}
