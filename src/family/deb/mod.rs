//! Debian, Ubuntu and what descends from them.

pub mod container;
pub mod locale;
pub mod sources;
