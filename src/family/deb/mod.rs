//! Debian, Ubuntu and what descends from them.

pub mod checks;
pub mod leftovers;
pub mod sshd;
