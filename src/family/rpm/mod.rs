//! Fedora, the distributions built of RHEL's sources, and what descends from them: dnf resolves and installs, over
//! metadata and packages that were fetched and verified here.

use std::cmp::Ordering;

use anyhow::Result;

use crate::check::Check;
use crate::clean::Step;
use crate::context::Context;
use crate::family::{Family, Fetched, Installed, Owners};
use crate::lock::{Lock, Previous};
use crate::plan::Plan;
use crate::root::Root;

mod bdb;
mod berkeley;
mod canonical;
mod checks;
mod configure;
pub mod database;
mod dnf;
mod files;
mod header;
mod install;
mod leftovers;
mod locale;
mod location;
mod maker;
mod mirrorlist;
mod modules;
mod package;
mod pubkey;
mod rebuild;
mod repofile;
mod repomd;
mod repositories;
mod repository;
mod resolve;
mod sqlite;
mod sshd;
mod systemd;
mod sysusers;
mod traces;
mod trust;
mod verify;
mod version;

/// The rpm family.
#[derive(Debug, Clone, Copy)]
pub struct Rpm;

impl Family for Rpm {
    fn resolve(&self, context: &Context, plan: &Plan, previous: Option<&Previous>) -> Result<Lock> {
        install::check_requests(plan)?;
        resolve::resolve(context, &context.tools.dnf(context)?, plan, previous)
    }

    fn provide_tools(&self, context: &Context) -> Result<()> {
        context.tools.dnf(context).map(|_| ())
    }

    fn compare_versions(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }

    fn bootstrap(&self, context: &Context, plan: &Plan, lock: &Lock, packages: &[Fetched], root: &Root) -> Result<()> {
        install::bootstrap(context, &context.tools.dnf(context)?, plan, packages, root)?;
        modules::write(&lock.modules, root)
    }

    fn installed(&self, root: &Root) -> Result<Vec<Installed>> {
        database::installed(root)
    }

    fn owners(&self, root: &Root) -> Result<Owners> {
        database::owners(root)
    }

    fn configure_repositories(&self, plan: &Plan, root: &Root) -> Result<()> {
        configure::configure(plan, root)
    }

    fn names_timezone(&self) -> bool {
        false
    }

    fn make_locale(&self, _: &Context, plan: &Plan, _: &[Fetched], root: &Root) -> Result<()> {
        locale::make_locale(plan, root)
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
