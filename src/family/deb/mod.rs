//! Debian, Ubuntu and what descends from them.

use std::cmp::Ordering;

use anyhow::Result;

use crate::check::Check;
use crate::clean::Step;
use crate::context::Context;
use crate::family::{Family, Fetched, Installed, Owners};
use crate::lock::{Lock, Previous};
use crate::plan::Plan;
use crate::root::Root;

mod archive;
#[cfg(test)]
mod archive_tests;
mod checks;
mod claims;
mod configure;
mod container;
mod control;
pub mod database;
#[cfg(test)]
mod deb_maker;
mod debootstrap;
mod explain;
mod extended;
mod folders;
mod held;
mod index;
mod installed;
mod leftovers;
mod locale;
mod mentions;
mod native;
mod order;
mod place;
mod pool;
mod relation;
mod release;
mod repository;
mod resolve;
mod solve;
mod sources;
mod sshd;
mod stubs;
mod suite;
mod target;
mod unpack;
#[cfg(test)]
mod unpack_tests;
mod version;
mod wanted;

/// What installs the packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// mkbase itself.
    Native,
    /// debootstrap.
    Debootstrap,
}

/// The deb family.
#[derive(Debug, Clone, Copy)]
pub struct Deb {
    /// What installs the packages.
    pub engine: Engine,
}

impl Family for Deb {
    fn resolve(&self, context: &Context, plan: &Plan, previous: Option<&Previous>) -> Result<Lock> {
        resolve::resolve(context, plan, previous)
    }

    fn compare_versions(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }

    fn bootstrap(&self, context: &Context, plan: &Plan, _: &Lock, packages: &[Fetched], root: &Root) -> Result<()> {
        match self.engine {
            Engine::Native => native::bootstrap(context, plan, packages, root),
            Engine::Debootstrap => debootstrap::bootstrap(context, plan, packages, root),
        }
    }

    fn installed(&self, root: &Root) -> Result<Vec<Installed>> {
        installed::installed(root)
    }

    fn owners(&self, root: &Root) -> Result<Owners> {
        installed::owners(root)
    }

    fn configure_repositories(&self, plan: &Plan, root: &Root) -> Result<()> {
        sources::configure_repositories(plan, root)
    }

    fn make_locale(&self, context: &Context, plan: &Plan, packages: &[Fetched], root: &Root) -> Result<()> {
        locale::make_locale(context, plan, packages, root)
    }

    fn clean_steps(&self) -> &'static [Step] {
        leftovers::STEPS
    }

    fn checks(&self) -> &'static [Check] {
        checks::CHECKS
    }

    fn checks_only_read(&self) -> bool {
        true
    }
}
