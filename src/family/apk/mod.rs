//! Alpine and what descends from it.

use std::cmp::Ordering;

use anyhow::Result;

use crate::check::Check;
use crate::clean::Step;
use crate::context::Context;
use crate::family::{Family, Fetched, Installed, Owners};
use crate::lock::{Lock, Previous};
use crate::plan::{Key, Plan};
use crate::root::Root;

use info::Info;

mod accounts;
#[cfg(test)]
#[allow(dead_code, reason = "the integration tests use more of it")]
mod apk_maker;
mod checks;
mod database;
mod dependency;
mod explain;
mod identify;
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
mod repository;
mod resolve;
mod scripts;
mod signature;
mod solve;
mod stage;
mod tool;
mod tree;
#[cfg(test)]
mod tree_tests;
mod triggers;
#[cfg(test)]
mod unpack_tests;
mod version;
mod world;

/// Where apk keeps its database, in a tree.
pub const DATABASE: &str = database::FOLDER;

/// What installs the packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// mkbase itself.
    Native,
    /// The apk of the host.
    ApkTools,
}

/// The apk family.
#[derive(Debug, Clone, Copy)]
pub struct Apk {
    /// What installs the packages.
    pub engine: Engine,
}

impl Family for Apk {
    fn resolve(&self, context: &Context, plan: &Plan, previous: Option<&Previous>) -> Result<Lock> {
        resolve::resolve(context, plan, previous)
    }

    fn compare_versions(&self, a: &str, b: &str) -> Ordering {
        version::compare(a, b)
    }

    fn bootstrap(&self, context: &Context, plan: &Plan, _: &Lock, packages: &[Fetched], root: &Root) -> Result<()> {
        let files = packages.iter().filter(|fetched| fetched.package.repository.is_empty());
        let files = files.map(|fetched| (fetched.package.name.as_str(), fetched.package.checksum.as_str()));
        let world = world::lines(plan, files)?;
        let tagged = plan.repositories.iter().filter(|repository| !repository.tag.is_empty());
        let tags: Vec<_> = tagged.map(|repository| (repository.name.clone(), repository.tag.clone())).collect();
        let keys: Vec<Key> = plan.repositories.iter().flat_map(|repository| repository.keys.clone()).collect();
        let keys = signature::Keys::parse(&keys)?;
        let inspect = |fetched: &Fetched, package: &package::Package| {
            let Fetched { package: locked, .. } = fetched;
            if locked.repository.is_empty() {
                package.verify_own(&keys)?;
            }
            let wanted = Info {
                name: locked.name.clone(),
                version: locked.version.clone(),
                checksum: locked.checksum.clone(),
                ..Info::default()
            };
            identify::is_same(&package.info, &wanted)
        };
        let set = install::Set { packages, world: &world, tags: &tags, inspect: &inspect };
        match self.engine {
            Engine::ApkTools => tool::bootstrap(context, plan, &set, root),
            Engine::Native => install::install(context, plan, &set, root),
        }
    }

    fn installed(&self, root: &Root) -> Result<Vec<Installed>> {
        installed::installed(root)
    }

    fn owners(&self, root: &Root) -> Result<Owners> {
        installed::owners(root)
    }

    fn configure_repositories(&self, plan: &Plan, root: &Root) -> Result<()> {
        let kept = || plan.repositories.iter().filter(|repository| !repository.build_only);
        let line = |repository: &crate::plan::Repository| match repository.tag.as_str() {
            "" => repository.image_url.clone(),
            tag => format!("@{tag} {}", repository.image_url),
        };
        let lines: Vec<String> = kept().map(line).collect();
        let mut keys: Vec<&Key> = kept().flat_map(|repository| &repository.keys).collect();
        keys.sort_by(|a, b| a.name.cmp(&b.name));
        keys.dedup();
        repositories::configure(&lines, &keys, root)
    }

    fn make_locale(&self, _: &Context, plan: &Plan, _: &[Fetched], root: &Root) -> Result<()> {
        locale::set(&plan.system.locale, root)
    }

    fn clean_steps(&self) -> &'static [Step] {
        leftovers::STEPS
    }

    fn checks(&self) -> &'static [Check] {
        checks::CHECKS
    }

    /// `apk info` opens the database for reading and takes no lock.
    fn checks_only_read(&self) -> bool {
        true
    }
}
