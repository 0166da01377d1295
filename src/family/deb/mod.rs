//! Debian, Ubuntu and what descends from them.
//! Debian packages: indexes, solving, unpacking, configuration.

mod explain;
mod sat;
pub mod checks;
pub mod codec;
pub mod container;
pub mod control;
pub mod debfile;
pub mod index;
pub mod leftovers;
pub mod locale;
pub mod pool;
pub mod relation;
pub mod release;
pub mod repository;
pub mod resolve;
pub mod solve;
pub mod sources;
pub mod sshd;
pub mod suite;
pub mod version;
pub mod wanted;
