//! The way to a moment in the middle of a recording.

/// Compressed bytes that are kept aside; where a group of pictures is larger, it is decoded.
const MAX_HELD_BYTES: usize = 64 << 20;

/// Passes over the pictures before a moment that nothing after it refers to: all before the last
/// keyframe that is shown before it, or at it. The pictures since are kept aside until the moment has
/// come, since the next of them may be that keyframe.
#[derive(Clone, Debug)]
pub(super) struct Lead<P> {
    until_ns: u64,
    held: Vec<P>,
    held_bytes: usize,
    has_come: bool,
}

impl<P> Lead<P> {
    /// To the moment `until_ns`, in the same time as the pictures.
    pub(super) fn new(until_ns: u64) -> Self {
        Self { until_ns, held: Vec::new(), held_bytes: 0, has_come: false }
    }

    /// Takes the next picture and returns what is to be decoded now, in order.
    pub(super) fn take(
        &mut self,
        picture: P,
        time_ns: u64,
        is_keyframe: bool,
        bytes: usize,
    ) -> Vec<P> {
        if self.has_come {
            return vec![picture];
        }
        if is_keyframe && time_ns <= self.until_ns {
            self.held.clear();
            self.held_bytes = 0;
        }
        self.held.push(picture);
        self.held_bytes += bytes;
        self.has_come = time_ns >= self.until_ns || self.held_bytes > MAX_HELD_BYTES;
        if self.has_come { std::mem::take(&mut self.held) } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which of 100 pictures, with a keyframe every ten, are decoded.
    fn decoded(until: u64, bytes: usize) -> Vec<u64> {
        let mut lead = Lead::new(until);
        (0..100).flat_map(|at| lead.take(at, at, at.is_multiple_of(10), bytes)).collect()
    }

    #[test]
    fn what_lies_before_the_last_keyframe_is_passed_over() {
        assert_eq!(decoded(0, 1), (0..100).collect::<Vec<_>>());
        assert_eq!(decoded(39, 1), (30..100).collect::<Vec<_>>());
        assert_eq!(decoded(40, 1), (40..100).collect::<Vec<_>>());
        assert_eq!(decoded(200, 1), Vec::<u64>::new(), "it never came");
    }

    #[test]
    fn what_is_kept_aside_is_bounded() {
        assert_eq!(decoded(99, MAX_HELD_BYTES / 4), (0..100).collect::<Vec<_>>());
    }
}
