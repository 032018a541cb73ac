//! The promises every index must keep.
