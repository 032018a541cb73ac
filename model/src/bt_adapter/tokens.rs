//! The order of the branch's patch tokens, and the views its two attentions take of them.

use candle_core::{Result, Tensor};

/// Sizes of the patch tokens of one batch of clips.
///
/// `b` clips, `l` patches a frame, `t` frames a clip, `d` channels. `(l t)` is one axis in which
/// `t` varies fastest (BT-ADAPTER.md 1); CLIP's own tokens are `(b t) (1 l) d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchTokens {
    b: usize,
    l: usize,
    t: usize,
    d: usize,
}

impl PatchTokens {
    /// Reads the sizes off `xs`, of shape `b (l t) d`, given the number of frames.
    pub fn of(xs: &Tensor, frames: usize) -> Result<Self> {
        let (b, lt, d) = xs.dims3()?;
        if frames == 0 || lt % frames != 0 {
            candle_core::bail!("{lt} patch tokens do not divide into {frames} frames");
        }
        Ok(Self { b, l: lt / frames, t: frames, d })
    }

    /// One sequence per patch position, running over time: `b (l t) d -> (b l) t d`.
    pub fn over_time(&self, xs: &Tensor) -> Result<Tensor> {
        xs.reshape((self.b * self.l, self.t, self.d))
    }

    /// Undoes [`Self::over_time`]: `(b l) t d -> b (l t) d`.
    pub fn from_time(&self, xs: &Tensor) -> Result<Tensor> {
        xs.reshape((self.b, self.l * self.t, self.d))
    }

    /// One sequence per frame, running over space: `b (l t) d -> (b t) l d`.
    pub fn over_space(&self, xs: &Tensor) -> Result<Tensor> {
        xs.reshape((self.b, self.l, self.t, self.d))? // b l t d
            .transpose(1, 2)? // b t l d
            .reshape((self.b * self.t, self.l, self.d))
    }

    /// Undoes [`Self::over_space`]: `(b t) l d -> b (l t) d`.
    pub fn from_space(&self, xs: &Tensor) -> Result<Tensor> {
        xs.reshape((self.b, self.t, self.l, self.d))? // b t l d
            .transpose(1, 2)? // b l t d
            .reshape((self.b, self.l * self.t, self.d))
    }
}

/// The patches of a state of CLIP, in the branch's order: `(b t) (1 l) d -> b (l t) d`.
pub(crate) fn patches_of(state: &Tensor, frames: usize) -> Result<Tensor> {
    let (bt, tokens, d) = state.dims3()?;
    let (b, l) = (bt / frames, tokens - 1);
    state
        .narrow(1, 1, l)?
        .contiguous()?
        .reshape((b, frames, l, d))? // b t l d
        .transpose(1, 2)? // b l t d
        .reshape((b, l * frames, d))
}

/// The class tokens of a state of CLIP, by frame: `(b t) (1 l) d -> b t d`.
pub(crate) fn class_tokens_of(state: &Tensor, frames: usize) -> Result<Tensor> {
    let (bt, _, d) = state.dims3()?;
    state.narrow(1, 0, 1)?.reshape((bt / frames, frames, d))
}

/// The tokens that training keeps: `xs` of `b (l t) d`, `kept [b, m]` of `u32 -> b m d`.
pub(crate) fn select(xs: &Tensor, kept: &Tensor) -> Result<Tensor> {
    let (b, lt, d) = xs.dims3()?;
    let (clips, m) = kept.dims2()?;
    if clips != b {
        candle_core::bail!("{clips} rows of kept tokens do not fit {b} clips");
    }
    let first = Tensor::arange_step(0u32, (b * lt) as u32, lt as u32, kept.device())?;
    let rows = kept.broadcast_add(&first.reshape((b, 1))?)?.flatten_all()?;
    xs.reshape((b * lt, d))?.index_select(&rows, 0)?.reshape((b, m, d))
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    /// One clip of 3 patches and 2 frames; the token of patch p in frame f holds 10 p + f.
    fn three_patches_two_frames() -> Result<Tensor> {
        Tensor::new(&[[[0u32], [1], [10], [11], [20], [21]]], &Device::Cpu)
    }

    #[test]
    fn a_sequence_over_space_is_one_frame_and_over_time_one_patch() -> Result<()> {
        let xs = three_patches_two_frames()?;
        let tokens = PatchTokens::of(&xs, 2)?;

        let frames = tokens.over_space(&xs)?.squeeze(2)?.to_vec2::<u32>()?;
        assert_eq!(frames, [[0, 10, 20], [1, 11, 21]]);
        let patches = tokens.over_time(&xs)?.squeeze(2)?.to_vec2::<u32>()?;
        assert_eq!(patches, [[0, 1], [10, 11], [20, 21]]);

        let back = tokens.from_space(&tokens.over_space(&xs)?)?;
        assert_eq!(back.to_vec3::<u32>()?, xs.to_vec3::<u32>()?);
        let back = tokens.from_time(&tokens.over_time(&xs)?)?;
        assert_eq!(back.to_vec3::<u32>()?, xs.to_vec3::<u32>()?);
        Ok(())
    }

    #[test]
    fn patches_of_a_state_lose_the_class_token_and_turn_patch_major() -> Result<()> {
        // Two frames; 99 is the class token.
        let state =
            Tensor::new(&[[[99u32], [0], [10], [20]], [[98], [1], [11], [21]]], &Device::Cpu)?;
        assert_eq!(
            patches_of(&state, 2)?.to_vec3::<u32>()?,
            three_patches_two_frames()?.to_vec3::<u32>()?
        );
        assert_eq!(class_tokens_of(&state, 2)?.to_vec3::<u32>()?, [[[99], [98]]]);
        Ok(())
    }

    #[test]
    fn kept_tokens_are_selected_clip_by_clip() -> Result<()> {
        let one = three_patches_two_frames()?;
        let two = Tensor::cat(&[&one, &(one.clone() + &one.ones_like()?.affine(100.0, 0.0)?)?], 0)?;
        let kept = Tensor::new(&[[1u32, 4], [0, 5]], &Device::Cpu)?;
        assert_eq!(select(&two, &kept)?.to_vec3::<u32>()?, [[[1], [20]], [[100], [121]]]);
        Ok(())
    }

    #[test]
    fn tokens_that_do_not_divide_into_frames_are_refused() -> Result<()> {
        let xs = Tensor::zeros((1, 7, 4), DType::F32, &Device::Cpu)?;
        let error = PatchTokens::of(&xs, 2).unwrap_err().to_string();
        assert!(error.starts_with("7 patch tokens do not divide into 2 frames"), "{error}");
        Ok(())
    }
}
