//! BT-Adapter's branch on plain slices.
//!
//! The arithmetic is that of [`crate::bt_adapter`], rearranged where that changes no result beyond
//! rounding, and saves a quarter of the branch:
//! - the class token, of which every frame has a copy, is projected once;
//! - the temporal layer's output projection and `temporal_fc` follow each other without anything in
//!   between, and become one matrix;
//! - after the last layer only the class token is looked at, so its spatial attention has one query
//!   ([`super::class_query`]) and its MLP one row;
//! - the projection is linear, so frames are averaged before it.

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use super::attention::{Sequence, Sight, attend};
use super::block::{CpuBlock, Norm, Room, floats_of, raw, raw_qkv};
use super::class_query::ClassQuery;
use super::floats::{Floats, stride};
use super::matmul::{Finish, Packed, Raw};
use super::parallel::{Pool, each};
use super::precision::Arithmetic;
use super::simd;
use crate::ModelError;
use crate::bt_adapter::{BtAdapter, TemporalLayer};

/// The branch.
#[derive(Debug)]
pub(super) struct CpuBranch {
    width: usize,
    /// Patches of a frame, N.
    patches: usize,
    max_frames: usize,
    /// Start of the class token: fresh token + position 0.
    cls_start: Vec<f32>,
    /// Positions of the patches, `[N, D]`.
    positions: Vec<f32>,
    /// `[max_frames, D]`.
    times: Vec<f32>,
    /// Gates of the output and between layers, after sigmoid; none when both sides are summed.
    gates: Option<(Vec<f32>, Vec<f32>)>,
    temporal: Vec<Temporal>,
    spatial: Vec<CpuBlock>,
    last_spatial: ClassQuery,
    room: Pool<Room>,
    clip_room: Pool<ClipRoom>,
}

#[derive(Debug)]
struct Temporal {
    norm: Norm,
    qkv: Packed,
    /// `temporal_fc` after the attention's output projection.
    out: Packed,
    heads: usize,
}

/// Tokens of one clip, and what the frames' attentions read and write.
#[derive(Debug)]
struct ClipRoom {
    /// `[1 + N * T, D]`: the class token, then patch by patch, each over time.
    tokens: Floats,
    /// As many rows: query, key and value, or in the last layer the normed tokens.
    qkv: Floats,
    /// `[T, 1 + N, D]`, by frame.
    mixed: Floats,
}

/// A run of patches of one clip, with the class token before the first of them.
struct Part<'a> {
    first_patch: usize,
    has_class: bool,
    tokens: &'a mut [f32],
    qkv: &'a mut [f32],
}

impl CpuBranch {
    pub(super) fn new(mut branch: BtAdapter, arithmetic: Arithmetic) -> Result<Self, ModelError> {
        let width = branch.cls_token.elem_count();
        let positions = floats_of(&branch.position_embedding)?;
        let (cls_position, positions) = positions.split_at(width);
        let mut cls_start = floats_of(&branch.cls_token)?;
        simd::add_scaled(&mut cls_start, cls_position, 1.0);
        let config = *branch.config();
        let gate = |balance: &candle_core::Tensor, factor: f64| -> Result<Vec<f32>, ModelError> {
            let sigmoid =
                |balance: f32| (1.0 / (1.0 + (-factor * f64::from(balance)).exp())) as f32;
            Ok(floats_of(balance)?.into_iter().map(sigmoid).collect())
        };
        let gates = match (&branch.balance, branch.gates()?) {
            (Some((output, between)), _) => {
                Some((gate(output, config.out_norm)?, gate(between, config.middle_norm)?))
            }
            (None, Some((output, between))) => Some((floats_of(&output)?, floats_of(&between)?)),
            (None, None) => None,
        };
        let Some(last) = branch.s_layers.pop() else {
            return Err(ModelError::Config("a branch needs at least one layer".into()));
        };
        Ok(Self {
            width,
            patches: positions.len() / width,
            max_frames: config.max_frames,
            cls_start,
            positions: positions.to_vec(),
            times: floats_of(&branch.time_embed)?,
            gates,
            temporal: branch
                .t_layers
                .into_par_iter()
                .map(|layer| Temporal::new(&layer, arithmetic))
                .collect::<Result<_, _>>()?,
            spatial: branch
                .s_layers
                .into_par_iter()
                .map(|layer| CpuBlock::new(&layer.0, arithmetic))
                .collect::<Result<_, _>>()?,
            last_spatial: ClassQuery::new(&last.0)?,
            room: Pool::new(Room::new),
            clip_room: Pool::new(ClipRoom::new),
        })
    }

    /// States of a frame that the branch reads, K.
    pub(super) fn states(&self) -> usize {
        self.temporal.len()
    }

    pub(super) fn max_frames(&self) -> usize {
        self.max_frames
    }

    /// The mixed class tokens of a clip, one for each frame, end to end, `[T, D]`: what is
    /// normalised and projected. `frames` are the states of the frames, `[K, 1 + N, D]`; the work is
    /// split into `parts`.
    pub(super) fn class_tokens(
        &self,
        frames: &[&[f32]],
        parts: usize,
    ) -> Result<Vec<f32>, ModelError> {
        let mut clip_room = self.clip_room.take()?;
        let cls = self.run(frames, parts, &mut clip_room)?;
        self.clip_room.give_back(clip_room);
        let last = self.temporal.len() - 1;
        let mut mixed = Vec::with_capacity(frames.len() * self.width);
        for frame in frames {
            let at = mixed.len();
            mixed.extend_from_slice(&cls);
            mix(
                &mut mixed[at..],
                self.token(frame, last, 0),
                self.gates.as_ref().map(|(output, _)| output.as_slice()),
            );
        }
        Ok(mixed)
    }

    /// The class token after the last layer, `[D]`.
    fn run(
        &self,
        frames: &[&[f32]],
        parts: usize,
        clip: &mut ClipRoom,
    ) -> Result<Vec<f32>, ModelError> {
        let (width, count) = (self.width, frames.len());
        let rows = 1 + self.patches * count;
        let (qkv_stride, mixed_stride) = (stride(3 * width), stride(width));
        let tokens = clip.tokens.room(rows * width)?;
        let qkv = clip.qkv.room(rows * qkv_stride)?;
        let mixed = clip.mixed.room(count * (1 + self.patches) * mixed_stride)?;
        for (layer, temporal) in self.temporal.iter().enumerate() {
            let spatial = self.spatial.get(layer);
            let row_stride = if spatial.is_some() { qkv_stride } else { mixed_stride };
            each(parts, self.split(tokens, qkv, count, row_stride, parts), |part| {
                self.take_in(layer, frames, part.tokens, part.first_patch, part.has_class);
                let mut room = self.room.take()?;
                let patches = &mut part.tokens[if part.has_class { width } else { 0 }..];
                temporal.forward(patches, count, &mut room)?;
                match spatial {
                    Some(block) => project(block, part.tokens, part.qkv, &mut room)?,
                    None => {
                        self.last_spatial.norm().apply_rows(part.tokens, part.qkv, mixed_stride);
                    }
                }
                self.room.give_back(room);
                Ok(())
            })?;
            let Some(block) = spatial else { break };

            // One sequence for each frame: the class token, then this frame's patches.
            let qkv_row = |at: usize| &qkv[at * qkv_stride..][..3 * width];
            let per_frame = (1 + self.patches) * mixed_stride;
            let by_frame = mixed.chunks_exact_mut(per_frame).enumerate();
            each(parts, by_frame.collect(), |(frame, mixed)| {
                let mut room = self.room.take()?;
                let row = |token: usize| {
                    qkv_row(if token == 0 { 0 } else { 1 + (token - 1) * count + frame })
                };
                let sequence = Sequence {
                    len: 1 + self.patches,
                    width,
                    heads: block.heads,
                    sight: Sight::All,
                    row,
                };
                let out = (mixed, mixed_stride);
                attend(block.qkv.arithmetic(), &sequence, &mut room.scratch, out)?;
                self.room.give_back(room);
                Ok(())
            })?;

            let mut cls_seen = vec![0.0; width];
            for mixed in mixed.chunks_exact(per_frame) {
                simd::add_scaled(&mut cls_seen, &mixed[..width], 1.0 / count as f32);
            }
            let mixed = &*mixed;
            each(parts, self.split(tokens, qkv, count, qkv_stride, parts), |part| {
                let mut room = self.room.take()?;
                let classes = usize::from(part.has_class);
                let row = |at: usize| {
                    let Some(at) = at.checked_sub(classes) else { return cls_seen.as_slice() };
                    let (patch, frame) = (part.first_patch + at / count, at % count);
                    &mixed[frame * per_frame + (1 + patch) * mixed_stride..][..width]
                };
                let rows = part.tokens.len() / width;
                let out = (&mut *part.tokens, width);
                block.out.apply(rows, row, Finish::Add, out, &mut room.scratch)?;
                block.feed.apply(part.tokens, &mut room)?;
                self.room.give_back(room);
                Ok(())
            })?;
        }
        let normed = &qkv[..rows * mixed_stride];
        self.last_spatial.forward(&mut tokens[..width], normed, mixed_stride, count)
    }

    /// Cuts a clip into `parts` runs of patches of nearly the same length.
    fn split<'a>(
        &self,
        mut tokens: &'a mut [f32],
        mut qkv: &'a mut [f32],
        frames: usize,
        qkv_stride: usize,
        parts: usize,
    ) -> Vec<Part<'a>> {
        let parts = parts.clamp(1, self.patches);
        (0..parts)
            .map(|part| {
                let first = part * self.patches / parts;
                let end = (part + 1) * self.patches / parts;
                let rows = (end - first) * frames + usize::from(part == 0);
                let (mine, rest) = std::mem::take(&mut tokens).split_at_mut(rows * self.width);
                tokens = rest;
                let (my_qkv, rest) = std::mem::take(&mut qkv).split_at_mut(rows * qkv_stride);
                qkv = rest;
                Part { first_patch: first, has_class: part == 0, tokens: mine, qkv: my_qkv }
            })
            .collect()
    }

    /// A token of a state of a frame.
    fn token<'a>(&self, frame: &'a [f32], state: usize, token: usize) -> &'a [f32] {
        &frame[(state * (1 + self.patches) + token) * self.width..][..self.width]
    }

    /// The input of a layer: the first state with positions and times (BT-ADAPTER.md 2.1), or what
    /// the branch has, gated with CLIP's state (2.2).
    fn take_in(
        &self,
        layer: usize,
        frames: &[&[f32]],
        tokens: &mut [f32],
        first_patch: usize,
        has_class: bool,
    ) {
        let width = self.width;
        let (class, patches) = tokens.split_at_mut(if has_class { width } else { 0 });
        if has_class {
            let mut mean = vec![0.0; width];
            for frame in frames {
                simd::add_scaled(&mut mean, self.token(frame, layer, 0), 1.0 / frames.len() as f32);
            }
            if layer == 0 {
                class.fill(0.0);
                simd::add_scaled(class, &mean, 0.5);
                simd::add_scaled(class, &self.cls_start, 0.5);
            } else {
                mix(class, &mean, self.gates.as_ref().map(|(_, between)| between.as_slice()));
            }
        }
        for (at, token) in patches.chunks_exact_mut(width).enumerate() {
            let (patch, frame) = (first_patch + at / frames.len(), at % frames.len());
            let seen = self.token(frames[frame], layer, 1 + patch);
            if layer == 0 {
                let position = &self.positions[patch * width..][..width];
                let time = &self.times[frame * width..][..width];
                simd::sum_of_three(token, seen, position, time);
            } else {
                mix(token, seen, self.gates.as_ref().map(|(_, between)| between.as_slice()));
            }
        }
    }
}

/// Takes CLIP's tokens into the branch's: weighed by a gate, or summed without one.
fn mix(out: &mut [f32], xs: &[f32], gate: Option<&[f32]>) {
    match gate {
        Some(gate) => simd::mix(out, xs, gate),
        None => simd::add_scaled(out, xs, 1.0),
    }
}

/// Layer norm, then query, key and value of every token.
fn project(
    block: &CpuBlock,
    tokens: &[f32],
    qkv: &mut [f32],
    room: &mut Room,
) -> Result<(), ModelError> {
    let width = block.norm.width();
    let (rows, normed_stride) = (tokens.len() / width, stride(width));
    let normed = room.normed.room(rows * normed_stride)?;
    block.norm.apply_rows(tokens, normed, normed_stride);
    let row = |at: usize| &normed[at * normed_stride..][..width];
    block.qkv.apply(rows, row, Finish::Store, (qkv, stride(3 * width)), &mut room.scratch)
}

impl Temporal {
    fn new(layer: &TemporalLayer, arithmetic: Arithmetic) -> Result<Self, ModelError> {
        let out = after(&raw(&layer.temporal_fc)?, &raw(&layer.self_attn.out_proj)?);
        let [qkv, out] = Packed::all([raw_qkv(&layer.self_attn)?, out], arithmetic)?;
        Ok(Self { norm: Norm::new(&layer.layer_norm1)?, qkv, out, heads: layer.self_attn.heads })
    }

    /// Attention over the `frames` of each patch (BT-ADAPTER.md 2.3), `[.., T, D]`.
    fn forward(
        &self,
        patches: &mut [f32],
        frames: usize,
        room: &mut Room,
    ) -> Result<(), ModelError> {
        let width = self.norm.width();
        let rows = patches.len() / width;
        let (normed_stride, qkv_stride) = (stride(width), stride(3 * width));
        let normed = room.normed.room(rows * normed_stride)?;
        let qkv = room.qkv.room(rows * qkv_stride)?;
        let mixed = room.mixed.room(rows * normed_stride)?;
        self.norm.apply_rows(patches, normed, normed_stride);
        let row = |at: usize| &normed[at * normed_stride..][..width];
        self.qkv.apply(rows, row, Finish::Store, (qkv, qkv_stride), &mut room.scratch)?;
        for (qkv, mixed) in qkv
            .chunks_exact(frames * qkv_stride)
            .zip(mixed.chunks_exact_mut(frames * normed_stride))
        {
            let row = |frame: usize| &qkv[frame * qkv_stride..][..3 * width];
            let (heads, sight) = (self.heads, Sight::All);
            let sequence = Sequence { len: frames, width, heads, sight, row };
            let out = (mixed, normed_stride);
            attend(self.qkv.arithmetic(), &sequence, &mut room.scratch, out)?;
        }
        let row = |at: usize| &mixed[at * normed_stride..][..width];
        self.out.apply(rows, row, Finish::Add, (patches, width), &mut room.scratch)
    }
}

/// The linear layer that does `inner`, then `outer`: `Wo (Wi x + bi) + bo`. Summed in f64: it is
/// done once, and stands for two roundings that the reference makes.
fn after(outer: &Raw, inner: &Raw) -> Raw {
    let (middle, inputs) = (outer.inputs, inner.inputs);
    let mut weight = Vec::with_capacity(outer.outputs() * inputs);
    let mut bias = Vec::with_capacity(outer.outputs());
    let mut sums = vec![0f64; inputs];
    for (row, outer_bias) in outer.weight.chunks_exact(middle).zip(&outer.bias) {
        sums.fill(0.0);
        let mut constant = f64::from(*outer_bias);
        for ((factor, inner_row), inner_bias) in
            row.iter().zip(inner.weight.chunks_exact(inputs)).zip(&inner.bias)
        {
            let factor = f64::from(*factor);
            constant += factor * f64::from(*inner_bias);
            for (sum, value) in sums.iter_mut().zip(inner_row) {
                *sum += factor * f64::from(*value);
            }
        }
        weight.extend(sums.iter().map(|sum| *sum as f32));
        bias.push(constant as f32);
    }
    Raw { weight, bias, inputs }
}

impl ClipRoom {
    fn new() -> Result<Self, ModelError> {
        Ok(Self { tokens: Floats::zeroed(0)?, qkv: Floats::zeroed(0)?, mixed: Floats::zeroed(0)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_linear_layers_become_one() {
        let inner =
            Raw { weight: vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0], bias: vec![1.0, -1.0], inputs: 3 };
        let outer = Raw { weight: vec![2.0, 1.0], bias: vec![0.5], inputs: 2 };
        let both = after(&outer, &inner);
        assert_eq!(both.weight, [6.0, 9.0, 12.0]);
        assert_eq!(both.bias, [1.5]);
        assert_eq!(both.inputs, 3);
    }
}
