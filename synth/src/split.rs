//! What is for training and what is held back for measuring.

use serde::{Deserialize, Serialize};

/// Which side of the line combinations and caption templates are drawn from. The two sides share
/// no combination (thing and place and motion, thing and partner and order, thing and count) and
/// no caption template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// For training.
    Train,
    /// For measuring only.
    Held,
}

/// Of a hundred combinations, how many are held.
const HELD_PERCENT: u64 = 20;

/// Whether a combination is held: a property of its text alone, the same for every seed.
pub(crate) fn is_held(combination: &str) -> bool {
    // FNV-1a, finished as in SplitMix64 so that the low digits depend on every letter.
    let mut h = combination.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |h, byte| {
        (h ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
    });
    h = (h ^ (h >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    h = (h ^ (h >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (h ^ (h >> 31)) % 100 < HELD_PERCENT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fifth_is_held_and_always_the_same() {
        let held = (0..10_000).filter(|k| is_held(&format!("dog|{k}|right"))).count();
        assert!((1_800..2_200).contains(&held), "{held}");
        // These three are in files that people may have rendered: they must never change sides.
        let sides = ["dog|road|right", "car|sea|still", "dog|then|bicycle"].map(is_held);
        assert_eq!(sides, [false, false, false]);
    }
}
