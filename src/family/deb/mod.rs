//! Debian, Ubuntu and what descends from them.

pub mod checks;
pub mod container;
pub mod leftovers;
pub mod locale;
pub mod sources;
pub mod sshd;
