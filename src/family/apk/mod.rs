//! Alpine and what descends from it.

mod dependency;
mod info;
mod pool;
mod solve;
mod version;
