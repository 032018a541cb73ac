//! What the sizes of compressed pictures tell: a thing that moves costs bits.

use std::collections::VecDeque;

use footage_clip::NANOS_PER_SECOND;

/// Sizes are summed over this long: pictures of one stream differ by their kind, their sums hardly.
const STRETCH_NS: u64 = NANOS_PER_SECOND / 2;

/// Stretches of a still scene that are remembered; and so many must be known before any judgement.
const REMEMBERED: usize = 120;
const LEAST_KNOWN: usize = 8;

/// A stretch that costs this many times what nine in ten do while nothing happens is a jump, if it
/// costs this many bytes more, too: a scene that costs nothing doubles by chance.
const JUMP: f32 = 1.6;
const LEAST_JUMP: f32 = 500.0;

/// Watches the pictures between keyframes; a keyframe's own size tells what the scene is made of, not
/// whether it moves.
#[derive(Clone, Debug, Default)]
pub(super) struct Bits {
    begun_ns: Option<u64>,
    bytes: usize,
    has_counted: bool,
    /// Of stretches whose scene turned out to be still.
    still: VecDeque<f32>,
    /// Of those of which that is not known yet.
    pending: Vec<f32>,
}

impl Bits {
    /// Counts the next picture between keyframes. Returns whether the stretch that it ends jumps out.
    pub(super) fn count(&mut self, time_ns: u64, bytes: usize) -> bool {
        self.has_counted = true;
        let begun_ns = *self.begun_ns.get_or_insert(time_ns);
        self.bytes += bytes;
        let lasted_ns = time_ns.saturating_sub(begun_ns);
        if lasted_ns < STRETCH_NS {
            return false;
        }
        // By the second: stretches differ a little in length.
        let cost = self.bytes as f32 * (STRETCH_NS as f32 / lasted_ns as f32);
        (self.begun_ns, self.bytes) = (Some(time_ns), 0);
        self.pending.push(cost);
        self.limit().is_some_and(|limit| cost > limit)
    }

    /// A keyframe, or another break, comes: the stretch that had begun is not counted.
    pub(super) fn restart(&mut self) {
        (self.begun_ns, self.bytes) = (None, 0);
    }

    /// The stretches counted lately showed a still scene, or did not.
    pub(super) fn settle(&mut self, is_still: bool) {
        let pending = std::mem::take(&mut self.pending);
        if is_still {
            self.still.extend(pending);
            let surplus = self.still.len().saturating_sub(REMEMBERED);
            self.still.drain(..surplus);
        }
    }

    /// Whether enough is known of a still scene to see it end. Of a stream of keyframes alone, nothing
    /// need be.
    pub(super) fn is_learned(&self) -> bool {
        !self.has_counted || self.still.len() >= LEAST_KNOWN
    }

    fn limit(&self) -> Option<f32> {
        if self.still.len() < LEAST_KNOWN {
            return None;
        }
        let mut costs: Vec<f32> = self.still.iter().copied().collect();
        let at = costs.len() * 9 / 10;
        let usual = *costs.select_nth_unstable_by(at, f32::total_cmp).1;
        Some((usual * JUMP).max(usual + LEAST_JUMP))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = NANOS_PER_SECOND / 25;

    /// Pictures of these sizes in turn, a still scene for so many.
    fn learned(sizes: &[usize], pictures: usize) -> (Bits, u64) {
        let mut bits = Bits::default();
        for at in 0..pictures {
            bits.count(at as u64 * FRAME, sizes[at % sizes.len()]);
            bits.settle(true);
        }
        (bits, pictures as u64 * FRAME)
    }

    fn jumps(bits: &mut Bits, from: u64, sizes: &[usize]) -> bool {
        (0..30).any(|at| bits.count(from + at * FRAME, sizes[at as usize % sizes.len()]))
    }

    #[test]
    fn a_stretch_that_costs_twice_as_much_jumps_out() {
        let (mut bits, now) = learned(&[2000, 300, 300], 200);
        assert!(!jumps(&mut bits.clone(), now, &[2000, 300, 300]));
        assert!(!jumps(&mut bits.clone(), now, &[300, 2000, 300]), "an order of kinds is no event");
        assert!(jumps(&mut bits, now, &[4000, 600, 600]));
    }

    #[test]
    fn a_scene_that_costs_nothing_may_cost_a_little() {
        let (mut bits, now) = learned(&[20], 200);
        assert!(!jumps(&mut bits.clone(), now, &[50]));
        assert!(jumps(&mut bits, now, &[80]));
    }

    #[test]
    fn what_was_no_still_scene_is_not_learned() {
        let (mut bits, now) = learned(&[1000], 200);
        for at in 0..200 {
            bits.count(now + at * FRAME, 5000);
            bits.settle(false);
        }
        assert!(jumps(&mut bits, now + 200 * FRAME, &[5000]));
    }

    #[test]
    fn nothing_is_judged_before_a_still_scene_was_seen() {
        assert!(!jumps(&mut Bits::default(), 0, &[1_000_000]));
    }
}
