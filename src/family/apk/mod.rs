//! Alpine and what descends from it.

mod dependency;
mod info;
mod version;
