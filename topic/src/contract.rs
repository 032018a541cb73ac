//! The promises every topic must keep, as functions that a topic's tests call.
