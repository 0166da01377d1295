//! The stages of a build, in order.
