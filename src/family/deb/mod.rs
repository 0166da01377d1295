//! Debian, Ubuntu and what descends from them.

pub mod archive;
pub mod checks;
pub mod claims;
pub mod codec;
pub mod configure;
pub mod container;
pub mod control;
pub mod database;
pub mod debfile;
pub mod debootstrap;
mod explain;
pub mod extended;
pub mod index;
pub mod installed;
pub mod leftovers;
pub mod locale;
pub mod members;
pub mod native;
pub mod order;
pub mod place;
pub mod pool;
pub mod relation;
pub mod release;
pub mod repository;
pub mod resolve;
mod sat;
pub mod solve;
pub mod sources;
pub mod sshd;
pub mod suite;
pub mod unpack;
pub mod version;
pub mod wanted;

#[cfg(test)]
mod archive_tests;
#[cfg(test)]
mod deb_maker;
#[cfg(test)]
mod unpack_tests;
