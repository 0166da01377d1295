//! Alpine and what descends from it.

mod dependency;
mod index;
mod info;
mod pool;
mod signature;
mod solve;
mod version;
mod world;
