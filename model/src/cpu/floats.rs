//! Large buffers of floats.

use memmap2::MmapMut;

use crate::ModelError;

/// Zeros at first, aligned to a page, on huge pages where the system has them.
///
/// A pass over the weights of a large model touches every page of them once for each few frames;
/// with pages of 4 KiB, looking those up costs as much as a third of the arithmetic.
#[derive(Debug)]
pub(super) struct Floats {
    map: MmapMut,
    /// Bytes to skip, up to the first huge page.
    skip: usize,
    len: usize,
}

const HUGE_PAGE: usize = 2 << 20;

impl Floats {
    /// `len` zeros.
    pub(super) fn zeroed(len: usize) -> Result<Self, ModelError> {
        let bytes = len * size_of::<f32>();
        let is_large = bytes >= HUGE_PAGE;
        let map = MmapMut::map_anon(if is_large { bytes + HUGE_PAGE } else { bytes.max(1) })
            .map_err(ModelError::Memory)?;
        let skip = if is_large { map.as_ptr().align_offset(HUGE_PAGE) } else { 0 };
        #[cfg(target_os = "linux")]
        if is_large && let Err(error) = map.advise(memmap2::Advice::HugePage) {
            tracing::debug!(%error, "no huge pages: the model runs, but slower");
        }
        Ok(Self { map, skip, len })
    }

    /// At least `len` floats of whatever was written there before; grows when needed.
    pub(super) fn room(&mut self, len: usize) -> Result<&mut [f32], ModelError> {
        if self.len < len {
            *self = Self::zeroed(len)?;
        }
        Ok(&mut self.as_mut_slice()[..len])
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        let bytes = &self.map[self.skip..self.skip + self.len * size_of::<f32>()];
        #[expect(unsafe_code, reason = "candle's cast is private, and one cast needs no crate")]
        // SAFETY: a map begins at a page and `skip` is 0 or leads to one, so the bytes are aligned;
        // there are `len * 4` of them, borrowed from `self`; and every pattern of bits is an f32.
        unsafe {
            std::slice::from_raw_parts(bytes.as_ptr().cast(), self.len)
        }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        let len = self.len;
        let bytes = &mut self.map[self.skip..self.skip + len * size_of::<f32>()];
        #[expect(unsafe_code, reason = "candle's cast is private, and one cast needs no crate")]
        // SAFETY: as in `as_slice`, and borrowed mutably.
        unsafe {
            std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), len)
        }
    }
}

/// From one row of a buffer to the next: the width, rounded up to whole cache lines, and away from
/// multiples of 1 KiB, at which the rows of a tile would compete for one place in the cache.
pub(super) fn stride(width: usize) -> usize {
    let lines = width.next_multiple_of(16);
    if lines.is_multiple_of(256) { lines + 16 } else { lines }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_of_every_size_are_zero_and_writable_to_the_end() {
        for len in [0, 1, 1000, HUGE_PAGE / 4 - 1, HUGE_PAGE / 4, HUGE_PAGE] {
            let mut floats = Floats::zeroed(len).unwrap();
            assert!(floats.as_slice().iter().all(|value| *value == 0.0));
            floats.as_mut_slice().fill(1.0);
            assert_eq!(
                (floats.as_slice().len(), floats.as_slice().as_ptr() as usize % 64),
                (len, 0)
            );
        }
    }

    #[test]
    fn room_grows_and_never_shrinks() {
        let mut floats = Floats::zeroed(4).unwrap();
        floats.room(2).unwrap().fill(7.0);
        assert_eq!(floats.room(4).unwrap(), [7.0, 7.0, 0.0, 0.0]);
        assert_eq!(floats.room(9).unwrap().len(), 9);
    }

    #[test]
    fn rows_are_never_a_multiple_of_a_kibibyte_apart() {
        for width in [1, 16, 160, 768, 1024, 3072, 4096] {
            let stride = stride(width);
            assert!(
                stride >= width && stride.is_multiple_of(16) && !(stride * 4).is_multiple_of(1024)
            );
        }
    }
}
