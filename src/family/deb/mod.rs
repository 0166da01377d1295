//! Debian packages: indexes, solving, unpacking, configuration.

pub mod codec;
pub mod control;
mod explain;
pub mod index;
pub mod pool;
pub mod relation;
pub mod release;
mod sat;
pub mod solve;
pub mod version;
