//! Alpine and what descends from it.

mod accounts;
#[cfg(test)]
mod apk_maker;
mod checks;
mod database;
mod dependency;
mod index;
mod info;
mod install;
mod installed;
mod instances;
mod leftovers;
mod locale;
mod order;
mod package;
mod pool;
mod replaces;
mod repositories;
mod scripts;
mod signature;
mod solve;
mod stage;
mod tool;
mod tree;
mod triggers;
#[cfg(test)]
mod unpack_tests;
mod version;
mod world;
