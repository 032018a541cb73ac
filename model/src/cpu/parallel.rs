//! Work on several threads, and the rooms that it needs.

use std::sync::{Mutex, PoisonError};

use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::ModelError;

/// Runs `work` on each item, `parts` of them at once; on this thread where that is 1.
pub(super) fn each<T: Send>(
    parts: usize,
    items: Vec<T>,
    work: impl Fn(T) -> Result<(), ModelError> + Send + Sync,
) -> Result<(), ModelError> {
    if parts == 1 {
        return items.into_iter().try_for_each(work);
    }
    items.into_par_iter().try_for_each(work)
}

/// Rooms that are not in use: as many as there were threads at work at once.
///
/// Memory that goes back to the system after every frame has to be cleared by it before the next;
/// for a large model that takes longer than its softmax.
#[derive(Debug)]
pub(super) struct Pool<R> {
    free: Mutex<Vec<R>>,
    make: fn() -> Result<R, ModelError>,
}

impl<R> Pool<R> {
    pub(super) fn new(make: fn() -> Result<R, ModelError>) -> Self {
        Self { free: Mutex::default(), make }
    }

    /// A room; what is in it is left from its last use.
    pub(super) fn take(&self) -> Result<R, ModelError> {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.map_or_else(self.make, Ok)
    }

    /// Gives a room back. One that is not given back, because its work failed, is freed.
    pub(super) fn give_back(&self, room: R) {
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_given_back_is_used_again() {
        let pool = Pool::new(|| Ok(vec![0u8; 3]));
        let mut room = pool.take().unwrap();
        room.fill(5);
        pool.give_back(room);
        assert_eq!(pool.take().unwrap(), [5; 3]);
        assert_eq!(pool.take().unwrap(), [0; 3]);
    }

    #[test]
    fn an_error_of_one_item_is_the_error_of_all() {
        for (parts, count) in [(1, 1), (1, 5), (2, 2), (2, 9)] {
            let result = each(parts, (0..count).collect(), |item| {
                if item + 1 == count { Err(ModelError::ForeignFeatures) } else { Ok(()) }
            });
            assert!(matches!(result, Err(ModelError::ForeignFeatures)));
        }
    }
}
