//! Debian packages: indexes, solving, unpacking, configuration.

pub mod codec;
pub mod control;
pub mod index;
pub mod pool;
pub mod relation;
pub mod release;
pub mod sat;
pub mod version;
