//! Debian packages: indexes, solving, unpacking, configuration.

pub mod codec;
pub mod control;
pub mod debfile;
mod explain;
pub mod index;
pub mod pool;
pub mod relation;
pub mod release;
pub mod repository;
pub mod resolve;
mod sat;
pub mod solve;
pub mod suite;
pub mod version;
pub mod wanted;
