//! Which of a clip's patch tokens the branch sees while it is pre-trained.

use candle_core::{Device, Result, Tensor};
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How a mask that was drawn for one frame becomes one for the branch's tokens (BT-ADAPTER.md 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MaskOrder {
    /// The same patches of every frame, as the paper says, and as teachers the same tokens of CLIP.
    Tube,
    /// As the released code: the mask is laid out frame by frame and read patch by patch, so that
    /// the branch keeps patches of some frames only, and CLIP's tokens of other places teach them.
    Released,
}

/// The tokens that are kept of a batch of clips.
#[derive(Clone, Debug)]
pub struct Mask {
    /// Positions in the branch, patch by patch, `[B, M]` of `u32`.
    pub branch: Tensor,
    /// Positions of the tokens of CLIP that teach them, in the same order, `[B, M]` of `u32`.
    pub teacher: Tensor,
}

impl Mask {
    /// Draws a mask for `clips` clips of `frames` frames of `patches` patches, of which `share` are
    /// dropped, at least one patch kept.
    pub fn draw(
        order: MaskOrder,
        share: f64,
        (clips, frames, patches): (usize, usize, usize),
        rng: &mut ChaCha8Rng,
    ) -> Result<Self> {
        let dropped = ((share * patches as f64) as usize).min(patches.saturating_sub(1));
        let flags: Vec<Vec<bool>> = (0..clips)
            .map(|_| {
                let mut flags: Vec<bool> = (0..patches).map(|patch| patch < dropped).collect();
                flags.shuffle(rng);
                flags
            })
            .collect();
        Self::of_dropped(order, &flags, frames)
    }

    /// From the patches that are dropped of one frame of each clip. Every clip drops as many.
    pub fn of_dropped(order: MaskOrder, dropped: &[Vec<bool>], frames: usize) -> Result<Self> {
        let (mut branch, mut teacher) = (Vec::new(), Vec::new());
        for flags in dropped {
            let n = flags.len();
            let kept = (0..n).filter(|patch| !flags[*patch]);
            match order {
                MaskOrder::Tube => {
                    let at = kept.flat_map(|patch| (0..frames).map(move |t| patch * frames + t));
                    let at: Vec<u32> = at.map(|at| at as u32).collect();
                    branch.extend_from_slice(&at);
                    teacher.extend(at);
                }
                MaskOrder::Released => {
                    let kept: Vec<usize> = kept.collect();
                    for (t, patch) in (0..frames).flat_map(|t| kept.iter().map(move |p| (t, p))) {
                        branch.push((t * n + patch) as u32);
                        teacher.push((patch * frames + t) as u32);
                    }
                }
            }
        }
        let b = dropped.len();
        let m = branch.len() / b.max(1);
        if m == 0 || branch.len() != m * b {
            candle_core::bail!("a mask keeps equally many tokens of every clip, at least one")
        }
        Ok(Self {
            branch: Tensor::from_vec(branch, (b, m), &Device::Cpu)?,
            teacher: Tensor::from_vec(teacher, (b, m), &Device::Cpu)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn a_tube_keeps_a_patch_in_every_frame_or_in_none() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mask = Mask::draw(MaskOrder::Tube, 0.7, (5, 4, 16), &mut rng).unwrap();
        let rows = mask.branch.to_vec2::<u32>().unwrap();
        assert_ne!(rows[0], rows[1], "each clip has a mask of its own");
        for row in rows {
            // int(0.7 * 16) = 11 patches go, 5 stay.
            assert_eq!(row.len(), 5 * 4);
            for patch in row.chunks(4) {
                assert_eq!(patch[0] % 4, 0);
                assert!(patch.windows(2).all(|pair| pair[1] == pair[0] + 1), "{patch:?}");
            }
        }
        let (branch, teacher) = (mask.branch.to_vec2::<u32>(), mask.teacher.to_vec2::<u32>());
        assert_eq!(branch.unwrap(), teacher.unwrap());
    }

    #[test]
    fn a_mask_of_everything_leaves_one_patch_and_one_of_nothing_leaves_all() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut kept = |share| {
            let mask = Mask::draw(MaskOrder::Tube, share, (1, 2, 9), &mut rng).unwrap();
            mask.branch.dims()[1]
        };
        assert_eq!((kept(1.0), kept(0.0)), (2, 18));
    }
}
