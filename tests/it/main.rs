//! The program as people use it: real builds, bad input, and what is left behind.
//!
//! `scripts/test` runs them with everything they need. Alone, `cargo test --release --test it` does too; what the
//! host lacks is skipped by name.

// The maker of Alpine packages is that of the unit tests, and takes its hashes from here.
use mkbase::hash;

mod util;

mod apk;
mod apk_image;
mod apk_install;
mod arch;
mod archive;
mod badinput;
mod cli;
mod disk;
mod dnf5;
mod docker;
mod engines;
mod host;
mod kill;
mod lock;
mod mirrorlist;
mod oracle;
mod pieces;
mod reproducible;
mod rpm;
mod rpm_bad;
mod rpm_dnf;
mod rpm_lock;
mod rpm_modules;
mod rpm_old;
mod rpm_tree;
mod rpm_users;
mod sources;
mod ssh;
mod tools;
mod users;
