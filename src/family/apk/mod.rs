//! Alpine and what descends from it.

mod accounts;
mod database;
mod dependency;
mod info;
mod install;
mod instances;
mod order;
mod package;
mod pool;
mod replaces;
mod scripts;
mod solve;
mod stage;
mod tree;
mod triggers;
mod version;
