//! Alpine and what descends from it.

mod accounts;
mod database;
mod dependency;
mod info;
mod install;
mod instances;
mod order;
mod package;
mod replaces;
mod scripts;
mod stage;
mod tree;
mod triggers;
mod version;
