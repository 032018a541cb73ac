//! Batches of a few fixed sizes, so that shapes repeat.

/// How a device is given what there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batches {
    /// All at once, as it comes.
    Whole,
    /// In parts of a power of two, at most so many at once. A part that lacks at most a quarter is
    /// filled up, and what the filling gives is thrown away: a device that has seen each size once has
    /// its memory and its kernels ready.
    Buckets(usize),
}

/// A part of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Position of its first item.
    pub(crate) first: usize,
    /// Its items.
    pub(crate) count: usize,
    /// Items that the device is given: `count`, or more.
    pub(crate) size: usize,
}

impl Batches {
    /// The parts of a batch of `count`, in order.
    pub(crate) fn parts(self, count: usize) -> Vec<Part> {
        let Self::Buckets(most) = self else {
            let whole = Part { first: 0, count, size: count };
            return if count == 0 { Vec::new() } else { vec![whole] };
        };
        // The largest power of two that is allowed.
        let most = 1 << most.max(1).ilog2();
        let mut parts = Vec::new();
        let mut first = 0;
        while first < count {
            let left = count - first;
            let above = left.next_power_of_two().min(most);
            let size = if 4 * left >= 3 * above { above } else { above / 2 };
            let taken = left.min(size);
            parts.push(Part { first, count: taken, size });
            first += taken;
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_is_in_one_part_and_at_most_a_quarter_of_a_part_is_filling() {
        for most in [1, 2, 8, 100, 128] {
            for count in 0..300 {
                let mut next = 0;
                for part in Batches::Buckets(most).parts(count) {
                    assert_eq!(part.first, next);
                    assert!(part.size.is_power_of_two() && part.size <= most, "{part:?}");
                    assert!(part.count <= part.size && 4 * part.count >= 3 * part.size, "{part:?}");
                    next += part.count;
                }
                assert_eq!(next, count);
            }
        }
    }

    #[test]
    fn sizes_are_few() {
        let sizes = |count| {
            let parts = Batches::Buckets(64).parts(count);
            parts.into_iter().map(|part| part.size).collect::<Vec<_>>()
        };
        assert_eq!(sizes(64), [64]);
        assert_eq!(sizes(50), [64]);
        assert_eq!(sizes(37), [32, 4, 1]);
        assert_eq!(sizes(130), [64, 64, 2]);
        assert_eq!(Batches::Whole.parts(37), [Part { first: 0, count: 37, size: 37 }]);
        assert_eq!(Batches::Whole.parts(0), []);
    }
}
